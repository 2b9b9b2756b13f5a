//! Which sources' handshakes keep failing, as one worker remembers it for a while.
//!
//! Fixed memory: two rows of decaying scores, which many sources share. It must not know why a
//! handshake failed. Invariants: memory does not grow; a source that does nothing is forgotten; a
//! source is taken for failing only where it, or others in both of its cells, failed often.
//!
//! A failure adds one, a success takes one away, and every [`FAILURE_HALF_LIFE_MS`] halves what is
//! left. So one success does not absolve a flood, and some failures among many successes, as behind
//! an address that thousands share, do not convict.

use crate::limits::{
    FAILURE_CELLS_PER_ROW, FAILURE_HALF_LIFE_MS, FAILURE_SCORE_MAX, FAILURES_FLOOD_MIN,
    FAILURES_OF_SOURCE_MIN, FLOOD_HALF_LIFE_MS,
};
use crate::time::Instant;

use super::sources::{Source, hash_of};

/// A score, and when it was written.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    score: u32,
    half_lives: u32,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Failures {
    seed: [u64; 2],
    rows: [Box<[Cell]>; 2],
    /// Of all sources: those that failed, and those that did not.
    failed: Cell,
    good: Cell,
}

impl Failures {
    /// Nothing has failed. `seed` decides which sources share a cell, and is secret.
    pub(super) fn new(seed: [u64; 2]) -> Self {
        let row = || vec![Cell::default(); FAILURE_CELLS_PER_ROW].into_boxed_slice();
        Self { seed, rows: [row(), row()], failed: Cell::default(), good: Cell::default() }
    }

    /// Whether handshakes of this source keep failing.
    pub(super) fn is_failing(&self, now: Instant, source: Source) -> bool {
        self.score(now, source) >= FAILURES_OF_SOURCE_MIN
    }

    /// Counts a handshake of this source that went well or not. Returns whether more fail than go
    /// well, of all sources, and so many that it is a flood.
    pub(super) fn count(&mut self, now: Instant, source: Source, is_good: bool) -> bool {
        let at = half_lives(now, FAILURE_HALF_LIFE_MS);
        let cells = self.cells(source);
        for (row, cell) in self.rows.iter_mut().zip(cells) {
            row[cell].add(at, is_good, FAILURE_SCORE_MAX);
        }
        let total = if is_good { &mut self.good } else { &mut self.failed };
        let at = half_lives(now, FLOOD_HALF_LIFE_MS);
        total.add(at, false, u32::MAX);
        let failed = self.failed.score(at);
        failed >= FAILURES_FLOOD_MIN && failed > self.good.score(at)
    }

    fn score(&self, now: Instant, source: Source) -> u32 {
        let at = half_lives(now, FAILURE_HALF_LIFE_MS);
        let [first, second] = self.cells(source);
        self.rows[0][first].score(at).min(self.rows[1][second].score(at))
    }

    fn cells(&self, source: Source) -> [usize; 2] {
        let hash = hash_of(self.seed, source);
        let cell = |bits: u64| bits as usize % FAILURE_CELLS_PER_ROW;
        // Two keyed hashes: disjoint bits of a keyed pseudo-random function are independent.
        [cell(hash & 0xffff_ffff), cell(hash >> 32)]
    }
}

impl Cell {
    fn score(self, at: u32) -> u32 {
        self.score.checked_shr(at.wrapping_sub(self.half_lives)).unwrap_or(0)
    }

    fn add(&mut self, at: u32, is_good: bool, most: u32) {
        let score = self.score(at);
        self.score =
            if is_good { score.saturating_sub(1) } else { score.saturating_add(1).min(most) };
        self.half_lives = at;
    }
}

/// So many half-lives had passed; they wrap after decades.
fn half_lives(now: Instant, of_ms: u64) -> u32 {
    (now.as_nanos() / (of_ms * 1_000_000)) as u32
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::sources::source_of;
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos((1_000_000 + ms) * 1_000_000)
    }

    fn source(number: u32) -> Source {
        source_of(Some(IpAddr::V4(Ipv4Addr::from_bits(0xc000_0200 + number))))
    }

    fn fail(failures: &mut Failures, ms: u64, number: u32, times: u32) {
        for _ in 0..times {
            failures.count(at(ms), source(number), false);
        }
    }

    #[test]
    fn a_source_that_keeps_failing_is_told_apart_and_one_success_does_not_absolve_it() {
        let mut failures = Failures::new([1, 2]);
        fail(&mut failures, 0, 1, FAILURES_OF_SOURCE_MIN - 1);
        assert!(!failures.is_failing(at(0), source(1)), "not yet");
        fail(&mut failures, 0, 1, 10);
        assert!(failures.is_failing(at(0), source(1)) && !failures.is_failing(at(0), source(2)));
        failures.count(at(0), source(1), true);
        assert!(failures.is_failing(at(0), source(1)));
    }

    #[test]
    fn some_failures_among_many_successes_convict_nobody() {
        let mut failures = Failures::new([1, 2]);
        for each in 0..10_000 {
            failures.count(at(each / 10), source(1), each % 3 != 0);
            assert!(!failures.is_failing(at(each / 10), source(1)));
        }
    }

    #[test]
    fn however_long_a_flood_lasted_its_source_is_forgiven_after_a_while() {
        let mut failures = Failures::new([1, 2]);
        fail(&mut failures, 0, 1, 1_000_000);
        assert!(failures.is_failing(at(2 * FAILURE_HALF_LIFE_MS), source(1)));
        assert!(!failures.is_failing(at(6 * FAILURE_HALF_LIFE_MS), source(1)));
        // A shift by more bits than a score has.
        assert!(!failures.is_failing(at(1_000 * FAILURE_HALF_LIFE_MS), source(1)));
    }

    #[test]
    fn a_flood_is_many_failures_and_more_than_successes_and_is_over_soon() {
        let mut failures = Failures::new([1, 2]);
        let mut count = |ms, is_good| failures.count(at(ms), source(7), is_good);
        assert!((1..FAILURES_FLOOD_MIN).all(|_| !count(0, false)), "too few");
        assert!(count(0, false));
        assert!((0..FAILURES_FLOOD_MIN - 1).all(|_| count(0, true)), "still the more");
        assert!(!count(0, true));
        assert_eq!((0..10_000).map(|_| count(1_000, false)).last(), Some(true));
        assert!(!count(10 * FLOOD_HALF_LIFE_MS, true));
    }

    #[test]
    fn a_64_of_ipv6_is_one_source() {
        let mut failures = Failures::new([1, 2]);
        let of = |text: &str| source_of(Some(text.parse().expect("an address")));
        for host in 1..=FAILURES_OF_SOURCE_MIN {
            failures.count(at(0), of(&format!("2001:db8:0:1::{host}")), false);
        }
        assert!(failures.is_failing(at(0), of("2001:db8:0:1:ffff::9")));
        assert!(!failures.is_failing(at(0), of("2001:db8:0:2::1")));
    }
}
