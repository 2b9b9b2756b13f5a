//! Each bad certificate has its own refusal in the log, the client gets an alert, and the
//! upstream is not even connected to.

use std::net::SocketAddr;

use ringfort::Refusal;
use ringfort::cli::pki::{Authority, KeyChoice, Profile};
use ringfort::limits::DETAIL_BYTES_MAX;
use rustls::AlertDescription as Alert;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::Value;

use crate::harness::pki::{dns, profile, write_root};
use crate::harness::programs::{OpenSsl, curl, url};
use crate::harness::{Client, ClientOptions, Credentials, Gateway, Origin, Setup, pki};

/// Both versions of a client are refused for this reason, with this alert; nothing reaches the
/// upstream.
#[track_caller]
fn assert_refused(setup: Setup, client: &ClientOptions, refusal: &str, expected: Alert) {
    let listed = Refusal::ALL.into_iter().find(|listed| listed.as_str() == refusal);
    assert_eq!(listed.map(Refusal::alert), Some(u8::from(expected)), "docs/refusals.md says so");
    let origin = Origin::echo();
    let mut gateway = setup.endpoints(&[origin.address()]).start();
    for options in [client.clone().tls13(), client.clone().tls12()] {
        let (peer, alert) = options.refused(gateway.address());
        assert_eq!(alert, expected, "{refusal}");
        assert_record(&gateway.record_of(peer), refusal);
    }
    assert_nothing_reached(gateway, &origin, 2);
}

#[track_caller]
fn assert_record(record: &Value, refusal: &str) {
    assert_eq!(record["close_reason"], "certificate_refused", "{record}");
    assert_eq!(record["refusal"], refusal, "{record}");
    assert_eq!(record["close_source"], "downstream", "{record}");
    assert!(record["detail"].is_string(), "{record}");
    for absent in ["identity", "upstream", "handshake_us"] {
        assert!(record[absent].is_null(), "{absent} in {record}");
    }
}

#[track_caller]
fn assert_nothing_reached(gateway: Gateway, origin: &Origin, refused: u64) {
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("handshakes_failed"), refused);
    assert_eq!(stopped.counter("handshakes_done"), 0);
    assert_eq!(stopped.counter("upstream_connects"), 0);
    assert_eq!(stopped.counter("upstream_connect_failures"), 0);
    assert_eq!((origin.accepted(), origin.received()), (0, 0));
}

fn setup() -> Setup {
    Setup::to("127.0.0.1:1")
}

#[test]
fn no_certificate() {
    let client = ClientOptions::anonymous();
    assert_refused(setup(), &client, "certificate_missing", Alert::CertificateRequired);
}

#[test]
fn an_expired_certificate() {
    let client = ClientOptions::with(&pki().client_valid(-600, -60));
    assert_refused(setup(), &client, "expired", Alert::CertificateExpired);
}

#[test]
fn a_certificate_that_is_not_valid_yet() {
    let client = ClientOptions::with(&pki().client_valid(3600, 7200));
    assert_refused(setup(), &client, "not_yet_valid", Alert::CertificateExpired);
}

#[test]
fn a_certificate_of_an_unknown_authority() {
    let other = Authority::root(&profile("another root")).expect("a root");
    let client: Credentials =
        other.issue_client(&profile("client"), &dns("client.test")).expect("a client").into();
    let client = ClientOptions::with(&client);
    assert_refused(setup(), &client, "unknown_anchor", Alert::UnknownCA);
}

#[test]
fn a_certificate_of_an_authority_with_the_name_of_a_known_one() {
    let forger = Authority::root(&profile("e2e root")).expect("a root");
    let client: Credentials =
        forger.issue_client(&profile("client"), &dns("client.test")).expect("a client").into();
    let client = ClientOptions::with(&client);
    assert_refused(setup(), &client, "bad_signature", Alert::CertificateUnknown);
}

#[test]
fn the_intermediate_is_missing() {
    let whole = &pki().client;
    let client = ClientOptions::with_chain(whole.chain[..1].to_vec(), whole.private_key());
    assert_refused(setup(), &client, "unknown_anchor", Alert::UnknownCA);
}

#[test]
fn a_servers_certificate() {
    let client = ClientOptions::with(&pki().server);
    assert_refused(setup(), &client, "eku_lacks_client_auth", Alert::UnsupportedCertificate);
}

