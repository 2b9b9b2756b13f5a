//! How many connections each source address has open, over all workers.
//!
//! Fixed memory and no locks: two rows of counters, which many sources share. It must not know
//! what a connection is, nor what the limit is configured to be. The invariant: each cell is at
//! least the number of live guards of every source that maps to it.
//!
//! # Why it never counts too few
//!
//! A live [`SourceGuard`] stands for one increment of one cell in each row, taken back when the
//! guard is dropped and not before. So both cells of a source are at least its number of live
//! guards, and so is the lower of the two; other sources can only add to it.
//!
//! Nor do concurrent callers get past the limit together. Suppose that `limit + 1` guards of a
//! source were alive at a time. Each caller incremented both cells, then read both, and found at
//! least one at `limit` or below. Let `p` be the caller whose increment of row 0 was the last of
//! theirs, and `q` the one for row 1. `p` must have found row 0 above the limit, hence row 1 at
//! `limit` or below, so it read row 1 before `q` incremented it; likewise `q` read row 0 before
//! `p` incremented it. But `p` incremented row 0 before it read row 1, which closes a circle in
//! the single order of sequentially consistent operations (and where `p` is `q`, it found both
//! rows above the limit). So at most `limit` are alive.
//!
//! # How likely it counts too many
//!
//! A source is refused below its limit only if other sources fill up *both* of its cells, and
//! which sources share a cell depends on a secret seed. The chance for one newcomer is about
//! `(k / 65536)^2` with `k` sources at their limit: 2e-6 for 100, 2e-4 for 1,000, until one of
//! them goes. `docs/decisions/0001-per-source-limit-without-locks.md` has the numbers.

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits::{SOURCE_ACQUIRE_TRIES_MAX, SOURCE_CELLS_PER_ROW};

/// What counts as one source: the family, and the address or its first 64 bits.
pub(super) type Source = (u8, u64);

/// The source that an address belongs to; all that have none are one.
pub(super) fn source_of(ip: Option<IpAddr>) -> Source {
    match ip.map(|ip| ip.to_canonical()) {
        None => (0, 0),
        Some(IpAddr::V4(address)) => (4, u64::from(address.to_bits())),
        Some(IpAddr::V6(address)) => (6, (address.to_bits() >> 64) as u64),
    }
}

/// A keyed hash of a source.
pub(super) fn hash_of(seed: [u64; 2], (family, address): Source) -> u64 {
    // Deprecated in favour of DefaultHasher, which takes no key; it is the keyed hash in std.
    #[allow(deprecated)]
    let mut hasher = std::hash::SipHasher::new_with_keys(seed[0], seed[1]);
    hasher.write_u8(family);
    hasher.write_u64(address);
    hasher.finish()
}

/// Connections open by source: an IPv4 address, or a /64 of IPv6, which is what one subscriber has.
#[derive(Debug)]
pub struct SourceTable {
    seed: [u64; 2],
    rows: [Box<[AtomicU32]>; 2],
}

/// One connection of a source, counted until this is dropped.
#[derive(Debug)]
pub struct SourceGuard {
    table: Arc<SourceTable>,
    cells: [u16; 2],
}

