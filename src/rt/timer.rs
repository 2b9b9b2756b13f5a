//! A hierarchical timing wheel: the deadlines of one worker.
//!
//! It must not know what a timer is for, nor read a clock: `now` is an argument. Insert and cancel
//! are O(1) and, once as many timers have lived at a time as ever will, allocate nothing.
//!
//! The invariant: with `elapsed` the tick up to which the wheel has been turned, a timer of tick
//! `t > elapsed` is at the level of the highest 6-bit digit in which `t` and `elapsed` differ, in
//! the slot of that digit of `t`. So the occupied slots of a level are all ahead of `elapsed`'s
//! own, a lower level is due before a higher one, and the next slot due is the lowest set bit of
//! the lowest occupied level, however far away it is. Timers of `t <= elapsed` are in the due list.
//!
//! Eight levels hold every tick that [`Instant`] can express (its clock ends before 2^48 of the
//! shortest ticks), so no deadline has to be clamped.

use std::time::Duration;

use crate::time::Instant;

/// The tick of a gateway: fine enough for its deadlines, coarse enough to wake it rarely.
pub const TICK: Duration = Duration::from_millis(1);
/// The shortest tick.
pub const TICK_MIN: Duration = Duration::from_micros(100);
/// Bits of a tick that one level resolves.
const LEVEL_BITS: u32 = 6;
/// Slots of one level: the bits of its occupancy word.
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 8;
/// The list of what has expired and was not yet taken.
const DUE: usize = LEVELS * SLOTS;
/// No entry: the end of the free list, an empty list.
const NIL: u32 = u32::MAX;

const _: () = assert!(u64::MAX / nanos(TICK_MIN) < (1 << (LEVEL_BITS as usize * LEVELS)) - 1);

/// What [`Wheel::insert`] hands out to cancel the timer with.
///
/// It stays harmless when its timer is gone: an entry's generation is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    index: u32,
    generation: u64,
}

/// Timers with a value each, in ticks.
#[derive(Debug)]
pub struct Wheel<T> {
    tick_nanos: u64,
    elapsed: u64,
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
    /// The first entry of each slot's circular list, level by level, and of the due list.
    heads: [u32; DUE + 1],
    /// For each level, which of its slots hold entries.
    occupied: [u64; LEVELS],
}

/// One slab cell; `next` links the free list where `value` is `None`.
#[derive(Debug)]
struct Entry<T> {
    value: Option<T>,
    tick: u64,
    generation: u64,
    list: usize,
    next: u32,
    prev: u32,
}

impl<T> Wheel<T> {
    /// An empty wheel with ticks of `tick` (at least [`TICK_MIN`]) whose time begins at `now`.
    pub fn new(now: Instant, tick: Duration) -> Self {
        let tick_nanos = nanos(tick.max(TICK_MIN));
        Self {
            tick_nanos,
            elapsed: now.as_nanos() / tick_nanos,
            entries: Vec::new(),
            free: NIL,
            len: 0,
            heads: [NIL; DUE + 1],
            occupied: [0; LEVELS],
        }
    }

    /// Starts a timer that expires at the first tick at or after `deadline`: never early, and
    /// less than a tick late. A deadline in the past is due at once.
    ///
    /// # Panics
    ///
    /// With 2^32 timers alive, some 300 GB of them.
    pub fn insert(&mut self, deadline: Instant, value: T) -> TimerKey {
        let index = self.take_free();
        let tick_nanos = self.tick_nanos;
        let entry = &mut self.entries[index as usize];
        entry.value = Some(value);
        entry.tick = deadline.as_nanos().div_ceil(tick_nanos);
        let generation = entry.generation;
        self.len += 1;
        self.place(index);
        TimerKey { index, generation }
    }

