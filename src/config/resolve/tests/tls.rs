//! Refusals of certificates, roots, and what a listener says about TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS12;
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore, ServerConnection};

use super::{refusal, refusal_with, right};
use crate::config::kit::{self, NOW_UNIX_S, RIGHT, but, files, resolved, resolved_with};
use crate::config::model;
use crate::config::resolve::{Context, resolve};
use crate::error::Refusal;
use crate::limits::PEM_BYTES_MAX;
use crate::metrics::counter::WorkerCounters;
use crate::tls::provider::{BACKENDS, Backend, provider};
use crate::trust::store::SessionStore;
use crate::trust::verify::VerifyObserver;
use crate::trust::visit::Desk;

#[test]
fn files_that_do_not_hold_what_they_should() {
    let chain = |file: &str| refusal(&but("server.pem", file));
    assert_eq!(
        chain("none.pem"),
        "r.toml:11:9: chain = \"none.pem\": none.pem (entity not found); expected a file that \
         exists; fix: correct the path; a relative one starts at the configuration's folder"
    );
    assert_eq!(
        chain("empty.pem"),
        "r.toml:11:9: chain = \"empty.pem\" is empty; expected a PEM file with \
         `-----BEGIN CERTIFICATE-----`; fix: write the file anew"
    );
    assert_eq!(
        chain("server.key"),
        "r.toml:11:9: chain = \"server.key\" holds only PRIVATE KEY; expected a PEM file with \
         `-----BEGIN CERTIFICATE-----`; fix: name the file that holds the certificates"
    );
    assert!(chain("text.pem").contains("holds no PEM section"));
    assert!(chain("binary.pem").contains("binary DER"));
    assert!(chain("binary.pem").contains("openssl x509 -inform der"));
    assert!(chain("cut.pem").contains("is broken PEM: missing section end"));
    assert!(chain("broken.pem").contains("certificate 1 of the chain does not parse"));
    assert!(chain("long.pem").contains("holds 17 certificates; expected at most 16"));
    let key = |file: &str| refusal(&but("server.key", file));
    assert_eq!(
        key("server.pem"),
        "r.toml:12:7: key = \"server.pem\" holds only CERTIFICATE; expected a PEM file with one \
         unencrypted private key; fix: name the file that holds the key"
    );
    assert!(key("encrypted.key").contains("openssl pkey -in FILE -out FILE.plain"));
    assert!(key("two.key").contains("holds more than one private key"));
    assert!(key("").contains("r.toml:12:7: key = \"\"; expected a value"));
    assert_eq!(
        key("other.key"),
        "r.toml:12:7: key = \"other.key\" is not the key of the first certificate of \
         \"server.pem\"; expected the private key of that certificate; fix: name the key that \
         belongs to it; that certificate comes first in the chain"
    );
    let roots = |file: &str| refusal(&but("clients.pem", file));
    assert!(roots("empty.pem").starts_with("r.toml:8:13: client_ca = \"empty.pem\" is empty;"));
    assert!(roots("broken.pem").contains("has a certificate, 1 of 1, that is no root: "));
    assert!(roots("server.key").contains("holds only PRIVATE KEY"));
    assert!(refusal(&but("\"clients.pem\"", "[]")).contains("client_ca lists 0 files"));
}

#[test]
fn a_file_that_is_too_large_is_refused_with_the_bound() {
    let mut files = files();
    files.0.insert("server.pem".into(), vec![b'x'; PEM_BYTES_MAX + 1]);
    let errors = resolved_with(RIGHT, &files, 65_536).expect_err("too large");
    assert_eq!(
        errors,
        ["r.toml:11:9: chain = \"server.pem\": server.pem (file too large); expected at most \
          16777216 bytes; fix: check that this is the right file"]
    );
}

#[test]
fn a_server_certificate_must_be_valid_now() {
    let with = |name: &str| RIGHT.replace("server.", &format!("{name}."));
    assert_eq!(
        refusal(&with("expired")),
        "r.toml:11:9: chain = \"expired.pem\" expired at 2025-01-01T00:00:00Z; expected a \
         certificate that is valid now, 2026-01-02T00:00:00Z; fix: renew the certificate"
    );
    assert_eq!(
        refusal(&with("early")),
        "r.toml:11:9: chain = \"early.pem\" is not valid before 2030-01-01T00:00:00Z; expected a \
         certificate that is valid now, 2026-01-02T00:00:00Z; fix: wait, or correct the clock"
    );
}

