//! DER -> [`RevocationList`]: whose it is, whether that one signed it, then what it says.
//!
//! By hand rather than by a library: x509-parser allocates several times for each entry, and the
//! lists of rustls-webpki read the names of a path only through its own verifier. Nothing of the
//! entries is looked at before the signature is found good.

use std::collections::HashMap;

use rustls::crypto::WebPkiSupportedAlgorithms;
use x509_parser::der_parser::oid::Oid;

use super::der::{BOOLEAN, ENUMERATED, Element, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE};
use super::error::show_name;
use super::{CrlError, Issuer, PackedTime, RevocationList, Scope, Serial};
use crate::limits::{CRL_BYTES_MAX, CRL_NAME_BYTES_MAX};

// The content bytes of object identifiers below id-ce (RFC 5280, 5.2 and 5.3).
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 20];
const REASON_CODE: &[u8] = &[0x55, 0x1d, 21];
const DELTA_CRL_INDICATOR: &[u8] = &[0x55, 0x1d, 27];
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 28];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 29];

/// The content bytes of the reason removeFromCRL (RFC 5280, 5.3.1).
const REMOVE_FROM_CRL: &[u8] = &[8];
/// `[0] EXPLICIT`, around the extensions of a list; also the name of a distribution point.
const CONTEXT_0: u8 = 0xa0;

impl RevocationList {
    /// Reads a list and checks its signature with the key of the one of `issuers` that made it.
    ///
    /// Versions 1 and 2. The bytes beyond those of `der` that it takes in passing are 52 MiB for a
    /// million entries, and what is kept is as much.
    ///
    /// # Errors
    ///
    /// A [`CrlError`]: nothing that is not understood in full is taken.
    pub fn parse(
        der: &[u8],
        issuers: &[Issuer],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Self, CrlError> {
        if der.len() > CRL_BYTES_MAX {
            return Err(CrlError::TooLarge { bytes: der.len() });
        }
        let signed = Signed::read(der)?;
        let head = Head::read(&signed)?;
        let issuer = signer(&signed, &head, issuers, algorithms)?;
        let next_update = head.next_update.ok_or(CrlError::NoNextUpdate)?;
        if next_update <= head.this_update {
            return Err(CrlError::Period);
        }
        let said = match head.extensions {
            Some(extensions) => Said::read(extensions)?,
            None => Said::default(),
        };
        Ok(Self {
            issuer: issuer.id(),
            label: issuer.label().into(),
            this_update: head.this_update,
            next_update,
            number: said.number,
            scope: said.scope,
            entries: entries(head.revoked, head.has_extensions)?,
        })
    }
}

/// CertificateList (RFC 5280, 5.1).
struct Signed<'a> {
    list: Element<'a>,
    algorithm: Element<'a>,
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn read(der: &'a [u8]) -> Result<Self, CrlError> {
        let mut outside = Reader::new(der, "frame");
        let whole = outside.take(SEQUENCE)?;
        outside.end()?;
        let mut reader = Reader::new(whole.content, "frame");
        let signed = Self {
            list: reader.take(SEQUENCE)?,
            algorithm: reader.take(SEQUENCE)?,
            signature: reader.bits()?,
        };
        reader.end()?;
        Ok(signed)
    }
}

/// TBSCertList (RFC 5280, 5.1), the entries and extensions still unread.
struct Head<'a> {
    /// Version 2.
    has_extensions: bool,
    issuer: &'a [u8],
    this_update: i64,
    next_update: Option<i64>,
    revoked: &'a [u8],
    extensions: Option<&'a [u8]>,
}

impl<'a> Head<'a> {
    fn read(signed: &Signed<'a>) -> Result<Self, CrlError> {
        let mut reader = Reader::new(signed.list.content, "head");
        // Version 1 is not written, and 1 stands for version 2.
        let has_extensions = match reader.optional(INTEGER)? {
            None => false,
            Some([1]) => true,
            Some(_) => return Err(CrlError::Version),
        };
        // RFC 5280, 5.1.1.2: it MUST contain the same algorithm identifier.
        if reader.take(SEQUENCE)?.whole != signed.algorithm.whole {
            return Err(CrlError::Malformed("signature algorithm, which differs within,"));
        }
        let head = Self {
            has_extensions,
            issuer: reader.take(SEQUENCE)?.whole,
            this_update: reader.time()?,
            next_update: reader.optional_time()?,
            revoked: reader.optional(SEQUENCE)?.unwrap_or_default(),
            extensions: reader.optional(CONTEXT_0)?,
        };
        reader.end()?;
        // RFC 5280, 5.1.2.1: with extensions, the version MUST be 2.
        if head.extensions.is_some() && !has_extensions {
            return Err(CrlError::Version);
        }
        Ok(head)
    }
}

