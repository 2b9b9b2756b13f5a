//! A histogram of times, of fixed size: written by one thread, read by any, and to be added up.
//!
//! It must not know what is timed. Log-linear buckets: each power of two has
//! [`BUCKETS_PER_OCTAVE`], so a percentile is off by less than one part in so many, and the price
//! of a recording is that of three plain stores. Invariants: each cell has one writing thread, as
//! with [`Counter`](super::counter::Counter); a value is in exactly one bucket, and the buckets are
//! in the order of their values.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Bits of a value that tell apart the buckets of one power of two.
const OCTAVE_BITS: u32 = 3;
/// Buckets of each power of two.
pub const BUCKETS_PER_OCTAVE: usize = 1 << OCTAVE_BITS;
/// Values are kept in units of 2^8 nanoseconds: nothing that is timed is shorter.
const UNIT_BITS: u32 = 8;
/// Bits of a value in units that have buckets: 2^40 nanoseconds, some 18 minutes. What is longer is
/// in the last one.
const VALUE_BITS: u32 = 32;
/// Buckets in all.
const BUCKETS: usize = (VALUE_BITS - OCTAVE_BITS + 1) as usize * BUCKETS_PER_OCTAVE;

/// See the module's description.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
}

/// The values of a histogram at about one moment, or the sum of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    buckets: Box<[u64; BUCKETS]>,
    sum_ns: u64,
    max_ns: u64,
}

/// What there is to say of a histogram in a line, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Recordings.
    pub count: u64,
    /// Their sum.
    pub sum_us: u64,
    /// The median; this and the next two are upper bounds, by less than an eighth too high.
    pub p50_us: u64,
    /// Nine of ten took no longer.
    pub p90_us: u64,
    /// Of a hundred, 99 took no longer.
    pub p99_us: u64,
    /// The longest, exactly.
    pub max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Records a time. For the writing thread only.
    pub fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = &self.buckets[bucket_of(nanos)];
        // With one writer no lock prefix is needed, and nothing is published: relaxed.
        let store = |cell: &AtomicU64, value| cell.store(value, Ordering::Relaxed);
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        store(bucket, load(bucket).wrapping_add(1));
        store(&self.sum_ns, load(&self.sum_ns).wrapping_add(nanos));
        if nanos > load(&self.max_ns) {
            store(&self.max_ns, nanos);
        }
    }

    /// Reads every cell. They may be some nanoseconds apart from each other.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let mut buckets = Box::new([0; BUCKETS]);
        for (value, cell) in buckets.iter_mut().zip(&self.buckets) {
            *value = load(cell);
        }
        HistogramSnapshot { buckets, sum_ns: load(&self.sum_ns), max_ns: load(&self.max_ns) }
    }
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), sum_ns: 0, max_ns: 0 }
    }
}