#[test]
fn lists_have_entries_and_each_once() {
    for key in ["suites", "groups", "tls_versions", "alpn", "client_key_types"] {
        assert_eq!(
            refusal_with(&format!("{key} = []")),
            format!(
                "r.toml:9:{}: {key} is an empty list; expected at least one entry; \
                 fix: add one, or remove the key for the default",
                key.len() + 4
            )
        );
    }
    assert_eq!(
        refusal_with("groups = [\"secp256r1\", \"P-256\"]"),
        "r.toml:9:24: groups lists \"P-256\" again; expected each once; fix: remove this one"
    );
    assert!(refusal_with("alpn = [\"h2\", \"\"]").contains("alpn has a name of 0 bytes"));
    assert!(refusal_with("alpn = [\"h2\", \"h2\"]").contains("as at r.toml:9:9"));
    assert!(refusal_with("allow = [\"any\", \"any\"]").contains("as at r.toml:9:10"));
    assert!(refusal_with("deny = [\"any\", \"any\"]").contains("as at r.toml:9:9"));
}

#[test]
fn versions_suites_and_groups_must_fit_each_other() {
    assert_eq!(
        refusal_with("suites = [\"TLS_AES_128_GCM_SHA256\"]"),
        "r.toml:9:10: suites lists none of TLS 1.2; expected a suite for each of `tls_versions`; \
         fix: add one, or write `tls_versions` without \"1.2\""
    );
    assert_eq!(
        refusal_with(
            "suites = [\"TLS_AES_128_GCM_SHA256\", \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]\n\
             tls_versions = [\"1.3\"]"
        ),
        "r.toml:9:37: \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\" is a suite of TLS 1.2; expected \
         suites of `tls_versions` only; fix: remove it, or add \"1.2\" to `tls_versions`"
    );
    assert_eq!(
        refusal_with("groups = [\"X25519MLKEM768\"]"),
        "r.toml:9:10: groups lists X25519MLKEM768 alone, which TLS 1.2 cannot use; expected a \
         group for each of `tls_versions`; fix: add \"X25519\" to `groups`, or write \
         `tls_versions = [\"1.3\"]`"
    );
    right(&but("#", "groups = [\"X25519MLKEM768\"]\ntls_versions = [\"1.3\"]"));
}

#[test]
fn a_backend_is_one_that_exists_and_is_compiled_in() {
    assert_eq!(
        refusal_with("crypto = \"rign\""),
        "r.toml:9:10: crypto = \"rign\"; expected one of aws-lc-rs, ring, graviola, openssl, \
         rustcrypto, fips; fix: write \"ring\""
    );
    let compiled: Vec<_> = Backend::ALL.iter().map(|backend| backend.name()).collect();
    for name in BACKENDS {
        let written = format!("crypto = \"{name}\"");
        if compiled.contains(name) {
            let snapshot = right(&but("#", &written));
            assert_eq!(snapshot.listeners[0].crypto.name(), *name);
        } else {
            let refused = refusal_with(&written);
            let found = format!(
                "r.toml:9:10: crypto asks for the crypto backend \"{name}\", which is not \
                 compiled in; expected one of {}; fix: ",
                compiled.join(", ")
            );
            assert!(refused.starts_with(&found), "{refused}");
        }
    }
    assert_eq!(right(RIGHT).listeners[0].crypto, Backend::ALL[0]);
}

#[test]
fn what_the_backend_lacks_is_refused_where_it_is_written() {
    for backend in Backend::ALL {
        let name = backend.name();
        let groups: Vec<_> = backend.groups().iter().map(|group| group.name()).collect();
        let written = format!("crypto = \"{name}\"\ngroups = [\"X25519MLKEM768\", \"P-256\"]");
        if groups.contains(&NamedGroup::X25519MLKEM768) {
            right(&but("#", &written));
        } else {
            let refused = refusal_with(&written);
            let found = format!(
                "r.toml:10:11: groups lists X25519MLKEM768, which the crypto backend {name} \
                 lacks; expected one of "
            );
            assert!(refused.starts_with(&found), "{refused}");
        }
        let has_tls12 = backend.suites().iter().any(|suite| *suite.version() == TLS12);
        let written = format!("crypto = \"{name}\"\ntls_versions = [\"1.3\", \"1.2\"]");
        if has_tls12 {
            right(&but("#", &written));
        } else {
            let refused = refusal_with(&written);
            let found = format!(
                "r.toml:10:16: tls_versions lists 1.2, and the crypto backend {name} has no suite"
            );
            assert!(refused.starts_with(&found), "{refused}");
        }
    }
}

