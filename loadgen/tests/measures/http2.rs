//! HTTP/2 of the generator: nginx as a server that does what it should, and one that speaks frame
//! by frame what it should not.

use std::io::{Read, Write};
use std::time::Duration;

use crate::kit::{Done, Front, Nginx, credentials, frames, measure, origin, python};

const FEW: &str = "--proto h2 --count 3 --connections 1 --workers 1";

#[test]
fn streams_carry_as_many_requests_as_are_asked_for_and_each_is_timed() {
    let nginx = Nginx::start("");
    for streams in [1, 10, 100] {
        let args = format!(
            "--proto h2 --streams {streams} --connections 2 --count 600 --path /small --expect 5"
        );
        let done = measure("request", nginx.address, &args, &credentials());
        assert_eq!((done.status, done.count("operations")), (0, 600), "{done:?}");
        assert_eq!((done.count("requests"), done.count("streams")), (600, streams));
        let (tls, report) = (&done.report["tls"], &done.report);
        assert_eq!((&report["protocol"], &tls["alpn"]), (&"HTTP/2".into(), &"h2".into()));
        assert_eq!(report["handshakes"]["full"], 2, "connections are kept: {done:?}");
        for phase in ["first_byte", "total"] {
            assert_eq!(report["phases"][phase]["count"], 600, "{phase}");
        }
    }
}

#[test]
fn bodies_are_counted_both_ways() {
    let echo = origin("http");
    let nginx = Nginx::start(&format!(
        "location / {{ proxy_pass http://{}; proxy_http_version 1.1; }}",
        echo.address
    ));
    for (direction, sent, received) in [("down", 0, 20), ("up", 20, 0), ("both", 20, 20)] {
        let args = format!(
            "--proto h2 --direction {direction} --size 1MiB --count 20 --connections 2 --streams 2"
        );
        let done = measure("bulk", nginx.address, &args, &credentials());
        assert_eq!((done.status, done.count("operations")), (0, 20), "{direction}: {done:?}");
        for (way, mebibytes) in [("bytes_sent", sent), ("bytes_received", received)] {
            // Frames and fields are less than a hundredth.
            let carried = done.count(way);
            let least = mebibytes << 20;
            assert!((least..least + (1 << 18)).contains(&carried), "{direction} {way}: {carried}");
        }
    }
}

#[test]
fn requests_that_a_closing_connection_leaves_are_made_on_the_next_one() {
    let nginx = Nginx::start("keepalive_requests 50;");
    let args = "--proto h2 --streams 20 --connections 2 --count 1000 --path /small";
    let done = measure("request", nginx.address, args, &credentials());
    assert_eq!((done.status, done.count("operations")), (0, 1000), "{done:?}");
    assert!(done.report["handshakes"]["full"].as_u64() >= Some(20), "{done:?}");
}

#[test]
fn a_rate_is_kept_over_streams() {
    let nginx = Nginx::start("");
    let args = "--proto h2 --streams 5 --connections 1 --rate 200 --count 200 --path /small";
    let done = measure("request", nginx.address, args, &credentials());
    assert_eq!((done.status, done.count("operations")), (0, 200), "{done:?}");
    let seconds = done.report["duration_s"].as_f64().expect("a duration");
    assert!((0.9..3.0).contains(&seconds), "{done:?}");
}

fn fails(done: &Done, error: &str) {
    assert_eq!(done.status, 1, "{done:?}");
    assert_eq!(done.errors(), [error], "{done:?}");
    assert!(done.stderr.contains(error), "{done:?}");
}

#[test]
fn an_answer_that_is_not_what_was_asked_for_is_a_failure_with_a_name() {
    let nginx = Nginx::start("");
    for (path, error) in [
        ("/missing", "status 404"),
        ("/small --expect 9", "answer with a shorter body than was asked for"),
        ("/small --expect 2", "answer with a longer body than was asked for"),
    ] {
        for proto in ["h2", "http"] {
            let args = format!("--proto {proto} --count 3 --connections 1 --path {path}");
            fails(&measure("request", nginx.address, &args, &credentials()), error);
        }
    }
    let done = measure("request", nginx.address, &format!("{FEW} --path /missing"), &credentials());
    assert_eq!((done.count("operations"), done.count("requests")), (0, 3), "{done:?}");
}

#[test]
fn a_server_without_http2_or_with_too_few_streams_is_told() {
    let server = python(&[]);
    fails(&measure("request", server.address, FEW, &credentials()), "tls did not agree on HTTP/2");
    let nginx = Nginx::start("http2_max_concurrent_streams 4;");
    let args = "--proto h2 --streams 5 --count 50 --connections 1 --path /small";
    let done = measure("request", nginx.address, args, &credentials());
    fails(&done, "http2 allows fewer streams than asked for");
    assert_eq!(done.count("operations"), 50, "{done:?}");
}

