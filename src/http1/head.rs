//! What heads of requests and responses have in common: field lines of httparse made strict, and
//! what Content-Length, Transfer-Encoding, Connection and Upgrade mean. It must not know start
//! lines.
//!
//! httparse leaves the grammar of names and values to nobody else, but takes a bare LF for the end
//! of a line and passes on whatever the values say. Invariant: each line of an accepted head ends
//! with CRLF, and there is at most one way to read how long the body is.

use httparse::Header;

use super::error::HeadError;
use super::fields::{Class, Field, Span, is_token, is_token_byte, trim};
use super::names::{self, Name};
use crate::limits::CONNECTION_OPTIONS_MAX;

/// The field lines of a head, and those among them that say something about the message itself.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub fields: Vec<Field>,
    pub host: Option<Span>,
    pub content_length: Option<u64>,
    transfer_encoding: Option<Span>,
    pub expects_continue: bool,
    upgrade: Option<Span>,
    upgrades: usize,
    pub options: Options,
}

/// What Connection says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
}

impl Fields {
    /// Of the `headers` that httparse found in `bytes`, in a head that ends before `head_end`.
    pub(super) fn new(
        bytes: &[u8],
        headers: &[Header<'_>],
        head_end: usize,
    ) -> Result<Self, HeadError> {
        let mut found = Self { fields: Vec::with_capacity(headers.len()), ..Self::default() };
        let fields_end = head_end.saturating_sub(2);
        let mut has_connection = false;
        for (at, header) in headers.iter().enumerate() {
            let name = Span::within(bytes, header.name.as_bytes());
            let value = Span::within(bytes, header.value);
            let end = headers.get(at + 1).map_or(fields_end, |next| {
                Span::within(bytes, next.name.as_bytes()).start as usize
            });
            ends_with_crlf(bytes, end)?;
            let line = Span::new(name.start as usize, end);
            let known = names::name(header.name.as_bytes());
            found.fields.push(Field { name, value, line, class: known.class() });
            match known {
                Name::Other(_) => {}
                Name::Connection => has_connection = true,
                _ => found.note(known, value, bytes)?,
            }
        }
        ends_with_crlf(bytes, head_end)?;
        if has_connection {
            found.connection(bytes)?;
        }
        Ok(found)
    }

    fn note(&mut self, name: Name, value: Span, bytes: &[u8]) -> Result<(), HeadError> {
        match name {
            // RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code [...] to
            // any request message that contains more than one Host header field line or a Host
            // header field with an invalid field value."
            Name::Host if self.host.is_some() => return Err(HeadError::HostRepeated),
            Name::Host => self.host = Some(value),
            // RFC 9112, 6.3: "If a message is received without Transfer-Encoding and with an
            // invalid Content-Length header field, then the message framing is invalid and the
            // recipient MUST treat it as an unrecoverable error". It may take a list of equal
            // numbers for one; we do not, for somebody else may not.
            Name::ContentLength if self.content_length.is_some() => {
                return Err(HeadError::ContentLengthRepeated);
            }
            Name::ContentLength => {
                let length = content_length(value.of(bytes)).ok_or(HeadError::ContentLength)?;
                self.content_length = Some(length);
            }
            Name::TransferEncoding if self.transfer_encoding.is_some() => {
                return Err(HeadError::TransferEncoding);
            }
            Name::TransferEncoding => self.transfer_encoding = Some(value),
            Name::Lookalike => return Err(HeadError::FramingLookalike),
            Name::Upgrade => {
                self.upgrade = Some(value);
                self.upgrades += 1;
            }
            Name::Expect => {
                let mut members = value.of(bytes).split(|&byte| byte == b',');
                self.expects_continue |=
                    members.any(|it| it.trim_ascii().eq_ignore_ascii_case(b"100-continue"));
            }
            Name::Connection | Name::Other(_) => {}
        }
        Ok(())
    }

    /// RFC 9110, 7.6.1: "Intermediaries MUST parse a received Connection header field before a
    /// message is forwarded and, for each connection-option in this field, remove any header or
    /// trailer field(s) from the message with the same name as the connection-option".
    ///
    /// It has no say over fields of another class than end-to-end: they are written by us, left out
    /// anyway, or for the configuration to decide. So a client strips no X-Forwarded-For by it.
    fn connection(&mut self, bytes: &[u8]) -> Result<(), HeadError> {
        let mut options = Options::default();
        let mut count = 0;
        for at in 0..self.fields.len() {
            let field = self.fields[at];
            if names::name(field.name.of(bytes)) != Name::Connection {
                continue;
            }
            for option in field.value.of(bytes).split(|&byte| byte == b',') {
                count += 1;
                if count > CONNECTION_OPTIONS_MAX {
                    return Err(HeadError::Connection);
                }
                // RFC 9110, 5.6.1.2: "A recipient MUST parse and ignore a reasonable number of
                // empty list elements".
                let option = trim(option);
                if !option.is_empty() {
                    self.option(option, bytes, &mut options)?;
                }
            }
        }
        self.options = options;
        Ok(())
    }

    fn option(
        &mut self,
        option: &[u8],
        bytes: &[u8],
        options: &mut Options,
    ) -> Result<(), HeadError> {
        if option.eq_ignore_ascii_case(b"close") {
            options.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            options.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            options.upgrade = true;
        } else if !is_token(option) {
            return Err(HeadError::Connection);
        } else {
            for field in &mut self.fields {
                let is_named = field.name.of(bytes).eq_ignore_ascii_case(option);
                if is_named && field.class == Class::EndToEnd {
                    field.class = Class::HopByHop;
                }
            }
        }
        Ok(())
    }

    /// Whether the body is in chunks, by Transfer-Encoding.
    pub(super) fn is_chunked(&self, bytes: &[u8], is_http10: bool) -> Result<bool, HeadError> {
        let Some(encoding) = self.transfer_encoding else {
            return Ok(false);
        };
        // RFC 9112, 6.1: "A server or client that receives an HTTP/1.0 message containing a
        // Transfer-Encoding header field MUST treat the message as if the framing is faulty".
        if is_http10 {
            return Err(HeadError::TransferEncodingHttp10);
        }
        // RFC 9112, 6.3: "If a message is received with both a Transfer-Encoding and a
        // Content-Length header field, [...] Such a message might indicate an attempt to perform
        // request smuggling (Section 11.2) or response splitting (Section 11.1) and ought to be
        // handled as an error."
        if self.content_length.is_some() {
            return Err(HeadError::LengthAndEncoding);
        }
        let encoding = encoding.of(bytes);
        if encoding.eq_ignore_ascii_case(b"chunked") {
            return Ok(true);
        }
        Err(encoding_error(encoding))
    }

    /// The protocol that is asked for, where Connection names Upgrade too.
    ///
    /// RFC 9110, 7.8: "A server MAY ignore a received Upgrade header field". That is done where it
    /// is repeated or a list, and for HTTP/2 in plain text: an upstream that took it up would
    /// receive requests that nobody has looked at.
    pub(super) fn upgrade(&self, bytes: &[u8]) -> Option<Span> {
        let span = self.upgrade.filter(|_| self.options.upgrade && self.upgrades == 1)?;
        let protocol = span.of(bytes);
        let is_one = !protocol.is_empty()
            && protocol.iter().all(|&byte| is_token_byte(byte) || byte == b'/');
        let is_http = protocol.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"h2c"))
            || protocol.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"http"));
        (is_one && !is_http).then_some(span)
    }

    /// Whether the connection may be kept (RFC 9112, 9.3).
    pub(super) fn keeps_alive(&self, is_http10: bool) -> bool {
        !self.options.close && (!is_http10 || self.options.keep_alive)
    }
}

