//! Choosing an endpoint of a cluster and connecting to it.
//!
//! Balancing is each worker's own: it counts the connections that it made. One retry on another
//! endpoint, before any byte was sent, so a retry is always sound.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use socket2::SockAddr;

use super::descriptors::{Claim, Descriptors};
use super::pool::{Connection, Pool};
use super::shared::{Shared, SharedPool, Turn};
use crate::config::snapshot::{Address, Balance, Cluster, Endpoint};
use crate::error::{CloseKind, CloseReason};
use crate::log::bounded_detail;
use crate::route::budget::RetryBudget;
use crate::rt::core::Core;
use crate::rt::stream::{Errno, Stream};
use crate::time::Instant;
use crate::tls::client::UpstreamTls;
use crate::tls::transport::{self, Transport};

/// The endpoints as one worker sees them.
#[derive(Debug, Default)]
pub struct Upstreams {
    /// By cluster and endpoint, so that counts survive a change of the configuration.
    clusters: RefCell<HashMap<Arc<str>, Balancer>>,
    pool: Rc<Pool>,
    shared: Rc<SharedPool>,
    descriptors: Descriptors,
}

#[derive(Debug, Default)]
struct Balancer {
    next: usize,
    budget: Option<RetryBudget>,
    live: HashMap<Arc<str>, Rc<Cell<u32>>>,
}

/// A connection to an endpoint, counted until it is dropped.
#[derive(Debug)]
pub struct Connected {
    /// The socket.
    pub stream: Stream,
    /// Which endpoint; the count goes with it.
    pub lease: Lease,
}

/// One connection's share of an endpoint's count.
#[derive(Debug)]
pub struct Lease {
    place: Place,
}

/// An endpoint's count, of a connection that does not count at the moment.
#[derive(Clone, Debug)]
pub struct Place {
    count: Rc<Cell<u32>>,
    endpoint: Arc<str>,
}

impl Place {
    /// It counts from now on.
    pub fn lease(self) -> Lease {
        self.count.set(self.count.get() + 1);
        Lease { place: self }
    }
}

impl Lease {
    /// The endpoint's label.
    pub fn endpoint(&self) -> &Arc<str> {
        &self.place.endpoint
    }

    /// It counts again once it is leased again.
    pub fn pause(self) -> Place {
        self.place.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.place.count.set(self.place.count.get() - 1);
    }
}

/// Why there is no connection for a request.
#[derive(Debug)]
pub struct Unreachable {
    /// The reason, as of a connection that ends.
    pub reason: CloseReason,
    /// What there is to say beyond that.
    pub detail: Option<Box<str>>,
}

impl From<CloseReason> for Unreachable {
    fn from(reason: CloseReason) -> Self {
        Self { reason, detail: reason.kind.errno().map(|errno| bounded_detail(Errno(errno))) }
    }
}

/// TLS on a connection to an upstream.
async fn secure(
    core: &Core,
    stream: Stream,
    tls: &UpstreamTls,
    deadline: Instant,
) -> Result<Transport, Unreachable> {
    let failed = match core.timeout_at(deadline, transport::connect(stream, tls)).await {
        Ok(Ok((transport, _))) => return Ok(transport),
        Ok(Err(error)) => Unreachable {
            reason: CloseReason::upstream(error.kind()),
            detail: Some(bounded_detail(&error)),
        },
        Err(_) => CloseReason::upstream(CloseKind::ConnectTimeout).into(),
    };
    core.counters().upstream_connect_failures.increment();
    Err(failed)
}

impl Upstreams {
    /// Those of a worker, whose connections `descriptors` counts.
    pub fn new(descriptors: Descriptors) -> Self {
        Self { descriptors, ..Self::default() }
    }

