//! The body of an HTTP/1.1 message (RFC 9112, 6 and 7.1), taken apart as it comes.
//!
//! Requests and responses have the same. It knows no heads.

use crate::limits::HEAD_BYTES_MAX;

/// What is awaited next of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes more, at least one.
    Sized(u64),
    /// The line with a chunk's size; what it has so far.
    ChunkLine(Vec<u8>),
    /// So many bytes more of a chunk.
    Chunk(u64),
    /// CRLF behind a chunk; how many bytes of it came.
    ChunkEnd(u8),
    /// Trailer fields: the line so far, and the bytes of those before it.
    Trailer(Vec<u8>, usize),
    /// Whatever comes, until the connection ends.
    UntilClose,
    /// Nothing.
    Done,
}

impl Body {
    /// A body of that length.
    pub const fn sized(bytes: u64) -> Self {
        if bytes == 0 { Self::Done } else { Self::Sized(bytes) }
    }

    /// A body in chunks.
    pub const fn chunked() -> Self {
        Self::ChunkLine(Vec::new())
    }

    /// Takes bytes as they come, and gives what they carry to `data`. Returns what follows behind
    /// the body: nothing, until it is complete.
    ///
    /// # Errors
    /// What about them is no HTTP/1.1.
    pub fn feed<'b, E: From<&'static str>>(
        &mut self,
        mut bytes: &'b [u8],
        mut data: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<&'b [u8], E> {
        while !bytes.is_empty() && *self != Self::Done {
            let state = std::mem::replace(self, Self::Done);
            (*self, bytes) = match state {
                Self::Sized(left) => {
                    let (piece, rest) = split(left, bytes);
                    data(piece)?;
                    (Self::sized(left - piece.len() as u64), rest)
                }
                Self::Chunk(left) => {
                    let (piece, rest) = split(left, bytes);
                    data(piece)?;
                    let left = left - piece.len() as u64;
                    (if left == 0 { Self::ChunkEnd(0) } else { Self::Chunk(left) }, rest)
                }
                Self::UntilClose => {
                    data(bytes)?;
                    (Self::UntilClose, &[][..])
                }
                framing => framing.feed_framing(bytes)?,
            };
        }
        Ok(bytes)
    }

    /// What lies between the chunks.
    fn feed_framing(self, bytes: &[u8]) -> Result<(Self, &[u8]), &'static str> {
        Ok(match self {
            Self::ChunkEnd(seen) => {
                if bytes[0] != b"\r\n"[usize::from(seen)] {
                    return Err("a chunk without its end");
                }
                (if seen == 0 { Self::ChunkEnd(1) } else { Self::chunked() }, &bytes[1..])
            }
            Self::ChunkLine(line) => match take_line(line, bytes)? {
                Line::More(line) => (Self::ChunkLine(line), &[][..]),
                Line::Whole(line, rest) => match chunk_size(&line)? {
                    0 => (Self::Trailer(Vec::new(), 0), rest),
                    size => (Self::Chunk(size), rest),
                },
            },
            Self::Trailer(line, before) => match take_line(line, bytes)? {
                Line::More(line) => (Self::Trailer(line, before), &[][..]),
                Line::Whole(line, rest) if line.is_empty() => (Self::Done, rest),
                Line::Whole(line, _) if before + line.len() > HEAD_BYTES_MAX => {
                    return Err("a trailer that is too long");
                }
                Line::Whole(line, rest) => (Self::Trailer(Vec::new(), before + line.len()), rest),
            },
            other => (other, bytes),
        })
    }
}

/// The first `left` bytes, and the others.
fn split(left: u64, bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()))
}

enum Line<'b> {
    More(Vec<u8>),
    /// Without its end, and what follows.
    Whole(Vec<u8>, &'b [u8]),
}

fn take_line(mut line: Vec<u8>, bytes: &[u8]) -> Result<Line<'_>, &'static str> {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
    if line.len() > HEAD_BYTES_MAX {
        return Err("a line that is too long");
    }
    let Some(end) = end else { return Ok(Line::More(line)) };
    if line.pop() != Some(b'\r') {
        return Err("a line that does not end with CRLF");
    }
    Ok(Line::Whole(line, &bytes[end + 1..]))
}

/// RFC 9112, 7.1: hexadecimal; extensions behind a semicolon, before which there may be blanks,
/// are ignored.
fn chunk_size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = match line.iter().position(|&byte| byte == b';') {
        Some(end) => line[..end].trim_ascii_end(),
        None => line,
    };
    let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).unwrap_or_default();
    match u64::from_str_radix(text, 16) {
        Ok(size) if is_hex => Ok(size),
        _ => Err("a chunk without a size"),
    }
}

/// The number of a Content-Length, where it is one: digits and nothing else (RFC 9110, 8.6).
pub fn content_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    // `parse` alone would take a sign.
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// Whether a field of that name lists the word, in any case (RFC 9110, 5.6.1).
pub fn lists(fields: &[httparse::Header<'_>], name: &str, word: &str) -> bool {
    let named = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    named
        .flat_map(|field| field.value.split(|&byte| byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_body_is_left() {
        for (mut body, bytes, carried) in [
            (Body::sized(5), &b"helloGET"[..], &b"hello"[..]),
            (Body::sized(0), b"GET", b""),
            (Body::chunked(), b"5 ;a=b\r\nhello\r\n1\r\n!\r\n0\r\nT: x\r\n\r\nGET", b"hello!"),
        ] {
            let mut data = Vec::new();
            let rest = body.feed(bytes, |piece| {
                data.extend_from_slice(piece);
                Ok::<(), &str>(())
            });
            assert_eq!((rest, data.as_slice(), body), (Ok(&b"GET"[..]), carried, Body::Done));
        }
    }

    #[test]
    fn lengths_and_sizes_are_digits_only() {
        assert_eq!(content_length(b" 12 "), Some(12));
        for wrong in [&b""[..], b"+5", b"-1", b"1 2", b"0x1", b"99999999999999999999999"] {
            assert_eq!(content_length(wrong), None, "{wrong:?}");
        }
        for wrong in [&b"5 x"[..], b"+5", b"5 ", b"", b"11111111111111111"] {
            assert_eq!(chunk_size(wrong), Err("a chunk without a size"), "{wrong:?}");
        }
        assert_eq!(chunk_size(b"aF ; x"), Ok(0xaf));
    }

    #[test]
    fn trailers_have_a_bound() {
        let mut body = Body::Trailer(Vec::new(), 0);
        let field = format!("X: {}\r\n", "x".repeat(1000));
        let ended = (0..100)
            .try_for_each(|_| body.feed(field.as_bytes(), |_| Ok::<(), &str>(())).map(|_| ()));
        assert_eq!(ended, Err("a trailer that is too long"));
    }
}
