//! A TLS 1.3 upstream that takes no client without a certificate says so behind the handshake, in
//! place of a response: that is a fault of the configuration, and no response that was lost.

use crate::harness::http::request_with;
use crate::harness::programs::Server;
use crate::harness::{HttpClient, Setup, pki};

#[test]
fn its_alert_is_the_answers_cause_over_either_version() {
    let (server, roots) = (&pki().server, &pki().root_file);
    let arguments = [&server.chain_file, &server.key_file, roots];
    let arguments = arguments.map(|path| path.display().to_string());
    let upstream = Server::python("demanding_server.py", &arguments.each_ref().map(|it| &**it));
    for protocol in ["http1", "http2"] {
        let keys = format!(
            "protocol = {protocol:?}\ntls = true\ntls_ca = {roots:?}\n\
             tls_server_name = \"gateway.test\""
        );
        let mut gateway = Setup::http(upstream.address).upstream(&keys).start();
        let mut client = HttpClient::connect(gateway.address());
        for method in ["GET", "POST"] {
            client.send(request_with(method, "/", "", "body"));
            let answer = client.answer(method);
            assert_eq!(answer.status(), 502, "{protocol} {method}");
            assert_eq!(answer.text(), "502 Bad Gateway\n", "no detail");
            let line = gateway
                .wait_for("a request", |line| line["event"] == "request" && line["seen"].is_null());
            assert_eq!(line["answered"], "upstream_tls_failed", "{protocol} {method}: {line}");
            assert_eq!(line["failure"], "upstream_tls_failed", "{protocol} {method}: {line}");
            let detail = line["detail"].as_str().unwrap_or_default();
            assert!(detail.contains("certificate_required"), "{protocol} {method}: {line}");
            assert_eq!(line["retries"], 0, "to ask again is of no use: {line}");
        }
        drop(client);
        gateway.terminate().assert_nothing_left();
    }
}
