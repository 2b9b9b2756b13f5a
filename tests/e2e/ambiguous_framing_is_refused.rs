//! What another parser could read as another message is refused: 400, the connection is closed, and
//! the upstream sees not one byte of it nor of what follows.

use crate::harness::http::request;
use crate::harness::{Gateway, HttpClient, Setup, Site};

/// What would be served if a boundary was taken wrongly.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n";

/// Heads that end where they should, with what makes them ambiguous.
const HEADS: &[(&str, &str)] = &[
    // RFC 9112, 6.1 and 6.3: both, in either order; lists and repeats of lengths.
    (
        "CL.TE",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 6\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    ),
    (
        "TE.CL",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\
         Content-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 3\r\nContent-Length: 30\r\n\
         \r\nabc",
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 3, 30\r\n\r\nabc",
    ),
    ("a sign", "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: +3\r\n\r\nabc"),
    (
        "a hexadecimal length",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 0x3\r\n\r\nabc",
    ),
    ("a negative length", "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: -1\r\n\r\nabc"),
    ("an empty length", "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length:\r\n\r\n"),
    (
        "a length beyond 2^64",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 18446744073709551619\r\n\r\nabc",
    ),
    (
        "a length with a space in it",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1 0\r\n\r\nabc",
    ),
    // RFC 9112, 6.1: chunked last, once, and in HTTP/1.1.
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n\
         0\r\n\r\n",
    ),
    (
        "two Transfer-Encoding",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\
         Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked not last",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\
         \r\n",
    ),
    (
        "quoted chunked",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    ),
    (
        "a vertical tab before chunked",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    // RFC 9112, 5.1 and 5.2: white space before the colon, folded lines.
    (
        "a space before the colon",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a tab before the colon",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length\t: 3\r\n\r\nabc",
    ),
    ("obs-fold", "GET / HTTP/1.1\r\nHost: gateway.test\r\nX-A: b\r\n c\r\n\r\n"),
    (
        "obs-fold of a length",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length:\r\n 3\r\n\r\nabc",
    ),
    ("white space before the first field", "GET / HTTP/1.1\r\n Host: gateway.test\r\n\r\n"),
    ("a line without a colon", "GET / HTTP/1.1\r\nHost: gateway.test\r\nX-A\r\n\r\n"),
    ("a field without a name", "GET / HTTP/1.1\r\nHost: gateway.test\r\n: b\r\n\r\n"),
    ("a bad name", "GET / HTTP/1.1\r\nHost: gateway.test\r\nX(A): b\r\n\r\n"),
    // RFC 9112, 2.2: line ends; RFC 9110, 5.5: CR, LF and NUL in values.
    (
        "a bare CR in a value",
        "GET / HTTP/1.1\r\nHost: gateway.test\r\nX-A: b\rTransfer-Encoding: chunked\r\n\r\n",
    ),
    ("a bare LF as line end", "GET / HTTP/1.1\r\nHost: gateway.test\nX-A: b\r\n\r\n"),
    ("a bare LF behind the start line", "GET / HTTP/1.1\nHost: gateway.test\r\n\r\n"),
    ("NUL in a value", "GET / HTTP/1.1\r\nHost: gateway.test\r\nX-A: b\0c\r\n\r\n"),
    ("NUL in a name", "GET / HTTP/1.1\r\nHost: gateway.test\r\nX-\0A: b\r\n\r\n"),
    ("NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),
    (
        "a control character in a value",
        "GET / HTTP/1.1\r\nHost: gateway.test\r\nX-A: b\x01c\r\n\r\n",
    ),
    ("CR CR LF", "GET / HTTP/1.1\r\r\nHost: gateway.test\r\n\r\n"),
    // RFC 9112, 3: the request line.
    ("two spaces", "GET  / HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),
    ("a tab for a space", "GET\t/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),
    ("a space in the target", "GET /a b HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),
    ("a fragment", "GET /a#b HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),
    (
        "a byte that is not ASCII in the target",
        "GET /\u{fc} HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    ),
    ("lower-case version", "GET / http/1.1\r\nHost: gateway.test\r\n\r\n"),
    ("no version", "GET /\r\nHost: gateway.test\r\n\r\n"),
    ("a bad method", "G@T / HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),
    ("a relative target", "GET a HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),
    ("asterisk-form of GET", "GET * HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),
    ("empty lines before", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),
    // RFC 9112, 3.2: Host.
    ("no Host", "GET / HTTP/1.1\r\n\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: gateway.test\r\nHost: other.test\r\n\r\n"),
    ("the same Host twice", "GET / HTTP/1.1\r\nHost: gateway.test\r\nhost: gateway.test\r\n\r\n"),
    ("a Host with user information", "GET / HTTP/1.1\r\nHost: a@gateway.test\r\n\r\n"),
    ("a Host with a path", "GET / HTTP/1.1\r\nHost: gateway.test/x\r\n\r\n"),
    ("a Host with a bad port", "GET / HTTP/1.1\r\nHost: gateway.test:http\r\n\r\n"),
    ("a list of Hosts", "GET / HTTP/1.1\r\nHost: gateway.test, other.test\r\n\r\n"),
    (
        "absolute-form against Host",
        "GET https://other.test/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    ),
];

fn gateway(site: &Site) -> Gateway {
    Setup::http(site.address()).start()
}

/// Asserts that an answer with this status comes, and then the end.
#[track_caller]
fn assert_refused(what: &str, mut client: HttpClient, statuses: &[u16]) {
    let answer = client.response("POST").unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(statuses.contains(&answer.status()), "{what}: {answer:?}");
    assert_eq!(answer.value("connection"), Some("close"), "{what}: {answer:?}");
    // Nothing of what was found, and nothing more.
    assert!(!answer.text().contains("smuggled"), "{what}: {answer:?}");
    assert_eq!(client.rest(), b"", "{what}");
}

#[test]
fn each_ambiguous_head_gets_400_and_the_upstream_nothing() {
    let site = Site::ok();
    let gateway = gateway(&site);
    for (what, head) in HEADS {
        let mut client = HttpClient::connect(gateway.address());
        client.send(format!("{head}{SMUGGLED}"));
        assert_refused(what, client, &[400]);
        assert_eq!((site.received(), site.accepted()), (0, 0), "{what}: {:?}", site.seen());
    }
    let stopped = gateway.terminate();
    let requests: Vec<_> =
        stopped.records.iter().filter(|record| record["event"] == "request").collect();
    assert_eq!(requests.len(), HEADS.len(), "each has its line");
    for request in requests {
        assert_eq!(request["status"], 400, "{request}");
        assert!(request["answered"].is_string(), "{request}");
        assert!(request["upstream"].is_null(), "{request}");
    }
    assert_eq!(stopped.counter("requests_answered"), HEADS.len() as u64);
    for connection in stopped.connections() {
        assert_eq!(connection["close_reason"], "bad_request", "{connection}");
    }
    stopped.assert_clean();
}

#[test]
fn what_is_behind_a_good_request_is_refused_alike() {
    let site = Site::ok();
    let gateway = gateway(&site);
    for (count, (what, head)) in HEADS.iter().enumerate() {
        let mut client = HttpClient::connect(gateway.address());
        client.send(format!("{}{head}{SMUGGLED}", request("GET", "/good", "")));
        assert_eq!(client.answer("GET").text(), "ok", "{what}");
        assert_refused(what, client, &[400]);
        let seen = site.seen();
        assert_eq!(seen.len(), count + 1, "{what}: {:?}", seen.last());
        assert_eq!(seen[count].request.target(), "/good", "{what}");
    }
    gateway.terminate().assert_clean();
}

/// Bodies that are no chunks, behind a head that is good.
const CHUNKS: &[(&str, &str)] = &[
    ("a negative size", "-1\r\n"),
    ("a sign", "+3\r\nabc\r\n0\r\n\r\n"),
    ("a prefix", "0x3\r\nabc\r\n0\r\n\r\n"),
    ("no size", "\r\nabc\r\n"),
    ("no digit", "g\r\nabc\r\n"),
    ("a size beyond 2^64", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("seventeen digits", "00000000000000003\r\nabc\r\n0\r\n\r\n"),
    ("a space before the size", " 3\r\nabc\r\n0\r\n\r\n"),
    ("a space behind the size", "3 \r\nabc\r\n0\r\n\r\n"),
    ("a bare LF behind the size", "3\nabc\r\n0\r\n\r\n"),
    ("a bare LF in an extension", "3;a\nGET /smuggled HTTP/1.1\r\nabc\r\n0\r\n\r\n"),
    ("a bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
    ("an extension without name", "3;=b\r\nabc\r\n0\r\n\r\n"),
    ("more data than the size says", "3\r\nabcd\r\n0\r\n\r\n"),
    ("a bare LF behind the data", "3\r\nabc\n0\r\n\r\n"),
    ("a folded trailer", "0\r\nX-A: b\r\n c\r\n\r\n"),
    ("a space in a trailer's name", "0\r\nX-A : b\r\n\r\n"),
    ("a bare LF behind the last chunk", "0\n\r\n"),
    ("NUL in a trailer", "0\r\nX-A: b\0\r\n\r\n"),
];

#[test]
fn each_malformed_chunk_ends_the_message_for_both_sides() {
    let site = Site::ok();
    let gateway = gateway(&site);
    for (what, chunks) in CHUNKS {
        let mut client = HttpClient::connect(gateway.address());
        client.send(request("POST", "/", "Transfer-Encoding: chunked\r\n"));
        client.send(format!("{chunks}{SMUGGLED}"));
        assert_refused(what, client, &[400]);
        // The head may have gone up before its body was seen; a whole message never does.
        assert_eq!(site.seen().len(), 0, "{what}: {:?}", site.seen());
    }
    gateway.terminate().assert_clean();
}

#[test]
fn paths_that_servers_resolve_differently_get_400_too() {
    let site = Site::ok();
    let mut gateway = gateway(&site);
    // The head itself is good, and so is the connection.
    let mut client = HttpClient::connect(gateway.address());
    for target in [
        "/a/../b",
        "/a/%2e%2E/b",
        "/%zz",
        "/%00",
        "/a/..",
        "/../a",
        "/./a",
        "/a%2f..%2fb",
        "/a/..%5cb",
        "/a/..;/b",
        "/%0d%0aX-A:%20b",
        "/%7f",
        "/%1",
        "/%",
    ] {
        let answer = client.get(target);
        assert_eq!(answer.status(), 400, "{target}: {:?}", site.seen());
        let line = gateway
            .wait_for("a request", |line| line["event"] == "request" && line["seen"].is_null());
        assert!(line["answered"].is_string(), "{line}");
    }
    assert_eq!(site.received(), 0, "{:?}", site.seen());
    assert_eq!(client.get("/a/..b/...").text(), "ok", "these are names");
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn what_other_versions_say_gets_their_status() {
    let site = Site::ok();
    let gateway = gateway(&site);
    for (what, statuses, bytes) in [
        ("HTTP/2.0", &[505][..], "GET / HTTP/2.0\r\nHost: gateway.test\r\n\r\n"),
        ("HTTP/1.2", &[505, 400], "GET / HTTP/1.2\r\nHost: gateway.test\r\n\r\n"),
        ("the preface of HTTP/2", &[505, 400], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("HTTP/0.9", &[400, 505], "GET /\r\n\r\n"),
        ("CONNECT", &[405, 400], "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"),
        (
            "an unknown coding",
            &[501],
            "POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n\
             0\r\n\r\n",
        ),
        ("TLS inside TLS", &[400], "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n"),
    ] {
        let mut client = HttpClient::connect(gateway.address());
        client.send(format!("{bytes}{SMUGGLED}"));
        assert_refused(what, client, statuses);
    }
    assert_eq!((site.received(), site.accepted()), (0, 0), "{:?}", site.seen());
    gateway.terminate().assert_clean();
}

#[test]
fn ambiguous_responses_never_reach_a_client() {
    let responses = [
        (
            "both",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\
             abc\r\n0\r\n\r\n",
        ),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        ("a bad length", "HTTP/1.1 200 OK\r\nContent-Length: 3a\r\n\r\nabc"),
        ("obs-fold", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 3\r\n\r\nabc"),
        ("a bare CR", "HTTP/1.1 200 OK\r\nX-A: b\rc\r\nContent-Length: 3\r\n\r\nabc"),
        ("a bare LF", "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc\r\n\r\n"),
        ("NUL", "HTTP/1.1 200 OK\r\nX-A: b\0\r\nContent-Length: 3\r\n\r\nabc"),
        ("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc"),
        ("an impossible status", "HTTP/1.1 099 OK\r\nContent-Length: 3\r\n\r\nabc"),
        ("another version", "HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
        ("101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        ("garbage", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    ];
    for (what, response) in responses {
        let site = Site::new(move |_| crate::harness::Reply::raw(response));
        let mut gateway = gateway(&site);
        let mut client = HttpClient::connect(gateway.address());
        let answer = client.get("/");
        assert_eq!(answer.status(), 502, "{what}: {answer:?}");
        assert!(!answer.text().contains("abc"), "{what}: {answer:?}");
        let line = gateway.wait_for("a request", |line| line["event"] == "request");
        assert_eq!(line["answered"], "bad_response", "{what}: {line}");
        // Whatever else the upstream says on that connection belongs to no request.
        client.ask("GET", "/", "");
        assert_eq!(site.accepted(), 2, "{what}");
        drop(client);
        gateway.terminate().assert_nothing_left();
    }
}

#[test]
fn bytes_behind_a_response_are_no_response_to_the_next_request() {
    let site = Site::new(|seen| {
        let own = seen.request.target().to_string();
        let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
        let length = own.len();
        crate::harness::Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{own}{poison}"
        ))
    });
    let gateway = gateway(&site);
    let mut client = HttpClient::connect(gateway.address());
    for target in ["/one", "/two", "/three"] {
        assert_eq!(client.get(target).text(), target);
        // In its own time, or with the response: both are met.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(site.accepted(), 3, "such a connection is not used again");
    drop(client);
    gateway.terminate().assert_nothing_left();
}
