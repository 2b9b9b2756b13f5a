//! What the data plane reads: a configuration in which nothing is left to check.
//!
//! A [`Snapshot`] is immutable and comes from `resolve` only; when files or the addresses of a name
//! change a new one is published; live connections keep timeouts and upstream, and are judged by
//! the new one. Numbers are within their bounds, names refer to what exists, certificates match
//! their keys.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::attest::{Signer, Telling};
use crate::http1::request::HeadLimits;
pub use crate::http2::options::Http2Options;
use crate::limits::{ENDPOINTS_MAX, UPSTREAM_IDLE_DEFAULT, UPSTREAM_IDLE_TIMEOUT_MS_DEFAULT};
use crate::route::path::EncodedSlashes;
use crate::route::table::Table;
use crate::tls::client::UpstreamTls;
use crate::tls::provider::Backend;
use crate::tls::server::ListenerTls;
use crate::tls::server_name::NameMap;
use crate::trust::scope::Scope;
use crate::trust::visit::{Desk, SessionRules, Visit};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which one in the life of the gateway: 1 is the one that it began with, and each reload that
    /// was published is one more. New addresses of names change nothing of it.
    pub epoch: u64,
    /// Worker threads; `None` = as many as the process may use CPUs.
    pub workers: Option<usize>,
    /// CPUs that workers are pinned to, ascending, each once; `None` = all that are allowed.
    pub cpus: Option<Vec<usize>>,
    /// How long connections get to end by themselves on SIGTERM; zero = they are closed at once.
    pub drain_timeout: Duration,
    /// Where log lines go.
    pub log: LogTarget,
    /// Where the admin listener is; `None` = there is none.
    pub admin: Option<SocketAddr>,
    /// What signs identities, where a listener tells them so.
    pub signer: Arc<Signer>,
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
    /// Verdicts on clients' chains that one worker keeps.
    pub verdicts_per_worker_max: u32,
    /// Bytes of the sessions that are kept.
    pub session_cache_bytes: u32,
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
    /// Who may connect.
    pub scopes: Scopes,
    /// Whether and how sessions are resumed.
    pub sessions: SessionRules,
    /// How long a client that may not stay gets to end by itself; a revoked one gets no time.
    pub lapse_drain: Duration,
    /// Index into [`Snapshot::clusters`].
    pub cluster: usize,
    /// From accept to the end of the handshake; not zero.
    pub handshake_timeout: Duration,
    /// Without a byte in either direction; not zero.
    pub idle_timeout: Duration,
    /// How old a connection may become; `None` = unbounded.
    pub connection_age_max: Option<Duration>,
    /// How HTTP is spoken inside TLS; `None` = bytes are relayed as they are.
    pub http: Option<Arc<HttpOptions>>,
}

/// How a listener speaks HTTP.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Where requests go.
    pub routes: Table,
    /// Bounds of the head of a request; of a response's, too.
    pub head: HeadLimits,
    /// From the first byte of a head to its last; not zero.
    pub head_timeout: Duration,
    /// Between two requests of a connection; not zero.
    pub keep_alive_timeout: Duration,
    /// Requests of one connection; `None` = unbounded.
    pub requests_max: Option<u64>,
    /// What becomes of `%2F` in a path.
    pub encoded_slashes: EncodedSlashes,
    /// Whether HTTP/1.1 is served; where not, only clients that agreed on HTTP/2 are.
    pub http1: bool,
    /// Whether `Via` is added to requests. RFC 9110, 7.6.3: "An HTTP-to-HTTP gateway MUST send an
    /// appropriate Via header field in each inbound request message and MAY send a Via header field
    /// in forwarded response messages."
    pub via: bool,
    /// Whether it is added to responses.
    pub via_of_responses: bool,
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    pub x_forwarded: Forwarding,
    /// `Forwarded` (RFC 7239).
    pub forwarded: Forwarding,
    /// What upstreams are told of the client.
    pub telling: Telling,
    /// Whether answers that ringfort makes say why, as `application/problem+json` (RFC 9457).
    pub problem_details: bool,
    /// Bounds of HTTP/2.
    pub http2: Http2Options,
}

/// What becomes of the fields that tell where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// What the client sent is removed, and nothing is added.
    Off,
    /// What the client sent is replaced.
    Set,
    /// This hop is added behind what the client sent.
    Append,
    /// What the client sent is passed on as it is.
    Pass,
}

impl Listener {
    /// A handshake in one of its scopes that begins, at `desk`.
    pub fn visit(&self, scope: &Arc<Scope>, desk: &Arc<Desk>) -> Arc<Visit> {
        Visit::new(
            Arc::clone(scope),
            self.sessions.clone(),
            Arc::clone(desk),
            Arc::clone(self.tls.time()),
            self.tls.provider().secure_random,
        )
    }
}

/// What a listener demands of its clients, by the server name that they ask for.
#[derive(Clone, Debug)]
pub struct Scopes {
    /// Of who asks for no name, or for one without demands of its own.
    pub default: Arc<Scope>,
    /// Of the names that have demands of their own.
    pub by_name: NameMap<Option<Arc<Scope>>>,
}

impl Scopes {
    /// The same for every name.
    pub fn one(scope: Scope) -> Self {
        Self { default: Arc::new(scope), by_name: NameMap::default() }
    }

    /// Every scope once.
    pub fn all(&self) -> Vec<&Arc<Scope>> {
        let mut all = vec![&self.default];
        let mut seen = std::collections::HashSet::new();
        all.extend(self.by_name.values().flatten().filter(|it| seen.insert(Arc::as_ptr(it))));
        all
    }

