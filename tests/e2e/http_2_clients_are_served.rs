//! HTTP/2 clients of others (curl, nghttp, h2load) are served, whichever version the upstream
//! speaks, and a client of HTTP/1.1 by an upstream that speaks HTTP/2.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::programs::{
    Nginx, Server, as_client, bounded, content, curl, python_command, url,
};
use crate::harness::{Gateway, HttpClient, Reply, Setup, Site, Then, chaos, pki, wait_until};

#[track_caller]
fn curled(gateway: &Gateway, arguments: &[&str], paths: &[&str]) -> String {
    let urls: Vec<_> = paths.iter().map(|path| url(gateway.address(), path)).collect();
    let mut all = vec!["--http2"];
    all.extend(arguments);
    all.extend(urls.iter().map(String::as_str));
    let output = curl(gateway.address(), Some(&pki().client), &all);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {all:?}: {} {stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// An nghttp or h2load with the usual certificate.
fn with_certificate(program: &str) -> Command {
    let mut command = bounded(program);
    if program == "nghttp" {
        command.arg("--cert").arg(&pki().client.chain_file);
        command.arg("--key").arg(&pki().client.key_file);
    }
    command
}

#[test]
fn alpn_chooses_the_version() {
    let site = Site::ok();
    let mut gateway = Setup::http(site.address()).start();
    for (flag, version, alpn, protocol) in [
        ("--http2", "2", "h2".into(), "h2"),
        ("--http1.1", "1.1", "http/1.1".into(), "http/1.1"),
        ("--no-alpn", "1.1", Value::Null, "http/1.1"),
    ] {
        let said = curled(&gateway, &["--write-out", " %{http_version}", flag], &["/"]);
        assert_eq!(said, format!("ok {version}"), "{flag}");
        let record = gateway.wait_for_record(|_| true);
        assert_eq!(record["alpn"], alpn, "{record}");
        let line = gateway
            .wait_for("a request", |line| line["seen"].is_null() && line["event"] == "request");
        assert_eq!(line["protocol"], protocol, "{line}");
    }
    gateway.terminate().assert_clean();
}

#[test]
fn curl_gets_puts_and_sees_heads_over_http_2() {
    let site = Site::new(|seen| match seen.request.target() {
        "/chunked" => Reply::raw(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nchu\r\n3\r\nnks\r\n0\r\n\
             \r\n",
        ),
        "/close" => Reply::raw("HTTP/1.1 200 OK\r\n\r\nuntil close").then(Then::Close),
        "/204" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        "/hop" => Reply::raw(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\n\
             X-Hop: 1\r\n\
             Content-Length: 2\r\n\r\nok",
        ),
        target => Reply::ok(&format!("{} {target} {}", seen.request.method(), seen.request.text())),
    });
    let mut gateway = Setup::http(site.address()).start();
    let said = curled(&gateway, &[], &["/a?x=%20", "/chunked", "/close", "/204", "/b"]);
    assert_eq!(said, "GET /a?x=%20 chunksuntil closeGET /b ");
    assert_eq!(curled(&gateway, &["--data", "body"], &["/p"]), "POST /p body");
    let head = curled(&gateway, &["--head"], &["/head"]).to_lowercase();
    assert!(head.starts_with("http/2 200"), "{head}");
    let hop = curled(&gateway, &["--include"], &["/hop"]).to_lowercase();
    // RFC 9113, 8.2.2: connection-specific fields are malformed in HTTP/2.
    for name in ["connection:", "keep-alive:", "x-hop:", "transfer-encoding:"] {
        assert!(!hop.contains(name), "{hop}");
    }
    let asked = site.last();
    assert_eq!(
        asked.value("host").map(|host| host.split(':').next().expect("a host")),
        Some("gateway.test")
    );
    // Crumbs are one field again (RFC 9113, 8.2.3).
    curled(&gateway, &["--cookie", "a=b; c=d"], &["/cookie"]);
    assert_eq!(site.last().value("cookie"), Some("a=b; c=d"));
    let line = gateway.wait_for("a request", |line| line["path"] == "/p");
    assert_eq!((&line["bytes_up"], &line["status"]), (&4.into(), &200.into()), "{line}");
    gateway.terminate().assert_clean();
}

#[test]
fn a_large_body_goes_up_and_comes_down_over_http_2() {
    let node = Server::node("server.js");
    let gateway = Setup::http(node.address).start();
    let body: Vec<u8> = (0..30_000_001_u32).map(|index| (index % 251) as u8).collect();
    let file = chaos::file("body", &body);
    let path = file.display().to_string();
    let said: Value =
        serde_json::from_str(&curled(&gateway, &["--upload-file", &path], &["/up"])).expect("JSON");
    assert_eq!(said["bytes"], body.len(), "{said}");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(said["sha256"], hash, "{said}");
    gateway.terminate().assert_clean();
    let nginx = Nginx::start();
    nginx.file("body", &body);
    let gateway = Setup::http(nginx.address).start();
    let down = file.with_extension("down").display().to_string();
    curled(&gateway, &["--output", &down], &["/body"]);
    assert!(std::fs::read(&down).expect("curl wrote it") == body, "what came down differs");
    gateway.terminate().assert_clean();
}

#[test]
fn nghttp_multiplexes() {
    let site = Site::new(|seen| Reply::ok(seen.request.target()).after(Duration::from_millis(100)));
    let gateway = Setup::http(site.address()).start();
    let base = format!("https://127.0.0.1:{}", gateway.address().port());
    let mut command = with_certificate("nghttp");
    command.args(["--no-dep", "--stat", "--timeout=30"]);
    command.args((0..20).map(|n| format!("{base}/{n}")));
    let began = std::time::Instant::now();
    let said = content(&mut command);
    for n in 0..20 {
        // Status, bytes and path end the line that nghttp has of a request.
        let path = format!("/{n}");
        let (bytes, path) = (path.len().to_string(), path.as_str());
        let is_of = |line: &str| {
            line.split_whitespace().collect::<Vec<_>>().ends_with(&["200", &bytes, path])
        };
        assert!(said.lines().any(is_of), "{path} in {said}");
    }
    assert!(began.elapsed() < Duration::from_millis(1900), "one after the other");
    let stopped = gateway.terminate();
    assert_eq!((stopped.counter("requests"), stopped.counter("accepted")), (20, 1));
    stopped.assert_clean();
}

#[test]
fn h2load_has_all_its_requests_answered() {
    let site = Site::ok();
    // h2load presents no certificate.
    let gateway =
        Setup::http(site.address()).listener("client_auth = \"off\"").client_ca(None).start();
    let mut command = with_certificate("h2load");
    command.args(["--requests=1000", "--clients=4", "--max-concurrent-streams=10", "--threads=1"]);
    command.arg(format!("https://127.0.0.1:{}/", gateway.address().port()));
    let said = content(&mut command);
    assert!(said.contains("1000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    assert!(said.contains("status codes: 1000 2xx"), "{said}");
    assert!(said.contains("Application protocol: h2"), "{said}");
    let stopped = gateway.terminate();
    assert_eq!((stopped.counter("requests"), stopped.counter("accepted")), (1000, 4));
    stopped.assert_clean();
}

/// nginx with HTTP/2 and TLS as an upstream, which says what it was asked.
fn nginx_of_http_2() -> (Nginx, Setup) {
    let says = "location / { return 200 \"$server_protocol $request_method $uri $http_host\"; }";
    let nginx = Nginx::over_tls("http2", &pki().server, says);
    let setup = Setup::http(nginx.address).upstream(&format!(
        "protocol = \"http2\"\ntls = true\ntls_ca = {:?}\ntls_server_name = \"gateway.test\"",
        pki().root_file
    ));
    (nginx, setup)
}

#[test]
fn an_upstream_of_http_2_serves_clients_of_both_versions() {
    let (_nginx, setup) = nginx_of_http_2();
    let gateway = setup.start();
    let mut client = HttpClient::connect(gateway.address());
    for _ in 0..3 {
        let response = client.get("/one");
        assert_eq!(response.text(), "HTTP/2.0 GET /one gateway.test");
    }
    let said = curled(&gateway, &[], &["/two"]);
    assert!(said.starts_with("HTTP/2.0 GET /two gateway.test"), "{said}");
    drop(client);
    let stopped = gateway.terminate();
    assert!(stopped.counter("upstream_connects") <= 2, "{}", stopped.event);
    stopped.assert_clean();
}

#[test]
fn a_drain_ends_http_2_by_goaway_and_completes_its_streams() {
    let site = Site::new(|seen| {
        let wait = if seen.request.target() == "/slow" { 1500 } else { 0 };
        Reply::ok(seen.request.target()).after(Duration::from_millis(wait))
    });
    let mut gateway = Setup::http(site.address()).start();
    let address = url(gateway.address(), "/slow");
    let resolve = format!("gateway.test:{}:127.0.0.1", gateway.address().port());
    let mut command = bounded("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--http2", "--verbose"]);
    command.args(["--resolve", &resolve]);
    command.arg("--cacert").arg(&pki().root_file);
    command.arg("--cert").arg(&pki().client.chain_file).arg("--key").arg(&pki().client.key_file);
    let running = std::thread::spawn(move || command.arg(address).output().expect("curl"));
    wait_until("it is there", || !site.seen().is_empty());
    gateway.signal(Signal::TERM);
    gateway.wait_for("the event drain", |line| line["event"] == "drain");
    let output = running.join().expect("it ran");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/slow", "{output:?}");
    gateway.wait().assert_clean();
}

#[test]
fn each_refusal_has_its_status_and_the_connection_goes_on() {
    let refusing = crate::harness::origin::Refusing::new();
    let silent = crate::harness::origin::Origin::sink();
    let upstreams = format!(
        "[[upstream]]\nname = \"refusing\"\nendpoints = [\"{}\"]\n\
         [[upstream]]\nname = \"silent\"\nendpoints = [\"{}\"]\n",
        refusing.address,
        silent.address()
    );
    let site = Site::ok();
    let gateway = Setup::http(site.address())
        .without_upstream()
        .http_keys("problem_details = true")
        .route("name = \"no\"\npath = \"/403\"\nupstream = \"app\"\ndeny = [\"dns:client.test\"]")
        .route("name = \"small\"\npath = \"/413\"\nupstream = \"app\"\nrequest_body_bytes_max = 10")
        .route(
            "name = \"rare\"\npath = \"/429\"\nupstream = \"app\"\n\
             rate_per_identity = \"1/m burst 1\"",
        )
        .route("name = \"down\"\npath = \"/502\"\nupstream = \"refusing\"")
        .route(
            "name = \"late\"\npath = \"/504\"\nupstream = \"silent\"\n\
             first_byte_timeout_ms = 300",
        )
        .route("name = \"good\"\npath = \"/good\"\nupstream = \"app\"")
        .route("name = \"ok\"\npath = \"/ok\"\nupstream = \"app\"")
        .more(&upstreams)
        .start();
    let statuses = |arguments: &[&str], paths: &[&str]| {
        let each = ["--output", "/dev/null", "--write-out", "%{http_code} "];
        // Of each URL, or they would be written.
        let outputs = paths.iter().skip(1).flat_map(|_| ["--output", "/dev/null"]);
        let all: Vec<_> =
            each.into_iter().chain(outputs).chain(arguments.iter().copied()).collect();
        curled(&gateway, &all, paths)
    };
    let paths = ["/403", "/404", "/429", "/429", "/502", "/504", "/400/../ok", "/ok"];
    let path_as_is = ["--path-as-is"];
    assert_eq!(statuses(&path_as_is, &paths), "403 404 200 429 502 504 400 200 ");
    let said = curled(&gateway, &["--include"], &["/429"]).to_lowercase();
    assert!(said.contains("\r\nretry-after: "), "{said}");
    assert!(said.contains("application/problem+json"), "{said}");
    assert!(said.contains("\"code\":\"rate_of_identity\""), "{said}");
    // By curl this would be a question of time: it fails where the answer comes before the body.
    hostile(&gateway, "early");
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("accepted"), 3, "one connection each");
    stopped.assert_clean();
}

/// Runs a part of the client that speaks HTTP/2 as it likes.
#[track_caller]
fn hostile(gateway: &Gateway, what: &str) {
    let mut command = python_command("h2_client.py");
    as_client(&mut command, gateway.address(), &pki().client);
    content(command.arg(what));
}

#[test]
fn fields_that_belong_to_http_1_are_no_request() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).start();
    hostile(&gateway, "malformed");
    let seen = site.seen();
    // A good one before the first, after each of the bad ones, and at the end.
    assert!(seen.len() > 20, "{}", seen.len());
    assert!(seen.iter().all(|seen| seen.request.target() == "/good"), "{seen:#?}");
    gateway.terminate().assert_nothing_left();
}

#[test]
fn one_connection_serves_trust_scopes_apart() {
    let site = Site::ok();
    let other = chaos::Ca::root("other root", |_| {});
    let strict = format!(
        "[[listener.server_name]]\nnames = [\"strict.test\"]\nclient_ca = {:?}\n",
        other.file()
    );
    let gateway = Setup::http(site.address()).http_keys("").more(&strict).start();
    let said = curled(
        &gateway,
        &["--header", "Host: strict.test", "--write-out", "%{http_code}", "--output", "/dev/null"],
        &["/"],
    );
    assert_eq!(said, "421");
    assert_eq!(site.accepted(), 0);
    gateway.terminate().assert_clean();
}
