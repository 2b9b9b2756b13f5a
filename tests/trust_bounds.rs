//! What peers can make a gateway keep about them: verdicts, refusals and sessions are bounded.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::ExtendedKeyUsagePurpose;
use ringfort::Refusal;
use ringfort::cli::pki::{Authority, KeyChoice, Names, Profile, Validity};
use ringfort::limits::{DETAIL_BYTES_MAX, REFUSALS_MAX, SESSION_BYTES_MAX};
use ringfort::policy::Rules;
use ringfort::tls::provider::{Backend, provider};
use ringfort::trust::scope::{Scope, ScopeOptions};
use ringfort::trust::session::Binding;
use ringfort::trust::store::{SessionStore, Stored};
use ringfort::trust::tickets::{TicketKeys, TicketSecret};
use ringfort::trust::verdict::{Found, VerdictCache};
use ringfort::trust::verify::{Anchors, ClientAuth, ClientVerifier, VerifierOptions};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

fn profile(name: &str) -> Profile {
    let validity = Validity::days(SystemTime::now(), 30).expect("30 days");
    Profile { common_name: name.into(), key: KeyChoice::P256, validity }
}

/// What a listener demands whose clients come from `root`.
fn scope(root: &Authority) -> (Scope, Arc<ClientVerifier>) {
    let mut roots = RootCertStore::empty();
    roots.add(root.certificate().clone()).expect("a root");
    let provider = Arc::new(provider(Backend::ALL[0], &[], &[]).expect("all that there is"));
    let options = VerifierOptions::new(Anchors::new(&roots), ClientAuth::Require, provider);
    let verifier = Arc::new(ClientVerifier::new(options).expect("a verifier"));
    let scope = Scope::new(ScopeOptions {
        name: "main".into(),
        verifier: Some(Arc::clone(&verifier)),
        rules: Rules::unrestricted(),
        revocation: Arc::default(),
    });
    (scope, verifier)
}

/// A self-signed certificate that is good for these purposes, of which none is known.
fn of_purposes(purposes: impl Iterator<Item = Vec<u64>>) -> CertificateDer<'static> {
    let mut params = rcgen::CertificateParams::new(["client.test".into()]).expect("a name");
    params.extended_key_usages = purposes.map(ExtendedKeyUsagePurpose::Other).collect();
    let key = rcgen::KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").der().clone()
}

/// The certificate with another AlgorithmIdentifier of its signature, which has so many bytes of
/// parameters.
fn with_parameters(certificate: &[u8], bytes: usize) -> CertificateDer<'static> {
    const ECDSA_WITH_SHA256: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let parsed = X509Certificate::from_der(certificate).expect("a certificate").1;
    let tbs = parsed.tbs_certificate.as_ref();
    // The first is the algorithm: before it are the version and the serial number.
    let at = tbs.windows(ECDSA_WITH_SHA256.len()).position(|it| it == ECDSA_WITH_SHA256);
    let at = at.expect("that is what it is signed with");
    let header = 2 + usize::from(tbs[1] & 0x7f) * usize::from(tbs[1] >= 0x80);
    let algorithm = tlv(0x30, &[&[6, 2, 0x2a, 3][..], &tlv(4, &vec![0; bytes])].concat());
    let rest = &tbs[at + ECDSA_WITH_SHA256.len()..];
    let tbs = tlv(0x30, &[&tbs[header..at], &algorithm, rest].concat());
    let signature = tlv(3, &[&[0][..], &parsed.signature_value.data].concat());
    tlv(0x30, &[&tbs[..], &algorithm, &signature].concat()).into()
}

/// A DER element.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("below 2^16");
    let length = match length {
        0..0x80 => vec![length.to_be_bytes()[1]],
        0x80..0x100 => vec![0x81, length.to_be_bytes()[1]],
        _ => [&[0x82][..], &length.to_be_bytes()].concat(),
    };
    [&[tag][..], &length, content].concat()
}

fn session(bytes: usize) -> Stored {
    let binding = Binding { scope: [0; 32], authenticated_unix_s: 0, client: None };
    Stored { binding, value: vec![0; bytes] }
}

