//! One certificate chain for each cause of refusal, and handshakes over them in memory.

use std::sync::Mutex;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, NameConstraints, SignatureAlgorithm,
};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection,
};

use super::*;
use crate::metrics::counter::WorkerCounters;
use crate::policy::Rules;
use crate::trust::scope::{Scope, ScopeOptions};
use crate::trust::store::SessionStore;
use crate::trust::visit::{Desk, Resumption, SessionRules, Visit};

const P256: &SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
const DAY: Duration = Duration::from_secs(86_400);

/// The middle of the validity of every certificate here.
fn noon() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_750_000_000))
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([format!("{name}.test")]).expect("a DNS name");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let noon = time::OffsetDateTime::from_unix_timestamp(1_750_000_000).expect("a date");
    params.not_before = noon - DAY;
    params.not_after = noon + DAY;
    params
}

fn leaf_params() -> CertificateParams {
    let mut params = params("client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.subject_alt_names = Vec::new();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).expect("a key")
}

/// An authority and the certificates that lead to it, its own first.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    chain: Vec<CertificateDer<'static>>,
}

impl Ca {
    fn root(params: CertificateParams, key: KeyPair) -> Self {
        let certificate = params.self_signed(&key).expect("a root").der().clone();
        Self { issuer: Issuer::new(params, key), chain: vec![certificate] }
    }

    fn below(&self, params: CertificateParams, key: KeyPair) -> Self {
        let mut chain = vec![self.sign(&params, &key)];
        chain.extend_from_slice(&self.chain);
        Self { issuer: Issuer::new(params, key), chain }
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
        let certificate = params.signed_by(key, &self.issuer);
        certificate.expect("a certificate").der().clone()
    }

    /// A leaf with `params` and everything up to, but without, the root.
    fn chain_of(&self, params: &CertificateParams, key: &KeyPair) -> Vec<CertificateDer<'static>> {
        let mut chain = vec![self.sign(params, key)];
        chain.extend_from_slice(&self.chain[..self.chain.len() - 1]);
        chain
    }

    fn anchor(&self) -> &CertificateDer<'static> {
        self.chain.last().expect("the root itself")
    }
}

fn keys(types: &[KeyType]) -> KeyRules {
    KeyRules { types: types.to_vec(), rsa_bits_min: 2048 }
}

fn options(
    anchors: &RootCertStore,
    mode: ClientAuth,
    chain_certificates_max: usize,
    keys: KeyRules,
) -> VerifierOptions {
    let options = VerifierOptions::new(Anchors::new(anchors), mode, Arc::new(default_provider()));
    VerifierOptions { chain_certificates_max, keys, ..options }
}

fn verifier(root: &Ca, mode: ClientAuth, keys: KeyRules) -> ClientVerifier {
    let mut anchors = RootCertStore::empty();
    anchors.add(root.anchor().clone()).expect("an anchor");
    ClientVerifier::new(options(&anchors, mode, 3, keys)).expect("a verifier")
}

fn p256_verifier(root: &Ca) -> ClientVerifier {
    verifier(root, ClientAuth::Require, keys(&[KeyType::EcdsaP256]))
}