#[test]
fn what_is_said_about_clients_must_have_an_effect() {
    assert_eq!(
        refusal(&but("client_ca = \"clients.pem\"", "")),
        "r.toml:4:1: [[listener]] has no key `client_ca`; expected the certificates that clients' \
         certificates come from; fix: add `client_ca = \"clients.pem\"`, or set \
         `client_auth = \"off\"`"
    );
    assert_eq!(
        refusal_with("client_auth = \"off\""),
        "r.toml:8:13: client_ca is set, and client_auth = \"off\" asks for no certificate; \
         expected it only with \"require\" or \"optional\"; fix: remove `client_ca`, or set \
         `client_auth = \"require\"`"
    );
    for line in [
        "allow = [\"any\"]",
        "deny = [\"any\"]",
        "chain_certificates_max = 2",
        "client_key_types = [\"rsa\"]",
        "client_rsa_bits_min = 3072",
    ] {
        let off = format!("client_auth = \"off\"\n{line}");
        let error = refusal(&but("client_ca = \"clients.pem\"", &off));
        assert!(error.contains("client_auth = \"off\" asks for no certificate"), "{error}");
    }
    assert!(
        refusal_with("client_rsa_bits_min = 3072\nclient_key_types = [\"ed25519\"]")
            .contains("client_rsa_bits_min = 3072, and client_key_types lacks rsa")
    );
    assert!(refusal_with("allow = []").contains("allow is an empty list, which admits nobody"));
    let pattern = refusal_with("allow = [\"any\", \"cn=a\"]");
    assert!(pattern.starts_with("r.toml:9:17: allow = \"cn=a\" is not a pattern: "), "{pattern}");
    assert!(refusal_with("deny = []").contains("deny is an empty list, which denies nobody"));
    let pattern = refusal_with("deny = [\"any\", \"cn=a\"]");
    assert!(pattern.starts_with("r.toml:9:16: deny = \"cn=a\" is not a pattern: "), "{pattern}");
}

#[test]
fn a_key_log_that_cannot_be_opened_is_refused() {
    assert_eq!(
        refusal_with("key_log = \"/none/keys\""),
        "r.toml:9:11: key_log = \"/none/keys\" cannot be opened: /none/keys (entity not found); \
         expected a file that the program may append to; fix: correct the path or its \
         permissions, or remove `key_log`"
    );
}

#[test]
fn two_bundles_of_roots_are_read_both() {
    right(&but("\"clients.pem\"", "[\"clients.pem\", \"partners.pem\"]"));
    let errors = resolved(&but("\"clients.pem\"", "[\"none.pem\", \"text.pem\"]")).err();
    assert_eq!(errors.map(|errors| errors.len()), Some(2), "each broken one is reported");
}

#[derive(Debug, Default)]
struct Counter {
    chains: AtomicUsize,
    signatures: AtomicUsize,
}

impl VerifyObserver for Counter {
    fn verification_started(&self) {}
    fn verification_finished(&self, outcome: Result<(), Refusal>) {
        assert_eq!(outcome, Ok(()));
        self.chains.fetch_add(1, Ordering::Relaxed);
    }
    fn signature_started(&self) {}
    fn signature_finished(&self, outcome: Result<(), Refusal>) {
        assert_eq!(outcome, Ok(()));
        self.signatures.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client that trusts the roots of `clients.pem` and has a certificate that leads to them.
fn client(roots_pem: &[u8]) -> ClientConnection {
    let (chain, key) = kit::server("client.example.org", 2020..2400);
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(roots_pem).expect("a certificate");
    roots.add(root).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(
        provider(Backend::ALL[0], &[], &[]).expect("all that there is"),
    ))
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_root_certificates(roots)
    .with_client_auth_cert(
        vec![CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate")],
        PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key"),
    )
    .expect("they match");
    let name = "gateway.example.org".try_into().expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a client")
}

#[test]
fn a_resolved_listener_does_a_handshake_that_the_observer_sees() {
    let mut files = files();
    let (chain, key) = kit::server("gateway.example.org", 2020..2400);
    files.0.insert("server.pem".into(), chain.into());
    files.0.insert("server.key".into(), key.into());
    let counter = Arc::new(Counter::default());
    let context = Context {
        files: &files,
        now_unix_s: NOW_UNIX_S,
        fds_max: 65_536,
        cpus: 1,
        observer: Some(Arc::clone(&counter) as Arc<dyn VerifyObserver>),
        ticket_secret: kit::ticket_secret(),
        signing_key: kit::signing_key(),
    };
    let model = model::parse(RIGHT, "r.toml").expect("it is TOML");
    let snapshot = resolve(&model, &context).expect("it is right");
    let listener = &snapshot.listeners[0];
    let desk = Desk::new(1, Arc::new(SessionStore::new(0)), WorkerCounters::new());
    let visit = listener.visit(&listener.scopes.default, &desk);
    let config = listener.tls.config(0, visit.hooks()).expect("a configuration");
    let mut server = ServerConnection::new(Arc::new(config)).expect("a server");
    let mut client = client(&files.0[std::path::Path::new("clients.pem")]);
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("memory takes all");
        server.read_tls(&mut wire.as_slice()).expect("memory gives all");
        server.process_new_packets().expect("the client is in order");
        let mut wire = Vec::new();
        server.write_tls(&mut wire).expect("memory takes all");
        client.read_tls(&mut wire.as_slice()).expect("memory gives all");
        client.process_new_packets().expect("the server is in order");
    }
    assert_eq!(counter.chains.load(Ordering::Relaxed), 1);
    assert_eq!(counter.signatures.load(Ordering::Relaxed), 1);
    assert_eq!(client.tls13_tickets_received(), 0);
    let suite = server.negotiated_cipher_suite().expect("a suite").suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
}
