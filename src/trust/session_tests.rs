//! Tests of `trust::session`: the encoding, and when a session may be resumed.

use proptest::prelude::*;

use super::*;
use crate::limits::CHAIN_CERTIFICATES_MAX;
use crate::policy::Rules;
use crate::trust::crl::Revoked;
use crate::trust::kit::{Ca, Demands, HALF, NOON, at, patterns, revocation};
use crate::trust::verdict::judge;

fn link() -> impl Strategy<Value = Link> {
    (any::<[u8; 32]>(), any::<[u8; SERIAL_BYTES_MAX]>()).prop_map(|(issuer, serial)| Link {
        issuer: IssuerId::from_bytes(issuer),
        serial: Serial::from_bytes(serial),
    })
}

prop_compose! {
    fn client()(
        verdict: Hash,
        not_before_unix_s: i64,
        not_after_unix_s: i64,
        anchor: [u8; 32],
        links in prop::collection::vec(link(), 1..=CHAIN_CERTIFICATES_MAX + 1),
    ) -> BoundClient {
        let (anchor, links) = (IssuerId::from_bytes(anchor), links.into_boxed_slice());
        let chain = VerifiedChain { not_before_unix_s, not_after_unix_s, anchor, links };
        BoundClient { verdict, chain }
    }
}

prop_compose! {
    fn binding()(
        scope: Hash,
        authenticated_unix_s: i64,
        client in prop::option::of(client()),
    ) -> Binding {
        Binding { scope, authenticated_unix_s, client }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_and_what_follows_is_left(
        binding in binding(),
        before: Vec<u8>,
        behind: Vec<u8>,
    ) {
        let mut bytes = before.clone();
        binding.encode(&mut bytes);
        bytes.extend_from_slice(&behind);
        let decoded = Binding::decode(&bytes[before.len()..]);
        prop_assert_eq!(decoded, Some((binding, &behind[..])));
    }

    #[test]
    fn what_is_cut_short_is_not_decoded(binding in binding(), cut: prop::sample::Index) {
        let mut bytes = Vec::new();
        binding.encode(&mut bytes);
        prop_assert_eq!(Binding::decode(&bytes[..cut.index(bytes.len())]), None);
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(mut bytes: Vec<u8>, ours: bool) {
        if let (true, Some(first)) = (ours, bytes.first_mut()) {
            *first = ENCODING;
        }
        if let Some((binding, rest)) = Binding::decode(&bytes) {
            let mut again = Vec::new();
            binding.encode(&mut again);
            prop_assert_eq!([&again[..], rest].concat(), bytes);
        }
    }
}

/// A session of a client of `ca`, by a full handshake at noon.
fn session(scope: &Scope, ca: &Ca, serial: u64) -> Binding {
    let verifier = scope.verifier().expect("clients are asked");
    let leaf = ca.client("client.test", serial);
    let verdict = judge(scope, verifier, &leaf, &[], at(0)).expect("in order");
    let (scope, client) = (*scope.hash(), Some(verdict.bound()));
    Binding { scope, authenticated_unix_s: NOON.cast_signed(), client }
}

#[test]
fn where_nothing_has_changed_it_may_be_resumed_until_its_age() {
    let ca = Ca::new("root");
    let scope = Demands::of(&ca).scope();
    let session = session(&scope, &ca, 1);
    for (seconds, expected) in [
        (0, Ok(())),
        (600, Ok(())),
        (601, Err(Declined::Age)),
        (1_000_000, Err(Declined::Age)),
        // Another gateway's clock may be ahead, but not by much.
        (-SESSION_SKEW_S_MAX, Ok(())),
        (-SESSION_SKEW_S_MAX - 1, Err(Declined::Age)),
    ] {
        assert_eq!(session.check(&scope, 600, at(seconds)), expected, "after {seconds} s");
    }
    let ages = [i64::MIN, i64::MIN + 1, -1, i64::MAX - 1, i64::MAX];
    for authenticated_unix_s in ages {
        let odd = Binding { authenticated_unix_s, ..session.clone() };
        assert_eq!(odd.check(&scope, 600, at(0)), Err(Declined::Age), "{authenticated_unix_s}");
    }
}

#[test]
fn where_the_demands_have_changed_it_may_not() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let session = session(&Demands::of(&ca).scope(), &ca, 1);
    let rules = Rules::unrestricted().and_deny(patterns(&["dns:client.test"]));
    let wider = Rules::allow(patterns(&["any"]));
    for changed in [
        Demands { name: "other", ..Demands::of(&ca) },
        Demands { rules, ..Demands::of(&ca) },
        Demands { rules: wider, ..Demands::of(&ca) },
        Demands { mode: super::super::verify::ClientAuth::Optional, ..Demands::of(&ca) },
        Demands::of(&other),
    ] {
        let checked = session.check(&changed.scope(), 600, at(0));
        assert_eq!(checked, Err(Declined::Scope), "{}", changed.name);
    }
}

#[test]
fn where_the_chain_has_lapsed_it_may_not() {
    let ca = Ca::new("root");
    let base = || Demands::of(&ca);
    let session = session(&base().scope(), &ca, 7);
    let half = HALF.cast_signed();
    let long = u32::MAX;
    assert_eq!(session.check(&base().scope(), long, at(half)), Ok(()));
    let expired = session.check(&base().scope(), long, at(half + 1));
    assert_eq!(expired, Err(Declined::Lapsed(Lapsed::Expired)));
    let mut early = session.clone();
    early.authenticated_unix_s -= 2 * half;
    let early = early.check(&base().scope(), long, at(-half - 1));
    assert_eq!(early, Err(Declined::Lapsed(Lapsed::NotYetValid)));

    let check = |list: &std::sync::Arc<crate::trust::crl::RevocationList>| {
        let scope = Demands { revocation: revocation(&[list]), ..base() }.scope();
        session.check(&scope, 600, at(0))
    };
    assert_eq!(check(&ca.list(&[8], -60, 600)), Ok(()));
    let revoked = check(&ca.list(&[7], -60, 600));
    assert!(matches!(revoked, Err(Declined::Lapsed(Lapsed::Revocation(Revoked::Revoked { .. })))));
    let stale = check(&ca.list(&[], -60, -30));
    assert!(matches!(stale, Err(Declined::Lapsed(Lapsed::Revocation(Revoked::Stale { .. })))));
    let missing = check(&Ca::new("other").list(&[], -60, 600));
    assert!(matches!(missing, Err(Declined::Lapsed(Lapsed::Revocation(Revoked::Missing { .. })))));
}

#[test]
fn a_session_without_a_client_depends_on_scope_and_age_only() {
    let ca = Ca::new("root");
    let scope = Demands { mode: super::super::verify::ClientAuth::Optional, ..Demands::of(&ca) };
    let scope = scope.scope();
    let authenticated_unix_s = NOON.cast_signed();
    let session = Binding { scope: *scope.hash(), authenticated_unix_s, client: None };
    assert_eq!(session.check(&scope, 600, at(600)), Ok(()));
    assert_eq!(session.check(&scope, 600, at(601)), Err(Declined::Age));
    let required = Demands::of(&ca).scope();
    assert_eq!(session.check(&required, 600, at(0)), Err(Declined::Scope));
}
