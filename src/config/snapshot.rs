//! What the data plane reads: a configuration in which nothing is left to check.
//!
//! A [`Snapshot`] is immutable and comes from `resolve` only; when the addresses of a name change
//! a new one is published, and live connections keep theirs until they end. Numbers are within
//! their bounds, names refer to what exists, certificates match their keys.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::ENDPOINTS_MAX;
use crate::policy::Rules;
use crate::tls::provider::Backend;
use crate::tls::server::ListenerTls;
use crate::tls::verify::ClientAuth;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Worker threads; `None` = as many as the process may use CPUs.
    pub workers: Option<usize>,
    /// CPUs that workers are pinned to, ascending, each once; `None` = all that are allowed.
    pub cpus: Option<Vec<usize>>,
    /// How long connections get to end by themselves on SIGTERM; zero = they are closed at once.
    pub drain_timeout: Duration,
    /// Where log lines go.
    pub log: LogTarget,
    /// Admission.
    pub limits: Limits,
    /// The io_uring of each worker.
    pub ring: RingOptions,
    /// At least one.
    pub listeners: Vec<Arc<Listener>>,
    /// At least one; [`Listener::cluster`] is an index into it.
    pub clusters: Vec<Arc<Cluster>>,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
    /// Appended to this file.
    File(PathBuf),
}

/// Bounds of admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of the process; they fit in its file limit.
    pub connections_max: u32,
    /// Connections of one worker, at most `connections_max`.
    pub connections_per_worker_max: u32,
    /// Connections of one source address; `None` = unbounded.
    pub connections_per_source_max: Option<u32>,
    /// Handshakes in progress on one worker; not 0.
    pub handshakes_per_worker_max: u32,
    /// Of these, those of one source; not 0, at most as many.
    pub handshakes_per_source_max: u32,
    /// How long a handshake waits for its place; zero = it is refused at once.
    pub handshake_queue: Duration,
}

/// The io_uring of each worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// Submission queue entries.
    pub entries: u32,
    /// Receive buffers; a power of two.
    pub recv_buffers: u16,
    /// Milliseconds before the kernel's submission thread sleeps; 0 = no such thread.
    pub sqpoll_idle_ms: u32,
    /// Microseconds of busy polling of the network card; 0 = none.
    pub napi_busy_poll_us: u32,
    /// Whether large sends go out without a copy.
    pub zero_copy_send: bool,
}

/// One address to accept from, and what happens to who connects.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Unique; a metric label and a log field.
    pub name: Arc<str>,
    /// Unique; the port is not 0.
    pub address: SocketAddr,
    /// Options of the listening socket and of the accepted ones.
    pub socket: SocketOptions,
    /// What does its cryptography.
    pub crypto: Backend,
    /// Certificates and TLS parameters.
    pub tls: ListenerTls,
    /// Whether a client must present a certificate.
    pub client_auth: ClientAuth,
    /// Who may pass.
    pub rules: Rules,
    /// Index into [`Snapshot::clusters`].
    pub cluster: usize,
    /// From accept to the end of the handshake; not zero.
    pub handshake_timeout: Duration,
    /// Without a byte in either direction; not zero.
    pub idle_timeout: Duration,
    /// How old a connection may become; `None` = unbounded.
    pub connection_age_max: Option<Duration>,
}

/// Options of a listener's sockets; `None` leaves the kernel's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Whether an IPv6 wildcard also takes IPv4 clients (`IPV6_V6ONLY` off).
    pub dual_stack: bool,
    /// `TCP_USER_TIMEOUT`.
    pub user_timeout: Option<Duration>,
    /// Silence before keep-alive probes (`TCP_KEEPIDLE`); whole seconds.
    pub keepalive: Option<Duration>,
    /// `SO_SNDBUF`, bytes.
    pub send_buffer_bytes: Option<u32>,
    /// `SO_RCVBUF`, bytes.
    pub recv_buffer_bytes: Option<u32>,
    /// The backlog of listen(2).
    pub backlog: u32,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest connections of this worker.
    LeastConnections,
}

/// One upstream: what the configuration names, and the addresses it stands for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Unique; a metric label and a log field.
    pub name: Arc<str>,
    /// What the configuration names, in its order; at least one.
    pub targets: Vec<Target>,
    /// The addresses, each once, in the order of their targets; empty only while every target is
    /// a name that did not resolve yet.
    pub endpoints: Arc<[Endpoint]>,
    /// How one is chosen.
    pub balance: Balance,
    /// Within which a connection must be established; not zero.
    pub connect_timeout: Duration,
    /// Between two resolutions of the names.
    pub resolve_interval: Duration,
    /// The last answer for each target; empty for what is not a name.
    answers: Vec<Vec<SocketAddr>>,
}

/// What an entry of `endpoints` names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address and a port.
    Socket(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
    /// A DNS name, resolved by the control thread.
    Name {
        /// In lower case; a final dot makes it absolute.
        host: String,
        /// Not 0.
        port: u16,
    },
}

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// The address as text: a metric label and a log field.
    pub label: Arc<str>,
}

/// An address to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Endpoint {
    fn new(address: Address) -> Self {
        let label = match &address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        Self { address, label: label.into() }
    }
}

