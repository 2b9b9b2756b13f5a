//! Programs of others come through with a certificate, and what they negotiate is what was
//! configured.

use ringfort::cli::pki::KeyChoice;
use rustls::{AlertDescription, CipherSuite, NamedGroup, ProtocolVersion};

use crate::harness::programs::{self, Nginx, OpenSsl};
use crate::harness::{Client, ClientOptions, Origin, Setup, pki};

#[test]
fn openssl_exchanges_lines_under_both_versions() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    for (flag, version) in [("-tls1_3", "TLS 1.3"), ("-tls1_2", "TLS 1.2")] {
        let mut openssl = OpenSsl::connect(gateway.address(), Some(&pki().client), &[flag]);
        assert_eq!(openssl.ask("one"), "one");
        assert_eq!(openssl.ask("two"), "two");
        let (content, text) = openssl.end();
        assert!(content, "{text}");
        let record = gateway.wait_for_record(|record| record["tls"] == version);
        assert_eq!(record["close_reason"], "finished", "{record}");
        assert_eq!(record["bytes_up"], 8, "{record}");
        assert_eq!(record["identity"]["dns"][0], "client.test", "{record}");
    }
    gateway.terminate().assert_clean();
}

#[test]
fn curl_gets_and_puts_files_of_nginx() {
    let nginx = Nginx::start();
    let body: Vec<u8> = (0..3_000_001_u32).map(|index| (index % 251) as u8).collect();
    nginx.file("body", &body);
    let gateway = Setup::to(nginx.address).start();
    let at = |path: &str| programs::url(gateway.address(), path);
    let paths = [at("/body"), at("/body")];
    let fetched = programs::curl(gateway.address(), Some(&pki().client), &[&paths[0], &paths[1]]);
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert!(fetched.stdout == [&body[..], &body].concat(), "{} bytes came", fetched.stdout.len());
    let absent = ["--fail", &at("/absent")];
    let absent = programs::curl(gateway.address(), Some(&pki().client), &absent);
    assert_eq!(absent.status.code(), Some(22), "the status of nginx reaches curl");
    gateway.terminate().assert_clean();
}

#[test]
fn python_exchanges_lines_and_ends_in_order() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    let said = programs::python("echo.py", gateway.address(), &pki().client, &["one", "two"]);
    assert_eq!(said, "TLSv1.3\none\ntwo\n");
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(record["close_reason"], "finished", "{record}");
    gateway.terminate().assert_clean();
}

#[test]
fn every_kind_of_client_key_is_accepted_under_both_versions() {
    let origin = Origin::echo();
    let gateway = Setup::to(origin.address()).start();
    for key in [KeyChoice::P256, KeyChoice::P384, KeyChoice::Ed25519, KeyChoice::Rsa] {
        let client = pki().client_with_key(key);
        for options in [ClientOptions::with(&client).tls13(), ClientOptions::with(&client).tls12()]
        {
            let mut client = options.connect(gateway.address()).expect("let in");
            client.echo(b"hello");
            client.end();
        }
    }
    gateway.terminate().assert_clean();
}

#[test]
fn the_gateways_order_of_suites_and_groups_rules() {
    use CipherSuite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    let groups = [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1];
    for group in groups {
        let options = ClientOptions::default()
            .suites(&[TLS13_AES_256_GCM_SHA384, TLS13_AES_128_GCM_SHA256])
            .groups(&[group])
            .tls13();
        let mut client = options.connect(gateway.address()).expect("let in");
        client.echo(b"hello");
        let agreed = client.negotiated();
        let expected = (TLS13_AES_128_GCM_SHA256, Some(group), ProtocolVersion::TLSv1_3);
        assert_eq!(agreed, expected);
        let address = client.local_address();
        client.end();
        let record = gateway.record_of(address);
        assert_eq!(record["suite"], "TLS_AES_128_GCM_SHA256", "{record}");
        assert!(record["group"].is_string(), "{record}");
    }
    gateway.terminate().assert_clean();
}

#[test]
fn a_hello_retry_request_is_followed() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).listener(r#"groups = ["secp384r1"]"#);
    let gateway = setup.start();
    // The client's first key share is of another group.
    let options =
        ClientOptions::default().groups(&[NamedGroup::X25519, NamedGroup::secp384r1]).tls13();
    let mut client = options.connect(gateway.address()).expect("let in");
    client.echo(b"hello");
    assert_eq!(client.negotiated().1, Some(NamedGroup::secp384r1));
    client.end();
    gateway.terminate().assert_clean();
}

