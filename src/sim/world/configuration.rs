//! The configurations of a run: the one that it begins with, and others to change to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;

use crate::attest::{Signer, SigningKey};
use crate::config::snapshot::{
    Balance, Cluster, ClusterOptions, Limits, Listener, LogTarget, RingOptions, Scopes, Snapshot,
    SocketOptions, Target, UpstreamHttp,
};
use crate::limits::{TICKET_SECRET_BYTES_MIN, VERDICTS_DEFAULT};
use crate::sim::crypto::Clock;
use crate::sim::demands::{Demand, InForce, LISTENERS, Roots, Rules};
use crate::sim::http::plan::HttpPlan;
use crate::sim::pki::{self, Client, Lists, Pki, Versions};
use crate::sim::plan::{Plan, Sessions};
use crate::sim::random::Random;
use crate::tls::provider::Backend;
use crate::tls::server::ListenerTls;
use crate::trust::crl::Revocation;
use crate::trust::scope::{Scope, ScopeOptions};
use crate::trust::tickets::{TicketKeys, TicketSecret};
use crate::trust::verify::ClientAuth;
use crate::trust::visit::{Resumption, SessionRules};

mod http;

/// A configuration, and what it demands.
pub(super) type Published = (Arc<Snapshot>, InForce);

/// See the module's description.
pub(super) struct Configurations {
    pki: Pki,
    provider: Arc<CryptoProvider>,
    /// What was published last.
    current: Published,
    somewhere: Vec<Arc<Cluster>>,
    nowhere: Vec<Arc<Cluster>>,
    addresses: Vec<String>,
    /// The listener that speaks HTTP, and how.
    http: Option<HttpPlan>,
    lists_made: u64,
    /// Nothing was published yet.
    is_first: bool,
}

impl Configurations {
    pub(super) fn new(
        plan: &Plan,
        pki: &Pki,
        provider: &Arc<CryptoProvider>,
        clock: &Clock,
    ) -> Self {
        let targets = targets(plan.upstreams);
        let http_targets = plan.http.as_ref().map(http::targets).unwrap_or_default();
        let clusters = |targets: &[Target], http_targets: &[Target]| {
            let relayed = [("app", Balance::RoundRobin), ("least", Balance::LeastConnections)];
            let mut clusters = relayed
                .map(|(name, balance)| Arc::new(cluster(plan, name, balance, targets)))
                .to_vec();
            clusters.extend(plan.http.iter().map(|it| http::cluster(plan, it, http_targets)));
            clusters
        };
        let mut in_force = InForce::wide();
        in_force.other_name = plan.other_name;
        let tls = pki::listener_tls(pki, provider, clock, Versions::Both);
        let nobody = Demand::wide(ClientAuth::Off);
        let listeners = (0..LISTENERS).map(|index| {
            // Until the first demands are published, right below.
            let scope = scope(pki, provider, "none".into(), nobody, &Arc::default());
            Arc::new(listener(plan, index, Scopes::one(scope), &tls))
        });
        let unresolved = [Target::Name { host: "app.test".into(), port: 80 }];
        let snapshot = Snapshot {
            epoch: 1,
            workers: Some(plan.workers),
            cpus: None,
            drain_timeout: Duration::from_secs(10),
            log: LogTarget::Off,
            admin: None,
            signer: Arc::new(Signer::new(Arc::new(SigningKey::generate()), "gateway")),
            limits: Limits {
                connections_max: plan.connections_max,
                connections_per_worker_max: plan.connections_per_worker_max,
                connections_per_source_max: plan.connections_per_source_max,
                verdicts_per_worker_max: plan.verdicts_max.unwrap_or(VERDICTS_DEFAULT),
                session_cache_bytes: plan.session_cache_bytes,
                handshakes_per_worker_max: plan.handshakes_max,
                handshakes_per_source_max: plan.handshakes_max,
                handshake_queue: plan.handshake_queue,
            },
            ring: RingOptions {
                entries: 64,
                recv_buffers: plan.recv_buffers,
                sqpoll_idle_ms: 0,
                napi_busy_poll_us: 0,
                zero_copy_send: plan.zero_copy_send,
            },
            listeners: listeners.collect(),
            clusters: clusters(&targets, &http_targets),
        };
        let mut configurations = Self {
            pki: pki.clone(),
            provider: Arc::clone(provider),
            somewhere: snapshot.clusters.clone(),
            nowhere: clusters(&unresolved, &unresolved),
            current: (Arc::new(snapshot), in_force.clone()),
            is_first: true,
            addresses: targets.iter().chain(&http_targets).map(name_of).collect(),
            http: plan.http.clone(),
            lists_made: 0,
        };
        configurations.publish(in_force);
        configurations
    }

