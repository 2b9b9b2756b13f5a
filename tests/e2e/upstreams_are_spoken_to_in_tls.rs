//! An upstream behind TLS gets requests only where its certificate is in order, and sees the
//! gateway's own where it asks for one.

use crate::harness::chaos::Ca;
use crate::harness::http::request_with;
use crate::harness::programs::Nginx;
use crate::harness::{Credentials, HttpClient, Setup, pki};

const SAYS: &str = "location / { return 200 \
                    \"$ssl_protocol $ssl_server_name $ssl_client_verify $ssl_client_s_dn \
                    $request_uri\"; }";

fn trusting(nginx: &Nginx, name: &str) -> Setup {
    let roots = &pki().root_file;
    let keys = format!("tls = true\ntls_ca = {roots:?}\ntls_server_name = {name:?}");
    Setup::http(nginx.address).top("workers = 1").upstream(&keys)
}

fn presenting(setup: Setup, credentials: &Credentials) -> Setup {
    let (chain, key) = (&credentials.chain_file, &credentials.key_file);
    setup.upstream(&format!("tls_chain = {chain:?}\ntls_key = {key:?}"))
}

#[test]
fn one_connection_in_tls_carries_many_requests() {
    for protocols in ["TLSv1.2", "TLSv1.3"] {
        let directives = format!("ssl_protocols {protocols}; {SAYS}");
        let nginx = Nginx::over_tls("", &pki().server, &directives);
        let gateway = trusting(&nginx, "gateway.test").start();
        let mut client = HttpClient::connect(gateway.address());
        for n in 0..20 {
            let said = client.get(&format!("/{n}"));
            assert_eq!(said.text(), format!("{protocols} gateway.test NONE  /{n}"));
        }
        client.send(request_with("POST", "/", "", &"x".repeat(300_000)));
        assert_eq!(client.answer("POST").status(), 200);
        drop(client);
        let stopped = gateway.terminate();
        assert_eq!(stopped.counter("upstream_connects"), 1);
        stopped.assert_clean();
    }
}

#[test]
fn the_gateway_presents_its_own_certificate_and_not_the_clients() {
    let ours = pki().client_named("ringfort.test");
    let verify = format!(
        "ssl_protocols TLSv1.3; ssl_verify_client on; ssl_verify_depth 3; \
         ssl_client_certificate {}; {SAYS}",
        pki().root_file.display()
    );
    let nginx = Nginx::over_tls("", &pki().server, &verify);
    let gateway = presenting(trusting(&nginx, "gateway.test"), &ours).start();
    let mut client = HttpClient::connect(gateway.address());
    assert_eq!(client.get("/").text(), "TLSv1.3 gateway.test SUCCESS CN=ringfort.test /");
    drop(client);
    gateway.terminate().assert_clean();
    // Without one nginx says 400, which is a response like any other.
    let gateway = trusting(&nginx, "gateway.test").start();
    let mut client = HttpClient::connect(gateway.address());
    assert_eq!(client.get("/").status(), 400);
    drop(client);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_certificate_that_is_not_in_order_gets_no_request() {
    let other = Ca::root("other root", |_| {});
    let foreign = other.client(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names =
            vec![rcgen::SanType::DnsName("gateway.test".try_into().expect("ASCII"))];
    });
    // Of our own root, and no server.
    let client = pki().client_named("gateway.test");
    for (what, server, name) in [
        ("another name", &pki().server, "other.test"),
        ("an unknown root", &foreign, "gateway.test"),
        ("no server", &client, "gateway.test"),
    ] {
        let nginx = Nginx::over_tls("", server, SAYS);
        let mut gateway = trusting(&nginx, name).start();
        let mut client = HttpClient::connect(gateway.address());
        for method in ["GET", "POST"] {
            client.send(request_with(method, "/", "", "body"));
            let answer = client.answer(method);
            assert_eq!(answer.status(), 502, "{what}");
            assert_eq!(answer.text(), "502 Bad Gateway\n", "{what}: no detail");
            let line = gateway
                .wait_for("a request", |line| line["event"] == "request" && line["seen"].is_null());
            assert_eq!(line["answered"], "upstream_certificate_refused", "{what}: {line}");
            assert!(line["detail"].is_string(), "{what}: {line}");
        }
        drop(client);
        gateway.terminate().assert_nothing_left();
        let log = std::fs::read_to_string(nginx.access_log()).unwrap_or_default();
        assert_eq!(log, "", "{what}");
    }
}

#[test]
fn an_upstream_without_tls_is_none() {
    let nginx = Nginx::start();
    let mut gateway = trusting(&nginx, "gateway.test").start();
    let mut client = HttpClient::connect(gateway.address());
    assert_eq!(client.get("/").status(), 502);
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!(line["answered"], "upstream_tls_failed", "{line}");
    drop(client);
    gateway.terminate().assert_nothing_left();
}
