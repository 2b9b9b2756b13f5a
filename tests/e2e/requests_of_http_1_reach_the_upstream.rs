//! Requests of HTTP/1.0 and HTTP/1.1, of whatever shape, reach the upstream, and its responses the
//! client.

use std::io::Write;
use std::time::Duration;

use crate::harness::http::{request, request_with};
use crate::harness::programs::{OpenSsl, curl, url};
use crate::harness::site::scripted;
use crate::harness::{ClientOptions, Gateway, HttpClient, Reply, Setup, Site, Then, pki};

/// What curl prints, which must be content.
#[track_caller]
fn curled(gateway: &Gateway, arguments: &[&str], paths: &[&str]) -> String {
    let urls: Vec<_> = paths.iter().map(|path| url(gateway.address(), path)).collect();
    let mut all = arguments.to_vec();
    all.extend(urls.iter().map(String::as_str));
    let output = curl(gateway.address(), Some(&pki().client), &all);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {all:?}: {} {stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn curl_gets_several_urls_over_one_connection() {
    let site = Site::new(|seen| Reply::ok(seen.request.target()));
    let mut gateway = Setup::http(site.address()).start();
    let said = curled(&gateway, &["--http1.1"], &["/a", "/b?x=1&y=%20", "/c/d/"]);
    assert_eq!(said, "/a/b?x=1&y=%20/c/d/");
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(record["alpn"], "http/1.1", "{record}");
    let lines = gateway.lines_so_far();
    let paths: Vec<_> =
        lines.iter().filter(|line| line["event"] == "request").map(|line| &line["path"]).collect();
    assert_eq!(paths, ["/a", "/b", "/c/d/"], "the query may hold secrets");
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("requests"), 3);
    assert_eq!(stopped.counter("accepted"), 1, "one connection for all");
    stopped.assert_clean();
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let site = Site::new(|seen| match seen.request.target() {
        "/chunked" => Reply::raw(CHUNKED),
        _ => Reply::ok("whole"),
    });
    let gateway = Setup::http(site.address()).start();
    // By ALPN curl would ask for http/1.0, which is not offered.
    let old = ["--http1.0", "--no-alpn"];
    assert_eq!(curled(&gateway, &old, &["/"]), "whole");
    assert!(site.last().start.ends_with(" HTTP/1.1"), "{:?}", site.last());
    // What HTTP/1.0 does not know is not sent to it.
    let said = curled(&gateway, &[&old[..], &["--raw", "--include"]].concat(), &["/chunked"]);
    let (head, body) = said.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body, "chunks", "{head}");
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    gateway.terminate().assert_clean();
}

