//! Authorities (RFC 3986, 3.2; RFC 9110, 4.2 and 7.2): a host, with or without a port. It must not
//! know which hosts there are.
//!
//! Stricter than the grammar of URIs, which has names that no server has: a host is letters,
//! digits, `-`, `_` and dots, no label of it empty but the last, or an IPv6 address in brackets. A
//! port is one to five digits, 1 to 65535, or nothing behind its colon, which is the default one
//! (RFC 9110, 4.2.1: "If the port subcomponent is empty or not given"). No user name, percent sign,
//! zone or future version of an address: RFC 9110, 4.2.4 has a recipient "treat its presence as an
//! error" where there is a user name.

use std::net::Ipv6Addr;

use crate::limits::AUTHORITY_BYTES_MAX;

/// A host, and the port where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets. Not empty.
    pub host: &'a [u8],
    /// 1 to 65535.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses `host[:port]`; `None` where that is not what it is.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > AUTHORITY_BYTES_MAX {
            return None;
        }
        let colon = if bytes.first() == Some(&b'[') {
            let end = bytes.iter().position(|&byte| byte == b']')? + 1;
            match bytes.get(end) {
                None => None,
                Some(b':') => Some(end),
                Some(_) => return None,
            }
        } else {
            bytes.iter().position(|&byte| byte == b':')
        };
        let (host, port) = match colon {
            None => (bytes, None),
            Some(colon) if colon + 1 == bytes.len() => (&bytes[..colon], None),
            Some(colon) => (&bytes[..colon], Some(port(&bytes[colon + 1..])?)),
        };
        is_host(host).then_some(Self { host, port })
    }

    /// Whether both are the same place: hosts compare without case (RFC 3986, 6.2.2.1), and a
    /// missing port is `port_default` (RFC 9110, 4.2.3).
    pub fn is_same(&self, other: &Authority<'_>, port_default: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(port_default) == other.port.unwrap_or(port_default)
    }
}

fn port(bytes: &[u8]) -> Option<u16> {
    if bytes.len() > 5 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = bytes.iter().fold(0, |number: u32, &digit| number * 10 + u32::from(digit - b'0'));
    u16::try_from(number).ok().filter(|&port| port != 0)
}

fn is_host(host: &[u8]) -> bool {
    if let [b'[', address @ .., b']'] = host {
        return std::str::from_utf8(address)
            .is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let mut before = b'.';
    for &byte in host {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'.' if before != b'.' => {}
            _ => return false,
        }
        before = byte;
    }
    !host.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_ports_are_taken_apart() {
        let cases: &[(&[u8], &[u8], Option<u16>)] = &[
            (b"example.org", b"example.org", None),
            (b"example.org.", b"example.org.", None),
            (b"Example.ORG:8443", b"Example.ORG", Some(8443)),
            (b"my_host:1", b"my_host", Some(1)),
            (b"192.0.2.1:65535", b"192.0.2.1", Some(65535)),
            (b"[::1]", b"[::1]", None),
            (b"[2001:db8::1]:443", b"[2001:db8::1]", Some(443)),
            (b"a:00080", b"a", Some(80)),
            (b"localhost:", b"localhost", None),
            (b"[::1]:", b"[::1]", None),
        ];
        for &(bytes, host, port) in cases {
            assert_eq!(Authority::parse(bytes), Some(Authority { host, port }));
        }
    }

    #[test]
    fn what_is_no_host_or_no_port_is_refused() {
        let cases: &[&[u8]] = &[
            b"",
            b":80",
            b"a:0",
            b"a:65536",
            b"a:+80",
            b"a:80 ",
            b"a:8o",
            b"a:000080",
            b"a:80:80",
            b"user@a",
            b"user:pw@a",
            b"a b",
            b"a/b",
            b"a?b",
            b"a#b",
            b"a\\b",
            b"a,b",
            b"a%2eb",
            b"a..b",
            b".a",
            b".",
            b"\xc3\xa4",
            b"*.a",
            b"[::1",
            b"[::1]a",
            b"[]",
            b"[::1%25eth0]",
            b"[v1.a]",
            b"::1",
            b"[1.2.3.4]",
            b"a\tb",
            b"a\0",
        ];
        for bytes in cases {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(Authority::parse(bytes), None, "{text}");
        }
        assert_eq!(Authority::parse(&[b'a'; AUTHORITY_BYTES_MAX + 1]), None);
    }

    #[test]
    fn case_and_the_default_port_do_not_tell_authorities_apart() {
        let is_same = |a: &str, b: &str| {
            let a = Authority::parse(a.as_bytes()).expect("an authority");
            let b = Authority::parse(b.as_bytes()).expect("an authority");
            assert_eq!(a.is_same(&b, 443), b.is_same(&a, 443));
            a.is_same(&b, 443)
        };
        assert!(is_same("a.example", "A.Example:443"));
        assert!(is_same("a.example:443", "A.Example:0443"));
        assert!(is_same("a.example:", "a.example:443"));
        assert!(!is_same("a.example", "a.example:80"));
        assert!(!is_same("a.example", "a.example."));
    }
}
