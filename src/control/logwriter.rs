//! Writes the log: lines of JSON on standard error or in a file.
//!
//! A target that fails (a full disk, a closed pipe) or hangs (a pipe that nobody reads) loses
//! lines, which are counted; the gateway goes on. The loss is told once in the log itself when
//! writing works again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::time::Timespec;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::config::snapshot::LogTarget;
use crate::limits::LOG_RECORDS_MAX;
use crate::log::{ClockPair, LogReceiver};
use crate::time::Instant;

/// Bytes gathered before they are written.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that a pipe takes at once or not at all (pipe(7)).
const PIPE_BUF_BYTES: usize = 4096;
/// How long a target may take nothing before lines are lost: signals wait as long.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

enum Sink {
    Stderr,
    File(File),
    Off,
}

/// See the module's description.
pub struct LogWriter {
    sink: Sink,
    chunk: Vec<u8>,
    /// Lines in `chunk`.
    lines: u64,
    /// Lines lost because the target failed.
    lost: u64,
    /// Of those, the ones that the log has not told yet.
    untold: u64,
    /// The last line that was written is not whole.
    cut: bool,
    /// The target took nothing in this pass: the rest of the pass is lost without another wait.
    stuck: bool,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl LogWriter {
    /// Opens the target; a file is created where it is missing, and appended to.
    ///
    /// # Errors
    /// What opening the file reports.
    pub fn open(target: &LogTarget) -> io::Result<Self> {
        let sink = match target {
            LogTarget::Stderr => Sink::Stderr,
            LogTarget::Off => Sink::Off,
            LogTarget::File(path) => {
                Sink::File(OpenOptions::new().append(true).create(true).open(path)?)
            }
        };
        Ok(Self { sink, chunk: Vec::new(), lines: 0, lost: 0, untold: 0, cut: false, stuck: false })
    }

    /// Opens a target that is a file anew, and creates it where it is missing; what else the target
    /// may be stays as it is.
    ///
    /// # Errors
    /// What opening it reports, or that it is no file any more. The one that was open stays open.
    pub fn reopen(&mut self, target: &LogTarget) -> io::Result<()> {
        let (Sink::File(open), LogTarget::File(path)) = (&mut self.sink, target) else {
            return Ok(());
        };
        if !open.metadata()?.is_file() {
            return Ok(());
        }
        // Without waiting, for a pipe may have come in its place.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().append(true).create(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file any more"));
        }
        *open = file;
        // The new file does not begin with half a line.
        self.cut = false;
        Ok(())
    }

    /// Whether records are worth being made.
    pub fn is_on(&self) -> bool {
        !matches!(self.sink, Sink::Off)
    }

    /// Lines lost because the target failed.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes all that waits in `receivers`. `monotonic` is the workers' clock now.
    pub fn drain(&mut self, receivers: &[LogReceiver], monotonic: Instant) {
        let clocks = ClockPair { monotonic, wall: OffsetDateTime::now_utc() };
        self.stuck = false;
        for receiver in receivers {
            // Bounded: workers may fill the buffers as fast as they are emptied.
            let records = std::iter::from_fn(|| receiver.next()).take(LOG_RECORDS_MAX);
            for record in records {
                self.line(&record.line(&clocks));
            }
        }
        self.flush();
    }

    /// Writes an event of the gateway itself: `fields` are members of a JSON object.
    pub fn event(&mut self, event: &str, fields: &Value) {
        self.stuck = false;
        self.line(&event_line(event, fields));
        self.flush();
    }

    fn line(&mut self, line: &str) {
        self.chunk.extend_from_slice(line.as_bytes());
        self.lines += 1;
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if lines > 0 && !self.write_chunk() {
            self.stuck = true;
            self.lost += lines;
            self.untold += lines;
        }
        self.chunk.clear();
    }

    /// Writes what was gathered, behind the number of lines that were lost before it.
    fn write_chunk(&mut self) -> bool {
        if self.stuck {
            return false;
        }
        if self.untold > 0 {
            // A line that was cut off must not run into the next.
            let end = if self.cut { "\n" } else { "" };
            let told = event_line("log_lost", &json!({ "lines": self.untold }));
            if self.sink.write(format!("{end}{told}").as_bytes()).is_err() {
                return false;
            }
            (self.untold, self.cut) = (0, false);
        }
        match self.sink.write(&self.chunk) {
            Ok(()) => true,
            Err(written) => {
                self.cut |= written > 0;
                false
            }
        }
    }
}