#[test]
fn http_1_0_is_kept_alive_where_it_asks_for_it() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: gateway.test\r\nConnection: keep-alive\r\n\r\n");
        let response = client.answer("GET");
        assert_eq!(response.text(), "ok");
        let kept = response.value("connection").map(str::to_lowercase);
        assert_eq!(kept.as_deref(), Some("keep-alive"), "{response:?}");
    }
    // Without Host, and without asking for more.
    client.send("GET /last HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer("GET").text(), "ok");
    client.assert_ended();
    assert_eq!(site.last().value("host"), Some("gateway.test"), "of the name that it asked for");
    gateway.terminate().assert_clean();
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3\r\nchu\r\n3;name=\"value\"\r\nnks\r\n0\r\nX-Sum: 6\r\n\r\n";

#[test]
fn responses_without_a_body_have_none() {
    let site = Site::new(|seen| match seen.request.target() {
        "/head" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
        "/head-chunked" => Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "/204" => Reply::raw("HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
        "/304" => {
            Reply::raw("HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\nContent-Length: 9\r\n\r\n")
        }
        "/empty" => Reply::text("200 OK", ""),
        _ => Reply::ok("after"),
    });
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    let head = client.ask("HEAD", "/head", "");
    assert_eq!(head.value("content-length"), Some("1000000"), "what a GET would have");
    assert_eq!(client.ask("HEAD", "/head-chunked", "").status(), 200);
    let none = client.get("/204");
    assert_eq!((none.status(), none.values("content-length").len()), (204, 0), "{none:?}");
    let same = client.get("/304");
    assert_eq!((same.status(), same.value("etag")), (304, Some("\"e\"")), "{same:?}");
    assert_eq!(client.get("/empty").text(), "");
    // Had one of them been taken for a body, this would be out of step.
    assert_eq!(client.get("/").text(), "after");
    assert_eq!(site.accepted(), 1, "each left the connection to the upstream usable");
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn odd_responses_are_mended_and_harm_no_other() {
    for (odd, status, body, framed) in [
        // RFC 9110, 8.6, and RFC 9112, 6.1: neither field may be in a 204.
        ("204 No Content\r\nContent-Length: 0", 204, "", false),
        ("204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204, "", false),
        ("204 No Content\r\nTransfer-Encoding: chunked", 204, "", false),
        ("304 Not Modified\r\nTransfer-Encoding: chunked", 304, "", false),
        ("205 Reset Content\r\nContent-Length: 0", 205, "", true),
        // Without a reason, and without the space in front of it.
        ("200 \r\nContent-Length: 2\r\n\r\nok", 200, "ok", true),
        ("200\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true),
        // An upgrade that nobody asked for, and that did not take place.
        ("200 OK\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0", 200, "", true),
    ] {
        let end = if odd.contains("\r\n\r\n") { "" } else { "\r\n\r\n" };
        let bytes = format!("HTTP/1.1 {odd}{end}");
        let site = Site::new(move |seen| match seen.request.target() {
            "/odd" => Reply::raw(&bytes),
            _ => Reply::ok("after"),
        });
        let gateway = Setup::http(site.address()).top("workers = 1").start();
        let mut client = HttpClient::connect(gateway.address());
        let response = client.get("/odd");
        assert_eq!((response.status(), response.text()), (status, body), "{odd}");
        assert_eq!(response.values("content-length").len(), usize::from(framed), "{odd}");
        for name in ["transfer-encoding", "upgrade", "connection"] {
            assert!(response.values(name).is_empty(), "{odd}: {response:?}");
        }
        assert_eq!(client.get("/").text(), "after", "{odd}");
        drop(client);
        gateway.terminate().assert_nothing_left();
    }
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    let site = Site::new(|_| Reply::raw(CHUNKED));
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("POST", "/", "Transfer-Encoding: chunked\r\nTrailer: X-Digest\r\n"));
    // Each byte by itself: chunks are cut anywhere.
    for byte in
        b"5\r\nhello\r\nA;x=y\r\n, upstream\r\n0\r\nX-Digest: 15\r\nContent-Length: 3\r\n\r\n"
    {
        client.send([*byte]);
    }
    let response = client.answer("POST");
    assert_eq!(response.text(), "chunks");
    assert_eq!(response.trailers, [("X-Sum".into(), "6".into())]);
    let asked = site.only();
    assert_eq!(asked.text(), "hello, upstream");
    // RFC 9110, 6.5.1: what frames a message is no trailer.
    assert_eq!(asked.trailers, [("X-Digest".into(), "15".into())]);
    assert_eq!(client.get("/").text(), "chunks", "the connection goes on");
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn a_response_until_close_is_whole_and_its_end_is_told() {
    let site =
        Site::new(|_| Reply::raw("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nuntil close").then(Then::Close));
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    for _ in 0..2 {
        let response = client.get("/");
        assert_eq!(response.text(), "until close");
        // A client that is told where it ends need not close, and sees truncation.
        assert_eq!(response.value("transfer-encoding"), Some("chunked"), "{response:?}");
    }
    assert_eq!(site.accepted(), 2);
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn expect_100_continue_is_answered_by_the_upstream() {
    let origin = scripted(|wire| {
        while let Some(mut head) = wire.head()? {
            if head.target() == "/no" {
                wire.try_send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n")?;
                wire.try_send("Connection: close\r\n\r\n")?;
                return Ok(());
            }
            assert_eq!(head.value("expect"), Some("100-continue"), "{head:?}");
            wire.try_send("HTTP/1.1 100 Continue\r\n\r\n")?;
            wire.request_body(&mut head)?;
            let length = head.body.len();
            wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"))?;
            wire.try_send(&head.body)?;
        }
        Ok(())
    });
    let gateway = Setup::http(origin.address()).start();
    // curl sends Expect by itself with bodies of more than a megabyte, and waits a second for it.
    let file = crate::harness::temp_dir().join("body");
    std::fs::write(&file, vec![b'x'; 2_000_000]).expect("a temporary file");
    let upload = ["--http1.1", "--upload-file", &file.display().to_string()];
    let began = std::time::Instant::now();
    let verbose = ["--expect100-timeout", "30"];
    let said = curled(&gateway, &[&upload[..], &verbose].concat(), &["/up"]);
    assert_eq!(said.len(), 2_000_000);
    assert!(began.elapsed() < Duration::from_secs(25), "it was told to go on");
    // A client that waits, and one that is refused.
    let mut client = HttpClient::connect(gateway.address());
    let expects = "Expect: 100-continue\r\nContent-Length: 4\r\n";
    client.send(request("PUT", "/up", expects));
    assert_eq!(client.response("PUT").expect("an interim response").status(), 100);
    client.send("body");
    assert_eq!(client.answer("PUT").text(), "body");
    client.send(request("PUT", "/no", expects));
    assert_eq!(client.answer("PUT").status(), 417);
    gateway.terminate().assert_clean();
}

#[test]
fn interim_responses_pass() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    let site = Site::new(move |_| {
        Reply::raw(format!("{hints}{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
    });
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", "/", ""));
    for _ in 0..2 {
        let hints = client.response("GET").expect("an interim response");
        assert_eq!(hints.status(), 103);
        assert_eq!(hints.value("link"), Some("</style.css>; rel=preload"));
    }
    assert_eq!(client.response("GET").expect("a response").text(), "ok");
    // RFC 9110, 15.2: a server MUST NOT send a 1xx response to an HTTP/1.0 client.
    client.send("GET / HTTP/1.0\r\nHost: gateway.test\r\n\r\n");
    let response = client.response("GET").expect("a response");
    assert_eq!((response.status(), response.text()), (200, "ok"));
    gateway.terminate().assert_clean();
}

#[test]
fn an_early_response_reaches_a_client_that_still_sends() {
    for (status, keeps) in [("401 Unauthorized", true), ("413 Content Too Large", false)] {
        let origin = scripted(move |wire| {
            let mut head = wire.head()?.expect("a request");
            let close = if keeps { "" } else { "Connection: close\r\n" };
            wire.try_send(format!("HTTP/1.1 {status}\r\n{close}Content-Length: 5\r\n\r\nearly"))?;
            // One goes on to take the body, the other has seen enough.
            if keeps { wire.request_body(&mut head) } else { Ok(()) }
        });
        let gateway = Setup::http(origin.address()).start();
        let mut client = HttpClient::connect(gateway.address());
        client.send(request("POST", "/", "Content-Length: 50000000\r\n"));
        client.send(vec![b'x'; 100_000]);
        let response = client.answer("POST");
        assert_eq!(response.start.split_once(' ').expect("a status").1, status);
        assert_eq!(response.text(), "early", "although most of the body was never sent");
        drop(client);
        gateway.terminate().assert_nothing_left();
    }
}

#[test]
fn a_client_that_has_sent_all_still_gets_its_response() {
    let site = Site::new(|_| Reply::ok("late").after(Duration::from_millis(300)));
    let mut gateway = Setup::http(site.address()).start();
    for lines in ["", "Connection: close\r\n"] {
        let mut client = HttpClient::connect(gateway.address());
        client.send(request_with("POST", "/", lines, "body"));
        client.stream.finish();
        assert_eq!(client.answer("POST").text(), "late");
        let peer = client.stream.local_address();
        client.assert_ended();
        let record = gateway.record_of(peer);
        assert_eq!(record["close_reason"], "finished", "{record}");
    }
    // openssl ends its input with what it was given.
    let mut openssl = OpenSsl::connect(gateway.address(), Some(&pki().client), &["-ign_eof"]);
    let said = openssl.ask(&request("GET", "/", "Connection: close\r\n"));
    assert_eq!(said, "HTTP/1.1 200 OK");
    drop(openssl);
    gateway.terminate().assert_clean();
}

#[test]
fn large_heads_and_many_fields_arrive_unchanged() {
    let site = Site::new(|seen| {
        let echoed: String = seen
            .request
            .fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        Reply::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Mark: 1\r\n{echoed}\r\n"))
    });
    let keys = "head_bytes_max = 65536\nhead_fields_max = 200";
    let gateway = Setup::http(site.address()).http_keys(keys).start();
    let mut client = HttpClient::connect(gateway.address());
    let lines: String =
        (0..150).map(|n| format!("X-Field-{n}: {}\r\n", "v".repeat(n * 2))).collect();
    // With a Content-Length of the origin's and no Host of its own.
    client.send(request("GET", "/", &lines));
    let seen = loop {
        match site.seen().pop() {
            Some(seen) => break seen.request,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    for n in 0..150 {
        assert_eq!(seen.value(&format!("x-field-{n}")), Some(&*"v".repeat(n * 2)));
    }
    let response = client.answer("GET");
    for n in 0..150 {
        assert_eq!(response.value(&format!("x-field-{n}")), Some(&*"v".repeat(n * 2)));
    }
    // Names and values as they were written, in their order.
    let names: Vec<_> = seen.fields.iter().map(|(name, _)| name.as_str()).collect();
    let own = names.iter().filter(|name| name.starts_with("X-Field-")).count();
    assert_eq!(own, 150, "{names:?}");
    let value = "a, \"b\" \u{fc}\tc ;";
    client.send(request("GET", "/", &format!("x-ODD_case: {value}\r\nEmpty:\r\n")));
    client.answer("GET");
    let odd = site.last();
    assert!(odd.fields.contains(&("x-ODD_case".into(), value.into())), "{odd:?}");
    assert_eq!(odd.value("empty"), Some(""), "{odd:?}");
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn a_head_that_comes_byte_by_byte_is_one_head() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    for byte in request_with("POST", "/slowly", "X-A: b\r\n", "body").bytes() {
        client.stream.write_all(&[byte]).expect("the gateway takes bytes");
    }
    assert_eq!(client.answer("POST").text(), "ok");
    let asked = site.only();
    assert_eq!((asked.target(), asked.text()), ("/slowly", "body"));
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn the_absolute_form_is_forwarded_in_origin_form() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    // RFC 9112, 3.2.2: a server MUST accept the absolute-form.
    client.send(request("GET", "https://gateway.test/absolute?q", ""));
    assert_eq!(client.answer("GET").text(), "ok");
    assert_eq!(site.last().target(), "/absolute?q");
    assert_eq!(site.last().value("host"), Some("gateway.test"));
    client.send(request("OPTIONS", "*", ""));
    assert_eq!(client.answer("OPTIONS").status(), 200);
    assert_eq!(site.last().start, "OPTIONS * HTTP/1.1");
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn trace_and_the_last_hop_of_options_are_answered_here() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    let ask = |client: &mut HttpClient, method: &str, lines: &str| client.ask(method, "/", lines);
    let traced = ask(&mut client, "TRACE", "");
    assert_eq!(traced.status(), 405);
    let allow = traced.value("allow").expect("the methods").to_owned();
    assert!(allow.contains("GET") && !allow.contains("TRACE"), "{allow}");
    let last = ask(&mut client, "OPTIONS", "Max-Forwards: 0\r\n");
    assert_eq!((last.status(), last.value("allow")), (200, Some(&*allow)));
    for bad in ["-1", "", "1x", "1\r\nMax-Forwards: 1"] {
        let refused = ask(&mut client, "OPTIONS", &format!("Max-Forwards: {bad}\r\n"));
        assert_eq!(refused.status(), 400, "{bad:?}");
    }
    assert_eq!(site.received(), 0);
    for (method, sent, expected) in [
        ("OPTIONS", "1", "0"),
        ("OPTIONS", "0256", "255"),
        ("OPTIONS", "99999999999999999999999", "255"),
        ("GET", "0", "0"),
    ] {
        let lines = format!("Max-Forwards: {sent}\r\n");
        assert_eq!(ask(&mut client, method, &lines).status(), 200, "{sent}");
        assert_eq!(site.last().values("max-forwards"), [expected], "{sent}");
    }
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn an_empty_port_is_none() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    client.send("GET / HTTP/1.1\r\nHost: gateway.test:\r\n\r\n");
    assert_eq!(client.answer("GET").status(), 200);
    assert_eq!(site.only().value("host"), Some("gateway.test"));
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn a_listener_of_http_2_alone_serves_no_http_1() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).listener("alpn = [\"h2\"]").start();
    // Who offers HTTP/1.1 is refused by TLS; this one offers nothing.
    let client = ClientOptions::default().connect(gateway.address()).expect("it is let in");
    let mut client = HttpClient::new(client);
    let refused = client.ask("GET", "/", "");
    assert_eq!((refused.status(), site.received()), (505, 0));
    client.assert_ended();
    gateway.terminate().assert_clean();
}
