//! What a recorded handshake says of the server, as data.
//!
//! Every text of it is the server's: it is cut to a bound here, and kept as it is otherwise. What
//! shows it sees to the terminal.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::timeline::{Body, Certificate as Decoded, Direction, Message, Recording, Trust};
use crate::limits::{PROBE_TEXT_CHARS_MAX, TIMELINE_LIST_MAX};
use crate::tls::names::{group_name, suite_name, version_name};

const DAY_S: i64 = 86_400;
/// TLS 1.3, as ServerHello writes it.
pub(super) const TLS13: u16 = 0x0304;

/// What was agreed on; what is not known, because it did not come to that, is `None`.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Negotiated {
    pub(super) version: Option<String>,
    pub(super) suite: Option<String>,
    pub(super) group: Option<String>,
    pub(super) alpn: Option<String>,
}

/// The server's chain.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Chain {
    /// The certificates presented, the server's own first; the first few of a long chain.
    pub(super) certificates: Vec<Certificate>,
    /// How many there were.
    pub(super) presented: usize,
}

/// One certificate.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) names: Vec<String>,
    /// Whether it may have more names than are listed.
    pub(super) names_cut: bool,
    pub(super) key: String,
    pub(super) not_before: Option<String>,
    pub(super) not_after: Option<String>,
    /// Whole days until it ends; negative where it has ended.
    pub(super) days_left: i64,
    /// Whether it is valid at this time.
    pub(super) in_date: bool,
    pub(super) sha256: String,
    pub(super) bytes: usize,
}

/// What became of the verification of the chain.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Verification {
    /// `verified`, `failed` or `not_verified`.
    pub(super) status: &'static str,
    pub(super) reason: Option<String>,
}

/// Whether the server asks for a client certificate.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ClientCertificate {
    /// `None` where it did not come to that.
    pub(super) requested: Option<bool>,
    /// The distinguished names of the authorities that it names.
    pub(super) authorities: Vec<String>,
    /// Whether it may name more than are listed.
    pub(super) authorities_cut: bool,
    /// Whether one was there to be presented.
    pub(super) given: bool,
    pub(super) presented: bool,
}

/// All that one handshake says.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) negotiated: Negotiated,
    pub(super) chain: Chain,
    pub(super) client_certificate: ClientCertificate,
    pub(super) verification: Verification,
}

impl Facts {
    /// Reads a recording of which these are the messages.
    pub(super) fn read(recording: &Recording, messages: &[Message], trust: &Trust) -> Self {
        let mut facts = Self::default();
        let now_unix_s = recording.began_unix_s();
        let (mut answered, mut group) = (false, None);
        let from_server = |message: &&Message| message.direction == Direction::ToClient;
        for message in messages.iter().filter(from_server) {
            match &message.body {
                Body::ServerHello(hello) if !hello.retry => {
                    answered = true;
                    let negotiated = &mut facts.negotiated;
                    negotiated.version = Some(version_name(hello.version).into_owned());
                    negotiated.suite = Some(suite_name(hello.suite).into_owned());
                    negotiated.alpn = hello.alpn.as_deref().map(protocol);
                    group = hello.share.map(|share| share.group);
                }
                Body::ServerKeyExchange { share, .. } => group = Some(share.group),
                Body::EncryptedExtensions { alpn: Some(name), .. } => {
                    facts.negotiated.alpn = Some(protocol(name));
                }
                Body::Certificate(chain) => {
                    facts.chain.presented = chain.len().max(recording.chain_certificates());
                    let one = |certificate| Certificate::read(certificate, now_unix_s);
                    facts.chain.certificates = chain.iter().map(one).collect();
                }
                Body::CertificateRequest { authorities, .. } => {
                    let asked = &mut facts.client_certificate;
                    asked.requested = Some(true);
                    asked.authorities = authorities.iter().map(|name| clip(name)).collect();
                    asked.authorities_cut = authorities.len() >= TIMELINE_LIST_MAX;
                }
                _ => {}
            }
        }
        facts.negotiated.group = group.map(|group| group_name(group).into_owned());
        let asked = &mut facts.client_certificate;
        asked.presented = recording.certificate_presented() == Some(true);
        if asked.requested.is_none() && answered && recording.is_handshake_done() {
            asked.requested = Some(false);
        }
        facts.verification = Verification::read(recording, trust);
        facts
    }
}

impl Certificate {
    fn read(certificate: &Decoded, now_unix_s: i64) -> Self {
        let (begins_s, ends_s) = (certificate.not_before_unix_s, certificate.not_after_unix_s);
        Self {
            subject: clip(&certificate.subject),
            issuer: clip(&certificate.issuer),
            names: certificate.names.iter().map(|name| clip(name)).collect(),
            names_cut: certificate.names.len() >= TIMELINE_LIST_MAX,
            key: clip(&certificate.key),
            not_before: date(begins_s),
            not_after: date(ends_s),
            days_left: ends_s.saturating_sub(now_unix_s).div_euclid(DAY_S),
            in_date: (begins_s..=ends_s).contains(&now_unix_s),
            sha256: certificate.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            bytes: certificate.bytes,
        }
    }
}

impl Verification {
    fn read(recording: &Recording, trust: &Trust) -> Self {
        let not_verified =
            |reason: &str| Self { status: "not_verified", reason: Some(reason.to_owned()) };
        match (trust, recording.chain_verdict()) {
            (Trust::Unverified, _) => not_verified("no roots were given: --ca"),
            (_, None) => not_verified("no chain came"),
            (_, Some(Ok(()))) => Self { status: "verified", reason: None },
            (_, Some(Err(why))) => Self { status: "failed", reason: Some(clip(why)) },
        }
    }
}

