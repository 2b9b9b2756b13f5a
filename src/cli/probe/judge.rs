//! How a handshake ended: done, refused or failed, and what that means.
//!
//! It takes an ended recording and does nothing more. In TLS 1.3 the client's part of a handshake
//! is done before the server has looked at its certificate (RFC 8446, 2): what comes after that
//! still decides.

use std::net::SocketAddr;

use serde::Serialize;

use super::alerts;
use super::facts::is_let_in;
use super::report::Outcome;
use crate::cli::timeline::{Cause, Phase, RecordError, Recording, printable};
use crate::tls::names::alert_name;

/// Bytes in which another protocol is recognised.
const FIRST_BYTES: usize = 8;

/// Why there was no handshake.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    /// `resolve`, `connect`, `timeout`, `closed`, `io`, `alert`, `not_tls`, `tls` or `too_much`.
    pub(super) kind: &'static str,
    /// How far it had come: `resolve`, `connect`, `handshake` or `after_handshake`.
    pub(super) phase: &'static str,
    pub(super) alert: Option<Alert>,
    pub(super) text: String,
}

/// The alert that a server sent.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Alert {
    pub(super) number: u8,
    pub(super) name: Option<&'static str>,
    pub(super) meaning: &'static str,
}

/// A judged handshake.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) result: Outcome,
    pub(super) failure: Option<Failure>,
    /// What else happened, where the handshake was done.
    pub(super) note: Option<String>,
    pub(super) recording: Option<Box<Recording>>,
}

/// The failure of a name that has no address.
pub(super) fn unresolved(error: String) -> Failure {
    Failure { kind: "resolve", phase: "resolve", alert: None, text: printable(&error) }
}

/// Judges how a recording ended.
pub(super) fn judge(outcome: Result<Recording, RecordError>) -> Verdict {
    let error = match outcome {
        Ok(recording) => {
            let note = recording
                .response_truncated()
                .then(|| String::from("the server sent much unasked; it was not read to its end"));
            return done(note, Some(Box::new(recording)));
        }
        Err(error) => error,
    };
    let RecordError { address, cause, recording } = error;
    let failed = |result, failure, recording| {
        let failure = Some(failure);
        Verdict { result, failure, note: None, recording }
    };
    if let Cause::Refused { phase, alert } = &cause {
        return failed(Outcome::Refused, refusal(*phase, *alert), recording);
    }
    if let Some(held) = recording.as_deref().filter(|held| held.is_handshake_done())
        && let Some(note) = harmless(&cause, held)
    {
        return done(Some(note), recording);
    }
    let failure = match &cause {
        Cause::Io { phase: Phase::Connect, .. } | Cause::Timeout { phase: Phase::Connect, .. } => {
            unconnected(address, &cause)
        }
        cause => failure(cause, recording.as_deref()),
    };
    failed(Outcome::Failed, failure, recording)
}

fn done(note: Option<String>, recording: Option<Box<Recording>>) -> Verdict {
    Verdict { result: Outcome::Done, failure: None, note, recording }
}

fn refusal(phase: Phase, number: u8) -> Failure {
    let meaning = alerts::meaning(number);
    let name = alert_name(number);
    let called = name.map_or_else(|| number.to_string(), |name| format!("{name} ({number})"));
    let when = match phase {
        Phase::Response => "after the client's Finished",
        Phase::Connect | Phase::Handshake => "during the handshake",
    };
    Failure {
        kind: "alert",
        phase: phase_name(phase),
        alert: Some(Alert { number, name, meaning }),
        text: format!("the server sent the alert {called} {when}: {meaning}"),
    }
}

/// What happened after a good handshake, where it does not speak against it.
fn harmless(cause: &Cause, recording: &Recording) -> Option<String> {
    match cause {
        Cause::Closed { .. } if recording.is_closed_in_order() => Some(String::from(
            "the server closed in order (close_notify) right after the handshake",
        )),
        Cause::Closed { .. } | Cause::Io { .. } if is_let_in(recording) => {
            Some(format!("after the handshake: {}", ending(cause)))
        }
        Cause::TooMuch { .. } => Some(String::from(
            "the server did not stop sending after the handshake; it was cut off",
        )),
        _ => None,
    }
}

