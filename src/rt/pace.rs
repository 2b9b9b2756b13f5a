//! How the time of a core is shared between tasks that somebody waits for and costly ones.
//!
//! It must not know what the tasks do; time comes in. Two rules. Where urgent tasks leave time,
//! costly ones may have it. Where they leave none, costly ones get one part in
//! [`COSTLY_SHARE_DIVISOR`] of the time, no less and no more: a credit that grows with the clock
//! and is spent by running. Invariant: credit and debt are bounded, so neither class waits long for
//! what the other had earlier.
//!
//! A poll cannot be interrupted, so a costly one that began in a short gap makes the urgent tasks
//! wait that become ready during it: few clients that ask one thing after the other lose most of
//! their rate to such gaps. [`Pace::hold`] closes the gaps too, while urgent tasks run now and
//! then: costly ones then live on their share alone.

use std::time::Duration;

use crate::limits::{
    COSTLY_CREDIT_US_MAX, COSTLY_DEBT_US_MAX, COSTLY_SHARE_DIVISOR, COSTLY_TIME_PER_TURN_US_MAX,
    TASK_TIME_PER_TURN_US_MAX, URGENT_RECENT_US,
};
use crate::time::Instant;

/// See the module's description.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Nanoseconds that costly tasks may run; negative where they ran longer than that.
    credit_ns: i64,
    /// Up to when the credit was counted.
    counted: Instant,
    /// When an urgent task ran last.
    urgent_at: Option<Instant>,
    holding: bool,
}

impl Pace {
    /// Nothing ran before `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { credit_ns: 0, counted: now, urgent_at: None, holding: false }
    }

    /// Whether costly tasks live on their share alone while urgent ones run now and then.
    pub(super) fn hold(&mut self, holding: bool) {
        self.holding = holding;
    }

    /// Urgent tasks ran in the turn that began at `now`, and no costly one wants to.
    pub(super) fn ran_urgent(&mut self, now: Instant) {
        self.urgent_at = Some(now);
    }

    /// How long costly tasks may run at `now`, in a turn in which urgent ones ran or not; zero:
    /// not at all. The poll that exceeds it ends.
    pub(super) fn allowance(&mut self, now: Instant, with_urgent: bool) -> Duration {
        self.count(now);
        if with_urgent {
            // They may have run for long: this is when they ended.
            self.urgent_at = Some(now);
        }
        if !self.is_urgent_recent(now) {
            return Duration::from_micros(TASK_TIME_PER_TURN_US_MAX);
        }
        if !with_urgent && !self.holding {
            return Duration::from_micros(COSTLY_TIME_PER_TURN_US_MAX);
        }
        Duration::from_nanos(u64::try_from(self.credit_ns).unwrap_or(0))
    }

    /// Costly tasks ran for so long.
    pub(super) fn spend(&mut self, time: Duration) {
        let debt = -micros(COSTLY_DEBT_US_MAX);
        let spent = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        self.credit_ns = self.credit_ns.saturating_sub(spent).max(debt);
    }

    /// How long costly tasks that are ready have to wait at `now`, where no urgent one runs before.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let Some(urgent_at) = self.urgent_at.filter(|_| self.holding) else {
            return Duration::ZERO;
        };
        let missing = u64::try_from(1 - self.credit_ns).unwrap_or(0) * COSTLY_SHARE_DIVISOR;
        let paid = self.counted + Duration::from_nanos(missing);
        let quiet = urgent_at + Duration::from_micros(URGENT_RECENT_US);
        paid.min(quiet) - now
    }

    fn is_urgent_recent(&self, now: Instant) -> bool {
        let recent = Duration::from_micros(URGENT_RECENT_US);
        self.urgent_at.is_some_and(|at| now - at < recent)
    }

    fn count(&mut self, now: Instant) {
        let passed = u64::try_from((now - self.counted).as_nanos()).unwrap_or(u64::MAX);
        let earned = i64::try_from(passed / COSTLY_SHARE_DIVISOR).unwrap_or(i64::MAX);
        self.credit_ns = self.credit_ns.saturating_add(earned).min(micros(COSTLY_CREDIT_US_MAX));
        self.counted = now;
    }
}

