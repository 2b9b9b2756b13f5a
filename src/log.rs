//! The connection log: records go into a buffer of their worker, the control thread writes them.
//!
//! A worker never waits for the log: where its buffer is full the record is dropped and counted.
//! Formatting, and turning monotonic into wall-clock time, is the writer's work.

mod request;

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use self::request::RequestRecord;
use crate::error::{CloseKind, CloseReason};
use crate::identity::{Identity, Presented};
use crate::limits::{DETAIL_BYTES_MAX, LOG_RECORDS_MAX};
use crate::metrics::counter::WorkerCounters;
use crate::time::Instant;
use crate::tls::names::{group_name, suite_name, version_name};

/// What a handshake negotiated: IANA code points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Protocol version.
    pub version: u16,
    /// Cipher suite.
    pub suite: u16,
    /// Key exchange group; `None` where there was none.
    pub group: Option<u16>,
    /// Whether the session was resumed.
    pub resumed: bool,
}

/// One line of the log.
#[derive(Debug)]
pub enum Record {
    /// A connection that has ended.
    Connection(Box<ConnectionRecord>),
    /// A request that has ended.
    Request(Box<RequestRecord>),
}

impl Record {
    /// The record as one line of JSON, with its newline.
    pub fn line(&self, clocks: &ClockPair) -> String {
        match self {
            Self::Connection(record) => record.line(clocks),
            Self::Request(record) => record.line(clocks),
        }
    }
}

/// One connection, from accept to close.
#[derive(Debug)]
pub struct ConnectionRecord {
    /// Its number, which no other connection of the process has.
    pub id: u64,
    /// When it was accepted.
    pub opened: Instant,
    /// When the task was done with it.
    pub closed: Instant,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The client's address; `None` where it was gone before it could be asked for.
    pub peer: Option<SocketAddr>,
    /// The name that the client asked for.
    pub server_name: Option<Box<str>>,
    /// What was negotiated, once the handshake was complete.
    pub negotiated: Option<Negotiated>,
    /// When a client whose session was resumed was authenticated, in seconds since 1970.
    pub authenticated_unix_s: Option<i64>,
    /// Why a session that the client offered was not resumed.
    pub session_declined: Option<&'static str>,
    /// The protocol chosen by ALPN.
    pub alpn: Option<Box<[u8]>>,
    /// Who the client is, once that was verified.
    pub identity: Option<Arc<Identity>>,
    /// What the client presented, where its certificate was refused; nothing of it is verified.
    pub presented: Option<Box<Presented>>,
    /// The upstream's endpoint, once it was connected.
    pub upstream: Option<Arc<str>>,
    /// Plaintext bytes from the client.
    pub bytes_up: u64,
    /// Plaintext bytes to the client.
    pub bytes_down: u64,
    /// From accept to the end of the handshake.
    pub handshake: Option<Duration>,
    /// Why it ended.
    pub reason: CloseReason,
    /// What there is to say beyond the reason; see [`ConnectionRecord::set_detail`].
    pub detail: Option<Box<str>>,
}

/// The clocks at one moment, by which instants become wall-clock time.
#[derive(Clone, Copy, Debug)]
pub struct ClockPair {
    /// The monotonic clock of the workers.
    pub monotonic: Instant,
    /// Wall-clock time.
    pub wall: OffsetDateTime,
}

impl ClockPair {
    /// RFC 3339 with microseconds, in UTC.
    pub fn format(&self, instant: Instant) -> String {
        let wall = self.wall(instant);
        let micros = wall.nanosecond() / 1000 * 1000;
        let wall = wall.replace_nanosecond(micros).unwrap_or(wall);
        // Fails only for years beyond 9999.
        wall.format(&Rfc3339).unwrap_or_default()
    }

    /// The wall-clock time of an instant that has passed.
    fn wall(&self, instant: Instant) -> OffsetDateTime {
        self.wall - self.monotonic.saturating_since(instant)
    }
}

impl ConnectionRecord {
    /// The record of a connection of which nothing is known yet but where it came from.
    pub fn new(opened: Instant, listener: &Arc<str>, peer: Option<SocketAddr>) -> Self {
        Self {
            id: 0,
            opened,
            closed: opened,
            listener: Arc::clone(listener),
            peer,
            server_name: None,
            negotiated: None,
            authenticated_unix_s: None,
            session_declined: None,
            alpn: None,
            identity: None,
            presented: None,
            upstream: None,
            bytes_up: 0,
            bytes_down: 0,
            handshake: None,
            reason: CloseReason::internal(CloseKind::Stopped),
            detail: None,
        }
    }

    /// Says what there is to say beyond the reason, in [`DETAIL_BYTES_MAX`] at the most: it may
    /// hold what the peer sent.
    pub fn set_detail(&mut self, what: impl fmt::Display) {
        self.detail = Some(bounded_detail(what));
    }

