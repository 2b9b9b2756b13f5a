//! What a client that was refused presented, for the operator who has to tell what was wrong.
//!
//! The certificate is not verified and may be hostile, or no certificate at all. So this reads what
//! it can, says what it cannot, and must not be taken for an [`Identity`](super::Identity). It must
//! not know why the client was refused. The invariants: every text is printable ASCII, and all of
//! it has at most `PRESENTED_LINE_BYTES_MAX` bytes as JSON, whatever was presented.

use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::der_parser::Oid;
use x509_parser::extensions::{
    AuthorityKeyIdentifier, BasicConstraints, GeneralName, KeyIdentifier, SubjectAlternativeName,
};
use x509_parser::nom::Parser;
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_SUBJECT_ALT_NAME, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::dn;
use super::key::PublicKey;
use super::name;
use crate::limits::{
    PRESENTED_ALGORITHM_BYTES_MAX, PRESENTED_KEY_ID_BYTES_MAX, PRESENTED_NAMES_BYTES_MAX,
    PRESENTED_NAMES_MAX, PRESENTED_TEXT_BYTES_MAX, SERIAL_BYTES_MAX,
};

/// Ends a text that was cut.
const CUT_MARK: &str = "...";

/// Algorithms by the dotted form of their OID, as `openssl x509 -text` calls them.
const SIGNATURES: [(&str, &str); 13] = [
    ("1.2.840.113549.1.1.4", "md5WithRSAEncryption"),
    ("1.2.840.113549.1.1.5", "sha1WithRSAEncryption"),
    ("1.2.840.113549.1.1.10", "rsassaPss"),
    ("1.2.840.113549.1.1.11", "sha256WithRSAEncryption"),
    ("1.2.840.113549.1.1.12", "sha384WithRSAEncryption"),
    ("1.2.840.113549.1.1.13", "sha512WithRSAEncryption"),
    ("1.2.840.10045.4.1", "ecdsa-with-SHA1"),
    ("1.2.840.10045.4.3.2", "ecdsa-with-SHA256"),
    ("1.2.840.10045.4.3.3", "ecdsa-with-SHA384"),
    ("1.2.840.10045.4.3.4", "ecdsa-with-SHA512"),
    ("1.2.840.10040.4.3", "dsa-with-SHA1"),
    ("1.3.101.112", "ED25519"),
    ("1.3.101.113", "ED448"),
];

/// What a client presented: its own certificate, and how many there were.
///
/// A field is `None`, or a list is empty, where the certificate has no such thing and where it
/// could not be read; `unreadable` tells the two apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presented {
    /// Certificates that were presented, the client's own included.
    pub certificates: usize,
    /// SHA-256 of the first one's bytes, whatever they are.
    pub sha256: Option<[u8; 32]>,
    /// The subject as an RFC 4514 string, `PRESENTED_TEXT_BYTES_MAX` bytes of it at most.
    pub subject: Option<Box<str>>,
    /// The issuer, likewise.
    pub issuer: Option<Box<str>>,
    /// The serial number in hexadecimal.
    pub serial: Option<Box<str>>,
    /// The subject alternative names, `PRESENTED_NAMES_MAX` at most, each as the pattern that would
    /// match it, such as `dns:a.test`; bytes outside printable ASCII as `\XX`.
    pub names: Vec<Box<str>>,
    /// How many names there are beyond those.
    pub names_more: usize,
    /// The subject key identifier (RFC 5280, 4.2.1.2) in hexadecimal.
    pub subject_key_id: Option<Box<str>>,
    /// The identifier of the issuer's key (RFC 5280, 4.2.1.1) in hexadecimal.
    pub authority_key_id: Option<Box<str>>,
    /// The notBefore, in seconds since 1970-01-01 UTC.
    pub not_before_unix_s: Option<i64>,
    /// The notAfter, in seconds since 1970-01-01 UTC.
    pub not_after_unix_s: Option<i64>,
    /// The type of the public key, as `client_key_types` calls it; of another type its OID.
    pub key: Option<Box<str>>,
    /// The size of the key in bits, where its type is known.
    pub key_bits: Option<u32>,
    /// The algorithm of the signature, as OpenSSL calls it; of an unknown one its OID.
    pub signature: Option<Box<str>>,
    /// Whether it is an authority's (RFC 5280, 4.2.1.9).
    pub is_authority: bool,
    /// What could not be read, each with what is wrong with it.
    pub unreadable: Vec<Box<str>>,
}

