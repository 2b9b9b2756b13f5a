//! Who may have a handshake made, and in which order: one worker's handshakes in progress, from a
//! complete ClientHello to the client's Finished.
//!
//! Bounded are those in progress, in all and of each source, and those that wait for one of these
//! places, in number and in time. What is beyond is refused before anything was computed for it.
//! It must not know TLS: it is told who asks, and what became of it. Time comes in. Invariants: a
//! place is free again when its [`Pass`] is dropped, granted or not; nothing that a peer controls
//! grows beyond the bounds; nobody is put off for ever, for each class has its turns.
//!
//! # The order
//!
//! Who offers a session to resume comes first: that is most often a client that was here, and costs
//! a fraction. Then everybody else. Last come sources whose handshakes keep failing (`failures`).
//! An offer costs nothing to make up, and an innocent may share the address of a flood; so of eight
//! places one goes to who comes last, and one more to who comes second, where somebody waits there.
//!
//! # Who makes room
//!
//! Of a full queue somebody may be put out for one that comes: the last of the failing sources;
//! else the last of the source that has most waiting, where it still has no fewer than that of the
//! one that comes. Where nobody has more than the others, who resumes comes before who does not,
//! but to an eighth of the queue these have a right: else floods of either would leave the other
//! class nothing to have its turns with.
//!
//! # Who stays too long
//!
//! Places could be taken by sending a ClientHello and nothing more. So with each that comes and has
//! to wait, the client that was waited for longest, and longer than [`HANDSHAKE_STALE_MS`], loses
//! its place. What the server itself makes a handshake wait is not counted: not before its first
//! flight is computed, and not once there is something to do for it. The clock starts anew when
//! something came, but only [`HANDSHAKE_WAITS_MAX`] times, or a client could dole out its bytes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use super::failures::Failures;
use super::sources::{Source, source_of};
use crate::config::snapshot::Limits;
use crate::limits::{
    HANDSHAKE_STALE_MS, HANDSHAKE_WAITS_MAX, HANDSHAKES_WAITING_FAILING_MAX,
    HANDSHAKES_WAITING_MAX, HANDSHAKES_WAITING_NEW_MIN, HANDSHAKES_WAITING_OF_SOURCE_MAX,
};
use crate::metrics::counter::WorkerCounters;
use crate::rt::core::Core;
use crate::time::Instant;
use watch::Watch;

mod watch;

/// Who asks for a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Where it comes from; `None` counts as one source.
    pub source: Option<IpAddr>,
    /// Whether it offers a session to resume.
    pub resumes: bool,
}

/// In which order places are given, the first class first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Resuming,
    New,
    Failing,
}

/// Of eight grants, which class is looked at first.
const TURNS: [Class; 8] = {
    use Class::{Failing, New, Resuming};
    [Resuming, Resuming, Resuming, New, Resuming, Resuming, Resuming, Failing]
};

#[derive(Debug)]
enum Stage {
    /// Behind others of its source, which has all the places that it may have.
    Parked,
    /// In the queue of its class.
    Queued,
    /// It has a place.
    In,
    /// It was put out, and has nothing any more.
    Out,
}

#[derive(Debug)]
struct Entry {
    source: Source,
    class: Class,
    stage: Stage,
    /// Of who waits for a place.
    waker: Option<Waker>,
    /// Since when its client is waited for, and how often that began.
    since: Instant,
    waits: u32,
    /// Of who waits for its client.
    watch: Option<Arc<Watch>>,
}

/// What a source has. It is there while it has anything.
#[derive(Debug, Default)]
struct Of {
    /// Places, and entries in the queues: at most as many as the source may have places.
    charged: u32,
    /// Those that are parked, and entries in the queues.
    waiting: usize,
    /// First who resumes, then the others.
    parked: [VecDeque<usize>; 2],
}

impl Of {
    fn parked(&self) -> usize {
        self.parked.iter().map(VecDeque::len).sum()
    }
}

#[derive(Debug)]
struct State {
    entries: Slab<Entry>,
    queues: [VecDeque<usize>; 3],
    sources: BTreeMap<Source, Of>,
    /// The sources that have somebody waiting, by how many.
    crowds: BTreeSet<(usize, Source)>,
    /// How many have a place.
    inside: usize,
    /// Those of them whose client is waited for, or was until lately, by since when.
    awaited: BTreeSet<(Instant, usize)>,
    failures: Failures,
    granted: u64,
    waiting: usize,
    waiting_failing: usize,
    per_worker_max: usize,
    per_source_max: u32,
}