/// A frame's head (RFC 9113, 4.1), of stream 1 where that is one's own.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short one");
    [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` and `content-length: 5` (RFC 7541, A and 6.2.2).
const OK_OF_FIVE_BYTES: &[u8] = &[0x88, 0x0f, 0x0d, 1, b'5'];

#[test]
fn a_server_that_breaks_the_protocol_or_refuses_is_told_apart() {
    let settings = frame(SETTINGS, 0, 0, &[]);
    let ok = frame(HEADERS, END_HEADERS, 1, OK_OF_FIVE_BYTES);
    let short = frame(DATA, END_STREAM, 1, b"abc");
    for (answer, error) in [
        (frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]), "stream reset refused_stream"),
        (frame(RST_STREAM, 0, 1, &[0xde, 0xad, 0, 0]), "stream reset unknown"),
        (frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11]), "goaway enhance_your_calm"),
        (Vec::new(), "closed first_byte"),
        (ok.clone(), "closed total"),
        ([ok, short].concat(), "http2 protocol_error"),
        (frame(DATA, 0, 0, b"x"), "http2 protocol_error"),
        (frame(HEADERS, END_HEADERS, 1, &[0xff; 8]), "http2 protocol_error"),
    ] {
        let server = frames([settings.clone(), answer].concat(), Duration::ZERO);
        let done =
            measure("request", server, "--proto h2 --count 1 --connections 1", &credentials());
        fails(&done, error);
    }
}

#[test]
fn a_server_that_only_ever_closes_in_order_does_not_make_a_run_without_end() {
    let bye = frame(GOAWAY, 0, 0, &[0; 8]);
    let server = frames([frame(SETTINGS, 0, 0, &[]), bye].concat(), Duration::ZERO);
    let args = "--proto h2 --count 2 --connections 1";
    fails(&measure("request", server, args, &credentials()), "goaway no_error");
}

#[test]
fn a_stream_that_stalls_times_out_in_the_phase_in_which_it_does() {
    let settings = frame(SETTINGS, 0, 0, &[]);
    let ok = frame(HEADERS, END_HEADERS, 1, OK_OF_FIVE_BYTES);
    let args = "--proto h2 --count 1 --connections 1 --timeout 300ms";
    for (answer, phase) in [(settings.clone(), "first_byte"), ([settings, ok].concat(), "total")] {
        let server = frames(answer, Duration::from_secs(20));
        fails(&measure("request", server, args, &credentials()), &format!("timeout {phase}"));
    }
}

#[test]
fn the_origin_speaks_http1_and_http2_with_prior_knowledge() {
    let service = origin("http");
    let front = Front::with(service.address, "alpn = [\"h2\", \"http/1.1\"]\n");
    for proto in ["h2 --streams 3", "http --alpn http/1.1"] {
        for direction in ["down", "up", "both"] {
            let args = format!(
                "--proto {proto} --direction {direction} --size 300KiB --count 30 --connections 3"
            );
            let done = measure("bulk", front.address, &args, &credentials());
            assert_eq!((done.status, done.count("operations")), (0, 30), "{proto}: {done:?}");
        }
        let args = format!("--proto {proto} --path /bytes/77 --expect 77 --count 100");
        let done = measure("request", front.address, &args, &credentials());
        assert_eq!((done.status, done.count("requests")), (0, 100), "{proto}: {done:?}");
    }
}

#[test]
fn a_gateway_of_http_is_measured_in_both_versions() {
    let service = origin("http");
    let front = Front::with(service.address, "protocol = \"http\"\n");
    for proto in ["h2 --streams 10", "http --alpn http/1.1"] {
        let args = format!("--proto {proto} --path /bytes/77 --expect 77 --count 300");
        let done = measure("request", front.address, &args, &credentials());
        assert_eq!((done.status, done.count("requests")), (0, 300), "{proto}: {done:?}");
        for direction in ["down", "up", "both"] {
            let args = format!(
                "--proto {proto} --direction {direction} --size 300KiB --count 30 --connections 3"
            );
            let done = measure("bulk", front.address, &args, &credentials());
            assert_eq!((done.status, done.count("operations")), (0, 30), "{proto}: {done:?}");
        }
    }
}

#[test]
fn the_origin_answers_pipelined_requests_in_order_and_closes_behind_a_bad_one() {
    let service = origin("http");
    let mut socket = std::net::TcpStream::connect(service.address).expect("it listens");
    let requests = [
        "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "GET /bytes/0 HTTP/1.1\r\n\r\n",
        "HEAD /bytes/9 HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nBad Name: x\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ]
    .concat();
    // In two pieces, cut where a head and a body are.
    let (one, two) = requests.split_at(requests.len() / 2);
    for piece in [one, two] {
        socket.write_all(piece.as_bytes()).expect("it reads");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut answers = String::new();
    socket.read_to_string(&mut answers).expect("it closes");
    let ok = |bytes| format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
    let refused = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answers, format!("{}abc{}{}{}{refused}", ok(3), ok(0), ok(9), ok(0)));
}
