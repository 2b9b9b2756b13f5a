//! A peer's leaf certificate, read once into an [`Identity`].
//!
//! It lives as long as the connection, so it owns only names and digests, not the certificate. It
//! must not know whether the certificate is trusted. The invariant: each name is complete and
//! well-formed; a certificate with one that is not has no identity at all.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::certificate::X509CertificateParser;
use x509_parser::nom::Parser;

use super::dn::{self, DnError};
use super::key::PublicKey;
use super::name::NameProblem;
use super::san::Names;
use super::spiffe::{SpiffeId, SpiffeProblem};
use crate::limits::{IDENTITY_BYTES_MAX, IDENTITY_NAMES_MAX, SERIAL_BYTES_MAX};

/// Who a peer is, by its certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    spiffe_id: Option<SpiffeId>,
    uris: Box<[Box<str>]>,
    dns_names: Box<[Box<str>]>,
    emails: Box<[Box<str>]>,
    ip_addresses: Box<[IpAddr]>,
    subject: Box<str>,
    issuer: Box<str>,
    serial: Box<str>,
    sha256: [u8; 32],
    spki_sha256: [u8; 32],
    not_before_unix_s: i64,
    not_after_unix_s: i64,
    key: Option<PublicKey>,
}

/// A kind of subject alternative name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A dNSName.
    Dns,
    /// An rfc822Name.
    Email,
    /// A uniformResourceIdentifier.
    Uri,
    /// An iPAddress.
    Ip,
}

/// Why a certificate has no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The bytes are not one DER-encoded certificate (RFC 5280, 4.1).
    Certificate,
    /// The subject alternative names are not correctly encoded, or there are two such extensions.
    Names,
    /// A subject alternative name is not a well-formed name of its kind.
    Name(NameKind, NameProblem),
    /// The only URI has the scheme of SPIFFE and is not a SPIFFE ID.
    Spiffe(SpiffeProblem),
    /// The subject is not a name that can be shown without doubt.
    Subject(DnError),
    /// The issuer is not a name that can be shown without doubt.
    Issuer(DnError),
    /// The serial number is negative, empty or longer than 20 bytes (RFC 5280, 4.1.2.2).
    Serial,
    /// There are more subject alternative names than `IDENTITY_NAMES_MAX`.
    TooManyNames,
    /// The names together have more bytes than `IDENTITY_BYTES_MAX`.
    TooManyBytes,
}

impl Identity {
    /// Reads the DER-encoded leaf certificate of a peer.
    ///
    /// Names other than DNS names, mail addresses, URIs and IP addresses are not kept.
    ///
    /// # Errors
    ///
    /// An [`IdentityError`] where the certificate, or a name in it, is malformed or out of bounds.
    pub fn from_der(certificate: &[u8]) -> Result<Self, IdentityError> {
        let (rest, parsed) = X509CertificateParser::new()
            .with_deep_parse_extensions(false)
            .parse(certificate)
            .map_err(|_| IdentityError::Certificate)?;
        if !rest.is_empty() {
            return Err(IdentityError::Certificate);
        }
        let mut names = Names::default();
        names.read(&parsed)?;
        let subject = dn::from_der(parsed.subject.as_raw()).map_err(IdentityError::Subject)?;
        let issuer = dn::from_der(parsed.issuer.as_raw()).map_err(IdentityError::Issuer)?;
        if names.bytes + subject.len() + issuer.len() > IDENTITY_BYTES_MAX {
            return Err(IdentityError::TooManyBytes);
        }
        let spiffe_id = names.take_spiffe_id()?;
        Ok(Self {
            spiffe_id,
            uris: names.uris.into_boxed_slice(),
            dns_names: names.dns_names.into_boxed_slice(),
            emails: names.emails.into_boxed_slice(),
            ip_addresses: names.ip_addresses.into_boxed_slice(),
            subject: subject.into_boxed_str(),
            issuer: issuer.into_boxed_str(),
            serial: serial_of(parsed.raw_serial())?,
            sha256: sha256(certificate),
            spki_sha256: sha256(parsed.subject_pki.raw),
            not_before_unix_s: parsed.validity.not_before.timestamp(),
            not_after_unix_s: parsed.validity.not_after.timestamp(),
            key: PublicKey::from_spki(&parsed.subject_pki),
        })
    }

