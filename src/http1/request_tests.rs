//! Tests of the heads of requests: what is read, and what is refused with which code.

use super::*;
use crate::http1::fields::Class;

pub(crate) const LIMITS: HeadLimits = HeadLimits { bytes_max: 4096, fields_max: 32 };

/// The head of a request that must be accepted.
fn accepted(text: &str) -> RequestHead {
    match parse(text.as_bytes(), LIMITS) {
        Ok(Some(head)) => head,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn refused(text: impl AsRef<[u8]>) -> HeadError {
    let text = text.as_ref();
    match parse(text, LIMITS) {
        Err(error) => error,
        other => panic!("{}: {other:?}", text.escape_ascii()),
    }
}

/// A request with these lines besides Host.
fn with(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")
}

#[test]
fn a_head_is_spans_of_what_came() {
    let text = "GET /a/b?c=d HTTP/1.1\r\nHost: Example.org:8443\r\nAccept:\t*/* \t\r\nX-Empty:\r\n\
                X-Spaces:   \r\nCookie: a=b; c\r\n\r\nGET /next";
    let bytes = text.as_bytes();
    let head = accepted(text);
    assert_eq!(head.bytes, text.len() - "GET /next".len());
    assert_eq!(head.method.of(bytes), b"GET");
    assert_eq!(head.authority.of(bytes), b"Example.org:8443");
    assert_eq!(head.path.of(bytes), b"/a/b?c=d");
    assert_eq!((head.version, head.framing), (Version::Http11, Framing::None));
    assert!(head.keep_alive && !head.expects_continue && head.upgrade.is_none());
    let fields: Vec<_> = head
        .fields
        .iter()
        .map(|field| {
            let text = |span: Span| std::str::from_utf8(span.of(bytes)).expect("ASCII");
            (text(field.name), text(field.value), text(field.line))
        })
        .collect();
    assert_eq!(
        fields,
        [
            ("Host", "Example.org:8443", "Host: Example.org:8443\r\n"),
            ("Accept", "*/*", "Accept:\t*/* \t\r\n"),
            ("X-Empty", "", "X-Empty:\r\n"),
            ("X-Spaces", "", "X-Spaces:   \r\n"),
            ("Cookie", "a=b; c", "Cookie: a=b; c\r\n"),
        ]
    );
}

#[test]
fn nothing_is_said_before_the_end_has_come() {
    let text = "\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nA: b\r\n\r\n";
    let whole = accepted(text);
    assert_eq!(whole.bytes, text.len());
    for len in 0..text.len() {
        assert_eq!(parse(&text.as_bytes()[..len], LIMITS), Ok(None), "{len}");
    }
}

#[test]
fn framing_follows_length_and_encoding() {
    assert_eq!(accepted(&with("A: b")).framing, Framing::None);
    assert_eq!(accepted(&with("Content-Length: 0")).framing, Framing::Length(0));
    assert_eq!(accepted(&with("content-length:42 ")).framing, Framing::Length(42));
    assert_eq!(accepted(&with("Transfer-Encoding: Chunked")).framing, Framing::Chunked);
}

#[test]
fn a_connection_is_kept_as_its_version_and_options_say() {
    let keeps = |version: &str, connection: &str| {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
        accepted(&text).keep_alive
    };
    assert!(keeps("1.1", "") && keeps("1.1", "keep-alive") && keeps("1.0", "x, Keep-Alive"));
    assert!(!keeps("1.1", "CLOSE") && !keeps("1.0", "") && !keeps("1.0", "keep-alive,close"));
    assert!(!keeps("1.1", "x,, close"));
}

#[test]
fn an_expectation_is_heard_of_http_1_1_only() {
    let expects = |version: &str, value: &str| {
        let text = format!("PUT / HTTP/{version}\r\nHost: a\r\nExpect: {value}\r\n\r\n");
        accepted(&text).expects_continue
    };
    assert!(expects("1.1", "100-continue") && expects("1.1", "100-Continue"));
    assert!(!expects("1.0", "100-continue") && !expects("1.1", "200-ok"));
}

#[test]
fn an_upgrade_is_one_protocol_that_connection_names() {
    let upgrade = |version: &str, lines: &str| {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n\r\n");
        let head = accepted(&text);
        head.upgrade.map(|span| String::from_utf8_lossy(span.of(text.as_bytes())).into_owned())
    };
    let websocket = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket";
    assert_eq!(upgrade("1.1", websocket).as_deref(), Some("websocket"));
    assert_eq!(upgrade("1.0", websocket), None);
    for ignored in [
        "Upgrade: websocket",
        "Connection: upgrade",
        "Connection: upgrade\r\nUpgrade:",
        "Connection: upgrade\r\nUpgrade: a, b",
        "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b",
        "Connection: upgrade\r\nUpgrade: H2C",
        "Connection: upgrade\r\nUpgrade: HTTP/2.0",
        "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1",
        "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked",
    ] {
        assert_eq!(upgrade("1.1", ignored), None, "{ignored}");
    }
}

#[test]
fn connection_takes_end_to_end_fields_along_and_no_others() {
    let text = with(
        "Connection: x-a, HOST, content-length, x-forwarded-for, client-cert\r\nX-A: 1\r\n\
         X-B: 2\r\nContent-Length: 0\r\nX-Forwarded-For: 3\r\nClient-Cert: 4\r\nConnection: x-b",
    );
    let head = accepted(&text);
    let classes: Vec<Class> = head.fields.iter().map(|field| field.class).collect();
    use Class::{Forwarding, Framing, HopByHop, Identity};
    assert_eq!(
        classes,
        [Framing, HopByHop, HopByHop, HopByHop, Framing, Forwarding, Identity, HopByHop]
    );
}

#[test]
fn the_authority_is_that_of_the_target_or_of_host() {
    let authority = |text: &str| {
        let head = accepted(text);
        let text = |span: Span| String::from_utf8_lossy(span.of(text.as_bytes())).into_owned();
        (text(head.authority), text(head.path))
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let absolute = "GET http://A.example/b?c HTTP/1.1\r\nHost: a.EXAMPLE:80\r\n\r\n";
    assert_eq!(authority(absolute), pair("A.example", "/b?c"));
    let https = "GET https://a:443 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(authority(https), pair("a:443", "/"));
    assert_eq!(authority("GET /b HTTP/1.0\r\n\r\n"), pair("", "/b"));
    assert_eq!(authority("GET http://a/b HTTP/1.0\r\n\r\n"), pair("a", "/b"));
    assert_eq!(authority("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), pair("a", "*"));
}

#[test]
fn each_bad_start_line_has_its_code() {
    use HeadError::*;
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(5000));
    let cases: &[(&str, HeadError)] = &[
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", EmptyLine),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", LineEnd),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", LineEnd),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", StartLine),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", StartLine),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", StartLine),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", StartLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", StartLine),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", LineEnd),
        ("GET /\r\n\r\n", StartLine),
        ("GET\r\n\r\n", StartLine),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", StartLine),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", StartLine),
        ("GET / HTTPS/1.1\r\nHost: a\r\n\r\n", StartLine),
        ("GET / HTTP/1\r\nHost: a\r\n\r\n", StartLine),
        ("GET / HTTP/01.1\r\nHost: a\r\n\r\n", StartLine),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Version),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Version),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Version),
        ("\x16\x03\x01\x02", StartLine),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Connect),
        ("GET a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Target),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET /#b HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET /{a} HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", LineEnd),
        (&long, TargetTooLong),
    ];
    for (text, error) in cases {
        assert_eq!(refused(text), *error, "{text:?}");
    }
    assert_eq!(refused(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"), Target);
    assert_eq!([Version, Connect, TargetTooLong].map(HeadError::status), [505, 400, 414]);
}

#[test]
fn each_bad_field_line_has_its_code() {
    use HeadError::*;
    let cases: &[(&str, HeadError)] = &[
        ("A: b\r\n c", ObsFold),
        ("A: b\r\n\tc: d", ObsFold),
        ("A : b", SpaceBeforeColon),
        ("A\t: b", SpaceBeforeColon),
        (": b", FieldName),
        ("A", FieldName),
        ("A b: c", FieldName),
        ("A\x0b: b", FieldName),
        ("\u{e4}: b", FieldName),
        ("A(: b", FieldName),
        ("A: b\x00", FieldValue),
        ("A: \x0bb", FieldValue),
        ("A: b\x7f", FieldValue),
        ("A: b\x1bc", FieldValue),
        ("A: b\rc", LineEnd),
        ("A: b\nB: c", LineEnd),
        ("A: b\n", LineEnd),
        ("A: b\r\r", LineEnd),
        ("A:\n", LineEnd),
        ("Content_Length: 5", FramingLookalike),
        ("transfer_encoding: chunked", FramingLookalike),
        ("Connection: a b", Connection),
        ("Connection: \"close\"", Connection),
    ];
    for (lines, error) in cases {
        assert_eq!(refused(with(lines)), *error, "{lines:?}");
    }
    let first = "GET / HTTP/1.1\r\n Host: a\r\n\r\n";
    assert_eq!(refused(first), ObsFold);
    let many = "x,".repeat(crate::limits::CONNECTION_OPTIONS_MAX);
    assert_eq!(refused(with(&format!("Connection: {many}"))), Connection);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\n\n"), LineEnd);
    assert_eq!(refused("GET / HTTP/1.1\r\n\n"), LineEnd);
}

#[test]
fn every_control_character_is_refused_wherever_it_is() {
    for byte in (0..0x20).chain([0x7f]) {
        for before in 0..40 {
            let value = [&vec![b'a'; before][..], &[byte], &vec![b'a'; 40 - before][..]].concat();
            let text = [&b"GET / HTTP/1.1\r\nHost: a\r\nA: "[..], &value, b"\r\n\r\n"].concat();
            if byte != b'\t' {
                let error = refused(&text);
                let expected = match byte {
                    b'\r' => HeadError::LineEnd,
                    // What follows the LF is a line without a colon.
                    b'\n' => HeadError::LineEnd,
                    _ => HeadError::FieldValue,
                };
                assert_eq!(error, expected, "{byte:#x} behind {before}");
            }
            let text = [&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], &value, b": a\r\n\r\n"].concat();
            refused(&text);
            let text = [&b"GET /"[..], &value, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            refused(&text);
        }
    }
}

#[test]
fn each_bad_framing_has_its_code() {
    use HeadError::*;
    let cases: &[(&str, HeadError)] = &[
        ("Content-Length: 5\r\nContent-Length: 5", ContentLengthRepeated),
        ("Content-Length: 5, 5", ContentLength),
        ("Content-Length: +5", ContentLength),
        ("Content-Length: 0x5", ContentLength),
        ("Content-Length:", ContentLength),
        ("Content-Length: 9223372036854775808", ContentLength),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", TransferEncoding),
        ("Transfer-Encoding: chunked, chunked", TransferEncoding),
        ("Transfer-Encoding: gzip", TransferEncoding),
        ("Transfer-Encoding: identity", TransferEncoding),
        ("Transfer-Encoding:", TransferEncoding),
        ("Transfer-Encoding: xchunked", TransferEncoding),
        ("Transfer-Encoding: gzip, chunked", TransferCoding),
    ];
    for (lines, error) in cases {
        assert_eq!(refused(with(lines)), *error, "{lines:?}");
    }
    assert_eq!(TransferCoding.status(), 501);
    let http10 = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(http10), TransferEncodingHttp10);
}

