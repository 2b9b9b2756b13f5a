//! Via, X-Forwarded-* and Forwarded say what the configuration has them say, and what is for one
//! connection alone ends at the gateway.

use crate::harness::http::{Message, request};
use crate::harness::{Gateway, HttpClient, Reply, Setup, Site};

/// What a client says of where it comes from.
const CLAIMED: &str = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
                       x_forwarded_for: 192.0.2.2\r\nX-Forwarded-Host: forged.test\r\n\
                       X-Real-IP: 192.0.2.3\r\nForwarded: for=192.0.2.4;proto=http\r\n\
                       Via: 1.1 before\r\n";

/// What of it arrives where `[listener.http]` has these keys.
fn forwarded(keys: &str, lines: &str) -> Message {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).http_keys(keys).start();
    let mut client = HttpClient::connect(gateway.address());
    assert_eq!(client.ask("GET", "/", lines).status(), 200);
    drop(client);
    gateway.terminate().assert_clean();
    site.only()
}

#[test]
fn by_default_a_client_cannot_say_where_it_comes_from() {
    let asked = forwarded("", CLAIMED);
    assert_eq!(asked.value("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(asked.value("x-forwarded-proto"), Some("https"));
    for name in ["x_forwarded_for", "x-forwarded-host", "x-real-ip", "forwarded"] {
        assert!(asked.values(name).is_empty(), "{name}: {asked:#?}");
    }
}

#[test]
fn off_removes_and_adds_nothing() {
    let asked = forwarded("x_forwarded = \"off\"\nforwarded = \"off\"", CLAIMED);
    for (name, value) in &asked.fields {
        assert!(!name.to_lowercase().contains("forwarded"), "{name}: {value}");
    }
    assert!(asked.values("x-real-ip").is_empty(), "{asked:#?}");
}

#[test]
fn set_replaces() {
    let asked = forwarded("x_forwarded = \"set\"\nforwarded = \"set\"", CLAIMED);
    assert_eq!(asked.value("x-forwarded-for"), Some("127.0.0.1"));
    let said = asked.value("forwarded").expect("the field");
    let mut pairs: Vec<_> = said.split(';').collect();
    pairs.sort_unstable();
    assert_eq!(pairs, ["for=127.0.0.1", "host=\"gateway.test\"", "proto=https"]);
}

#[test]
fn append_adds_this_hop_behind_those_before() {
    let asked = forwarded("x_forwarded = \"append\"\nforwarded = \"append\"", CLAIMED);
    let all = asked.values("x-forwarded-for").join(", ");
    assert_eq!(all, "192.0.2.1, 127.0.0.1", "{asked:#?}");
    assert_eq!(asked.values("x-forwarded-proto").last(), Some(&"https"), "{asked:#?}");
    let hops = asked.values("forwarded").join(", ");
    assert!(hops.starts_with("for=192.0.2.4;proto=http, for=127.0.0.1"), "{hops}");
    // What would contradict that, or name another path than the one that was judged, does not stay.
    let others = [
        "X-Real-IP",
        "True-Client-IP",
        "X-Original-URL",
        "X-Rewrite-URL",
        "x_original_url",
        "X-Envoy-Original-Path",
        "X-Forwarded-Prefix",
        "X-Forwarded-Path",
        "X-Forwarded-Uri",
        "X-Forwarded-Ssl",
        "X-Forwarded-Scheme",
    ];
    let lines: String = others.iter().map(|name| format!("{name}: /admin\r\n")).collect();
    let asked = forwarded("x_forwarded = \"append\"", &(lines.clone() + "X-Forwarded-Host: a\r\n"));
    assert!(!asked.fields.iter().any(|(_, value)| value == "/admin"), "{asked:#?}");
    assert_eq!(asked.value("x-forwarded-host"), Some("a"));
    let asked = forwarded("x_forwarded = \"pass\"", &lines);
    let passed = asked.fields.iter().filter(|(_, value)| value == "/admin");
    assert_eq!(passed.count(), others.len(), "{asked:#?}");
    // Several fields of the client are one list.
    let two = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.5, 192.0.2.6\r\n";
    let asked = forwarded("x_forwarded = \"append\"", two);
    let all = asked.values("x-forwarded-for").join(", ");
    assert_eq!(all, "192.0.2.1, 192.0.2.5, 192.0.2.6, 127.0.0.1");
    // And none is none.
    let asked = forwarded("x_forwarded = \"append\"", "");
    assert_eq!(asked.value("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn pass_leaves_what_the_client_said() {
    let asked = forwarded("x_forwarded = \"pass\"\nforwarded = \"pass\"", CLAIMED);
    assert_eq!(asked.value("x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(asked.value("x-forwarded-proto"), Some("http"));
    assert_eq!(asked.value("x-forwarded-host"), Some("forged.test"));
    assert_eq!(asked.value("forwarded"), Some("for=192.0.2.4;proto=http"));
}

#[test]
fn via_is_added_to_requests_by_default_and_to_responses_where_it_is_asked_for() {
    for (keys, to_upstream, own) in
        [("via = true", true, true), ("", true, false), ("via = false", false, false)]
    {
        let site = Site::new(|_| {
            Reply::raw("HTTP/1.1 200 OK\r\nVia: 1.1 origin\r\nContent-Length: 0\r\n\r\n")
        });
        let gateway = Setup::http(site.address()).http_keys(keys).start();
        let mut client = HttpClient::connect(gateway.address());
        let response = client.ask("GET", "/", CLAIMED);
        let expected = |first: &'static str, own: bool| match own {
            true => vec![first, "1.1 ringfort"],
            false => vec![first],
        };
        assert_eq!(response.values("via"), expected("1.1 origin", own));
        // RFC 9110, 7.6.3: each intermediary appends; what those before said stays.
        assert_eq!(site.last().values("via"), expected("1.1 before", to_upstream));
        client.send("GET / HTTP/1.0\r\nHost: gateway.test\r\n\r\n");
        client.answer("GET");
        let said = site.last();
        assert_eq!(said.values("via"), if to_upstream { vec!["1.0 ringfort"] } else { vec![] });
        gateway.terminate().assert_clean();
    }
}

fn start(site: &Site) -> Gateway {
    Setup::http(site.address()).start()
}

#[test]
fn fields_for_one_hop_end_at_the_gateway() {
    let site = Site::new(|_| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\n\
             Keep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nX-End: 1\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let gateway = start(&site);
    let mut client = HttpClient::connect(gateway.address());
    let response = client.ask(
        "GET",
        "/",
        "Connection: x-hop, X-Other\r\nConnection: third\r\nX-HOP: 1\r\nX-Other: 2\r\nThird: 3\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers, deflate\r\n\
         Trailer: X-Sum\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nX-End: 1\r\n",
    );
    let asked = site.only();
    let hop = ["x-hop", "x-other", "third", "keep-alive", "proxy-connection", "te", "upgrade"];
    for name in hop.iter().chain(&["http2-settings"]) {
        assert!(asked.values(name).is_empty(), "{name}: {asked:#?}");
        assert!(response.values(name).is_empty(), "{name}: {response:#?}");
    }
    assert_eq!((asked.value("x-end"), response.value("x-end")), (Some("1"), Some("1")));
    // Whatever the client asked for of its own connection is not what the upstream is asked for.
    let connection = asked.values("connection").join(",").to_lowercase();
    assert!(!connection.contains("close") && !connection.contains("hop"), "{asked:#?}");
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn connection_cannot_strip_what_frames_or_routes_a_message() {
    let site = Site::ok();
    let gateway = start(&site);
    let mut client = HttpClient::connect(gateway.address());
    let named = "Connection: Host, Content-Length, X-Forwarded-For, Transfer-Encoding\r\n";
    client.send(request("POST", "/", &format!("{named}Content-Length: 4\r\n")) + "body");
    let response = client.answer("POST");
    // Refused or ignored, but the message that is forwarded has all of them.
    if response.status() == 200 {
        let asked = site.only();
        assert_eq!(asked.value("host"), Some("gateway.test"));
        assert_eq!(asked.text(), "body");
        assert_eq!(asked.value("x-forwarded-for"), Some("127.0.0.1"));
    } else {
        assert_eq!((response.status(), site.received()), (400, 0));
    }
    drop(client);
    gateway.terminate().assert_clean();
}
