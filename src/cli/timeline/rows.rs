//! The lines of a timeline: what was decoded and observed at the client, merged with what the
//! gateway says of itself, in the order of time.
//!
//! It decides what is said, not how it is set. Texts that come from a peer go through unchanged:
//! `print` makes them fit for a terminal.

use std::time::{Duration, Instant};

use super::body::{Body, Certificate, ServerHello, Share, TLS13};
use super::decode::{Decoded, Message, Totals};
use super::observe::Check;
use super::record::{Direction, Recording};
use crate::tls::hello::ClientHello;
use crate::tls::names::{alert_name, group_name, scheme_name, suite_name, version_name};

/// Something that happened inside the gateway, by its own account.
#[derive(Clone, Debug)]
pub struct ServerEvent {
    /// When it was done.
    pub at: Instant,
    /// What: a few words, and after a first `": "` the details.
    pub what: String,
    /// How long it took.
    pub duration: Option<Duration>,
}

/// Where a line of the timeline took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// On the wire.
    Wire(Direction),
    /// In the client.
    Client,
    /// In the client: a verification of the gateway.
    ClientVerifies,
    /// In the gateway.
    Gateway,
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Time since the connection was begun.
    pub at: Duration,
    /// Bytes, where it is a message: its own, without record overhead.
    pub bytes: Option<usize>,
    /// Where it took place.
    pub lane: Lane,
    /// What it is, in a few words.
    pub what: String,
    /// What it says.
    pub details: String,
    /// How long it took, where it is an action.
    pub duration: Option<Duration>,
    /// Whether it is bad news: an alert, a verification that failed.
    pub alarm: bool,
}

impl Recording {
    /// The timeline of this connection, merged with the gateway's own events: sorted by time, and
    /// the messages of one direction always in the order sent.
    pub fn timeline(&self, server_events: &[ServerEvent]) -> Vec<Row> {
        let decoded = self.decode();
        let mut rows = vec![Row {
            details: format!("TCP to {}", self.address),
            ..self.row(self.connected, Lane::Client, "connected")
        }];
        rows.extend(self.message_rows(&decoded));
        rows.extend(self.client_rows(&decoded));
        rows.extend(server_events.iter().map(|event| {
            let (what, details) = event.what.split_once(": ").unwrap_or((&event.what, ""));
            Row {
                details: details.to_owned(),
                duration: event.duration,
                ..self.row(event.at, Lane::Gateway, what)
            }
        }));
        rows.sort_by_key(|row| row.at);
        rows
    }

    /// What the bytes of each direction were spent on, one line each.
    pub fn summary(&self) -> [String; 2] {
        let decoded = self.decode();
        let line = |label: &str, totals: Totals| {
            format!(
                "{label}: {} bytes in {} records, of which messages {}, record overhead {}",
                totals.wire_bytes,
                totals.records,
                totals.wire_bytes - totals.overhead_bytes,
                totals.overhead_bytes,
            )
        };
        let peer = self.peer;
        [
            line(&format!("client -> {peer}"), decoded.to_server),
            line(&format!("{peer} -> client"), decoded.to_client),
        ]
    }

    fn row(&self, at: Instant, lane: Lane, what: &str) -> Row {
        Row {
            at: at.saturating_duration_since(self.began),
            bytes: None,
            lane,
            what: what.to_owned(),
            details: String::new(),
            duration: None,
            alarm: false,
        }
    }

    /// The messages, with each direction's application data in two lines: its first record, and
    /// the rest at the time of its last.
    fn message_rows(&self, decoded: &Decoded) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        let in_13 = |message: &Message| match &message.body {
            Body::ServerHello(hello) => hello.version == TLS13,
            _ => false,
        };
        let tls13 = decoded.messages.iter().any(in_13);
        for message in &decoded.messages {
            let lane = Lane::Wire(message.direction);
            let (what, mut details) = describe(message, self.began_unix_s);
            if message.body == Body::ChangeCipherSpec {
                let meaning = ["encrypted from here on", "dummy, for middleboxes only"];
                details = meaning[usize::from(tls13)].to_owned();
            }
            let mut row = Row {
                bytes: Some(message.bytes),
                details,
                alarm: matches!(message.body, Body::Alert { description } if description != 0),
                ..self.row(message.at, lane, &what)
            };
            if message.body == Body::ApplicationData {
                let (first, rest) = match message.direction {
                    Direction::ToServer => ("request", "request, the rest"),
                    Direction::ToClient => ("response, first byte", "response, the rest"),
                };
                let mut own = rows.iter_mut().filter(|row| row.lane == lane);
                if let Some(last) = own.rfind(|row| row.what == rest) {
                    last.at = row.at;
                    last.bytes = last.bytes.map(|bytes| bytes + message.bytes);
                    continue;
                }
                let seen = rows.iter().any(|row| row.lane == lane && row.what == first);
                row.what = if seen { rest } else { first }.to_owned();
            }
            rows.push(row);
        }
        rows
    }

    /// What the client did between the messages.
    fn client_rows(&self, decoded: &Decoded) -> Vec<Row> {
        let mut rows = Vec::new();
        let bodies = || decoded.messages.iter().map(|message| &message.body);
        if let Some(at) = self.stamps.keys_agreed {
            let since = decoded
                .messages
                .iter()
                .rfind(|message| message.direction == Direction::ToClient && message.at <= at);
            rows.push(Row {
                details: key_exchange(bodies(), self.peer),
                duration: since.map(|message| at.saturating_duration_since(message.at)),
                ..self.row(at, Lane::Client, "key exchange")
            });
        }
        let chain = self.stamps.chain.as_ref().map(|check| {
            let good = "issued under the roots given, for the name asked for, and in date";
            self.check_row("certificate chain", check, good)
        });
        let signature = self.stamps.signature.as_ref().map(|check| {
            let good = format!("the {} holds the certificate's private key", self.peer);
            self.check_row("handshake signature", check, &good)
        });
        rows.extend(chain.into_iter().chain(signature));
        if let Some((at, given)) = self.stamps.certificate_asked {
            let details = match given {
                true => "presents its certificate",
                false => "has none to present",
            };
            rows.push(Row {
                details: String::from(details),
                ..self.row(at, Lane::Client, "certificate asked")
            });
        }
        rows
    }

    fn check_row(&self, what: &str, check: &Check, good: &str) -> Row {
        let details = match &check.failure {
            None => good.to_owned(),
            Some(failure) => format!("FAILED: {failure}"),
        };
        Row {
            details,
            duration: Some(check.duration()),
            alarm: check.failure.is_some(),
            ..self.row(check.ended, Lane::ClientVerifies, what)
        }
    }
}