/// Whether the line that ends before `end` does so with CRLF.
///
/// RFC 9112, 2.2: "a recipient MAY recognize a single LF as a line terminator and ignore any
/// preceding CR". We do not: who does not would read another message.
pub(super) fn ends_with_crlf(bytes: &[u8], end: usize) -> Result<(), HeadError> {
    match end.checked_sub(2).and_then(|start| bytes.get(start..end)) {
        Some(b"\r\n") => Ok(()),
        _ => Err(HeadError::LineEnd),
    }
}

/// RFC 9110, 8.6: `Content-Length = 1*DIGIT`; "a recipient MUST anticipate potentially large
/// decimal numerals and prevent parsing errors due to integer conversion overflows".
fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let length = value.iter().try_fold(0u64, |length, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })?;
    i64::try_from(length).is_ok().then_some(length)
}

/// What is wrong with a Transfer-Encoding that is not `chunked` alone.
///
/// RFC 9112, 6.1: "A server that receives a request message with a transfer coding it does not
/// understand SHOULD respond with 501 (Not Implemented)"; 6.3: "If a Transfer-Encoding header field
/// is present in a request and the chunked transfer coding is not the final encoding, [...] the
/// server MUST respond with the 400 (Bad Request) status code".
fn encoding_error(encoding: &[u8]) -> HeadError {
    let codings = || encoding.split(|&byte| byte == b',').map(trim);
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let is_list = codings().all(is_token);
    let is_last_only = codings().filter(|coding| is_chunked(coding)).count() == 1
        && codings().next_back().is_some_and(is_chunked);
    if is_list && is_last_only { HeadError::TransferCoding } else { HeadError::TransferEncoding }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_decimal_numbers_below_two_to_the_63rd() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"0042"), Some(42));
        assert_eq!(content_length(b"9223372036854775807"), Some(i64::MAX as u64));
        let bad: &[&[u8]] = &[
            b"",
            b"+5",
            b"-5",
            b"0x5",
            b" 5",
            b"5 ",
            b"5,5",
            b"5, 5",
            b"5;",
            b"5a",
            b"1e3",
            b"5.0",
            b"9223372036854775808",
            b"18446744073709551616",
            b"99999999999999999999999999",
            b"\xd9\xa5",
        ];
        for value in bad {
            assert_eq!(content_length(value), None, "{}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn encodings_are_refused_as_unknown_only_where_chunked_comes_last() {
        for value in ["gzip, chunked", "identity,chunked", "x-a ,\tChunked", "gzip,deflate,chunked"]
        {
            assert_eq!(encoding_error(value.as_bytes()), HeadError::TransferCoding, "{value}");
        }
        for value in [
            "",
            "gzip",
            "identity",
            "xchunked",
            "chunkedx",
            "chunked, gzip",
            "chunked, chunked",
            ", chunked",
            "chunked,",
            "chunked;a=b",
            "gzip;q=1, chunked",
            "\"chunked\"",
            "chunked x",
            "chu nked",
            "\u{b}chunked",
            "gzip,,chunked",
        ] {
            assert_eq!(encoding_error(value.as_bytes()), HeadError::TransferEncoding, "{value}");
        }
    }
}
