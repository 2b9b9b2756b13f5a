//! Patterns: parse and show are inverse, and what matches is what a plain reading of the text says.
//!
//! An input is lines of text: the pattern, and then the names of a certificate, each as a pattern
//! would write it (`dns:a.example`), so that an input can be read and written by hand.

use std::net::IpAddr;

use ringfort::identity::{Identity, Pattern};

use crate::der::{self, Parts};

/// Bytes of an input that are looked at.
const BYTES_MAX: usize = 16 * 1024;
/// Content bytes of the OID of a common name.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const UTF8_STRING: u8 = 0x0c;

/// A pattern's text survives being shown and read, and matches as the reference does; a refusal is
/// explained in a text that is bounded by what was refused.
pub fn patterns(data: &[u8]) {
    let text = String::from_utf8_lossy(&data[..data.len().min(BYTES_MAX)]);
    let mut lines = text.split('\n');
    let written = lines.next().unwrap_or_default();
    let pattern = match written.parse::<Pattern>() {
        Ok(pattern) => pattern,
        Err(error) => {
            let shown = error.to_string();
            // Quoting makes at most `\u{10ffff}` of a character.
            assert!(shown.len() <= 1024 + 20 * written.len(), "{} bytes", shown.len());
            return assert!(!shown.contains('\n'), "{shown:?} is more than a line");
        }
    };
    let shown = pattern.to_string();
    assert_eq!(shown.parse::<Pattern>().as_ref(), Ok(&pattern), "{written:?} is shown {shown:?}");
    assert!(shown.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{shown:?}");
    let Some(identity) = identity_of(lines) else { return };
    let expected = reference(&shown, &identity);
    assert_eq!(pattern.matches(&identity), expected, "{shown} and {}", described(&identity));
}

/// A certificate with these names; `None` where they are no good.
fn identity_of<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Identity> {
    let mut names: Vec<(u8, Vec<u8>)> = Vec::new();
    let (mut subject, mut serial) = ("", vec![1]);
    for line in lines {
        let (kind, text) = line.split_once(':').unwrap_or_default();
        match kind {
            "email" => names.push((1, text.into())),
            "dns" => names.push((2, text.into())),
            "uri" => names.push((6, text.into())),
            "spiffe" => names.push((6, line.into())),
            "ip" => names.push((7, octets(text.parse().ok()?))),
            "subject" => subject = text,
            "serial" => serial = text.as_bytes().to_vec(),
            _ => {}
        }
    }
    let subject = der::name([[(COMMON_NAME, UTF8_STRING, subject.as_bytes())]]);
    let names = names.iter().map(|(tag, content)| (*tag, content.as_slice()));
    let names = der::general_names(names);
    let parts = Parts { serial: &serial, issuer: &subject, subject: &subject, names: Some(&names) };
    Identity::from_der(&der::certificate(&parts)).ok()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn described(identity: &Identity) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        identity,
        identity.spiffe_id(),
        identity.dns_names(),
        identity.emails(),
        identity.uris(),
        identity.ip_addresses(),
    )
}

/// What the documentation says that a pattern matches, word by word and without cleverness.
fn reference(shown: &str, identity: &Identity) -> bool {
    let any = |names: &[Box<str>], fits: &dyn Fn(&str) -> bool| names.iter().any(|it| fits(it));
    let (kind, text) = shown.split_once(':').unwrap_or((shown, ""));
    match kind {
        "any" => true,
        "spiffe" => identity.spiffe_id().is_some_and(|id| {
            let wanted: Vec<&str> = shown.split('/').collect();
            let presented: Vec<&str> = id.as_str().split('/').collect();
            segments(&wanted, &presented)
        }),
        "dns" => any(identity.dns_names(), &|name| labels(text, name)),
        "email" => any(identity.emails(), &|email| {
            let (wanted, presented) = (text.rsplit_once('@'), email.rsplit_once('@'));
            wanted.zip(presented).is_some_and(|((user, host), (their_user, their_host))| {
                host == their_host && (user == "*" || user == their_user)
            })
        }),
        "ip" => identity.ip_addresses().iter().any(|address| network(text, *address)),
        "uri" => any(identity.uris(), &|uri| uri == text),
        "subject" => identity.subject() == text,
        // The subject of `identity_of` has a common name and nothing else.
        "subject-cn" => identity.subject().strip_prefix("CN=") == Some(text),
        "subject-o" | "subject-ou" => false,
        "issuer" => identity.issuer() == text,
        "serial" => identity.serial() == text,
        "sha256" => hex(identity.sha256()) == text,
        "spki-sha256" => hex(identity.spki_sha256()) == text,
        _ => panic!("{shown} is no kind of pattern"),
    }
}

/// '*' is one segment; '**' at the end is one or more.
fn segments(wanted: &[&str], presented: &[&str]) -> bool {
    match (wanted, presented) {
        (["**"], _) => !presented.is_empty(),
        ([], _) | (_, []) => wanted.is_empty() && presented.is_empty(),
        ([first, wanted @ ..], [segment, presented @ ..]) => {
            (*first == "*" || first == segment) && segments(wanted, presented)
        }
    }
}

/// '*' is the first label, whichever it is.
fn labels(wanted: &str, presented: &str) -> bool {
    let wanted: Vec<&str> = wanted.split('.').collect();
    let presented: Vec<&str> = presented.split('.').collect();
    let fits = |(index, (wanted, label)): (usize, (&&str, &&str))| {
        wanted == label || index == 0 && *wanted == "*"
    };
    wanted.len() == presented.len() && wanted.iter().zip(&presented).enumerate().all(fits)
}

/// The leading bits are the same, one by one.
fn network(wanted: &str, address: IpAddr) -> bool {
    let (base, prefix) = wanted.split_once('/').unwrap_or((wanted, ""));
    let Ok(base) = base.parse::<IpAddr>() else { return false };
    let (base, address) = (octets(base), octets(address));
    let bits = prefix.parse().unwrap_or(8 * base.len());
    let bit = |octets: &[u8], at: usize| octets[at / 8] >> (7 - at % 8) & 1;
    base.len() == address.len() && (0..bits).all(|at| bit(&base, at) == bit(&address, at))
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
