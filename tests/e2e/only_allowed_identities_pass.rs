//! `allow` and `deny` decide from the identity; who is denied causes no connection to the upstream.

use ringfort::cli::pki::Names;

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
