//! `http1::request::parse` and `http1::write::request`.

use ringfort::http1::body::Framing;
use ringfort::http1::error::HeadError;
use ringfort::http1::fields::Class;
use ringfort::http1::request::{RequestHead, parse};
use ringfort::http1::write::{RequestChange, request};

use super::reference::{self, Head, Length};
use super::{LIMITS, fed};

/// What is accepted is what the reference accepts, with the same length, whatever the pieces are
/// and whatever follows; what is written of it is one message again, with the same meaning.
pub fn http1_request(data: &[u8]) {
    check(data);
    // The same bytes as field lines of a head that is right, and as its target.
    check(&[b"POST /a HTTP/1.1\r\nHost: a\r\n", data, b"\r\n\r\n"].concat());
    check(&[b"GET ", data, b" HTTP/1.0\r\nHost: a\r\n\r\n"].concat());
}

fn check(bytes: &[u8]) {
    let outcome = parse(bytes, LIMITS);
    let text = bytes.escape_ascii();
    let expected = Head::new(bytes, true).and_then(|head| {
        let length = reference::request(&head)?;
        Some((head.bytes, head.fields.len(), length))
    });
    let found = match &outcome {
        Ok(Some(head)) => Some((head.bytes, head.fields.len(), length(head.framing))),
        Ok(None) | Err(_) => None,
    };
    assert_eq!(found, expected, "{text}");
    match &outcome {
        Ok(Some(head)) => {
            check_pieces(bytes, head);
            check_written(bytes, head);
        }
        Ok(None) => assert!(bytes.len() < LIMITS.bytes_max + 2, "it asks for more than may be"),
        Err(error) => check_error(bytes, *error),
    }
}

fn length(framing: Framing) -> Length {
    match framing {
        Framing::None => Length::None,
        Framing::Length(length) => Length::Bytes(length),
        Framing::Chunked => Length::Chunks,
        Framing::UntilClose => panic!("no request has a body that ends with the connection"),
    }
}

fn check_pieces(bytes: &[u8], head: &RequestHead) {
    for end in 0..head.bytes {
        assert_eq!(parse(&bytes[..end], LIMITS), Ok(None), "{end} bytes of {}", head.bytes);
    }
    let only = &bytes[..head.bytes];
    assert_eq!(parse(only, LIMITS).as_ref().ok(), Some(&Some(head.clone())), "without the rest");
    for piece in [1, 7] {
        let (fed, parses) = fed(bytes, piece, |part| parse(part, LIMITS).transpose());
        assert_eq!(fed, Some(Ok(head.clone())), "in pieces of {piece}");
        assert!(parses <= 2, "{parses} times in pieces of {piece}");
    }
}

fn check_error(bytes: &[u8], error: HeadError) {
    assert!(matches!(error.status(), 400 | 414 | 431 | 501 | 505), "{error:?}");
    assert!(!error.as_str().is_empty() && !error.to_string().is_empty());
    // A part may be refused for another reason, but is never taken for a head.
    for end in 0..bytes.len() {
        let part = parse(&bytes[..end], LIMITS);
        assert!(!matches!(part, Ok(Some(_))), "{end} bytes of {}", bytes.escape_ascii());
    }
}

fn check_written(bytes: &[u8], head: &RequestHead) {
    let mut out = Vec::new();
    let host = if head.authority.of(bytes).is_empty() { b"none" } else { head.authority.of(bytes) };
    let change = RequestChange {
        target: head.path.of(bytes),
        host,
        framing: head.framing,
        keep: &|_, _| true,
        upgrade: true,
        lines: &[b"X-Added: 1\r\n"],
    };
    request(&mut out, bytes, head, &change);
    let text = out.escape_ascii();
    let limits = ringfort::http1::request::HeadLimits { bytes_max: 4096, fields_max: 64 };
    let again = parse(&out, limits);
    let Ok(Some(again)) = again else {
        panic!("{again:?}: {text}");
    };
    assert_eq!(again.bytes, out.len(), "{text}");
    assert_eq!(again.framing, head.framing, "{text}");
    let before = (head.method.of(bytes), head.path.of(bytes), host);
    assert_eq!((again.method.of(&out), again.path.of(&out), again.authority.of(&out)), before);
    let upgrade =
        |head: &RequestHead, bytes: &[u8]| head.upgrade.map(|span| span.of(bytes).to_vec());
    assert_eq!(upgrade(&again, &out), upgrade(head, bytes), "{text}");
    let end_to_end = |head: &RequestHead, bytes: &[u8]| -> Vec<Vec<u8>> {
        let fields = head.fields.iter();
        let kept = fields.filter(|it| matches!(it.class, Class::EndToEnd | Class::Forwarding));
        kept.map(|field| field.line.of(bytes).to_vec()).collect()
    };
    let mut lines = end_to_end(head, bytes);
    lines.push(b"X-Added: 1\r\n".to_vec());
    assert_eq!(end_to_end(&again, &out), lines, "{text}");
    assert!(again.fields.iter().all(|field| field.class != Class::Identity), "{text}");
}
