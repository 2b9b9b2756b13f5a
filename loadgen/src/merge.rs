//! `merge`: one report over the logs of several runs, as [`crate::report::hdr`] writes them.
//!
//! Histograms are added and counts summed. The rate is that over the union of the measured
//! windows: time in which no run measured does not count, and runs at the same time add up. The
//! series is aligned by the clocks of the machines, which must agree to a fraction of a second.
//!
//! The logs come from other machines: whatever is in them, reading them takes bounded memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde::de::DeserializeOwned;

use crate::outcome::{Negotiated, Outcome, Point};
use crate::report::hdr::{Counts, END, End, POINT, RUN, Run};
use crate::report::{Outputs, ReportError};
use crate::tally::{Failure, Phase, Tally, add_histogram};

/// The longest line of a log.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// The largest log.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// The most seconds of all logs together.
const POINTS_MAX: u64 = 1 << 20;
/// The highest count in one second: sums of [`POINTS_MAX`] of them do not overflow.
const COUNT_MAX: u64 = 1 << 40;
/// The most kinds of error of all logs together.
const KINDS_MAX: usize = 256;
/// The longest name of a kind of error.
const KIND_BYTES_MAX: usize = 128;
/// The longest run that can be told, in nanoseconds: a year.
const DURATION_NS_MAX: u64 = 366 * 86_400 * 1_000_000_000;
const SECOND_NS: i128 = 1_000_000_000;
/// What a histogram of 3 digits unpacks to at most: 9 bytes per count, of 64 ranges of 1024.
const HISTOGRAM_BYTES_MAX: u64 = 9 * 64 * 1024;

/// The arguments of `merge`.
#[derive(Args, Clone, Debug)]
pub struct MergeArgs {
    /// Logs that runs wrote with --hdr
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write the report as JSON (`-`: standard output, instead of the table)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write one log over all
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// Write the report as a page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl MergeArgs {
    /// Whether a report goes to standard output, where the table may not be written then.
    pub fn take_stdout(&self) -> bool {
        [&self.json, &self.hdr, &self.html].into_iter().flatten().any(|path| path == "-")
    }
}

/// Why there is no report.
#[derive(Debug)]
pub enum MergeError {
    /// The log cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The log is given twice; it would count twice.
    Twice(PathBuf),
    /// A line of the log is not what it should be.
    Line {
        /// Which log.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// What was found, and what was expected.
        what: String,
    },
    /// The merged report cannot be written.
    Report(ReportError),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => {
                let path = path.display();
                write!(f, "{path} cannot be read: {error}; give logs that runs wrote with --hdr")
            }
            Self::Twice(path) => {
                write!(f, "{} is given twice and would count twice: give it once", path.display())
            }
            Self::Line { path, line, what } => write!(f, "{}:{line}: {what}", path.display()),
            Self::Report(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for MergeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { error, .. } => Some(error),
            Self::Report(error) => Some(error),
            Self::Twice(_) | Self::Line { .. } => None,
        }
    }
}

/// Reads the logs, writes the reports that were asked for, and returns what the table shows.
///
/// # Errors
///
/// A log that cannot be read or understood, a report that cannot be written.
pub fn run(args: &MergeArgs) -> Result<Outcome, MergeError> {
    let mut merge = Merge::default();
    let mut seen = BTreeSet::new();
    for path in &args.files {
        if !seen.insert(path) {
            return Err(MergeError::Twice(path.clone()));
        }
        let open = |error| MergeError::Read { path: path.clone(), error };
        merge.read(path, File::open(path).map_err(open)?)?;
    }
    let outcome = merge.outcome(&args.files);
    let paths = [&args.json, &args.hdr, &args.html].map(Option::as_deref);
    let [json, hdr, html] = paths;
    let outputs = Outputs::open(json, hdr, html).map_err(MergeError::Report)?;
    outputs.write(&outcome).map_err(MergeError::Report)?;
    Ok(outcome)
}

/// What was read so far.
#[derive(Default)]
struct Merge {
    runs: Vec<(PathBuf, Run)>,
    total: Tally,
    /// By the second that their middle is in, counted from the first log's start.
    series: BTreeMap<i64, Second>,
    origin_ns: Option<u64>,
    points: u64,
    kinds: BTreeMap<String, &'static str>,
}

#[derive(Default)]
struct Second {
    length: Duration,
    tally: Tally,
}

