//! gRPC, as grpcio speaks it, works through the gateway: unary and streaming calls in both
//! directions, metadata, errors in trailers, deadlines and cancellation, whether the upstream
//! speaks HTTP/2 with prior knowledge or over TLS.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::gateway::read_text;
use crate::harness::programs::{Server, as_client, content, python_command};
use crate::harness::{Credentials, Gateway, Setup, Site, pki};

/// A gateway before a gRPC server, over TLS or not.
fn start(server: &Server, over_tls: bool) -> Gateway {
    let setup = Setup::http(server.address).upstream("protocol = \"http2\"");
    let setup = if over_tls {
        setup.upstream(&format!(
            "tls = true\ntls_ca = {:?}\ntls_server_name = \"gateway.test\"",
            pki().root_file
        ))
    } else {
        setup
    };
    setup.start()
}

/// The server, and a gateway before it.
fn both(over_tls: bool) -> (Server, Gateway) {
    let (chain, key) = (&pki().server.chain_file, &pki().server.key_file);
    let files = [chain.display().to_string(), key.display().to_string()];
    let files = [&*files[0], &*files[1]];
    let server = Server::python("grpc_server.py", if over_tls { &files } else { &[] });
    let gateway = start(&server, over_tls);
    (server, gateway)
}

#[track_caller]
fn client(gateway: &Gateway, what: &str) -> String {
    client_with(gateway, &pki().client, what)
}

#[track_caller]
fn client_with(gateway: &Gateway, credentials: &Credentials, what: &str) -> String {
    let mut command = python_command("grpc_client.py");
    as_client(&mut command, gateway.address(), credentials);
    content(command.arg(what))
}

/// Runs one part of the client against both kinds of upstream.
#[track_caller]
fn works(what: &str) {
    for over_tls in [false, true] {
        let (server, gateway) = both(over_tls);
        client(&gateway, what);
        drop(server);
        gateway.terminate().assert_nothing_left();
    }
}

#[test]
fn unary_calls_one_after_the_other_and_at_once() {
    works("calls");
}

#[test]
fn metadata_in_front_and_behind() {
    let (_server, gateway) = both(false);
    let fields = client(&gateway, "metadata");
    // RFC 9113, 8.2.2: TE may say trailers, and gRPC servers insist on it. grpcio does not show it,
    // nor would it have answered without.
    assert!(fields.contains("x-forwarded-for: 127.0.0.1"), "{fields}");
    assert!(fields.contains("user-agent: grpc-python"), "{fields}");
    gateway.terminate().assert_nothing_left();
    works("metadata");
}

#[test]
fn errors_in_trailers() {
    works("errors");
}

#[test]
fn streams_of_each_kind() {
    works("streams");
}

#[test]
fn deadlines_are_kept_and_told() {
    works("deadlines");
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_server() {
    works("cancel");
}

#[test]
fn a_client_whose_certificate_expires_is_cut_off_in_the_middle_of_a_stream() {
    let (_server, mut gateway) = both(false);
    let began = Instant::now();
    let said = client_with(&gateway, &pki().client_valid(-600, 6), "endure");
    // By what grpcio makes of a connection that was cut.
    assert!(["begun\nUNAVAILABLE\n", "begun\nUNKNOWN\n"].contains(&&*said), "{said}");
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    let record = gateway.wait_for_record(|record| record["close_reason"] == "certificate_expired");
    assert_eq!(record["alpn"], "h2", "{record}");
    // The upstream hears of it, and so does nobody else.
    client(&gateway, "was_cancelled");
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_stream_is_told_from_an_end() {
    for over_tls in [false, true] {
        let (server, mut gateway) = both(over_tls);
        let mut command = python_command("grpc_client.py");
        as_client(&mut command, gateway.address(), &pki().client);
        let mut child = command.arg("endure").stdout(Stdio::piped()).spawn().expect("timeout");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        assert_eq!(line, "begun\n");
        drop(server);
        // RST_STREAM with INTERNAL_ERROR, by gRPC's table of codes.
        assert_eq!(read_text(stdout), "INTERNAL\n");
        assert!(child.wait().expect("our child").success());
        let line = gateway.wait_for("a request", |line| line["event"] == "request");
        assert_eq!((&line["status"], &line["failure_source"]), (&200.into(), &"upstream".into()));
        gateway.terminate().assert_nothing_left();
    }
}

#[test]
fn answers_of_the_gateway_are_errors_that_grpc_understands() {
    // gRPC over HTTP/2 maps statuses of HTTP to its own (doc/http-grpc-status-mapping.md).
    let refusing = crate::harness::origin::Refusing::new();
    let mut gateway = Setup::http(refusing.address).upstream("protocol = \"http2\"").start();
    assert_eq!(client(&gateway, "code").trim(), "UNAVAILABLE", "502");
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!((&line["status"], &line["protocol"]), (&502.into(), &"h2".into()), "{line}");
    gateway.terminate().assert_nothing_left();
    let site = Site::ok();
    let gateway = Setup::http(site.address())
        .without_upstream()
        .route("name = \"no\"\nupstream = \"app\"\ndeny = [\"dns:client.test\"]")
        .start();
    assert_eq!(client(&gateway, "code").trim(), "PERMISSION_DENIED", "403");
    gateway.terminate().assert_nothing_left();
}
