//! The gateway's log, read back: a line of it as a person likes to read it.
//!
//! It follows the file as it grows, and knows only the fields that it shows; `log` writes them.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::cli::timeline::printable;
use crate::error::CloseKind;
use crate::limits::DEMO_LINES_MAX;

/// The reason of a connection that both sides ended in order.
pub(super) const FINISHED: &str = CloseKind::Finished.as_str();

/// The log from its beginning, or from where the last call left off.
#[derive(Debug)]
pub(super) struct LogReader {
    file: File,
    /// A line whose end was not written yet.
    partial: Vec<u8>,
}

/// One connection, as the log has it.
#[derive(Clone, Debug)]
pub(super) struct Connection(Value);

impl LogReader {
    /// Opens the log.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, partial: Vec::new() })
    }

    /// The connections that were logged since the last call: the first `DEMO_LINES_MAX`, and how
    /// many more there were.
    pub(super) fn read(&mut self) -> io::Result<(Vec<Connection>, usize)> {
        let (mut connections, mut more) = (Vec::new(), 0);
        let mut buffer = [0; 16 * 1024];
        loop {
            let bytes = self.file.read(&mut buffer)?;
            if bytes == 0 {
                return Ok((connections, more));
            }
            for piece in buffer[..bytes].split_inclusive(|byte| *byte == b'\n') {
                self.partial.extend_from_slice(piece);
                if piece.ends_with(b"\n") {
                    let line = std::mem::take(&mut self.partial);
                    match serde_json::from_slice::<Value>(&line) {
                        Ok(line) if line["event"] != "connection" => {}
                        Ok(line) if connections.len() < DEMO_LINES_MAX => {
                            connections.push(Connection(line));
                        }
                        _ => more += 1,
                    }
                }
            }
        }
    }
}

impl Connection {
    /// A field that is a text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.0[field].as_str()
    }

    /// The SPIFFE ID of the client, once that was verified.
    pub(super) fn spiffe(&self) -> Option<&str> {
        self.0["identity"]["spiffe"].as_str()
    }

    /// Microseconds from accept to the end of the handshake.
    pub(super) fn handshake_us(&self) -> Option<u64> {
        self.0["handshake_us"].as_u64()
    }

    /// Why it ended: the refusal's code where it was refused for its certificate.
    pub(super) fn reason(&self) -> &str {
        self.text("refusal").or(self.text("close_reason")).unwrap_or("unknown")
    }

    /// The client's address; that of an IPv4 client on an IPv6 socket as it knows it itself.
    fn peer(&self) -> String {
        let peer = self.text("peer").unwrap_or("gone");
        match peer.parse::<SocketAddr>() {
            Ok(address) => SocketAddr::new(address.ip().to_canonical(), address.port()).to_string(),
            Err(_) => peer.to_owned(),
        }
    }

    /// The connection in one line, fit for a terminal.
    pub(super) fn line(&self) -> String {
        // RFC 3339 in UTC: the date ends at the T.
        let time = self.text("time").and_then(|time| time.get(11..19)).unwrap_or("");
        let who = self.spiffe().or(self.0["identity"]["subject"].as_str());
        let mut parts = vec![self.peer()];
        match self.handshake_us() {
            Some(handshake) => {
                parts.push(who.unwrap_or("no certificate").to_owned());
                parts.push(format!("handshake {handshake} us"));
                let bytes = |field: &str| self.0[field].as_u64().unwrap_or(0);
                parts.push(format!("{} B in, {} B out", bytes("bytes_up"), bytes("bytes_down")));
                if self.reason() != FINISHED {
                    parts.push(self.reason().to_owned());
                }
            }
            None => parts.push(format!("not let in: {}", self.reason())),
        }
        printable(&format!("{time}Z  {}", parts.join("  ")))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    const SERVED: &str = r#"{"event":"connection","time":"2031-02-03T04:05:06.7Z","peer":"[::1]:9",
        "identity":{"subject":"CN=x","spiffe":"spiffe://a/b"},"bytes_up":1,"bytes_down":2,
        "handshake_us":3,"close_reason":"finished"}"#;
    const REFUSED: &str = r#"{"event":"connection","time":"2031-02-03T04:05:06.7Z",
        "peer":"[::ffff:1.2.3.4]:5","identity":null,"handshake_us":null,
        "close_reason":"certificate_refused","refusal":"expired"}"#;

    fn one_line(text: &str) -> String {
        text.replace('\n', "") + "\n"
    }

    #[test]
    fn a_log_is_followed_across_lines_that_are_half_written() {
        let path = std::env::temp_dir().join(format!("ringfort-demo-log-{}", std::process::id()));
        let mut log = File::create(&path).expect("a temporary file");
        let mut reader = LogReader::open(&path).expect("it exists");
        fs::remove_file(&path).expect("ours");
        let (first, second) = (one_line(SERVED), one_line(REFUSED));
        log.write_all(b"{\"event\":\"start\"}\n").expect("room");
        log.write_all(first.as_bytes()).expect("room");
        log.write_all(&second.as_bytes()[..30]).expect("room");
        let (read, more) = reader.read().expect("readable");
        assert_eq!((read.len(), more), (1, 0));
        assert_eq!(
            read[0].line(),
            "04:05:06Z  [::1]:9  spiffe://a/b  handshake 3 us  1 B in, 2 B out"
        );
        log.write_all(&second.as_bytes()[30..]).expect("room");
        let (read, _) = reader.read().expect("readable");
        assert_eq!(read[0].line(), "04:05:06Z  1.2.3.4:5  not let in: expired");
    }

    #[test]
    fn a_flood_is_counted_and_not_shown() {
        let path = std::env::temp_dir().join(format!("ringfort-demo-flood-{}", std::process::id()));
        let lines = one_line(SERVED).repeat(DEMO_LINES_MAX + 500);
        fs::write(&path, lines).expect("a temporary file");
        let mut reader = LogReader::open(&path).expect("it exists");
        fs::remove_file(&path).expect("ours");
        let (read, more) = reader.read().expect("readable");
        assert_eq!((read.len(), more), (DEMO_LINES_MAX, 500));
    }

    #[test]
    fn what_a_client_calls_itself_cannot_steer_the_terminal() {
        let line = SERVED.replace("spiffe://a/b", "\\u001b[2J");
        let value = serde_json::from_str(&one_line(&line)).expect("JSON");
        assert!(Connection(value).line().contains("  ?[2J  "));
    }
}