/// A log that is being read.
#[derive(Default)]
struct Log {
    run: Option<Run>,
    point: Option<(Counts, Tally)>,
    points: u64,
    has_ended: bool,
}

impl Merge {
    fn read(&mut self, path: &Path, from: impl Read) -> Result<(), MergeError> {
        let mut from = BufReader::new(from.take(FILE_BYTES_MAX + 1));
        let mut log = Log::default();
        let (mut line, mut bytes) = (0, 0);
        let mut text = Vec::new();
        loop {
            text.clear();
            let read = (&mut from).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut text);
            let length =
                read.map_err(|error| MergeError::Read { path: path.to_owned(), error })? as u64;
            line += 1;
            bytes += length;
            let at = |what| MergeError::Line { path: path.to_owned(), line, what };
            if bytes > FILE_BYTES_MAX {
                return Err(at(format!("the log has more than {FILE_BYTES_MAX} bytes")));
            }
            if length == 0 {
                break self.finish(path, log).map_err(at);
            }
            check_end(&text, length).and_then(|()| self.line(&mut log, &text)).map_err(at)?;
        }
    }

    fn line(&mut self, log: &mut Log, text: &[u8]) -> Result<(), String> {
        if log.has_ended {
            return Err("more behind the log's end: give each log as a file of its own".to_owned());
        }
        if let Some(run) = comment(text, RUN) {
            if log.run.is_some() {
                return Err("a second run in one log: give each log as a file of its own".into());
            }
            log.run = Some(checked_run(json(run)?)?);
        } else if let Some(point) = comment(text, POINT) {
            self.settle(log)?;
            let counts = self.checked_counts(json(point)?)?;
            let tally = self.tally(&counts)?;
            log.point = Some((counts, tally));
        } else if let Some(end) = comment(text, END) {
            self.settle(log)?;
            let End { points } = json(end)?;
            if points != log.points {
                return Err(format!("{points} seconds should be here, {} are", log.points));
            }
            log.has_ended = true;
        } else if !text.starts_with(b"#") {
            histogram_line(log, text)?;
        }
        Ok(())
    }

    /// A second is complete when the next one begins.
    fn settle(&mut self, log: &mut Log) -> Result<(), String> {
        let Some(run) = &log.run else {
            return Err(format!("no line `#{RUN}...` before this one: {NO_LOG}"));
        };
        let Some((counts, tally)) = log.point.take() else { return Ok(()) };
        log.points += 1;
        self.total.add(&tally);
        let origin_ns = *self.origin_ns.get_or_insert(run.started_ns);
        // The middle tells the second: a point may begin a little before its own.
        let middle_ns = i128::from(run.started_ns) - i128::from(origin_ns)
            + i128::from(counts.end_ns - counts.length_ns / 2);
        // invariant: 64 bits of nanoseconds are fewer seconds.
        let nth = i64::try_from(middle_ns.div_euclid(SECOND_NS)).expect("fewer seconds");
        let second = self.series.entry(nth).or_default();
        second.length = second.length.max(Duration::from_nanos(counts.length_ns));
        second.tally.add(&tally);
        Ok(())
    }

    fn finish(&mut self, path: &Path, log: Log) -> Result<(), String> {
        match log.run {
            Some(run) if log.has_ended => {
                self.runs.push((path.to_owned(), run));
                Ok(())
            }
            Some(_) => Err(format!(
                "the log ends without its last line (`#{END}...`): the run has not ended, or the \
                 copy is cut"
            )),
            None => Err(format!("the log ends without a line `#{RUN}...`: {NO_LOG}")),
        }
    }

    fn checked_counts(&mut self, counts: Counts) -> Result<Counts, String> {
        self.points += 1;
        if self.points > POINTS_MAX {
            return Err(format!("more than {POINTS_MAX} seconds in all: merge fewer logs at once"));
        }
        if counts.length_ns > counts.end_ns || counts.end_ns > DURATION_NS_MAX {
            let (length, end) = (counts.length_ns, counts.end_ns);
            return Err(format!("a point of {length} ns that ends at {end} ns cannot be"));
        }
        let numbers = [
            counts.operations,
            counts.requests,
            counts.bytes_sent,
            counts.bytes_received,
            counts.full,
            counts.resumed,
        ];
        match numbers.iter().chain(counts.errors.values()).find(|count| **count > COUNT_MAX) {
            Some(count) => Err(format!("a count of {count} in one second; at most {COUNT_MAX}")),
            None => Ok(counts),
        }
    }

    fn tally(&mut self, counts: &Counts) -> Result<Tally, String> {
        let mut tally = Tally {
            operations: counts.operations,
            requests: counts.requests,
            bytes_sent: counts.bytes_sent,
            bytes_received: counts.bytes_received,
            full: counts.full,
            resumed: counts.resumed,
            ..Tally::default()
        };
        for (name, count) in &counts.errors {
            tally.errors.insert(Failure::Named(self.kind(name)?), *count);
        }
        Ok(tally)
    }

    /// The name for the rest of the process' life, of which there are few.
    fn kind(&mut self, name: &str) -> Result<&'static str, String> {
        if let Some(kind) = self.kinds.get(name) {
            return Ok(kind);
        }
        if name.len() > KIND_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(format!("an error's name of {} bytes, or not plain text", name.len()));
        }
        if self.kinds.len() == KINDS_MAX {
            return Err(format!(
                "more than {KINDS_MAX} kinds of error: not a load generator's log"
            ));
        }
        let kind: &'static str = name.to_owned().leak();
        self.kinds.insert(name.to_owned(), kind);
        Ok(kind)
    }
}

