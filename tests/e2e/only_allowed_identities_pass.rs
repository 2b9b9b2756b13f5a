//! `allow` and `deny` decide from the identity; who is denied causes no connection to the upstream.

use ringfort::cli::pki::Names;
use rustls::AlertDescription;

use crate::harness::client::alert_of;
use crate::harness::pki::{Credentials, profile};
use crate::harness::{ClientOptions, Origin, Setup, pki};

fn identity() -> Credentials {
    let names = Names {
        spiffe: Some("spiffe://example.org/ns/prod/client".into()),
        dns: vec!["a.clients.test".into()],
        emails: vec!["ops@example.org".into()],
        ip_addresses: vec!["192.0.2.7".parse().expect("an address")],
    };
    pki().intermediate.issue_client(&profile("who"), &names).expect("a client").into()
}

#[test]
fn a_pattern_that_matches_lets_in_and_any_other_does_not() {
    let client = ClientOptions::with(&identity());
    let cases = [
        ("any", true),
        ("spiffe://example.org/ns/*/client", true),
        ("spiffe://example.org/ns/*", false),
        ("spiffe://example.org/**", true),
        ("spiffe://other.org/**", false),
        ("dns:a.clients.test", true),
        ("dns:*.clients.test", true),
        ("dns:*.test", false),
        ("email:*@example.org", true),
        ("email:dev@example.org", false),
        ("ip:192.0.2.0/24", true),
        ("ip:127.0.0.1", false),
        ("subject:CN=who", true),
        ("subject:CN=whoever", false),
        ("subject-cn:who", true),
        ("subject-cn:whoever", false),
        ("subject-o:who", false),
        ("issuer:CN=e2e intermediate", true),
        ("issuer:CN=e2e root", false),
    ];
    let origin = Origin::echo();
    for (pattern, allowed) in cases {
        let before = origin.accepted();
        let setup = Setup::to(origin.address()).listener(&format!("allow = [{pattern:?}]"));
        let mut gateway = setup.start();
        let mut client = client.connect(gateway.address()).expect("its certificate is valid");
        let peer = client.local_address();
        if allowed {
            client.echo(b"hello");
            client.end();
        } else {
            let _ = client.try_send(b"let me in");
            client.read_to_end().expect_err("no close_notify is due");
        }
        let record = gateway.record_of(peer);
        let reason = if allowed { "finished" } else { "denied" };
        assert_eq!(record["close_reason"], reason, "{pattern}: {record}");
        // Denied clients are named in the log all the same.
        assert_eq!(record["identity"]["spiffe"], "spiffe://example.org/ns/prod/client");
        let stopped = gateway.terminate();
        stopped.assert_clean();
        assert_eq!(stopped.counter("denied"), u64::from(!allowed), "{pattern}");
        assert_eq!(stopped.counter("upstream_connects"), u64::from(allowed), "{pattern}");
        assert_eq!(origin.accepted() - before, u64::from(allowed), "{pattern}");
        if !allowed {
            assert_eq!(record["detail"], "no_rule_matches", "{pattern}");
            assert!(record["upstream"].is_null(), "{record}");
        }
    }
}

#[test]
fn one_pattern_of_several_is_enough() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address())
        .listener(r#"allow = ["dns:no.test", "sha256:0000", "subject:CN=who"]"#);
    // A pattern that cannot be is refused before anything else.
    assert!(setup.refused().contains("sha256:0000"));
    let setup =
        Setup::to(origin.address()).listener(r#"allow = ["dns:no.test", "subject:CN=who"]"#);
    let gateway = setup.start();
    let mut client = ClientOptions::with(&identity()).connect(gateway.address()).expect("let in");
    client.echo(b"hello");
    client.end();
    gateway.terminate().assert_clean();
}

#[test]
fn deny_wins_over_allow_and_alone_lets_in_everybody_else() {
    let listed = ClientOptions::with(&identity());
    let cases = [
        (r#"deny = ["subject-cn:other"]"#, None),
        (r#"deny = ["subject-cn:who"]"#, Some("rule_denied: subject-cn:who")),
        (
            r#"allow = ["any", "dns:a.clients.test"]
               deny = ["dns:z.test", "spiffe://example.org/**"]"#,
            Some("rule_denied: spiffe://example.org/**"),
        ),
        (
            r#"allow = ["dns:a.clients.test"]
               deny = ["dns:*.a.clients.test"]"#,
            None,
        ),
        (
            r#"allow = ["dns:b.clients.test"]
               deny = ["dns:c.clients.test"]"#,
            Some("no_rule_matches"),
        ),
    ];
    let origin = Origin::echo();
    for (keys, detail) in cases {
        check(&origin, keys, &listed, detail);
    }
}

#[test]
fn whoever_is_denied_gains_nothing_by_holding_the_certificate_back() {
    let origin = Origin::echo();
    let keys = "client_auth = \"optional\"\ndeny = [\"subject-cn:who\"]";
    let listed = ClientOptions::with(&identity());
    check(&origin, keys, &listed, Some("rule_denied: subject-cn:who"));
    check(&origin, keys, &ClientOptions::anonymous(), Some("no_certificate"));
    check(&origin, keys, &ClientOptions::default(), None);
}

/// A client is served by a listener with these keys, or denied with this detail.
fn check(origin: &Origin, keys: &str, options: &ClientOptions, denied: Option<&str>) {
    let before = origin.accepted();
    let mut gateway = Setup::to(origin.address()).listener(keys).start();
    let mut client = options.connect(gateway.address()).expect("its certificate is valid");
    let peer = client.local_address();
    if denied.is_none() {
        client.echo(b"hello");
        client.end();
    } else {
        let _ = client.try_send(b"let me in");
        let error = client.read_to_end().expect_err("no close_notify is due");
        assert_eq!(alert_of(&error), Some(AlertDescription::AccessDenied), "{keys}: {error}");
    }
    let record = gateway.record_of(peer);
    let reason = if denied.is_none() { "finished" } else { "denied" };
    assert_eq!(record["close_reason"], reason, "{keys}: {record}");
    assert_eq!(record["detail"].as_str(), denied, "{keys}: {record}");
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("denied"), u64::from(denied.is_some()), "{keys}");
    assert_eq!(origin.accepted() - before, u64::from(denied.is_none()), "{keys}");
}
