//! What an upstream says of HTTP and TLS.

use std::time::Duration;

use super::{refusal, right};
use crate::config::kit::{MemoryFiles, RIGHT, files, resolved, resolved_with, server};
use crate::config::snapshot::{Snapshot, UpstreamHttp};
use crate::tls::client::UpstreamTls;

const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// [`RIGHT`], and an upstream `api` below it that no listener names, with these keys. Its table
/// begins at line 13.
fn with_api(keys: &str) -> String {
    format!("{RIGHT}[[upstream]]\nname = \"api\"\n{keys}")
}

/// The same of an upstream with a DNS name and TLS; `keys` begin at line 17.
fn with_tls(keys: &str) -> String {
    with_api(&format!("endpoints = [\"api.test:443\"]\ntls = true\n{keys}"))
}

fn http(snapshot: &Snapshot) -> &UpstreamHttp {
    &snapshot.clusters[1].http
}

fn tls(text: &str) -> UpstreamTls {
    http(&right(text)).tls.clone().expect("TLS")
}

#[test]
fn what_is_not_written_is_http1_in_plaintext() {
    let snapshot = right(&with_api("endpoints = [\"127.0.0.1:1\"]\n"));
    assert_eq!(*http(&snapshot), UpstreamHttp::default());
    let off = right(&with_api("endpoints = [\"127.0.0.1:1\"]\ntls = false\n"));
    assert_eq!(*http(&off), UpstreamHttp::default());
}

#[test]
fn what_is_written_is_in_the_snapshot() {
    let keys = "protocol = \"http2\"\ntls_ca = \"clients.pem\"\ntls_chain = \"server.pem\"\n\
                tls_key = \"server.key\"\nidle_connections_max = 0\nidle_timeout_ms = 7\n\
                requests_max = 8\nconnection_age_max_ms = 9\n";
    let snapshot = right(&with_tls(keys));
    let UpstreamHttp { http2, tls, idle_max, idle_timeout, requests_max, age_max } =
        http(&snapshot).clone();
    assert!(http2);
    assert_eq!((idle_max, idle_timeout), (0, Duration::from_millis(7)));
    assert_eq!((requests_max, age_max), (Some(8), Some(Duration::from_millis(9))));
    let tls = tls.expect("TLS");
    assert_eq!(tls.server_name.to_str(), "api.test");
    assert_eq!(tls.config.alpn_protocols, [b"h2"]);
    assert!(tls.config.client_auth_cert_resolver.has_certs());
    assert!(tls.config.enable_secret_extraction && !tls.config.enable_early_data);
}

#[test]
fn the_name_is_that_of_the_endpoints_unless_another_is_written() {
    let named = |keys: &str| {
        let tls = tls(&with_api(&format!("tls = true\ntls_ca = \"clients.pem\"\n{keys}")));
        assert_eq!(tls.config.alpn_protocols, [b"http/1.1"]);
        tls.server_name.to_str().into_owned()
    };
    assert_eq!(named("endpoints = [\"API.test.:443\", \"api.test.:444\"]\n"), "api.test");
    let two = "endpoints = [\"a.test:443\", \"127.0.0.1:1\"]\n";
    assert_eq!(named(&format!("{two}tls_server_name = \"b.test.\"\n")), "b.test");
    assert_eq!(named(&format!("{two}tls_server_name = \"192.0.2.1\"\n")), "192.0.2.1");
}

#[test]
fn a_name_is_needed_that_can_be_proven() {
    let refused =
        |keys: &str| refusal(&with_api(&format!("tls = true\ntls_ca = \"clients.pem\"\n{keys}")));
    let wanted = "; expected the DNS name, or the address, that the upstream's certificate has; \
                  fix: add `tls_server_name = \"app.example.org\"`";
    assert_eq!(
        refused("endpoints = [\"127.0.0.1:1\"]\n"),
        format!(
            "r.toml:17:14: tls = true without `tls_server_name`, and endpoint \"127.0.0.1:1\" has \
             no name{wanted}"
        )
    );
    assert!(refused("endpoints = [\"unix:/run/a\"]\n").contains("\"unix:/run/a\" has no name"));
    assert_eq!(
        refused("endpoints = [\"a.test:1\", \"b.test:1\"]\n"),
        "r.toml:17:13: tls = true without `tls_server_name`, and endpoints have several names; \
         expected one name, which all of them prove; fix: add `tls_server_name = \
         \"app.example.org\"`"
    );
    for wrong in ["https://a.test", "a.test:443", "", "a b"] {
        let name = format!("endpoints = [\"a.test:1\"]\ntls_server_name = {wrong:?}\n");
        assert_eq!(
            refused(&name),
            format!(
                "r.toml:18:19: tls_server_name = {wrong:?} is neither; expected the DNS name, or \
                 the address, that the upstream's certificate has; fix: write one, without a port \
                 and without https://"
            )
        );
    }
}