impl Merge {
    fn outcome(self, files: &[PathBuf]) -> Outcome {
        let runs = || self.runs.iter().map(|(_, run)| run);
        let started_ns = runs().map(|run| run.started_ns).min().unwrap_or(0);
        let name = |path: &Path| path.display().to_string();
        let command = ["ringfort-loadgen", "merge"].map(str::to_owned).into_iter();
        let said = |of: fn(&Run) -> &[String]| {
            let said = self.runs.iter().flat_map(move |(path, run)| {
                of(run).iter().map(move |text| format!("{}: {text}", path.display()))
            });
            said.collect::<Vec<_>>()
        };
        let bottleneck = said(|run| run.bottleneck.as_slice());
        let rates: Option<Vec<f64>> = runs().map(|run| run.rate_asked_per_s).collect();
        Outcome {
            mode: "merge".to_owned(),
            target: distinct(runs().map(|run| run.target.as_str())).unwrap_or_default(),
            started: UNIX_EPOCH + Duration::from_nanos(started_ns),
            command: command.chain(files.iter().map(|path| name(path))).collect(),
            insecure: runs().any(|run| run.insecure),
            interrupted: runs().any(|run| run.interrupted),
            duration: union(runs().map(|run| (run.started_ns, run.duration_ns))),
            workers: runs().map(|run| run.workers as usize).sum(),
            connections: runs().map(|run| run.connections as usize).sum(),
            rate_asked_per_s: rates.map(|rates| rates.iter().sum()),
            protocol: distinct(runs().filter_map(|run| run.protocol.as_deref())),
            streams: runs().filter_map(|run| run.streams).max().map(|streams| streams as usize),
            resume_asked: same(runs().map(|run| run.resume_asked)),
            negotiated: negotiated(&self.runs),
            series: self.points(started_ns),
            server_cpu: None,
            generator_cpu: None,
            busy_share: 0.0,
            bottleneck: (!bottleneck.is_empty()).then(|| bottleneck.join("; ")),
            ramp: None,
            failures: said(|run| &run.failures),
            total: self.total,
        }
    }

    fn points(&self, started_ns: u64) -> Vec<Point> {
        let origin_ns = i128::from(self.origin_ns.unwrap_or(started_ns)) - i128::from(started_ns);
        let point = |(nth, second): (&i64, &Second)| {
            let begin_ns = origin_ns + i128::from(*nth) * SECOND_NS;
            let end_ns = begin_ns + second.length.as_nanos() as i128;
            Point {
                end: Duration::from_nanos(u64::try_from(end_ns).unwrap_or(0)),
                length: second.length,
                tally: second.tally.clone(),
            }
        };
        self.series.iter().map(point).collect()
    }
}

/// What every run agreed on; where they differ, all of it.
fn negotiated(runs: &[(PathBuf, Run)]) -> Option<Negotiated> {
    let tls = || runs.iter().filter_map(|(_, run)| run.tls.as_ref());
    Some(Negotiated {
        version: distinct(tls().map(|tls| tls.version.as_str()))?,
        suite: distinct(tls().map(|tls| tls.suite.as_str()))?,
        group: distinct(tls().filter_map(|tls| tls.group.as_deref())),
        alpn: distinct(tls().filter_map(|tls| tls.alpn.as_deref())),
    })
}

