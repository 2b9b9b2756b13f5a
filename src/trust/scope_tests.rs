//! Tests of `trust::scope`: what is part of its hashes, and what is not.

use rustls::SignatureScheme;

use super::*;
use crate::identity::KeyType;
use crate::trust::kit::{Ca, Demands, anchors, patterns, revocation};
use crate::trust::verify::VerifierOptions;

fn hash(demands: &Demands) -> Hash {
    *demands.scope().hash()
}

#[test]
fn the_same_demands_have_the_same_hash() {
    let ca = Ca::new("root");
    assert_eq!(hash(&Demands::of(&ca)), hash(&Demands::of(&ca)));
}

#[test]
fn each_demand_changes_the_hash() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let base = || Demands::of(&ca);
    let intermediate: fn(&mut VerifierOptions) =
        |options| options.intermediates = vec![vec![0x30, 0].into()];
    let changed = [
        Demands { name: "main/other.test", ..base() },
        Demands { mode: ClientAuth::Optional, ..base() },
        Demands { mode: ClientAuth::Off, ..base() },
        Demands { anchors: anchors(&[(&other, None)]), ..base() },
        Demands { anchors: anchors(&[(&ca, None), (&other, None)]), ..base() },
        Demands { anchors: anchors(&[(&ca, Some("a.test"))]), ..base() },
        Demands { anchors: anchors(&[(&ca, Some("b.test"))]), ..base() },
        Demands { options: intermediate, ..base() },
        Demands { options: |options| options.chain_certificates_max = 5, ..base() },
        Demands { options: |options| options.keys.rsa_bits_min = 3072, ..base() },
        Demands { options: |options| options.keys.types = vec![KeyType::EcdsaP256], ..base() },
        Demands {
            options: |options| options.schemes = Some(vec![SignatureScheme::ED25519]),
            ..base()
        },
        Demands { rules: Rules::allow(Vec::new()), ..base() },
        Demands { rules: Rules::allow(patterns(&["dns:a.test"])), ..base() },
        Demands { rules: Rules::allow(patterns(&["dns:b.test"])), ..base() },
        Demands { rules: Rules::unrestricted().and_deny(patterns(&["dns:a.test"])), ..base() },
    ];
    let mut hashes: Vec<Hash> = changed.iter().map(hash).collect();
    hashes.push(hash(&base()));
    for (index, one) in hashes.iter().enumerate() {
        assert!(!hashes[..index].contains(one), "{index} has the hash of an earlier one");
    }
}

#[test]
fn a_root_whose_names_are_constrained_is_another_root() {
    let ca = Ca::new("root");
    let narrow = ca.again(|params| {
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("elsewhere.test".into())],
            excluded_subtrees: Vec::new(),
        });
    });
    let (before, after) = (Demands::of(&ca).scope(), Demands::of(&narrow).scope());
    assert_ne!(before.hash(), after.hash());
    assert_ne!(before.trust(), after.trust());
}

#[test]
fn what_decides_about_nobody_does_not_change_the_hash() {
    let (ca, other) = (Ca::new("root"), Ca::new("other"));
    let base = || Demands::of(&ca);
    let list = ca.list(&[1], -60, 600);
    for same in [
        Demands { revocation: revocation(&[&list]), ..base() },
        Demands { options: |options| options.send_names = false, ..base() },
        Demands { options: |options| options.keys.types.reverse(), ..base() },
        Demands { anchors: anchors(&[(&ca, None), (&ca, None)]), ..base() },
    ] {
        assert_eq!(hash(&same), hash(&base()));
    }
    let both = |roots: &[(&Ca, Option<&str>)]| hash(&Demands { anchors: anchors(roots), ..base() });
    assert_eq!(both(&[(&ca, None), (&other, None)]), both(&[(&other, None), (&ca, None)]));
    let (a, b) = ((&ca, Some("a.test")), (&ca, Some("b.test")));
    assert_eq!(both(&[a, b]), both(&[b, a]), "one root of two domains");
    let listed = |texts: &[&str]| hash(&Demands { rules: Rules::allow(patterns(texts)), ..base() });
    assert_eq!(listed(&["dns:a.test", "dns:b.test"]), listed(&["dns:b.test", "dns:a.test"]));
    let intermediates =
        |change: fn(&mut VerifierOptions)| hash(&Demands { options: change, ..base() });
    assert_eq!(
        intermediates(|it| it.intermediates = vec![vec![0x30, 0].into(), vec![5, 0].into()]),
        intermediates(|it| it.intermediates = vec![vec![5, 0].into(), vec![0x30, 0].into()]),
    );
}

#[test]
fn bounds_are_a_part_of_trust_and_trust_of_the_hash() {
    let ca = Ca::new("root");
    let base = Demands::of(&ca).scope();
    let bounds = Demands { options: |it| it.chain_certificates_max = 5, ..Demands::of(&ca) };
    let bounds = bounds.scope();
    assert_ne!(base.bounds(), bounds.bounds());
    assert_ne!(base.trust(), bounds.trust());
    let rules = Demands { rules: Rules::allow(Vec::new()), ..Demands::of(&ca) }.scope();
    assert_eq!(base.trust(), rules.trust());
    assert_ne!(base.hash(), rules.hash());
    let renamed = Demands { name: "b", ..Demands::of(&ca) }.scope();
    assert_eq!(base.trust(), renamed.trust(), "a verdict of one listener serves another");
}

#[test]
fn an_anchor_vouches_for_its_trust_domain_only() {
    let (free, bound, other) = (Ca::new("free"), Ca::new("bound"), Ca::new("other"));
    let roots = anchors(&[(&free, None), (&bound, Some("a.test"))]);
    let scope = Demands { anchors: roots, ..Demands::of(&free) }.scope();
    let ids = |ca: &Ca| {
        let anchors = anchors(&[(ca, None)]);
        anchors.ids().next().expect("one").0
    };
    for (ca, domain, expected) in [
        (&free, None, true),
        (&free, Some("b.test"), true),
        (&free, Some("a.test"), false),
        (&bound, None, false),
        (&bound, Some("a.test"), true),
        (&bound, Some("b.test"), false),
        (&other, None, false),
        (&other, Some("a.test"), false),
    ] {
        assert_eq!(scope.has_anchor(&ids(ca), domain), expected, "{domain:?}");
    }
}
