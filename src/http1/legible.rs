//! What is legible of a request that is refused: for the log, never to act on.
//!
//! It takes what looks like a request line and a Host, whatever else is wrong. Invariant: its spans
//! are of the bytes that it was given, and none of them has a CR, LF or NUL.

use super::fields::Span;
use super::request::RequestHead;
use crate::limits::HTTP_METHOD_BYTES_MAX;

/// Method, authority and path of the request that `bytes` begins with, as far as they came.
pub fn legible(bytes: &[u8]) -> RequestHead {
    let mut head = RequestHead::none();
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let line = line(bytes, start);
    let method = word(bytes, line.start as usize, line);
    let is_method = !method.of(bytes).is_empty()
        && method.of(bytes).len() <= HTTP_METHOD_BYTES_MAX
        && method.of(bytes).iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'-');
    // A method is there once something follows it.
    if !is_method || method.end == line.end {
        return head;
    }
    head.method = method;
    let target = word(bytes, method.end as usize + 1, line);
    (head.authority, head.path) = parts(bytes, target);
    if head.authority.of(bytes).is_empty() {
        head.authority = host(bytes, line.end as usize);
    }
    head
}

/// Of the method, authority and path that were found some other way; with the bytes.
pub fn of_parts(method: &[u8], authority: &[u8], path: &[u8]) -> (RequestHead, Vec<u8>) {
    let bytes = [method, authority, path].concat();
    let ends = [method.len(), method.len() + authority.len(), bytes.len()];
    let head = RequestHead {
        method: Span::new(0, ends[0]),
        authority: Span::new(ends[0], ends[1]),
        path: Span::new(ends[1], ends[2]),
        ..RequestHead::none()
    };
    (head, bytes)
}

/// From `start` to the end of its line, of which the control characters that end it are no part.
fn line(bytes: &[u8], start: usize) -> Span {
    let rest = &bytes[start..];
    let length = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0));
    Span::new(start, start + length.unwrap_or(rest.len()))
}

/// From `start` to the next space of `line`.
fn word(bytes: &[u8], start: usize, line: Span) -> Span {
    let end = line.end as usize;
    let start = start.min(end);
    let length = bytes[start..end].iter().position(|&byte| byte == b' ');
    Span::new(start, start + length.unwrap_or(end - start))
}

/// Authority and path of a target.
fn parts(bytes: &[u8], target: Span) -> (Span, Span) {
    let text = target.of(bytes);
    let start = target.start as usize;
    let Some(scheme) = text.windows(3).position(|part| part == b"://") else {
        return (Span::default(), target);
    };
    if text.starts_with(b"/") {
        return (Span::default(), target);
    }
    let authority = scheme + 3;
    let length = text[authority..].iter().position(|byte| matches!(byte, b'/' | b'?'));
    let path = length.map_or(text.len(), |length| authority + length);
    let end = target.end as usize;
    (Span::new(start + authority, start + path), Span::new(start + path, end))
}

/// The value of the first Host behind `at`, whose line is complete.
fn host(bytes: &[u8], at: usize) -> Span {
    let mut at = at;
    while let Some(length) = bytes[at..].iter().position(|&byte| byte == b'\n') {
        let start = at + length + 1;
        let field = line(bytes, start);
        let text = field.of(bytes);
        if text.is_empty() {
            break;
        }
        let is_complete = bytes.get(field.end as usize).is_some();
        if is_complete && text.len() >= 5 && text[..5].eq_ignore_ascii_case(b"host:") {
            return Span::within(bytes, text[5..].trim_ascii());
        }
        at = start;
    }
    Span::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &str) -> (&str, &str, &str) {
        let head = legible(bytes.as_bytes());
        let text = |span: Span| std::str::from_utf8(span.of(bytes.as_bytes())).expect("text");
        (text(head.method), text(head.authority), text(head.path))
    }

    #[test]
    fn what_came_is_read_whatever_is_wrong_with_it() {
        let good = "GET /a?b HTTP/1.1\r\nX: y\r\nhost:  a.test:1 \r\nX y: z\r\n\r\n";
        assert_eq!(read(good), ("GET", "a.test:1", "/a?b"));
        let absolute = "POST http://b.test/c HTTP/9.9\r\nHost: a.test\r\n\r\n";
        assert_eq!(read(absolute), ("POST", "b.test", "/c"));
        assert_eq!(read("GET http://b.test?x HTTP/1.1\r\n"), ("GET", "b.test", "?x"));
        assert_eq!(read("\r\n\r\nHEAD /a"), ("HEAD", "", "/a"));
        assert_eq!(
            read("GET /redirect?to=http://x/ HTTP/1.1\nHost: a"),
            ("GET", "", "/redirect?to=http://x/")
        );
        assert_eq!(read("GET /\nHost: a\n\nHost: b\n"), ("GET", "a", "/"));
        assert_eq!(read("GET /a\0b c\r\n"), ("GET", "", "/a"));
    }

    #[test]
    fn what_is_no_request_is_not_shown_as_one() {
        for bytes in ["", "GET", "\r\n", "\u{16}\u{3}\u{1} /", "G\u{e9}T / HTTP/1.1\r\n", " / x"] {
            assert_eq!(read(bytes), ("", "", ""), "{bytes:?}");
        }
        let long = "A".repeat(HTTP_METHOD_BYTES_MAX + 1) + " / HTTP/1.1\r\n\r\n";
        assert_eq!(read(&long), ("", "", ""));
    }

    #[test]
    fn wherever_it_is_cut_nothing_breaks() {
        let whole = b"\r\nGET http://a.test/b?c HTTP/1.1\r\nHost: d\r\nhost: e\r\n\r\n";
        for end in 0..whole.len() {
            for start in 0..end {
                legible(&whole[start..end]);
            }
        }
    }

    #[test]
    fn parts_are_a_head() {
        let (head, bytes) = of_parts(b"GET", b"a.test", b"/b");
        assert_eq!(head.method.of(&bytes), b"GET");
        assert_eq!((head.authority.of(&bytes), head.path.of(&bytes)), (&b"a.test"[..], &b"/b"[..]));
    }
}
