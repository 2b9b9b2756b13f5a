//! Tests of the heads of responses: what is read, and what is refused with which code.

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 4096, fields_max: 32 };

fn parsed(text: &str, to: AnswerTo) -> Result<ResponseHead, HeadError> {
    let head = parse(text.as_bytes(), LIMITS, to)?;
    Ok(head.unwrap_or_else(|| panic!("{text:?} is not complete")))
}

/// The response with this status and these lines.
fn with(status: u16, lines: &str, to: AnswerTo) -> Result<ResponseHead, HeadError> {
    parsed(&format!("HTTP/1.1 {status} R\r\n{lines}\r\n"), to)
}

#[test]
fn a_head_is_spans_of_what_came() {
    let text = "HTTP/1.1 200 All is well\r\nContent-Length: 5\r\nA: b\r\n\r\nhello";
    let head = parsed(text, AnswerTo::Other).expect("a response");
    assert_eq!(head.bytes, text.len() - 5);
    assert_eq!((head.status, head.version), (200, Version::Http11));
    assert_eq!(head.reason.of(text.as_bytes()), b"All is well");
    assert_eq!((head.framing, head.content_length), (Framing::Length(5), Some(5)));
    assert!(head.keep_alive);
    assert_eq!(head.fields.len(), 2);
    for len in 0..head.bytes {
        assert_eq!(parse(&text.as_bytes()[..len], LIMITS, AnswerTo::Other), Ok(None), "{len}");
    }
}

#[test]
fn a_reason_may_be_missing_or_have_other_letters() {
    for (line, reason) in
        [("HTTP/1.1 200", ""), ("HTTP/1.1 200 ", ""), ("HTTP/1.1 200 \u{e4}\t b", "\u{e4}\t b")]
    {
        let text = format!("{line}\r\nA: b\r\n\r\n");
        let head = parsed(&text, AnswerTo::Other).expect("a response");
        assert_eq!(head.reason.of(text.as_bytes()), reason.as_bytes(), "{line}");
        let text = format!("{line}\r\n\r\n");
        let head = parsed(&text, AnswerTo::Other).expect("a response");
        assert_eq!(head.reason.of(text.as_bytes()), reason.as_bytes(), "{line}");
    }
}

#[test]
fn framing_follows_status_and_request() {
    let framing = |status, lines, to| with(status, lines, to).map(|head| head.framing);
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    assert_eq!(framing(200, length, AnswerTo::Other), Ok(Framing::Length(5)));
    assert_eq!(framing(200, chunked, AnswerTo::Other), Ok(Framing::Chunked));
    assert_eq!(framing(200, "", AnswerTo::Other), Ok(Framing::UntilClose));
    for lines in [length, chunked, ""] {
        assert_eq!(framing(200, lines, AnswerTo::Head), Ok(Framing::None));
        assert_eq!(framing(304, lines, AnswerTo::Other), Ok(Framing::None));
        assert_eq!(framing(204, lines, AnswerTo::Other), Ok(Framing::None));
    }
    assert_eq!(framing(100, "", AnswerTo::Other), Ok(Framing::None));
    assert_eq!(framing(103, "Content-Length: 0\r\n", AnswerTo::Other), Ok(Framing::None));
    for lines in [length, chunked] {
        assert_eq!(framing(103, lines, AnswerTo::Other), Err(HeadError::InterimBody));
    }
}

#[test]
fn a_length_without_a_body_is_told_of_head_and_304_only() {
    let length =
        |status, to| with(status, "Content-Length: 5\r\n", to).expect("a response").content_length;
    assert_eq!(length(200, AnswerTo::Head), Some(5));
    assert_eq!(length(304, AnswerTo::Other), Some(5));
    assert_eq!(length(204, AnswerTo::Other), None);
}

