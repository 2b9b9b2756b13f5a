//! When operations are to begin. Pure: `now` is an argument.
//!
//! In an open loop each operation takes the next slot of the schedule, whether or not its time has
//! come; latency counts from the slot. So a server that stalls does not slow the schedule down, and
//! what waits behind the stall counts (no coordinated omission).

use std::time::Duration;

use ringfort::time::Instant;

use crate::cli::Schedule;

/// The schedule of one worker.
#[derive(Clone, Debug)]
pub struct Pace {
    interval_s: f64,
    schedule: Schedule,
    next: Instant,
    random: u64,
}

impl Pace {
    /// `rate_per_s` operations per second from `now` on; `seed` is for the Poisson schedule.
    pub fn new(rate_per_s: f64, schedule: Schedule, now: Instant, seed: u64) -> Self {
        let mut pace = Self { interval_s: 1.0 / rate_per_s, schedule, next: now, random: seed };
        // Workers do not begin in step.
        let part = pace.uniform();
        pace.next = now + Duration::from_secs_f64(pace.interval_s.min(1.0) * part);
        pace
    }

    /// Takes the next slot.
    pub fn take(&mut self) -> Instant {
        let slot = self.next;
        let gap = match self.schedule {
            Schedule::Fixed => self.interval_s,
            // The gaps of a Poisson process are distributed exponentially.
            Schedule::Poisson => -self.interval_s * (1.0 - self.uniform()).ln(),
        };
        self.next = slot + Duration::from_secs_f64(gap);
        slot
    }

    /// A number from 0 to below 1, by splitmix64: good enough for gaps, and the same each run.
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Chooses `share` of all operations, spread evenly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    owed: f64,
}

impl Share {
    /// Whether the next operation is one of them.
    pub fn take(&mut self, share: f64) -> bool {
        self.owed += share;
        let due = self.owed >= 1.0 - 1e-9;
        if due {
            self.owed -= 1.0;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_schedule_has_even_gaps_whenever_it_is_asked() {
        let mut pace = Pace::new(1000.0, Schedule::Fixed, Instant::from_nanos(5_000_000), 1);
        let first = pace.take();
        assert!(first - Instant::from_nanos(5_000_000) < Duration::from_millis(1));
        assert_eq!(pace.take() - first, Duration::from_millis(1));
        assert_eq!(pace.take() - first, Duration::from_millis(2));
    }

    #[test]
    fn a_poisson_schedule_keeps_the_rate_with_uneven_gaps() {
        let mut pace = Pace::new(1000.0, Schedule::Poisson, Instant::ORIGIN, 7);
        let slots: Vec<Instant> = (0..20_000).map(|_| pace.take()).collect();
        let last = slots[slots.len() - 1].as_nanos() as f64 / 1e9;
        assert!((19.0..21.0).contains(&last), "{last}");
        let gaps = slots.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
        let variance = gaps.map(|gap| (gap - 0.001).powi(2)).sum::<f64>() / 19_999.0;
        assert!((0.8e-6..1.2e-6).contains(&variance), "an exponential distribution's: {variance}");
    }

    #[test]
    fn a_share_is_spread_evenly() {
        let mut share = Share::default();
        let taken: Vec<bool> = (0..8).map(|_| share.take(0.25)).collect();
        assert_eq!(taken, [false, false, false, true, false, false, false, true]);
        assert!((0..10).all(|_| Share::default().take(1.0) && !Share::default().take(0.0)));
    }
}