/// Each of them once, in alphabetical order; `None` of none.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.collect::<BTreeSet<_>>().into_iter().collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// What all of them are; `None` where they differ.
fn same(mut values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let first = values.next()??;
    values.all(|value| value == Some(first)).then_some(first)
}

/// How long at least one of the windows (start, length) was open.
fn union(windows: impl Iterator<Item = (u64, u64)>) -> Duration {
    let mut windows: Vec<(u64, u64)> =
        windows.map(|(start, length)| (start, start.saturating_add(length))).collect();
    windows.sort_unstable();
    let (mut open, mut until) = (0, 0);
    for (start, end) in windows {
        open += end.saturating_sub(start.max(until));
        until = until.max(end);
    }
    Duration::from_nanos(open)
}

const NO_LOG: &str = "this is no log that ringfort-loadgen wrote with --hdr";

/// A line ends with a newline, within its bound.
fn check_end(text: &[u8], length: u64) -> Result<(), String> {
    if length > LINE_BYTES_MAX {
        return Err(format!("a line of more than {LINE_BYTES_MAX} bytes: {NO_LOG}"));
    }
    if text.last() != Some(&b'\n') {
        return Err("the line is cut: copy the log again, after its run has ended".to_owned());
    }
    Ok(())
}

fn comment<'a>(text: &'a [u8], begin: &str) -> Option<&'a [u8]> {
    text.strip_prefix(b"#")?.strip_prefix(begin.as_bytes())
}

fn json<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|error| format!("not the JSON that belongs here: {error}"))
}

fn checked_run(run: Run) -> Result<Run, String> {
    if run.version != 1 {
        return Err(format!("version {} of the log; this program reads version 1", run.version));
    }
    if run.duration_ns > DURATION_NS_MAX {
        return Err(format!("a run of {} ns; at most a year can be", run.duration_ns));
    }
    Ok(run)
}

/// A line `Tag=PHASE,START,LENGTH,MAX,HISTOGRAM`.
fn histogram_line(log: &mut Log, text: &[u8]) -> Result<(), String> {
    let Some(Ok(LogEntry::Interval(interval))) = IntervalLogIterator::new(text).next() else {
        return Err(format!(
            "neither a comment nor `Tag=PHASE,START,LENGTH,MAX,HISTOGRAM`: {NO_LOG}"
        ));
    };
    let tag = interval.tag();
    let tag = tag.as_ref().map_or("", |tag| tag.as_str());
    let Some(phase) = Phase::ALL.into_iter().find(|phase| phase.name() == tag) else {
        let names = Phase::ALL.map(Phase::name).join(", ");
        return Err(format!("the tag `{tag:.40}` is none of {names}"));
    };
    let Some((_, tally)) = &mut log.point else {
        return Err(format!("no line `#{POINT}...` before this histogram: {NO_LOG}"));
    };
    let times = histogram(interval.encoded_histogram())
        .ok_or("the histogram is damaged: it is not V2, deflated, of 3 digits and in base64")?;
    if !tally.phase(phase).is_empty() {
        return Err(format!("a second histogram of `{tag}` in one second"));
    }
    add_histogram(&mut tally.phases[phase as usize], &times);
    Ok(())
}

/// Unpacks a histogram. The library takes a length's word for it, so that is checked before.
fn histogram(encoded: &str) -> Option<Histogram<u64>> {
    const HEADER_BYTES: usize = 40;
    let packed = BASE64.decode(encoded).ok()?;
    // A cookie and a length.
    let packed = packed.get(8..)?;
    let mut plain = Vec::new();
    let mut inflated = ZlibDecoder::new(packed).take(HISTOGRAM_BYTES_MAX + HEADER_BYTES as u64);
    inflated.read_to_end(&mut plain).ok()?;
    let word = |at: usize| Some(u32::from_be_bytes(plain.get(at..at + 4)?.try_into().ok()?));
    let counts = plain.get(HEADER_BYTES..)?;
    let is_whole = word(4)? as usize == counts.len();
    let digits = word(12)?;
    // The lowest number there is, of which the library overflows.
    let has_lowest = counts.windows(9).any(|nine| nine == [0xff; 9]);
    if !is_whole || digits != 3 || has_lowest {
        return None;
    }
    let times: Histogram<u64> = Deserializer::new().deserialize(&mut plain.as_slice()).ok()?;
    (times.len() <= COUNT_MAX).then_some(times)
}

#[cfg(test)]
mod tests;
