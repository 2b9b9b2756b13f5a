//! Targets of requests (RFC 9112, 3.2): which form one has, and whether all of it may be there. It
//! must not know Host or routes.
//!
//! Only what RFC 3986 lets a path and a query be made of is accepted, so `"`, `<`, `>`, `\`, `^`,
//! a backtick, `{`, `|`, `}`, bytes from 0x80 and fragments (`#`) are refused: servers differ in
//! what they make of these (`\` is `/` to some). Brackets are accepted in queries: browsers do
//! not encode them there, and nobody reads them otherwise. What follows a percent sign is for the
//! router to judge.

use super::error::HeadError;
use super::fields::Span;

/// What a target says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The authority of the absolute form, and the default port of its scheme.
    pub authority: Option<(Span, u16)>,
    /// Path and query, or `*`; a query alone where the absolute form has no path.
    pub path: Span,
}

/// Takes apart the target that `span` is of `bytes`.
///
/// # Errors
/// [`HeadError::Connect`], [`HeadError::Target`].
pub(super) fn parse(bytes: &[u8], span: Span, method: &[u8]) -> Result<Target, HeadError> {
    // RFC 9112, 3.2.3: "The authority-form of request-target is only used for CONNECT requests".
    if method == b"CONNECT" {
        return Err(HeadError::Connect);
    }
    let target = span.of(bytes);
    match target {
        [b'/', ..] => {
            let path = is_path_and_query(target).then_some(span).ok_or(HeadError::Target)?;
            Ok(Target { authority: None, path })
        }
        // RFC 9112, 3.2.4: "The asterisk-form of request-target is only used for a server-wide
        // OPTIONS request".
        b"*" if method == b"OPTIONS" => Ok(Target { authority: None, path: span }),
        _ => absolute(bytes, span, method).ok_or(HeadError::Target),
    }
}

/// The absolute form, which "a server MUST accept" (RFC 9112, 3.2.2).
fn absolute(bytes: &[u8], span: Span, method: &[u8]) -> Option<Target> {
    let target = span.of(bytes);
    let has_scheme = |scheme: &[u8]| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let (scheme_bytes, port_default) = if has_scheme(b"https://") {
        (b"https://".len(), 443)
    } else if has_scheme(b"http://") {
        (b"http://".len(), 80)
    } else {
        return None;
    };
    let rest = &target[scheme_bytes..];
    let path_at = rest.iter().position(|&byte| matches!(byte, b'/' | b'?' | b'#'));
    let start = span.start as usize + scheme_bytes;
    let Some(path_at) = path_at else {
        // An empty path is `/` (RFC 9110, 4.2.3): the second slash of the scheme stands for it, for
        // a path is a part of what came. Of OPTIONS it would be `*` (RFC 9112, 3.2.4), which there
        // is none of, so that is refused.
        let path = Span::new(start - 1, start);
        let authority = Some((Span::new(start, span.end as usize), port_default));
        return (method != b"OPTIONS").then_some(Target { authority, path });
    };
    let authority = Some((Span::new(start, start + path_at), port_default));
    let path = Span::new(start + path_at, span.end as usize);
    // A query may follow at once: RFC 3986, 3.3 has `path-empty`.
    let is_right = match path.of(bytes) {
        [b'?', query @ ..] => query.iter().all(|&byte| KINDS[byte as usize] != NEITHER),
        path => is_path_and_query(path),
    };
    is_right.then_some(Target { authority, path })
}

/// Whether `bytes` begins with `/` and has only characters that a path and a query may have
/// (RFC 3986, 3.3 and 3.4; brackets in the query besides).
pub fn is_path_and_query(bytes: &[u8]) -> bool {
    if bytes.first() != Some(&b'/') {
        return false;
    }
    let path = bytes.iter().position(|&byte| KINDS[byte as usize] != PATH);
    let query = path.map_or(&[][..], |at| &bytes[at..]);
    query.first().is_none_or(|&byte| byte == b'?')
        && query.iter().all(|&byte| KINDS[byte as usize] != NEITHER)
}

const NEITHER: u8 = 0;
const PATH: u8 = 1;
const QUERY_ONLY: u8 = 2;

const KINDS: [u8; 256] = {
    let mut kinds = [NEITHER; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => PATH,
            // The rest of unreserved, sub-delims, pchar, and `/` and `%`.
            b'-' | b'.' | b'_' | b'~' => PATH,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => PATH,
            b':' | b'@' | b'/' | b'%' => PATH,
            b'?' | b'[' | b']' => QUERY_ONLY,
            _ => NEITHER,
        };
        byte += 1;
    }
    kinds
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Authority and path of a target.
    fn parsed<'a>(method: &str, target: &'a str) -> Result<(&'a str, &'a str), HeadError> {
        let bytes = target.as_bytes();
        let target_span = Span::new(0, bytes.len());
        let found = parse(bytes, target_span, method.as_bytes())?;
        let text = |span: Span| &target[span.start as usize..span.end as usize];
        Ok((found.authority.map_or("", |(span, _)| text(span)), text(found.path)))
    }

    #[test]
    fn each_form_is_taken_apart() {
        assert_eq!(parsed("GET", "/"), Ok(("", "/")));
        assert_eq!(parsed("GET", "//a/../b?c=d?e[]=/"), Ok(("", "//a/../b?c=d?e[]=/")));
        assert_eq!(parsed("OPTIONS", "*"), Ok(("", "*")));
        assert_eq!(parsed("GET", "HTTP://a:1/b?c"), Ok(("a:1", "/b?c")));
        assert_eq!(parsed("GET", "https://a"), Ok(("a", "/")));
        assert_eq!(parsed("GET", "http://a:?b=/"), Ok(("a:", "?b=/")));
        assert_eq!(parsed("OPTIONS", "https://a/"), Ok(("a", "/")));
        // Who is asked for an empty name is told by the check of authorities.
        assert_eq!(parsed("GET", "http:///b"), Ok(("", "/b")));
    }

    #[test]
    fn what_has_none_of_the_forms_is_refused() {
        for target in [
            "",
            "a",
            "a:443",
            "*",
            "**",
            "?a",
            "#",
            "http:/a",
            "http:",
            "ftp://a/",
            "https:a",
            "http://a?b#c",
            "http://a?\u{e4}",
            "http://a#b",
            "http://a/b#c",
            "/a#b",
            "/a[b",
            "/a]b",
            "/a b",
            "/\u{e4}",
            "/?\u{e4}",
            "ws://a/",
            "@a",
        ] {
            assert_eq!(parsed("GET", target), Err(HeadError::Target), "{target}");
        }
        assert_eq!(parsed("OPTIONS", "http://a"), Err(HeadError::Target));
        assert_eq!(parsed("CONNECT", "a:443"), Err(HeadError::Connect));
        assert_eq!(parsed("CONNECT", "/"), Err(HeadError::Connect));
    }

    #[test]
    fn only_characters_of_uris_pass() {
        let path = b"-._~!$&'()*+,;=:@/%";
        for byte in 0..=255u8 {
            let in_path = byte.is_ascii_alphanumeric() || path.contains(&byte);
            let in_query = in_path || b"?[]".contains(&byte);
            assert_eq!(is_path_and_query(&[b'/', byte]), in_path || byte == b'?', "{byte:#x}");
            assert_eq!(is_path_and_query(&[b'/', b'?', byte]), in_query, "{byte:#x}");
        }
    }
}
