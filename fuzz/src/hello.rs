//! `tls::hello::parse` against itself, cut in every way, and against rustls.

use ringfort::limits::{
    CLIENT_HELLO_BYTES_MAX, DNS_NAME_BYTES_MAX, HELLO_KEY_SHARES_MAX, HELLO_PROTOCOLS_MAX,
};
use ringfort::tls::hello::{ClientHello, Hello, HelloError, Progress, parse};
use rustls::server::Acceptor;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const HEADER_BYTES: usize = 5;
/// Every prefix of an input up to this is tried, of a longer one as many.
const PREFIXES_MAX: usize = 512;

/// What is asked more of is cut off and nothing else; an answer stands whatever follows; the way a
/// message is cut into records does not matter; what comes out is bounded, and is what rustls
/// reads where it accepts the same bytes.
pub fn hello(data: &[u8]) {
    check(data);
    // The same bytes as the body of a message, for the depths that a fuzzer would need luck for.
    let fragment_bytes = 1 + data.first().map_or(0, |&byte| usize::from(byte)) * 7;
    if let Some(body) = data.get(1..).filter(|body| body.len() < CLIENT_HELLO_BYTES_MAX) {
        check(&records(&message(body), fragment_bytes));
    }
}

fn check(wire: &[u8]) {
    let whole = parse(wire);
    match &whole {
        Ok(Progress::NeedMore) => {
            assert!(wire.len() < CLIENT_HELLO_BYTES_MAX, "it asks for more than it may hold");
        }
        Ok(Progress::Complete(hello)) => {
            check_bounds(hello, wire.len());
            check_refragmented(hello, &wire[..hello.bytes]);
            check_against_rustls(hello, &wire[..hello.bytes]);
        }
        Err(error) => check_error(*error, wire[0]),
    }
    check_prefixes(wire, &whole);
}

/// Once there is an answer, more bytes do not change it.
fn check_prefixes(wire: &[u8], whole: &Hello) {
    let step = wire.len().div_ceil(PREFIXES_MAX).max(1);
    let mut answered = false;
    for end in (0..wire.len()).step_by(step) {
        let part = parse(&wire[..end]);
        if part == Ok(Progress::NeedMore) {
            assert!(!answered, "{end} bytes are too few, and fewer were enough");
            continue;
        }
        answered = true;
        assert_eq!(part, *whole, "{end} of {} bytes", wire.len());
    }
    if let Ok(Progress::Complete(hello)) = whole {
        let cut = parse(&wire[..hello.bytes - 1]);
        assert_eq!(cut, Ok(Progress::NeedMore), "without its last byte");
        assert_eq!(parse(&wire[..hello.bytes]), *whole, "without what follows it");
    }
}

fn check_error(error: HelloError, first: u8) {
    let speaks_tls = (20..=24).contains(&first);
    assert_eq!(error.alert().is_some(), speaks_tls, "{error}: who speaks TLS gets an alert");
    assert!(!error.to_string().is_empty());
}

fn check_bounds(hello: &ClientHello, wire_bytes: usize) {
    assert!(hello.bytes <= wire_bytes && hello.bytes <= CLIENT_HELLO_BYTES_MAX);
    assert!(hello.session_id_len <= 32);
    assert!(hello.alpn.len() <= HELLO_PROTOCOLS_MAX);
    assert!(hello.alpn.iter().all(|name| (1..=255).contains(&name.len())));
    assert!(hello.key_shares.len() <= HELLO_KEY_SHARES_MAX);
    assert!(hello.versions.iter().any(|version| matches!(version, 0x0303 | 0x0304)));
    assert!(!hello.suites.is_empty());
    if let Some(name) = &hello.server_name {
        assert!((1..=DNS_NAME_BYTES_MAX).contains(&name.len()), "{name:?}");
        assert!(name.is_ascii() && *name == name.to_ascii_lowercase(), "{name:?}");
        assert!(name.parse::<std::net::IpAddr>().is_err() && !name.ends_with('.'), "{name:?}");
    }
    let heap = hello.alpn.iter().map(Vec::len).sum::<usize>()
        + 2 * (hello.suites.len() + hello.groups.len() + hello.signature_schemes.len());
    assert!(heap <= hello.bytes, "what is kept is a part of what came");
}

/// RFC 8446, 5.1: a message may be split between records anywhere.
fn check_refragmented(hello: &ClientHello, wire: &[u8]) {
    let message = joined(wire);
    for fragment_bytes in [1 << 14, 1 + message.len() / 2, 97] {
        let wire = records(&message, fragment_bytes);
        if wire.len() > CLIENT_HELLO_BYTES_MAX {
            continue;
        }
        let expected = ClientHello { bytes: wire.len(), ..hello.clone() };
        assert_eq!(parse(&wire), Ok(Progress::Complete(expected)), "by {fragment_bytes} bytes");
    }
}

/// Where rustls accepts it too, both have read the same.
fn check_against_rustls(hello: &ClientHello, mut wire: &[u8]) {
    let mut acceptor = Acceptor::default();
    while !wire.is_empty() {
        if acceptor.read_tls(&mut wire).is_err() {
            return;
        }
        let accepted = match acceptor.accept() {
            Ok(Some(accepted)) => accepted,
            Ok(None) => continue,
            Err(_) => return,
        };
        let theirs = accepted.client_hello();
        let name = theirs.server_name().map(str::to_ascii_lowercase);
        assert_eq!(hello.server_name, name, "server_name");
        let alpn: Vec<Vec<u8>> = theirs.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
        assert_eq!(hello.alpn, alpn, "ALPN");
        let suites: Vec<u16> = theirs.cipher_suites().iter().map(|&it| it.into()).collect();
        assert_eq!(hello.suites, suites, "cipher suites");
        let schemes: Vec<u16> = theirs.signature_schemes().iter().map(|&it| it.into()).collect();
        assert_eq!(hello.signature_schemes, schemes, "signature schemes");
        let groups: Vec<u16> =
            theirs.named_groups().unwrap_or_default().iter().map(|&it| it.into()).collect();
        assert_eq!(hello.groups, groups, "groups");
        return;
    }
}

fn message(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[CLIENT_HELLO, length[1], length[2], length[3]], body].concat()
}

fn records(message: &[u8], fragment_bytes: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for fragment in message.chunks(fragment_bytes.clamp(1, 1 << 14)) {
        let length = (fragment.len() as u16).to_be_bytes();
        wire.extend_from_slice(&[HANDSHAKE, 3, 1, length[0], length[1]]);
        wire.extend_from_slice(fragment);
    }
    wire
}

/// The message that whole records carry.
fn joined(mut wire: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let Some((header, rest)) = wire.split_at_checked(HEADER_BYTES) {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        message.extend_from_slice(&rest[..length]);
        wire = &rest[length..];
    }
    message
}
