//! What a probe found: one document, which is its JSON as it is, and from which its text is made.
//!
//! The names of its fields are stable. Whatever the server put into it, its JSON holds no character
//! that could steer a terminal.

use std::fmt::Write as _;

use rustls::pki_types::ServerName;
use serde::Serialize;

use super::connect::Attempt;
use super::facts::{Chain, ClientCertificate, Facts, Negotiated, Verification, clip_to};
use super::judge::Failure;
use super::plan::Target;
use super::resume::Resumption;
use crate::cli::timeline::{Direction, Lane, RecordOptions, Recording, Row, Totals, Trust, steers};
use crate::limits::{PROBE_DETAILS_CHARS_MAX, PROBE_ROWS_MAX};

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// The handshake was done, and nothing after it took that back.
    Done,
    /// The server refused with an alert.
    Refused,
    /// It did not come to a handshake.
    Failed,
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) target: String,
    /// The address that was connected to.
    pub(super) address: Option<String>,
    /// The name looked for in the certificate, and sent as SNI unless it is an address.
    pub(super) server_name: String,
    pub(super) sni_sent: bool,
    pub(super) result: Outcome,
    pub(super) failure: Option<Failure>,
    pub(super) note: Option<String>,
    /// The addresses that were tried before, in vain.
    pub(super) attempts: Vec<Attempt>,
    pub(super) negotiated: Negotiated,
    pub(super) verification: Verification,
    pub(super) chain: Chain,
    pub(super) client_certificate: ClientCertificate,
    pub(super) resumption: Resumption,
    pub(super) wire: Wire,
    pub(super) timeline: Vec<Line>,
    /// Lines of the timeline that were left out at its end.
    pub(super) timeline_cut: usize,
    #[serde(skip)]
    pub(super) rows: Vec<Row>,
    #[serde(skip)]
    pub(super) summary: Vec<String>,
}

/// What the bytes of each direction were.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Wire {
    to_server: Bytes,
    to_client: Bytes,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Bytes {
    bytes: usize,
    records: usize,
    overhead_bytes: usize,
}

impl From<Totals> for Bytes {
    fn from(totals: Totals) -> Self {
        let Totals { wire_bytes: bytes, records, overhead_bytes } = totals;
        Self { bytes, records, overhead_bytes }
    }
}

/// One line of the timeline.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    at_us: u64,
    /// `to_server`, `to_client`, `client` or `client_verifies`.
    lane: &'static str,
    what: String,
    bytes: Option<usize>,
    took_us: Option<u64>,
    alarm: bool,
    details: String,
}

impl Report {
    /// A report of which nothing is known yet.
    pub(super) fn new(target: &Target, options: &RecordOptions<'_>) -> Self {
        Self {
            target: target.to_string(),
            address: None,
            server_name: options.server_name.to_str().into_owned(),
            sni_sent: matches!(options.server_name, ServerName::DnsName(_)),
            result: Outcome::Failed,
            failure: None,
            note: None,
            attempts: Vec::new(),
            negotiated: Negotiated::default(),
            verification: Verification {
                status: "not_verified",
                reason: Some(String::from("there was no connection")),
            },
            chain: Chain::default(),
            client_certificate: ClientCertificate {
                given: options.client_cert.is_some(),
                ..ClientCertificate::default()
            },
            resumption: Resumption::unknown(),
            wire: Wire::default(),
            timeline: Vec::new(),
            timeline_cut: 0,
            rows: Vec::new(),
            summary: Vec::new(),
        }
    }

    /// The same of a probe that failed so.
    pub(super) fn failed(self, failure: Failure) -> Self {
        Self { result: Outcome::Failed, failure: Some(failure), ..self }
    }

    /// Adds what was recorded.
    pub(super) fn tell(&mut self, recording: &Recording, trust: &Trust) {
        let decoded = recording.decode();
        let facts = Facts::read(recording, &decoded.messages, trust);
        self.address = Some(recording.address().to_string());
        self.negotiated = facts.negotiated;
        self.verification = facts.verification;
        self.chain = facts.chain;
        let given = self.client_certificate.given;
        self.client_certificate = ClientCertificate { given, ..facts.client_certificate };
        self.wire =
            Wire { to_server: decoded.to_server.into(), to_client: decoded.to_client.into() };
        let mut rows = recording.timeline(&[]);
        self.timeline_cut = rows.len().saturating_sub(PROBE_ROWS_MAX);
        rows.truncate(PROBE_ROWS_MAX);
        for row in &mut rows {
            row.details = clip_to(&row.details, PROBE_DETAILS_CHARS_MAX);
        }
        self.timeline = rows.iter().map(Line::read).collect();
        self.rows = rows;
        self.summary = recording.summary().to_vec();
    }

    /// The document, in lines.
    pub(super) fn json(&self) -> String {
        // invariant: it holds strings, numbers and lists, and no map with other keys than strings.
        let plain = serde_json::to_string_pretty(self).expect("plain data");
        let mut out = String::with_capacity(plain.len() + 1);
        for c in plain.chars() {
            // JSON lets through what the standard does not call control characters: DEL, those of
            // C1, and what turns the direction of writing. They stand in strings only.
            match c {
                '\n' => out.push(c),
                c if steers(c) => {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        out.push('\n');
        out
    }
}

impl Line {
    fn read(row: &Row) -> Self {
        let micros =
            |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            at_us: micros(row.at),
            lane: match row.lane {
                Lane::Wire(Direction::ToServer) => "to_server",
                Lane::Wire(Direction::ToClient) => "to_client",
                Lane::ClientVerifies => "client_verifies",
                Lane::Client | Lane::Gateway => "client",
            },
            what: row.what.clone(),
            bytes: row.bytes,
            took_us: row.duration.map(micros),
            alarm: row.alarm,
            details: row.details.clone(),
        }
    }
}