#[test]
fn keys_of_tls_without_tls_are_refused_each() {
    let keys = "endpoints = [\"a.test:1\"]\ntls_ca = \"clients.pem\"\ntls_server_name = \"a\"\n\
                tls_chain = \"server.pem\"\ntls_key = \"server.key\"\ntls_crypto = \"ring\"\n";
    for tls in ["", "tls = false\n"] {
        let errors = resolved(&with_api(&format!("{keys}{tls}"))).expect_err("no TLS");
        assert_eq!(errors.len(), 5, "{errors:#?}");
        assert_eq!(
            errors[0],
            "r.toml:16:10: tls_ca is set, and `tls` is not true; expected keys of TLS only where \
             it is used; fix: add `tls = true`, or remove this key"
        );
        for (error, key) in errors.iter().zip(["tls_ca", "tls_server_name", "tls_chain"]) {
            assert!(error.contains(&format!(": {key} is set")), "{error}");
        }
    }
}

#[test]
fn certificates_and_keys_are_refused_as_those_of_listeners() {
    let refused = |chain: &str, key: &str| {
        let ca = "tls_ca = \"clients.pem\"";
        refusal(&with_tls(&format!("{ca}\ntls_chain = {chain:?}\ntls_key = {key:?}\n")))
    };
    assert_eq!(
        refused("server.pem", "other.key"),
        "r.toml:19:11: tls_key = \"other.key\" is not the key of the first certificate of \
         \"server.pem\"; expected the private key of that certificate; fix: name the key that \
         belongs to it; that certificate comes first in the chain"
    );
    assert_eq!(
        refused("expired.pem", "expired.key"),
        "r.toml:18:13: tls_chain = \"expired.pem\" expired at 2025-01-01T00:00:00Z; expected a \
         certificate that is valid now, 2026-01-02T00:00:00Z; fix: renew the certificate"
    );
    let early = refused("early.pem", "early.key");
    assert!(early.contains("tls_chain = \"early.pem\" is not valid before 2030"), "{early}");
    let encrypted = refused("server.pem", "encrypted.key");
    assert!(encrypted.contains("tls_key = \"encrypted.key\" holds"), "{encrypted}");
    let none = refused("none.pem", "server.key");
    assert!(none.contains("tls_chain = \"none.pem\": none.pem"), "{none}");
    let long = refused("long.pem", "server.key");
    assert!(long.contains("holds 17 certificates; expected at most 16"), "{long}");
    let broken = refused("broken.pem", "server.key");
    assert!(broken.contains("tls_chain = \"broken.pem\" is broken"), "{broken}");
    let alone = |key: &str| refusal(&with_tls(&format!("tls_ca = \"clients.pem\"\n{key}\n")));
    assert_eq!(
        alone("tls_chain = \"server.pem\""),
        "r.toml:18:13: tls_chain is set, and `tls_key` is not; expected a certificate and its \
         private key; fix: add `tls_key`, or remove `tls_chain`"
    );
    assert!(alone("tls_key = \"server.key\"").contains("tls_key is set, and `tls_chain` is not"));
}

#[test]
fn roots_are_those_of_the_files_or_of_the_system() {
    let refused = |ca: &str| refusal(&with_tls(&format!("tls_ca = {ca}\n")));
    assert!(refused("\"none.pem\"").starts_with("r.toml:17:10: tls_ca = \"none.pem\": none.pem"));
    assert!(refused("\"empty.pem\"").contains("tls_ca = \"empty.pem\" is empty"));
    assert!(refused("\"server.key\"").contains("tls_ca = \"server.key\" holds only PRIVATE KEY"));
    assert!(refused("\"broken.pem\"").contains("that is no root"));
    assert!(refused("[]").contains("tls_ca lists 0 files; expected 1 to"));
    assert_eq!(
        refusal(&with_tls("")),
        format!(
            "r.toml:16:7: tls = true without `tls_ca`, and {SYSTEM_CA} cannot be read (entity not \
             found); expected the roots that the upstream's certificate comes from; fix: add \
             `tls_ca = \"upstream-ca.pem\"`, or install the system's roots"
        )
    );
    let mut files = files();
    files.0.insert(SYSTEM_CA.into(), files.0[std::path::Path::new("clients.pem")].clone());
    resolved_with(&with_tls(""), &files, 65_536).expect("the system has roots");
    files.0.insert("/ca/b.crt".into(), files.0[std::path::Path::new("clients.pem")].clone());
    resolved_with(&with_tls("tls_ca = \"/ca\"\n"), &files, 65_536).expect("a folder of roots");
}

