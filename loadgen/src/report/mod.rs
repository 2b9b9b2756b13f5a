//! What a run found, for people and for programs: JSON, table, HTML, HdrHistogram log.
//!
//! It reads an [`Outcome`] and decides nothing about it. Files are opened before the run, so that
//! a run of an hour does not end without its report.
//!
//! ```text
//! report -> { outcome, tally }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::outcome::Outcome;
use crate::tally::Tally;

pub mod hdr;
pub mod html;
pub mod json;
pub mod plot;
pub mod progress;
pub mod table;
pub mod units;

/// The files of a run's reports, open.
#[derive(Debug, Default)]
pub struct Outputs {
    files: Vec<Output>,
}

/// What a report looks like, named by its flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `--json`
    Json,
    /// `--hdr`
    Hdr,
    /// `--html`
    Html,
}

#[derive(Debug)]
struct Output {
    format: Format,
    path: PathBuf,
    /// `None` for standard output.
    file: Option<File>,
}

/// Why a report cannot be written.
#[derive(Debug)]
pub enum ReportError {
    /// The file cannot be made.
    Open {
        /// Which report.
        format: Format,
        /// As it was given.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Two reports would go to one place.
    Twice {
        /// Both of them.
        formats: [Format; 2],
        /// As it was given.
        path: PathBuf,
    },
    /// The file was opened, and then it could not be written.
    Write {
        /// Which report.
        format: Format,
        /// As it was given.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Outputs {
    /// Makes the files, which must not take until the end of the run to prove unwritable.
    ///
    /// `-` is standard output.
    ///
    /// # Errors
    ///
    /// A file cannot be made, or two are the same.
    pub fn open(
        json: Option<&Path>,
        hdr: Option<&Path>,
        html: Option<&Path>,
    ) -> Result<Self, ReportError> {
        let asked = [(Format::Json, json), (Format::Hdr, hdr), (Format::Html, html)];
        let mut files: Vec<Output> = Vec::new();
        for (format, path) in asked {
            let Some(path) = path else { continue };
            if let Some(other) = files.iter().find(|other| other.path == path) {
                let formats = [other.format, format];
                return Err(ReportError::Twice { formats, path: path.to_owned() });
            }
            files.push(Output::open(format, path)?);
        }
        Ok(Self { files })
    }

    /// Whether a report goes to standard output, where nothing else may be written then.
    pub fn take_stdout(&self) -> bool {
        self.files.iter().any(|output| output.file.is_none())
    }

    /// Writes every report.
    ///
    /// # Errors
    ///
    /// The first that failed; the others are written all the same.
    pub fn write(self, outcome: &Outcome) -> Result<(), ReportError> {
        let mut result = Ok(());
        for output in self.files {
            result = result.and(output.write(outcome));
        }
        result
    }
}

impl Output {
    fn open(format: Format, path: &Path) -> Result<Self, ReportError> {
        let file = if path == "-" {
            None
        } else {
            let open = |error| ReportError::Open { format, path: path.to_owned(), error };
            Some(File::create(path).map_err(open)?)
        };
        Ok(Self { format, path: path.to_owned(), file })
    }

    fn write(self, outcome: &Outcome) -> Result<(), ReportError> {
        let written = match self.file {
            Some(file) => self.format.write(outcome, file),
            None => self.format.write(outcome, io::stdout().lock()),
        };
        written.map_err(|error| ReportError::Write { format: self.format, path: self.path, error })
    }
}

impl Format {
    /// Writes the report.
    fn write(self, outcome: &Outcome, to: impl Write) -> io::Result<()> {
        let mut to = BufWriter::new(to);
        match self {
            Self::Json => to.write_all(json::render(outcome).as_bytes())?,
            Self::Hdr => hdr::write(outcome, &mut to)?,
            Self::Html => to.write_all(html::render(outcome).as_bytes())?,
        }
        to.flush()
    }

    const fn flag(self) -> &'static str {
        match self {
            Self::Json => "--json",
            Self::Hdr => "--hdr",
            Self::Html => "--html",
        }
    }
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { format, path, error } => {
                let (flag, path) = (format.flag(), path.display());
                write!(f, "{flag} {path} cannot be made: {error}; {}", cure(error))
            }
            Self::Twice { formats: [one, two], path } => {
                let (one, two, path) = (one.flag(), two.flag(), path.display());
                write!(f, "{one} and {two} are both {path}: give each its own file")
            }
            Self::Write { format, path, error } => {
                let (flag, path) = (format.flag(), path.display());
                write!(f, "{flag} {path} was not written: {error}; {}", cure(error))
            }
        }
    }
}

