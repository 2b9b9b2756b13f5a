//! How many requests may be sent again: a part of those that there are, so that an upstream that
//! fails is not asked ever more by those that it fails.
//!
//! PURE; of one worker and one cluster. It must not know what a retry is sound for. Invariant: over
//! any time, retries are at most the budget's percentage of the requests, and a few each second.

use std::time::Duration;

use crate::limits::{RETRIES_PER_S_MIN, RETRY_BUDGET_REQUESTS_MAX, RETRY_BUDGET_WINDOW_MS};
use crate::time::Instant;

/// What one retry costs; a request pays in its route's percentage of it.
const RETRY: u64 = 100;

/// See the module's description.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    /// What was paid in and not spent, in hundredths of a retry.
    saved: u64,
    /// When `saved` was last reduced by what is too old.
    aged: Instant,
    /// The same of what each second grants, whether or not there are requests.
    granted: u64,
    granted_at: Instant,
}

impl RetryBudget {
    /// Nothing was paid in; what a second grants is there.
    pub fn new(now: Instant) -> Self {
        let granted = RETRIES_PER_S_MIN * RETRY;
        Self { saved: 0, aged: now, granted, granted_at: now }
    }

    /// A request goes out for the first time, of a route that may retry so many in a hundred.
    pub fn deposit(&mut self, budget_percent: u32, now: Instant) {
        self.age(now);
        let most = u64::from(budget_percent).saturating_mul(RETRY_BUDGET_REQUESTS_MAX);
        let paid = self.saved.saturating_add(u64::from(budget_percent));
        // A route with a smaller budget takes nothing away that others paid in.
        self.saved = paid.min(most.max(self.saved));
    }

    /// Takes one retry; whether there was one.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        self.age(now);
        for purse in [&mut self.saved, &mut self.granted] {
            if *purse >= RETRY {
                *purse -= RETRY;
                return true;
            }
        }
        false
    }

    /// What was paid in long ago is worth nothing: it halves with each window, so that a quiet
    /// night does not pay for a storm in the morning. What seconds grant is added, up to one's.
    fn age(&mut self, now: Instant) {
        let window = Duration::from_millis(RETRY_BUDGET_WINDOW_MS);
        let windows = (now - self.aged).as_nanos() / window.as_nanos();
        if windows > 0 {
            let halvings = u32::try_from(windows).unwrap_or(u32::MAX);
            self.saved = self.saved.checked_shr(halvings).unwrap_or(0);
            self.aged = now;
        }
        let each = Duration::from_secs(1) / (RETRIES_PER_S_MIN * RETRY) as u32;
        let grant = (now - self.granted_at).as_nanos() / each.as_nanos();
        let grant = u32::try_from(grant).unwrap_or(u32::MAX);
        let most = RETRIES_PER_S_MIN * RETRY;
        self.granted = self.granted.saturating_add(u64::from(grant)).min(most);
        // By what was granted and no more, or who asks often would lose the fractions.
        self.granted_at =
            if u64::from(grant) > most { now } else { self.granted_at + each * grant };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn withdrawn(budget: &mut RetryBudget, now: Instant) -> u64 {
        (0..1_000_000).take_while(|_| budget.withdraw(now)).count() as u64
    }

    #[test]
    fn a_few_are_granted_each_second_without_requests() {
        let mut budget = RetryBudget::new(at(0));
        assert_eq!(withdrawn(&mut budget, at(0)), RETRIES_PER_S_MIN);
        assert_eq!(withdrawn(&mut budget, at(1000)), RETRIES_PER_S_MIN);
        assert_eq!(withdrawn(&mut budget, at(60_000)), RETRIES_PER_S_MIN, "and not saved up");
        assert_eq!(withdrawn(&mut budget, at(60_000)), 0);
        let mut in_steps = 0;
        for ms in 60_000..62_000 {
            in_steps += withdrawn(&mut budget, at(ms + 1));
        }
        assert_eq!(in_steps, 2 * RETRIES_PER_S_MIN, "however often it is asked");
    }

    #[test]
    fn requests_pay_for_their_percentage() {
        let mut budget = RetryBudget::new(at(0));
        withdrawn(&mut budget, at(0));
        (0..200).for_each(|_| budget.deposit(20, at(0)));
        assert_eq!(withdrawn(&mut budget, at(0)), 40);
        (0..9).for_each(|_| budget.deposit(10, at(0)));
        assert_eq!(withdrawn(&mut budget, at(0)), 0, "nine tenths of one");
        budget.deposit(10, at(0));
        assert_eq!(withdrawn(&mut budget, at(0)), 1);
        (0..1000).for_each(|_| budget.deposit(0, at(0)));
        assert_eq!(withdrawn(&mut budget, at(0)), 0, "0 percent is none");
    }

    #[test]
    fn what_is_paid_in_is_bounded_and_fades() {
        let mut budget = RetryBudget::new(at(0));
        withdrawn(&mut budget, at(0));
        (0..3 * RETRY_BUDGET_REQUESTS_MAX).for_each(|_| budget.deposit(20, at(0)));
        let most = RETRY_BUDGET_REQUESTS_MAX * 20 / 100;
        budget.deposit(1, at(0));
        let mut later = budget;
        assert_eq!(withdrawn(&mut budget, at(0)), most, "a smaller budget took nothing away");
        let half = withdrawn(&mut later, at(RETRY_BUDGET_WINDOW_MS));
        assert_eq!(half, most / 2 + RETRIES_PER_S_MIN);
        (0..1000).for_each(|_| later.deposit(100, at(RETRY_BUDGET_WINDOW_MS)));
        let next_day = at(86_400_000);
        assert_eq!(withdrawn(&mut later, next_day), RETRIES_PER_S_MIN);
    }

    #[test]
    fn a_storm_of_failures_is_not_multiplied() {
        let mut budget = RetryBudget::new(at(0));
        let mut retries = 0;
        for ms in 0..30_000 {
            budget.deposit(20, at(ms));
            // Each fails, and so does each retry of it.
            retries += (0..3).take_while(|_| budget.withdraw(at(ms))).count() as u64;
        }
        assert!(retries <= 30_000 / 5 + 31 * RETRIES_PER_S_MIN, "{retries}");
        assert!(retries >= 30_000 / 5 - 10, "{retries}");
    }
}
