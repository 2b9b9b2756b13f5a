//! How many requests may be sent again: a share of those that there are.

use crate::time::Instant;

/// The retries of one worker to one cluster.
#[derive(Debug, Default)]
pub struct RetryBudget {}

impl RetryBudget {
    /// A request is made.
    pub fn deposit(&mut self, now: Instant) {
        let _ = now;
        unimplemented!()
    }

    /// Takes a retry, where there are `percent` hundredths of the requests or fewer.
    pub fn withdraw(&mut self, percent: u32, now: Instant) -> bool {
        let _ = (percent, now);
        unimplemented!()
    }
}
