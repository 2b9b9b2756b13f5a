//! The clients that are connected, and whether they may stay.
//!
//! Each connection holds a [`Lease`] from its authorisation to its end. Leases are judged again
//! when the configuration changes, when the wall clock jumps and when their time comes, by one task
//! of the worker that looks at a few at a time. Invariant: who is judged not to be allowed is told
//! so within [`LEASE_SWEEP_MS_MAX`], and no pass takes the worker for longer than
//! [`LEASE_SLICE_US_MAX`] or for more than [`LEASES_PER_SLICE_MAX`] leases in one go.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use super::worker::Worker;
use crate::config::snapshot::Snapshot;
use crate::error::{CloseKind, CloseReason};
use crate::limits::{
    LEASE_SLICE_US_MAX, LEASE_SWEEP_MS_MAX, LEASES_PER_LOOK, LEASES_PER_SLICE_MAX,
};
use crate::time::Instant;
use crate::trust::lease;
use crate::trust::verdict::{Verdict, unix_s};

/// Whom a lease is about.
#[derive(Debug)]
pub struct Holder {
    /// The listener, by its index.
    pub listener: usize,
    /// The server name that the client asked for.
    pub server_name: Option<Box<str>>,
    /// The client; `None`: it has no certificate.
    pub client: Option<Arc<Verdict>>,
}

/// A lease as the simulation's oracles see it.
#[cfg(feature = "sim")]
#[derive(Clone, Debug)]
pub struct Held {
    /// The listener, by its index.
    pub listener: usize,
    /// The server name that the client asked for.
    pub server_name: Option<Box<str>>,
    /// The SHA-256 of its certificate, where it has one.
    pub certificate: Option<[u8; 32]>,
    /// Until when, or why not, for people.
    pub term: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    /// In order; to be looked at again at this time, if any.
    Until(Option<Instant>),
    /// Not in order any more, and over at this time.
    Lapsed(Instant, CloseKind),
    Over(CloseKind),
}

#[derive(Debug)]
struct Entry {
    holder: Holder,
    term: Cell<Term>,
    waker: RefCell<Option<Waker>>,
}

impl Entry {
    /// Judges it by `snapshot` now.
    fn judge(&self, snapshot: &Snapshot, now: Instant) {
        let holder = &self.holder;
        let listener = &snapshot.listeners[holder.listener];
        // Without a clock nothing is known to be valid.
        let Some(wall) = listener.tls.time().current_time() else {
            return self.set(Term::Over(CloseKind::CertificateExpired));
        };
        let scope = listener.scopes.select(holder.server_name.as_deref());
        let term = match lease::check(scope, holder.client.as_deref(), wall) {
            Ok(until) => Term::Until(until.map(|until| {
                // The second itself still counts, and how much of it is over nobody knows: so it
                // is looked at again and again while it lasts.
                let left = until.saturating_sub(unix_s(wall));
                let left = left.clamp(0, i64::from(u32::MAX)).unsigned_abs();
                now + Duration::from_secs(left).max(Duration::from_millis(LEASE_SWEEP_MS_MAX / 2))
            })),
            Err(CloseKind::Revoked) => Term::Over(CloseKind::Revoked),
            Err(kind) => {
                let granted = now + listener.lapse_drain;
                let at = match self.term.get() {
                    // What is granted now may be less than it was.
                    Term::Lapsed(at, _) => at.min(granted),
                    Term::Until(_) | Term::Over(_) => granted,
                };
                if now >= at { Term::Over(kind) } else { Term::Lapsed(at, kind) }
            }
        };
        self.set(term);
    }

