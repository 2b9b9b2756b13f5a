//! Notices that the wall clock was set: what is known of certificates' validity is old then.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// By how much the two clocks may drift apart before that counts as setting one.
const STEP_MIN: Duration = Duration::from_secs(1);

/// The wall clock beside the monotonic one.
#[derive(Debug)]
pub struct ClockWatch {
    monotonic: Instant,
    wall: Duration,
}

impl ClockWatch {
    /// The clocks as they are.
    pub fn new(monotonic: Instant, wall: SystemTime) -> Self {
        Self { monotonic, wall: wall.duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// Whether the wall clock was set, by one step or several, since this last said so.
    pub fn was_set(&mut self, monotonic: Instant, wall: SystemTime) -> bool {
        let expected = self.wall + monotonic.saturating_duration_since(self.monotonic);
        let now = Self::new(monotonic, wall);
        let was_set = now.wall.abs_diff(expected) >= STEP_MIN;
        if was_set {
            *self = now;
        }
        was_set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_either_way_is_told_once_and_the_passing_of_time_is_none() {
        let (monotonic, wall) = (Instant::now(), UNIX_EPOCH + Duration::from_secs(1_000_000));
        let second = Duration::from_secs(1);
        let mut clock = ClockWatch::new(monotonic, wall);
        assert!(!clock.was_set(monotonic + second, wall + second));
        assert!(!clock.was_set(monotonic + 2 * second, wall + 2 * second + second / 2));
        assert!(clock.was_set(monotonic + 3 * second, wall + 100 * second));
        assert!(!clock.was_set(monotonic + 4 * second, wall + 101 * second));
        assert!(clock.was_set(monotonic + 5 * second, wall));
        assert!(clock.was_set(monotonic + 6 * second, UNIX_EPOCH - second));
    }
}