#[test]
fn a_self_signed_certificate() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(["client.test".into()]).expect("a name");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let client = ClientOptions::with(&Credentials::new(vec![certificate], key));
    assert_refused(setup(), &client, "self_signed", Alert::CertificateUnknown);
}

#[test]
fn a_refusal_of_a_certificate_with_thousands_of_purposes_is_a_short_line() {
    const PURPOSES: usize = 18_000;
    // SEQUENCE OF OBJECT IDENTIFIER of one byte each, none of which is clientAuth.
    let oids = [6, 1, 42].repeat(PURPOSES);
    let length = u16::try_from(oids.len()).expect("below 2^16").to_be_bytes();
    let content = [&[0x30, 0x82], &length[..], &oids].concat();
    let purposes = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 37], content);
    let mut params = rcgen::CertificateParams::new(["client.test".into()]).expect("a name");
    params.custom_extensions = vec![purposes];
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    assert!(certificate.len() > 3 * PURPOSES);
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let client = ClientOptions::with_chain(vec![certificate], key);
    let mut gateway = setup().start();
    for options in [client.clone().tls13(), client.tls12()] {
        let (peer, _) = options.refused(gateway.address());
        let record = gateway.record_of(peer);
        assert_record(&record, "eku_lacks_client_auth");
        let line_bytes = record.to_string().len();
        assert!(line_bytes < 4096, "a line of {line_bytes} bytes");
        let detail = record["detail"].as_str().expect("a detail");
        assert!(detail.len() <= DETAIL_BYTES_MAX, "{detail}");
    }
    gateway.terminate().assert_clean();
}

#[test]
fn the_certificate_of_an_authority() {
    let authority = &pki().intermediate;
    let key = rustls::pki_types::pem::PemObject::from_pem_slice(authority.key_pem().as_bytes());
    let chain = vec![authority.certificate().clone()];
    let client = ClientOptions::with_chain(chain, key.expect("its own key"));
    assert_refused(setup(), &client, "ca_as_leaf", Alert::CertificateUnknown);
}

#[test]
fn bytes_that_are_no_certificate() {
    let garbage = vec![CertificateDer::from(vec![0x30, 3, 2, 1, 1])];
    let client = ClientOptions::with_chain(garbage, pki().client.private_key());
    assert_refused(setup(), &client, "malformed", Alert::BadCertificate);
}

#[test]
fn a_chain_that_is_too_long() {
    let lower = pki().intermediate.intermediate(&profile("lower")).expect("an intermediate");
    let client: Credentials =
        lower.issue_client(&profile("client"), &dns("client.test")).expect("a client").into();
    assert_eq!(client.chain.len(), 3);
    let client = ClientOptions::with(&client);
    let two = setup().listener("chain_certificates_max = 2");
    assert_refused(two, &client, "chain_too_long", Alert::CertificateUnknown);
    let origin = Origin::echo();
    let three = Setup::to(origin.address()).listener("chain_certificates_max = 3").start();
    client.connect(three.address()).expect("three are allowed").echo(b"hello");
}

#[test]
fn a_key_of_a_type_that_is_not_accepted() {
    let client = ClientOptions::with(&pki().client_with_key(KeyChoice::Rsa));
    let setup = setup().listener(r#"client_key_types = ["ecdsa_p256", "ecdsa_p384"]"#);
    assert_refused(setup, &client, "key_type_refused", Alert::CertificateUnknown);
}

#[test]
fn an_rsa_key_that_is_too_short() {
    let client = ClientOptions::with(&pki().client_with_key(KeyChoice::Rsa));
    let setup = setup().listener("client_rsa_bits_min = 3072");
    assert_refused(setup, &client, "key_too_small", Alert::CertificateUnknown);
}

#[test]
fn a_stolen_certificate_without_its_key() {
    let other = pki().client_named("thief.test");
    let client = ClientOptions::with_chain(pki().client.chain.clone(), other.private_key());
    assert_refused(setup(), &client, "key_not_proven", Alert::DecryptError);
}

#[test]
fn openssl_and_curl_see_the_refusal() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    let expired = pki().client_valid(-600, -60);
    let curled = curl(gateway.address(), Some(&expired), &[&url(gateway.address(), "/")]);
    let said = String::from_utf8_lossy(&curled.stderr).into_owned();
    assert!(!curled.status.success() && said.contains("expired"), "{said}");
    assert_record(&gateway.wait_for_record(|_| true), "expired");
    let mut openssl = OpenSsl::connect(gateway.address(), None, &["-tls1_3"]);
    assert_eq!(openssl.ask("is anybody there?"), "", "end of output is expected");
    let (_, said) = openssl.end();
    assert!(said.contains("alert certificate required"), "{said}");
    assert_record(&gateway.wait_for_record(|_| true), "certificate_missing");
    assert_nothing_reached(gateway, &origin, 2);
}