fn event_line(event: &str, fields: &Value) -> String {
    let clocks = ClockPair { monotonic: Instant::ORIGIN, wall: OffsetDateTime::now_utc() };
    let mut line = json!({ "event": event, "time": clocks.format(Instant::ORIGIN) });
    if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object()) {
        line.extend(fields.clone());
    }
    format!("{line}\n")
}

impl Sink {
    /// Writes all of `bytes`, or says how many it wrote.
    fn write(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut written = 0;
        // A reader that hangs must not hang the gateway: a pipe that polls as writable takes this
        // much without blocking (pipe(7), PIPE_BUF).
        for piece in bytes.chunks(PIPE_BUF_BYTES) {
            let done = match self {
                Self::Stderr => io::stderr().takes() && io::stderr().write_all(piece).is_ok(),
                Self::File(file) => file.takes() && file.write_all(piece).is_ok(),
                Self::Off => true,
            };
            if !done {
                return Err(written);
            }
            written += piece.len();
        }
        Ok(())
    }
}

/// Whether a descriptor can be written to, or fails at once, within [`PATIENCE`].
trait Takes: AsFd + Sized {
    fn takes(&self) -> bool {
        let mut polled = [PollFd::new(self, PollFlags::OUT)];
        poll(&mut polled, Some(&PATIENCE)).is_ok_and(|ready| ready > 0)
    }
}

impl Takes for io::Stderr {}
impl Takes for File {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_a_full_disk_refuses_are_counted_and_told() {
        let target = LogTarget::File("/dev/full".into());
        let mut writer = LogWriter::open(&target).expect("the device exists");
        writer.event("start", &serde_json::json!({"workers": 1}));
        writer.event("drain", &serde_json::json!({}));
        assert_eq!(writer.lost(), 2);
        let path = std::env::temp_dir().join(format!("ringfort-log-{}", std::process::id()));
        writer.sink = Sink::File(File::create(&path).expect("a temporary file"));
        writer.event("stop", &serde_json::json!({}));
        let text = std::fs::read_to_string(&path).expect("written");
        std::fs::remove_file(&path).expect("ours");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains(r#""event":"log_lost""#), "{text}");
        assert!(lines[0].ends_with(r#""lines":2}"#), "{text}");
        assert!(lines[1].contains(r#""event":"stop""#), "{text}");
        assert_eq!(writer.lost(), 2);
    }

    #[test]
    fn a_file_that_was_renamed_is_opened_anew_and_what_cannot_be_opened_changes_nothing() {
        let folder = std::env::temp_dir().join(format!("ringfort-reopen-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let (path, old) = (folder.join("log"), folder.join("log.1"));
        let target = LogTarget::File(path.clone());
        let mut writer = LogWriter::open(&target).expect("a temporary file");
        writer.event("one", &json!({}));
        std::fs::rename(&path, &old).expect("ours");
        writer.event("two", &json!({}));
        writer.reopen(&target).expect("it is created");
        writer.event("three", &json!({}));
        std::fs::rename(&path, folder.join("log.2")).expect("ours");
        std::fs::create_dir(&path).expect("ours");
        writer.reopen(&target).expect_err("a folder is no log");
        writer.event("four", &json!({}));
        let events = |path: &std::path::Path| {
            let text = std::fs::read_to_string(path).expect("written");
            let event = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
            text.lines().map(|line| event(line)["event"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(events(&old), ["one", "two"]);
        assert_eq!(events(&folder.join("log.2")), ["three", "four"]);
        std::fs::remove_dir_all(&folder).expect("ours");
    }

    #[test]
    fn a_pipe_that_nobody_reads_costs_lines_and_no_more() {
        let (reader, pipe) = io::pipe().expect("a pipe");
        let mut writer = LogWriter::open(&LogTarget::Off).expect("nothing to open");
        writer.sink = Sink::File(File::from(std::os::fd::OwnedFd::from(pipe)));
        let text = "x".repeat(10_000);
        let mut events = 0;
        while writer.lost() == 0 {
            writer.event("filler", &serde_json::json!({ "text": text }));
            events += 1;
            assert!(events < 1000, "a pipe holds a megabyte at the most");
        }
        let read = std::thread::spawn(move || io::read_to_string(reader).expect("text"));
        while writer.untold > 0 {
            writer.event("after", &serde_json::json!({}));
        }
        drop(writer);
        let text = read.join().expect("it reads to the end");
        let told = |line: &str| line.contains("log_lost") && line.ends_with(r#""lines":1}"#);
        assert!(text.lines().any(told), "the loss is told");
        assert!(text.lines().last().is_some_and(|line| line.contains("\"after\"")));
    }
}