    /// What was published last.
    pub(super) fn current(&self) -> Published {
        self.current.clone()
    }

    /// All clients are allowed whose certificates are in order, and no bound is there that a client
    /// could meet.
    pub(super) fn roomy(&mut self) -> Published {
        let (snapshot, in_force) = self.publish(InForce::wide());
        let limits = Limits {
            connections_max: u32::MAX,
            connections_per_worker_max: u32::MAX,
            connections_per_source_max: None,
            handshakes_per_worker_max: u32::MAX,
            handshakes_per_source_max: u32::MAX,
            handshake_queue: Duration::ZERO,
            ..snapshot.limits
        };
        self.current.0 = Arc::new(Snapshot { limits, ..Snapshot::clone(&snapshot) });
        (Arc::clone(&self.current.0), in_force)
    }

    /// Other demands or other upstreams. The lists stay.
    pub(super) fn another(&mut self, random: &mut Random) -> Published {
        let mut next = InForce { is_nowhere: false, ..self.current.1.clone() };
        let wide = InForce::wide();
        let all = |to: fn(&mut Demand)| {
            let mut listeners = wide.listeners;
            listeners.iter_mut().for_each(to);
            listeners
        };
        match random.below(8) {
            0 => next.is_nowhere = true,
            1 => next.listeners = all(|demand| demand.rules = Rules::Narrow),
            2 => next.listeners = all(|demand| demand.roots = Roots::Strangers),
            3 => (next.listeners, next.other_name) = (wide.listeners, wide.other_name),
            4 => next.listeners.swap(0, 1),
            5 => {
                next.other_name = next.other_name.map(|_| random.chance(700).then(|| any(random)));
            }
            _ => next.listeners = next.listeners.map(|_| any(random)),
        }
        if self.http.is_some() && random.chance(600) {
            next.route = *random.pick(&[Rules::Open, Rules::Wide, Rules::Narrow, Rules::Narrow]);
        }
        self.publish(next)
    }

    /// Other lists of revocation.
    pub(super) fn relist(&mut self, random: &mut Random, now_unix_s: i64) -> Published {
        self.lists_made += 1;
        let this_update = now_unix_s + *random.pick(&[0, 0, -3600, -3600, 400]);
        let next_update = now_unix_s.max(this_update) + *random.pick(&[1, 2, 5, 3600, 3600]);
        let odds = *random.pick(&[0, 150, 500]);
        let revoked = Client::LASTING.into_iter().filter(|_| random.chance(odds)).collect();
        let lists = Lists {
            number: self.lists_made,
            this_update,
            next_update,
            revoked,
            lacks_issuing: random.chance(200),
        };
        let lists = random.chance(850).then(|| Arc::new(lists));
        self.publish(InForce { lists, ..self.current.1.clone() })
    }

    /// Where only upstreams are others, the listeners stay the same ones.
    pub(super) fn publish(&mut self, in_force: InForce) -> Published {
        let (before, was_in_force) = &self.current;
        let clusters = if in_force.is_nowhere { &self.nowhere } else { &self.somewhere };
        let is_first = std::mem::take(&mut self.is_first);
        let is_nowhere = was_in_force.is_nowhere;
        let same = *was_in_force == InForce { is_nowhere, ..in_force.clone() };
        let listeners = match same && !is_first {
            true => before.listeners.clone(),
            false => self.listeners(&in_force),
        };
        let snapshot =
            Snapshot { listeners, clusters: clusters.clone(), ..Snapshot::clone(before) };
        self.current = (Arc::new(snapshot), in_force);
        self.current.clone()
    }

    fn listeners(&self, in_force: &InForce) -> Vec<Arc<Listener>> {
        let lists = in_force.lists.as_ref();
        let revocation =
            lists.map_or_else(Arc::default, |lists| self.pki.revocation(lists, &self.provider));
        let scope =
            |name: String, demand| scope(&self.pki, &self.provider, name, demand, &revocation);
        let listeners = self.current.0.listeners.iter().enumerate();
        let http = self.http.as_ref().map(|it| (it.listener, http::options(it, in_force.route)));
        listeners
            .map(|(index, listener)| {
                let mut scopes =
                    Scopes::one(scope(listener.name.to_string(), in_force.listeners[index]));
                if let Some(demand) = in_force.other_name[index] {
                    let own = scope(format!("{}/{}", listener.name, pki::OTHER_NAME), demand);
                    *scopes.by_name.entry(pki::OTHER_NAME) = Some(Arc::new(own));
                }
                let http = http.clone().filter(|(of, _)| *of == index).map(|(_, it)| it);
                Arc::new(Listener { scopes, http, ..Listener::clone(listener) })
            })
            .collect()
    }

