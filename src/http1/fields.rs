//! Field lines (RFC 9110, 5; RFC 9112, 5): where they are in a head, and what a gateway does with
//! them. It must not know what the fields of a head mean together: that is `head`.

use super::names;

/// A range of the bytes that a head was parsed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte behind the last one.
    pub end: u32,
}

impl Span {
    /// The bytes, of the buffer that the head was parsed from.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// From `start` to `end`, which are below 4 GiB: a head is cut at that.
    pub(super) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Self { start: start as u32, end: end as u32 }
    }

    /// Where `part` is in `bytes`, which it is a part of.
    pub(super) fn within(bytes: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr() - bytes.as_ptr().addr();
        Self::new(start, start + part.len())
    }
}

/// What a gateway does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Forwards it.
    EndToEnd,
    /// Does not forward it: a hop-by-hop field, by its name or because Connection names it
    /// (RFC 9110, 7.6.1).
    ///
    /// `TE: trailers` is one. gRPC needs it on each hop: who forwards to HTTP/2 writes it anew
    /// where the client sent it (RFC 9113, 8.2.2 allows just that value), and who forwards to
    /// HTTP/1.1 with it names it in Connection (RFC 9110, 10.1.4).
    HopByHop,
    /// Writes its own: Host, Content-Length, Transfer-Encoding.
    Framing,
    /// Never forwards it: it claims who the client is. [`names`] lists them.
    Identity,
    /// X-Forwarded-*, X-Real-IP, Forwarded, Via: the configuration decides.
    Forwarding,
}

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Span,
    /// Its value, without white space around it.
    pub value: Span,
    /// The whole line with its CRLF.
    pub line: Span,
    /// What is done with it.
    pub class: Class,
}

/// The class of a field by its name alone, in whatever case; what is neither letter nor digit
/// counts as `-`.
pub fn classify(name: &[u8]) -> Class {
    names::name(name).class()
}

/// Whether some upstream takes two names for one: case does not count (RFC 9110, 5.1), and what is
/// neither letter nor digit is the same to servers that hand fields to programs as variables
/// (RFC 3875, 4.1.18 has `-` become `_`; lighttpd does that to all of them).
pub fn is_same_name(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len()
        && name.iter().zip(other).all(|(&a, &b)| names::folded(a) == names::folded(b))
}

/// The values of the fields called `name` (in lower case), in their order.
pub fn values<'a>(
    fields: &'a [Field],
    bytes: &'a [u8],
    name: &'a [u8],
) -> impl Iterator<Item = &'a [u8]> + 'a {
    fields
        .iter()
        .filter(move |field| field.name.of(bytes).eq_ignore_ascii_case(name))
        .map(move |field| field.value.of(bytes))
}

/// Whether `byte` may be in a token (RFC 9110, 5.6.2).
pub(super) const fn is_token_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
        | b'|' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
    )
}

/// Whether `bytes` is a token (RFC 9110, 5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

/// `bytes` without SP and HTAB around it (OWS; RFC 9110, 5.6.3), and without anything else that
/// `trim_ascii` would take.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_of_http_is_trimmed() {
        assert_eq!(trim(b" \ta b\t "), b"a b");
        assert_eq!(trim(b"\x0bchunked"), b"\x0bchunked");
        assert_eq!(trim(b"   "), b"");
    }

    #[test]
    fn spans_find_what_they_were_made_of() {
        let bytes = b"abcdef";
        let span = Span::within(bytes, &bytes[2..4]);
        assert_eq!(span, Span::new(2, 4));
        assert_eq!(span.of(bytes), b"cd");
        assert_eq!(Span::within(bytes, &bytes[6..]).of(bytes), b"");
    }
}
