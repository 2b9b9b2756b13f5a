//! The host that a request asks for, in the one way that routes know it.
//!
//! PURE. It must not know routes, ports or what a name resolves to.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use crate::limits::DNS_NAME_BYTES_MAX;

/// The host of `authority` (a Host field, `:authority`, or that of a target in absolute form): its
/// port and final dot taken away, in lower case. Borrowed where nothing changes. An IPv6 address
/// keeps its brackets and is written as RFC 5952 has it.
///
/// `None` where it is no host and port (RFC 9110, 7.2): the request is answered with 400. Nothing
/// but letters, digits, `-`, `_` and dots is a name here; that RFC 3986 allows more is of no use to
/// who has a DNS name, and of use to who wants it read in two ways.
pub fn host_of(authority: &[u8]) -> Option<Cow<'_, [u8]>> {
    if authority.first() == Some(&b'[') {
        return bracketed(authority);
    }
    let end = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
    is_port(&authority[end..]).then_some(())?;
    let host = &authority[..end];
    let host = host.strip_suffix(b".").unwrap_or(host);
    is_name(host).then_some(())?;
    Some(if host.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// An IPv6 address, as RFC 5952 writes it: it has one text here, whichever the client has for it.
fn bracketed(authority: &[u8]) -> Option<Cow<'_, [u8]>> {
    let end = authority.iter().position(|byte| *byte == b']')?;
    is_port(&authority[end + 1..]).then_some(())?;
    let text = std::str::from_utf8(&authority[1..end]).ok()?;
    let canonical = format!("[{}]", text.parse::<Ipv6Addr>().ok()?).into_bytes();
    let host = &authority[..=end];
    Some(if canonical == host { Cow::Borrowed(host) } else { Cow::Owned(canonical) })
}

/// Whether it is nothing, or a colon and digits, of which there may be none (RFC 3986, 3.2.3).
fn is_port(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn is_name(host: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        !label.is_empty()
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    };
    host.len() <= DNS_NAME_BYTES_MAX && host.split(|byte| *byte == b'.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_in_lower_case_without_port_and_final_dot() {
        for (authority, host) in [
            ("example.org", "example.org"),
            ("Example.ORG:8443", "example.org"),
            ("example.org.", "example.org"),
            ("example.org.:443", "example.org"),
            ("example.org:", "example.org"),
            ("a_b-c.x", "a_b-c.x"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:DB8::1]:8443", "[2001:db8::1]"),
            ("[::1]", "[::1]"),
            ("[0:0::1]:80", "[::1]"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(host_of(authority.as_bytes()).as_deref(), Some(host.as_bytes()));
        }
        assert!(matches!(host_of(b"a.test:1"), Some(Cow::Borrowed(b"a.test"))));
    }

    #[test]
    fn what_is_no_host_is_none() {
        let long = format!("{}a", "a.".repeat(127));
        for authority in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            ":80",
            "user@a",
            "a:b",
            "a:80:80",
            "a:+1",
            "a b",
            "a/b",
            "a,b",
            "%61",
            "a:123456",
            "[::1",
            "[]",
            "[a]",
            "[::1]x",
            "[::1]80",
            "::1",
            "a\0",
            "\u{e9}.test",
            "a?",
            "a#",
            "*.a",
            &long,
        ] {
            assert_eq!(host_of(authority.as_bytes()), None, "{authority}");
        }
    }
}