    /// Connects to an endpoint of `cluster`, for a client whose bytes are relayed; where that
    /// fails, to another one, once. Beyond `connections_max` one that waits for a request is closed
    /// for it.
    ///
    /// # Errors
    /// The reason of the last failure.
    pub async fn connect(
        &self,
        core: &Core,
        cluster: &Cluster,
        connections_max: u32,
    ) -> Result<Connected, CloseReason> {
        // Who is let in to be relayed has a connection, whatever others took.
        let _ = self.make_room(Claim::Relay, connections_max);
        let first = self.choose_first(cluster)?;
        let failed = match self.attempt(core, cluster, first).await {
            Ok(connected) => return Ok(connected),
            Err(reason) => reason,
        };
        match self.choose(cluster, Some(first)) {
            Some(second) => self.attempt(core, cluster, second).await,
            None => Err(failed),
        }
    }

    /// The endpoint for a request: not `but`, where there is another.
    ///
    /// # Errors
    /// There is none.
    pub fn endpoint(&self, cluster: &Cluster, but: Option<usize>) -> Result<usize, CloseReason> {
        match but.and_then(|_| self.choose(cluster, but)) {
            Some(other) => Ok(other),
            None => self.choose_first(cluster),
        }
    }

    /// A connection to endpoint `first` that waits for a request; see [`Pool::take`].
    pub fn reuse(
        &self,
        core: &Core,
        cluster: &Arc<Cluster>,
        first: usize,
        be_sure: bool,
    ) -> Option<Connection> {
        let connection = self.pool.take(core, cluster, first, be_sure)?;
        core.counters().upstream_reuses.increment();
        Some(connection)
    }

    /// A new connection for requests, to endpoint `first`; where that fails, to another one, once.
    ///
    /// # Errors
    /// Why the last attempt failed, or that all workers together have `connections_max` already.
    pub async fn open_for_requests(
        &self,
        core: &Core,
        cluster: &Arc<Cluster>,
        first: usize,
        claim: Claim,
        connections_max: u32,
    ) -> Result<Connection, Unreachable> {
        if !self.make_room(claim, connections_max) {
            core.counters().upstream_connections_refused.increment();
            return Err(CloseReason::internal(CloseKind::UpstreamConnections).into());
        }
        let failed = match self.open(core, cluster, first).await {
            Ok(connection) => return Ok(connection),
            Err(failed) => failed,
        };
        match self.choose(cluster, Some(first)) {
            Some(second) => self.open(core, cluster, second).await,
            None => Err(failed),
        }
    }

    /// A connection to endpoint `first` that requests share: one that has room or, where none has
    /// or it has to be `fresh`, a new one. Who asks while one is being made waits for it.
    ///
    /// # Errors
    /// As [`Upstreams::open_for_requests`].
    pub async fn share(
        &self,
        core: &Core,
        cluster: &Arc<Cluster>,
        first: usize,
        fresh: bool,
        claim: Claim,
        connections_max: u32,
    ) -> Result<Shared, Unreachable> {
        let opener = loop {
            if fresh {
                break None;
            }
            if let Some(found) = self.shared.take(core, cluster, first) {
                return Ok(found);
            }
            match self.shared.turn(cluster, first) {
                Turn::Open(opener) => break Some(opener),
                Turn::Wait(waiting) => {
                    // Where it failed each tries for itself: not one after the other.
                    if !waiting.has_opened().await {
                        break None;
                    }
                }
            }
        };
        let own = self.open_for_requests(core, cluster, first, claim, connections_max).await?;
        let shared = self.shared.share(core, own).await?;
        if let Some(opener) = opener {
            opener.succeed();
        }
        Ok(shared)
    }

    async fn open(
        &self,
        core: &Core,
        cluster: &Arc<Cluster>,
        index: usize,
    ) -> Result<Connection, Unreachable> {
        let deadline = core.now() + cluster.connect_timeout;
        let Connected { stream, lease } = self.attempt(core, cluster, index).await?;
        let transport = match &cluster.http.tls {
            None => Transport::Plain(stream),
            Some(tls) => secure(core, stream, tls, deadline).await?,
        };
        Ok(Connection::new(transport, lease, cluster, index, core.now()))
    }

