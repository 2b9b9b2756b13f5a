//! SPIFFE IDs: `spiffe://trust.domain/path` (SPIFFE-ID, section 2).
//!
//! A [`SpiffeId`] cannot exist in a form that the specification forbids, so two of them name the
//! same workload exactly when their bytes are equal.

use std::fmt;

use crate::limits::{SPIFFE_ID_BYTES_MAX, SPIFFE_TRUST_DOMAIN_BYTES_MAX};

/// The scheme and the slashes that every SPIFFE ID begins with.
pub(super) const PREFIX: &str = "spiffe://";

/// The SPIFFE ID of a workload: a trust domain and a path of one or more segments.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId(Box<str>);

/// What is wrong with a text that should be a SPIFFE ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpiffeProblem {
    /// It does not begin with `spiffe://` in lower case.
    Scheme,
    /// It is longer than 2048 bytes.
    TooLong,
    /// The trust domain is empty, longer than 255 bytes, or has a character other than lower-case
    /// letters, digits, dot, dash and underscore.
    TrustDomain,
    /// There is no path: only a trust domain, which names no workload (X509-SVID, section 2).
    NoPath,
    /// A path segment is empty (two slashes in a row, or one at the end), `.` or `..`, or has a
    /// character other than letters, digits, dot, dash and underscore.
    Segment,
}

impl SpiffeId {
    /// Reads a SPIFFE ID of a workload.
    ///
    /// # Errors
    ///
    /// A [`SpiffeProblem`] where SPIFFE-ID, section 2, forbids `text`.
    pub fn parse(text: &str) -> Result<Self, SpiffeProblem> {
        let (trust_domain, path) = split(text)?;
        check_trust_domain(trust_domain)?;
        path.split('/').try_for_each(check_segment)?;
        Ok(Self(text.into()))
    }

    /// The whole ID, `spiffe://` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    /// The path without its first slash: one or more segments with slashes between them.
    pub fn path(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')).unwrap_or_default()
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for SpiffeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "it does not begin with spiffe:// in lower case",
            Self::TooLong => "it is longer than 2048 bytes",
            Self::TrustDomain => {
                "its trust domain is not made of 1 to 255 lower-case letters, digits, '.', '-' \
                 and '_'"
            }
            Self::NoPath => "it has no path after the trust domain",
            Self::Segment => {
                "a path segment is empty, '.' or '..', or has a character other than letters, \
                 digits, '.', '-' and '_'"
            }
        })
    }
}

/// Splits `text` into what should be a trust domain and a path without its first slash.
pub(super) fn split(text: &str) -> Result<(&str, &str), SpiffeProblem> {
    if text.len() > SPIFFE_ID_BYTES_MAX {
        return Err(SpiffeProblem::TooLong);
    }
    let rest = text.strip_prefix(PREFIX).ok_or(SpiffeProblem::Scheme)?;
    rest.split_once('/').ok_or(SpiffeProblem::NoPath)
}

/// Checks the characters and the length of a trust domain.
pub(crate) fn check_trust_domain(text: &str) -> Result<(), SpiffeProblem> {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    let fits = (1..=SPIFFE_TRUST_DOMAIN_BYTES_MAX).contains(&text.len());
    if fits && text.bytes().all(allowed) { Ok(()) } else { Err(SpiffeProblem::TrustDomain) }
}

/// Checks the characters of one path segment.
pub(super) fn check_segment(text: &str) -> Result<(), SpiffeProblem> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if text.is_empty() || text == "." || text == ".." || !text.bytes().all(allowed) {
        return Err(SpiffeProblem::Segment);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_id_splits_into_trust_domain_and_path() {
        let id = SpiffeId::parse("spiffe://example.org/ns/a_1/sa/B-2").expect("an ID");
        assert_eq!(id.trust_domain(), "example.org");
        assert_eq!(id.path(), "ns/a_1/sa/B-2");
    }

    #[test]
    fn what_the_specification_forbids_is_refused_with_its_cause() {
        let long_domain = format!("spiffe://{}/a", "d".repeat(256));
        let long_id = format!("spiffe://d/{}", "a".repeat(2048));
        for (text, problem) in [
            ("http://example.org/a", SpiffeProblem::Scheme),
            ("SPIFFE://example.org/a", SpiffeProblem::Scheme),
            ("spiffe:/example.org/a", SpiffeProblem::Scheme),
            ("spiffe://example.org", SpiffeProblem::NoPath),
            ("spiffe://example.org/", SpiffeProblem::Segment),
            ("spiffe:///a", SpiffeProblem::TrustDomain),
            ("spiffe://Example.org/a", SpiffeProblem::TrustDomain),
            ("spiffe://example.org:80/a", SpiffeProblem::TrustDomain),
            ("spiffe://user@example.org/a", SpiffeProblem::TrustDomain),
            ("spiffe://example.org/a//b", SpiffeProblem::Segment),
            ("spiffe://example.org/a/", SpiffeProblem::Segment),
            ("spiffe://example.org/a/../b", SpiffeProblem::Segment),
            ("spiffe://example.org/a/./b", SpiffeProblem::Segment),
            ("spiffe://example.org/a%2fb", SpiffeProblem::Segment),
            ("spiffe://example.org/a?q", SpiffeProblem::Segment),
            ("spiffe://example.org/a#f", SpiffeProblem::Segment),
            ("spiffe://example.org/a\0b", SpiffeProblem::Segment),
            ("spiffe://example.org/*", SpiffeProblem::Segment),
            (long_domain.as_str(), SpiffeProblem::TrustDomain),
            (long_id.as_str(), SpiffeProblem::TooLong),
        ] {
            assert_eq!(SpiffeId::parse(text), Err(problem), "{text}");
        }
    }
}