/// See the module's description.
#[derive(Debug)]
pub struct Gate {
    state: RefCell<State>,
    counters: Arc<WorkerCounters>,
}

/// A place, or the wait for one. Dropping it gives up either.
#[derive(Debug)]
pub struct Pass {
    gate: Rc<Gate>,
    key: usize,
}

impl Gate {
    /// Nobody is in. `seed` keys the table of sources that fail.
    pub fn new(seed: [u64; 2], counters: Arc<WorkerCounters>) -> Rc<Self> {
        let state = State {
            entries: Slab::new(),
            queues: Default::default(),
            sources: BTreeMap::new(),
            crowds: BTreeSet::new(),
            inside: 0,
            awaited: BTreeSet::new(),
            failures: Failures::new(seed),
            granted: 0,
            waiting: 0,
            waiting_failing: 0,
            per_worker_max: 0,
            per_source_max: 0,
        };
        Rc::new(Self { state: RefCell::new(state), counters })
    }

    /// Takes a place at `now`, or one in the queue; `None` where there is neither.
    pub fn arrive(self: &Rc<Self>, now: Instant, who: Asking, limits: &Limits) -> Option<Pass> {
        let mut state = self.state.borrow_mut();
        state.set_limits(limits);
        let may_wait = !limits.handshake_queue.is_zero();
        let key = state.arrive(now, who, may_wait);
        self.count(&state);
        if key.is_none() {
            self.counters.handshakes_refused.increment();
        }
        key.map(|key| Pass { gate: Rc::clone(self), key })
    }

    /// Tells what became of a handshake of this source. Returns whether failing ones are so many
    /// that a flood has to be assumed.
    pub fn settle(&self, now: Instant, source: Option<IpAddr>, is_good: bool) -> bool {
        self.state.borrow_mut().failures.count(now, source_of(source), is_good)
    }

    fn count(&self, state: &State) {
        self.counters.handshakes_live.set(state.inside as u64);
        self.counters.handshakes_waiting.set(state.waiting as u64);
    }
}

impl Pass {
    /// Whether it has its place, and nothing has to be waited for.
    pub fn is_in(&self) -> bool {
        matches!(self.gate.state.borrow().entries[self.key].stage, Stage::In)
    }