    /// Whether another connection may be made; where there are too many, the one that has waited
    /// longest is closed for it.
    fn make_room(&self, claim: Claim, connections_max: u32) -> bool {
        if self.descriptors.has_room(claim, connections_max) {
            return true;
        }
        match (self.pool.waiting_since(), self.shared.waiting_since()) {
            (None, None) => false,
            (Some(own), Some(shared)) if shared < own => self.shared.close_oldest(),
            (Some(_), _) => self.pool.close_oldest(),
            (None, Some(_)) => self.shared.close_oldest(),
        }
    }

    fn choose_first(&self, cluster: &Cluster) -> Result<usize, CloseReason> {
        self.choose(cluster, None).ok_or(CloseReason::upstream(CloseKind::NoEndpoint))
    }

    /// How many requests to a cluster may be sent again.
    pub fn budget(&self, cluster: &Cluster, now: Instant) -> RefMut<'_, RetryBudget> {
        RefMut::map(self.clusters.borrow_mut(), |clusters| {
            if !clusters.contains_key(&cluster.name) {
                clusters.insert(Arc::clone(&cluster.name), Balancer::default());
            }
            // invariant: it was put there.
            let balancer = clusters.get_mut(&cluster.name).expect("a balancer");
            balancer.budget.get_or_insert_with(|| RetryBudget::new(now))
        })
    }

    /// The connections that requests share.
    pub fn shared(&self) -> &Rc<SharedPool> {
        &self.shared
    }

    /// Keeps no connection any more that carries no request.
    pub fn close(&self) {
        self.pool.close();
        self.shared.close();
    }

    /// The connections that wait for a request.
    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// Forgets clusters that are not among `clusters` and have no connection: names that come and
    /// go with reloads leave nothing behind.
    pub fn retain(&self, clusters: &[Arc<Cluster>]) {
        self.pool.retain(clusters);
        self.shared.retain(clusters);
        self.clusters.borrow_mut().retain(|name, balancer| {
            balancer.live.retain(|_, count| Rc::strong_count(count) > 1);
            !balancer.live.is_empty() || clusters.iter().any(|cluster| cluster.name == *name)
        });
    }

    /// Connections that are counted to some endpoint.
    #[cfg(feature = "sim")]
    pub fn leases(&self) -> usize {
        let clusters = self.clusters.borrow();
        clusters.values().flat_map(|it| it.live.values()).map(|live| live.get() as usize).sum()
    }

    async fn attempt(
        &self,
        core: &Core,
        cluster: &Cluster,
        index: usize,
    ) -> Result<Connected, CloseReason> {
        let endpoint = &cluster.endpoints[index];
        // Counted while connecting, so that a slow endpoint draws no more than its share.
        let lease = self.lease(cluster, endpoint);
        let held = self.descriptors.hold();
        let deadline = core.now() + cluster.connect_timeout;
        let connecting = async { core.connect(socket_address(&endpoint.address)?, None).await };
        let connected = core.timeout_at(deadline, connecting).await;
        let counters = core.counters();
        match connected {
            Ok(Ok(stream)) => {
                counters.upstream_connects.increment();
                stream.keep(held);
                Ok(Connected { stream, lease })
            }
            Ok(Err(errno)) => {
                counters.upstream_connect_failures.increment();
                Err(reason_of(errno))
            }
            Err(_) => {
                counters.upstream_connect_failures.increment();
                Err(CloseReason::upstream(CloseKind::ConnectTimeout))
            }
        }
    }

    fn lease(&self, cluster: &Cluster, endpoint: &Endpoint) -> Lease {
        let mut clusters = self.clusters.borrow_mut();
        let balancer = clusters.entry(Arc::clone(&cluster.name)).or_default();
        let count = balancer.live.entry(Arc::clone(&endpoint.label)).or_default();
        Place { count: Rc::clone(count), endpoint: Arc::clone(&endpoint.label) }.lease()
    }

    /// The index of the endpoint whose turn it is, other than `but`.
    fn choose(&self, cluster: &Cluster, but: Option<usize>) -> Option<usize> {
        let mut clusters = self.clusters.borrow_mut();
        let balancer = match clusters.get_mut(&cluster.name) {
            Some(balancer) => balancer,
            None => clusters.entry(Arc::clone(&cluster.name)).or_default(),
        };
        let count = cluster.endpoints.len();
        let start = balancer.next;
        // Ties of least connections go round, or an idle worker would use one endpoint only. A
        // second try takes no turn, or with two endpoints every first try would meet the same one.
        if but.is_none() {
            balancer.next = balancer.next.wrapping_add(1);
        }
        let turns = (0..count).map(|step| start.wrapping_add(step) % count);
        let mut candidates = turns.filter(|&index| Some(index) != but);
        match cluster.balance {
            Balance::RoundRobin => candidates.next(),
            Balance::LeastConnections => candidates.min_by_key(|&index| {
                balancer.live.get(&cluster.endpoints[index].label).map_or(0, |live| live.get())
            }),
        }
    }
}