const fn micros(micros: u64) -> i64 {
    micros as i64 * 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Instant {
        Instant::from_nanos(1_000_000_000 + us * 1_000)
    }

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// Turns over `total` microseconds in which each urgent batch takes `urgent` and each costly
    /// poll `poll`; returns what the costly ones had.
    fn share(pace: &mut Pace, total: u64, urgent: u64, poll: u64) -> u64 {
        let (mut now, mut had) = (0, 0);
        while now < total {
            pace.ran_urgent(at(now));
            now += urgent;
            let allowance = pace.allowance(at(now), true);
            let began = now;
            while us(now - began) < allowance {
                now += poll;
            }
            pace.spend(us(now - began));
            had += now - began;
        }
        had
    }

    #[test]
    fn where_urgent_tasks_leave_no_time_costly_ones_have_their_share() {
        for (urgent, poll) in [(10, 150), (400, 150), (1000, 5), (50, 1_000)] {
            let had = share(&mut Pace::new(at(0)), 1_000_000, urgent, poll);
            let expected = 1_000_000 / COSTLY_SHARE_DIVISOR;
            assert!(had.abs_diff(expected) < expected / 20, "{urgent}, {poll}: {had} us");
        }
    }

    #[test]
    fn without_urgent_tasks_costly_ones_have_the_turn() {
        let mut pace = Pace::new(at(0));
        pace.spend(us(100_000));
        assert_eq!(pace.allowance(at(1), false), us(TASK_TIME_PER_TURN_US_MAX));
        pace.ran_urgent(at(10));
        assert!(pace.allowance(at(11), false) <= us(COSTLY_TIME_PER_TURN_US_MAX));
        assert_eq!(pace.allowance(at(10 + URGENT_RECENT_US), false), us(1_000));
    }

    #[test]
    fn a_gap_belongs_to_costly_tasks_unless_they_are_held() {
        let mut pace = Pace::new(at(0));
        pace.ran_urgent(at(0));
        pace.spend(us(1_000));
        assert_eq!(pace.allowance(at(50), true), Duration::ZERO);
        assert_eq!(pace.allowance(at(50), false), us(COSTLY_TIME_PER_TURN_US_MAX));
        assert_eq!(pace.wait(at(50)), Duration::ZERO);
        pace.hold(true);
        assert_eq!(pace.allowance(at(50), false), Duration::ZERO);
        // Whichever comes first: the credit, or that nothing urgent ran for a while.
        assert_eq!(pace.wait(at(60)), us(URGENT_RECENT_US - 10));
        let wait = pace.wait(at(50));
        assert_ne!(pace.allowance(at(50) + wait, false), Duration::ZERO);
    }

    #[test]
    fn a_wait_ends_when_there_is_credit() {
        let mut pace = Pace::new(at(0));
        pace.hold(true);
        pace.allowance(at(0), true);
        pace.spend(us(50));
        pace.ran_urgent(at(300));
        let wait = pace.wait(at(300));
        assert!(wait > us(50 * COSTLY_SHARE_DIVISOR - 301) && wait < us(URGENT_RECENT_US));
        assert_eq!(pace.allowance(at(299) + wait, true), Duration::ZERO);
        assert_ne!(pace.allowance(at(301) + wait, true), Duration::ZERO);
    }

    #[test]
    fn credit_and_debt_are_bounded() {
        let mut pace = Pace::new(at(0));
        pace.ran_urgent(at(3_600_000_000));
        pace.allowance(at(3_600_000_000), true);
        assert_eq!(pace.credit_ns, micros(COSTLY_CREDIT_US_MAX));
        pace.spend(Duration::MAX);
        assert_eq!(pace.credit_ns, -micros(COSTLY_DEBT_US_MAX));
    }
}
