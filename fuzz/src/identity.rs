//! `Identity::from_der` by its bounds, by the patterns that its own names make, and beside
//! x509-parser's full reading of the same certificate.

use arbitrary::{Arbitrary, Unstructured};
use ringfort::identity::{
    Candidate, Identity, IdentityError, Pattern, Presented, SpiffeId, nearest,
};
use ringfort::limits::{
    DETAIL_BYTES_MAX, DNS_NAME_BYTES_MAX, IDENTITY_BYTES_MAX, IDENTITY_NAMES_MAX,
    PRESENTED_LINE_BYTES_MAX, PRESENTED_NAMES_MAX, SERIAL_BYTES_MAX,
};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::der::{self, Parts};

/// What every DER-encoded certificate begins with.
const SEQUENCE: u8 = 0x30;

/// Attribute types by their content bytes: known ones, one that is not, and one that is none.
const TYPES: [&[u8]; 8] = [
    &[0x55, 4, 3],
    &[0x55, 4, 10],
    &[0x55, 4, 6],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
    &[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
    &[0x2b, 6, 1, 4, 1, 0x82, 0x37],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0x80, 1],
];

#[derive(Arbitrary, Debug)]
struct Attribute {
    kind: u8,
    tag: u8,
    value: Vec<u8>,
    joins: bool,
}

#[derive(Arbitrary, Debug)]
struct AlternativeName {
    tag: u8,
    content: Vec<u8>,
    repeats: u8,
}

#[derive(Arbitrary, Debug)]
struct Input {
    serial: Vec<u8>,
    subject: Vec<Attribute>,
    issuer_is_subject: bool,
    names: Option<Vec<AlternativeName>>,
    raw_names: Option<Vec<u8>>,
}

/// `check` of `certificate_of`.
pub fn identity(data: &[u8]) {
    if let Some(certificate) = certificate_of(data) {
        check(&certificate);
    }
}

/// A certificate as it is, where the bytes begin like one; otherwise one that is made of them.
pub(crate) fn certificate_of(data: &[u8]) -> Option<Vec<u8>> {
    if data.first() == Some(&SEQUENCE) {
        return Some(data.to_vec());
    }
    let input = Unstructured::new(data).arbitrary::<Input>().ok()?;
    Some(input.certificate())
}

impl Input {
    fn certificate(&self) -> Vec<u8> {
        let subject = name_of(&self.subject);
        let issuer = if self.issuer_is_subject { subject.clone() } else { name_of(&[]) };
        let names = self.names.as_ref().map(|names| {
            let repeated = names.iter().flat_map(|name| {
                // A few repetitions are enough to get past the bound on how many there may be.
                let times = if name.repeats > 250 { IDENTITY_NAMES_MAX } else { 1 };
                std::iter::repeat_n((name.tag % 9, name.content.as_slice()), times)
            });
            der::general_names(repeated)
        });
        der::certificate(&Parts {
            serial: &self.serial,
            issuer: &issuer,
            subject: &subject,
            names: self.raw_names.as_deref().or(names.as_deref()),
        })
    }
}

/// An attribute that `joins` is one more of the RDN before it.
fn name_of(attributes: &[Attribute]) -> Vec<u8> {
    let mut rdns: Vec<Vec<der::Attribute<'_>>> = Vec::new();
    for attribute in attributes {
        let kind = TYPES[usize::from(attribute.kind) % TYPES.len()];
        // The string types are 0x0c to 0x1e.
        let tag = if attribute.tag < 0x80 { 0x0c + attribute.tag % 0x13 } else { attribute.tag };
        let made = (kind, tag, attribute.value.as_slice());
        match rdns.last_mut() {
            Some(last) if attribute.joins => last.push(made),
            _ => rdns.push(vec![made]),
        }
    }
    der::name(rdns)
}

