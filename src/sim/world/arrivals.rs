//! Clients that come: who they are, and what they are up to.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;

use super::{SOURCES, World, source};
use crate::identity::Identity;
use crate::sim::client::{Client, Manner, Parts as ClientParts, Script};
use crate::sim::faults::Fault;
use crate::sim::hellos::Hello;
use crate::sim::http::client::HttpClient;
use crate::sim::http::script::{Script as HttpScript, Who};
use crate::sim::ledger::{self, ClientFacts};
use crate::sim::net::Owner;
use crate::sim::pki::{self, Client as Certificate, Versions};

/// Names of servers for which a client keeps sessions, times the tickets of each.
const SESSIONS_KEPT: usize = 32;

const HEADER_AND_SOME: u64 = ledger::HEADER_BYTES + 1;

impl World {
    /// A client connects. Returns its number among the actors.
    pub(super) fn connect(&mut self, is_probe: bool) -> u32 {
        let certificate = self.certificate(is_probe);
        let versions = *self.random.pick(&[Versions::Both, Versions::Both, Versions::Tls12]);
        let config = self.client_config(certificate, versions);
        let is_bad = !is_probe && self.random.chance(self.plan.bad_clients);
        let manner = if is_bad { Manner::bad(&mut self.random) } else { Manner::Good };
        let total = self.random.range(HEADER_AND_SOME..=self.plan.bytes_max);
        let script = Script {
            total,
            message: self.random.range(1.max(total / 50)..=total),
            waits: self.random.chance(500),
            idles: !is_probe && self.random.chance(100),
        };
        let listeners = self.configurations.listener_addresses();
        let mut listener = self.random.below(listeners.len() as u64) as usize;
        let is_other_name = !is_probe && self.random.chance(250);
        let server_name = if is_other_name { pki::other_server_name() } else { pki::server_name() };
        let replays = self.replayed(is_probe);
        let manner = if replays.is_some() { Manner::HelloReplayed } else { manner };
        listener = replays.as_ref().map_or(listener, |hello| hello.listener);
        let address = listeners[listener].clone();
        self.next_actor += 1;
        let actor = self.next_actor;
        let host = self.random.range(1..=u64::from(SOURCES)) as u8;
        let source = format!("{}:{}", source(host), 1024 + actor);
        let is_http = self.plan.http.as_ref().is_some_and(|it| it.listener == listener);
        let net = self.net.borrow();
        let leaf = self.pki.client(certificate).and_then(|it| it.chain.into_iter().next());
        let number = self.ledger.add_client(ClientFacts {
            certificate,
            listener,
            is_other_name,
            since: net.now,
            source: source.clone(),
            identity: leaf.and_then(|leaf| Identity::from_der(&leaf).ok()),
            is_http,
            ..ClientFacts::default()
        });
        drop(net);
        let http =
            if is_http { self.http_client(number, is_other_name, is_probe, script) } else { None };
        let mut net = self.net.borrow();
        let socket = net.new_socket(Owner::Actor(actor), &source, &address);
        net.note(format_args!(
            "client {number} #{socket}: {certificate:?} {manner:?} {script:?} to {address} as \
             {server_name:?}"
        ));
        let parts = ClientParts {
            number,
            actor,
            socket,
            config,
            script,
            manner,
            server_name,
            listener,
            replays,
            http,
        };
        self.clients.insert(actor, Client::new(parts, &mut self.random));
        net.connect(socket);
        actor
    }

    fn http_client(
        &mut self,
        client: u64,
        is_other_name: bool,
        is_probe: bool,
        script: Script,
    ) -> Option<Box<HttpClient>> {
        let plan = self.plan.http.as_ref()?;
        let mut hosts = [pki::SERVER_NAME, pki::OTHER_NAME];
        if is_other_name {
            hosts.reverse();
        }
        let who = Who {
            client,
            host: hosts[0],
            other_host: hosts[1],
            plan,
            bytes_max: self.plan.bytes_max,
            dawdles: self.net.borrow().faults.break_things(),
        };
        let (book, random) = (&mut self.ledger.requests, &mut self.random);
        let requests = if is_probe {
            HttpScript::probe(who, book, random)
        } else {
            let is_bad = random.chance(self.plan.bad_clients);
            HttpScript::any(who, is_bad, book, random)
        };
        Some(Box::new(HttpClient::new(client, requests, script.idles)))
    }

    /// Some come again and again, and keep their sessions.
    fn client_config(&mut self, certificate: Certificate, versions: Versions) -> Arc<ClientConfig> {
        let make = |resumption| {
            pki::client_config(
                &self.pki,
                certificate,
                &self.provider,
                &self.clock,
                versions,
                resumption,
            )
        };
        if !self.random.chance(self.plan.returning) {
            return make(Resumption::disabled());
        }
        let visitor = self.visitors.entry(format!("{certificate:?} {versions:?}"));
        let sessions = || make(Resumption::in_memory_sessions(SESSIONS_KEPT));
        Arc::clone(visitor.or_insert_with(sessions))
    }

    fn replayed(&mut self, is_probe: bool) -> Option<Hello> {
        if is_probe || !self.net.borrow().fault(Fault::HelloReplayed) {
            return None;
        }
        let kept = self.ledger.hellos.kept();
        if kept.is_empty() { None } else { Some(self.random.pick(kept).clone()) }
    }

    fn certificate(&mut self, is_probe: bool) -> Certificate {
        if is_probe || self.random.chance(600) {
            return Certificate::Allowed(self.random.below(4) as usize);
        }
        if self.net.borrow().fault(Fault::CertificateExpires) || self.random.chance(50) {
            return Certificate::ShortLived(self.clock.unix_s() + self.random.below(2) as i64);
        }
        if self.random.chance(200) {
            let after_s = *self.random.pick(&self.plan.expiring_s);
            return Certificate::ShortLived(pki::EPOCH_UNIX_S + after_s as i64);
        }
        *self.random.pick(&Certificate::LASTING)
    }
}