fn socket_address(address: &Address) -> Result<SockAddr, Errno> {
    match address {
        Address::Tcp(address) => Ok(SockAddr::from(*address)),
        // The configuration refuses paths that are too long for a socket address.
        Address::Unix(path) => SockAddr::unix(path).map_err(|_| Errno(libc::ENAMETOOLONG)),
    }
}

fn reason_of(errno: Errno) -> CloseReason {
    match errno.0 {
        // No listener, or no socket file: the upstream is down.
        libc::ECONNREFUSED | libc::ENOENT => CloseReason::upstream(CloseKind::ConnectRefused),
        libc::ETIMEDOUT => CloseReason::upstream(CloseKind::ConnectTimeout),
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL => {
            CloseReason::internal(CloseKind::ConnectFailed(errno.0))
        }
        other => CloseReason::upstream(CloseKind::ConnectFailed(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::snapshot::{ClusterOptions, Target, UpstreamHttp};

    fn cluster(balance: Balance, endpoints: u16) -> Cluster {
        Cluster::new(ClusterOptions {
            name: "app".into(),
            targets: (1..=endpoints)
                .map(|port| Target::Socket(std::net::SocketAddr::from(([127, 0, 0, 1], port))))
                .collect(),
            balance,
            connect_timeout: Duration::from_secs(1),
            resolve_interval: Duration::from_secs(1),
            http: UpstreamHttp::default(),
        })
    }

    #[test]
    fn round_robin_takes_turns_and_a_retry_takes_another() {
        let upstreams = Upstreams::default();
        let three = cluster(Balance::RoundRobin, 3);
        let turns: Vec<_> = (0..4).map(|_| upstreams.choose(&three, None)).collect();
        assert_eq!(turns, [Some(0), Some(1), Some(2), Some(0)]);
        assert_eq!(upstreams.choose(&three, Some(1)), Some(2));
        assert_eq!(upstreams.choose(&cluster(Balance::RoundRobin, 1), Some(0)), None);
        assert_eq!(upstreams.choose(&cluster(Balance::RoundRobin, 0), None), None);
    }

    #[test]
    fn least_connections_counts_leases_and_forgets_them() {
        let upstreams = Upstreams::default();
        let two = cluster(Balance::LeastConnections, 2);
        let first = upstreams.lease(&two, &two.endpoints[0]);
        assert_eq!(upstreams.choose(&two, None), Some(1));
        assert_eq!(upstreams.choose(&two, None), Some(1), "whoever's turn it is");
        let second = upstreams.lease(&two, &two.endpoints[1]);
        let third = upstreams.lease(&two, &two.endpoints[1]);
        assert_eq!(upstreams.choose(&two, None), Some(0));
        drop((first, second, third));
        assert!(upstreams.clusters.borrow()["app"].live.values().all(|live| live.get() == 0));
        upstreams.retain(&[]);
        assert!(upstreams.clusters.borrow().is_empty());
    }
}