#[test]
fn each_bad_host_has_its_code() {
    use HeadError::*;
    let cases: &[(&str, HeadError)] = &[
        ("GET / HTTP/1.1\r\nA: b\r\n\r\n", HostMissing),
        ("GET / HTTP/1.1\r\n\r\n", HostMissing),
        ("GET http://a/ HTTP/1.1\r\n\r\n", HostMissing),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HostRepeated),
        ("GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n", HostRepeated),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Host),
        ("GET / HTTP/1.0\r\nHost:\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: b@a\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", Host),
        ("GET / HTTP/1.1\r\nHost: a/\r\n\r\n", Host),
        ("GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Host),
        ("GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", Host),
        ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", HostMismatch),
        ("GET http://a/ HTTP/1.1\r\nHost: a:443\r\n\r\n", HostMismatch),
        ("GET https://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n", HostMismatch),
    ];
    for (text, error) in cases {
        assert_eq!(refused(text), *error, "{text:?}");
    }
}

#[test]
fn heads_are_bounded_in_bytes_and_fields() {
    let fits = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "b".repeat(4096 - 32));
    assert_eq!(fits.len(), LIMITS.bytes_max);
    assert_eq!(accepted(&fits).bytes, LIMITS.bytes_max);
    assert_eq!(accepted(&format!("\r\n{fits}x")).bytes, LIMITS.bytes_max + 2);
    let longer = fits.replace("A: ", "A: b");
    assert_eq!(refused(&longer), HeadError::TooLarge);
    assert_eq!(refused(&longer[..LIMITS.bytes_max]), HeadError::TooLarge);
    assert_eq!(parse(&longer.as_bytes()[..LIMITS.bytes_max - 1], LIMITS), Ok(None));

    let fields = |count: usize| with(&vec!["A: b"; count - 1].join("\r\n"));
    assert_eq!(accepted(&fields(32)).fields.len(), 32);
    assert_eq!(refused(fields(33)), HeadError::TooManyFields);
    assert_eq!(HeadError::TooManyFields.status(), 431);
}