    /// Stops a timer and returns its value; `None` where it has expired or was cancelled.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        self.unlink(key.index);
        self.release(key.index)
    }

    /// Takes one timer that has expired by `now`; call it until it returns `None`.
    ///
    /// Timers come in the order of their ticks, those of one tick in the order of insertion; one
    /// that was inserted when already past comes after those then due. The cost is that of what
    /// expires and of moving each slot passed to lower levels, at most 7 times for a timer's
    /// whole life; empty slots cost nothing, however many. A `now` before an earlier one takes
    /// only what had expired by the earlier one.
    pub fn expire(&mut self, now: Instant) -> Option<T> {
        let target = now.as_nanos() / self.tick_nanos;
        loop {
            let due = self.heads[DUE];
            if due != NIL {
                self.unlink(due);
                return self.release(due);
            }
            match self.next_slot() {
                Some((list, start)) if start <= target => self.turn_to(list, start),
                _ => {
                    self.elapsed = self.elapsed.max(target);
                    return None;
                }
            }
        }
    }

    /// When to call [`Wheel::expire`] next; `None` without timers.
    ///
    /// Never later than the earliest timer's expiry. Exact for a timer in the lowest level (those
    /// of the current 64 ticks); before that, the wake-up brings the timer down a level.
    pub fn next_deadline(&self) -> Option<Instant> {
        let tick = if self.heads[DUE] != NIL { self.elapsed } else { self.next_slot()?.1 };
        Some(Instant::from_nanos(tick.saturating_mul(self.tick_nanos)))
    }

    /// Timers that have neither been taken nor cancelled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The earliest occupied slot: its list and the first tick that it covers.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slot = self.occupied[level].trailing_zeros() as usize;
        let shift = LEVEL_BITS * level as u32;
        let above = self.elapsed >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
        Some((level * SLOTS + slot, above | (slot as u64) << shift))
    }

    /// Turns the wheel to the first tick of `list` and sorts its entries into what is below it.
    fn turn_to(&mut self, list: usize, start: u64) {
        debug_assert!(self.elapsed < start);
        self.elapsed = start;
        while self.heads[list] != NIL {
            let index = self.heads[list];
            self.unlink(index);
            self.place(index);
        }
    }

    /// Appends an entry, in no list, to the one that its tick belongs to.
    fn place(&mut self, index: u32) {
        let tick = self.entries[index as usize].tick;
        if tick <= self.elapsed {
            self.append(index, DUE);
            return;
        }
        let level = ((tick ^ self.elapsed).ilog2() / LEVEL_BITS) as usize;
        let slot = (tick >> (LEVEL_BITS * level as u32)) as usize % SLOTS;
        self.occupied[level] |= 1 << slot;
        self.append(index, level * SLOTS + slot);
    }

    fn append(&mut self, index: u32, list: usize) {
        let head = self.heads[list];
        let (next, prev) = if head == NIL {
            self.heads[list] = index;
            (index, index)
        } else {
            let tail = self.entries[head as usize].prev;
            self.entries[head as usize].prev = index;
            self.entries[tail as usize].next = index;
            (head, tail)
        };
        let entry = &mut self.entries[index as usize];
        entry.list = list;
        entry.next = next;
        entry.prev = prev;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { list, next, prev, .. } = self.entries[index as usize];
        if next == index {
            self.heads[list] = NIL;
            if list != DUE {
                self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
            }
            return;
        }
        self.entries[prev as usize].next = next;
        self.entries[next as usize].prev = prev;
        if self.heads[list] == index {
            self.heads[list] = next;
        }
    }

    fn take_free(&mut self) -> u32 {
        if self.free == NIL {
            let index = u32::try_from(self.entries.len()).unwrap_or(NIL);
            assert!(index != NIL, "2^32 timers are alive in one wheel");
            self.entries.push(Entry {
                value: None,
                tick: 0,
                generation: 0,
                list: DUE,
                next: NIL,
                prev: NIL,
            });
            return index;
        }
        let index = self.free;
        self.free = self.entries[index as usize].next;
        index
    }

    /// Frees an entry, in no list, and makes every key to it stale.
    fn release(&mut self, index: u32) -> Option<T> {
        let entry = &mut self.entries[index as usize];
        let value = entry.value.take();
        debug_assert!(value.is_some());
        entry.generation += 1;
        entry.next = self.free;
        self.free = index;
        self.len -= 1;
        value
    }
}