#[test]
fn numbers_names_and_protocols_have_bounds() {
    let refused = |keys: &str| refusal(&with_api(&format!("endpoints = [\"a.test:1\"]\n{keys}\n")));
    assert_eq!(
        refused("protocol = \"h2\""),
        "r.toml:16:12: protocol = \"h2\"; expected one of http1, http2; fix: write one of these"
    );
    for (key, most) in [
        ("idle_connections_max", 65_536_u64),
        ("requests_max", 1_000_000_000),
        ("connection_age_max_ms", 30 * 24 * 3_600_000),
    ] {
        for wrong in ["-1".to_string(), (most + 1).to_string()] {
            let error = refused(&format!("{key} = {wrong}"));
            let expected = format!("{key} = {wrong}; expected an integer from 0 to {most}; fix");
            assert!(error.contains(&expected), "{error}");
        }
    }
    assert!(refused("idle_timeout_ms = 0").contains("an integer from 1 to 2592000000"));
    assert!(refused("tls = 1").contains("expected"));
    let crypto = refusal(&with_tls("tls_ca = \"clients.pem\"\ntls_crypto = \"opensll\"\n"));
    assert!(crypto.contains("tls_crypto = \"opensll\"; expected one of aws-lc-rs"), "{crypto}");
}

#[test]
fn what_only_http_uses_is_refused_of_an_upstream_that_bytes_are_relayed_to() {
    let keys = "tls = true\ntls_ca = \"clients.pem\"\ntls_server_name = \"a\"\n\
                protocol = \"http1\"\nidle_connections_max = 1\nidle_timeout_ms = 1\n\
                requests_max = 1\n\
                connection_age_max_ms = 1\n";
    let endpoints = "endpoints = [\"127.0.0.1:9000\"]\n";
    let errors = resolved(&RIGHT.replace(endpoints, &format!("{endpoints}{keys}")));
    let errors = errors.expect_err("bytes are relayed to it");
    assert_eq!(errors.len(), 6, "{errors:#?}");
    assert_eq!(
        errors[0],
        "r.toml:4:7: tls is set, and listener \"main\", whose protocol is \"tcp\", relays to this \
         upstream; expected an upstream of HTTP listeners, for bytes are relayed as they are; \
         fix: set `protocol = \"http\"` in the listener, remove the key, or add an [[upstream]] of \
         its own"
    );
    let keys = ["protocol", "idle_connections_max", "idle_timeout_ms", "requests_max"];
    for (error, key) in errors[1..].iter().zip(keys) {
        assert!(error.contains(&format!(": {key} is set")), "{error}");
    }
    right(&RIGHT.replace(endpoints, &format!("{endpoints}tls = false\n")));
}

#[test]
fn the_same_files_make_the_same_and_others_do_not() {
    let text = with_tls("tls_ca = \"ca.pem\"\ntls_chain = \"own.pem\"\ntls_key = \"own.key\"\n");
    let mut files = files();
    let copy = |files: &mut MemoryFiles, from: &str, to: &str| {
        let bytes = files.0[std::path::Path::new(from)].clone();
        files.0.insert(to.into(), bytes);
    };
    copy(&mut files, "clients.pem", "ca.pem");
    copy(&mut files, "server.pem", "own.pem");
    copy(&mut files, "server.key", "own.key");
    let loaded = |text: &str, files: &MemoryFiles| {
        let snapshot = resolved_with(text, files, 65_536).expect("it is right");
        http(&snapshot).tls.clone().expect("TLS")
    };
    let before = loaded(&text, &files);
    assert_eq!(before, loaded(&text, &files));
    assert_ne!(before, loaded(&text.replace("api.test", "b.test"), &files));
    assert_ne!(before, loaded(&format!("{text}protocol = \"http2\"\n"), &files));
    let (chain, key) = server("api.test", 2020..2036);
    files.0.insert("own.pem".into(), chain.into_bytes());
    files.0.insert("own.key".into(), key.into_bytes());
    let renewed = loaded(&text, &files);
    assert_ne!(before, renewed, "another certificate is presented");
    files.0.insert("ca.pem".into(), self_signed().into_bytes());
    assert_ne!(renewed, loaded(&text, &files), "another root is trusted");
}

fn self_signed() -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["root".into()]).expect("a name");
    params.self_signed(&key).expect("a certificate").pem()
}