/// What a [`Cluster`] is made of, before its names are resolved.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// See [`Cluster::name`].
    pub name: Arc<str>,
    /// See [`Cluster::targets`].
    pub targets: Vec<Target>,
    /// See [`Cluster::balance`].
    pub balance: Balance,
    /// See [`Cluster::connect_timeout`].
    pub connect_timeout: Duration,
    /// See [`Cluster::resolve_interval`].
    pub resolve_interval: Duration,
}

impl Cluster {
    /// A cluster whose endpoints are those targets that need no resolution.
    pub fn new(options: ClusterOptions) -> Self {
        let ClusterOptions { name, targets, balance, connect_timeout, resolve_interval } = options;
        let answers = vec![Vec::new(); targets.len()];
        let endpoints = endpoints(&targets, &answers);
        Self { name, targets, endpoints, balance, connect_timeout, resolve_interval, answers }
    }

    /// The targets that must be resolved, with their indices into [`Cluster::targets`].
    pub fn names(&self) -> impl Iterator<Item = (usize, &str, u16)> {
        self.targets.iter().enumerate().filter_map(|(index, target)| match target {
            Target::Name { host, port } => Some((index, host.as_str(), *port)),
            Target::Socket(_) | Target::Unix(_) => None,
        })
    }

    /// The same cluster with new answers for some of its names, by their index in `targets`.
    ///
    /// A name that is not among `answers` keeps its last addresses: a resolver that is down takes
    /// nothing away. Addresses of one name are sorted, so the order in which a resolver shuffles
    /// its answer changes nothing; duplicates and what exceeds `ENDPOINTS_MAX` are left out. The
    /// result equals `self` where nothing changed.
    pub fn with_resolved(&self, answers: &[(usize, Vec<SocketAddr>)]) -> Self {
        let mut cluster = self.clone();
        for (index, addresses) in answers {
            let is_name = matches!(self.targets.get(*index), Some(Target::Name { .. }));
            if let (true, Some(answer)) = (is_name, cluster.answers.get_mut(*index)) {
                let mut addresses = addresses.clone();
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ENDPOINTS_MAX);
                *answer = addresses;
            }
        }
        cluster.endpoints = endpoints(&cluster.targets, &cluster.answers);
        cluster
    }
}

fn endpoints(targets: &[Target], answers: &[Vec<SocketAddr>]) -> Arc<[Endpoint]> {
    let mut addresses: Vec<Address> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (target, answer) in targets.iter().zip(answers) {
        let of_target = match target {
            Target::Socket(address) => vec![Address::Tcp(*address)],
            Target::Unix(path) => vec![Address::Unix(path.clone())],
            Target::Name { .. } => answer.iter().copied().map(Address::Tcp).collect(),
        };
        addresses.extend(of_target.into_iter().filter(|address| seen.insert(address.clone())));
    }
    addresses.into_iter().take(ENDPOINTS_MAX).map(Endpoint::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster::new(ClusterOptions {
            name: "app".into(),
            targets: vec![
                Target::Socket("127.0.0.1:9000".parse().expect("an address")),
                Target::Name { host: "app.internal".into(), port: 9000 },
                Target::Unix("/run/app.sock".into()),
            ],
            balance: Balance::RoundRobin,
            connect_timeout: Duration::from_secs(5),
            resolve_interval: Duration::from_secs(30),
        })
    }

    fn labels(cluster: &Cluster) -> Vec<&str> {
        cluster.endpoints.iter().map(|endpoint| &*endpoint.label).collect()
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn what_needs_no_resolution_is_there_at_once() {
        assert_eq!(labels(&cluster()), ["127.0.0.1:9000", "unix:/run/app.sock"]);
        assert_eq!(cluster().names().collect::<Vec<_>>(), [(1, "app.internal", 9000)]);
    }

    #[test]
    fn resolved_addresses_take_the_place_of_their_name_sorted_and_once() {
        let first = addresses(&["10.0.0.2:9000", "127.0.0.1:9000", "10.0.0.1:9000"]);
        let shuffled = first.iter().rev().copied().collect();
        let resolved = cluster().with_resolved(&[(1, first)]);
        assert_eq!(
            labels(&resolved),
            ["127.0.0.1:9000", "10.0.0.1:9000", "10.0.0.2:9000", "unix:/run/app.sock"]
        );
        assert_eq!(resolved.with_resolved(&[(1, shuffled)]), resolved);
    }

    #[test]
    fn a_name_without_a_new_answer_keeps_its_last() {
        let resolved = cluster().with_resolved(&[(1, addresses(&["10.0.0.1:9000"]))]);
        assert_eq!(resolved.with_resolved(&[]), resolved);
        assert_eq!(resolved.with_resolved(&[(0, addresses(&["10.9.9.9:1"]))]), resolved);
        assert_eq!(labels(&resolved.with_resolved(&[(1, vec![])])), labels(&cluster()));
    }

    #[test]
    fn endpoints_are_bounded() {
        let many = (0..2 * ENDPOINTS_MAX)
            .map(|port| SocketAddr::from(([10, 0, 0, 1], 1 + port as u16)))
            .collect();
        assert_eq!(cluster().with_resolved(&[(1, many)]).endpoints.len(), ENDPOINTS_MAX);
    }
}
