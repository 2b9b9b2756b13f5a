//! Tests of what is shown of a certificate that may be hostile.

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, IsCa,
    Issuer, KeyIdMethod, KeyPair, SanType,
};
use rustls::pki_types::CertificateDer;

use super::*;

fn key() -> &'static KeyPair {
    static KEY: std::sync::LazyLock<KeyPair> =
        std::sync::LazyLock::new(|| KeyPair::generate().expect("a key"));
    &KEY
}

fn presented(params: &CertificateParams) -> Presented {
    let certificate = params.self_signed(key()).expect("a certificate");
    Presented::of(&[certificate.der().clone()])
}

fn named(common_name: DnValue) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// The DER of a value of up to 64 KiB.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).expect("short").to_be_bytes();
    [&[tag, 0x82, high, low], content].concat()
}

/// A certificate whose subject alternative names are these: context tag, content.
fn with_raw_names(names: &[(u8, &[u8])]) -> Presented {
    let content: Vec<u8> =
        names.iter().flat_map(|(tag, content)| tlv(0x80 | tag, content)).collect();
    let mut params = named("client".into());
    let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], tlv(0x30, &content));
    params.custom_extensions = vec![extension];
    presented(&params)
}

/// All texts of it.
fn texts(presented: &Presented) -> Vec<&str> {
    let options = [
        &presented.subject,
        &presented.issuer,
        &presented.serial,
        &presented.subject_key_id,
        &presented.authority_key_id,
        &presented.key,
        &presented.signature,
    ];
    let lists = presented.names.iter().chain(&presented.unreadable);
    options.into_iter().flatten().chain(lists).map(|text| &**text).collect()
}

