//! Field lines (RFC 9110, 5; RFC 9112, 5): where they are in a head, and what a gateway does with
//! them.

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
}

/// What a gateway does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Forwards it.
    EndToEnd,
    /// Does not forward it: a hop-by-hop field, by its name or because Connection names it
    /// (RFC 9110, 7.6.1).
    HopByHop,
    /// Writes its own: Host, Content-Length, Transfer-Encoding.
    Framing,
    /// Never forwards it: it claims who the client is.
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

/// The class of a field by its name alone, in whatever case.
pub fn classify(name: &[u8]) -> Class {
    let _ = name;
    unimplemented!()
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
