//! What peers can make a gateway keep about them: verdicts, refusals and sessions are bounded.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ringfort::cli::pki::{Authority, KeyChoice, Names, Profile, Validity};
use ringfort::limits::{REFUSALS_MAX, SESSION_BYTES_MAX};
use ringfort::policy::Rules;
use ringfort::tls::provider::{Backend, provider};
use ringfort::trust::scope::{Scope, ScopeOptions};
use ringfort::trust::session::Binding;
use ringfort::trust::store::{SessionStore, Stored};
use ringfort::trust::tickets::{TicketKeys, TicketSecret};
use ringfort::trust::verdict::VerdictCache;
use ringfort::trust::verify::{Anchors, ClientAuth, ClientVerifier, VerifierOptions};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};

fn profile(name: &str) -> Profile {
    let validity = Validity::days(SystemTime::now(), 30).expect("30 days");
    Profile { common_name: name.into(), key: KeyChoice::P256, validity }
}

fn session(bytes: usize) -> Stored {
    let binding = Binding { scope: [0; 32], authenticated_unix_s: 0, client: None };
    Stored { binding, value: vec![0; bytes] }
}

#[test]
fn verdicts_and_refusals_are_bounded() {
    let root = Authority::root(&profile("root")).expect("a root");
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
    use ringfort::trust::verdict::Found;
    assert_eq!(found(&mut cache, Duration::ZERO), Found::Hit);
    assert_eq!(
        found(&mut cache, Duration::from_secs(ringfort::limits::REFUSAL_TTL_S)),
        Found::Miss
    );
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