fn verify(
    verifier: &ClientVerifier,
    chain: &[CertificateDer<'static>],
    now: UnixTime,
) -> Result<(), Refusal> {
    let verified = verifier.verify(&chain[0], &chain[1..], now, &any_path);
    verified.map(|_| ()).map_err(|refused| refused.refusal)
}

fn p256_root() -> Ca {
    Ca::root(ca_params("root"), key(P256))
}

/// The steps that are told of a chain, in words, and whether it was accepted.
fn told(
    verifier: &ClientVerifier,
    chain: &[CertificateDer<'_>],
    check: PathCheck<'_>,
) -> (Vec<String>, bool) {
    let steps = RefCell::new(Vec::new());
    let witness = |step: Step<'_>| {
        steps.borrow_mut().push(match step {
            Step::Counted { certificates, certificates_max } => {
                format!("{certificates} of {certificates_max}")
            }
            Step::KeyAccepted { position, is_anchors } => format!("key {position} {is_anchors}"),
            Step::PathFound(path) => {
                assert_eq!(path.certificates(), chain[..2], "the leaf first, without the anchor");
                format!("path to {}", path.anchor())
            }
            Step::DomainAccepted { domain } => format!("domain {domain:?}"),
            Step::Described(chain) => format!("{} links", chain.links.len()),
            Step::PathRefused => "given up".to_owned(),
        });
    };
    let (leaf, rest) = chain.split_first().expect("a leaf");
    let verified = verifier.verify_witnessed(leaf, rest, noon(), check, &witness);
    (steps.into_inner(), verified.is_ok())
}

#[test]
fn a_witness_is_told_what_was_passed_and_nothing_beyond() {
    let root = Ca::root(ca_params("root"), key(P256));
    let below = root.below(ca_params("below"), key(P256));
    let mut chain = below.chain_of(&leaf_params(), &key(P256));
    chain.push(root.anchor().clone());
    let strict = verifier(&root, ClientAuth::Require, keys(&[KeyType::EcdsaP256]));
    let keys_passed = ["3 of 3", "key 0 false", "key 1 false", "key 2 false"];
    let path = ["path to CN=root", "domain None", "2 links"];
    let all = [&keys_passed[..], &path].concat();
    assert_eq!(told(&strict, &chain, &any_path), (owned(&all), true));
    let none = |_: &VerifiedChain| Err(Refused::new(Refusal::CrlMissing, String::new()));
    // Without the root, through which there would be a second path.
    let given_up = [&["2 of 3"], &keys_passed[1..3], &path, &["given up"]].concat();
    assert_eq!(told(&strict, &chain[..2], &none), (owned(&given_up), false));
    let leaf_only = [chain[0].clone()];
    assert_eq!(told(&strict, &leaf_only, &any_path), (owned(&["1 of 3", "key 0 false"]), false));
    // The root's key is exempt, the leaf's is not.
    let other = verifier(&root, ClientAuth::Require, keys(&[KeyType::Rsa]));
    assert_eq!(told(&other, &chain, &any_path), (owned(&["3 of 3"]), false));
    assert_eq!(told(&strict, &vec![chain[0].clone(); 5], &any_path), (Vec::new(), false));
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_leaf_and_its_intermediate_are_accepted_with_and_without_the_root() {
    let root = p256_root();
    let intermediate = root.below(ca_params("issuing"), key(P256));
    let mut chain = intermediate.chain_of(&leaf_params(), &key(P256));
    let verifier = p256_verifier(&root);
    assert_eq!(verify(&verifier, &chain, noon()), Ok(()));
    chain.push(root.anchor().clone());
    assert_eq!(verify(&verifier, &chain, noon()), Ok(()));
}

#[test]
fn the_validity_of_the_chain_is_checked_against_the_time_that_is_passed_in() {
    let root = p256_root();
    let chain = root.chain_of(&leaf_params(), &key(P256));
    let verifier = p256_verifier(&root);
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let late = at(1_750_000_000 + 86_401);
    let early = at(1_750_000_000 - 86_401);
    assert_eq!(verify(&verifier, &chain, late), Err(Refusal::Expired));
    assert_eq!(verify(&verifier, &chain, early), Err(Refusal::NotYetValid));
}

#[test]
fn an_unknown_authority_is_told_from_a_self_signed_leaf_and_from_a_forged_name() {
    let root = p256_root();
    let verifier = p256_verifier(&root);

    let stranger = Ca::root(ca_params("stranger"), key(P256));
    let chain = stranger.chain_of(&leaf_params(), &key(P256));
    assert_eq!(verify(&verifier, &chain, noon()), Err(Refusal::UnknownAnchor));

    for params in [leaf_params(), ca_params("alone")] {
        let alone = params.self_signed(&key(P256)).expect("a certificate").der().clone();
        assert_eq!(verify(&verifier, &[alone], noon()), Err(Refusal::SelfSigned));
    }

    let namesake = p256_root();
    let chain = namesake.chain_of(&leaf_params(), &key(P256));
    assert_eq!(verify(&verifier, &chain, noon()), Err(Refusal::BadSignature));
}

#[test]
fn the_purpose_of_the_chain_must_include_client_authentication() {
    let root = p256_root();
    let verifier = p256_verifier(&root);
    let mut server_only = leaf_params();
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let chain = root.chain_of(&server_only, &key(P256));
    assert_eq!(verify(&verifier, &chain, noon()), Err(Refusal::EkuLacksClientAuth));
}

#[test]
fn an_authority_is_no_leaf_and_a_leaf_is_no_authority() {
    let root = p256_root();
    let verifier = p256_verifier(&root);
    let issuing = root.below(ca_params("issuing"), key(P256));
    assert_eq!(verify(&verifier, &issuing.chain[..1], noon()), Err(Refusal::CaAsLeaf));
    assert_eq!(verify(&verifier, &[root.anchor().clone()], noon()), Err(Refusal::CaAsLeaf));

    let impostor = root.below(leaf_params(), key(P256));
    let mut below = leaf_params();
    below.distinguished_name.push(DnType::CommonName, "below");
    let chain = impostor.chain_of(&below, &key(P256));
    assert_eq!(verify(&verifier, &chain, noon()), Err(Refusal::LeafAsCa));
}

#[test]
fn constraints_of_the_issuers_are_kept() {
    let root = p256_root();
    let verifier = p256_verifier(&root);

    let mut last = ca_params("last");
    last.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let beyond = root.below(last, key(P256)).below(ca_params("beyond"), key(P256));
    let chain = beyond.chain_of(&leaf_params(), &key(P256));
    assert_eq!(verify(&verifier, &chain, noon()), Err(Refusal::PathLength));

    let mut elsewhere = ca_params("elsewhere");
    elsewhere.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("example.org".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let constrained = root.below(elsewhere, key(P256));
    let chain = constrained.chain_of(&leaf_params(), &key(P256));
    assert_eq!(verify(&verifier, &chain, noon()), Err(Refusal::NameConstraint));
}

#[test]
fn a_critical_extension_that_is_not_understood_is_refused() {
    let root = p256_root();
    let mut params = leaf_params();
    let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 9999, 1], vec![5, 0]);
    unknown.set_criticality(true);
    params.custom_extensions = vec![unknown];
    let chain = root.chain_of(&params, &key(P256));
    let refused = verify(&p256_verifier(&root), &chain, noon());
    assert_eq!(refused, Err(Refusal::UnknownCriticalExtension));
}

#[test]
fn the_chain_is_counted_before_anything_else_is_looked_at() {
    let root = p256_root();
    let rubbish = CertificateDer::from(vec![0; 8]);
    let verifier = p256_verifier(&root);
    let refused = verify(&verifier, &vec![rubbish.clone(); 4], noon());
    assert_eq!(refused, Err(Refusal::ChainTooLong));
    let refused = verify(&verifier, &vec![rubbish; 3], noon());
    assert_eq!(refused, Err(Refusal::Malformed));
}

#[test]
fn a_broken_intermediate_is_refused_even_where_the_leaf_does_not_need_it() {
    let root = p256_root();
    let mut chain = root.chain_of(&leaf_params(), &key(P256));
    chain.push(CertificateDer::from(vec![0x30, 0]));
    let refused = verify(&p256_verifier(&root), &chain, noon());
    assert_eq!(refused, Err(Refusal::Malformed));
}

#[test]
fn key_types_and_sizes_are_checked_on_leaf_and_intermediates_but_not_on_anchors() {
    const RSA: &SignatureAlgorithm = &rcgen::PKCS_RSA_SHA256;
    let root = Ca::root(ca_params("root"), key(RSA));
    let rsa_leaf = root.chain_of(&leaf_params(), &key(RSA));
    let p256_leaf = root.chain_of(&leaf_params(), &key(P256));
    let rsa_issuing = root.below(ca_params("issuing"), key(RSA));
    let below_rsa = rsa_issuing.chain_of(&leaf_params(), &key(P256));
    let with_root = [&p256_leaf[..], &[root.anchor().clone()]].concat();

    let ecdsa_only = p256_verifier(&root);
    let refused = Err(Refusal::KeyTypeRefused);
    assert_eq!(verify(&ecdsa_only, &rsa_leaf, noon()), refused);
    assert_eq!(verify(&ecdsa_only, &below_rsa, noon()), refused);
    assert_eq!(verify(&ecdsa_only, &p256_leaf, noon()), Ok(()));
    assert_eq!(verify(&ecdsa_only, &with_root, noon()), Ok(()));

    let mut rules = keys(&[KeyType::EcdsaP256, KeyType::Rsa]);
    let with_rsa = verifier(&root, ClientAuth::Require, rules.clone());
    assert_eq!(verify(&with_rsa, &rsa_leaf, noon()), Ok(()));
    rules.rsa_bits_min = 3072;
    let with_long_rsa = verifier(&root, ClientAuth::Require, rules);
    assert_eq!(verify(&with_long_rsa, &rsa_leaf, noon()), Err(Refusal::KeyTooSmall));
    assert_eq!(verify(&with_long_rsa, &below_rsa, noon()), Err(Refusal::KeyTooSmall));
    assert_eq!(verify(&with_long_rsa, &p256_leaf, noon()), Ok(()));
}

#[test]
fn settings_that_no_client_could_fulfil_are_refused() {
    let root = p256_root();
    let mut anchors = RootCertStore::empty();
    let new = |anchors: &RootCertStore, mode, chain_max, types: &[KeyType]| {
        ClientVerifier::new(options(anchors, mode, chain_max, keys(types))).map(|_| ())
    };
    let (require, p256) = (ClientAuth::Require, [KeyType::EcdsaP256]);
    assert_eq!(new(&anchors, require, 3, &p256), Err(VerifierError::NoAnchors));
    anchors.add(root.anchor().clone()).expect("an anchor");
    assert_eq!(new(&anchors, require, 3, &[]), Err(VerifierError::NoKeyTypes));
    assert_eq!(new(&anchors, require, 0, &p256), Err(VerifierError::ChainBound(0)));
    assert_eq!(new(&anchors, require, 17, &p256), Err(VerifierError::ChainBound(17)));
    assert_eq!(new(&anchors, ClientAuth::Off, 3, &p256), Err(VerifierError::Off));
    assert_eq!(new(&anchors, require, 3, &p256), Ok(()));
}

#[derive(Debug, Default)]
struct Journal(Mutex<Vec<String>>);

impl Journal {
    fn add(&self, line: String) {
        self.0.lock().expect("no panic while writing").push(line);
    }
}

impl VerifyObserver for Journal {
    fn verification_started(&self) {
        self.add("chain".to_owned());
    }

    fn verification_finished(&self, outcome: Result<(), Refusal>) {
        self.add(format!("chain {outcome:?}"));
    }

    fn signature_started(&self) {
        self.add("signature".to_owned());
    }

    fn signature_finished(&self, outcome: Result<(), Refusal>) {
        self.add(format!("signature {outcome:?}"));
    }
}

#[derive(Debug)]
struct Noon;

impl rustls::time_provider::TimeProvider for Noon {
    fn current_time(&self) -> Option<UnixTime> {
        Some(noon())
    }
}

/// A visit of a listener that has nothing to demand but a certificate.
fn visit(verifier: ClientVerifier) -> Arc<Visit> {
    let provider = default_provider();
    let scope = Scope::new(ScopeOptions {
        name: "tests".into(),
        verifier: Some(Arc::new(verifier)),
        rules: Rules::unrestricted(),
        revocation: Arc::default(),
    });
    let sessions = SessionRules { mode: Resumption::Off, age_max_s: 1, tickets: 0 };
    let desk = Desk::new(4, Arc::new(SessionStore::new(0)), WorkerCounters::new());
    Visit::new(Arc::new(scope), sessions, desk, Arc::new(Noon), provider.secure_random)
}

/// Both ends' results of a handshake in memory.
struct Handshake {
    server: Result<(), Error>,
    client: Result<(), Error>,
}

fn handshake(
    verifier: ClientVerifier,
    root: &Ca,
    client: Option<(Vec<CertificateDer<'static>>, &KeyPair)>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Handshake {
    let provider = Arc::new(default_provider());
    let private =
        |key: &KeyPair| PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));

    let server_key = key(P256);
    let server_chain = root.chain_of(&params("server"), &server_key);
    let server = ServerConfig::builder_with_details(provider.clone(), Arc::new(Noon))
        .with_protocol_versions(&[version])
        .expect("a version of the provider")
        .with_client_cert_verifier(visit(verifier))
        .with_single_cert(server_chain, private(&server_key))
        .expect("a server configuration");

    let mut anchors = RootCertStore::empty();
    anchors.add(root.anchor().clone()).expect("an anchor");
    let builder = ClientConfig::builder_with_details(provider.clone(), Arc::new(Noon))
        .with_protocol_versions(&[version])
        .expect("a version of the provider")
        .with_root_certificates(anchors);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let signer = provider.key_provider.load_private_key(private(key));
            // Not `CertifiedKey::from_der`: a test presents a chain with another one's key.
            let certified = CertifiedKey::new(chain, signer.expect("a signing key"));
            let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(certified));
            builder.with_client_cert_resolver(resolver)
        }
    };
    let name = "server.test".try_into().expect("a server name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let server = ServerConnection::new(Arc::new(server)).expect("a server");
    run(client.into(), server.into())
}

