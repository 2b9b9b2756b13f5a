//! What was counted and timed: by one worker in one interval, or by all in the whole run.
//!
//! Plain data: it knows neither sockets nor clocks nor how it is shown. Histograms are in
//! nanoseconds, with three significant digits.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringfort::tls::names::alert_name;

/// A part of an operation that is timed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// From connect(2) until the connection is established.
    Connect,
    /// From the established connection until the TLS handshake is complete.
    Handshake,
    /// From the request's first byte until the answer's.
    FirstByte,
    /// The whole operation, from its intended start.
    Total,
}

impl Phase {
    /// All of them, in the order of an operation.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Handshake, Self::FirstByte, Self::Total];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::FirstByte => "first_byte",
            Self::Total => "total",
        }
    }
}

/// Why an operation failed: a kind, so that a peer cannot make the table grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nobody listens there (`ECONNREFUSED`).
    Refused,
    /// The server reset the connection.
    Reset,
    /// The network says that there is no way (`EHOSTUNREACH`, `ENETUNREACH`).
    Unreachable,
    /// No answer within `--timeout`, in this phase.
    Timeout(Phase),
    /// The server closed the connection in this phase, before it was due.
    Closed(Phase),
    /// The server sent this fatal alert (RFC 8446, 6), by its code.
    Alert(u8),
    /// The server's certificate was refused: why.
    Certificate(&'static str),
    /// What the server sent is not the TLS that was asked for: what about it.
    Tls(&'static str),
    /// HTTP: a status other than 2xx.
    Status(u16),
    /// The answer is not HTTP/1.1, not as long as was asked for, or not the echo of what was
    /// sent: what about it.
    Answer(&'static str),
    /// The server reset a stream of HTTP/2 (RFC 9113, 6.4): the error's name.
    StreamReset(&'static str),
    /// The server ended a connection of HTTP/2 (RFC 9113, 6.8): the error's name.
    GoAway(&'static str),
    /// What the server sent or agreed on is not the HTTP/2 that was asked for: what about it.
    Http2(&'static str),
    /// This machine has no port left for the connection (`EADDRNOTAVAIL`).
    NoPort,
    /// This process may not open more descriptors (`EMFILE`).
    NoDescriptor,
    /// Another errno.
    Errno(i32),
    /// As the log of another run names it (`merge`).
    Named(&'static str),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Timeout(phase) => write!(f, "timeout {}", phase.name()),
            Self::Closed(phase) => write!(f, "closed {}", phase.name()),
            Self::Alert(code) => match alert_name(*code) {
                Some(name) => write!(f, "alert {name}"),
                None => write!(f, "alert {code}"),
            },
            Self::Certificate(why) => write!(f, "certificate {why}"),
            Self::Tls(what) => write!(f, "tls {what}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Answer(what) => write!(f, "answer {what}"),
            Self::StreamReset(name) => write!(f, "stream reset {name}"),
            Self::GoAway(name) => write!(f, "goaway {name}"),
            Self::Http2(what) => write!(f, "http2 {what}"),
            Self::NoPort => f.write_str("no local port"),
            Self::NoDescriptor => f.write_str("no descriptor"),
            Self::Errno(errno) => write!(f, "errno {errno}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl From<&'static str> for Failure {
    fn from(what: &'static str) -> Self {
        Self::Answer(what)
    }
}

/// The longest time that is told apart, in nanoseconds: a day. It bounds a histogram's memory.
pub const NANOS_MAX: u64 = 24 * 3600 * 1_000_000_000;

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Operations that were completed as asked.
    pub operations: u64,
    /// HTTP requests that were answered to the end, whatever the answer was.
    pub requests: u64,
    /// Bytes of application data sent.
    pub bytes_sent: u64,
    /// Bytes of application data received.
    pub bytes_received: u64,
    /// Full handshakes.
    pub full: u64,
    /// Resumed handshakes.
    pub resumed: u64,
    /// Nanoseconds of each phase, in the order of [`Phase::ALL`].
    pub phases: [Histogram<u64>; 4],
    /// By how many nanoseconds operations began after their intended start (open loop).
    pub late: Histogram<u64>,
    /// Operations that failed, by why.
    pub errors: BTreeMap<Failure, u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            operations: 0,
            requests: 0,
            bytes_sent: 0,
            bytes_received: 0,
            full: 0,
            resumed: 0,
            phases: std::array::from_fn(|_| histogram()),
            late: histogram(),
            errors: BTreeMap::new(),
        }
    }
}

/// An empty histogram of nanoseconds that grows with what it sees.
pub fn histogram() -> Histogram<u64> {
    // invariant: three significant digits are within the 0 to 5 that are allowed.
    Histogram::new(3).expect("three digits are allowed")
}

impl Tally {
    /// Records how long a phase took.
    pub fn record(&mut self, phase: Phase, time: Duration) {
        record(&mut self.phases[phase as usize], time);
    }

    /// Records how late an operation began.
    pub fn record_late(&mut self, time: Duration) {
        record(&mut self.late, time);
    }

    /// Counts a failed operation.
    pub fn fail(&mut self, failure: Failure) {
        *self.errors.entry(failure).or_default() += 1;
    }

    /// The times of a phase, in nanoseconds.
    pub fn phase(&self, phase: Phase) -> &Histogram<u64> {
        &self.phases[phase as usize]
    }

    /// Operations that failed, for whatever reason.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.operations + self.requests == 0
            && self.errors.is_empty()
            && self.full + self.resumed == 0
            && self.bytes_sent + self.bytes_received == 0
    }

    /// Adds what another tally counted.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.requests += other.requests;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.full += other.full;
        self.resumed += other.resumed;
        for (mine, theirs) in self.phases.iter_mut().zip(&other.phases) {
            add_histogram(mine, theirs);
        }
        add_histogram(&mut self.late, &other.late);
        for (failure, count) in &other.errors {
            *self.errors.entry(*failure).or_default() += count;
        }
    }
}

/// Adds `theirs` to `mine`, which grows where it has to.
pub fn add_histogram(mine: &mut Histogram<u64>, theirs: &Histogram<u64>) {
    // invariant: `histogram` makes them all, so they resize and have the same precision.
    mine.add(theirs).expect("histograms that resize take any value");
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).clamp(1, NANOS_MAX);
    // invariant: `histogram` makes them all, so they grow up to any value.
    histogram.record(nanos).expect("histograms that resize take any value");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut one = Tally::default();
        assert!(one.is_empty());
        (one.operations, one.requests) = (1, 3);
        one.record(Phase::Total, Duration::from_micros(5));
        one.fail(Failure::Refused);
        let mut two = one.clone();
        two.record(Phase::Total, Duration::from_secs(90));
        two.fail(Failure::Timeout(Phase::Handshake));
        one.add(&two);
        assert_eq!((one.operations, one.requests, one.failed()), (2, 6, 3));
        assert_eq!(one.errors[&Failure::Refused], 2);
        assert_eq!(one.phase(Phase::Total).len(), 3);
        assert_eq!(
            one.phase(Phase::Total).max(),
            one.phase(Phase::Total).highest_equivalent(90_000_000_000)
        );
    }

    #[test]
    fn failures_are_named_as_people_name_them() {
        for (failure, name) in [
            (Failure::Timeout(Phase::FirstByte), "timeout first_byte"),
            (Failure::Alert(116), "alert certificate_required"),
            (Failure::Status(503), "status 503"),
            (Failure::StreamReset("refused_stream"), "stream reset refused_stream"),
            (Failure::GoAway("enhance_your_calm"), "goaway enhance_your_calm"),
        ] {
            assert_eq!(failure.to_string(), name);
        }
    }
}