impl SourceTable {
    /// A table without connections: 512 KiB.
    ///
    /// `seed` decides which sources share a cell. It has to be random and to stay secret: who
    /// knows it can choose addresses that fill another's cells.
    pub fn new(seed: [u64; 2]) -> Arc<Self> {
        let row = || (0..SOURCE_CELLS_PER_ROW).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Self { seed, rows: [row(), row()] })
    }

    /// Counts a connection of `ip`, unless `limit` of them are open already: then `None`.
    ///
    /// IPv4-mapped IPv6 addresses count as IPv4. Where callers for one source race for its last
    /// places, all of them are taken, short of losing 16 races in a row.
    pub fn acquire(self: &Arc<Self>, ip: IpAddr, limit: u32) -> Option<SourceGuard> {
        let cells = self.cells(ip);
        for _ in 0..SOURCE_ACQUIRE_TRIES_MAX {
            // A refusal writes nothing: a flood of them does not take the line from who counts.
            if self.lower(cells) >= limit {
                return None;
            }
            self.for_both(cells, |cell| cell.fetch_add(1, Ordering::SeqCst));
            if self.lower(cells) <= limit {
                return Some(SourceGuard { table: Arc::clone(self), cells });
            }
            // Others came in between, and perhaps go again as this one does.
            self.for_both(cells, |cell| cell.fetch_sub(1, Ordering::SeqCst));
        }
        None
    }

    /// Whether no connection is counted, in any cell.
    #[cfg(feature = "sim")]
    pub fn is_empty(&self) -> bool {
        self.rows.iter().flatten().all(|cell| cell.load(Ordering::SeqCst) == 0)
    }

    /// Connections counted for `ip`: not fewer than are open.
    #[cfg(any(test, feature = "sim"))]
    pub fn count(&self, ip: IpAddr) -> u32 {
        self.lower(self.cells(ip))
    }

    fn cells(&self, ip: IpAddr) -> [u16; 2] {
        let hash = hash_of(self.seed, source_of(Some(ip)));
        // Two keyed hashes: disjoint bits of a keyed pseudo-random function are independent.
        [hash as u16, (hash >> 32) as u16]
    }

    fn lower(&self, cells: [u16; 2]) -> u32 {
        let [first, second] = self.both(cells).map(|cell| cell.load(Ordering::SeqCst));
        first.min(second)
    }

    fn for_both(&self, cells: [u16; 2], change: impl Fn(&AtomicU32) -> u32) {
        for cell in self.both(cells) {
            change(cell);
        }
    }

    fn both(&self, cells: [u16; 2]) -> [&AtomicU32; 2] {
        [&self.rows[0][usize::from(cells[0])], &self.rows[1][usize::from(cells[1])]]
    }
}