#[test]
fn configured_suites_groups_and_versions_are_the_only_ones() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address())
        .listener(r#"tls_versions = ["1.3"]"#)
        .listener(r#"suites = ["TLS_CHACHA20_POLY1305_SHA256"]"#)
        .listener(r#"groups = ["P-256"]"#);
    let mut gateway = setup.start();
    let mut client = Client::connect(gateway.address());
    client.echo(b"hello");
    let expected = (
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        Some(NamedGroup::secp256r1),
        ProtocolVersion::TLSv1_3,
    );
    assert_eq!(client.negotiated(), expected);
    client.end();
    let refused = [
        ClientOptions::default().suites(&[CipherSuite::TLS13_AES_128_GCM_SHA256]).tls13(),
        ClientOptions::default().groups(&[NamedGroup::X25519]),
        ClientOptions::default().tls12(),
    ];
    let alerts = [
        AlertDescription::HandshakeFailure,
        AlertDescription::HandshakeFailure,
        AlertDescription::ProtocolVersion,
    ];
    for (options, expected) in refused.into_iter().zip(alerts) {
        let (address, alert) = options.refused(gateway.address());
        assert_eq!(alert, expected);
        assert_eq!(gateway.record_of(address)["close_reason"], "tls_failed");
    }
    assert_eq!(origin.accepted(), 1);
    gateway.terminate().assert_clean();
}

#[test]
fn tls_1_2_alone_can_be_configured() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address())
        .listener(r#"tls_versions = ["1.2"]"#)
        .listener(r#"suites = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]"#);
    let gateway = setup.start();
    let mut client = Client::connect(gateway.address());
    client.echo(b"hello");
    let (suite, _, version) = client.negotiated();
    assert_eq!(suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    assert_eq!(version, ProtocolVersion::TLSv1_2);
    client.end();
    let (_, alert) = ClientOptions::default().tls13().refused(gateway.address());
    assert_eq!(alert, AlertDescription::ProtocolVersion);
    gateway.terminate().assert_clean();
}

#[test]
fn the_server_name_chooses_the_certificate_and_an_unknown_one_gets_the_first() {
    let origin = Origin::echo();
    let first = pki().server_named("first.test", KeyChoice::P256);
    let second = pki().server_named("second.test", KeyChoice::Ed25519);
    let wild = pki().server_named("*.wild.test", KeyChoice::Rsa);
    let setup = Setup::to(origin.address()).certificates(&[&first, &second, &wild]);
    let mut gateway = setup.start();
    let cases = [
        ("first.test", &first),
        ("second.test", &second),
        ("SECOND.test", &second),
        ("a.wild.test", &wild),
        ("a.b.wild.test", &first),
        ("unknown.test", &first),
    ];
    for (name, expected) in cases {
        let options = ClientOptions::default().server_name(name).any_server();
        let mut client = options.connect(gateway.address()).expect("let in");
        client.echo(b"hello");
        let presented = client.tls.peer_certificates().expect("a chain");
        assert!(presented == expected.chain, "{name} got another certificate");
        let address = client.local_address();
        client.end();
        let logged = gateway.record_of(address)["sni"].to_string();
        assert_eq!(logged.to_lowercase(), format!("{name:?}").to_lowercase());
    }
    // Checked by a client that verifies names, too.
    let strict = ClientOptions::default().server_name("second.test").connect(gateway.address());
    strict.expect("its certificate has this name").end();
    gateway.terminate().assert_clean();
}

#[test]
fn alpn_is_answered_as_configured() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).listener(r#"alpn = ["proto-b", "proto-a"]"#);
    let mut gateway = setup.start();
    let options = ClientOptions::default();
    let client = options.clone().alpn(&["proto-a", "proto-b"]).connect(gateway.address());
    let mut client = client.expect("let in");
    client.echo(b"hello");
    assert_eq!(client.tls.alpn_protocol(), Some(&b"proto-b"[..]), "the gateway's order");
    let address = client.local_address();
    client.end();
    assert_eq!(gateway.record_of(address)["alpn"], "proto-b");

    let mut client = options.clone().connect(gateway.address()).expect("ALPN is not required");
    client.echo(b"hello");
    assert_eq!(client.tls.alpn_protocol(), None);
    client.end();

    let (address, alert) = options.alpn(&["other"]).refused(gateway.address());
    assert_eq!(alert, AlertDescription::NoApplicationProtocol);
    assert_eq!(gateway.record_of(address)["close_reason"], "tls_failed");
    assert_eq!(origin.accepted(), 2);
    gateway.terminate().assert_clean();
}
