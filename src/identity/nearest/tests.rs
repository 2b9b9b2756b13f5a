//! Tests with chains that each lack something else.

use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair,
};

use super::*;
use crate::limits::DETAIL_BYTES_MAX;

type Der = CertificateDer<'static>;

/// An authority, or a client, with its key.
struct Party {
    params: CertificateParams,
    key: KeyPair,
    der: Der,
}

fn params(name: &[(DnType, DnValue)], is_authority: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in name {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    params.use_authority_key_identifier_extension = true;
    if is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

fn common_name(name: &str) -> Vec<(DnType, DnValue)> {
    vec![(DnType::CommonName, name.into())]
}

fn root(name: &[(DnType, DnValue)]) -> Party {
    let (params, key) = (params(name, true), KeyPair::generate().expect("a key"));
    let der = params.self_signed(&key).expect("a root").der().clone();
    Party { params, key, der }
}

fn issue(issuer: &Party, params: CertificateParams) -> Party {
    let key = KeyPair::generate().expect("a key");
    let signer = Issuer::from_params(&issuer.params, &issuer.key);
    let der = params.signed_by(&key, &signer).expect("a certificate").der().clone();
    Party { params, key, der }
}

fn intermediate(issuer: &Party, name: &str) -> Party {
    issue(issuer, params(&common_name(name), true))
}

fn client(issuer: &Party) -> Party {
    issue(issuer, params(&common_name("client"), false))
}

/// What [`nearest`] says of these certificates where these are the anchors.
fn hint(chain: &[&Der], anchors: &[&Der]) -> Option<Hint> {
    let chain: Vec<Der> = chain.iter().map(|der| (*der).clone()).collect();
    let labels: Vec<String> = (1..=anchors.len()).map(|n| format!("ca.pem, {n}")).collect();
    let parsed: Vec<_> = anchors.iter().map(|der| parse(der).expect("an anchor")).collect();
    let candidates: Vec<_> = parsed
        .iter()
        .zip(&labels)
        .map(|(anchor, label)| Candidate {
            subject: anchor.subject.as_raw(),
            spki: anchor.subject_pki.raw,
            key_id: key_ids(anchor).expect("identifiers").subject,
            label,
        })
        .collect();
    let said = nearest(&chain, &candidates);
    // The same without the headers, as rustls keeps them.
    let bare: Vec<_> = candidates
        .iter()
        .map(|it| Candidate { subject: content(it.subject), spki: content(it.spki), ..*it })
        .collect();
    assert_eq!(nearest(&chain, &bare), said);
    if let Some(hint) = &said {
        let text = hint.to_string();
        assert!(text.len() <= DETAIL_BYTES_MAX, "{} bytes: {text}", text.len());
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text}");
    }
    said
}

/// A short SEQUENCE without its header.
fn content(sequence: &[u8]) -> &[u8] {
    match sequence[1] {
        0..=0x7f => &sequence[2..],
        0x81 => &sequence[3..],
        _ => &sequence[4..],
    }
}

#[track_caller]
fn assert_says(said: Option<Hint>, parts: &[&str]) {
    let text = said.expect("a hint").to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

fn id(party: &Party) -> String {
    let parsed = parse(&party.der).expect("a certificate");
    key_id(key_ids(&parsed).expect("identifiers").subject.expect("its own")).into()
}

#[test]
fn a_root_of_the_same_name_with_another_key_was_rotated() {
    let (old, new) = (root(&common_name("root")), root(&common_name("root")));
    let of_old = client(&old);
    let said = hint(&[&of_old.der], &[&new.der]);
    assert_says(said, &["ca.pem, 1 has the name CN=root and another key", &id(&old), &id(&new)]);
    // The old root sent along changes nothing, nor does another one of the name that fits not.
    let said = hint(&[&of_old.der, &old.der], &[&new.der]);
    assert_says(said, &["another key", &id(&old), &id(&new)]);
    // Both are there: names and keys lead to an anchor.
    let said = hint(&[&of_old.der], &[&new.der, &old.der]);
    assert_eq!(said, Some(Hint::NotSignedBy { label: "ca.pem, 2".into() }));
    assert_eq!(hint(&[&of_old.der, &old.der], &[&new.der, &old.der]), None);
}

#[test]
fn a_missing_intermediate_is_named_with_its_key() {
    let root = root(&common_name("root"));
    let between = intermediate(&root, "between");
    let said = hint(&[&client(&between).der], &[&root.der]);
    assert_says(said.clone(), &["issuer CN=between is neither in the chain nor an anchor"]);
    assert_says(said, &[&id(&between)]);
    // Of two, the first is there.
    let second = intermediate(&between, "second");
    let said = hint(&[&client(&second).der, &second.der], &[&root.der]);
    assert_says(said, &["issuer CN=between is neither in the chain"]);
}

#[test]
fn a_client_that_sends_only_an_authority_or_that_first_is_told_so() {
    let root = root(&common_name("root"));
    let between = intermediate(&root, "between");
    let leaf = client(&between);
    let said = hint(&[&between.der], &[&root.der]);
    assert_says(said, &["the client sent only the certificate of the authority CN=between"]);
    let said = hint(&[&between.der, &leaf.der], &[&root.der]);
    assert_says(said, &["client's own certificate is number 2 of its chain, and must be first"]);
    let said = hint(&[&root.der, &between.der, &leaf.der], &[&root.der]);
    assert_eq!(said, Some(Hint::LeafNotFirst { position: 3 }));
}

#[test]
fn a_certificate_that_issued_itself_is_named_with_or_without_authority() {
    let anchor = root(&common_name("root"));
    for is_authority in [false, true] {
        let key = KeyPair::generate().expect("a key");
        let params = params(&common_name("client"), is_authority);
        let der = params.self_signed(&key).expect("a certificate").der().clone();
        assert_says(hint(&[&der], &[&anchor.der]), &["CN=client was issued by itself"]);
    }
}

#[test]
fn certificates_that_do_not_belong_to_the_chain_are_named() {
    let (root, other) = (root(&common_name("root")), root(&common_name("elsewhere")));
    let between = intermediate(&root, "between");
    let unrelated = intermediate(&other, "unrelated");
    let leaf = client(&between);
    let said = hint(&[&leaf.der, &unrelated.der], &[&root.der]);
    assert_says(said, &["issuer CN=between is missing", "the client sent CN=unrelated instead"]);
    // Out of order, but all there: order is no reason.
    let second = intermediate(&between, "second");
    let all = [&client(&second).der, &between.der, &second.der];
    assert_eq!(hint(&all, &[&root.der]), Some(Hint::NotSignedBy { label: "ca.pem, 1".into() }));
}

#[test]
fn an_intermediate_of_the_same_name_with_another_key_is_told_from_a_missing_one() {
    let root = root(&common_name("root"));
    let (one, other) = (intermediate(&root, "between"), intermediate(&root, "between"));
    let leaf = client(&one);
    let said = hint(&[&leaf.der, &other.der], &[&root.der]);
    assert_says(said, &["the chain needs CN=between with key", &id(&one), &id(&other)]);
    // The right one is there too: which of the two comes first does not matter.
    let said = hint(&[&leaf.der, &other.der, &one.der], &[&root.der]);
    assert_eq!(said, Some(Hint::NotSignedBy { label: "ca.pem, 1".into() }));
}

#[test]
fn a_root_that_the_client_sent_and_nobody_trusts_is_named() {
    let (root, anchor) = (root(&common_name("mine")), root(&common_name("yours")));
    let said = hint(&[&client(&root).der, &root.der], &[&anchor.der]);
    assert_eq!(said, Some(Hint::RootUnknown { root: "CN=mine".into(), similar: None }));
}

#[test]
fn an_anchor_with_the_key_that_is_wanted_and_another_name_is_named() {
    let old = root(&common_name("old name"));
    let params = params(&common_name("new name"), true);
    let renamed = params.self_signed(&old.key).expect("a root").der().clone();
    let said = hint(&[&client(&old).der], &[&renamed]);
    let expected = "ca.pem, 1 has the key of the issuer CN=old name, and another name";
    assert_says(said, &[expected]);
}

#[test]
fn an_anchor_of_nearly_the_same_name_is_named_and_a_mere_relative_is_not() {
    let name = |cn: &str, o: &str| {
        vec![(DnType::OrganizationName, o.into()), (DnType::CommonName, cn.into())]
    };
    let leaf = client(&root(&name("Root G1", "Example")));
    for (anchor, expected) in [
        (name("ROOT G1", "Example"), Some("ca.pem, 2 differs in case or spaces: CN=ROOT G1")),
        (name("Root G2", "Example"), Some("ca.pem, 2 has a similar name: CN=Root G2")),
        (name("Root G1", "Example Inc"), Some("ca.pem, 2 has a similar name: CN=Root G1")),
        (name("Issuing CA", "Example"), None),
        (name("Root G2", "Other"), None),
        (common_name("Root G1"), None),
    ] {
        let (far, near) = (root(&common_name("far")), root(&anchor));
        let said = hint(&[&leaf.der], &[&far.der, &near.der]).expect("a hint").to_string();
        assert!(said.contains("the issuer CN=Root G1,O=Example is neither"), "{said}");
        match expected {
            Some(expected) => assert!(said.contains(expected), "{said}"),
            None => assert!(!said.contains("ca.pem"), "{said}"),
        }
    }
    let printable = DnValue::PrintableString("root".try_into().expect("printable"));
    let (one, other) = (root(&common_name("root")), root(&[(DnType::CommonName, printable)]));
    let said = hint(&[&client(&one).der], &[&other.der]);
    assert_says(said, &["ca.pem, 1 has that name in another encoding"]);
}

#[test]
fn what_cannot_be_read_has_no_hint_and_long_names_are_cut() {
    let root_one = root(&common_name("root"));
    assert_eq!(hint(&[], &[&root_one.der]), None);
    assert_eq!(hint(&[&Der::from(vec![0x30, 0])], &[&root_one.der]), None);
    let garbage = Der::from(vec![0x30, 0]);
    let leaf = client(&intermediate(&root_one, "between"));
    let said = hint(&[&leaf.der, &garbage], &[&root_one.der]);
    assert_says(said, &["CN=between is neither in the chain"]);
    let long = "\u{202e}\u{fc}".repeat(200);
    let (one, mut other) = (root(&common_name(&long)), long);
    other.push('x');
    let said = hint(&[&client(&one).der], &[&root(&common_name(&other)).der]);
    assert_says(said, &["...", "has a similar name"]);
    let said = hint(&[&client(&one).der], &[&root(&common_name(&one_name(&one))).der]);
    assert_says(said, &["another key", "..."]);
}

fn one_name(party: &Party) -> String {
    match party.params.distinguished_name.get(&DnType::CommonName) {
        Some(DnValue::Utf8String(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn damaged_chains_never_panic_and_their_hints_stay_printable(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
    ) {
        static GOOD: LazyLock<[Der; 4]> = LazyLock::new(|| {
            let (root, other) = (root(&common_name("root")), root(&common_name("root")));
            let between = intermediate(&root, "between");
            [client(&between).der, between.der, root.der, other.der]
        });
        let mut chain: Vec<Vec<u8>> = order.iter().map(|at| GOOD[*at].to_vec()).collect();
        for (index, byte) in damage {
            let der = &mut chain[index.index(4)];
            let at = index.index(der.len());
            der[at] = byte;
        }
        let chain: Vec<Der> = chain.into_iter().map(Der::from).collect();
        let chain: Vec<&Der> = chain.iter().collect();
        let _ = hint(&chain, &[&GOOD[2], &GOOD[3]]);
        let _ = hint(&chain[..2], &[&GOOD[3]]);
    }
}