    /// Waits for the place, so long. Returns whether it got one.
    pub async fn granted(&self, core: &Core, time: Duration) -> bool {
        let turn = poll_fn(|cx| {
            let mut state = self.gate.state.borrow_mut();
            let entry = &mut state.entries[self.key];
            match entry.stage {
                Stage::In => Poll::Ready(true),
                Stage::Out => Poll::Ready(false),
                Stage::Parked | Stage::Queued => {
                    entry.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        let is_in = core.timeout_at(core.now() + time, turn).await.unwrap_or(false);
        if !is_in {
            self.gate.counters.handshakes_refused.increment();
        }
        is_in
    }

    /// `future`, unless it loses its place before that is ready: then `None`. While that is pending
    /// and was not woken, the client is waited for.
    pub async fn hold<F: Future>(&self, core: &Core, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        let mut watch = None;
        poll_fn(|cx| {
            if !self.gate.state.borrow_mut().resume(self.key) {
                self.gate.counters.handshakes_refused.increment();
                return Poll::Ready(None);
            }
            let watch = Watch::renew(&mut watch, cx.waker());
            let waker = Waker::from(Arc::clone(&watch));
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_pending() {
                let now = core.now();
                self.gate.state.borrow_mut().wait_for_client(now, self.key, watch);
            }
            polled.map(Some)
        })
        .await
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.state.borrow_mut();
        state.leave(self.key);
        state.entries.remove(self.key);
        self.gate.count(&state);
    }
}

impl State {
    /// Another configuration may have other limits; who waits gets what it gives.
    fn set_limits(&mut self, limits: &Limits) {
        let new = (limits.handshakes_per_worker_max as usize, limits.handshakes_per_source_max);
        if new == (self.per_worker_max, self.per_source_max) {
            return;
        }
        (self.per_worker_max, self.per_source_max) = new;
        let sources: Vec<Source> = self.sources.keys().copied().collect();
        sources.into_iter().for_each(|source| self.unpark(source));
        self.grant();
    }

    fn arrive(&mut self, now: Instant, who: Asking, may_wait: bool) -> Option<usize> {
        let source = source_of(who.source);
        let class = match (self.failures.is_failing(now, source), who.resumes) {
            (true, _) => Class::Failing,
            (false, true) => Class::Resuming,
            (false, false) => Class::New,
        };
        let of_source = self.sources.get(&source).map_or(0, |of| of.charged);
        let has_turn = of_source < self.per_source_max;
        let is_wanted = has_turn || self.queues.iter().any(|queue| !queue.is_empty());
        if is_wanted && self.inside >= self.per_worker_max {
            self.put_out_stale(now);
        }
        // Where there is a free place, nobody who has a turn waits.
        let is_free = has_turn && self.inside < self.per_worker_max;
        let is_taken = is_free || (may_wait && self.has_room(source, class));
        if !is_taken {
            return None;
        }
        let stage = Stage::Parked;
        let since = Instant::ORIGIN;
        let entry = Entry { source, class, stage, waker: None, since, waits: 0, watch: None };
        let key = self.entries.insert(entry);
        self.sources.entry(source).or_default().parked[row(class)].push_back(key);
        self.count_waiting(source, class, true);
        self.unpark(source);
        self.grant();
        Some(key)
    }

    /// Whether one more may wait; where the queue is full, somebody else may have to make room.
    fn has_room(&mut self, source: Source, class: Class) -> bool {
        let (parked, waiting) =
            self.sources.get(&source).map_or((0, 0), |of| (of.parked(), of.waiting));
        // Parked are no more than may have places, and a source alone does not fill the queue.
        if parked >= self.per_source_max as usize || waiting >= HANDSHAKES_WAITING_OF_SOURCE_MAX {
            return false;
        }
        if class == Class::Failing {
            return self.waiting_failing < HANDSHAKES_WAITING_FAILING_MAX
                && self.waiting < HANDSHAKES_WAITING_MAX;
        }
        if self.waiting >= HANDSHAKES_WAITING_MAX
            && let Some(last) = self.who_makes_room(waiting, class)
        {
            self.put_out(last);
        }
        self.waiting < HANDSHAKES_WAITING_MAX
    }

    /// Who has to leave a full queue for one of this class, of whose source so many wait already.
    fn who_makes_room(&self, waiting: usize, class: Class) -> Option<usize> {
        if let Some(&last) = self.queues[Class::Failing as usize].back() {
            return Some(last);
        }
        if let Some(&(most, source)) = self.crowds.last()
            && most > waiting + 1
        {
            return self.last_of(source);
        }
        let are_many = self.queues[Class::New as usize].len() > HANDSHAKES_WAITING_NEW_MIN;
        let are_few = self.queues[Class::New as usize].len() < HANDSHAKES_WAITING_NEW_MIN;
        match class {
            Class::Resuming if are_many => self.queues[Class::New as usize].back().copied(),
            Class::New if are_few => self.queues[Class::Resuming as usize].back().copied(),
            _ => None,
        }
    }

    /// Of those of a source that wait, the one whose turn would be last.
    fn last_of(&self, source: Source) -> Option<usize> {
        let parked = self.sources.get(&source)?.parked.iter();
        parked.rev().find_map(|row| row.back().copied()).or_else(|| {
            let queued = self.queues.iter().rev().flat_map(|queue| queue.iter().rev().copied());
            queued.into_iter().find(|&key| self.entries[key].source == source)
        })
    }

    /// Counts one more that waits, or one less.
    fn count_waiting(&mut self, source: Source, class: Class, is_more: bool) {
        let change = |count: &mut usize| if is_more { *count += 1 } else { *count -= 1 };
        change(&mut self.waiting);
        if class == Class::Failing {
            change(&mut self.waiting_failing);
        }
        let of = self.sources.entry(source).or_default();
        self.crowds.remove(&(of.waiting, source));
        change(&mut of.waiting);
        if of.waiting > 0 {
            self.crowds.insert((of.waiting, source));
        }
    }

    /// Moves what is parked to the queues, as far as its source may have places.
    fn unpark(&mut self, source: Source) {
        let Some(of) = self.sources.get_mut(&source) else { return };
        // As between classes, so that within a source nobody is put off for ever either.
        let first = row(TURNS[(self.granted % TURNS.len() as u64) as usize]);
        while of.charged < self.per_source_max
            && let Some(key) =
                of.parked[first].pop_front().or_else(|| of.parked[1 - first].pop_front())
        {
            of.charged += 1;
            let entry = &mut self.entries[key];
            entry.stage = Stage::Queued;
            self.queues[entry.class as usize].push_back(key);
        }
    }

    /// Gives free places to those whose turn it is.
    fn grant(&mut self) {
        while self.inside < self.per_worker_max
            && let Some(key) = self.next()
        {
            self.granted += 1;
            self.inside += 1;
            let entry = &mut self.entries[key];
            entry.stage = Stage::In;
            let (source, class) = (entry.source, entry.class);
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
            self.count_waiting(source, class, false);
        }
    }

    fn next(&mut self) -> Option<usize> {
        let first = TURNS[(self.granted % TURNS.len() as u64) as usize];
        [first, Class::Resuming, Class::New, Class::Failing]
            .into_iter()
            .find_map(|class| self.queues[class as usize].pop_front())
    }

    /// Its client is waited for from now on, until `watch` is woken.
    fn wait_for_client(&mut self, now: Instant, key: usize, watch: Arc<Watch>) {
        let entry = &mut self.entries[key];
        if entry.waits < HANDSHAKE_WAITS_MAX {
            entry.waits += 1;
            entry.since = now;
        }
        entry.watch = Some(watch);
        self.awaited.insert((entry.since, key));
    }

    /// Its client is not waited for any more. Returns whether it still has its place.
    fn resume(&mut self, key: usize) -> bool {
        let entry = &self.entries[key];
        self.awaited.remove(&(entry.since, key));
        matches!(entry.stage, Stage::In)
    }

    /// Puts out the one whose client was waited for longest, where that is too long.
    fn put_out_stale(&mut self, now: Instant) {
        while let Some(&(since, key)) = self.awaited.first()
            && now - since >= Duration::from_millis(HANDSHAKE_STALE_MS)
        {
            // One that was woken waits for the server; when it was polled it may be here again.
            self.awaited.pop_first();
            if !self.entries[key].watch.as_ref().is_some_and(|watch| watch.is_woken()) {
                return self.put_out(key);
            }
        }
    }

    /// Takes what it has from one that does not know it yet.
    fn put_out(&mut self, key: usize) {
        self.leave(key);
        let entry = &mut self.entries[key];
        if let Some(waker) = entry.waker.take().or_else(|| entry.watch.take().map(Waker::from)) {
            waker.wake();
        }
    }

    /// Takes an entry out of wherever it is; its place goes to the next.
    fn leave(&mut self, key: usize) {
        let entry = &mut self.entries[key];
        let (source, class) = (entry.source, entry.class);
        let was = std::mem::replace(&mut entry.stage, Stage::Out);
        let since = entry.since;
        let Some(of) = self.sources.get_mut(&source) else { return };
        match was {
            Stage::Out => return,
            Stage::Parked => remove(&mut of.parked[row(class)], key),
            Stage::Queued => {
                remove(&mut self.queues[class as usize], key);
                of.charged -= 1;
            }
            Stage::In => {
                self.inside -= 1;
                self.awaited.remove(&(since, key));
                of.charged -= 1;
            }
        }
        if !matches!(was, Stage::In) {
            self.count_waiting(source, class, false);
        }
        self.unpark(source);
        if self.sources.get(&source).is_some_and(|of| of.charged == 0 && of.parked() == 0) {
            self.sources.remove(&source);
        }
        self.grant();
    }
}

/// Where a source keeps those of a class that are parked.
fn row(class: Class) -> usize {
    usize::from(class != Class::Resuming)
}

/// Most often it is the first, which has waited for longest.
fn remove(queue: &mut VecDeque<usize>, key: usize) {
    if let Some(position) = queue.iter().position(|&each| each == key) {
        queue.remove(position);
    }
}

#[cfg(test)]
mod tests;