    /// The SPIFFE ID. A certificate with more than one URI has none (X509-SVID, section 2).
    pub fn spiffe_id(&self) -> Option<&SpiffeId> {
        self.spiffe_id.as_ref()
    }

    /// The URIs, as they are in the certificate, without [`Self::spiffe_id`].
    pub fn uris(&self) -> &[Box<str>] {
        &self.uris
    }

    /// The DNS names in lower case. One may begin with the label `*`.
    pub fn dns_names(&self) -> &[Box<str>] {
        &self.dns_names
    }

    /// The mail addresses, with the host in lower case.
    pub fn emails(&self) -> &[Box<str>] {
        &self.emails
    }

    /// The IP addresses that the certificate names; not the one that the peer connected from.
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.ip_addresses
    }

    /// The subject as an RFC 4514 string in printable ASCII; may be empty.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The issuer as an RFC 4514 string in printable ASCII.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The serial number: pairs of lower-case hex digits without leading zero bytes.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// SHA-256 of the DER-encoded certificate.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// SHA-256 of the DER-encoded SubjectPublicKeyInfo.
    pub fn spki_sha256(&self) -> &[u8; 32] {
        &self.spki_sha256
    }

    /// The notBefore of the certificate, in seconds since 1970-01-01 UTC.
    pub fn not_before_unix_s(&self) -> i64 {
        self.not_before_unix_s
    }

    /// The notAfter of the certificate, in seconds since 1970-01-01 UTC.
    pub fn not_after_unix_s(&self) -> i64 {
        self.not_after_unix_s
    }

    /// The type and size of the public key; `None` where the TLS backend knows no such type.
    pub fn key(&self) -> Option<PublicKey> {
        self.key
    }

    /// The one name to call this peer by in a log line: the first there is of SPIFFE ID, DNS name,
    /// mail address, URI, subject and serial number. Printable ASCII.
    pub fn label(&self) -> &str {
        let first =
            [&self.dns_names, &self.emails, &self.uris].into_iter().find_map(|names| names.first());
        match (&self.spiffe_id, first) {
            (Some(id), _) => id.as_str(),
            (None, Some(name)) => name,
            (None, None) if !self.subject.is_empty() => &self.subject,
            (None, None) => &self.serial,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("label", &self.label())
            .field("issuer", &self.issuer)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "DNS name",
            Self::Email => "mail address",
            Self::Uri => "URI",
            Self::Ip => "IP address",
        })
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate => f.write_str("the certificate is not correctly encoded"),
            Self::Names => f.write_str("the subject alternative names are not correctly encoded"),
            Self::Name(kind, problem) => {
                write!(f, "a {kind} of the certificate is refused: {problem}")
            }
            Self::Spiffe(problem) => {
                write!(f, "the SPIFFE ID of the certificate is refused: {problem}")
            }
            Self::Subject(problem) => {
                write!(f, "the subject of the certificate is refused: {problem}")
            }
            Self::Issuer(problem) => {
                write!(f, "the issuer of the certificate is refused: {problem}")
            }
            Self::Serial => f.write_str(
                "the serial number of the certificate is not a positive integer of up to 20 bytes",
            ),
            Self::TooManyNames => write!(
                f,
                "the certificate has more than {IDENTITY_NAMES_MAX} subject alternative names"
            ),
            Self::TooManyBytes => write!(
                f,
                "the names of the certificate have more than {IDENTITY_BYTES_MAX} bytes together"
            ),
        }
    }
}

impl std::error::Error for IdentityError {}

