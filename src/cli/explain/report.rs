//! What was found, as one document with stable names; the text is made of it too.

use serde::Serialize;

use super::facts::Certificate;
use super::page::Row;

/// The whole of it. A field that does not apply is null or an empty list, never absent.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) listener: String,
    /// Whose demands hold: the listener's, or those of one of its server name tables.
    pub(super) demands: String,
    pub(super) server_name: Option<String>,
    pub(super) client_auth: &'static str,
    pub(super) at: String,
    /// Certificates that the client presents.
    pub(super) presented: usize,
    /// The first `EXPLAIN_CERTIFICATES_MAX` of them.
    pub(super) certificates: Vec<Certificate>,
    /// The path that was found, also where it was refused.
    pub(super) path: Option<Path>,
    pub(super) checks: Vec<Check>,
    pub(super) revocation: Vec<Lookup>,
    pub(super) rules: Vec<Rule>,
    pub(super) verdict: Verdict,
}

impl Report {
    /// As JSON with a newline.
    pub(super) fn json(&self) -> String {
        // Fails only for maps whose keys are no texts, of which there is none here.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// From the client's own certificate to an anchor.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Path {
    pub(super) certificates: Vec<PathLink>,
    /// The subject of the anchor.
    pub(super) anchor: String,
    /// The SPIFFE trust domain that the anchor is bound to.
    pub(super) trust_domain: Option<String>,
}

/// A certificate of a path.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PathLink {
    pub(super) subject: String,
    pub(super) serial: Option<Box<str>>,
    pub(super) not_after: Option<String>,
    /// Its place among those presented; null: the configuration has it.
    pub(super) presented: Option<usize>,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Ok,
    Refused,
    NotReached,
    /// The configuration does not ask for it.
    NotAsked,
}

/// One check, in the order in which they are made.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    pub(super) check: &'static str,
    pub(super) result: Outcome,
    /// The code of the refusal or denial.
    pub(super) code: Option<&'static str>,
    pub(super) notes: Vec<String>,
}

/// What a revocation list says of one certificate of the path.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Lookup {
    /// The place in the path; 0 is the client's own certificate.
    pub(super) position: usize,
    /// The subject of the list's issuer; null: there is no list.
    pub(super) list: Option<String>,
    pub(super) this_update: Option<String>,
    pub(super) next_update: Option<String>,
    /// Certificates that the list revokes.
    pub(super) entries: Option<usize>,
    /// `good`, `revoked`, `missing`, `stale`; `good_past_next_update`, `missing_accepted`.
    pub(super) answer: &'static str,
    /// Until when the answer holds, where time alone ends it.
    pub(super) until: Option<String>,
    pub(super) revoked_at: Option<String>,
}

/// A pattern and whether it matches the client.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Rule {
    /// `deny` or `allow`.
    pub(super) list: &'static str,
    pub(super) pattern: String,
    pub(super) matches: bool,
}

/// What the gateway would do.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// Until when, where time alone ends it.
    pub(super) until: Option<String>,
    /// What ends first: `path`, `revocation` or `connection_age_max`.
    pub(super) until_because: Option<&'static str>,
    /// The log's field `close_reason`.
    pub(super) close_reason: Option<&'static str>,
    /// The log's field `refusal`.
    pub(super) refusal: Option<&'static str>,
    /// The first word of the log's `detail` where a rule denies.
    pub(super) denied: Option<&'static str>,
    /// The log's field `detail`.
    pub(super) detail: Option<Box<str>>,
    /// What the client is sent.
    pub(super) alert: Option<&'static str>,
    /// The row of docs/refusals.md.
    pub(super) page: Option<Row>,
}