/// The group of the key exchange and the bytes of both shares, from the messages that carry them.
fn key_exchange<'a>(bodies: impl Iterator<Item = &'a Body>, peer: &str) -> String {
    let mut offered: &[(u16, usize)] = &[];
    let mut server: Option<Share> = None;
    let mut client_bytes = None;
    for body in bodies {
        match body {
            Body::ClientHello(hello) => offered = &hello.key_shares,
            Body::ServerHello(hello) if !hello.retry => server = hello.share.or(server),
            Body::ServerKeyExchange { share, .. } => server = Some(*share),
            Body::ClientKeyExchange { share_bytes } => client_bytes = Some(*share_bytes),
            _ => {}
        }
    }
    let Some(server) = server else {
        return format!("without a share of the {peer}'s");
    };
    let own = offered.iter().find(|(group, _)| *group == server.group);
    // The TLS 1.2 client writes its share once it has agreed, the TLS 1.3 client in its hello.
    let client = client_bytes.or(own.map(|(_, bytes)| *bytes));
    format!(
        "{}: client's share {} bytes, {peer}'s share {} bytes",
        group_name(server.group),
        client.map_or_else(|| String::from("?"), |bytes| bytes.to_string()),
        server.bytes
    )
}

/// What a message is called, and what it says.
fn describe(message: &Message, now_unix_s: i64) -> (String, String) {
    let named = |name: &str, details: String| (name.to_owned(), details);
    match &message.body {
        Body::ClientHello(hello) => named("ClientHello", client_hello(hello)),
        Body::ServerHello(hello) => {
            let name = ["ServerHello", "HelloRetryRequest"][usize::from(hello.retry)];
            named(name, server_hello(hello))
        }
        Body::EncryptedExtensions { alpn, extensions } => {
            let chosen = match alpn {
                Some(protocol) => format!("ALPN {}", text(protocol)),
                None => String::from("no ALPN chosen"),
            };
            let count = plural(extensions.len(), "extension");
            named("EncryptedExtensions", format!("{chosen}; {count}"))
        }
        Body::CertificateRequest { schemes, authorities } => {
            named("CertificateRequest", request(schemes, authorities))
        }
        Body::Certificate(chain) => named("Certificate", chain_text(chain, now_unix_s)),
        Body::CertificateVerify { scheme, signature_bytes } => {
            let scheme = scheme_name(*scheme);
            let details = format!("{scheme}, signature {signature_bytes} bytes");
            named("CertificateVerify", details)
        }
        Body::Finished { opened } => {
            let how = ["encrypted record: ", ""][usize::from(*opened)];
            named("Finished", format!("{how}MAC over the whole handshake"))
        }
        Body::ServerKeyExchange { share, scheme } => {
            let (group, scheme) = (group_name(share.group), scheme_name(*scheme));
            let details = format!("{group} share {} bytes, signed {scheme}", share.bytes);
            named("ServerKeyExchange", details)
        }
        Body::ServerHelloDone => named("ServerHelloDone", String::new()),
        Body::ClientKeyExchange { share_bytes } => {
            named("ClientKeyExchange", format!("share {share_bytes} bytes"))
        }
        Body::NewSessionTicket { lifetime_s, ticket_bytes } => {
            let details = format!("ticket {ticket_bytes} bytes, good for {lifetime_s} s");
            named("NewSessionTicket", details)
        }
        other => describe_other(other, message),
    }
}

