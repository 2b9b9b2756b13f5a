//! `http1::response::parse` and `http1::write::response`.

use ringfort::http1::body::Framing;
use ringfort::http1::request::HeadLimits;
use ringfort::http1::response::{AnswerTo, ResponseHead, parse};
use ringfort::http1::write::{ResponseChange, response};

use super::reference::{Head, Length};
use super::{LIMITS, fed};

/// What is accepted is what the reference accepts, with the same length, whatever the pieces are
/// and whatever follows; what is written of it is one message again, with the same length.
pub fn http1_response(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    let to = [AnswerTo::Other, AnswerTo::Head, AnswerTo::Upgrade][usize::from(first % 3)];
    check(rest, to);
    check(&[b"HTTP/1.1 200 OK\r\n", rest, b"\r\n\r\n"].concat(), to);
    check(&[b"HTTP/1.0 304 ", rest, b"\r\n\r\n"].concat(), to);
}

fn check(bytes: &[u8], to: AnswerTo) {
    let outcome = parse(bytes, LIMITS, to);
    let text = bytes.escape_ascii();
    let found = outcome.as_ref().ok().and_then(|head| head.as_ref());
    let found = found.map(|head| (head.bytes, head.status, head.framing));
    assert_eq!(found, reference(bytes, to), "{text}");
    if let Ok(Some(head)) = &outcome {
        for end in 0..head.bytes {
            assert_eq!(parse(&bytes[..end], LIMITS, to), Ok(None), "{end} bytes: {text}");
        }
        let (fed, parses) = fed(bytes, 3, |part| parse(part, LIMITS, to).transpose());
        assert_eq!(fed, Some(Ok(head.clone())), "in pieces: {text}");
        assert!(parses <= 2, "{parses} times: {text}");
        check_written(bytes, head, to);
    }
}

/// Bytes, status and framing of the response that `bytes` begins with.
fn reference(bytes: &[u8], to: AnswerTo) -> Option<(usize, u16, Framing)> {
    // A reason phrase may have other letters than ASCII, and spaces: only what is before it counts.
    let head = match bytes.windows(2).position(|window| window == b"\r\n") {
        Some(end) => {
            let ascii: Vec<u8> =
                bytes[..end].iter().map(|&byte| if byte < 0x80 { byte } else { b'x' }).collect();
            [&ascii, &bytes[end..]].concat()
        }
        None => return None,
    };
    let head = Head::new(&head, false)?;
    let line = head.start.join(" ");
    let (version, rest) = (line.get(..8)?, line.get(8..)?);
    let status: u16 =
        rest.get(1..4).filter(|it| it.chars().all(|c| c.is_ascii_digit()))?.parse().ok()?;
    let is_line = ["HTTP/1.0", "HTTP/1.1"].contains(&version)
        && rest.starts_with(' ')
        && rest.get(4..5).is_none_or(|space| space == " ");
    let length = head.length(version)?;
    let options = head.options()?;
    if !is_line || !(100..600).contains(&status) {
        return None;
    }
    if status < 200 && !matches!(length, Length::None | Length::Bytes(0)) {
        return None;
    }
    if status == 101 {
        let protocols = head.all("upgrade");
        let is_one = |value: &[u8]| {
            let lower = value.to_ascii_lowercase();
            !value.is_empty()
                && value
                    .iter()
                    .all(|it| it.is_ascii_graphic() && !b"\"(),:;<=>?@[\\]{}".contains(it))
                && !lower.starts_with(b"h2c")
                && !lower.starts_with(b"http")
        };
        let is_named = options.iter().any(|option| option == "upgrade");
        let is_right = protocols.len() == 1 && is_one(protocols[0]) && is_named;
        if to != AnswerTo::Upgrade || !is_right {
            return None;
        }
    }
    let framing = match length {
        _ if status < 200 || [204, 304].contains(&status) || to == AnswerTo::Head => Framing::None,
        Length::Chunks => Framing::Chunked,
        Length::Bytes(length) => Framing::Length(length),
        Length::None => Framing::UntilClose,
    };
    Some((head.bytes, status, framing))
}

fn check_written(bytes: &[u8], head: &ResponseHead, to: AnswerTo) {
    let change = ResponseChange {
        framing: head.framing,
        close: !head.keep_alive,
        keep_alive: false,
        upgrade: head.status == 101,
        keep: &|_, _| true,
        lines: &[b"X-Added: 1\r\n"],
    };
    let mut out = Vec::new();
    response(&mut out, bytes, head, &change);
    let text = out.escape_ascii();
    let limits = HeadLimits { bytes_max: 4096, fields_max: 64 };
    let again = parse(&out, limits, to);
    let Ok(Some(again)) = again else {
        panic!("{again:?}: {text}");
    };
    assert_eq!(again.bytes, out.len(), "{text}");
    assert_eq!((again.status, again.framing), (head.status, head.framing), "{text}");
    assert_eq!(again.content_length, head.content_length, "{text}");
    assert_eq!(again.reason.of(&out), head.reason.of(bytes), "{text}");
    // Behind 101 there is no HTTP that a connection could be kept for.
    let is_closed = !head.keep_alive && head.status != 101;
    assert!(!(is_closed && again.keep_alive), "{text}");
}