    fn set(&self, term: Term) {
        self.term.set(term);
        // For nothing less: the task leaves its waker when it is polled, and an idle one is not.
        if matches!(term, Term::Over(_))
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    fn due(&self) -> Option<Instant> {
        match self.term.get() {
            Term::Until(at) => at,
            Term::Lapsed(at, _) => Some(at),
            Term::Over(_) => None,
        }
    }
}

/// The leases of one worker.
#[derive(Debug, Default)]
pub struct Leases {
    entries: RefCell<Slab<Rc<Entry>>>,
    /// Not later than the first time at which one is due.
    next: Cell<Option<Instant>>,
    /// Whether all are to be judged again.
    all: Cell<bool>,
    sweeping: Cell<bool>,
    /// Leases that passes have looked at, and the most of them in one go.
    #[cfg(feature = "sim")]
    judged: Cell<(usize, usize)>,
    sweeper: RefCell<Option<Waker>>,
}

/// What a connection holds while its client is let in.
#[derive(Debug)]
pub struct Lease {
    entry: Rc<Entry>,
    key: usize,
    leases: Rc<Leases>,
}

impl Lease {
    /// Why the connection must end now, where it must; otherwise the task is woken then.
    pub fn ended(&self, cx: &Context<'_>) -> Option<CloseReason> {
        if let Term::Over(kind) = self.entry.term.get() {
            return Some(CloseReason::internal(kind));
        }
        let mut waker = self.entry.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        None
    }
}

impl Lease {
    /// What there is to say about its end, by the configuration in force; nothing where that would
    /// let the client in again.
    pub fn say(&self, worker: &Worker) -> Option<String> {
        self.entry.holder.say(worker)
    }
}

impl Holder {
    /// See [`Lease::say`].
    pub fn say(&self, worker: &Worker) -> Option<String> {
        let snapshot = worker.snapshot();
        let listener = &snapshot.listeners[self.listener];
        let scope = listener.scopes.select(self.server_name.as_deref());
        let now = listener.tls.time().current_time()?;
        lease::say(scope, self.client.as_deref(), now)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.entries.borrow_mut().remove(self.key);
        if self.leases.is_empty() {
            self.leases.wake();
        }
    }
}

impl Leases {
    /// Leases that are held.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    /// Whether there is a task that looks after them.
    #[cfg(feature = "sim")]
    pub fn is_swept(&self) -> bool {
        self.sweeping.get()
    }

    /// Leases that passes have looked at, and the most of them in one go.
    #[cfg(feature = "sim")]
    pub fn judged(&self) -> (usize, usize) {
        self.judged.get()
    }

    #[cfg(feature = "sim")]
    fn count_judged(&self, count: usize) {
        let (all, most) = self.judged.get();
        self.judged.set((all + count, most.max(count)));
    }

    /// Who holds one.
    #[cfg(feature = "sim")]
    pub fn holders(&self) -> Vec<Held> {
        let entries = self.entries.borrow();
        let sha256 = |client: &Arc<Verdict>| {
            client.identity.as_ref().ok().map(|identity| *identity.sha256())
        };
        let held = entries.iter().map(|(_, entry)| Held {
            listener: entry.holder.listener,
            server_name: entry.holder.server_name.clone(),
            certificate: entry.holder.client.as_ref().and_then(sha256),
            term: format!("{:?}", entry.term.get()),
        });
        held.collect()
    }

    /// Gives a lease, judged by the configuration that is in force now.
    ///
    /// # Errors
    /// Its holder may not stay, for the configuration has changed since the handshake began; and
    /// what there is to say about that.
    pub fn grant(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        holder: Holder,
    ) -> Result<Lease, (CloseReason, Option<String>)> {
        let entry = Rc::new(Entry {
            holder,
            term: Cell::new(Term::Until(None)),
            waker: RefCell::default(),
        });
        entry.judge(&worker.snapshot(), worker.core().now());
        match entry.term.get() {
            Term::Until(_) => {}
            Term::Lapsed(_, kind) | Term::Over(kind) => {
                return Err((CloseReason::internal(kind), entry.holder.say(worker)));
            }
        }
        let key = self.entries.borrow_mut().insert(Rc::clone(&entry));
        self.note_due(entry.due());
        if !self.sweeping.replace(true) {
            worker.core().spawn(sweep(Rc::clone(worker), Rc::clone(self)));
        }
        Ok(Lease { entry, key, leases: Rc::clone(self) })
    }

