//! A gateway process: started as an operator would, observed through its log.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::PATIENCE;
use super::process::Process;

/// A gateway that is running; it is killed on drop.
pub(crate) struct Gateway {
    child: Child,
    lines: Receiver<String>,
    /// The JSON lines so far.
    pub(crate) records: Vec<Value>,
    /// The other lines so far: warnings and errors.
    pub(crate) text: Vec<String>,
    start: Value,
}

/// How a gateway ended.
pub(crate) struct Stopped {
    /// Its exit status; `None` where a signal ended it.
    pub(crate) status: Option<i32>,
    /// The event `stop`; null where there was none.
    pub(crate) event: Value,
    /// Every JSON line of its life.
    pub(crate) records: Vec<Value>,
}

impl Stopped {
    /// A counter of the event `stop`.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let value = &self.event["counters"][name];
        value.as_u64().unwrap_or_else(|| panic!("no counter {name} in {}", self.event))
    }

    /// The records of connections.
    pub(crate) fn connections(&self) -> impl Iterator<Item = &Value> {
        self.records.iter().filter(|record| record["event"] == "connection")
    }

    /// Asserts that all connections had ended in order when the gateway did.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.status, Some(0), "{}", self.event);
        assert_eq!(self.event["ended"], "drained", "{}", self.event);
        self.assert_nothing_left();
    }

    /// Asserts that no task, socket or log line was left behind, whatever ended the gateway.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        for name in ["tasks_live", "sockets_live", "cq_overflows"] {
            assert_eq!(self.counter(name), 0, "{name} in {}", self.event);
        }
        let (accepted, closed) = (self.counter("accepted"), self.counter("connections_closed"));
        assert_eq!(accepted, closed, "{}", self.event);
    }
}

fn command(wrapper: &[String], arguments: &[&str]) -> Command {
    let program = env!("CARGO_BIN_EXE_ringfort");
    let mut command = match wrapper {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.arg("run").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Gateway {
    /// Starts one with these arguments of `run` and waits until it accepts. Its log must go to
    /// standard error.
    pub(crate) fn start(wrapper: &[String], arguments: &[&str]) -> Self {
        let mut gateway = Self::spawn(wrapper, arguments);
        gateway.start = gateway.wait_for("the event start", |line| line["event"] == "start");
        gateway
    }

    /// Starts one without waiting: for logs that go elsewhere.
    pub(crate) fn spawn(wrapper: &[String], arguments: &[&str]) -> Self {
        let mut child = command(wrapper, arguments).spawn().expect("the program runs");
        let stderr = child.stderr.take().expect("piped");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, records: Vec::new(), text: Vec::new(), start: Value::Null }
    }

    /// Starts one whose standard error nobody reads: its end of the pipe comes back.
    pub(crate) fn spawn_unread(arguments: &[&str]) -> (Self, ChildStderr) {
        let mut child = command(&[], arguments).spawn().expect("the program runs");
        let stderr = child.stderr.take().expect("piped");
        let (_, lines) = channel();
        let (records, text) = (Vec::new(), Vec::new());
        (Self { child, lines, records, text, start: Value::Null }, stderr)
    }

    /// The exit status once it has ended; a signal's end is -1.
    pub(crate) fn status_if_ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().expect("our child");
        status.map(|status| status.code().unwrap_or(-1))
    }

    /// Runs one that must refuse to start; returns what it says.
    pub(crate) fn refused(wrapper: &[String], arguments: &[&str]) -> String {
        let mut gateway = Self::spawn(wrapper, arguments);
        while let Ok(line) = gateway.lines.recv_timeout(PATIENCE) {
            gateway.take(line);
        }
        let status = gateway.child.wait().expect("it is our child");
        assert!(gateway.records.is_empty(), "it started: {:?}", gateway.records);
        assert_eq!(status.code(), Some(1), "{:?}", gateway.text);
        gateway.text.join("\n")
    }

    /// The address of its first listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_of(0)
    }

    /// The address of a listener, by its place in the configuration.
    pub(crate) fn address_of(&self, index: usize) -> SocketAddr {
        let text = self.start["listeners"][index]["address"].as_str().expect("an address");
        text.parse().expect("an address")
    }

    /// The event `start`.
    pub(crate) fn start_event(&self) -> &Value {
        &self.start
    }

    /// Its process.
    pub(crate) fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// The first JSON line, past or to come, that fits. Each is returned once.
    pub(crate) fn wait_for(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut looked_at = 0;
        loop {
            if let Some(at) = self.records[looked_at..].iter().position(&fits) {
                let at = looked_at + at;
                let found = self.records[at].clone();
                // So that the same line does not answer the next question.
                self.records[at]["seen"] = true.into();
                return found;
            }
            looked_at = self.records.len();
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.take(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("waited for {what}; got {:#?} {:?}", self.records, self.text)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended without {what}; got {:#?} {:?}", self.records, self.text)
                }
            }
        }
    }

    /// The first unseen record of a connection that fits.
    pub(crate) fn wait_for_record(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        self.wait_for("the record of a connection", |line| {
            line["event"] == "connection" && line["seen"].is_null() && fits(line)
        })
    }

    /// The first unseen record of a connection from this address.
    pub(crate) fn record_of(&mut self, peer: SocketAddr) -> Value {
        let peer = peer.to_string();
        self.wait_for_record(|record| record["peer"] == peer)
    }

    /// The JSON lines so far, without waiting.
    pub(crate) fn lines_so_far(&mut self) -> &[Value] {
        while let Ok(line) = self.lines.try_recv() {
            self.take(line);
        }
        &self.records
    }

    fn take(&mut self, line: String) {
        match serde_json::from_str(&line) {
            Ok(record) => self.records.push(record),
            Err(_) => self.text.push(line),
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("not zero");
        kill_process(pid, signal).expect("our child is there until it is waited for");
    }

    /// SIGTERM, then waits for the end.
    pub(crate) fn terminate(self) -> Stopped {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Stopped {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.take(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {:#?}", self.records),
            }
        }
        let status = self.child.wait().expect("our child");
        let stop = self.records.iter().find(|record| record["event"] == "stop");
        Stopped {
            status: status.code(),
            event: stop.cloned().unwrap_or(Value::Null),
            records: std::mem::take(&mut self.records),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // By its own pid; fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let rest: Vec<_> = self.lines.try_iter().collect();
            eprintln!("gateway's text: {:?}\nand then: {rest:#?}", self.text);
        }
    }
}

/// Reads all of a stream as text; for programs' outputs.
pub(crate) fn read_text(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("a readable pipe");
    String::from_utf8_lossy(&bytes).into_owned()
}
