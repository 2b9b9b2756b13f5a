//! What happened in a run: a hash of all events, the last of them as text, marks of coverage, and
//! what broke a rule.
//!
//! The hash is of the events' text, time included: two runs with one hash did the same.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write};

/// Events that are kept as text for a report.
const EVENTS_KEPT: usize = 120;
/// Broken rules that are kept; the first one is what counts.
const VIOLATIONS_KEPT: usize = 20;

/// See the module's description.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    last: VecDeque<String>,
    marks: BTreeMap<&'static str, u64>,
    violations: Vec<String>,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            // FNV-1a's offset basis (RFC 9923).
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            last: VecDeque::with_capacity(EVENTS_KEPT),
            marks: BTreeMap::new(),
            violations: Vec::new(),
        }
    }
}

impl Trace {
    /// Takes note of an event at `now` nanoseconds.
    pub fn note(&mut self, now: u64, what: fmt::Arguments<'_>) {
        let mut line = if self.last.len() == EVENTS_KEPT {
            self.last.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        line.clear();
        // Writing to a String cannot fail.
        let _ = write!(line, "{:>14.6} ms  {what}", now as f64 / 1e6);
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.events += 1;
        self.last.push_back(line);
    }

    /// Marks that something was reached: a fault that was injected, a reason of a close.
    pub fn mark(&mut self, what: &'static str) {
        *self.marks.entry(what).or_default() += 1;
    }

    /// A rule was broken.
    pub fn violation(&mut self, now: u64, what: fmt::Arguments<'_>) {
        self.note(now, format_args!("VIOLATION {what}"));
        if self.violations.len() < VIOLATIONS_KEPT {
            self.violations.push(format!("{what} (at {:.6} ms)", now as f64 / 1e6));
        }
    }

    /// Whether a rule was broken.
    pub fn is_violated(&self) -> bool {
        !self.violations.is_empty()
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last events, oldest first.
    pub fn last(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }

    /// How often each mark was set.
    pub fn marks(&self) -> &BTreeMap<&'static str, u64> {
        &self.marks
    }

    /// The rules that were broken, in order.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }
}

/// A short name for bytes, so that the trace tells whether they were the same.
pub fn digest(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
