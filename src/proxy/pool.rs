//! The connections of one worker to its upstreams that wait for their next request.
//!
//! Invariant: a connection is handed out only where nothing has come on it since its last response
//! was complete: neither an end nor bytes that nobody asked for. The one that was used last is used
//! first, so that those that are not needed run out.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::upstream::{Lease, Place};
use crate::config::snapshot::Cluster;
use crate::planted::{Bug, planted};
use crate::rt::core::Core;
use crate::time::Instant;
use crate::tls::transport::Transport;

/// A connection to an endpoint that carries one request after the other.
#[derive(Debug)]
pub struct Connection {
    /// The bytes.
    pub transport: Transport,
    /// Counts it to its endpoint while it is in use.
    pub lease: Lease,
    /// Requests that it has carried, the present one included.
    pub requests: u64,
    cluster: Arc<Cluster>,
    endpoint: usize,
    opened: Instant,
}

impl Connection {
    /// A connection that was just made, for its first request.
    pub(super) fn new(
        transport: Transport,
        lease: Lease,
        cluster: &Arc<Cluster>,
        endpoint: usize,
        opened: Instant,
    ) -> Self {
        let cluster = Arc::clone(cluster);
        Self { transport, lease, requests: 1, cluster, endpoint, opened }
    }

    /// Which endpoint of its cluster it leads to.
    pub(super) fn endpoint(&self) -> usize {
        self.endpoint
    }

    /// What it is made of, where it is to be shared: its bytes, its count, and where it leads.
    pub(super) fn into_parts(self) -> (Transport, Lease, Arc<Cluster>, usize) {
        (self.transport, self.lease, self.cluster, self.endpoint)
    }
}

#[derive(Debug)]
struct Idle {
    transport: Transport,
    place: Place,
    requests: u64,
    cluster: Arc<Cluster>,
    opened: Instant,
    since: Instant,
    /// When it is closed, if nothing needs it before.
    until: Instant,
}

/// By address of the cluster, which the entries keep alive, and index of the endpoint. A cluster
/// that was configured anew is another one.
pub(super) type Key = (usize, usize);

/// The clusters of the configuration in force: what was begun under another one may come back
/// later.
#[derive(Debug, Default)]
pub(super) struct Configured {
    /// `None` until they have changed.
    clusters: RefCell<Option<Vec<Arc<Cluster>>>>,
}

impl Configured {
    pub(super) fn set(&self, clusters: &[Arc<Cluster>]) {
        *self.clusters.borrow_mut() = Some(clusters.to_vec());
    }

    pub(super) fn has(&self, cluster: &Arc<Cluster>) -> bool {
        let clusters = self.clusters.borrow();
        clusters.as_ref().is_none_or(|all| all.iter().any(|it| Arc::ptr_eq(it, cluster)))
    }
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Pool {
    idle: RefCell<HashMap<Key, VecDeque<Idle>>>,
    /// Of the task that looks after them, where there is one.
    keeper: RefCell<Option<Waker>>,
    /// When that task looks at them again by itself.
    next_sweep: Cell<Option<Instant>>,
    configured: Configured,
    is_kept: Cell<bool>,
    /// Nothing is kept any more.
    is_closing: Cell<bool>,
}

pub(super) fn key(cluster: &Arc<Cluster>, endpoint: usize) -> Key {
    (Arc::as_ptr(cluster).addr(), endpoint)
}

impl Pool {
    /// A connection to this endpoint that waits, and is still good.
    ///
    /// `be_sure` asks the kernel whether an end is there that the loop has not heard of, for a
    /// request that could not be sent again.
    pub fn take(
        &self,
        core: &Core,
        cluster: &Arc<Cluster>,
        endpoint: usize,
        be_sure: bool,
    ) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let queue = idle.get_mut(&key(cluster, endpoint))?;
        let now = core.now();
        while let Some(found) = queue.pop_back() {
            let Idle { transport, place, requests, cluster, opened, until, .. } = found;
            let is_stale = transport.is_stale() || be_sure && transport.socket().has_news();
            if now >= until || is_stale {
                transport.close();
                continue;
            }
            let (lease, requests) = (place.lease(), requests + 1);
            return Some(Connection { transport, lease, requests, cluster, endpoint, opened });
        }
        None
    }

    /// Keeps a connection whose last response is complete, or closes it.
    pub fn put(self: &Rc<Self>, core: &Core, connection: Connection) {
        let Connection { mut transport, lease, requests, cluster, endpoint, opened } = connection;
        let (options, now) = (&cluster.http, core.now());
        let until = now + options.idle_timeout;
        let until = options.age_max.map_or(until, |age| until.min(opened + age));
        let is_worn = options.requests_max.is_some_and(|max| requests >= max) || now >= until;
        let is_wanted = self.configured.has(&cluster) && options.idle_max > 0;
        if self.is_closing.get() || is_worn || !is_wanted {
            return transport.close();
        }
        // From now on the keeper hears of what comes.
        if let Some(keeper) = &*self.keeper.borrow()
            && transport.poll_idle(core, &mut Context::from_waker(keeper)).is_ready()
        {
            return transport.close();
        }
        let mut idle = self.idle.borrow_mut();
        let queue = idle.entry(key(&cluster, endpoint)).or_default();
        if queue.len() >= options.idle_max
            && let Some(oldest) = queue.pop_front()
        {
            oldest.transport.close();
        }
        let place = lease.pause();
        let since = now;
        queue.push_back(Idle { transport, place, requests, cluster, opened, since, until });
        drop(idle);
        if !self.is_kept.replace(true) {
            core.spawn(keep(core.clone(), Rc::clone(self)));
        } else if self.next_sweep.get().is_some_and(|next| until < next)
            && let Some(keeper) = &*self.keeper.borrow()
        {
            keeper.wake_by_ref();
        }
    }