/// How far the best of the authorities of one name came; the later, the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Attempt {
    NoAlgorithm,
    BadSignature,
    MayNotSign,
    Good,
}

/// The authority that made the signature. Several may have the name, for an authority that changed
/// its key has the name of before.
fn signer<'i>(
    signed: &Signed<'_>,
    head: &Head<'_>,
    issuers: &'i [Issuer],
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<&'i Issuer, CrlError> {
    let name = || match head.issuer.len() {
        0..=CRL_NAME_BYTES_MAX => show_name(head.issuer),
        bytes => format!("(a name of {bytes} bytes)").into_boxed_str(),
    };
    let named = issuers.iter().filter(|issuer| *issuer.subject == *head.issuer);
    let mut best = None;
    for issuer in named {
        let attempt = attempt(signed, issuer, algorithms);
        if attempt == Attempt::Good {
            return Ok(issuer);
        }
        best = best.max(Some(attempt));
    }
    Err(match best {
        None => CrlError::UnknownIssuer { name: name() },
        Some(Attempt::NoAlgorithm) => CrlError::SignatureAlgorithm { name: name() },
        Some(Attempt::MayNotSign) => CrlError::IssuerMayNotSign { name: name() },
        Some(_) => CrlError::BadSignature { name: name() },
    })
}

fn attempt(
    signed: &Signed<'_>,
    issuer: &Issuer,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Attempt {
    let Ok((key_algorithm, key)) = key_of(&issuer.spki) else {
        return Attempt::NoAlgorithm;
    };
    let mut tried = false;
    let is_good = algorithms.all.iter().any(|algorithm| {
        let fits = *algorithm.signature_alg_id() == *signed.algorithm.content
            && *algorithm.public_key_alg_id() == *key_algorithm;
        tried |= fits;
        fits && algorithm.verify_signature(key, signed.list.whole, signed.signature).is_ok()
    });
    match (tried, is_good) {
        (false, _) => Attempt::NoAlgorithm,
        (true, false) => Attempt::BadSignature,
        (true, true) if issuer.may_sign_lists => Attempt::Good,
        (true, true) => Attempt::MayNotSign,
    }
}

/// The algorithm identifier without its header, as rustls has it, and the key.
fn key_of(spki: &[u8]) -> Result<(&[u8], &[u8]), CrlError> {
    let mut outside = Reader::new(spki, "key");
    let mut reader = Reader::new(outside.take(SEQUENCE)?.content, "key");
    Ok((reader.take(SEQUENCE)?.content, reader.bits()?))
}

/// One extension (RFC 5280, 4.1).
struct Extension<'a> {
    oid: &'a [u8],
    critical: bool,
    value: &'a [u8],
}

impl<'a> Extension<'a> {
    fn read(series: &mut Reader<'a>) -> Result<Self, CrlError> {
        let mut reader = Reader::new(series.take(SEQUENCE)?.content, "extension");
        let oid = reader.take(OID)?.content;
        let critical = reader.flag(BOOLEAN)?;
        let value = reader.take(OCTET_STRING)?.content;
        reader.end()?;
        Ok(Self { oid, critical, value })
    }

    /// RFC 5280, 5.2 and 5.3: a list with a critical extension that cannot be processed MUST NOT be
    /// used to tell the status of certificates.
    fn ignore(&self) -> Result<(), CrlError> {
        if !self.critical {
            return Ok(());
        }
        let oid = match self.oid.len() {
            0..=32 => Oid::new(self.oid.into()).to_id_string(),
            bytes => format!("(an identifier of {bytes} bytes)"),
        };
        Err(CrlError::CriticalExtension { oid: oid.into_boxed_str() })
    }
}

/// What the extensions of a list say of the whole.
struct Said {
    number: Option<Serial>,
    scope: Scope,
}

impl Default for Said {
    fn default() -> Self {
        Self { number: None, scope: Scope::Everything }
    }
}