/// The end of a connection whose handshake was done.
fn ending(cause: &Cause) -> String {
    match cause {
        Cause::Io { source, .. } => format!("the connection broke: {source}"),
        _ => String::from("the server closed without close_notify or an alert"),
    }
}

/// No TCP connection to the last address that was tried.
fn unconnected(address: SocketAddr, cause: &Cause) -> Failure {
    let why = match cause {
        Cause::Io { source, .. } => printable(&source.to_string()),
        _ => String::from("no answer in time"),
    };
    Failure {
        kind: if matches!(cause, Cause::Io { .. }) { "connect" } else { "timeout" },
        phase: phase_name(Phase::Connect),
        alert: None,
        text: format!("no connection to {address}: {why}"),
    }
}

fn failure(cause: &Cause, recording: Option<&Recording>) -> Failure {
    let made = |kind, phase, text: String| {
        let text = printable(&text);
        Failure { kind, phase: phase_name(phase), alert: None, text }
    };
    match cause {
        Cause::Io { phase: Phase::Response, .. } | Cause::Closed { phase: Phase::Response } => {
            let kind = if matches!(cause, Cause::Io { .. }) { "io" } else { "closed" };
            let text = format!(
                "{}, right after the client's Finished: it may have refused the client, or have \
                 nothing to serve it with",
                ending(cause)
            );
            made(kind, Phase::Response, text)
        }
        Cause::Io { phase, .. } => made("io", *phase, cause.to_string()),
        Cause::Closed { phase } => made("closed", *phase, cause.to_string()),
        Cause::Timeout { phase, .. } => {
            let text = match phase {
                Phase::Response => "the server did not take the client's Finished in time",
                Phase::Connect | Phase::Handshake => {
                    "the server did not complete the handshake in time; is it the right port?"
                }
            };
            made("timeout", *phase, String::from(text))
        }
        Cause::Tls { phase, error } => {
            let first = recording.map_or(&[][..], |recording| recording.first_bytes(FIRST_BYTES));
            let (kind, text) = broken(first, error);
            made(kind, *phase, text.unwrap_or_else(|| cause.to_string()))
        }
        Cause::TooMuch { .. } => made("too_much", Phase::Handshake, cause.to_string()),
        Cause::Roots(_) | Cause::Options(_) | Cause::Refused { .. } => {
            made("tls", Phase::Connect, cause.to_string())
        }
    }
}

/// What the client found wrong with a server that began so: its kind, and where there is a better
/// text than the usual one, that.
fn broken(first: &[u8], error: &rustls::Error) -> (&'static str, Option<String>) {
    // The content types and the major version of every record since SSL 3.0.
    let is_tls = matches!(first, [20..=23, 3, ..]);
    match error {
        rustls::Error::InvalidMessage(_) if !is_tls => {
            let text =
                protocol(first).map(|other| format!("the server answers in {other}, not in TLS"));
            ("not_tls", text)
        }
        rustls::Error::InvalidMessage(_) => {
            ("tls", Some(format!("the server sent a message that is not well-formed: {error}")))
        }
        // No chain ends a probe: it is the signature of the handshake.
        rustls::Error::InvalidCertificate(_) => {
            let text = format!(
                "the server's signature does not verify under the key of its certificate, or the \
                 certificate or the key is of a kind or size that the client does not take: {error}"
            );
            ("tls", Some(text))
        }
        _ => ("tls", None),
    }
}

/// The protocol that begins so, where it is one that is often met on a wrong port.
fn protocol(first: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 8] = [
        (b"HTTP/", "plain HTTP"),
        (b"<!DOCTYP", "plain HTTP"),
        (b"<html", "plain HTTP"),
        (b"SSH-", "SSH"),
        (b"220", "SMTP or FTP"),
        (b"+OK", "POP3"),
        (b"* OK", "IMAP"),
        (b"-ERR", "Redis or POP3"),
    ];
    known.iter().find(|(begin, _)| first.starts_with(begin)).map(|(_, name)| *name)
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Connect => "connect",
        Phase::Handshake => "handshake",
        Phase::Response => "after_handshake",
    }
}