    /// The record as one line of JSON, with its newline.
    pub fn line(&self, clocks: &ClockPair) -> String {
        let mut line = serde_json::to_string(&Line { record: self, clocks }).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// What is logged as `detail`, within its bound.
pub fn bounded_detail(what: impl fmt::Display) -> Box<str> {
    let mut text = Bounded(String::new());
    if write!(text, "{what}").is_err() {
        text.0.push_str(CUT_MARK);
    }
    text.0.into_boxed_str()
}

/// Seconds of a day.
const DAY_S: i64 = 24 * 3600;

/// Ends a detail that was cut.
const CUT_MARK: &str = "...";

/// Takes what leaves room for the mark and refuses more, which ends the formatting.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = DETAIL_BYTES_MAX - CUT_MARK.len() - self.0.len();
        let fits = text.floor_char_boundary(room);
        self.0.push_str(&text[..fits]);
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// A connection's number as the log has it.
pub fn connection_id(id: u64) -> String {
    format!("{id:x}")
}

struct Line<'a> {
    record: &'a ConnectionRecord,
    clocks: &'a ClockPair,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.record;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", "connection")?;
        map.serialize_entry("time", &self.clocks.format(record.opened))?;
        map.serialize_entry("connection", &connection_id(record.id))?;
        map.serialize_entry("listener", &*record.listener)?;
        map.serialize_entry("peer", &record.peer)?;
        map.serialize_entry("sni", &record.server_name)?;
        let negotiated = record.negotiated.as_ref();
        map.serialize_entry("tls", &negotiated.map(|tls| version_name(tls.version)))?;
        map.serialize_entry("suite", &negotiated.map(|tls| suite_name(tls.suite)))?;
        let group = negotiated.and_then(|tls| tls.group);
        map.serialize_entry("group", &group.map(group_name))?;
        map.serialize_entry("resumed", &negotiated.map(|tls| tls.resumed))?;
        if let Some(unix_s) = record.authenticated_unix_s {
            map.serialize_entry("authenticated", &timestamp(unix_s))?;
        }
        if let Some(declined) = record.session_declined {
            map.serialize_entry("session_declined", declined)?;
        }
        let alpn = record.alpn.as_deref().map(String::from_utf8_lossy);
        map.serialize_entry("alpn", &alpn)?;
        map.serialize_entry("identity", &record.identity.as_deref().map(IdentityLine))?;
        if let Some(presented) = record.presented.as_deref() {
            let now_unix_s = self.clocks.wall(record.closed).unix_timestamp();
            map.serialize_entry("presented", &PresentedLine { presented, now_unix_s })?;
        }
        map.serialize_entry("upstream", &record.upstream.as_deref())?;
        map.serialize_entry("bytes_up", &record.bytes_up)?;
        map.serialize_entry("bytes_down", &record.bytes_down)?;
        map.serialize_entry("handshake_us", &record.handshake.map(|time| time.as_micros()))?;
        map.serialize_entry("total_us", &(record.closed - record.opened).as_micros())?;
        map.serialize_entry("close_source", record.reason.source.as_str())?;
        map.serialize_entry("close_reason", record.reason.kind.as_str())?;
        if let CloseKind::CertificateRefused(refusal) = record.reason.kind {
            map.serialize_entry("refusal", refusal.as_str())?;
        }
        map.serialize_entry("detail", &record.detail)?;
        map.end()
    }
}

struct IdentityLine<'a>(&'a Identity);

impl Serialize for IdentityLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let identity = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("subject", identity.subject())?;
        map.serialize_entry("issuer", identity.issuer())?;
        map.serialize_entry("serial", identity.serial())?;
        if let Some(id) = identity.spiffe_id() {
            map.serialize_entry("spiffe", id.as_str())?;
        }
        for (name, names) in
            [("dns", identity.dns_names()), ("email", identity.emails()), ("uri", identity.uris())]
        {
            if !names.is_empty() {
                map.serialize_entry(name, names)?;
            }
        }
        if !identity.ip_addresses().is_empty() {
            map.serialize_entry("ip", identity.ip_addresses())?;
        }
        map.serialize_entry("sha256", &hex(identity.sha256()))?;
        map.serialize_entry("not_after", &timestamp(identity.not_after_unix_s()))?;
        map.end()
    }
}

struct PresentedLine<'a> {
    presented: &'a Presented,
    now_unix_s: i64,
}