impl std::error::Error for ReportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open { error, .. } | Self::Write { error, .. } => Some(error),
            Self::Twice { .. } => None,
        }
    }
}

fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "make its directory first",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "name a file that this user may write"
        }
        ErrorKind::IsADirectory => "name a file in it",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space, or name a file on another disk"
        }
        ErrorKind::BrokenPipe => "keep the reader of the pipe until the run has ended",
        _ => "name another file",
    }
}

/// Operations per second; 0 where no time passed.
pub fn rate_per_s(tally: &Tally, duration: Duration) -> f64 {
    over(tally.operations, duration)
}

/// Bytes of application data per second, both ways together, in units of 10^6.
pub fn megabytes_per_s(tally: &Tally, duration: Duration) -> f64 {
    over(tally.bytes_sent + tally.bytes_received, duration) / 1e6
}

/// A part of a whole, 0 to 1; `None` of nothing.
pub fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Microseconds of CPU time per completed operation; `None` where none was completed.
pub fn cpu_per_operation(cpu: Duration, tally: &Tally) -> Option<f64> {
    (tally.operations > 0).then(|| cpu.as_secs_f64() * 1e6 / tally.operations as f64)
}

/// Nanoseconds of CPU time per byte of application data; `None` where there was none.
pub fn cpu_per_byte(cpu: Duration, tally: &Tally) -> Option<f64> {
    let bytes = tally.bytes_sent + tally.bytes_received;
    (bytes > 0).then(|| cpu.as_secs_f64() * 1e9 / bytes as f64)
}

/// The failed operations by the name of why.
pub fn errors_by_name(tally: &Tally) -> BTreeMap<String, u64> {
    let mut errors = BTreeMap::new();
    for (failure, count) in &tally.errors {
        *errors.entry(failure.to_string()).or_default() += count;
    }
    errors
}

