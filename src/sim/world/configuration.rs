//! The configurations of a run: the one that it begins with, and others to change to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;

use crate::config::snapshot::{
    Balance, Cluster, ClusterOptions, Limits, Listener, LogTarget, RingOptions, Snapshot,
    SocketOptions, Target,
};
use crate::policy::Rules;
use crate::sim::crypto::Clock;
use crate::sim::ledger::InForce;
use crate::sim::pki::{self, Pki, Versions};
use crate::sim::plan::Plan;
use crate::sim::random::Random;
use crate::tls::provider::Backend;
use crate::tls::verify::ClientAuth;

/// See the module's description.
pub(super) struct Configurations {
    first: Arc<Snapshot>,
    /// Fewer clients are allowed; other roots are trusted; no endpoint has an address; all is as it
    /// was.
    others: Vec<(Arc<Snapshot>, InForce)>,
    addresses: Vec<String>,
}

impl Configurations {
    pub(super) fn new(
        plan: &Plan,
        pki: &Pki,
        provider: &Arc<CryptoProvider>,
        clock: &Clock,
    ) -> Self {
        let targets = targets(plan.upstreams);
        let addresses = targets.iter().map(name_of).collect();
        let clusters = |targets: &[Target]| {
            [("app", Balance::RoundRobin), ("least", Balance::LeastConnections)]
                .map(|(name, balance)| Arc::new(cluster(plan, name, balance, targets)))
                .to_vec()
        };
        let tls =
            |auth, anchors| pki::listener_tls(pki, provider, clock, Versions::Both, auth, anchors);
        let listeners = |anchors| {
            [ClientAuth::Require, ClientAuth::Optional]
                .into_iter()
                .enumerate()
                .map(|(index, auth)| Arc::new(listener(plan, index, auth, tls(auth, anchors))))
                .collect::<Vec<_>>()
        };
        let first = Snapshot {
            workers: Some(plan.workers),
            cpus: None,
            drain_timeout: Duration::from_secs(10),
            log: LogTarget::Off,
            limits: Limits {
                connections_max: plan.connections_max,
                connections_per_worker_max: plan.connections_per_worker_max,
                connections_per_source_max: plan.connections_per_source_max,
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
            listeners: listeners(pki.anchors()),
            clusters: clusters(&targets),
        };
        let unresolved = [Target::Name { host: "app.test".into(), port: 80 }];
        let nowhere = Snapshot { clusters: clusters(&unresolved), ..first.clone() };
        let narrow = Snapshot {
            listeners: first
                .listeners
                .iter()
                .map(|it| with_rules(it, pki::narrower_rules()))
                .collect(),
            ..first.clone()
        };
        let strange = Snapshot { listeners: listeners(pki.stranger_anchors()), ..first.clone() };
        let others = vec![
            (Arc::new(nowhere), InForce::Wide),
            (Arc::new(narrow), InForce::Narrow),
            (Arc::new(strange), InForce::OtherTrust),
            (Arc::new(first.clone()), InForce::Wide),
        ];
        Self { first: Arc::new(first), others, addresses }
    }

    /// The one that a run begins with, without any bound that a client could meet.
    pub(super) fn roomy(&self) -> Arc<Snapshot> {
        let limits = Limits {
            connections_max: u32::MAX,
            connections_per_worker_max: u32::MAX,
            connections_per_source_max: None,
            handshakes_per_worker_max: u32::MAX,
            handshakes_per_source_max: u32::MAX,
            handshake_queue: Duration::ZERO,
        };
        Arc::new(Snapshot { limits, ..Snapshot::clone(&self.first) })
    }

    pub(super) fn first(&self) -> Arc<Snapshot> {
        Arc::clone(&self.first)
    }

    /// Some configuration, and who may pass under it.
    pub(super) fn another(&self, random: &mut Random) -> (Arc<Snapshot>, InForce) {
        random.pick(&self.others).clone()
    }

    /// Where upstreams listen.
    pub(super) fn upstream_addresses(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// Where the gateway listens.
    pub(super) fn listener_addresses(&self) -> Vec<String> {
        self.first.listeners.iter().map(|listener| listener.address.to_string()).collect()
    }
}

fn with_rules(listener: &Listener, rules: Rules) -> Arc<Listener> {
    Arc::new(Listener { rules, ..listener.clone() })
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
    })
}

fn listener(
    plan: &Plan,
    index: usize,
    client_auth: ClientAuth,
    tls: crate::tls::server::ListenerTls,
) -> Listener {
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
        tls,
        client_auth,
        rules: pki::rules(),
        cluster: index,
        handshake_timeout: plan.handshake_timeout,
        idle_timeout: plan.idle_timeout,
        connection_age_max: plan.connection_age_max,
    }
}