fn is_printable(presented: &Presented) -> bool {
    texts(presented).iter().all(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~')))
}

#[test]
fn each_field_is_shown_as_it_is_in_the_certificate() {
    let root_key = KeyPair::generate().expect("a key");
    let mut root = named("root".into());
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_identifier_method = KeyIdMethod::PreSpecified(vec![0xab; 20]);
    let root_der = root.self_signed(&root_key).expect("a root");
    let mut params = named("client".into());
    params.subject_alt_names = vec![
        SanType::DnsName("a.test".try_into().expect("IA5")),
        SanType::URI("spiffe://t/a".try_into().expect("IA5")),
        SanType::URI("urn:a".try_into().expect("IA5")),
        SanType::IpAddress([192, 0, 2, 7].into()),
        SanType::Rfc822Name("a@b.test".try_into().expect("IA5")),
    ];
    params.serial_number = Some(vec![0x80, 0x0a].into());
    params.use_authority_key_identifier_extension = true;
    params.not_before = time::macros::datetime!(2024-01-02 03:04:05 UTC);
    params.not_after = time::macros::datetime!(2051-01-01 00:00:00 UTC);
    let issuer = Issuer::from_params(&root, &root_key);
    let leaf = params.signed_by(key(), &issuer).expect("a client");
    let shown = Presented::of(&[leaf.der().clone(), root_der.der().clone()]);
    assert_eq!(shown.certificates, 2);
    assert_eq!(shown.subject.as_deref(), Some("CN=client"));
    assert_eq!(shown.issuer.as_deref(), Some("CN=root"));
    assert_eq!(shown.serial.as_deref(), Some("800a"));
    let names = ["dns:a.test", "spiffe://t/a", "uri:urn:a", "ip:192.0.2.7", "email:a@b.test"];
    assert_eq!(shown.names.iter().map(|name| &**name).collect::<Vec<_>>(), names);
    assert_eq!(shown.authority_key_id.as_deref(), Some("ab".repeat(20).as_str()));
    assert_eq!(shown.not_before_unix_s, Some(1_704_164_645));
    assert_eq!(shown.not_after_unix_s, Some(2_556_144_000));
    assert_eq!((shown.key.as_deref(), shown.key_bits), (Some("ecdsa_p256"), Some(256)));
    assert_eq!(shown.signature.as_deref(), Some("ecdsa-with-SHA256"));
    let digest = digest(&SHA256, leaf.der());
    assert_eq!(shown.sha256.as_ref().map(<[_; 32]>::as_slice), Some(digest.as_ref()));
    assert!(!shown.is_authority && shown.unreadable.is_empty() && shown.names_more == 0);
    let authority = Presented::of(&[root_der.der().clone()]);
    assert!(authority.is_authority);
    assert_eq!(authority.subject_key_id.as_deref(), Some("ab".repeat(20).as_str()));
}

#[test]
fn a_name_is_shown_as_the_pattern_that_matches_it() {
    let shown = with_raw_names(&[
        (2, b"a.test"),
        (1, b"a@b.test"),
        (6, b"urn:a"),
        (7, &[192, 0, 2, 7]),
        (7, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ]);
    let certificate = shown.names.iter().map(|name| name.parse::<crate::identity::Pattern>());
    assert!(certificate.into_iter().all(|pattern| pattern.is_ok()), "{:?}", shown.names);
    assert_eq!(shown.names.len(), 5);
}

#[test]
fn what_could_be_misread_is_escaped_and_names_are_not_cut_at_a_nul() {
    let shown = with_raw_names(&[
        (2, b"good.test\0.evil.test"),
        (2, "\u{202e}tset".as_bytes()),
        (2, b"a\n{\"event\":\"start\"}\r\x1b[2J"),
        (6, b"urn:\xff\\x"),
        (7, b"12345"),
        (2, b""),
    ]);
    let names = [
        "dns:good.test\\00.evil.test",
        "dns:\\E2\\80\\AEtset",
        "dns:a\\0A{\"event\":\"start\"}\\0D\\1B[2J",
        "uri:urn:\\FF\\\\x",
        "ip:#3132333435",
        "dns:",
    ];
    assert_eq!(shown.names.iter().map(|name| &**name).collect::<Vec<_>>(), names);
    assert!(is_printable(&shown));
    let subject = presented(&named("a\u{202e}b\n\u{7}".into())).subject;
    assert_eq!(subject.as_deref(), Some("CN=a\\E2\\80\\AEb\\0A\\07"));
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_is_shown() {
    let nothing = Presented::of(&[]);
    assert_eq!(nothing, Presented::default());
    let garbage = Presented::of(&[CertificateDer::from(vec![0x30, 0x03, 1, 2])]);
    assert_eq!(garbage.unreadable, ["certificate: it is no certificate; it has 4 bytes".into()]);
    assert!(garbage.sha256.is_some() && garbage.subject.is_none());
    let nul = presented(&named("a\0b".into()));
    assert_eq!(nul.subject, None);
    assert_eq!(nul.unreadable[0].as_ref(), "subject: a string of it has a NUL byte");
    assert_eq!(nul.key.as_deref(), Some("ecdsa_p256"));
    let mut params = named("client".into());
    let broken = CustomExtension::from_oid_content(&[2, 5, 29, 17], b"\x30\x03\x82\x05a".to_vec());
    params.custom_extensions = vec![broken];
    let shown = presented(&params);
    assert_eq!(shown.unreadable, ["names: they are not correctly encoded".into()]);
    assert_eq!(shown.subject.as_deref(), Some("CN=client"));
    let twice = CustomExtension::from_oid_content(&[2, 5, 29, 14], b"\x04\x01\x07".to_vec());
    params.custom_extensions = vec![twice.clone(), twice];
    let shown = presented(&params);
    assert_eq!(shown.unreadable, ["key identifiers: they are not correctly encoded".into()]);
}

#[test]
fn a_thousand_names_are_counted_and_a_few_are_shown() {
    let texts: Vec<String> = (0..1000).map(|index| format!("n{index}.test")).collect();
    let names: Vec<(u8, &[u8])> = texts.iter().map(|text| (2, text.as_bytes())).collect();
    let shown = with_raw_names(&names);
    assert_eq!(shown.names.len(), PRESENTED_NAMES_MAX);
    assert_eq!(shown.names_more, 1000 - PRESENTED_NAMES_MAX);
    let long = [0xff; 300];
    let shown = with_raw_names(&[(2, &long[..]); 20]);
    let bytes: usize = shown.names.iter().map(|name| name.len()).sum();
    assert!(bytes <= PRESENTED_NAMES_BYTES_MAX, "{bytes} bytes");
    assert_eq!(shown.names.len() + shown.names_more, 20);
    assert!(shown.names[0].ends_with("\\FF..."), "{}", shown.names[0]);
    assert_eq!(shown.names[0].len(), PRESENTED_TEXT_BYTES_MAX);
}

#[test]
fn keys_and_signatures_of_other_kinds_are_shown_by_their_oid() {
    let mut der = named("client".into()).self_signed(key()).expect("it").der().to_vec();
    // P-256 becomes the next arc, which is another curve.
    let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    let at = der.windows(8).position(|window| window == curve).expect("the curve");
    der[at + 7] = 6;
    let shown = Presented::of(&[CertificateDer::from(der.clone())]);
    assert_eq!(shown.key.as_deref(), Some("1.2.840.10045.2.1 1.2.840.10045.3.1.6"));
    assert_eq!(shown.key_bits, None);
    let signature = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let places = der.windows(8).enumerate().filter(|(_, window)| *window == signature);
    for at in places.map(|(at, _)| at).collect::<Vec<_>>() {
        der[at + 7] = 0x7f;
    }
    let shown = Presented::of(&[CertificateDer::from(der)]);
    assert_eq!(shown.signature.as_deref(), Some("1.2.840.10045.4.3.127"));
}

#[test]
fn a_cut_never_splits_an_escape() {
    for (text, bytes_max, shown) in [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc..."),
        ("ab\\0Acdef", 6, "ab..."),
        ("ab\\,cdef", 6, "ab..."),
        ("a\\\\cdefgh", 6, "a\\\\..."),
        ("\\\\\\\\\\\\\\\\", 7, "\\\\\\\\..."),
        ("abc", 2, "..."),
    ] {
        assert_eq!(&*cut(text, bytes_max), shown, "{text}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let shown = Presented::of(&[CertificateDer::from(bytes)]);
        prop_assert!(is_printable(&shown));
    }

    #[test]
    fn a_damaged_certificate_never_panics_and_stays_printable_and_bounded(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let mut params = named("client".into());
            params.subject_alt_names = vec![
                SanType::DnsName("a.test".try_into().expect("IA5")),
                SanType::IpAddress([192, 0, 2, 7].into()),
            ];
            params.use_authority_key_identifier_extension = true;
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
            params.self_signed(key()).expect("a certificate").der().to_vec()
        });
        let mut der = GOOD.clone();
        for (index, byte) in damage {
            let index = index.index(der.len());
            der[index] = byte;
        }
        let shown = Presented::of(&[CertificateDer::from(der)]);
        prop_assert!(is_printable(&shown));
        let bytes: usize = texts(&shown).iter().map(|text| text.len()).sum();
        prop_assert!(bytes <= crate::limits::PRESENTED_LINE_BYTES_MAX, "{bytes} bytes");
    }
}