    /// The scope for a ClientHello.
    pub fn select(&self, server_name: Option<&str>) -> &Arc<Scope> {
        let own = server_name.and_then(|name| self.by_name.get(name));
        own.and_then(Option::as_ref).unwrap_or(&self.default)
    }
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
    /// How HTTP is spoken to it.
    pub http: UpstreamHttp,
    /// The last answer for each target; empty for what is not a name.
    answers: Vec<Vec<SocketAddr>>,
}

/// How HTTP is spoken to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamHttp {
    /// Whether it speaks HTTP/2: by ALPN where TLS is used, otherwise with prior knowledge.
    pub http2: bool,
    /// TLS towards it; `None` = plaintext.
    pub tls: Option<UpstreamTls>,
    /// Connections without a request that a worker keeps for each endpoint.
    pub idle_max: usize,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// Requests of one connection; `None` = unbounded.
    pub requests_max: Option<u64>,
    /// How old a connection may become; `None` = unbounded.
    pub age_max: Option<Duration>,
}

impl Default for UpstreamHttp {
    /// HTTP/1.1 in plaintext, with the defaults of the configuration.
    fn default() -> Self {
        Self {
            http2: false,
            tls: None,
            idle_max: UPSTREAM_IDLE_DEFAULT,
            idle_timeout: Duration::from_millis(UPSTREAM_IDLE_TIMEOUT_MS_DEFAULT),
            requests_max: None,
            age_max: None,
        }
    }
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
    /// See [`Cluster::http`].
    pub http: UpstreamHttp,
}

impl Cluster {
    /// A cluster whose endpoints are those targets that need no resolution.
    pub fn new(options: ClusterOptions) -> Self {
        let ClusterOptions { name, targets, balance, connect_timeout, resolve_interval, http } =
            options;
        let answers = vec![Vec::new(); targets.len()];
        let endpoints = endpoints(&targets, &answers);
        Self { name, targets, endpoints, balance, connect_timeout, resolve_interval, http, answers }
    }

    /// The targets that must be resolved, with their indices into [`Cluster::targets`].
    pub fn names(&self) -> impl Iterator<Item = (usize, &str, u16)> {
        self.targets.iter().enumerate().filter_map(|(index, target)| match target {
            Target::Name { host, port } => Some((index, host.as_str(), *port)),
            Target::Socket(_) | Target::Unix(_) => None,
        })
    }

    /// The names that have no answer.
    pub fn unanswered_names(&self) -> impl Iterator<Item = (usize, &str, u16)> {
        self.names().filter(|(index, ..)| self.answers.get(*index).is_none_or(Vec::is_empty))
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

/// `clusters` with the answers that `from` has for their names, so that a new configuration does
/// not lose the addresses of names that the old one had resolved.
///
/// The answer of the cluster of the same name comes first, then that of any other. A name that
/// `from` has no answer for keeps its own.
pub fn carry_answers(clusters: &[Arc<Cluster>], from: &[Arc<Cluster>]) -> Vec<Arc<Cluster>> {
    let mut of_namesake = HashMap::new();
    let mut of_any = HashMap::new();
    for cluster in from {
        for (target, answer) in cluster.targets.iter().zip(&cluster.answers) {
            if !answer.is_empty() {
                of_namesake.insert((&cluster.name, target), answer);
                of_any.insert(target, answer);
            }
        }
    }
    let carried = |cluster: &Arc<Cluster>| {
        let answer = |(index, target)| {
            let answer = of_namesake.get(&(&cluster.name, target)).or_else(|| of_any.get(target));
            answer.map(|addresses| (index, Vec::clone(addresses)))
        };
        let answers: Vec<_> = cluster.targets.iter().enumerate().filter_map(answer).collect();
        if answers.is_empty() {
            return Arc::clone(cluster);
        }
        Arc::new(cluster.with_resolved(&answers))
    };
    clusters.iter().map(carried).collect()
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
            http: UpstreamHttp::default(),
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
    fn answers_are_carried_over_by_name_of_the_cluster_first() {
        let named = |cluster: &str, hosts: &[&str]| {
            let target = |host: &&str| Target::Name { host: host.to_string(), port: 1 };
            Cluster::new(ClusterOptions {
                name: cluster.into(),
                targets: hosts.iter().map(target).collect(),
                balance: Balance::RoundRobin,
                connect_timeout: Duration::from_secs(5),
                resolve_interval: Duration::from_secs(30),
                http: UpstreamHttp::default(),
            })
        };
        let from = [
            Arc::new(named("a", &["x"]).with_resolved(&[(0, addresses(&["10.0.0.1:1"]))])),
            Arc::new(named("b", &["x"]).with_resolved(&[(0, addresses(&["10.0.0.2:1"]))])),
            Arc::new(named("c", &["y"])),
        ];
        let own = named("c", &["y"]).with_resolved(&[(0, addresses(&["10.0.0.3:1"]))]);
        let new = [named("a", &["z", "x"]), named("b", &["x"]), named("new", &["x"]), own];
        let carried = carry_answers(&new.map(Arc::new), &from);
        assert_eq!(labels(&carried[0]), ["10.0.0.1:1"]);
        assert_eq!(carried[0].unanswered_names().collect::<Vec<_>>(), [(0, "z", 1)]);
        assert_eq!(labels(&carried[1]), ["10.0.0.2:1"]);
        assert_eq!(labels(&carried[2]).len(), 1, "of any");
        assert_eq!(labels(&carried[3]), ["10.0.0.3:1"], "nothing is taken away");
    }

    #[test]
    fn endpoints_are_bounded() {
        let many = (0..2 * ENDPOINTS_MAX)
            .map(|port| SocketAddr::from(([10, 0, 0, 1], 1 + port as u16)))
            .collect();
        assert_eq!(cluster().with_resolved(&[(1, many)]).endpoints.len(), ENDPOINTS_MAX);
    }
}
