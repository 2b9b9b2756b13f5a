//! `RevocationList::parse` of what an authority signed, whatever it is, beside x509-parser's full
//! reading of the same list.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aws_lc_rs::signature::Ed25519KeyPair;
use ringfort::cli::pki::{Authority, KeyChoice, Profile, Validity};
use ringfort::tls::provider::{Backend, provider};
use ringfort::trust::crl::{CrlError, Issuer, RevocationList, Serial};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::der::tlv;
use crate::pki::NOW_UNIX_S;

/// The AlgorithmIdentifier of Ed25519 (RFC 8410, 3).
const ED25519: &[u8] = &[0x30, 5, 6, 3, 0x2b, 0x65, 0x70];

struct Signer {
    key: Ed25519KeyPair,
    issuers: [Issuer; 1],
    algorithms: WebPkiSupportedAlgorithms,
}

fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| {
        let profile = Profile {
            common_name: "root".into(),
            key: KeyChoice::Ed25519,
            validity: Validity::between(NOW_UNIX_S, NOW_UNIX_S + 86_400).expect("a day"),
        };
        let authority = Authority::root(&profile).expect("a root");
        let key = PrivatePkcs8KeyDer::from_pem_slice(authority.key_pem().as_bytes());
        let key = Ed25519KeyPair::from_pkcs8(key.expect("a key").secret_pkcs8_der());
        let provider = provider(Backend::ALL[0], &[], &[]).expect("all");
        Signer {
            key: key.expect("a key of Ed25519"),
            issuers: [Issuer::from_der(authority.certificate()).expect("an authority")],
            algorithms: provider.signature_verification_algorithms,
        }
    })
}

/// The bytes as a list, which nobody signed, and as what is signed of one (TBSCertList).
pub fn crl(data: &[u8]) {
    let signer = signer();
    let parse = |der: &[u8]| RevocationList::parse(der, &signer.issuers, &signer.algorithms);
    check_error(&parse(data).expect_err("nobody signed it"));

    let signature = tlv(0x03, &[&[0], signer.key.sign(data).as_ref()].concat());
    let whole = tlv(0x30, &[data, ED25519, &signature].concat());
    let list = match parse(&whole) {
        Ok(list) => list,
        Err(error) => return check_error(&error),
    };
    assert_eq!(format!("{:?}", parse(&whole)), format!("Ok({list:?})"), "another answer");
    check_error(&parse(&[&whole[..], b"\0"].concat()).expect_err("a byte behind it"));
    assert!(list.this_update() < list.next_update());
    assert!(!list.is_newer_than(&list));
    if let Ok(([], theirs)) = CertificateRevocationList::from_der(&whole) {
        check_against(&list, &theirs);
    }
}

fn check_error(error: &CrlError) {
    let text = error.to_string();
    let is_line = !text.is_empty() && !text.chars().any(char::is_control);
    assert!(is_line && text.len() < 64 * 1024, "{text:?}");
}

fn check_against(list: &RevocationList, theirs: &CertificateRevocationList<'_>) {
    assert_eq!(list.this_update(), theirs.last_update().timestamp());
    assert_eq!(Some(list.next_update()), theirs.next_update().map(|time| time.timestamp()));
    let mut revoked = BTreeMap::new();
    for entry in theirs.iter_revoked_certificates() {
        let serial = Serial::from_der_integer_content(entry.raw_serial()).expect("was checked");
        revoked.entry(serial).or_insert(entry.revocation_date.timestamp());
    }
    assert_eq!(list.len(), revoked.len());
    for (serial, when) in revoked {
        assert_eq!(list.revoked_at(&serial), Some(when), "{serial}");
    }
}
