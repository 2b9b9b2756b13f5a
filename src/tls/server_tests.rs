//! Tests of `tls::server`: which certificate a ClientHello gets, and what its configuration does.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use rustls::pki_types::{PrivatePkcs8KeyDer, UnixTime};

use super::*;
use crate::tls::provider::{Backend, provider};

const P256: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
const ED25519: &[SignatureScheme] = &[SignatureScheme::ED25519];

fn certificate(algorithm: &'static rcgen::SignatureAlgorithm, names: &[&str]) -> Certificate {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let chain = CertificateParams::new(names)
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Certificate::new(
        vec![chain.der().clone()],
        key,
        &provider(Backend::ALL[0], &[], &[]).expect("all that there is"),
    )
    .expect("they match")
}

fn options() -> ListenerTlsOptions {
    ListenerTlsOptions {
        provider: Arc::new(provider(Backend::ALL[0], &[], &[]).expect("all that there is")),
        versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
        alpn: vec![b"h2".to_vec()],
        key_log: None,
        time: None,
    }
}

#[test]
fn the_exact_name_wins_over_the_wildcard_and_the_wildcard_over_the_default() {
    let tls = ListenerTls::new(
        &[
            certificate(&PKCS_ECDSA_P256_SHA256, &["default.test"]),
            certificate(&PKCS_ECDSA_P256_SHA256, &["*.Example.test"]),
            certificate(&PKCS_ECDSA_P256_SHA256, &["api.example.test"]),
        ],
        options(),
    )
    .expect("three certificates");
    assert_eq!(tls.select(Some("API.example.TEST"), P256), 2);
    assert_eq!(tls.select(Some("www.EXAMPLE.test"), P256), 1);
    assert_eq!(tls.select(Some("a.b.example.test"), P256), 0, "one label only");
    assert_eq!(tls.select(Some("example.test"), P256), 0, "not the parent itself");
    assert_eq!(tls.select(Some(".example.test"), P256), 0, "not an empty label");
    assert_eq!(tls.select(Some("other.test"), P256), 0);
    assert_eq!(tls.select(Some(&"x".repeat(300)), P256), 0);
    assert_eq!(tls.select(None, P256), 0);
}

#[test]
fn of_two_certificates_for_a_name_the_one_that_can_sign_is_taken() {
    let tls = ListenerTls::new(
        &[
            certificate(&PKCS_ED25519, &["a.test"]),
            certificate(&PKCS_ECDSA_P256_SHA256, &["a.test"]),
        ],
        options(),
    )
    .expect("two certificates");
    assert_eq!(tls.select(Some("a.test"), P256), 1);
    assert_eq!(tls.select(Some("a.test"), ED25519), 0);
    assert_eq!(tls.select(Some("a.test"), &[SignatureScheme::RSA_PSS_SHA256]), 0);
    assert_eq!(tls.select(None, P256), 1, "the default can sign, too");
}

#[test]
fn without_hooks_a_configuration_issues_no_tickets_and_keeps_no_session() {
    let tls = ListenerTls::new(&[certificate(&PKCS_ED25519, &["a.test"])], options())
        .expect("one certificate");
    let config = tls.config(0, Hooks::none()).expect("a configuration");
    assert_eq!(config.send_tls13_tickets, 0);
    assert!(!config.ticketer.enabled());
    assert!(!config.session_storage.can_cache());
    assert!(config.ignore_client_order);
    assert_eq!(config.alpn_protocols, [b"h2".to_vec()]);
    assert!(!config.key_log.will_log("CLIENT_RANDOM"));
}

#[test]
fn the_time_is_the_systems_unless_another_is_given() {
    #[derive(Debug)]
    struct Stopped;
    impl TimeProvider for Stopped {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(1000)))
        }
    }
    let now_s = |options: ListenerTlsOptions| {
        let certificates = [certificate(&PKCS_ED25519, &["a.test"])];
        let tls = ListenerTls::new(&certificates, options).expect("one certificate");
        let config = tls.config(0, Hooks::none()).expect("a configuration");
        config.time_provider.current_time().expect("a clock").as_secs()
    };
    assert!(now_s(options()) > 1_700_000_000);
    assert_eq!(now_s(ListenerTlsOptions { time: Some(Arc::new(Stopped)), ..options() }), 1000);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let one = KeyPair::generate().expect("a key");
    let other = KeyPair::generate().expect("a key");
    let chain = CertificateParams::new(vec!["a.test".to_string()])
        .and_then(|params| params.self_signed(&one))
        .expect("a certificate");
    let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(other.serialize_der()));
    let provider = provider(Backend::ALL[0], &[], &[]).expect("all that there is");
    let error = Certificate::new(vec![chain.der().clone()], key(), &provider).err();
    assert_eq!(error, Some(CertificateError::KeyMismatch));
    let error = Certificate::new(vec![], key(), &provider).err();
    assert_eq!(error, Some(CertificateError::Empty));
    let chain = vec![chain.der().clone(), CertificateDer::from(vec![0x30, 0])];
    let error = Certificate::new(chain, key(), &provider).err();
    assert!(matches!(error, Some(CertificateError::Unparsable { index: 1, .. })), "{error:?}");
}

#[test]
fn a_listener_without_certificate_cannot_be_built() {
    assert!(ListenerTls::new(&[], options()).is_err());
}

#[test]
fn a_key_log_line_is_label_random_secret_in_hexadecimal() {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let sink = Shared::default();
    KeyLogWriter::new(sink.clone()).log("CLIENT_RANDOM", &[0, 0xab], &[0xff]);
    assert_eq!(*sink.0.lock().expect("not poisoned"), b"CLIENT_RANDOM 00ab ff\n");
}
