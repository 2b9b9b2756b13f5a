//! The report as HdrHistogram V2 interval log, which the tools of that family read.
//!
//! One line per second and phase, tagged with the phase's name, in nanoseconds. What histograms
//! cannot carry is in comments with JSON, which other readers skip: one about the run, one before
//! the lines of each second, and one at the end, which tells a whole log from a cut one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};
use serde::{Deserialize, Serialize};

use crate::outcome::{Negotiated, Outcome, Point};
use crate::report::errors_by_name;
use crate::tally::Phase;

/// What the comment about the run begins with, behind its `#`.
pub const RUN: &str = "ringfort-loadgen run ";
/// What the comment before a second's histograms begins with.
pub const POINT: &str = "ringfort-loadgen point ";
/// What the last line begins with.
pub const END: &str = "ringfort-loadgen end ";

/// What the comment [`RUN`] says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Of this format: 1.
    pub version: u32,
    /// See [`Outcome`], here and below.
    pub mode: String,
    /// Host and port.
    pub target: String,
    /// Since 1970.
    pub started_ns: u64,
    /// Of the measured window.
    pub duration_ns: u64,
    /// The command line.
    pub command: Vec<String>,
    /// Server certificates were not verified.
    pub insecure: bool,
    /// The run was ended by a signal.
    pub interrupted: bool,
    /// Worker threads.
    pub workers: u32,
    /// Connections at a time.
    pub connections: u32,
    /// What was spoken inside of TLS.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Requests at a time on a connection.
    #[serde(default)]
    pub streams: Option<u32>,
    /// Open loop.
    pub rate_asked_per_s: Option<f64>,
    /// The share of resumed handshakes.
    pub resume_asked: Option<f64>,
    /// What TLS was agreed on.
    pub tls: Option<Tls>,
    /// What limited the run, if it was the generator.
    pub bottleneck: Option<String>,
    /// What was asked for and not met.
    pub failures: Vec<String>,
}

/// [`Negotiated`], as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tls {
    /// `TLS 1.3`
    pub version: String,
    /// IANA's name.
    pub suite: String,
    /// IANA's name.
    pub group: Option<String>,
    /// RFC 7301.
    pub alpn: Option<String>,
}

/// What the comment [`POINT`] says: the counts of one second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counts {
    /// From the start of the measured window.
    pub end_ns: u64,
    /// How long the second was.
    pub length_ns: u64,
    /// See [`crate::tally::Tally`], here and below.
    pub operations: u64,
    /// HTTP requests that were answered to the end.
    #[serde(default)]
    pub requests: u64,
    /// Application data.
    pub bytes_sent: u64,
    /// Application data.
    pub bytes_received: u64,
    /// Full handshakes.
    pub full: u64,
    /// Resumed handshakes.
    pub resumed: u64,
    /// By name.
    pub errors: BTreeMap<String, u64>,
}

/// What the comment [`END`] says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// How many seconds there are.
    pub points: u64,
}

/// Writes the whole log.
///
/// # Errors
///
/// Those of `to`.
pub fn write(outcome: &Outcome, to: &mut impl Write) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Times in nanoseconds; one tag per phase of an operation]")
        .add_comment(&format!("{RUN}{}", json(&Run::new(outcome))?))
        .with_start_time(outcome.started)
        .with_base_time(outcome.started)
        .begin_log_with(to, &mut serializer)?;
    for point in &outcome.series {
        log.write_comment(&format!("{POINT}{}", json(&Counts::new(point))?))?;
        let begin = point.end.saturating_sub(point.length);
        for phase in Phase::ALL {
            let times = point.tally.phase(phase);
            if times.is_empty() {
                continue;
            }
            let written = log.write_histogram(times, begin, point.length, Tag::new(phase.name()));
            written.map_err(|error| match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
            })?;
        }
    }
    let end = End { points: outcome.series.len() as u64 };
    log.write_comment(&format!("{END}{}", json(&end)?))
}

impl Run {
    fn new(outcome: &Outcome) -> Self {
        Self {
            version: 1,
            mode: outcome.mode.clone(),
            target: outcome.target.clone(),
            started_ns: since_1970(outcome.started),
            duration_ns: nanos(outcome.duration),
            command: outcome.command.clone(),
            insecure: outcome.insecure,
            interrupted: outcome.interrupted,
            workers: u32::try_from(outcome.workers).unwrap_or(u32::MAX),
            connections: u32::try_from(outcome.connections).unwrap_or(u32::MAX),
            protocol: outcome.protocol.clone(),
            streams: outcome.streams.map(|streams| u32::try_from(streams).unwrap_or(u32::MAX)),
            rate_asked_per_s: outcome.rate_asked_per_s,
            resume_asked: outcome.resume_asked,
            tls: outcome.negotiated.as_ref().map(Tls::new),
            bottleneck: outcome.bottleneck.clone(),
            failures: outcome.failures.clone(),
        }
    }
}

impl Tls {
    fn new(negotiated: &Negotiated) -> Self {
        Self {
            version: negotiated.version.clone(),
            suite: negotiated.suite.clone(),
            group: negotiated.group.clone(),
            alpn: negotiated.alpn.clone(),
        }
    }
}

impl Counts {
    fn new(point: &Point) -> Self {
        let tally = &point.tally;
        Self {
            end_ns: nanos(point.end),
            length_ns: nanos(point.length),
            operations: tally.operations,
            requests: tally.requests,
            bytes_sent: tally.bytes_sent,
            bytes_received: tally.bytes_received,
            full: tally.full,
            resumed: tally.resumed,
            errors: errors_by_name(tally),
        }
    }
}

/// JSON in one line.
fn json(value: &impl Serialize) -> io::Result<String> {
    serde_json::to_string(value).map_err(io::Error::other)
}

fn since_1970(time: SystemTime) -> u64 {
    nanos(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{empty, sample};

    fn written(outcome: &Outcome) -> String {
        let mut log = Vec::new();
        write(outcome, &mut log).expect("memory");
        String::from_utf8(log).expect("text")
    }

    #[test]
    fn each_second_has_a_line_per_timed_phase() {
        let text = written(&sample());
        for (begin, count) in [
            ("#ringfort-loadgen run {", 1),
            ("#[StartTime: 1767323045.000 ", 1),
            ("#[BaseTime: 1767323045.000 ", 1),
            ("#ringfort-loadgen point {", 3),
            ("Tag=connect,", 3),
            ("Tag=first_byte,", 0),
            ("Tag=total,1.000,1.000,", 1),
            ("#ringfort-loadgen end {\"points\":3}", 1),
        ] {
            let lines = text.lines().filter(|line| line.starts_with(begin));
            assert_eq!(lines.count(), count, "{begin}\n{text}");
        }
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn a_run_in_which_nothing_happened_is_a_whole_log() {
        let text = written(&empty());
        assert!(text.ends_with("#ringfort-loadgen end {\"points\":0}\n"), "{text}");
    }
}