impl AddAssign<&Self> for HistogramSnapshot {
    fn add_assign(&mut self, other: &Self) {
        for (value, more) in self.buckets.iter_mut().zip(&*other.buckets) {
            *value = value.wrapping_add(*more);
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

impl HistogramSnapshot {
    /// Recordings.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum.wrapping_add(*bucket))
    }

    /// A time that at least so many percent of the recordings did not exceed, in nanoseconds: the
    /// upper end of a bucket, or the longest time where that is less. 0 where there are none.
    pub fn percentile_ns(&self, percent: u64) -> u64 {
        let count = self.count();
        // In 128 bits, so that no count overflows.
        let wanted = (u128::from(count) * u128::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, value) in self.buckets.iter().enumerate() {
            seen += u128::from(*value);
            if seen >= wanted {
                return upper_end(bucket).min(self.max_ns);
            }
        }
        0
    }

    /// Its figures, rounded up to whole microseconds but for the sum.
    pub fn summary(&self) -> Summary {
        let percentile_us = |percent| self.percentile_ns(percent).div_ceil(1_000);
        Summary {
            count: self.count(),
            sum_us: self.sum_ns / 1_000,
            p50_us: percentile_us(50),
            p90_us: percentile_us(90),
            p99_us: percentile_us(99),
            max_us: self.max_ns.div_ceil(1_000),
        }
    }
}

/// The first buckets have one value each; from then on the highest bits of a value and its length
/// make the number.
fn bucket_of(nanos: u64) -> usize {
    let value = nanos >> UNIT_BITS;
    let length = u64::BITS - value.leading_zeros();
    let shift = length.saturating_sub(OCTAVE_BITS + 1);
    let bucket = ((shift as usize) << OCTAVE_BITS) + (value >> shift) as usize;
    bucket.min(BUCKETS - 1)
}

/// The highest value of a bucket, in nanoseconds; of the last one, which has no end, the highest
/// there is.
fn upper_end(bucket: usize) -> u64 {
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    let shift = (bucket >> OCTAVE_BITS).saturating_sub(1) as u32;
    let highest = (bucket as u64) - (u64::from(shift) << OCTAVE_BITS);
    ((highest + 1) << (shift + UNIT_BITS)) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::default();
        times.iter().for_each(|&time| histogram.record(Duration::from_nanos(time)));
        histogram.snapshot()
    }

    /// The exact percentile.
    fn exact(times: &[u64], percent: u64) -> u64 {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let rank = (sorted.len() as u64 * percent).div_ceil(100).max(1) as usize;
        sorted.get(rank - 1).copied().unwrap_or(0)
    }

    #[test]
    fn buckets_are_in_order_and_each_ends_where_the_next_begins() {
        assert_eq!(bucket_of(0), 0);
        for bucket in 0..BUCKETS - 1 {
            let end = upper_end(bucket);
            assert_eq!((bucket_of(end), bucket_of(end + 1)), (bucket, bucket + 1));
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        // The last but one ends at 18 minutes less a sixteenth.
        assert!(upper_end(BUCKETS - 2) > 1_000_000_000 * 60 * 17);
    }

    #[test]
    fn what_was_recorded_is_summarised() {
        let times: Vec<u64> = (1..=100).map(|each| each * 1_000_000).collect();
        let summary = of(&times).summary();
        assert_eq!((summary.count, summary.sum_us, summary.max_us), (100, 5_050_000, 100_000));
        assert!((50_000..56_250).contains(&summary.p50_us), "{summary:?}");
        assert!((90_000..=100_000).contains(&summary.p90_us), "{summary:?}");
        assert!((99_000..=100_000).contains(&summary.p99_us), "{summary:?}");
        assert_eq!(Histogram::default().snapshot().summary(), Summary::default());
    }

    #[test]
    fn a_time_without_end_is_in_the_last_bucket() {
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.snapshot().percentile_ns(50), u64::MAX);
    }

    fn times() -> impl Strategy<Value = Vec<u64>> {
        // As many short ones as long ones.
        let time = (0_u32..42).prop_flat_map(|bits| 0..1_u64 << bits);
        prop::collection::vec(time, 0..200)
    }

    proptest! {
        #[test]
        fn percentiles_are_upper_bounds_of_the_exact_ones_and_off_by_less_than_an_eighth(
            times in times(),
            percent in 0_u64..=100,
        ) {
            let histogram = of(&times);
            let (found, exact) = (histogram.percentile_ns(percent), exact(&times, percent));
            prop_assert_eq!(histogram.count(), times.len() as u64);
            prop_assert_eq!(histogram.max_ns, times.iter().copied().max().unwrap_or(0));
            prop_assert_eq!(histogram.sum_ns, times.iter().sum::<u64>());
            prop_assert!(found >= exact, "{} below {}", found, exact);
            let unit = 1 << UNIT_BITS;
            let is_long = exact >= upper_end(BUCKETS - 2);
            prop_assert!(is_long || found <= exact + exact / 8 + unit, "{} for {}", found, exact);
        }

        #[test]
        fn sums_of_histograms_are_histograms_of_all(one in times(), other in times()) {
            let mut sum = of(&one);
            sum += &of(&other);
            prop_assert_eq!(sum, of(&[one, other].concat()));
        }
    }
}
