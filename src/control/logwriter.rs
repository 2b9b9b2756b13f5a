//! Writes the log: lines of JSON on standard error or in a file.
//!
//! A target that fails (a full disk, a closed pipe) loses lines, which are counted; the gateway
//! goes on. The loss is told once in the log itself when writing works again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use time::OffsetDateTime;

use crate::config::snapshot::LogTarget;
use crate::log::{ClockPair, LogReceiver};
use crate::time::Instant;

/// Bytes gathered before they are written.
const CHUNK_BYTES: usize = 64 * 1024;

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
        Ok(Self { sink, chunk: Vec::new(), lines: 0, lost: 0, untold: 0 })
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
        for receiver in receivers {
            while let Some(record) = receiver.next() {
                self.line(&record.line(&clocks));
            }
        }
        self.flush();
    }

    /// Writes an event of the gateway itself: `fields` are members of a JSON object.
    pub fn event(&mut self, event: &str, fields: &serde_json::Value) {
        let mut line = serde_json::json!({ "event": event });
        let clocks = ClockPair { monotonic: Instant::ORIGIN, wall: OffsetDateTime::now_utc() };
        line["time"] = clocks.format(Instant::ORIGIN).into();
        if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object()) {
            line.extend(fields.clone());
        }
        self.line(&format!("{line}\n"));
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
        if self.lines == 0 {
            return;
        }
        if self.untold > 0 {
            let told = format!("{{\"event\":\"log_lost\",\"lines\":{}}}\n", self.untold);
            if self.write(told.as_bytes()).is_ok() {
                self.untold = 0;
            }
        }
        let chunk = std::mem::take(&mut self.chunk);
        let lines = std::mem::take(&mut self.lines);
        if self.write(&chunk).is_err() {
            self.lost += lines;
            self.untold += lines;
        }
        self.chunk = chunk;
        self.chunk.clear();
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.sink {
            Sink::Stderr => io::stderr().write_all(bytes),
            Sink::File(file) => file.write_all(bytes),
            Sink::Off => Ok(()),
        }
    }
}

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
        assert_eq!(lines[0], r#"{"event":"log_lost","lines":2}"#);
        assert!(lines[1].contains(r#""event":"stop""#), "{text}");
        assert_eq!(writer.lost(), 2);
    }
}
