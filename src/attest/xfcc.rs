//! `X-Forwarded-Client-Cert`, as Envoy writes it: names of the client's certificate as text.
//!
//! Invariant: no name gets out of its value, whichever of the usual ways the field is read. Envoy's
//! documentation knows one escape, `\"`; some parsers take `\` and any character for one. So the
//! names here have neither a double quote nor a backslash before one or at the end: what would be
//! written so has another spelling, of RFC 4514 (`\22`) in a subject, of RFC 3986 (`%22`) in a URI.
//! A semicolon of the subject is spelled so too, for parsers that split before they unquote.

use std::io::Write;

use super::client_cert::TooLong;
use crate::identity::Identity;
use crate::limits::TOLD_LINE_BYTES_MAX;

/// The name of the field.
const NAME: &[u8] = b"x-forwarded-client-cert: ";

/// Appends the line: `By=`, `Hash=`, `Subject="..."`, each `URI=`, each `DNS=`.
///
/// `by` is the URI of the server's own certificate. A key without a value is left out, but for the
/// subject, which Envoy writes even where it is empty.
pub(super) fn append(
    identity: &Identity,
    by: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    let start = out.len();
    out.extend_from_slice(NAME);
    if let Some(by) = by {
        out.extend_from_slice(b"By=");
        append_uri(by, out);
        out.push(b';');
    }
    out.extend_from_slice(b"Hash=");
    append_hex(identity.sha256(), out);
    out.extend_from_slice(b";Subject=\"");
    append_subject(identity.subject(), out);
    out.push(b'"');
    let spiffe_id = identity.spiffe_id().map(|id| id.as_str());
    for uri in spiffe_id.into_iter().chain(identity.uris().iter().map(|uri| &**uri)) {
        out.extend_from_slice(b";URI=");
        append_uri(uri, out);
    }
    for name in identity.dns_names() {
        out.extend_from_slice(b";DNS=");
        append_uri(name, out);
    }
    if out.len() - start > TOLD_LINE_BYTES_MAX {
        out.truncate(start);
        return Err(TooLong);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn append_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        // Writing to a vector does not fail.
        let _ = write!(out, "{byte:02x}");
    }
}

/// Appends an RFC 4514 string for use between double quotes.
fn append_subject(subject: &str, out: &mut Vec<u8>) {
    let hex = |byte: u8, out: &mut Vec<u8>| {
        let _ = write!(out, "\\{byte:02X}");
    };
    let mut bytes = subject.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                match bytes.next_if(u8::is_ascii_graphic).or_else(|| bytes.next_if_eq(&b' ')) {
                    Some(special @ (b'"' | b'\\' | b';')) => hex(special, out),
                    Some(other) => out.extend_from_slice(&[b'\\', other]),
                    None => hex(b'\\', out),
                }
            }
            b'"' | b';' => hex(byte, out),
            b' '..=b'~' => out.push(byte),
            _ => hex(byte, out),
        }
    }
}

/// Appends a URI or a DNS name. Envoy's documentation: "If ",", ";" or "=" appear in a value, the
/// value should be double-quoted."
fn append_uri(text: &str, out: &mut Vec<u8>) {
    let quoted = text.bytes().any(|byte| matches!(byte, b',' | b';' | b'='));
    if quoted {
        out.push(b'"');
    }
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' | ..=b' ' | 0x7f.. => {
                let _ = write!(out, "%{byte:02X}");
            }
            _ => out.push(byte),
        }
    }
    if quoted {
        out.push(b'"');
    }
}

#[cfg(test)]
#[path = "xfcc_tests.rs"]
mod tests;