impl Drop for SourceGuard {
    fn drop(&mut self) {
        self.table.for_both(self.cells, |cell| {
            let before = cell.fetch_sub(1, Ordering::SeqCst);
            debug_assert!(before > 0, "released more often than acquired");
            before
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const SEED: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfeed_face_cafe_beef];

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn v4(bits: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(bits))
    }

    #[test]
    fn a_source_gets_its_limit_and_a_dropped_guard_makes_room() {
        let table = SourceTable::new(SEED);
        let mut guards: Vec<_> =
            (0..3).map(|_| table.acquire(ip("192.0.2.1"), 3).expect("below")).collect();
        assert!(table.acquire(ip("192.0.2.1"), 3).is_none());
        assert_eq!(table.count(ip("192.0.2.1")), 3);
        assert!(table.acquire(ip("192.0.2.2"), 3).is_some());
        guards.pop();
        assert!(table.acquire(ip("192.0.2.1"), 3).is_some());
        drop(guards);
        assert!(table.acquire(ip("192.0.2.1"), 0).is_none());
        assert!(table.rows.iter().flatten().all(|cell| cell.load(Ordering::SeqCst) == 0));
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_a_64() {
        let table = SourceTable::new(SEED);
        let cells = |text| table.cells(ip(text));
        assert_eq!(cells("::ffff:192.0.2.1"), cells("192.0.2.1"));
        assert_eq!(cells("2001:db8:0:1::1"), cells("2001:db8:0:1:ffff::9"));
        assert_ne!(cells("2001:db8:0:1::1"), cells("2001:db8:0:2::1"));
        assert_ne!(cells("192.0.2.1"), cells("192.0.2.2"));
        // The same number in both families.
        assert_ne!(cells("::c000:201:0:0:0:0"), cells("192.0.2.1"));
    }

    #[test]
    fn the_seed_decides_who_shares_a_cell() {
        let (one, other) = (SourceTable::new(SEED), SourceTable::new([1, 2]));
        let same = (0..1000).filter(|&bits| one.cells(v4(bits)) == other.cells(v4(bits))).count();
        assert_eq!(same, 0);
    }

    /// Neither row nor pair may have a pattern that a range of addresses could exploit.
    #[test]
    fn neighbouring_addresses_spread_over_both_rows() {
        let table = SourceTable::new(SEED);
        let cells: Vec<_> = (0..65_536).map(|bits| table.cells(v4(0x0a00_0000 + bits))).collect();
        for row in 0..2 {
            let mut load = HashMap::new();
            for cell in &cells {
                *load.entry(cell[row]).or_insert(0) += 1;
            }
            // A fair throw leaves 1 - 1/e of the cells met, and the fullest with about 8.
            assert!((41_000..41_900).contains(&load.len()), "{} cells", load.len());
            assert!(load.values().max() < Some(&12));
        }
    }

    #[test]
    fn a_full_cell_in_one_row_alone_refuses_nobody() {
        let table = SourceTable::new(SEED);
        let victim = v4(0);
        let wanted = table.cells(victim);
        let neighbour = (1..).map(v4).find(|&ip| {
            let cells = table.cells(ip);
            cells[0] == wanted[0] && cells[1] != wanted[1]
        });
        let neighbour = neighbour.expect("one in 65,536 does");
        let _guards = [1, 2].map(|_| table.acquire(neighbour, 2).expect("below"));
        assert_eq!(table.count(victim), 0);
        let _mine = [1, 2].map(|_| table.acquire(victim, 2).expect("the other row is free"));
        assert!(table.acquire(victim, 2).is_none());
    }

    /// Both threads leave a spinning barrier within nanoseconds, often enough for one to come
    /// between the other's look and its increments.
    #[test]
    fn threads_racing_for_the_last_place_never_get_two() {
        const ROUNDS: usize = 30_000;
        let table = SourceTable::new(SEED);
        let arrived = AtomicUsize::new(0);
        let taken: Vec<_> = (0..ROUNDS).map(|_| AtomicUsize::new(0)).collect();
        let meet = |all: usize| {
            arrived.fetch_add(1, Ordering::SeqCst);
            let mut spins = 0_u32;
            while arrived.load(Ordering::SeqCst) < all {
                spins += 1;
                if spins.is_multiple_of(1000) {
                    thread::yield_now()
                } else {
                    std::hint::spin_loop()
                }
            }
        };
        let racer = || {
            for (round, taken) in taken.iter().enumerate() {
                meet(4 * round + 2);
                let guard = table.acquire(v4(1), 1);
                taken.fetch_add(usize::from(guard.is_some()), Ordering::SeqCst);
                meet(4 * round + 4);
            }
        };
        thread::scope(|scope| {
            scope.spawn(racer);
            racer();
        });
        let rounds_with = |winners: usize| {
            taken.iter().filter(|taken| taken.load(Ordering::SeqCst) == winners).count()
        };
        assert_eq!(rounds_with(2), 0, "never more than the limit");
        // Both may give up after losing to each other often enough; that is rare.
        assert!(rounds_with(0) <= ROUNDS / 100, "{} of {ROUNDS} rounds", rounds_with(0));
        assert_eq!(table.count(v4(1)), 0);
    }

    #[test]
    fn the_limit_holds_while_threads_come_and_go() {
        let table = SourceTable::new(SEED);
        let live = AtomicUsize::new(0);
        let churn = || {
            for _ in 0..50_000 {
                let Some(guard) = table.acquire(v4(7), 2) else {
                    continue;
                };
                // Counted inside the guard's life, so it never exceeds what the guards allow.
                assert!(live.fetch_add(1, Ordering::SeqCst) < 2, "a third guard is alive");
                live.fetch_sub(1, Ordering::SeqCst);
                drop(guard);
            }
        };
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(churn))));
        assert_eq!(table.count(v4(7)), 0);
    }

    proptest! {
        #[test]
        fn a_count_is_never_below_what_is_open(
            seed in any::<[u64; 2]>(),
            steps in prop::collection::vec((0_u32..40, any::<bool>()), 1..300),
        ) {
            let table = SourceTable::new(seed);
            let mut open: HashMap<u32, Vec<SourceGuard>> = HashMap::new();
            for (source, close) in steps {
                let guards = open.entry(source).or_default();
                if close {
                    guards.pop();
                } else if let Some(guard) = table.acquire(v4(source), 4) {
                    guards.push(guard);
                }
                prop_assert!(guards.len() <= 4);
                prop_assert!(table.count(v4(source)) as usize >= guards.len());
            }
        }
    }
}