impl Said {
    fn read(explicit: &[u8]) -> Result<Self, CrlError> {
        let mut outside = Reader::new(explicit, "extensions");
        let mut series = Reader::new(outside.take(SEQUENCE)?.content, "extensions");
        outside.end()?;
        let (mut number, mut scope) = (None, None);
        while !series.is_empty() {
            let extension = Extension::read(&mut series)?;
            let is_first = match extension.oid {
                CRL_NUMBER => number.replace(number_of(extension.value)?).is_none(),
                ISSUING_DISTRIBUTION_POINT => scope.replace(scope_of(extension.value)?).is_none(),
                DELTA_CRL_INDICATOR => return Err(CrlError::Delta),
                _ => extension.ignore().map(|()| true)?,
            };
            // RFC 5280, 4.2: not more than one of a kind.
            if !is_first {
                return Err(series.malformed());
            }
        }
        Ok(Self { number, scope: scope.unwrap_or(Scope::Everything) })
    }
}

fn number_of(value: &[u8]) -> Result<Serial, CrlError> {
    let mut reader = Reader::new(value, "number");
    let number = reader.take(INTEGER)?.content;
    reader.end()?;
    Serial::from_der_integer_content(number).ok_or(reader.malformed())
}

/// IssuingDistributionPoint (RFC 5280, 5.2.5). What makes the list less than the whole of what its
/// issuer revoked is refused, but for the limit to users or authorities: that can be told from a
/// certificate's place in its path.
fn scope_of(value: &[u8]) -> Result<Scope, CrlError> {
    let mut outside = Reader::new(value, "issuingDistributionPoint");
    let mut reader = Reader::new(outside.take(SEQUENCE)?.content, "issuingDistributionPoint");
    outside.end()?;
    // RFC 5280, 5.2.5: it MUST NOT be an empty sequence.
    if reader.is_empty() {
        return Err(reader.malformed());
    }
    let is_named = reader.optional(CONTEXT_0)?.is_some();
    let users = reader.flag(0x81)?;
    let authorities = reader.flag(0x82)?;
    let some_reasons = reader.optional(0x83)?.is_some();
    let indirect = reader.flag(0x84)?;
    let attributes = reader.flag(0x85)?;
    reader.end()?;
    match (users, authorities) {
        _ if indirect => Err(CrlError::Indirect),
        _ if attributes => Err(CrlError::AttributeCertificates),
        _ if some_reasons => Err(CrlError::SomeReasons),
        _ if is_named => Err(CrlError::DistributionPoint),
        // At most one of them may be true.
        (true, true) => Err(reader.malformed()),
        (true, false) => Ok(Scope::Users),
        (false, true) => Ok(Scope::Authorities),
        (false, false) => Ok(Scope::Everything),
    }
}

/// A SEQUENCE of an INTEGER of one byte and a UTCTime.
const ENTRY_BYTES_MIN: usize = 2 + 3 + 15;

fn entries(revoked: &[u8], has_extensions: bool) -> Result<HashMap<Serial, PackedTime>, CrlError> {
    let mut series = Reader::new(revoked, "entries");
    let mut count = 0;
    while !series.is_empty() {
        series.take(SEQUENCE)?;
        count += 1;
    }
    // Counted first, for a table that grows is there twice while it does.
    let mut entries = HashMap::with_capacity(count.min(revoked.len() / ENTRY_BYTES_MIN));
    let mut series = Reader::new(revoked, "entries");
    while !series.is_empty() {
        let (serial, when) = entry(&mut series, has_extensions)?;
        entries.entry(serial).or_insert(when);
    }
    Ok(entries)
}

fn entry(series: &mut Reader<'_>, has_extensions: bool) -> Result<(Serial, PackedTime), CrlError> {
    let mut reader = Reader::new(series.take(SEQUENCE)?.content, "entries");
    let serial = reader.take(INTEGER)?.content;
    let serial = Serial::from_der_integer_content(serial).ok_or(CrlError::Serial)?;
    let when = reader.time()?;
    if has_extensions && let Some(extensions) = reader.optional(SEQUENCE)? {
        let mut series = Reader::new(extensions, "entries");
        while !series.is_empty() {
            let extension = Extension::read(&mut series)?;
            match extension.oid {
                REASON_CODE => check_reason(extension.value)?,
                CERTIFICATE_ISSUER => return Err(CrlError::Indirect),
                _ => extension.ignore()?,
            }
        }
    }
    reader.end()?;
    Ok((serial, PackedTime::new(when)))
}

/// A certificate is revoked for whatever reason but one.
fn check_reason(value: &[u8]) -> Result<(), CrlError> {
    let mut reader = Reader::new(value, "reason");
    let reason = reader.take(ENUMERATED)?.content;
    reader.end()?;
    if reason == REMOVE_FROM_CRL { Err(CrlError::RemoveFromCrl) } else { Ok(()) }
}
