//! `rt::timer::Wheel` beside a sorted map, under any operations.
//!
//! Only what the wheel promises in public is asserted: order, exactness, stale keys, deadlines.

use std::collections::BTreeMap;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use ringfort::rt::timer::{TICK, TICK_MIN, TimerKey, Wheel};
use ringfort::time::Instant;

/// Operations of one input.
const OPERATIONS_MAX: usize = 4096;

/// A time, as a magnitude and noise below it: every level of the wheel is met.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Span {
    bits: u8,
    noise: u64,
}

impl Span {
    fn nanos(self) -> u64 {
        self.noise >> (63 - u32::from(self.bits % 64))
    }
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Insert { after: Span },
    InsertPast { before: Span },
    InsertAtTick { ticks: u16 },
    InsertNever,
    Cancel { choice: u16 },
    CancelStale { choice: u16 },
    Advance { by: Span, take_max: u8 },
    AdvanceToNext,
    GoBack { by: Span },
    JumpToEnd,
}

/// The wheel, and `(tick, order of insertion) -> key`.
struct Pair {
    wheel: Wheel<u64>,
    model: BTreeMap<(u64, u64), TimerKey>,
    gone: Vec<TimerKey>,
    tick_nanos: u64,
    /// The tick that the wheel has been turned to.
    turned: u64,
    now: u64,
    inserted: u64,
}

impl Pair {
    fn insert(&mut self, deadline: u64) {
        let key = self.wheel.insert(Instant::from_nanos(deadline), self.inserted);
        // What is past already queues with the tick that was reached last.
        let tick = deadline.div_ceil(self.tick_nanos).max(self.turned);
        self.model.insert((tick, self.inserted), key);
        self.inserted += 1;
    }

    fn cancel(&mut self, choice: u16) {
        let len = self.model.len();
        let place = self.model.keys().nth(usize::from(choice) % len.max(1)).copied();
        let Some(place) = place else { return };
        let Some(key) = self.model.remove(&place) else { return };
        assert_eq!(self.wheel.cancel(key), Some(place.1), "cancel returns the timer's own value");
        self.gone.push(key);
    }

    fn cancel_stale(&mut self, choice: u16) {
        let index = usize::from(choice) % self.gone.len().max(1);
        if let Some(&key) = self.gone.get(index) {
            assert_eq!(self.wheel.cancel(key), None, "a stale key cancels nothing");
        }
    }

    /// Takes up to `take_max` timers at `now`, in the model's order and no other.
    fn expire(&mut self, now: u64, take_max: usize) {
        // A wheel does not turn back.
        let reached = (now / self.tick_nanos).max(self.turned);
        for _ in 0..take_max {
            let first = self.model.first_key_value().map(|(&place, &key)| (place, key));
            let due = first.filter(|((tick, _), _)| *tick <= reached);
            let taken = self.wheel.expire(Instant::from_nanos(now));
            assert_eq!(taken, due.map(|((_, value), _)| value), "at {now} of {:?}", self.model);
            let Some((place, key)) = due else {
                self.turned = reached;
                return;
            };
            // It turned as far as the timer's slot, or was there already.
            self.turned = self.turned.max(place.0);
            self.model.remove(&place);
            self.gone.push(key);
        }
    }

    fn check(&self) {
        assert_eq!(self.wheel.len(), self.model.len());
        assert_eq!(self.wheel.is_empty(), self.model.is_empty());
        let next = self.wheel.next_deadline();
        assert_eq!(next.is_some(), !self.model.is_empty());
        let (Some(next), Some((&(tick, _), _))) = (next, self.model.first_key_value()) else {
            return;
        };
        let expiry = tick.saturating_mul(self.tick_nanos);
        assert!(next.as_nanos() <= expiry, "woken at {next:?}, after {expiry}");
        if tick / 64 == self.turned / 64 {
            assert_eq!(next.as_nanos(), expiry, "exact for the current 64 ticks");
        }
    }

    /// Sleeping until the wheel's own deadline, again and again, must end: each wake-up takes a
    /// timer or brings it down a level.
    fn advance_to_next(&mut self) {
        let Some(next) = self.wheel.next_deadline() else { return };
        let to = self.now.max(next.as_nanos());
        self.now = to;
        self.expire(to, usize::MAX);
        let later = self.wheel.next_deadline().map(Instant::as_nanos);
        assert!(later.is_none_or(|later| later > to || later == u64::MAX), "it would spin");
    }

    fn run(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::Insert { after } => self.insert(now.saturating_add(after.nanos())),
            Operation::InsertPast { before } => self.insert(now.saturating_sub(before.nanos())),
            Operation::InsertAtTick { ticks } => {
                self.insert(now.saturating_add(u64::from(ticks) * self.tick_nanos));
            }
            Operation::InsertNever => self.insert(u64::MAX),
            Operation::Cancel { choice } => self.cancel(choice),
            Operation::CancelStale { choice } => self.cancel_stale(choice),
            Operation::Advance { by, take_max } => {
                self.now = now.saturating_add(by.nanos());
                let all = take_max == u8::MAX;
                self.expire(self.now, if all { usize::MAX } else { usize::from(take_max) });
            }
            Operation::AdvanceToNext => self.advance_to_next(),
            Operation::GoBack { by } => self.expire(now.saturating_sub(by.nanos()), usize::MAX),
            Operation::JumpToEnd => {
                self.now = u64::MAX;
                self.expire(u64::MAX, usize::MAX);
            }
        }
    }
}

/// Timers come in the order of their ticks and of insertion, never early, each once; a stale key
/// does nothing; the next deadline is never too late, and following it never spins.
pub fn timer(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((start, coarse)) = input.arbitrary::<(Span, bool)>() else { return };
    let tick = if coarse { TICK } else { TICK_MIN };
    let tick_nanos = Duration::as_nanos(&tick) as u64;
    let now = start.nanos();
    let mut pair = Pair {
        wheel: Wheel::new(Instant::from_nanos(now), tick),
        model: BTreeMap::new(),
        gone: Vec::new(),
        tick_nanos,
        turned: now / tick_nanos,
        now,
        inserted: 0,
    };
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        let Ok(operation) = input.arbitrary() else { break };
        pair.run(operation);
        pair.check();
    }
    pair.expire(u64::MAX, usize::MAX);
    let never = u64::MAX.div_ceil(tick_nanos);
    let left = pair.model.keys().all(|(tick, _)| *tick == never);
    assert!(left, "at the end of the clock nothing is left but what is beyond it");
}
