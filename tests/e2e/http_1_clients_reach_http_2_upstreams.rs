//! Requests of HTTP/1.1, of whatever shape, reach an upstream that speaks HTTP/2, and its responses
//! the client, over connections that clients share.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use crate::harness::http::{Message, request, request_with};
use crate::harness::programs::Server;
use crate::harness::{Gateway, HttpClient, Setup};

fn start() -> (Server, Gateway) {
    let node = Server::node("http2_server.js");
    let setup = Setup::http(node.address).upstream("protocol = \"http2\"").top("workers = 1");
    let gateway = setup.start();
    (node, gateway)
}

fn json(response: &Message) -> Value {
    assert_eq!(response.status(), 200, "{response:?}");
    serde_json::from_slice(&response.body).expect("JSON")
}

fn hash(body: &[u8]) -> String {
    digest(&SHA256, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let (_node, gateway) = start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request_with("PUT", "/a%20b?c=d", "X-Mixed-Case: 1\r\nCookie: a=b\r\n", "abcde"));
    let seen = json(&client.answer("PUT"));
    for (name, value) in [
        (":method", "PUT"),
        (":path", "/a%20b?c=d"),
        (":authority", "gateway.test"),
        ("x-mixed-case", "1"),
        ("cookie", "a=b"),
        ("content-length", "5"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(seen["headers"][name], value, "{name} in {seen}");
    }
    // RFC 9113, 8.2.2: what is of the connection is not there.
    for name in ["connection", "transfer-encoding", "keep-alive", "te"] {
        assert!(seen["headers"][name].is_null(), "{name} in {seen}");
    }
    assert_eq!((&seen["bytes"], &seen["sha256"]), (&5.into(), &hash(b"abcde").into()));
    let lines = "Transfer-Encoding: chunked\r\nConnection: X-Hop\r\nX-Hop: 1\r\n";
    client.send(request("POST", "/", lines));
    client.send("3\r\nabc\r\n2\r\nde\r\n0\r\nX-Digest: 7\r\n\r\n");
    let response = client.answer("POST");
    let seen = json(&response);
    assert_eq!((&seen["bytes"], &seen["trailers"]["x-digest"]), (&5.into(), &"7".into()), "{seen}");
    assert!(seen["headers"]["x-hop"].is_null(), "{seen}");
    assert_eq!(response.trailers, [("x-sum".into(), "5".into())]);
    let large = vec![b'y'; 5_000_001];
    client.send(request("POST", "/", &format!("Content-Length: {}\r\n", large.len())));
    client.send(&large);
    assert_eq!(json(&client.answer("POST"))["sha256"], hash(&large));
    assert_eq!(client.get("/bytes/5000001").body, vec![b'x'; 5_000_001]);
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn responses_without_a_body_and_interim_ones() {
    let (_node, gateway) = start();
    let mut client = HttpClient::connect(gateway.address());
    for status in [204, 304] {
        let response = client.get(&format!("/{status}"));
        assert_eq!((response.status(), response.value("etag")), (status, Some("\"e\"")));
    }
    let head = client.ask("HEAD", "/bytes/10", "");
    assert_eq!((head.status(), head.body.len()), (200, 0));
    client.send(request("GET", "/hints", ""));
    assert_eq!(client.response("GET").expect("an interim response").status(), 103);
    assert_eq!(client.response("GET").expect("a response").text(), "ok");
    // Had one of them been taken for a body, this would be out of step.
    assert_eq!(client.get("/sessions").text(), "1");
    // HTTP/1.0 gets the end of the connection for the end of what has no length.
    client.send("GET /bytes/10 HTTP/1.0\r\nHost: gateway.test\r\n\r\n");
    assert_eq!(client.answer("GET").text(), "xxxxxxxxxx");
    client.assert_ended();
    gateway.terminate().assert_clean();
}

#[test]
fn clients_share_a_connection_and_each_gets_its_own() {
    let (_node, gateway) = start();
    let mut clients: Vec<_> = (0..30).map(|_| HttpClient::connect(gateway.address())).collect();
    // Those that come before there is a connection would each make one.
    assert_eq!(clients[0].get("/sessions").text(), "1");
    for round in 0..3 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(request_with("POST", &format!("/{round}-{n}"), "", &format!("body {n}")));
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let seen = json(&client.answer("POST"));
            assert_eq!(seen["headers"][":path"], format!("/{round}-{n}"), "{seen}");
            assert_eq!(seen["sha256"], hash(format!("body {n}").as_bytes()), "{seen}");
        }
    }
    let sessions: u32 = clients[0].get("/sessions").text().parse().expect("a number");
    assert!((1..=2).contains(&sessions), "{sessions} connections for 30 clients");
    drop(clients);
    gateway.terminate().assert_clean();
}

#[test]
fn a_stream_that_is_cut_is_no_end_and_one_that_is_refused_is_an_answer() {
    let (_node, mut gateway) = start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", "/cut", ""));
    assert!(client.response("GET").is_err(), "its end never comes");
    let line = gateway.wait_for("a request", |line| line["path"] == "/cut");
    assert_eq!((&line["status"], &line["failure_source"]), (&200.into(), &"upstream".into()));
    let mut client = HttpClient::connect(gateway.address());
    client.send(request_with("POST", "/refuse", "", "body"));
    assert_eq!(client.answer("POST").status(), 502);
    // The connection to the upstream is as good as before.
    assert_eq!(client.get("/sessions").text(), "1");
    drop(client);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn an_early_response_comes_before_the_body_is_sent() {
    let (_node, gateway) = start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("POST", "/early", "Content-Length: 50000000\r\n"));
    client.send(vec![b'x'; 100_000]);
    let response = client.answer("POST");
    assert_eq!((response.status(), response.text()), (401, "early"));
    drop(client);
    let mut client = HttpClient::connect(gateway.address());
    assert_eq!(client.get("/sessions").text(), "1", "nobody else notices");
    drop(client);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_request_to_upgrade_is_one_without() {
    let (_node, gateway) = start();
    let mut client = HttpClient::connect(gateway.address());
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let response = client.ask("GET", "/", lines);
    // HTTP/2 knows no Upgrade (RFC 9113, 8.6): it is ignored, or refused, and nothing hangs.
    if response.status() == 200 {
        assert!(json(&response)["headers"]["upgrade"].is_null(), "{response:?}");
    } else {
        assert!((400..=502).contains(&response.status()), "{response:?}");
    }
    assert_eq!(client.get("/sessions").status(), 200);
    drop(client);
    gateway.terminate().assert_nothing_left();
}
