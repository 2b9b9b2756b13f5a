//! The connections of one worker to its upstreams that requests share (HTTP/2).
//!
//! Invariant: a connection that is over, worn, old, or of a cluster that is not configured any more
//! is handed out to nobody; it ends once its streams have.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::pool::{Configured, Connection, Key, key};
use super::upstream::{Lease, Place};
use crate::config::snapshot::Cluster;
use crate::error::{CloseReason, Source};
use crate::http2::client::{Client, Driver, connect};
use crate::http2::options::Http2Options;
use crate::rt::core::Core;
use crate::time::Instant;

/// A connection that has room for a stream.
#[derive(Debug)]
pub struct Shared {
    /// Opens the stream.
    pub client: Client,
    /// Counts the request to its endpoint.
    pub lease: Lease,
    /// Which endpoint of its cluster it leads to.
    pub endpoint: usize,
}

#[derive(Debug)]
struct Entry {
    client: Client,
    place: Place,
    cluster: Arc<Cluster>,
    number: u64,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct SharedPool {
    entries: RefCell<HashMap<Key, Vec<Entry>>>,
    /// Those that are being made.
    openings: RefCell<HashMap<Key, Rc<Opening>>>,
    next_number: Cell<u64>,
    configured: Configured,
    is_closing: Cell<bool>,
}

/// A connection that is being made, and who waits for it.
#[derive(Debug, Default)]
struct Opening {
    /// Whether it was made, once that is known.
    outcome: Cell<Option<bool>>,
    waiting: RefCell<Vec<Waker>>,
}

/// What somebody has to do who found no connection with room.
#[derive(Debug)]
pub enum Turn {
    /// To make one, for all who ask meanwhile.
    Open(Opener),
    /// To wait for the one that is being made.
    Wait(Waiting),
}

/// Dropped before it has succeeded it has failed.
#[derive(Debug)]
pub struct Opener {
    pool: Rc<SharedPool>,
    opening: Rc<Opening>,
    /// Alive, so that its address is nobody else's.
    cluster: Arc<Cluster>,
    endpoint: usize,
}

/// For a connection that somebody else makes.
#[derive(Debug)]
pub struct Waiting {
    opening: Rc<Opening>,
}

impl Opener {
    /// The connection is there, and handed out by [`SharedPool::take`].
    pub fn succeed(self) {
        self.opening.outcome.set(Some(true));
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.pool.openings.borrow_mut().remove(&key(&self.cluster, self.endpoint));
        let outcome = self.opening.outcome.get().unwrap_or(false);
        self.opening.outcome.set(Some(outcome));
        for waiting in self.opening.waiting.take() {
            waiting.wake();
        }
    }
}

impl Waiting {
    /// Whether the connection was made, once that is known.
    pub async fn has_opened(&self) -> bool {
        let mut is_known = false;
        poll_fn(|cx| {
            if let Some(outcome) = self.opening.outcome.get() {
                return Poll::Ready(outcome);
            }
            // The waker of a task stays the same.
            if !std::mem::replace(&mut is_known, true) {
                self.opening.waiting.borrow_mut().push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Entry {
    /// Until when it may be handed out; `None` where that is over.
    fn until(&self, now: Instant) -> Option<Instant> {
        let options = &self.cluster.http;
        let idle_since = if self.client.streams() == 0 { self.client.idle_since() } else { now };
        let idle = idle_since + options.idle_timeout;
        let aged = options.age_max.map(|age| self.client.opened_at() + age);
        let until = aged.map_or(idle, |aged| aged.min(idle));
        let is_worn = options.requests_max.is_some_and(|max| self.client.requests() >= max);
        (self.client.is_open() && !is_worn && now < until).then_some(until)
    }
}

impl SharedPool {
    /// A connection to this endpoint with room for a stream.
    pub fn take(&self, core: &Core, cluster: &Arc<Cluster>, endpoint: usize) -> Option<Shared> {
        let now = core.now();
        let mut entries = self.entries.borrow_mut();
        let found = entries.get_mut(&key(cluster, endpoint))?;
        found.retain(|entry| entry.until(now).is_some());
        // The first that has room: those that are not needed run out.
        let entry = found.iter().find(|entry| entry.client.has_room())?;
        let (client, lease) = (entry.client.clone(), entry.place.clone().lease());
        core.counters().upstream_reuses.increment();
        Some(Shared { client, lease, endpoint })
    }

    /// Who finds no connection to this endpoint makes one, or waits for who does: a hundred
    /// requests that come at once are no reason for a hundred connections.
    pub fn turn(self: &Rc<Self>, cluster: &Arc<Cluster>, endpoint: usize) -> Turn {
        let mut openings = self.openings.borrow_mut();
        let key = key(cluster, endpoint);
        if let Some(opening) = openings.get(&key) {
            return Turn::Wait(Waiting { opening: Rc::clone(opening) });
        }
        let opening = Rc::<Opening>::default();
        openings.insert(key, Rc::clone(&opening));
        let (pool, cluster) = (Rc::clone(self), Arc::clone(cluster));
        Turn::Open(Opener { pool, opening, cluster, endpoint })
    }

    /// Speaks HTTP/2 on a connection that was just made, and shares it from now on.
    ///
    /// # Errors
    /// It has failed already.
    pub async fn share(
        self: &Rc<Self>,
        core: &Core,
        connection: Connection,
    ) -> Result<Shared, CloseReason> {
        let (transport, lease, cluster, endpoint) = connection.into_parts();
        let connected = connect(core, transport, &Http2Options::of_upstreams()).await;
        let (client, driver) = connected
            .map_err(|end| CloseReason { source: Source::Upstream, kind: end.close_kind() })?;
        let place = lease.pause();
        let shared = Shared { client: client.clone(), lease: place.clone().lease(), endpoint };
        if !self.is_closing.get() && self.configured.has(&cluster) {
            let number = self.next_number.replace(self.next_number.get() + 1);
            let key = key(&cluster, endpoint);
            let entry = Entry { client, place, cluster, number };
            self.entries.borrow_mut().entry(key).or_default().push(entry);
            core.spawn(keep(core.clone(), Rc::clone(self), key, number, driver));
        } else {
            core.spawn(async move {
                driver.run().await;
            });
        }
        Ok(shared)
    }

    /// Hands out nothing that leads to clusters that are not among `clusters`.
    pub fn retain(&self, clusters: &[Arc<Cluster>]) {
        self.configured.set(clusters);
        self.entries.borrow_mut().retain(|_, found| {
            found.retain(|entry| clusters.iter().any(|it| Arc::ptr_eq(it, &entry.cluster)));
            !found.is_empty()
        });
    }

    /// Since when the one waits that has carried no stream for longest.
    pub fn waiting_since(&self) -> Option<Instant> {
        let entries = self.entries.borrow();
        let waiting = entries.values().flatten().filter(|entry| entry.client.streams() == 0);
        waiting.map(|entry| entry.client.idle_since()).min()
    }

    /// Hands out that one no more, so that it ends. Returns whether there was one.
    pub fn close_oldest(&self) -> bool {
        let Some(since) = self.waiting_since() else { return false };
        let mut entries = self.entries.borrow_mut();
        let mut closed = None;
        for found in entries.values_mut() {
            let is_oldest =
                |entry: &Entry| entry.client.streams() == 0 && entry.client.idle_since() == since;
            if let Some(index) = found.iter().position(is_oldest) {
                closed = Some(found.swap_remove(index));
                break;
            }
        }
        entries.retain(|_, found| !found.is_empty());
        // Outside of the borrow: what is dropped wakes its task.
        drop(entries);
        closed.is_some()
    }

    /// Hands out nothing any more.
    pub fn close(&self) {
        self.is_closing.set(true);
        // Outside of the borrow: what is dropped wakes its task.
        let entries = std::mem::take(&mut *self.entries.borrow_mut());
        drop(entries);
    }

    /// Until when this one may be handed out; `None`, and forgotten, where that is over.
    fn until(&self, now: Instant, key: Key, number: u64) -> Option<Instant> {
        let mut entries = self.entries.borrow_mut();
        let found = entries.get_mut(&key)?;
        let index = found.iter().position(|entry| entry.number == number)?;
        let until = found[index].until(now);
        if until.is_none() {
            found.swap_remove(index);
            if found.is_empty() {
                entries.remove(&key);
            }
        }
        until
    }
}

/// Moves a connection on until it is over, and forgets it when it is not needed.
async fn keep(core: Core, pool: Rc<SharedPool>, key: Key, number: u64, driver: Driver) {
    let mut running = std::pin::pin!(driver.run());
    let mut timer = core.sleep_until(core.now());
    poll_fn(|cx| {
        if running.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // Forgotten, it ends once its streams have; that wakes this task.
        if let Some(until) = pool.until(core.now(), key, number) {
            if timer.deadline() != until {
                timer.reset(until);
            }
            if timer.poll_expired(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    })
    .await;
    // It is not open any more.
    pool.until(core.now(), key, number);
}