impl Presented {
    /// Reads what there is to read of the first certificate of `chain`, and counts the others.
    pub fn of(chain: &[CertificateDer<'_>]) -> Self {
        let mut presented = Self { certificates: chain.len(), ..Self::default() };
        let Some(leaf) = chain.first() else {
            return presented;
        };
        let mut sha256 = [0; 32];
        // invariant: the output of SHA-256 has 32 bytes.
        sha256.copy_from_slice(digest(&SHA256, leaf).as_ref());
        presented.sha256 = Some(sha256);
        match parse(leaf) {
            Some(certificate) => presented.read(&certificate),
            None => {
                let problem = format!("it is no certificate; it has {} bytes", leaf.len());
                presented.complain("certificate", &problem);
            }
        }
        presented
    }

    fn read(&mut self, certificate: &X509Certificate<'_>) {
        self.subject = self.name("subject", certificate.subject.as_raw());
        self.issuer = self.name("issuer", certificate.issuer.as_raw());
        self.serial = self.serial(certificate.raw_serial());
        self.not_before_unix_s = Some(certificate.validity.not_before.timestamp());
        self.not_after_unix_s = Some(certificate.validity.not_after.timestamp());
        self.read_key(&certificate.subject_pki);
        let signature = self.algorithm("signature", &certificate.signature_algorithm.algorithm);
        let known = SIGNATURES.iter().find(|(oid, _)| signature.as_deref() == Some(*oid));
        self.signature = known.map_or(signature, |(_, name)| Some((*name).into()));
        let shown = |id| hex(id, PRESENTED_KEY_ID_BYTES_MAX);
        match key_ids(certificate) {
            Ok(ids) => {
                self.subject_key_id = ids.subject.map(shown);
                self.authority_key_id = ids.authority.map(shown);
            }
            Err(Unreadable) => self.complain("key identifiers", "they are not correctly encoded"),
        }
        self.is_authority = is_authority(certificate);
        if self.read_names(certificate).is_err() {
            self.complain("names", "they are not correctly encoded");
        }
    }

    fn complain(&mut self, part: &str, problem: &str) {
        self.unreadable.push(format!("{part}: {problem}").into_boxed_str());
    }

    fn name(&mut self, part: &str, der: &[u8]) -> Option<Box<str>> {
        match dn::from_der(der) {
            Ok(name) => Some(cut(&name, PRESENTED_TEXT_BYTES_MAX)),
            Err(error) => {
                self.complain(part, &error.to_string());
                None
            }
        }
    }

    fn serial(&mut self, content: &[u8]) -> Option<Box<str>> {
        let magnitude = match content {
            [0, rest @ ..] if !rest.is_empty() => rest,
            _ => content,
        };
        let is_negative = content.first().is_some_and(|byte| *byte >= 0x80);
        if is_negative || content.is_empty() || magnitude.len() > SERIAL_BYTES_MAX {
            self.complain("serial", "it is not a positive integer of up to 20 bytes");
        }
        (!content.is_empty()).then(|| hex(magnitude, SERIAL_BYTES_MAX))
    }

    fn read_key(&mut self, spki: &SubjectPublicKeyInfo<'_>) {
        if let Some(key) = PublicKey::from_spki(spki) {
            self.key = Some(key.key_type.as_str().into());
            self.key_bits = Some(key.bits);
            return;
        }
        self.key = self.algorithm("key", &spki.algorithm.algorithm);
        let curve = spki.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        if let (Some(key), Some(curve)) = (&self.key, curve)
            && let Ok(curve) = dn::dotted(curve.as_bytes())
        {
            self.key = Some(cut(&format!("{key} {curve}"), PRESENTED_ALGORITHM_BYTES_MAX));
        }
    }

    fn algorithm(&mut self, part: &str, oid: &Oid<'_>) -> Option<Box<str>> {
        match dn::dotted(oid.as_bytes()) {
            Ok(dotted) => Some(cut(&dotted, PRESENTED_ALGORITHM_BYTES_MAX)),
            Err(_) => {
                self.complain(part, "the identifier of its algorithm is not correctly encoded");
                None
            }
        }
    }

    fn read_names(&mut self, certificate: &X509Certificate<'_>) -> Result<(), Unreadable> {
        let Some(value) = extension(certificate, &OID_X509_EXT_SUBJECT_ALT_NAME)? else {
            return Ok(());
        };
        let (rest, names) = SubjectAlternativeName::from_der(value).map_err(|_| Unreadable)?;
        let mut room = PRESENTED_NAMES_BYTES_MAX;
        for name in &names.general_names {
            // What is left must hold more than the mark that something was cut.
            if self.names.len() == PRESENTED_NAMES_MAX || room < 4 * CUT_MARK.len() {
                self.names_more += 1;
                continue;
            }
            let shown = shown_name(name, room.min(PRESENTED_TEXT_BYTES_MAX));
            room -= shown.len();
            self.names.push(shown);
        }
        if rest.is_empty() { Ok(()) } else { Err(Unreadable) }
    }
}

/// Something is not what its type demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The identifiers of a certificate's own key and of its issuer's.
#[derive(Default)]
pub(super) struct KeyIds<'a> {
    pub(super) subject: Option<&'a [u8]>,
    pub(super) authority: Option<&'a [u8]>,
}

/// One certificate with nothing after it.
pub(super) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    let parsed = X509CertificateParser::new().with_deep_parse_extensions(false).parse(der);
    parsed.ok().filter(|(rest, _)| rest.is_empty()).map(|(_, certificate)| certificate)
}