const fn nanos(tick: Duration) -> u64 {
    tick.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at_ms(millis: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(millis)
    }

    fn drain<T>(wheel: &mut Wheel<T>, now: Instant) -> Vec<T> {
        std::iter::from_fn(|| wheel.expire(now)).collect()
    }

    #[test]
    fn a_timer_never_fires_early_and_less_than_a_tick_late() {
        let mut wheel = Wheel::new(Instant::ORIGIN, TICK);
        wheel.insert(Instant::from_nanos(3_000_001), 'a');
        assert_eq!(wheel.expire(Instant::from_nanos(3_999_999)), None);
        assert_eq!(wheel.next_deadline(), Some(at_ms(4)));
        assert_eq!(wheel.expire(at_ms(4)), Some('a'));
        assert!(wheel.is_empty());
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn a_stale_key_cancels_nothing() {
        let mut wheel = Wheel::new(Instant::ORIGIN, TICK);
        let first = wheel.insert(at_ms(1), 1);
        assert_eq!(wheel.cancel(first), Some(1));
        let second = wheel.insert(at_ms(1), 2);
        assert_eq!(first.index, second.index, "the entry is used again");
        assert_eq!(wheel.cancel(first), None);
        assert_eq!(drain(&mut wheel, at_ms(1)), [2]);
        assert_eq!(wheel.cancel(second), None);
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn a_timer_that_is_due_but_not_taken_can_be_cancelled() {
        let mut wheel = Wheel::new(Instant::ORIGIN, TICK);
        let keys: Vec<_> = (0..3).map(|value| wheel.insert(at_ms(5), value)).collect();
        assert_eq!(wheel.expire(at_ms(9)), Some(0));
        assert_eq!(wheel.next_deadline(), Some(at_ms(5)));
        assert_eq!(wheel.cancel(keys[1]), Some(1));
        assert_eq!(drain(&mut wheel, at_ms(9)), [2]);
    }

    /// A walk tick by tick would take centuries too.
    #[test]
    fn a_jump_to_the_end_of_the_clock_takes_no_time() {
        let mut wheel = Wheel::new(at_ms(77), TICK);
        let deadlines = [78, 100, 5_000, 3_600_000, 1 << 36, 1 << 40, (1 << 44) + 1];
        for deadline in deadlines {
            wheel.insert(at_ms(deadline), deadline);
        }
        wheel.insert(at_ms(0), 0);
        let end = Instant::from_nanos(u64::MAX);
        assert_eq!(drain(&mut wheel, end)[0], 0, "what was past at insertion comes first");
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_deadline_in_the_last_tick_of_the_clock_is_kept_and_cancelled() {
        let mut wheel = Wheel::new(Instant::ORIGIN, TICK);
        let never = wheel.insert(Instant::ORIGIN + Duration::MAX, ());
        assert_eq!(wheel.expire(at_ms(1 << 44)), None);
        assert_eq!(wheel.cancel(never), Some(()));
    }

    #[test]
    fn churn_at_a_steady_number_of_timers_allocates_nothing() {
        let mut wheel = Wheel::new(Instant::ORIGIN, TICK);
        let mut keys: Vec<_> = (0..1000).map(|i| wheel.insert(at_ms(i), i)).collect();
        let capacity = wheel.entries.capacity();
        for round in 0..100_u64 {
            for key in &mut keys {
                wheel.cancel(*key);
                *key = wheel.insert(at_ms(round + u64::from(key.index) * 37), 0);
            }
            let expired = drain(&mut wheel, at_ms(round)).len();
            let missing = 1000 - wheel.len();
            assert_eq!(expired, missing);
        }
        assert_eq!(wheel.entries.capacity(), capacity);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Insert { after_nanos: u64 },
        InsertPast { before_nanos: u64 },
        Cancel { choice: usize },
        Advance { nanos: u64, take_max: usize },
        AdvanceToNext,
    }

    /// Nanoseconds of every magnitude, so that every level is met.
    fn any_nanos() -> impl Strategy<Value = u64> {
        (0_u32..62, any::<u64>()).prop_map(|(bits, noise)| noise >> (63 - bits))
    }

    fn any_operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            4 => any_nanos().prop_map(|after_nanos| Operation::Insert { after_nanos }),
            1 => any_nanos().prop_map(|before_nanos| Operation::InsertPast { before_nanos }),
            2 => any::<usize>().prop_map(|choice| Operation::Cancel { choice }),
            2 => (any_nanos(), prop_oneof![Just(usize::MAX), 0_usize..4])
                .prop_map(|(nanos, take_max)| Operation::Advance { nanos, take_max }),
            3 => Just(Operation::AdvanceToNext),
        ]
    }

    /// The wheel beside a map that is obviously right: `(tick, order of insertion) -> key`.
    struct Pair {
        wheel: Wheel<u64>,
        model: BTreeMap<(u64, u64), TimerKey>,
        gone: Vec<TimerKey>,
        now: u64,
        inserted: u64,
    }

    impl Pair {
        fn insert(&mut self, deadline: u64) {
            let key = self.wheel.insert(Instant::from_nanos(deadline), self.inserted);
            // A timer that is past already queues with those of the tick reached last.
            let tick = deadline.div_ceil(nanos(TICK)).max(self.wheel.elapsed);
            self.model.insert((tick, self.inserted), key);
            self.inserted += 1;
        }

        fn cancel(&mut self, choice: usize) {
            for &stale in self.gone.iter().rev().take(4) {
                assert_eq!(self.wheel.cancel(stale), None);
            }
            if self.model.is_empty() {
                return;
            }
            let (&place, &key) = self.model.iter().nth(choice % self.model.len()).expect("below");
            assert_eq!(self.wheel.cancel(key), Some(place.1));
            self.model.remove(&place);
            self.gone.push(key);
        }

        fn advance(&mut self, to: u64, take_max: usize) {
            self.now = to.max(self.now);
            for _ in 0..take_max {
                let reached = self.now / nanos(TICK);
                let expected = self.model.first_key_value().map(|(&place, &key)| (place, key));
                let expected = expected.filter(|&((tick, _), _)| tick <= reached);
                let taken = self.wheel.expire(Instant::from_nanos(self.now));
                assert_eq!(taken, expected.map(|((_, value), _)| value));
                let Some((place, key)) = expected else { break };
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
            let expiry = tick.saturating_mul(self.wheel.tick_nanos);
            assert!(next.as_nanos() <= expiry, "woken after the earliest expiry");
            if tick >> LEVEL_BITS == self.wheel.elapsed >> LEVEL_BITS {
                assert_eq!(next.as_nanos(), expiry, "exact in the lowest level");
            }
        }
    }

    proptest! {
        #[test]
        fn any_operations_agree_with_a_sorted_map(
            start in any_nanos(),
            operations in prop::collection::vec(any_operation(), 1..200),
        ) {
            let wheel = Wheel::new(Instant::from_nanos(start), TICK);
            let mut pair =
                Pair { wheel, model: BTreeMap::new(), gone: Vec::new(), now: start, inserted: 0 };
            for operation in operations {
                let now = pair.now;
                match operation {
                    Operation::Insert { after_nanos } => {
                        pair.insert(now.saturating_add(after_nanos));
                    }
                    Operation::InsertPast { before_nanos } => {
                        pair.insert(now.saturating_sub(before_nanos));
                    }
                    Operation::Cancel { choice } => pair.cancel(choice),
                    Operation::Advance { nanos, take_max } => {
                        pair.advance(now.saturating_add(nanos), take_max);
                    }
                    Operation::AdvanceToNext => {
                        let next = pair.wheel.next_deadline().map_or(now, Instant::as_nanos);
                        pair.advance(next, usize::MAX);
                        let later = pair.wheel.next_deadline();
                        prop_assert!(later.is_none_or(|later| later.as_nanos() > now.max(next)
                            || later.as_nanos() == u64::MAX), "a sleeper would spin");
                    }
                }
                pair.check();
            }
        }
    }
}