#[test]
fn what_a_refused_client_sent_along_reaches_nobody() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    // Under TLS 1.3 a client may send before the server has looked at its certificate.
    let mut client = ClientOptions::anonymous().tls13().connect(gateway.address());
    let client = client.as_mut().expect("as far as a client can see");
    let _ = client.try_send(&[1; 100_000]);
    assert_record(&gateway.wait_for_record(|_| true), "certificate_missing");
    assert_nothing_reached(gateway, &origin, 1);
}

#[test]
fn optional_lets_in_who_has_none_and_refuses_who_has_a_bad_one() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).listener(r#"client_auth = "optional""#).start();
    let mut anonymous = ClientOptions::anonymous().connect(gateway.address()).expect("let in");
    anonymous.echo(b"hello");
    let peer = anonymous.local_address();
    anonymous.end();
    assert!(gateway.record_of(peer)["identity"].is_null());

    let mut known = Client::connect(gateway.address());
    known.echo(b"hello");
    let peer = known.local_address();
    known.end();
    assert_eq!(gateway.record_of(peer)["identity"]["subject"], "CN=client");

    let expired = ClientOptions::with(&pki().client_valid(-600, -60));
    let (peer, alert) = expired.refused(gateway.address());
    assert_eq!(alert, Alert::CertificateExpired);
    assert_record(&gateway.record_of(peer), "expired");
    assert_eq!(origin.accepted(), 2);
    gateway.terminate().assert_clean();
}

#[test]
fn optional_with_rules_denies_who_has_none() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address())
        .listener(r#"client_auth = "optional""#)
        .listener(r#"allow = ["any"]"#);
    let mut gateway = setup.start();
    let mut anonymous = ClientOptions::anonymous().connect(gateway.address()).expect("TLS is up");
    anonymous.read_to_end().expect_err("no close_notify is due");
    let record = gateway.record_of(anonymous.local_address());
    assert_eq!(record["close_reason"], "denied", "{record}");
    assert_eq!(record["detail"], "no_certificate", "{record}");
    assert_eq!(origin.accepted(), 0);
    gateway.terminate().assert_clean();
}

#[test]
fn off_asks_for_no_certificate() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).listener(r#"client_auth = "off""#).client_ca(None);
    let mut gateway = setup.start();
    // One that would be refused if it was asked for.
    let expired = ClientOptions::with(&pki().client_valid(-600, -60));
    for options in [ClientOptions::anonymous(), expired.clone(), expired.tls12()] {
        let mut client = options.connect(gateway.address()).expect("let in");
        client.echo(b"hello");
        let peer = client.local_address();
        client.end();
        assert!(gateway.record_of(peer)["identity"].is_null());
    }
    gateway.terminate().assert_clean();
}

#[test]
fn only_the_configured_roots_count_and_all_of_them() {
    let root = |name: &str| Authority::root(&profile(name)).expect("a root");
    let (first, second) = (root("first"), root("second"));
    let issue = |of: &Authority| -> ClientOptions {
        let profile = Profile { key: KeyChoice::P384, ..profile("client") };
        let issued = of.issue_client(&profile, &dns("client.test")).expect("a client");
        ClientOptions::with(&issued.into())
    };
    let origin = Origin::echo();
    let files = format!("client_ca = [{:?}, {:?}]", write_root(&first), write_root(&second));
    let gateway = Setup::to(origin.address()).client_ca(None).listener(&files).start();
    let address: SocketAddr = gateway.address();
    for authority in [&first, &second] {
        issue(authority).connect(address).expect("let in").echo(b"hello");
    }
    let (_, alert) = ClientOptions::default().refused(address);
    assert_eq!(alert, Alert::UnknownCA);
}
