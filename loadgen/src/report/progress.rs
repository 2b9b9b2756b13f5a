//! The line on a terminal that tells how a run is doing, rewritten each second.
//!
//! Nothing is written where standard error is no terminal: a log is no place for it.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::report::units::{nanos, percent, rate};
use crate::report::{rate_per_s, share};
use crate::tally::{Phase, Tally};

/// The narrowest terminal that the line fits into; a line that wraps cannot be rewritten.
const COLUMNS_MAX: usize = 79;

/// To the line's begin, and what stood there is gone (ECMA-48, 8.3.41).
const CLEAR: &str = "\r\x1b[K";

/// What is left of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The warmup, for this long; what is measured comes after it.
    Warmup(Duration),
    /// This long.
    Time(Duration),
    /// This many operations.
    Operations(u64),
}

/// The live line. Dropped, it leaves an empty one.
#[derive(Debug)]
pub struct Progress {
    is_shown: bool,
}

impl Progress {
    /// A line on standard error, if that is a terminal and `quiet` was not asked for.
    pub fn new(quiet: bool) -> Self {
        Self { is_shown: !quiet && io::stderr().is_terminal() }
    }

    /// Shows what was counted in the last `length`, in the place of what stood there before.
    pub fn show(&self, tally: &Tally, length: Duration, left: Left) {
        if self.is_shown {
            print(&format!("{CLEAR}{}", line(tally, length, left)));
        }
    }

    /// Makes room for other text.
    pub fn clear(&self) {
        if self.is_shown {
            print(CLEAR);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A terminal that went away takes nothing from the run.
fn print(text: &str) {
    let mut to = io::stderr().lock();
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}

fn line(tally: &Tally, length: Duration, left: Left) -> String {
    let mut parts = vec![format!("{} /s", rate(rate_per_s(tally, length)))];
    let times = tally.phase(Phase::Total);
    if !times.is_empty() {
        let at = |quantile: f64| nanos(times.value_at_quantile(quantile) as f64);
        parts.push(format!("p50 {}", at(0.5)));
        parts.push(format!("p99 {}", at(0.99)));
    }
    if let Some(resumed) = share(tally.resumed, tally.full + tally.resumed) {
        parts.push(format!("resumed {}", percent(resumed)));
    }
    parts.push(format!("errors {}", tally.failed()));
    parts.push(match left {
        Left::Warmup(time) => format!("warmup {} s", whole_seconds(time)),
        Left::Time(time) => format!("{} s left", whole_seconds(time)),
        Left::Operations(count) => format!("{count} left"),
    });
    let mut line = parts.join("  ");
    line.truncate(COLUMNS_MAX);
    line
}

/// Rounded up: the last second is one.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn the_line_has_what_the_last_second_had() {
        let tally = &sample().series[0].tally;
        let text =
            line(tally, Duration::from_millis(500), Left::Time(Duration::from_millis(6_100)));
        assert_eq!(text, "200 /s  p50 1.00 ms  p99 1.98 ms  resumed 50.0 %  errors 1  7 s left");
        let text = line(&Tally::default(), Duration::ZERO, Left::Warmup(Duration::from_secs(2)));
        assert_eq!(text, "0.00 /s  errors 0  warmup 2 s");
    }

    #[test]
    fn the_line_never_wraps() {
        let mut tally = sample().series[0].tally.clone();
        tally.operations = 1 << 60;
        let text = line(&tally, Duration::from_secs(1), Left::Operations(u64::MAX));
        assert_eq!(text.len(), COLUMNS_MAX);
    }

    #[test]
    fn quiet_is_quiet() {
        assert!(!Progress::new(true).is_shown);
    }
}