#[test]
fn verdicts_and_refusals_are_bounded() {
    let root = Authority::root(&profile("root")).expect("a root");
    let (scope, verifier) = scope(&root);
    let (mut cache, now) = (VerdictCache::new(2), UnixTime::now());
    for name in ["a", "b", "c"] {
        let names = Names { dns: vec![name.into()], ..Names::default() };
        let chain = root.issue_client(&profile(name), &names).expect("a client").chain;
        let judged = cache.judge(&scope, &verifier, &chain[0], &chain[1..], now);
        assert!(judged.0.is_ok(), "{name}");
    }
    for number in 0..REFUSALS_MAX + 10 {
        let junk = CertificateDer::from(number.to_be_bytes().to_vec());
        assert!(cache.judge(&scope, &verifier, &junk, &[], now).0.is_err());
    }
    assert_eq!(cache.len(), (2, REFUSALS_MAX));
    // And they are forgotten after a while, so what is mended is seen.
    let junk = CertificateDer::from((REFUSALS_MAX + 9).to_be_bytes().to_vec());
    let found = |cache: &mut VerdictCache, at: Duration| {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + at);
        cache.judge(&scope, &verifier, &junk, &[], now).1
    };
    assert_eq!(found(&mut cache, Duration::ZERO), Found::Hit);
    assert_eq!(
        found(&mut cache, Duration::from_secs(ringfort::limits::REFUSAL_TTL_S)),
        Found::Miss
    );
}

#[test]
fn a_refusal_keeps_few_bytes_of_what_a_peer_made_long() {
    let root = Authority::root(&profile("root")).expect("a root");
    let (scope, verifier) = scope(&root);
    let names = Names { dns: vec!["client.test".into()], ..Names::default() };
    let client = root.issue_client(&profile("client"), &names).expect("a client");
    // As much as fits into a certificate, for which webpki takes 65,535 bytes.
    for (leaf, expected) in [
        (of_purposes((0..15_000).map(|it| vec![1, 2, it % 128])), Refusal::EkuLacksClientAuth),
        (of_purposes([vec![1; 60_000]].into_iter()), Refusal::EkuLacksClientAuth),
        (with_parameters(&client.chain[0], 32_000), Refusal::SignatureAlgorithmRefused),
    ] {
        assert!(leaf.len() > 60_000, "{} bytes", leaf.len());
        let (mut cache, now) = (VerdictCache::new(2), UnixTime::now());
        let mut judge = || cache.judge(&scope, &verifier, &leaf, &[], now);
        assert_eq!(judge().1, Found::Miss);
        let (kept, found) = judge();
        let refused = kept.expect_err("it must be refused");
        assert_eq!((found, refused.refusal), (Found::Hit, expected), "{}", refused.text);
        assert!(!refused.text.is_empty());
        assert!(refused.text.len() <= DETAIL_BYTES_MAX, "{} bytes", refused.text.len());
        let all = format!("{refused:?}").len();
        assert!(all < 8192, "{expected:?}: {all} bytes");
    }
}

#[test]
fn sessions_stay_within_their_bytes_and_one_that_is_too_long_is_not_kept() {
    let bytes_max = 2 * 1024 * 1024;
    let store = SessionStore::new(bytes_max);
    for number in 0..10_000_u64 {
        let id = number.to_be_bytes().repeat(4);
        assert!(store.put(id, session(1000)));
    }
    let (count, bytes) = store.len();
    assert!(bytes <= bytes_max, "{count} sessions have {bytes} bytes");
    assert!(count > 1000, "there is room for more than {count}");
    assert!(!store.put(vec![1], session(SESSION_BYTES_MAX + 1)));
    let keys = TicketKeys::new(TicketSecret::new(&[1; 32]).expect("long enough"), 1);
    assert!(keys.seal(&vec![0; SESSION_BYTES_MAX], 0, [0; 12]).is_some());
    assert!(keys.seal(&vec![0; SESSION_BYTES_MAX + 1], 0, [0; 12]).is_none());
}