    /// All of them are judged again, soon.
    pub fn recheck(&self) {
        self.all.set(true);
        self.wake();
    }

    fn note_due(&self, due: Option<Instant>) {
        let first = [self.next.get(), due].into_iter().flatten().min();
        if first != self.next.get() {
            self.next.set(first);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.sweeper.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// Judges leases whose time has come, or all, until there are none.
async fn sweep(worker: Rc<Worker>, leases: Rc<Leases>) {
    let core = worker.core().clone();
    loop {
        let mut timer = leases.next.get().map(|next| core.sleep_until(next));
        poll_fn(|cx| {
            *leases.sweeper.borrow_mut() = Some(cx.waker().clone());
            let is_due = leases.all.get() || leases.is_empty();
            // Another one may be due earlier than the timer that was made.
            let moved = timer.as_ref().map(|timer| timer.deadline()) != leases.next.get();
            match &mut timer {
                _ if is_due || moved => Poll::Ready(()),
                Some(timer) => timer.poll_expired(cx),
                None => Poll::Pending,
            }
        })
        .await;
        if leases.is_empty() {
            leases.next.set(None);
            leases.all.set(false);
            leases.sweeping.set(false);
            return;
        }
        if leases.all.get() || leases.next.get().is_some_and(|next| core.now() >= next) {
            pass(&worker, &leases).await;
        }
    }
}

/// One look at every lease.
async fn pass(worker: &Worker, leases: &Leases) {
    let core = worker.core();
    let all = leases.all.replace(false);
    leases.next.set(None);
    let began = core.now();
    let (mut key, mut earliest) = (0, None);
    // What is granted meanwhile was judged by the newest configuration, and told its time.
    let end = leases.entries.borrow().capacity();
    while key < end {
        let slice = core.clock();
        let slice_end = end.min(key + LEASES_PER_SLICE_MAX);
        #[cfg(feature = "sim")]
        let slice_begin = key;
        while key < slice_end && (core.clock() - slice).as_micros() < u128::from(LEASE_SLICE_US_MAX)
        {
            let snapshot = worker.snapshot();
            let mut has_ended = false;
            for key in key..end.min(key + LEASES_PER_LOOK) {
                let entry = leases.entries.borrow().get(key).map(Rc::clone);
                let Some(entry) = entry else { continue };
                if all || entry.due().is_some_and(|due| core.now() >= due) {
                    entry.judge(&snapshot, core.now());
                    has_ended |= matches!(entry.term.get(), Term::Over(_));
                }
                earliest = [earliest, entry.due()].into_iter().flatten().min();
            }
            key = end.min(key + LEASES_PER_LOOK);
            // To end them is work too: others have their turn in between.
            if has_ended {
                break;
            }
        }
        #[cfg(feature = "sim")]
        leases.count_judged(key - slice_begin);
        yield_now().await;
    }
    // Not at once again, where many are due one shortly after the other.
    let soonest = began + Duration::from_millis(LEASE_SWEEP_MS_MAX / 2);
    leases.note_due(earliest.map(|earliest: Instant| earliest.max(soonest)));
}

/// Lets the other tasks have their turn.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_was_judged_to_stay_is_told_when_it_must_go_after_all() {
        let woken: Arc<Count> = Arc::default();
        let entry = Entry {
            holder: Holder { listener: 0, server_name: None, client: None },
            term: Cell::new(Term::Until(None)),
            waker: RefCell::new(Some(Waker::from(Arc::clone(&woken)))),
        };
        entry.set(Term::Until(None));
        entry.set(Term::Lapsed(Instant::from_nanos(1), CloseKind::CertificateExpired));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "it may stay");
        entry.set(Term::Over(CloseKind::Revoked));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }
}
