//! `Telling::tell`: whatever certificate a client has, each line is one field that reads back.
//!
//! The input makes a certificate as that of `identity` does; it is the URI of the server's, too.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringfort::attest::{Certificates, Telling};
use ringfort::identity::Identity;
use ringfort::limits::TOLD_LINE_BYTES_MAX;
use rustls::pki_types::CertificateDer;

use crate::identity::certificate_of;

/// Lines are whole and printable; byte sequences are the certificates; the element of
/// `X-Forwarded-Client-Cert` has the keys that the identity has names for and no other, also for a
/// reader that takes a backslash before anything for an escape, and Envoy's reader finds its names.
pub fn attest(data: &[u8]) {
    let Some(leaf) = certificate_of(data) else { return };
    let Ok(identity) = Identity::from_der(&leaf) else { return };
    let by: Arc<str> = String::from_utf8_lossy(data).into();
    let leaf = CertificateDer::from(leaf);
    let certificates = Certificates { chain: vec![leaf.clone(), leaf.clone()], by: Some(by) };
    let telling = Telling { client_cert: true, client_cert_chain: true, xfcc: true, token: None };
    let told = telling.tell(Some(&identity), &certificates);
    let text = std::str::from_utf8(&told.lines).expect("ASCII");
    assert!(text.is_empty() || text.ends_with("\r\n"), "{text:?}");
    let mut found = 0;
    for line in text.split_terminator("\r\n") {
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        assert!(line.len() <= TOLD_LINE_BYTES_MAX, "{} bytes", line.len());
        let (name, value) = line.split_once(": ").expect("a field");
        match name {
            "client-cert" | "client-cert-chain" => assert_eq!(sequence(value), &leaf[..]),
            "x-forwarded-client-cert" => check_element(value, &identity),
            other => panic!("a field {other}"),
        }
        found += 1;
    }
    // A chain is not left out but missing, where its leaf was left out.
    assert!(found + told.left_out == 3 || (found <= 1 && told.left_out >= 1), "{text:?}");
    assert!(telling.tell(None, &certificates).lines.is_empty(), "of nobody");
}

/// The one byte sequence of a Structured Field.
fn sequence(value: &str) -> Vec<u8> {
    let base64 = value.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    STANDARD.decode(base64.expect("colons")).expect("base64")
}

fn check_element(value: &str, identity: &Identity) {
    let uris: Vec<&str> = match identity.spiffe_id() {
        Some(id) => vec![id.as_str()],
        None => identity.uris().iter().map(|uri| &**uri).collect(),
    };
    let names: Vec<&str> = identity.dns_names().iter().map(|name| &**name).collect();
    for any in [false, true] {
        let pairs = pairs(value, any);
        let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        let expected = [&["By", "Hash", "Subject"][..], &vec!["URI"; uris.len()]].concat();
        let expected = [expected, vec!["DNS"; names.len()]].concat();
        assert_eq!(keys, expected, "{value}");
        let values: Vec<&str> = pairs[3..].iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, [&uris[..], &names].concat(), "{value}");
    }
}

/// The pairs of the one element, by the rules of Envoy's documentation; `any`: a backslash escapes
/// whatever follows, and not a double quote only.
fn pairs(value: &str, any: bool) -> Vec<(String, String)> {
    let mut pairs = vec![(String::new(), None::<String>)];
    let mut quoted = false;
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        let (key, text) = pairs.last_mut().expect("one");
        match (c, text.as_mut()) {
            ('"', Some(_)) => quoted = !quoted,
            ('\\', Some(text)) if quoted && (any || chars.peek() == Some(&'"')) => {
                text.extend(chars.next());
            }
            (';', _) if !quoted => pairs.push((String::new(), None)),
            (',', _) if !quoted => panic!("a second element: {value}"),
            ('=', None) => *text = Some(String::new()),
            (_, Some(text)) => text.push(c),
            (_, None) => key.push(c),
        }
    }
    assert!(!quoted, "an open quote: {value}");
    pairs.into_iter().map(|(key, text)| (key, text.expect("a value"))).collect()
}