fn check(certificate: &[u8]) {
    check_presented(certificate);
    let read = Identity::from_der(certificate);
    assert!(read == Identity::from_der(certificate), "the same bytes, another answer");
    let identity = match read {
        Ok(identity) => identity,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let longer = [certificate, b"\0"].concat();
    assert_eq!(Identity::from_der(&longer), Err(IdentityError::Certificate), "a byte behind it");
    check_bounds(&identity);
    check_patterns(&identity);
    if let Ok((_, theirs)) = X509Certificate::from_der(certificate) {
        check_against(&identity, &theirs);
    }
}

/// What the log would show of it, had it been refused, and why it would not lead to itself.
fn check_presented(certificate: &[u8]) {
    let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let chain = [CertificateDer::from(certificate), CertificateDer::from(certificate)];
    let shown = Presented::of(&chain);
    let fields = [
        &shown.subject,
        &shown.issuer,
        &shown.serial,
        &shown.subject_key_id,
        &shown.authority_key_id,
        &shown.key,
        &shown.signature,
    ];
    let lists = shown.names.iter().chain(&shown.unreadable);
    let texts: Vec<&str> = fields.into_iter().flatten().chain(lists).map(|it| &**it).collect();
    assert!(texts.iter().all(|text| printable(text)), "{texts:?}");
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    assert!(bytes <= PRESENTED_LINE_BYTES_MAX && shown.names.len() <= PRESENTED_NAMES_MAX);

    let parsed = X509Certificate::from_der(certificate);
    let anchor = parsed.as_ref().ok().map(|(_, anchor)| Candidate {
        subject: anchor.subject.as_raw(),
        spki: anchor.subject_pki.raw,
        key_id: None,
        label: "itself",
    });
    let hint = nearest(&chain, anchor.as_slice()).map(|hint| hint.to_string());
    assert!(hint.is_none_or(|hint| printable(&hint) && hint.len() <= DETAIL_BYTES_MAX));
}

fn check_bounds(identity: &Identity) {
    let texts = [identity.uris(), identity.dns_names(), identity.emails()];
    let count: usize = texts.iter().map(|names| names.len()).sum();
    let count = count + identity.ip_addresses().len();
    assert!(count + usize::from(identity.spiffe_id().is_some()) <= IDENTITY_NAMES_MAX);
    let bytes: usize = texts.iter().flat_map(|names| names.iter()).map(|name| name.len()).sum();
    let bytes = bytes + identity.subject().len() + identity.issuer().len();
    assert!(bytes <= IDENTITY_BYTES_MAX, "{bytes} bytes of names");

    let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    assert!(texts.iter().flat_map(|names| names.iter()).all(|name| printable(name)));
    assert!(printable(identity.subject()) && printable(identity.issuer()));
    assert!(printable(identity.label()) && !identity.label().is_empty());
    for name in identity.dns_names() {
        assert!(name.len() <= DNS_NAME_BYTES_MAX && **name == *name.to_ascii_lowercase());
    }
    let serial = identity.serial();
    assert!((2..=2 * SERIAL_BYTES_MAX).contains(&serial.len()), "{serial}");
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    assert!(serial.len().is_multiple_of(2) && serial.bytes().all(is_hex), "{serial}");
    assert!(serial == "00" || !serial.starts_with("00"), "{serial}");
    if let Some(id) = identity.spiffe_id() {
        assert_eq!(SpiffeId::parse(id.as_str()).as_ref(), Ok(id));
        assert!(identity.uris().is_empty(), "a SPIFFE ID is the only URI");
    }
}

/// What the log shows of an identity can be copied into `allow`, and lets it in.
fn check_patterns(identity: &Identity) {
    let mut texts = vec!["any".to_owned(), format!("serial:{}", identity.serial())];
    for (prefix, names) in [("dns", identity.dns_names()), ("uri", identity.uris())] {
        // A lone SPIFFE URI is a SPIFFE ID; among several there is none, and no pattern for them.
        let names = names.iter().filter(|name| !name.to_ascii_lowercase().starts_with("spiffe:"));
        texts.extend(names.map(|name| format!("{prefix}:{name}")));
    }
    let emails = identity.emails().iter();
    // In a pattern '*' is a wildcard, which stands alone.
    let emails = emails.filter(|email| !email.contains('*') || email.starts_with("*@"));
    texts.extend(emails.map(|email| format!("email:{email}")));
    texts.extend(identity.ip_addresses().iter().map(|address| format!("ip:{address}")));
    texts.extend(identity.spiffe_id().map(ToString::to_string));
    let names = [("subject", identity.subject()), ("issuer", identity.issuer())];
    let names = names.iter().filter(|(_, name)| !name.is_empty());
    texts.extend(names.map(|(prefix, name)| format!("{prefix}:{name}")));
    let hex = |hash: &[u8; 32]| hash.map(|byte| format!("{byte:02X}")).join(":");
    texts.push(format!("sha256:{}", hex(identity.sha256())));
    texts.push(format!("spki-sha256:{}", hex(identity.spki_sha256())));
    for text in texts {
        match text.parse::<Pattern>() {
            Ok(pattern) => assert!(pattern.matches(identity), "{text} does not match its own"),
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

fn check_against(identity: &Identity, theirs: &X509Certificate<'_>) {
    let serial = theirs.tbs_certificate.serial.to_bytes_be();
    let serial: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(identity.serial(), serial);
    assert_eq!(identity.subject().is_empty(), theirs.subject().iter_rdn().next().is_none());
    assert_eq!(identity.issuer().is_empty(), theirs.issuer().iter_rdn().next().is_none());
    let validity = theirs.validity();
    assert_eq!(identity.not_before_unix_s(), validity.not_before.timestamp());
    assert_eq!(identity.not_after_unix_s(), validity.not_after.timestamp());
    let Ok(extension) = theirs.subject_alternative_name() else { return };
    let names = extension.map_or(&[][..], |extension| &extension.value.general_names);
    let count =
        |is_kind: fn(&GeneralName<'_>) -> bool| names.iter().filter(|name| is_kind(name)).count();
    assert_eq!(identity.dns_names().len(), count(|name| matches!(name, GeneralName::DNSName(_))));
    assert_eq!(identity.emails().len(), count(|name| matches!(name, GeneralName::RFC822Name(_))));
    let addresses = count(|name| matches!(name, GeneralName::IPAddress(_)));
    assert_eq!(identity.ip_addresses().len(), addresses);
    let uris = identity.uris().len() + usize::from(identity.spiffe_id().is_some());
    assert_eq!(uris, count(|name| matches!(name, GeneralName::URI(_))));
}