#[test]
fn a_connection_is_kept_where_the_next_response_is_certain() {
    let keeps = |status, lines| with(status, lines, AnswerTo::Other).expect("ok").keep_alive;
    assert!(keeps(200, "Content-Length: 5\r\n") && keeps(204, "") && keeps(304, ""));
    assert!(keeps(204, "Content-Length: 0\r\n"));
    assert!(!keeps(204, "Content-Length: 5\r\n") && !keeps(204, "Transfer-Encoding: chunked\r\n"));
    assert!(!keeps(200, "") && !keeps(200, "Content-Length: 5\r\nConnection: close\r\n"));
    let old = "HTTP/1.0 200 R\r\nContent-Length: 5\r\n";
    assert!(!parsed(&format!("{old}\r\n"), AnswerTo::Other).expect("ok").keep_alive);
    let kept = format!("{old}Connection: keep-alive\r\n\r\n");
    assert!(parsed(&kept, AnswerTo::Other).expect("ok").keep_alive);
}

#[test]
fn another_protocol_is_taken_only_where_it_was_asked_for() {
    let lines = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(with(101, lines, AnswerTo::Upgrade).map(|head| head.framing), Ok(Framing::None));
    let refused = Err(HeadError::SwitchingProtocols);
    assert_eq!(with(101, lines, AnswerTo::Other).map(drop), refused);
    assert_eq!(with(101, lines, AnswerTo::Head).map(drop), refused);
    assert_eq!(with(101, "", AnswerTo::Upgrade).map(drop), refused);
}

#[test]
fn each_bad_response_has_its_code() {
    use HeadError::*;
    let cases: &[(&str, HeadError)] = &[
        ("\r\nHTTP/1.1 200 R\r\n\r\n", EmptyLine),
        ("HTTP/1.1 099 R\r\n\r\n", Status),
        ("HTTP/1.1 600 R\r\n\r\n", Status),
        ("HTTP/1.1 999 R\r\n\r\n", Status),
        ("HTTP/1.1 20 R\r\n\r\n", StartLine),
        ("HTTP/1.1 2000 R\r\n\r\n", StartLine),
        ("HTTP/1.1  200 R\r\n\r\n", StartLine),
        ("HTTP/1.1 200R\r\n\r\n", StartLine),
        ("HTTP/1.1 +20 R\r\n\r\n", StartLine),
        ("HTTP/1.1 200 R\x00\r\n\r\n", StartLine),
        ("HTTP/2.0 200 R\r\n\r\n", Version),
        ("http/1.1 200 R\r\n\r\n", StartLine),
        ("ICY 200 OK\r\n\r\n", StartLine),
        ("<html>", StartLine),
        ("HTTP/1.1 200 R\n\r\n", LineEnd),
        ("HTTP/1.1 200\n\r\n", LineEnd),
        ("HTTP/1.1 200 R\r\nA: b\n\r\n", LineEnd),
        ("HTTP/1.1 200 R\r\nA: b\r\n\n", LineEnd),
        ("HTTP/1.1 200 R\r\nA: b\r\n c\r\n\r\n", ObsFold),
        ("HTTP/1.1 200 R\r\nA : b\r\n\r\n", SpaceBeforeColon),
        ("HTTP/1.1 200 R\r\nA\r\n\r\n", FieldName),
        ("HTTP/1.1 200 R\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", ContentLengthRepeated),
        ("HTTP/1.1 200 R\r\nContent-Length: 1,1\r\n\r\n", ContentLength),
        (
            "HTTP/1.1 200 R\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            LengthAndEncoding,
        ),
        ("HTTP/1.1 200 R\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", TransferCoding),
        ("HTTP/1.1 200 R\r\nTransfer-Encoding: gzip\r\n\r\n", TransferEncoding),
        ("HTTP/1.0 200 R\r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncodingHttp10),
    ];
    for (text, error) in cases {
        assert_eq!(parsed(text, AnswerTo::Other), Err(*error), "{text:?}");
    }
    // Of HEAD too: what follows is the next response, whoever is right.
    let both = "HTTP/1.1 200 R\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(parsed(both, AnswerTo::Head), Err(LengthAndEncoding));
    let long = format!("HTTP/1.1 200 R\r\nA: {}", "b".repeat(5000));
    assert_eq!(parsed(&long, AnswerTo::Other), Err(TooLarge));
    let many = format!("HTTP/1.1 200 R\r\n{}\r\n", "A: b\r\n".repeat(33));
    assert_eq!(parsed(&many, AnswerTo::Other), Err(TooManyFields));
}