pub(super) fn key_ids<'a>(certificate: &X509Certificate<'a>) -> Result<KeyIds<'a>, Unreadable> {
    let mut ids = KeyIds::default();
    if let Some(value) = extension(certificate, &OID_X509_EXT_SUBJECT_KEY_IDENTIFIER)? {
        let (_, id) = KeyIdentifier::from_der(value).map_err(|_| Unreadable)?;
        ids.subject = Some(id.0);
    }
    if let Some(value) = extension(certificate, &OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER)? {
        let (_, id) = AuthorityKeyIdentifier::from_der(value).map_err(|_| Unreadable)?;
        ids.authority = id.key_identifier.map(|id| id.0);
    }
    Ok(ids)
}

/// Whether the certificate says that it is an authority's.
pub(super) fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    let value = extension(certificate, &OID_X509_EXT_BASIC_CONSTRAINTS).ok().flatten();
    value
        .and_then(|value| BasicConstraints::from_der(value).ok())
        .is_some_and(|(_, constraints)| constraints.ca)
}

/// The content of the one extension of this type.
fn extension<'a>(
    certificate: &X509Certificate<'a>,
    oid: &Oid<'_>,
) -> Result<Option<&'a [u8]>, Unreadable> {
    let found = certificate.extensions().iter().filter(|extension| extension.oid == *oid);
    let mut values = found.map(|extension| extension.value);
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        _ => Err(Unreadable),
    }
}

/// A name as the pattern that would match it, where there is one.
fn shown_name(name: &GeneralName<'_>, bytes_max: usize) -> Box<str> {
    let escaped = |prefix: &str, bytes: &[u8]| escape(prefix, bytes, bytes_max);
    match name {
        GeneralName::DNSName(text) => escaped("dns:", text.as_bytes()),
        GeneralName::RFC822Name(text) => escaped("email:", text.as_bytes()),
        GeneralName::URI(text) if name::is_spiffe(text) => escaped("", text.as_bytes()),
        GeneralName::URI(text) => escaped("uri:", text.as_bytes()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let shown = match v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)) {
                Ok(address) => format!("ip:{address}"),
                Err(_) => format!("ip:#{}", hex(bytes, 16)),
            };
            cut(&shown, bytes_max)
        }
        GeneralName::DirectoryName(name) => {
            let name = dn::from_der(name.as_raw()).unwrap_or_default();
            cut(&format!("directory:{name}"), bytes_max)
        }
        GeneralName::OtherName(oid, _) => {
            let oid = dn::dotted(oid.as_bytes()).unwrap_or_default();
            cut(&format!("other:{oid}"), bytes_max)
        }
        GeneralName::RegisteredID(oid) => {
            let oid = dn::dotted(oid.as_bytes()).unwrap_or_default();
            cut(&format!("registered:{oid}"), bytes_max)
        }
        GeneralName::X400Address(_) => "x400:".into(),
        GeneralName::EDIPartyName(_) => "edi-party:".into(),
        // The tags of the kinds above: the parser could not read this one as UTF-8.
        GeneralName::Invalid(tag, bytes) => match tag.0 {
            1 => escaped("email:", bytes),
            2 => escaped("dns:", bytes),
            6 => escaped("uri:", bytes),
            tag => escaped(&format!("tag-{tag}:"), bytes),
        },
    }
}

/// `prefix` and `bytes`, of which everything but printable ASCII becomes `\XX`, and a backslash
/// two; cut to `bytes_max`, and never within an escape.
pub(super) fn escape(prefix: &str, bytes: &[u8], bytes_max: usize) -> Box<str> {
    let mut out = String::from(prefix);
    for byte in bytes {
        // What is too long by now is cut below, however long the rest is.
        if out.len() > bytes_max {
            break;
        }
        // Writing to a String cannot fail.
        let _ = match byte {
            b'\\' => write!(out, "\\\\"),
            b' '..=b'~' => write!(out, "{}", char::from(*byte)),
            _ => write!(out, "\\{byte:02X}"),
        };
    }
    cut(&out, bytes_max)
}

/// `text`, which is ASCII, in `bytes_max` bytes at most. An escape that would be cut is left out.
pub(super) fn cut(text: &str, bytes_max: usize) -> Box<str> {
    if text.len() <= bytes_max {
        return text.into();
    }
    let bytes = text.as_bytes();
    let room = bytes_max.saturating_sub(CUT_MARK.len());
    let mut end = 0;
    loop {
        // `\XX`, `\` and a special character, or a character.
        let unit = match bytes[end..] {
            [b'\\', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => 3,
            [b'\\', ..] => 2,
            _ => 1,
        };
        if end + unit > room {
            return format!("{}{CUT_MARK}", &text[..text.floor_char_boundary(end)]).into();
        }
        end += unit;
    }
}

/// The first `bytes_max` bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8], bytes_max: usize) -> Box<str> {
    let shown = &bytes[..bytes.len().min(bytes_max)];
    let mut out = shown.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    if shown.len() < bytes.len() {
        out.push_str(CUT_MARK);
    }
    out.into()
}

#[cfg(test)]
mod tests;
