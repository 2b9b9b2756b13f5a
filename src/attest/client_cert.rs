//! `Client-Cert` and `Client-Cert-Chain` (RFC 9440): the certificates themselves.
//!
//! It must not know identities. Invariant: a line is a Structured Field (RFC 8941) of byte
//! sequences, so whatever is in a certificate, a line has one CR LF, at its end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::limits::TOLD_LINE_BYTES_MAX;

/// The name of the field with the client's own certificate.
const CLIENT_CERT: &[u8] = b"client-cert: ";

/// The name of the field with the others.
const CLIENT_CERT_CHAIN: &[u8] = b"client-cert-chain: ";

/// A line would be longer than [`TOLD_LINE_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Appends the line with the client's own certificate. RFC 9440, 2.2: "Client-Cert is a Byte
/// Sequence with the value of the header encoded as described in Section 2.1."
pub(super) fn append_leaf(leaf: &[u8], out: &mut Vec<u8>) -> Result<(), TooLong> {
    append(CLIENT_CERT, [leaf].into_iter(), out)
}

/// Appends the line with the certificates that came behind the client's own, if there are any.
///
/// RFC 9440, 2.3: "Client-Cert-Chain is a List [...] The order is the same as the ordering in TLS",
/// and "it does not itself include the end-entity certificate that is already present in
/// Client-Cert". An empty List is no field at all (RFC 8941, 3.1).
pub(super) fn append_chain<'a>(
    intermediates: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    if intermediates.len() == 0 {
        return Ok(());
    }
    append(CLIENT_CERT_CHAIN, intermediates, out)
}

/// Appends one line, whole or not at all.
fn append<'a>(
    name: &[u8],
    certificates: impl Iterator<Item = &'a [u8]> + Clone,
    out: &mut Vec<u8>,
) -> Result<(), TooLong> {
    // `:`, base64, `:` and a separator for each.
    let encoded_bytes = |der: &[u8]| der.len().div_ceil(3) * 4 + 4;
    let bytes: usize = name.len() + certificates.clone().map(encoded_bytes).sum::<usize>();
    if bytes > TOLD_LINE_BYTES_MAX {
        return Err(TooLong);
    }
    out.reserve(bytes);
    out.extend_from_slice(name);
    let mut text = String::new();
    for (index, der) in certificates.enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        // RFC 9440, 2.1: the DER "is base64 encoded [...] with colons to delimit it", with padding.
        text.clear();
        STANDARD.encode_string(der, &mut text);
        out.push(b':');
        out.extend_from_slice(text.as_bytes());
        out.push(b':');
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The byte sequences of a line, by the grammar of RFC 8941, 3.1 and 3.3.5.
    fn parse<'a>(line: &'a [u8], name: &str) -> Vec<Vec<u8>> {
        let text = std::str::from_utf8(line).expect("ASCII");
        let value = text.strip_prefix(name).and_then(|it| it.strip_suffix("\r\n"));
        let value: &'a str = value.expect("one line of that name");
        let item = |item: &str| {
            let base64 = item.strip_prefix(':').and_then(|it| it.strip_suffix(':'));
            STANDARD.decode(base64.expect("colons")).expect("base64 with padding")
        };
        value.split(", ").map(item).collect()
    }

    #[test]
    fn the_leaf_is_a_byte_sequence_and_the_others_a_list_of_them() {
        let mut out = Vec::new();
        append_leaf(b"\0leaf", &mut out).expect("short");
        assert_eq!(out, b"client-cert: :AGxlYWY=:\r\n");
        out.clear();
        append_chain([&b"one"[..], b"three"].into_iter(), &mut out).expect("short");
        assert_eq!(out, b"client-cert-chain: :b25l:, :dGhyZWU=:\r\n");
    }

    #[test]
    fn no_intermediates_are_no_line() {
        let mut out = Vec::new();
        append_chain([].into_iter(), &mut out).expect("nothing");
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_too_long_is_left_out_as_a_whole() {
        let half = vec![7; TOLD_LINE_BYTES_MAX * 3 / 8];
        let mut out = Vec::new();
        append_leaf(&half, &mut out).expect("it fits");
        let before = out.clone();
        let chain = [half.as_slice(), half.as_slice()];
        assert_eq!(append_chain(chain.into_iter(), &mut out), Err(TooLong));
        assert_eq!(out, before);
        assert_eq!(append_leaf(&half.repeat(3), &mut out), Err(TooLong));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_they_come_back(
            chain in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..200), 1..6
            )
        ) {
            let mut out = Vec::new();
            append_leaf(&chain[0], &mut out).expect("short");
            prop_assert_eq!(parse(&out, "client-cert: "), vec![chain[0].clone()]);
            out.clear();
            append_chain(chain.iter().map(Vec::as_slice), &mut out).expect("short");
            prop_assert_eq!(parse(&out, "client-cert-chain: "), chain);
        }
    }
}
