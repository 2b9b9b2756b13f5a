//! Tests of `trust::lease`: for each way in which a client may lapse, how its lease ends.

use super::*;
use crate::policy::Rules;
use crate::trust::crl::RevocationList;
use crate::trust::kit::{Ca, Demands, HALF, NOON, anchors, at, patterns, revocation};
use crate::trust::verdict::judge;
use std::sync::Arc;

/// A client with this serial number, as it was let in at noon.
fn let_in(ca: &Ca, serial: u64) -> Verdict {
    let scope = Demands::of(ca).scope();
    let verifier = scope.verifier().expect("clients are asked");
    let leaf = ca.client("client.test", serial);
    judge(&scope, verifier, &leaf, &[], at(0)).expect("in order")
}

#[test]
fn where_nothing_has_changed_it_stays_until_its_certificate_expires() {
    let ca = Ca::new("root");
    let client = let_in(&ca, 1);
    let scope = Demands::of(&ca).scope();
    let until = (NOON + HALF).cast_signed();
    let half = HALF.cast_signed();
    assert_eq!(check(&scope, Some(&client), at(0)), Ok(Some(until)));
    assert_eq!(check(&scope, Some(&client), at(half)), Ok(Some(until)));
    let late = check(&scope, Some(&client), at(half + 1));
    assert_eq!(late, Err(CloseKind::CertificateExpired));
    let early = check(&scope, Some(&client), at(-half - 1));
    assert_eq!(early, Err(CloseKind::CertificateExpired));
}

#[test]
fn what_a_new_list_says_counts() {
    let ca = Ca::new("root");
    let client = let_in(&ca, 7);
    let judged = |list: &Arc<RevocationList>, seconds| {
        let revocation = revocation(&[list]);
        let scope = Demands { revocation, ..Demands::of(&ca) }.scope();
        check(&scope, Some(&client), at(seconds))
    };
    let clean = ca.list(&[8], -60, 600);
    assert!(judged(&clean, 599).is_ok_and(|until| until < Some((NOON + HALF).cast_signed())));
    assert_eq!(judged(&clean, 600), Err(CloseKind::RevocationUnknown));
    assert_eq!(judged(&ca.list(&[7], -60, 600), 0), Err(CloseKind::Revoked));
    assert_eq!(judged(&ca.list(&[7], -60, -30), 0), Err(CloseKind::Revoked), "stale, but it says");
    let other = Ca::new("other").list(&[], -60, 600);
    assert_eq!(judged(&other, 0), Err(CloseKind::RevocationUnknown));
}

#[test]
fn what_the_listener_demands_now_counts() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let client = let_in(&ca, 1);
    let base = || Demands::of(&ca);
    let gone = Err(CloseKind::NoLongerAllowed);
    let stays = Ok(Some((NOON + HALF).cast_signed()));
    let deny = Rules::unrestricted().and_deny(patterns(&["dns:client.test"]));
    let narrow = ca.again(|params| {
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("elsewhere.test".into())],
            excluded_subtrees: Vec::new(),
        });
    });
    let cases = [
        ("the same", base(), stays),
        ("another name", Demands { name: "other", ..base() }, stays),
        ("denied", Demands { rules: deny, ..base() }, gone),
        ("nobody is", Demands { rules: Rules::allow(Vec::new()), ..base() }, gone),
        ("it is", Demands { rules: Rules::allow(patterns(&["any"])), ..base() }, stays),
        ("others are", Demands { rules: Rules::allow(patterns(&["dns:a.test"])), ..base() }, gone),
        ("another root", Demands { anchors: anchors(&[(&other, None)]), ..base() }, gone),
        (
            "two roots",
            Demands { anchors: anchors(&[(&ca, None), (&other, None)]), ..base() },
            stays,
        ),
        ("bound", Demands { anchors: anchors(&[(&ca, Some("a.test"))]), ..base() }, gone),
        ("constrained", Demands { anchors: anchors(&[(&narrow, None)]), ..base() }, gone),
        ("bounds", Demands { options: |it| it.chain_certificates_max = 1, ..base() }, gone),
        ("optional", Demands { mode: ClientAuth::Optional, ..base() }, stays),
        ("off", Demands { mode: ClientAuth::Off, ..base() }, Ok(None)),
    ];
    for (name, demands, expected) in cases {
        assert_eq!(check(&demands.scope(), Some(&client), at(0)), expected, "{name}");
    }
}

#[test]
fn who_has_no_certificate_stays_where_none_is_asked_for() {
    let ca = Ca::new("root");
    let gone = Err(CloseKind::NoLongerAllowed);
    let rules = || Rules::unrestricted().and_deny(patterns(&["dns:a.test"]));
    for (mode, rules, expected) in [
        (ClientAuth::Require, Rules::unrestricted(), gone),
        (ClientAuth::Optional, Rules::unrestricted(), Ok(None)),
        (ClientAuth::Off, Rules::unrestricted(), Ok(None)),
        (ClientAuth::Optional, rules(), gone),
        (ClientAuth::Off, rules(), gone),
    ] {
        let scope = Demands { mode, rules, ..Demands::of(&ca) }.scope();
        assert_eq!(check(&scope, None, at(0)), expected, "{mode:?}");
    }
}

#[test]
fn a_client_without_an_identity_does_not_stay() {
    let ca = Ca::new("root");
    let mut client = let_in(&ca, 1);
    client.identity = Err(crate::identity::IdentityError::Certificate);
    let judged = check(&Demands::of(&ca).scope(), Some(&client), at(0));
    assert_eq!(judged, Err(CloseKind::NoLongerAllowed));
}
