//! The texts of patterns, one function for each kind. An error says what was expected.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Attribute, Hex, Kind, SpiffePattern, address_bits, masked};
use crate::identity::dn as distinguished_name;
use crate::identity::name::{self, NameProblem};
use crate::identity::spiffe as spiffe_id;
use crate::identity::spiffe::SpiffeProblem;
use crate::limits::SERIAL_BYTES_MAX;

pub(super) fn spiffe(text: &str) -> Result<Kind, String> {
    let explain = |problem: SpiffeProblem| {
        format!(
            "{problem}; expected spiffe://TRUST-DOMAIN/PATH, where '*' may stand for one whole \
             segment of the path and '**' for all that follow, such as \
             spiffe://example.org/ns/*/sa/api"
        )
    };
    let (trust_domain, path) = spiffe_id::split(text).map_err(explain)?;
    spiffe_id::check_trust_domain(trust_domain).map_err(explain)?;
    let (above, and_below) = match path.strip_suffix("/**") {
        _ if path == "**" => (None, true),
        Some(above) => (Some(above), true),
        None => (Some(path), false),
    };
    let mut segments = Vec::new();
    for segment in above.into_iter().flat_map(|path| path.split('/')) {
        if segment == "*" {
            segments.push(None);
        } else {
            spiffe_id::check_segment(segment).map_err(explain)?;
            segments.push(Some(segment.into()));
        }
    }
    Ok(Kind::Spiffe(SpiffePattern {
        trust_domain: trust_domain.into(),
        segments: segments.into_boxed_slice(),
        and_below,
    }))
}

pub(super) fn dns(text: &str) -> Result<Kind, String> {
    let (any_label, rest) = match text.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    match name::dns(rest, false) {
        Ok(name) => Ok(Kind::Dns { any_label, name }),
        Err(problem) => Err(format!(
            "{problem}; expected a DNS name whose first label may be '*' for exactly one label, \
             such as dns:api.example.org or dns:*.example.org"
        )),
    }
}

pub(super) fn email(text: &str) -> Result<Kind, String> {
    let parsed = name::email(text).and_then(|(local, host)| match local {
        "*" => Ok((None, host)),
        _ if local.contains('*') => Err(NameProblem::NotEmail),
        _ => Ok((Some(local.into()), host)),
    });
    match parsed {
        Ok((local, host)) => Ok(Kind::Email { local, host }),
        Err(problem) => Err(format!(
            "{problem}; expected email:USER@HOST or email:*@HOST for every user of one host, such \
             as email:ops@example.org"
        )),
    }
}

pub(super) fn ip(text: &str) -> Result<Kind, String> {
    const EXPECTED: &str = "expected an address or a network, such as ip:192.0.2.7, \
                            ip:192.0.2.0/24 or ip:2001:db8::/32";
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let network: IpAddr =
        address.parse().map_err(|_| format!("{address:?} is not an IP address; {EXPECTED}"))?;
    let bits = address_bits(network);
    let prefix_bits = match prefix {
        None => bits,
        Some(digits) => digits
            .parse()
            .ok()
            .filter(|prefix_bits: &u8| *prefix_bits <= bits && prefix_bits.to_string() == digits)
            .ok_or_else(|| format!("/{digits} is not a prefix of 0 to {bits} bits; {EXPECTED}"))?,
    };
    match masked(network, prefix_bits) {
        Some(base) if base == network => Ok(Kind::Ip { network, prefix_bits }),
        Some(base) => Err(format!(
            "{network} has bits beyond its prefix of {prefix_bits}; expected \
             ip:{base}/{prefix_bits}"
        )),
        None => Err(EXPECTED.to_owned()),
    }
}

pub(super) fn uri(text: &str) -> Result<Kind, String> {
    if name::is_spiffe(text) {
        return Err(format!("expected a SPIFFE ID without the prefix 'uri:', as {text}"));
    }
    match name::check_uri(text) {
        Ok(()) => Ok(Kind::Uri(text.into())),
        Err(problem) => {
            Err(format!("{problem}; expected the exact URI, such as uri:urn:example:device-7"))
        }
    }
}

pub(super) fn dn(text: &str, prefix: &str) -> Result<Box<str>, String> {
    distinguished_name::canonical(text).map(String::into_boxed_str).map_err(|problem| {
        format!(
            "{problem}; expected the exact name as RFC 4514 writes it, last RDN first, such as \
             {prefix}:CN=api,O=Example; 'openssl x509 -noout -{prefix} -nameopt RFC2253' shows it"
        )
    })
}

pub(super) fn attribute(text: &str, attribute: Attribute) -> Result<Kind, String> {
    let example = match attribute {
        Attribute::CommonName => "api",
        Attribute::Organization => "Example\\, Inc",
        Attribute::OrganizationalUnit => "Payments",
    };
    match distinguished_name::canonical_text(text, attribute.descriptor()) {
        Ok(value) => Ok(Kind::SubjectAttribute { attribute, value: value.into_boxed_str() }),
        Err(problem) => Err(format!(
            "{problem}; expected the exact value of one {} of the subject, with the escapes of \
             RFC 4514, such as {}:{example}",
            attribute.descriptor(),
            attribute.prefix(),
        )),
    }
}

pub(super) fn serial(text: &str) -> Result<Kind, String> {
    let bytes = hex_bytes(text).filter(|bytes| !bytes.is_empty());
    let Some(bytes) = bytes else {
        return Err("expected pairs of hex digits, such as serial:0a1b or serial:0A:1B".to_owned());
    };
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let magnitude = &bytes[zeros.min(bytes.len() - 1)..];
    if magnitude.len() > SERIAL_BYTES_MAX {
        return Err(format!(
            "a serial number has {SERIAL_BYTES_MAX} bytes at most (RFC 5280, 4.1.2.2)"
        ));
    }
    let mut serial = String::new();
    // Writing to a String cannot fail.
    let _ = write!(serial, "{}", Hex(magnitude));
    Ok(Kind::Serial(serial.into_boxed_str()))
}

pub(super) fn hash(text: &str, prefix: &str) -> Result<[u8; 32], String> {
    hex_bytes(text).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        format!("expected the 64 hex digits of a SHA-256, colons allowed, after '{prefix}:'")
    })
}

/// Pairs of hex digits, either all joined or all with one colon between them.
fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = if text.contains(':') {
        let pairs: Vec<&str> = text.split(':').collect();
        if pairs.iter().any(|pair| pair.len() != 2) {
            return None;
        }
        pairs.concat()
    } else {
        text.to_owned()
    };
    let nibble = |byte: &u8| char::from(*byte).to_digit(16);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| u8::try_from(nibble(high)? * 16 + nibble(low)?).ok())
        .collect();
    bytes.filter(|_| rest.is_empty())
}
