//! Tests of what goes out: the lines that stay, and those that are written anew.

use super::*;
use crate::http1::request::{self, HeadLimits};
use crate::http1::response::{self, AnswerTo};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 4096, fields_max: 32 };

const AS_IT_CAME: RequestChange<'static> = RequestChange {
    target: b"/t",
    host: b"h",
    framing: Framing::None,
    keep: &|_, _| true,
    upgrade: false,
    lines: &[],
};

fn request_written(lines: &str, change: &RequestChange<'_>) -> String {
    let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let head = request::parse(text.as_bytes(), LIMITS).expect("a head").expect("complete");
    let mut out = b"before|".to_vec();
    request(&mut out, text.as_bytes(), &head, change);
    let out = String::from_utf8(out).expect("ASCII");
    out.strip_prefix("before|").expect("what was there stays").to_owned()
}

#[test]
fn end_to_end_lines_go_out_as_they_came() {
    let lines = "A:  b \r\nContent-Length: 3\r\nC: d\r\nX-SSL-Client: e\r\nX-Forwarded-For: f\r\n\
                 TE: trailers\r\nG:\r\nConnection: h\r\nH: i\r\n";
    assert_eq!(
        request_written(lines, &AS_IT_CAME),
        "POST /t HTTP/1.1\r\nHost: h\r\nA:  b \r\nC: d\r\nX-Forwarded-For: f\r\nG:\r\n\r\n"
    );
    let keep = |class, name: &[u8]| class != Class::Forwarding && name != b"C";
    let change = RequestChange {
        framing: Framing::Length(3),
        keep: &keep,
        lines: &[b"V: w\r\nX: y\r\n", b"", b"Z: 0\r\n"],
        ..AS_IT_CAME
    };
    assert_eq!(
        request_written(lines, &change),
        "POST /t HTTP/1.1\r\nHost: h\r\nA:  b \r\nG:\r\nContent-Length: 3\r\nV: w\r\nX: y\r\n\
         Z: 0\r\n\r\n"
    );
}

#[test]
fn framing_and_upgrade_are_written_anew() {
    let chunked = RequestChange { framing: Framing::Chunked, ..AS_IT_CAME };
    let expected = "POST /t HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request_written("transfer-encoding: chunked\r\n", &chunked), expected);
    let upgrade = RequestChange { upgrade: true, ..AS_IT_CAME };
    let lines = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nA: b\r\n";
    let expected = "POST /t HTTP/1.1\r\nHost: h\r\nA: b\r\nConnection: upgrade\r\n\
                    Upgrade: websocket\r\n\r\n";
    assert_eq!(request_written(lines, &upgrade), expected);
    assert_eq!(request_written(lines, &AS_IT_CAME), "POST /t HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n");
    assert_eq!(request_written("", &upgrade), "POST /t HTTP/1.1\r\nHost: h\r\n\r\n");
}

fn response_written(text: &str, to: AnswerTo, change: &ResponseChange<'_>) -> String {
    let head = response::parse(text.as_bytes(), LIMITS, to).expect("a head").expect("complete");
    let mut out = Vec::new();
    response(&mut out, text.as_bytes(), &head, change);
    String::from_utf8(out).expect("ASCII")
}

const PLAIN: ResponseChange<'static> = ResponseChange {
    framing: Framing::None,
    close: false,
    keep_alive: false,
    upgrade: false,
    keep: &|_, _| true,
    lines: &[],
};

#[test]
fn responses_keep_their_lines_and_the_length_of_a_body_that_is_not_sent() {
    let text = "HTTP/1.0 200 Fine\r\nServer: s\r\nContent-Length: 5\r\nA: b\r\n\r\n";
    let length = ResponseChange { framing: Framing::Length(5), close: true, ..PLAIN };
    let expected = "HTTP/1.1 200 Fine\r\nServer: s\r\nA: b\r\nContent-Length: 5\r\n\
                    Connection: close\r\n\r\n";
    assert_eq!(response_written(text, AnswerTo::Other, &length), expected);
    let expected = "HTTP/1.1 200 Fine\r\nServer: s\r\nA: b\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(response_written(text, AnswerTo::Head, &PLAIN), expected);
    let keep = |_, name: &[u8]| name != b"Server";
    let change = ResponseChange {
        framing: Framing::Chunked,
        keep_alive: true,
        keep: &keep,
        lines: &[b"C: d\r\n"],
        ..PLAIN
    };
    let text = "HTTP/1.1 404\r\nServer: s\r\nTransfer-Encoding: chunked\r\n\r\n";
    let expected = "HTTP/1.1 404 \r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\
                    C: d\r\n\r\n";
    assert_eq!(response_written(text, AnswerTo::Other, &change), expected);
}

#[test]
fn another_protocol_is_announced_as_it_came() {
    let text = "HTTP/1.1 101 R\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: x\r\n\r\n";
    let change = ResponseChange { upgrade: true, ..PLAIN };
    let expected = "HTTP/1.1 101 R\r\nSec-WebSocket-Accept: x\r\nConnection: upgrade\r\n\
                    Upgrade: websocket\r\n\r\n";
    assert_eq!(response_written(text, AnswerTo::Upgrade, &change), expected);
}