impl Serialize for PresentedLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let presented = self.presented;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("certificates", &presented.certificates)?;
        map.serialize_entry("subject", &presented.subject)?;
        map.serialize_entry("issuer", &presented.issuer)?;
        map.serialize_entry("serial", &presented.serial)?;
        if !presented.names.is_empty() {
            map.serialize_entry("names", &presented.names)?;
        }
        if presented.names_more > 0 {
            map.serialize_entry("names_more", &presented.names_more)?;
        }
        map.serialize_entry("sha256", &presented.sha256.map(|digest| hex(&digest)))?;
        map.serialize_entry("subject_key_id", &presented.subject_key_id)?;
        map.serialize_entry("authority_key_id", &presented.authority_key_id)?;
        map.serialize_entry("not_before", &presented.not_before_unix_s.and_then(timestamp))?;
        map.serialize_entry("not_after", &presented.not_after_unix_s.and_then(timestamp))?;
        let seconds_left = presented.not_after_unix_s.map(|at| at.saturating_sub(self.now_unix_s));
        map.serialize_entry("days_left", &seconds_left.map(|left| left.div_euclid(DAY_S)))?;
        map.serialize_entry("key", &presented.key)?;
        map.serialize_entry("key_bits", &presented.key_bits)?;
        map.serialize_entry("signature", &presented.signature)?;
        map.serialize_entry("authority", &presented.is_authority)?;
        if !presented.unreadable.is_empty() {
            map.serialize_entry("unreadable", &presented.unreadable)?;
        }
        map.end()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn timestamp(unix_s: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(unix_s).ok().and_then(|time| time.format(&Rfc3339).ok())
}

/// The worker's end of its log buffer.
#[derive(Clone, Debug)]
pub struct LogSender {
    queue: Option<Arc<ArrayQueue<Record>>>,
    counters: Arc<WorkerCounters>,
}

impl LogSender {
    /// Whether there is a log at all.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Hands a record over, or counts it as lost.
    pub fn send(&self, record: Record) {
        if let Some(queue) = &self.queue
            && queue.push(record).is_err()
        {
            self.counters.log_lost.increment();
        }
    }
}

/// The writer's end of one worker's log buffer.
#[derive(Debug)]
pub struct LogReceiver {
    queue: Arc<ArrayQueue<Record>>,
}

impl LogReceiver {
    /// The next record.
    pub fn next(&self) -> Option<Record> {
        self.queue.pop()
    }
}

/// A log buffer for one worker.
pub fn channel(counters: &Arc<WorkerCounters>) -> (LogSender, LogReceiver) {
    let queue = Arc::new(ArrayQueue::new(LOG_RECORDS_MAX));
    let sender = LogSender { queue: Some(Arc::clone(&queue)), counters: Arc::clone(counters) };
    (sender, LogReceiver { queue })
}

/// A sender for a log that is off.
pub fn disabled(counters: &Arc<WorkerCounters>) -> LogSender {
    LogSender { queue: None, counters: Arc::clone(counters) }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
    use serde_json::Value;

    use super::*;
    use crate::error::Refusal;
    use crate::limits::{DNS_NAME_BYTES_MAX, PRESENTED_LINE_BYTES_MAX, REFUSED_LINE_BYTES_MAX};

    fn refused(presented: Presented) -> ConnectionRecord {
        let listener: Arc<str> = "main".into();
        let mut record = ConnectionRecord::new(Instant::ORIGIN, &listener, None);
        record.reason = CloseReason::downstream(CloseKind::CertificateRefused(Refusal::Expired));
        record.presented = Some(Box::new(presented));
        record
    }

    fn clocks(wall_unix_s: i64) -> ClockPair {
        let wall = OffsetDateTime::from_unix_timestamp(wall_unix_s).expect("in range");
        ClockPair { monotonic: Instant::ORIGIN, wall }
    }

    #[test]
    fn days_left_are_whole_days_from_the_close_and_negative_once_it_has_expired() {
        let mut presented = Presented::of(&[]);
        presented.not_after_unix_s = Some(10 * DAY_S);
        for (now, days) in [(0, 10), (1, 9), (10 * DAY_S, 0), (10 * DAY_S + 1, -1)] {
            let line = refused(presented.clone()).line(&clocks(now));
            let line: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(line["presented"]["days_left"], days, "{now}");
        }
        presented.not_after_unix_s = None;
        let line = refused(presented).line(&clocks(0));
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert!(line["presented"]["days_left"].is_null(), "{line}");
    }

    #[test]
    fn the_line_of_the_worst_certificate_is_one_bounded_line_of_ascii() {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "\\\u{202e}".repeat(1000));
        params.serial_number = Some(vec![0x7f; 20].into());
        let name = "\\".repeat(200);
        let name = || SanType::DnsName(name.as_str().try_into().expect("IA5"));
        params.subject_alt_names = (0..100).map(|_| name()).collect();
        let key = KeyPair::generate().expect("a key");
        let leaf = params.self_signed(&key).expect("a certificate").der().clone();
        let mut record = refused(Presented::of(&vec![leaf; 16]));
        record.server_name = Some("a".repeat(DNS_NAME_BYTES_MAX).into());
        record.set_detail("\u{1}".repeat(1000));
        let line = record.line(&clocks(0));
        let bytes = line.len();
        assert!(bytes <= REFUSED_LINE_BYTES_MAX, "{bytes} bytes");
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.trim_end().bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line}");
        let parsed: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(parsed["presented"]["certificates"], 16);
        let bytes = parsed["presented"].to_string().len();
        assert!(bytes > PRESENTED_LINE_BYTES_MAX / 2, "{bytes} bytes are not the worst");
        assert!(bytes <= PRESENTED_LINE_BYTES_MAX, "{bytes} bytes");
    }
}