/// The content bytes of the INTEGER as hex, without the zero that only keeps it positive.
fn serial_of(content: &[u8]) -> Result<Box<str>, IdentityError> {
    let magnitude = match content {
        [0, rest @ ..] if rest.first().is_some_and(|byte| *byte >= 0x80) => rest,
        [first, ..] if *first < 0x80 => content,
        _ => return Err(IdentityError::Serial),
    };
    if magnitude.len() > SERIAL_BYTES_MAX || (magnitude.len() > 1 && magnitude[0] == 0) {
        return Err(IdentityError::Serial);
    }
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    let digits = magnitude.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]);
    Ok(digits.collect::<String>().into_boxed_str())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // invariant: the output of SHA-256 has 32 bytes.
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, SanType};

    fn issue(sans: &[SanType]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans.to_vec();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "client");
        params.not_before = time::macros::datetime!(2024-01-02 03:04:05 UTC);
        params.not_after = time::macros::datetime!(2051-01-01 00:00:00 UTC);
        params.serial_number = Some(vec![0x80, 0x0a].into());
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().expect("an IA5String"))
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().expect("an IA5String"))
    }

    fn email(text: &str) -> SanType {
        SanType::Rfc822Name(text.try_into().expect("an IA5String"))
    }

    /// A certificate whose subject alternative names have `content` as their DER.
    fn issue_raw_names(content: &[u8]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], content.to_vec());
        params.custom_extensions = vec![names];
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    fn general_name(tag: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).expect("a short name");
        let name = [&[0x80 | tag, length], value].concat();
        let length = u8::try_from(name.len()).expect("a short name");
        [&[0x30, length], &name[..]].concat()
    }

    #[test]
    fn each_field_is_read_from_the_certificate() {
        let ips = [IpAddr::from([192, 0, 2, 7]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])];
        let der = issue(&[
            uri("spiffe://example.org/ns/a/sa/b"),
            dns("API.Example.org"),
            dns("*.example.org"),
            email("Ops@Example.org"),
            SanType::IpAddress(ips[0]),
            SanType::IpAddress(ips[1]),
        ]);
        let identity = Identity::from_der(&der).expect("an identity");
        let id = identity.spiffe_id().expect("a SPIFFE ID");
        assert_eq!(id.as_str(), "spiffe://example.org/ns/a/sa/b");
        assert!(identity.uris().is_empty());
        assert_eq!(identity.dns_names(), ["api.example.org".into(), "*.example.org".into()]);
        assert_eq!(identity.emails(), ["Ops@example.org".into()]);
        assert_eq!(identity.ip_addresses(), ips);
        assert_eq!(identity.subject(), "CN=client");
        assert_eq!(identity.issuer(), "CN=client");
        assert_eq!(identity.serial(), "800a");
        assert_eq!(identity.not_before_unix_s(), 1_704_164_645);
        assert_eq!(identity.not_after_unix_s(), 2_556_144_000);
        assert_eq!(identity.key().map(|key| key.bits), Some(256));
        assert_eq!(identity.sha256(), &sha256(&der));
        assert_ne!(identity.sha256(), identity.spki_sha256());
        assert_eq!(identity.label(), "spiffe://example.org/ns/a/sa/b");
    }

    #[test]
    fn a_certificate_with_several_uris_has_no_spiffe_id() {
        let der = issue(&[uri("spiffe://example.org/a"), uri("urn:example:b")]);
        let identity = Identity::from_der(&der).expect("an identity");
        assert_eq!(identity.spiffe_id(), None);
        assert_eq!(identity.uris().len(), 2);
    }

    #[test]
    fn a_lone_spiffe_uri_that_is_no_spiffe_id_is_refused() {
        for bad in ["spiffe://example.org", "SPIFFE://example.org/a", "spiffe://Example.org/a"] {
            let refused = Identity::from_der(&issue(&[uri(bad)]));
            assert!(matches!(refused, Err(IdentityError::Spiffe(_))), "{bad}: {refused:?}");
        }
    }

    #[test]
    fn a_name_with_a_nul_is_refused_and_never_shortened() {
        for (tag, kind, value) in [
            (2, NameKind::Dns, &b"good.example\0.evil.example"[..]),
            (1, NameKind::Email, b"ops@good.example\0.evil"),
            (6, NameKind::Uri, b"urn:good\0evil"),
        ] {
            let refused = Identity::from_der(&issue_raw_names(&general_name(tag, value)));
            assert_eq!(refused, Err(IdentityError::Name(kind, NameProblem::Nul)));
        }
    }

    #[test]
    fn oddly_encoded_names_are_refused() {
        let name = |kind, problem| Err(IdentityError::Name(kind, problem));
        for (content, expected) in [
            (general_name(2, b"\xff\xfe"), name(NameKind::Dns, NameProblem::NotAscii)),
            (
                general_name(2, "m\u{fc}.example".as_bytes()),
                name(NameKind::Dns, NameProblem::NotAscii),
            ),
            (general_name(6, b"urn:\xff"), name(NameKind::Uri, NameProblem::NotAscii)),
            (general_name(2, b""), name(NameKind::Dns, NameProblem::NotDns)),
            (general_name(7, b"12345"), name(NameKind::Ip, NameProblem::NotIp)),
            (general_name(9, b"x"), Err(IdentityError::Names)),
            ([general_name(2, b"a"), b"\0".to_vec()].concat(), Err(IdentityError::Names)),
            (b"\x30\x03\x82\x05a".to_vec(), Err(IdentityError::Names)),
        ] {
            let refused = Identity::from_der(&issue_raw_names(&content));
            assert_eq!(refused, expected, "{content:02x?}");
        }
    }

    #[test]
    fn bounds_are_kept() {
        let many: Vec<_> = (0..=IDENTITY_NAMES_MAX).map(|i| dns(&format!("n{i}"))).collect();
        assert_eq!(Identity::from_der(&issue(&many)), Err(IdentityError::TooManyNames));
        assert!(Identity::from_der(&issue(&many[1..])).is_ok());
        let long: Vec<_> = (0..9).map(|_| uri(&format!("urn:{}", "x".repeat(2000)))).collect();
        assert_eq!(Identity::from_der(&issue(&long)), Err(IdentityError::TooManyBytes));
    }

    #[test]
    fn a_serial_number_has_one_spelling_or_is_refused() {
        for (content, serial) in [(&[0][..], "00"), (&[0, 0x80], "80"), (&[0x0a, 0], "0a00")] {
            assert_eq!(serial_of(content).as_deref(), Ok(serial));
        }
        for bad in [&[][..], &[0x80], &[0, 0x7f], &[0, 0], &[1; 21]] {
            assert_eq!(serial_of(bad), Err(IdentityError::Serial), "{bad:?}");
        }
    }

    #[test]
    fn a_typical_identity_holds_less_than_600_bytes_of_heap() {
        let der =
            issue(&[uri("spiffe://prod.example.org/ns/payments/sa/api"), dns("api.payments")]);
        let identity = Identity::from_der(&der).expect("an identity");
        let names = [&identity.uris, &identity.dns_names, &identity.emails];
        let strings: usize = names
            .iter()
            .flat_map(|list| list.iter())
            .map(|name| name.len() + size_of::<Box<str>>())
            .sum();
        let heap = strings
            + identity.label().len()
            + identity.subject.len()
            + identity.issuer.len()
            + identity.serial.len()
            + size_of_val(&*identity.ip_addresses);
        assert!(heap < 600, "{heap} bytes of heap");
        assert!(size_of::<Identity>() <= 256, "{} bytes inline", size_of::<Identity>());
    }

    #[test]
    fn trailing_bytes_and_truncation_are_refused() {
        let der = issue(&[dns("a.example")]);
        let longer = [&der[..], b"\0"].concat();
        assert_eq!(Identity::from_der(&longer), Err(IdentityError::Certificate));
        for end in 0..der.len() {
            assert!(Identity::from_der(&der[..end]).is_err(), "{end} bytes");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Identity::from_der(&bytes);
        }

        #[test]
        fn a_damaged_certificate_never_panics_and_its_names_stay_printable(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)
        ) {
            static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
                issue(&[uri("spiffe://example.org/a"), dns("a.example"), email("a@b.example")])
            });
            let mut der = GOOD.clone();
            for (index, byte) in damage {
                let index = index.index(der.len());
                der[index] = byte;
            }
            if let Ok(identity) = Identity::from_der(&der) {
                let names = [identity.label(), identity.subject(), identity.issuer()];
                for name in names {
                    prop_assert!(name.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
                }
            }
        }
    }
}