fn describe_other(body: &Body, message: &Message) -> (String, String) {
    let (what, details) = match body {
        Body::Alert { description } => {
            let name = alert_name(*description).map(str::to_owned);
            return (
                String::from("alert"),
                name.unwrap_or_else(|| format!("number {description}")),
            );
        }
        Body::OtherHandshake { message_type, malformed } => {
            let how = ["", ", malformed"][usize::from(*malformed)];
            let name = handshake_name(*message_type);
            return (name.to_owned(), format!("type {message_type}{how}"));
        }
        Body::Partial { message_type } => {
            let name = handshake_name(*message_type);
            return (name.to_owned(), String::from("cut off before its end"));
        }
        Body::Opaque { content_type } => {
            let name = match content_type {
                20 => "ChangeCipherSpec",
                21 => "alert",
                22 => "handshake",
                _ => "record",
            };
            return (name.to_owned(), String::from("not readable: encrypted, or malformed"));
        }
        Body::ChangeCipherSpec => ("ChangeCipherSpec", ""),
        Body::ApplicationData if !message.encrypted => ("application data", "NOT ENCRYPTED"),
        Body::ApplicationData => ("application data", ""),
        Body::NotARecord => ("not TLS", "bytes that are no complete TLS record"),
        Body::TooMany => ("more messages", "counted together, too many to list"),
        _ => ("message", ""),
    };
    (what.to_owned(), details.to_owned())
}

fn handshake_name(message_type: u8) -> &'static str {
    match message_type {
        1 => "ClientHello",
        2 => "ServerHello",
        4 => "NewSessionTicket",
        8 => "EncryptedExtensions",
        11 => "Certificate",
        13 => "CertificateRequest",
        15 => "CertificateVerify",
        20 => "Finished",
        22 => "CertificateStatus",
        24 => "KeyUpdate",
        25 => "CompressedCertificate",
        _ => "handshake message",
    }
}

fn client_hello(hello: &ClientHello) -> String {
    let name = hello.server_name.as_deref().unwrap_or("none");
    let alpn: Vec<_> = hello.alpn.iter().map(|protocol| text(protocol)).collect();
    let alpn = match alpn.is_empty() {
        true => String::from("none"),
        false => alpn.join(", "),
    };
    let shares = hello.key_shares.iter();
    let shares = shares.map(|(group, bytes)| format!("{} {bytes} bytes", group_name(*group)));
    let mut parts = vec![
        format!("SNI {name}"),
        format!("ALPN {alpn}"),
        format!("versions {}", list(&hello.versions, version_name)),
        format!("suites {}", list(&hello.suites, suite_name)),
        format!("groups {}", list(&hello.groups, group_name)),
    ];
    if !hello.key_shares.is_empty() {
        parts.push(format!("shares {}", shares.collect::<Vec<_>>().join(", ")));
    }
    parts.join("; ")
}

fn server_hello(hello: &ServerHello) -> String {
    let mut parts =
        vec![version_name(hello.version).to_string(), suite_name(hello.suite).to_string()];
    match hello.share {
        Some(share) if hello.retry => {
            parts.push(format!("wants a share of {}", group_name(share.group)));
        }
        Some(share) => {
            parts.push(format!("{} share {} bytes", group_name(share.group), share.bytes))
        }
        None if hello.version == TLS13 => parts.push(String::from("no share")),
        None => {}
    }
    parts.extend(hello.alpn.iter().map(|protocol| format!("ALPN {}", text(protocol))));
    parts.join("; ")
}

fn request(schemes: &[u16], authorities: &[String]) -> String {
    let schemes = list(schemes, scheme_name);
    let authorities = match authorities.is_empty() {
        true => String::from("no CA named"),
        false => format!("CAs {}", authorities.join(" | ")),
    };
    format!("{authorities}; schemes {schemes}")
}

fn chain_text(chain: &[Certificate], now_unix_s: i64) -> String {
    const DAY_S: i64 = 86_400;
    if chain.is_empty() {
        return String::from("empty: no certificate presented");
    }
    let one = |(index, certificate): (usize, &Certificate)| {
        let left_s = certificate.not_after_unix_s.saturating_sub(now_unix_s);
        let left = match left_s {
            0.. => format!("{} left", plural((left_s / DAY_S) as usize, "day")),
            _ => format!("EXPIRED {} ago", plural((left_s / DAY_S).unsigned_abs() as usize, "day")),
        };
        let names = match certificate.names.is_empty() {
            true => String::new(),
            false => format!(", {}", certificate.names.join(", ")),
        };
        let (subject, key) = (&certificate.subject, &certificate.key);
        format!("[{index}] {subject}{names}, {key}, {left}")
    };
    let all: Vec<_> = chain.iter().enumerate().map(one).collect();
    all.join("; ")
}

fn list<T: ToString>(values: &[u16], name: impl Fn(u16) -> T) -> String {
    let names: Vec<_> = values.iter().map(|value| name(*value).to_string()).collect();
    names.join(", ")
}

fn text(protocol: &[u8]) -> String {
    String::from_utf8_lossy(protocol).into_owned()
}

fn plural(count: usize, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}
