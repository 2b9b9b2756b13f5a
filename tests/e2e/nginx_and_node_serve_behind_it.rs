//! nginx and Node as upstreams: what others wrote understands every message as it was meant.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use crate::harness::http::request;
use crate::harness::programs::{Nginx, Server, curl, url};
use crate::harness::{HttpClient, Setup, pki, wait_until};

#[test]
fn nginx_sees_each_request_once_and_keeps_its_connection() {
    let nginx = Nginx::start();
    nginx.file("small", b"small");
    nginx.file("large", &vec![b'x'; 3_000_001]);
    let gateway = Setup::http(nginx.address).top("workers = 1").start();
    let mut client = HttpClient::connect(gateway.address());
    for _ in 0..50 {
        assert_eq!(client.get("/small").text(), "small");
        assert_eq!(client.get("/large").body.len(), 3_000_001);
        assert_eq!(client.get("/absent").status(), 404);
        assert_eq!(client.ask("HEAD", "/small", "").value("content-length"), Some("5"));
    }
    let tag = client.get("/small").value("etag").expect("nginx tells").to_string();
    let same = client.ask("GET", "/small", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((same.status(), same.body.len()), (304, 0));
    let part = client.ask("GET", "/large", "Range: bytes=10-19\r\n");
    assert_eq!((part.status(), part.body.len()), (206, 10));
    // nginx takes no POST of a file; the body that it does not read is not the next request.
    for lines in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        client.send(request("POST", "/small", lines));
        client.send(if lines.starts_with('C') { "abcde" } else { "5\r\nabcde\r\n0\r\n\r\n" });
        assert_eq!(client.answer("POST").status(), 405);
        assert_eq!(client.get("/small").text(), "small");
    }
    drop(client);
    let stopped = gateway.terminate();
    let requests = stopped.counter("requests");
    stopped.assert_clean();
    let log = std::fs::read_to_string(nginx.access_log()).expect("nginx has a log");
    assert_eq!(log.lines().count() as u64, requests, "each once");
    assert!(!log.contains("\" 400 "), "nginx found one malformed: {log}");
}

#[test]
fn nginx_closes_after_its_requests_and_none_is_lost() {
    let nginx = Nginx::with("keepalive_requests 7;");
    nginx.file("small", b"small");
    let gateway = Setup::http(nginx.address).top("workers = 1").start();
    let mut client = HttpClient::connect(gateway.address());
    for _ in 0..50 {
        assert_eq!(client.get("/small").text(), "small");
    }
    drop(client);
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("upstream_connects"), 8, "50 requests by 7");
    stopped.assert_clean();
}

fn asked(client: &mut HttpClient, method: &str, lines: &str, body: &str) -> Value {
    client.send(request(method, "/a%20b?c=d&e", lines) + body);
    let response = client.answer(method);
    assert_eq!(response.status(), 200, "{response:?}");
    serde_json::from_slice(&response.body).expect("JSON")
}

#[test]
fn node_understands_bodies_chunks_and_trailers() {
    let node = Server::node("server.js");
    let gateway = Setup::http(node.address).top("workers = 1").start();
    let mut client = HttpClient::connect(gateway.address());
    let length = asked(&mut client, "PUT", "X-A: 1\r\nContent-Length: 5\r\n", "abcde");
    assert_eq!((&length["bytes"], &length["url"]), (&5.into(), &"/a%20b?c=d&e".into()));
    assert_eq!(length["headers"]["x-a"], "1", "{length}");
    assert_eq!(length["headers"]["host"], "gateway.test", "{length}");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let seen = asked(&mut client, "POST", chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n");
    assert_eq!((&seen["bytes"], &seen["trailers"]["x-sum"]), (&5.into(), &"5".into()), "{seen}");
    assert_eq!(seen["sha256"], length["sha256"]);
    let none = asked(&mut client, "DELETE", "", "");
    assert_eq!((&none["bytes"], &none["headers"]["content-length"]), (&0.into(), &Value::Null));
    let lines = client.get("/chunked");
    assert_eq!(lines.text().lines().count(), 50);
    assert_eq!(lines.trailers, [("X-Sum".into(), "50".into())]);
    assert_eq!(client.get("/connections").text(), "1", "one for all");
    // It closes idle connections soon: no request is lost to that.
    let mut pause = std::time::Duration::from_millis(300);
    wait_until("Node closes its idle connection", || {
        pause += pause / 2;
        std::thread::sleep(pause);
        client.get("/connections").text() != "1"
    });
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn node_is_asked_before_a_large_body_is_sent() {
    let node = Server::node("server.js");
    let gateway = Setup::http(node.address).start();
    let file = crate::harness::temp_dir().join("body");
    let body: Vec<u8> = (0..5_000_001_u32).map(|index| (index % 251) as u8).collect();
    std::fs::write(&file, &body).expect("a temporary file");
    let arguments = [
        "--http1.1",
        "--include",
        "--expect100-timeout",
        "30",
        "--upload-file",
        &file.display().to_string(),
        &url(gateway.address(), "/"),
    ];
    let output = curl(gateway.address(), Some(&pki().client), &arguments);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.starts_with("HTTP/1.1 100 Continue"), "{output:?}");
    assert!(said.to_lowercase().contains("x-continued: 1"), "{said}");
    let hash: String =
        digest(&SHA256, &body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(said.contains(&hash), "{said}");
    gateway.terminate().assert_clean();
}