/// Whether the server has let the client in, as far as it can be seen.
pub(super) fn is_let_in(recording: &Recording) -> bool {
    // In TLS 1.3 a server that does not ask for a certificate has nothing left to refuse.
    let is_judged = recording.certificate_presented().is_some();
    !is_judged || is_answered(&recording.decode().messages)
}

/// Whether the server said anything after the client's Finished that it says only to a client
/// which it has let in: a ticket, data, or in TLS 1.2 its own Finished. What came before that may
/// have been for anybody (RFC 8446, 4.6.1).
fn is_answered(messages: &[Message]) -> bool {
    let from = |direction| messages.iter().filter(move |message| message.direction == direction);
    let is_13 = from(Direction::ToClient)
        .any(|message| matches!(&message.body, Body::ServerHello(hello) if hello.version == TLS13));
    let finished = from(Direction::ToServer)
        .find(|message| matches!(message.body, Body::Finished { .. }))
        .map(|message| message.at);
    let lets_in =
        |body: &Body| matches!(body, Body::NewSessionTicket { .. } | Body::ApplicationData);
    !is_13
        || from(Direction::ToClient)
            .any(|message| lets_in(&message.body) && finished.is_some_and(|at| message.at > at))
}

/// A text of the server's, cut to what a report may hold of it.
pub(super) fn clip(text: &str) -> String {
    clip_to(text, PROBE_TEXT_CHARS_MAX)
}

/// A text cut to so many characters, with the number of those left out.
pub(super) fn clip_to(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((at, _)) => {
            let (kept, rest) = text.split_at(at);
            format!("{kept}... and {} characters more", rest.chars().count())
        }
    }
}

fn protocol(name: &[u8]) -> String {
    clip(&String::from_utf8_lossy(name))
}

fn date(unix_s: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(unix_s).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::cli::timeline::ServerHello;

    fn decoded(not_before_unix_s: i64, not_after_unix_s: i64) -> Decoded {
        Decoded {
            subject: "s".repeat(PROBE_TEXT_CHARS_MAX + 3),
            issuer: "CN=i".into(),
            names: vec!["DNS:a".into(); TIMELINE_LIST_MAX],
            key: "P-256".into(),
            not_before_unix_s,
            not_after_unix_s,
            bytes: 7,
            sha256: [0xab; 32],
        }
    }

    #[test]
    fn days_left_are_whole_and_negative_once_it_has_ended() {
        for (ends_s, days, in_date) in [
            (100 * DAY_S, 100, true),
            (DAY_S, 1, true),
            (DAY_S - 1, 0, true),
            (0, 0, true),
            (-1, -1, false),
            (-DAY_S, -1, false),
            (-DAY_S - 1, -2, false),
        ] {
            let read = Certificate::read(&decoded(-300 * DAY_S, ends_s), 0);
            assert_eq!((read.days_left, read.in_date), (days, in_date), "{ends_s}");
        }
        assert!(!Certificate::read(&decoded(1, DAY_S), 0).in_date);
        assert_eq!(Certificate::read(&decoded(0, i64::MAX), 0).not_after, None);
    }

    #[test]
    fn texts_of_the_server_are_cut_to_their_bound() {
        let read = Certificate::read(&decoded(0, 0), 0);
        assert!(read.subject.ends_with("s... and 3 characters more"), "{}", read.subject);
        assert!(read.names_cut);
        assert_eq!(clip_to("\u{e4}\u{e4}\u{e4}", 2), "\u{e4}\u{e4}... and 1 characters more");
        assert_eq!(clip_to("ab", 2), "ab");
        assert_eq!(read.sha256, "ab".repeat(32));
        assert_eq!(read.not_after.as_deref(), Some("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn only_what_follows_the_client_s_finished_lets_it_in() {
        let began = Instant::now();
        let message = |direction, millis, body| Message {
            direction,
            at: began + Duration::from_millis(millis),
            bytes: 4,
            encrypted: true,
            body,
        };
        let hello = |version| {
            let (retry, suite, session_id_bytes) = (false, 0x1301, 0);
            let hello =
                ServerHello { retry, version, suite, session_id_bytes, share: None, alpn: None };
            message(Direction::ToClient, 1, Body::ServerHello(hello))
        };
        let finished = || message(Direction::ToServer, 5, Body::Finished { opened: true });
        let ticket = |millis| {
            let body = Body::NewSessionTicket { lifetime_s: 7, ticket_bytes: 7 };
            message(Direction::ToClient, millis, body)
        };
        let data = |direction, millis| message(direction, millis, Body::ApplicationData);
        assert!(is_answered(&[hello(TLS13), finished(), ticket(6)]));
        assert!(is_answered(&[hello(TLS13), finished(), data(Direction::ToClient, 6)]));
        assert!(is_answered(&[hello(0x0303), finished()]));
        assert!(!is_answered(&[hello(TLS13), ticket(4), finished()]));
        assert!(!is_answered(&[hello(TLS13), finished(), data(Direction::ToServer, 6)]));
        assert!(!is_answered(&[hello(TLS13), finished()]));
        assert!(!is_answered(&[hello(TLS13), ticket(6)]));
    }
}