    /// Where upstreams listen.
    pub(super) fn upstream_addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// Where the gateway listens.
    pub(super) fn listener_addresses(&self) -> Vec<String> {
        self.current.0.listeners.iter().map(|listener| listener.address.to_string()).collect()
    }
}

/// Any demand.
pub(super) fn any(random: &mut Random) -> Demand {
    Demand {
        auth: *random.pick(&[
            ClientAuth::Require,
            ClientAuth::Require,
            ClientAuth::Optional,
            ClientAuth::Off,
        ]),
        roots: *random.pick(&[Roots::Own, Roots::Own, Roots::Both, Roots::Strangers]),
        rules: *random.pick(&[Rules::Wide, Rules::Wide, Rules::Narrow, Rules::Open]),
    }
}

fn scope(
    pki: &Pki,
    provider: &Arc<CryptoProvider>,
    name: String,
    demand: Demand,
    revocation: &Arc<Revocation>,
) -> Scope {
    let is_off = demand.auth == ClientAuth::Off;
    let anchors = match demand.roots {
        Roots::Own => pki.anchors(),
        Roots::Strangers => pki.stranger_anchors(),
        Roots::Both => &Arc::new(pki.both_anchors()),
    };
    let rules = match demand.rules {
        // As the configuration has it: what is not asked for cannot be judged.
        _ if is_off => crate::policy::Rules::unrestricted(),
        Rules::Open => crate::policy::Rules::unrestricted(),
        Rules::Wide => pki::rules(),
        Rules::Narrow => pki::narrower_rules(),
    };
    Scope::new(ScopeOptions {
        name: name.into(),
        verifier: pki::verifier(anchors, provider, demand.auth),
        rules,
        revocation: if is_off { Arc::default() } else { Arc::clone(revocation) },
    })
}

fn session_rules(sessions: &Sessions) -> SessionRules {
    // invariant: it is as long as it must be
    let secret = TicketSecret::new(&[7; TICKET_SECRET_BYTES_MIN]).expect("a secret");
    let (mode, age_max_s, tickets) = match *sessions {
        Sessions::Off => (Resumption::Off, 1, 0),
        Sessions::Cache { age_max_s, tickets } => (Resumption::Cache, age_max_s, tickets),
        Sessions::Tickets { age_max_s, tickets } => {
            let keys = TicketKeys::new(secret, age_max_s);
            (Resumption::Tickets(Arc::new(keys)), age_max_s, tickets)
        }
    };
    SessionRules { mode, age_max_s, tickets }
}

/// The last one is a Unix socket.
fn targets(count: usize) -> Vec<Target> {
    let mut targets: Vec<Target> = (1..count as u16)
        .map(|number| Target::Socket(SocketAddr::from(([10, 2, 0, 1], 8000 + number))))
        .collect();
    targets.push(Target::Unix(PathBuf::from("/run/app.sock")));
    targets
}

fn name_of(target: &Target) -> String {
    match target {
        Target::Socket(address) => address.to_string(),
        Target::Unix(path) => format!("unix:{}", path.display()),
        Target::Name { host, port } => format!("{host}:{port}"),
    }
}

fn cluster(plan: &Plan, name: &str, balance: Balance, targets: &[Target]) -> Cluster {
    Cluster::new(ClusterOptions {
        name: name.into(),
        targets: targets.to_vec(),
        balance,
        connect_timeout: plan.connect_timeout,
        resolve_interval: Duration::from_secs(30),
        http: UpstreamHttp::default(),
    })
}

fn listener(plan: &Plan, index: usize, scopes: Scopes, tls: &ListenerTls) -> Listener {
    Listener {
        name: format!("listener {index}").into(),
        address: SocketAddr::from(([10, 0, 0, 1], 8443 + index as u16)),
        socket: SocketOptions {
            dual_stack: false,
            user_timeout: None,
            keepalive: None,
            send_buffer_bytes: None,
            recv_buffer_bytes: None,
            backlog: plan.backlog,
        },
        crypto: Backend::AwsLcRs,
        tls: tls.clone(),
        scopes,
        sessions: session_rules(&plan.sessions[index]),
        lapse_drain: plan.lapse_drain,
        cluster: index,
        handshake_timeout: plan.handshake_timeout,
        idle_timeout: plan.idle_timeout,
        connection_age_max: plan.connection_age_max,
        http: None,
    }
}
