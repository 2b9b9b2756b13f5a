//! Who may come in as far as numbers go: connections in all, per worker and per source.
//!
//! At the limits in all and per worker the listener stops, and the kernel keeps the backlog. A
//! source beyond its own limit is closed at once, for its backlog is everybody's. A place is taken
//! until the client's descriptor is closed, so sockets on their way out count too.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::descriptors::Descriptors;
use super::sources::{SourceGuard, SourceTable};
use crate::config::snapshot::Limits;
use crate::limits::ADMISSION_RETRY_MS;
use crate::rt::core::Core;

/// What all workers share: touched once when a connection comes and once when it goes.
#[derive(Debug)]
pub struct SharedAdmission {
    live: AtomicU32,
    sources: Arc<SourceTable>,
    /// Of connections to upstreams.
    descriptors: Descriptors,
    seed: [u64; 2],
}

impl SharedAdmission {
    /// Nobody is in yet. `seed` keys the tables of sources.
    pub fn new(seed: [u64; 2]) -> Arc<Self> {
        Arc::new(Self {
            live: AtomicU32::new(0),
            sources: SourceTable::new(seed),
            descriptors: Descriptors::default(),
            seed,
        })
    }

    /// What keys the tables of sources.
    pub fn seed(&self) -> [u64; 2] {
        self.seed
    }

    /// The count of the descriptors of connections to upstreams.
    pub fn descriptors(&self) -> Descriptors {
        self.descriptors.clone()
    }

    /// Whether every place was given back, in all and of each source.
    #[cfg(feature = "sim")]
    pub fn is_empty(&self) -> bool {
        let is_free = self.live.load(Ordering::Relaxed) == 0 && self.descriptors.open() == 0;
        is_free && self.sources.is_empty()
    }

    /// Places that a source has.
    #[cfg(feature = "sim")]
    pub fn places_of(&self, source: IpAddr) -> u32 {
        self.sources.count(source)
    }
}

/// One worker's side.
#[derive(Debug)]
pub struct Admission {
    shared: Arc<SharedAdmission>,
    live: Cell<u32>,
    waiting: RefCell<Vec<Waker>>,
}

impl Admission {
    /// The worker's side of `shared`.
    pub fn new(shared: Arc<SharedAdmission>) -> Rc<Self> {
        Rc::new(Self { shared, live: Cell::new(0), waiting: RefCell::default() })
    }

    /// How many more connections this worker may take now.
    pub fn room(&self, limits: &Limits) -> u32 {
        let in_all =
            limits.connections_max.saturating_sub(self.shared.live.load(Ordering::Relaxed));
        in_all.min(limits.connections_per_worker_max.saturating_sub(self.live.get()))
    }

    /// Places that are taken on this worker.
    #[cfg(feature = "sim")]
    pub fn places(&self) -> usize {
        self.live.get() as usize
    }

    /// Waits until there may be room: a place became free here, or, since other workers do not
    /// tell, some time has passed.
    pub async fn changed(&self, core: &Core) {
        let mut timer = core.sleep_until(core.now() + Duration::from_millis(ADMISSION_RETRY_MS));
        let live = self.live.get();
        poll_fn(|cx: &mut Context<'_>| {
            if self.live.get() < live {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            // Once for each task: a worker may wait long without a place of its own to become free.
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            drop(waiting);
            timer.poll_expired(cx)
        })
        .await;
    }

    /// Takes a place, for a client at `source`; `None` where the source has all it may have.
    pub fn admit(self: &Rc<Self>, source: Option<IpAddr>, limits: &Limits) -> Option<Rc<Place>> {
        let guard = match (source, limits.connections_per_source_max) {
            (Some(ip), Some(limit)) => Some(self.shared.sources.acquire(ip, limit)?),
            _ => None,
        };
        self.live.set(self.live.get() + 1);
        self.shared.live.fetch_add(1, Ordering::Relaxed);
        Some(Rc::new(Place { admission: Rc::clone(self), _source: guard }))
    }
}

/// A place that is taken; dropping it frees it.
#[derive(Debug)]
pub struct Place {
    admission: Rc<Admission>,
    _source: Option<SourceGuard>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let admission = &self.admission;
        admission.live.set(admission.live.get() - 1);
        admission.shared.live.fetch_sub(1, Ordering::Relaxed);
        admission.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::proxy::kit::{Woken, core};

    const LIMITS: Limits = Limits {
        connections_max: 2,
        connections_per_worker_max: 2,
        connections_per_source_max: None,
        verdicts_per_worker_max: 1,
        session_cache_bytes: 0,
        handshakes_per_worker_max: 1,
        handshakes_per_source_max: 1,
        handshake_queue: Duration::ZERO,
    };

    #[test]
    fn however_often_tasks_wait_each_is_kept_once_and_woken_when_a_place_is_free() {
        let core = core();
        let admission = Admission::new(SharedAdmission::new([1, 2]));
        let place = admission.admit(None, &LIMITS).expect("no limit of sources");
        let tasks = [Arc::new(Woken::default()), Arc::new(Woken::default())];
        let wakers = tasks.clone().map(Waker::from);
        for _ in 0..1000 {
            for waker in &wakers {
                let mut changed = pin!(admission.changed(&core));
                let mut cx = Context::from_waker(waker);
                // Woken for another reason, and then for none of ours.
                assert_eq!(changed.as_mut().poll(&mut cx), Poll::Pending);
                assert_eq!(changed.as_mut().poll(&mut cx), Poll::Pending);
            }
        }
        assert_eq!(admission.waiting.borrow().len(), tasks.len());
        let mut changed = pin!(admission.changed(&core));
        let mut cx = Context::from_waker(&wakers[0]);
        assert_eq!(changed.as_mut().poll(&mut cx), Poll::Pending);
        drop(place);
        for task in &tasks {
            assert_eq!(task.0.load(Ordering::Relaxed), 1);
        }
        assert_eq!(changed.as_mut().poll(&mut cx), Poll::Ready(()));
        assert_eq!(admission.room(&LIMITS), 2);
        assert!(admission.waiting.borrow().is_empty());
    }
}
