//! Certificate revocation lists (RFC 5280, section 5): which certificates their issuers took back.
//!
//! Bytes in, a [`RevocationList`] out; many of them are a [`Revocation`], which answers for the
//! certificates of one verified path. It must not know where lists come from, nor the clock. The
//! invariant: a [`RevocationList`] exists only if the key of its issuer signed it, and if all that
//! it says was understood.

mod check;
mod der;
mod error;
mod issuer;
mod parse;

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::pki_types::TrustAnchor;

pub use check::{Consulted, CrlCheck, Missing, Revocation, Revoked, Stale};
pub use error::CrlError;
pub use issuer::{Issuer, IssuerError};

use crate::limits::{CRL_FUTURE_S_MAX, SERIAL_BYTES_MAX};

/// Who issued a certificate or a list: SHA-256 over the subject Name (DER) and the
/// SubjectPublicKeyInfo (DER).
///
/// Two authorities of one name with different keys are two issuers, as after a change of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IssuerId([u8; 32]);

impl IssuerId {
    /// The issuer with this subject and this key, both whole DER elements with their headers.
    pub fn new(subject: &[u8], spki: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        // Each says its own length, so no other two have the same bytes together.
        context.update(subject);
        context.update(spki);
        let mut id = [0; 32];
        // invariant: the output of SHA-256 has 32 bytes.
        id.copy_from_slice(context.finish().as_ref());
        Self(id)
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// An issuer by its digest, as [`IssuerId::as_bytes`] gave it.
    pub fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The issuer that this anchor stands for; an anchor has both elements without their headers.
    pub fn of_anchor(anchor: &TrustAnchor<'_>) -> Self {
        Self::new(&der::sequence(&anchor.subject), &der::sequence(&anchor.subject_public_key_info))
    }
}

/// A serial number, or the number of a list: up to `SERIAL_BYTES_MAX` bytes (RFC 5280, 4.1.2.2 and
/// 5.2.3). The order is that of the numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; SERIAL_BYTES_MAX]);

impl Serial {
    /// Reads the content bytes of an INTEGER. `None` where it is negative, not in its shortest
    /// form, or of more than `SERIAL_BYTES_MAX` bytes; such a certificate is to be refused.
    pub fn from_der_integer_content(content: &[u8]) -> Option<Self> {
        let magnitude = match content {
            [0, rest @ ..] if rest.first().is_some_and(|byte| *byte >= 0x80) => rest,
            [0] => content,
            [first, ..] if (1..0x80).contains(first) => content,
            _ => return None,
        };
        let start = SERIAL_BYTES_MAX.checked_sub(magnitude.len())?;
        let mut number = [0; SERIAL_BYTES_MAX];
        number[start..].copy_from_slice(magnitude);
        Some(Self(number))
    }

    /// The number, with leading zeros.
    pub fn as_bytes(&self) -> &[u8; SERIAL_BYTES_MAX] {
        &self.0
    }

    /// A number as [`Serial::as_bytes`] gave it.
    pub fn from_bytes(number: [u8; SERIAL_BYTES_MAX]) -> Self {
        Self(number)
    }
}

/// Pairs of lower-case hex digits without leading zero bytes, as an identity shows it.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.0.iter().position(|byte| *byte != 0).unwrap_or(SERIAL_BYTES_MAX - 1);
        self.0[first..].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// One certificate of a verified path: who issued it, under which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The authority whose key signed the certificate.
    pub issuer: IssuerId,
    /// The serial number of the certificate.
    pub serial: Serial,
}

/// Which certificates of its issuer a list speaks of (RFC 5280, 5.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of all.
    Everything,
    /// Not of authorities: `onlyContainsUserCerts`.
    Users,
    /// Of authorities only: `onlyContainsCACerts`.
    Authorities,
}

/// A list that its issuer signed: the serial numbers of certificates that were revoked.
pub struct RevocationList {
    issuer: IssuerId,
    label: Box<str>,
    this_update: i64,
    next_update: i64,
    number: Option<Serial>,
    scope: Scope,
    /// The hasher has a key of its own: who has certificates issued may have a say in serials.
    entries: HashMap<Serial, PackedTime>,
}

impl RevocationList {
    /// Whom it comes from.
    pub fn issuer(&self) -> IssuerId {
        self.issuer
    }

    /// The subject of its issuer as an RFC 4514 string.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// When it was issued, in seconds since 1970.
    pub fn this_update(&self) -> i64 {
        self.this_update
    }

    /// By when the next one is issued, in seconds since 1970.
    pub fn next_update(&self) -> i64 {
        self.next_update
    }

    /// From when on it says that a certificate was not revoked, in seconds since 1970: earlier than
    /// [`Self::this_update`], for clocks that differ.
    pub fn begins(&self) -> i64 {
        self.this_update.saturating_sub(CRL_FUTURE_S_MAX)
    }

    /// Whether it says so now.
    pub fn has_begun(&self, now_unix_s: i64) -> bool {
        now_unix_s >= self.begins()
    }

    /// Its number, which grows from list to list of one issuer; version 1 has none.
    pub fn number(&self) -> Option<Serial> {
        self.number
    }

    /// Which certificates it speaks of.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Certificates that it revokes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it revokes none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the certificate with this number was revoked, in seconds since 1970.
    pub fn revoked_at(&self, serial: &Serial) -> Option<i64> {
        self.entries.get(serial).map(|when| when.get())
    }

    /// Whether it is of a later date than `other`, and where the dates are the same has the larger
    /// number: so the one that rules where there are several of one issuer.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.this_update, self.number) > (other.this_update, other.number)
    }
}

/// Without the entries, which may be a million.
impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList")
            .field("label", &self.label)
            .field("this_update", &self.this_update)
            .field("next_update", &self.next_update)
            .field("number", &self.number)
            .field("scope", &self.scope)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Seconds since 1970 in five bytes: they hold the years 0 to 9999, and with them an entry of a
/// list takes 25 bytes, not 32.
#[derive(Clone, Copy)]
struct PackedTime([u8; 5]);

impl PackedTime {
    fn new(unix_s: i64) -> Self {
        let [a, b, c, d, e, ..] = unix_s.to_le_bytes();
        Self([a, b, c, d, e])
    }

    fn get(self) -> i64 {
        let [a, b, c, d, e] = self.0;
        // The sign comes back with the arithmetic shift.
        i64::from_le_bytes([0, 0, 0, a, b, c, d, e]) >> 24
    }
}

#[cfg(test)]
mod tests;
