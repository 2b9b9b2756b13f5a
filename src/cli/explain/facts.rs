//! What each presented certificate says, for a person: nothing of it is verified.
//!
//! Texts come bounded and printable from `identity::Presented`, which also reads them for the log.

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::identity::Presented;

const DAY_S: i64 = 24 * 3600;

/// One certificate; the names are those of the log's `presented`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Certificate {
    pub(super) position: usize,
    pub(super) subject: Option<Box<str>>,
    pub(super) issuer: Option<Box<str>>,
    pub(super) serial: Option<Box<str>>,
    pub(super) names: Vec<Box<str>>,
    pub(super) names_more: usize,
    pub(super) key: Option<Box<str>>,
    pub(super) key_bits: Option<u32>,
    pub(super) signature: Option<Box<str>>,
    pub(super) authority: bool,
    pub(super) not_before: Option<String>,
    pub(super) not_after: Option<String>,
    pub(super) days_left: Option<i64>,
    pub(super) valid: Option<bool>,
    pub(super) sha256: Option<String>,
    pub(super) unreadable: Vec<Box<str>>,
}

impl Certificate {
    pub(super) fn read(position: usize, der: &CertificateDer<'_>, now_unix_s: i64) -> Self {
        let read = Presented::of(std::slice::from_ref(der));
        let (from, until) = (read.not_before_unix_s, read.not_after_unix_s);
        let left = until.map(|until| until.saturating_sub(now_unix_s));
        let valid = from.zip(until).map(|(from, until)| (from..=until).contains(&now_unix_s));
        Self {
            position,
            subject: read.subject,
            issuer: read.issuer,
            serial: read.serial,
            names: read.names,
            names_more: read.names_more,
            key: read.key,
            key_bits: read.key_bits,
            signature: read.signature,
            authority: read.is_authority,
            not_before: from.and_then(date),
            not_after: until.and_then(date),
            days_left: left.map(|left| left.div_euclid(DAY_S)),
            valid,
            sha256: read.sha256.map(|digest| hex(&digest)),
            unreadable: read.unreadable,
        }
    }

    /// A name to call it by.
    pub(super) fn label(&self) -> String {
        let subject = self.subject.as_deref().filter(|subject| !subject.is_empty());
        let name = subject.or_else(|| self.names.first().map(|name| &**name));
        match (name, &self.serial) {
            (Some(name), _) => name.to_owned(),
            (None, Some(serial)) => format!("the one with serial number {serial}"),
            (None, None) => "one without a name".to_owned(),
        }
    }
}

/// RFC 3339; `None` beyond the years that it has.
pub(super) fn date(unix_s: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(unix_s).ok()?.format(&Rfc3339).ok()
}

/// The same, or the seconds.
pub(super) fn shown_date(unix_s: i64) -> String {
    date(unix_s).unwrap_or_else(|| format!("{unix_s} s after 1970"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