fn over(count: u64, duration: Duration) -> f64 {
    if duration.is_zero() { 0.0 } else { count as f64 / duration.as_secs_f64() }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::outcome::{CpuTime, Negotiated, Point, Ramp, RampStep};
    use crate::tally::{Failure, Phase};

    /// 3 seconds of 100 handshakes each, with a bit of everything.
    pub(crate) fn sample() -> Outcome {
        let mut outcome = empty();
        for second in 1..=3 {
            let mut tally = Tally {
                operations: 100,
                requests: 110,
                bytes_sent: 4_000,
                bytes_received: 6_000,
                full: 50,
                resumed: 50,
                ..Tally::default()
            };
            for nth in 1..=100 {
                tally.record(Phase::Connect, Duration::from_micros(nth));
                tally.record(Phase::Handshake, Duration::from_micros(nth * 10));
                tally.record(Phase::Total, Duration::from_micros(nth * 20));
            }
            tally.fail(Failure::Alert(116));
            outcome.total.add(&tally);
            let end = Duration::from_secs(second);
            outcome.series.push(Point { end, length: Duration::from_secs(1), tally });
        }
        outcome.negotiated = Some(Negotiated {
            version: "TLS 1.3".to_owned(),
            suite: "TLS_AES_128_GCM_SHA256".to_owned(),
            group: Some("X25519".to_owned()),
            alpn: None,
        });
        outcome.server_cpu = Some(cpu(60, 30));
        outcome.generator_cpu = Some(cpu(30, 30));
        outcome.busy_share = 0.97;
        outcome.bottleneck = Some("worker 0 was busy for 97 % of the time".to_owned());
        outcome.rate_asked_per_s = Some(200.0);
        outcome.resume_asked = Some(0.5);
        outcome.protocol = Some("HTTP/2".to_owned());
        outcome.streams = Some(10);
        outcome.insecure = true;
        outcome.interrupted = true;
        outcome.failures = vec!["200 operations per second were asked for, 100 made".to_owned()];
        let step = |rate_per_s: f64, kept| RampStep {
            rate_per_s,
            made_per_s: 99.5,
            latency: Duration::from_micros(4_200),
            failed: 0,
            kept,
        };
        outcome.ramp = Some(Ramp {
            percentile: 99.0,
            latency_max: Duration::from_millis(5),
            steps: vec![step(100.0, true), step(200.0, false)],
            rate_per_s: Some(100.0),
        });
        outcome
    }

    /// A run in which nothing happened.
    pub(crate) fn empty() -> Outcome {
        Outcome {
            mode: "handshake".to_owned(),
            target: "127.0.0.1:8443".to_owned(),
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045),
            command: vec!["ringfort-loadgen".to_owned(), "handshake".to_owned()],
            insecure: false,
            interrupted: false,
            duration: Duration::from_secs(3),
            workers: 1,
            connections: 8,
            rate_asked_per_s: None,
            protocol: None,
            streams: None,
            resume_asked: None,
            negotiated: None,
            total: Tally::default(),
            series: Vec::new(),
            server_cpu: Some(CpuTime::default()),
            generator_cpu: None,
            busy_share: 0.0,
            bottleneck: None,
            ramp: None,
            failures: Vec::new(),
        }
    }

    fn cpu(user_ms: u64, sys_ms: u64) -> CpuTime {
        CpuTime {
            pids: vec![7],
            user: Duration::from_millis(user_ms),
            sys: Duration::from_millis(sys_ms),
        }
    }

    /// A name in the directory for temporary files that no other test has.
    pub(crate) fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ringfort-loadgen-{}-{name}", std::process::id()))
    }

    #[test]
    fn every_report_is_written() {
        let names = ["r.json", "r.hdr", "r.html"].map(temporary);
        let [json, hdr, html] = &names;
        let outputs = Outputs::open(Some(json), Some(hdr), Some(html)).expect("files");
        assert!(names.iter().all(|name| name.exists()), "the files are made before the run");
        assert!(!outputs.take_stdout());
        outputs.write(&sample()).expect("written");
        for (name, begins) in names.iter().zip(["{\n", "#", "<!doctype html>"]) {
            let text = std::fs::read_to_string(name).expect("readable");
            assert!(text.starts_with(begins), "{}: {text:.40}", name.display());
            std::fs::remove_file(name).expect("removable");
        }
    }

    #[test]
    fn what_cannot_be_written_is_named_with_a_cure() {
        let nowhere = Path::new("/nonexistent/r.json");
        let error = Outputs::open(Some(nowhere), None, None).expect_err("no such directory");
        let text = error.to_string();
        assert!(text.starts_with("--json /nonexistent/r.json cannot be made: "), "{text}");
        assert!(text.ends_with("make its directory first"), "{text}");

        let error = Outputs::open(None, None, Some(Path::new("/"))).expect_err("a directory");
        assert!(error.to_string().contains("--html / cannot be made"), "{error}");

        let full = Path::new("/dev/full");
        let other = temporary("beside-full.html");
        let outputs = Outputs::open(None, Some(full), Some(&other)).expect("/dev/full opens");
        let error = outputs.write(&sample()).expect_err("no space");
        let text = error.to_string();
        assert!(text.starts_with("--hdr /dev/full was not written: "), "{text}");
        assert!(text.contains("free some space"), "{text}");
        assert!(std::fs::metadata(&other).expect("written").len() > 0, "the others are written");
        std::fs::remove_file(other).expect("removable");
    }

    #[test]
    fn a_closed_pipe_is_an_error_and_no_panic() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let error = Format::Json.write(&sample(), writer).expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn two_reports_do_not_share_a_place() {
        let dash = Path::new("-");
        assert!(Outputs::open(Some(dash), None, None).expect("standard output").take_stdout());
        let error = Outputs::open(Some(dash), Some(dash), None).expect_err("twice");
        assert_eq!(error.to_string(), "--json and --hdr are both -: give each its own file");
    }
}