    /// Closes what leads to clusters that are not among `clusters`.
    pub fn retain(&self, clusters: &[Arc<Cluster>]) {
        self.configured.set(clusters);
        self.close_where(|idle| !clusters.iter().any(|it| Arc::ptr_eq(it, &idle.cluster)));
    }

    /// Closes all, and keeps nothing from now on.
    pub fn close(&self) {
        if planted(Bug::KeepPool) {
            return;
        }
        self.is_closing.set(true);
        self.close_where(|_| true);
        if let Some(keeper) = self.keeper.borrow_mut().take() {
            keeper.wake();
        }
    }

    /// Since when the one waits that waits longest.
    pub fn waiting_since(&self) -> Option<Instant> {
        let idle = self.idle.borrow();
        idle.values().filter_map(|queue| queue.front()).map(|idle| idle.since).min()
    }

    /// Closes the one that waits longest, at once: its descriptor is needed. Returns whether there
    /// was one.
    pub fn close_oldest(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let waiting = in_order(&mut idle).into_iter().filter(|queue| !queue.is_empty());
        let oldest = waiting.min_by_key(|queue| queue.front().map(|idle| idle.since));
        // Dropped, it is reset. Nothing is on its way there, and FIN would wait for the upstream's.
        let oldest = oldest.and_then(VecDeque::pop_front);
        idle.retain(|_, queue| !queue.is_empty());
        oldest.is_some()
    }

    /// Connections that wait.
    pub fn len(&self) -> usize {
        self.idle.borrow().values().map(VecDeque::len).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a task that looks after them.
    #[cfg(feature = "sim")]
    pub fn is_kept(&self) -> bool {
        self.is_kept.get()
    }

    fn close_where(&self, is_over: impl Fn(&Idle) -> bool) {
        let mut idle = self.idle.borrow_mut();
        for queue in in_order(&mut idle) {
            for index in (0..queue.len()).rev() {
                if is_over(&queue[index])
                    && let Some(over) = queue.remove(index)
                {
                    over.transport.close();
                }
            }
        }
        idle.retain(|_, queue| !queue.is_empty());
    }

    /// Closes those that are over. Returns when the next one is.
    fn sweep(&self, core: &Core, cx: &mut Context<'_>) -> Option<Instant> {
        let now = core.now();
        let mut next: Option<Instant> = None;
        let mut idle = self.idle.borrow_mut();
        for queue in in_order(&mut idle) {
            for _ in 0..queue.len() {
                let Some(mut found) = queue.pop_front() else { break };
                if now >= found.until || found.transport.poll_idle(core, cx).is_ready() {
                    found.transport.close();
                    continue;
                }
                next = Some(next.map_or(found.until, |next| next.min(found.until)));
                queue.push_back(found);
            }
        }
        idle.retain(|_, queue| !queue.is_empty());
        self.next_sweep.set(next);
        next
    }
}

/// What waits, by the names of clusters and their endpoints: by the keys' addresses and hashes, two
/// runs of the same seed would differ (`docs/simulation.md`).
fn in_order(idle: &mut HashMap<Key, VecDeque<Idle>>) -> Vec<&mut VecDeque<Idle>> {
    fn name(queue: &VecDeque<Idle>) -> Option<&str> {
        queue.front().map(|idle| &*idle.cluster.name)
    }
    let mut queues: Vec<_> = idle.iter_mut().collect();
    queues.sort_unstable_by(|((_, endpoint), queue), ((_, other_endpoint), other)| {
        name(queue).cmp(&name(other)).then(endpoint.cmp(other_endpoint))
    });
    queues.into_iter().map(|(_, queue)| queue).collect()
}

/// Looks after the connections that wait until there are none.
async fn keep(core: Core, pool: Rc<Pool>) {
    let mut timer = core.sleep_until(core.now());
    poll_fn(|cx| {
        if !pool.keeper.borrow().as_ref().is_some_and(|keeper| keeper.will_wake(cx.waker())) {
            *pool.keeper.borrow_mut() = Some(cx.waker().clone());
        }
        loop {
            let Some(next) = pool.sweep(&core, cx) else { return Poll::Ready(()) };
            timer.reset(next);
            if timer.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
    pool.is_kept.set(false);
    *pool.keeper.borrow_mut() = None;
}