fn run(mut client: Connection, mut server: Connection) -> Handshake {
    let mut results = Handshake { server: Ok(()), client: Ok(()) };
    // More flights than any handshake has; tickets and alerts included.
    for _ in 0..6 {
        move_bytes(&mut client, &mut server, &mut results.server);
        move_bytes(&mut server, &mut client, &mut results.client);
    }
    results
}

fn move_bytes(from: &mut Connection, to: &mut Connection, result: &mut Result<(), Error>) {
    while from.wants_write() {
        let mut bytes = Vec::new();
        from.write_tls(&mut bytes).expect("writing to memory");
        let mut bytes = &bytes[..];
        while !bytes.is_empty() && result.is_ok() {
            to.read_tls(&mut bytes).expect("reading from memory");
            *result = to.process_new_packets().map(|_| ());
        }
    }
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn the_observer_sees_the_chain_and_the_signature_of_a_good_handshake() {
    let root = p256_root();
    let client_key = key(P256);
    let chain = root.chain_of(&leaf_params(), &client_key);
    for version in VERSIONS {
        let journal = Arc::new(Journal::default());
        let verifier = p256_verifier(&root).observed(journal.clone());
        let done = handshake(verifier, &root, Some((chain.clone(), &client_key)), version);
        assert_eq!((done.server, done.client), (Ok(()), Ok(())));
        let lines = journal.0.lock().expect("no panic while writing");
        assert_eq!(*lines, ["chain", "chain Ok(())", "signature", "signature Ok(())"]);
    }
}

#[test]
fn a_client_that_lacks_the_private_key_is_told_from_a_forged_chain() {
    let root = p256_root();
    let chain = root.chain_of(&leaf_params(), &key(P256));
    for version in VERSIONS {
        let journal = Arc::new(Journal::default());
        let verifier = p256_verifier(&root).observed(journal.clone());
        let done = handshake(verifier, &root, Some((chain.clone(), &key(P256))), version);
        let error = done.server.expect_err("the signature is another key's");
        assert_eq!(refusal_of(&error), Some(Refusal::KeyNotProven));
        // RFC 8446, 4.4.3: "the receiver MUST terminate the handshake with a decrypt_error alert".
        let alert = Err(Error::AlertReceived(AlertDescription::DecryptError));
        assert_eq!(done.client, alert);
        let lines = journal.0.lock().expect("no panic while writing");
        assert_eq!(lines[3], "signature Err(KeyNotProven)");
    }
}

#[test]
fn a_missing_certificate_is_refused_where_it_is_required_and_accepted_where_it_is_optional() {
    let root = p256_root();
    for version in VERSIONS {
        let done = handshake(p256_verifier(&root), &root, None, version);
        let error = done.server.expect_err("a certificate is required");
        assert_eq!(refusal_of(&error), Some(Refusal::CertificateMissing));

        let optional = verifier(&root, ClientAuth::Optional, keys(&[KeyType::EcdsaP256]));
        let done = handshake(optional, &root, None, version);
        assert_eq!((done.server, done.client), (Ok(()), Ok(())));
    }
}

#[test]
fn the_refusal_of_a_chain_survives_the_connection_and_an_alert_says_so() {
    let root = p256_root();
    let stranger = Ca::root(ca_params("root"), key(P256));
    let client_key = key(P256);
    let mut expired = leaf_params();
    expired.not_after = expired.not_before + DAY / 2;
    let alone = leaf_params().self_signed(&client_key).expect("a certificate");
    for (chain, refusal, alert) in [
        (
            root.chain_of(&expired, &client_key),
            Refusal::Expired,
            AlertDescription::CertificateExpired,
        ),
        (
            stranger.chain_of(&leaf_params(), &client_key),
            Refusal::BadSignature,
            AlertDescription::CertificateUnknown,
        ),
        (vec![alone.der().clone()], Refusal::SelfSigned, AlertDescription::CertificateUnknown),
    ] {
        let client = Some((chain, &client_key));
        let done = handshake(p256_verifier(&root), &root, client, &rustls::version::TLS13);
        let error = done.server.expect_err("the chain is not in order");
        assert_eq!(refusal_of(&error), Some(refusal), "{error}");
        assert_eq!(done.client, Err(Error::AlertReceived(alert)));
    }
}

#[test]
fn the_anchors_are_sent_as_hints_and_other_errors_are_no_refusals() {
    let root = p256_root();
    let verifier = p256_verifier(&root);
    assert_eq!(verifier.root_hint_subjects().len(), 1);
    assert_eq!(refusal_of(&Error::DecryptError), None);
    let refusal = |error| refusal_of(&refused::from_webpki(error));
    assert_eq!(refusal(webpki::Error::MaximumPathDepthExceeded), Some(Refusal::PathTooComplex));
    assert_eq!(refusal(webpki::Error::UnsupportedDeltaCrl), Some(Refusal::Other));
}
