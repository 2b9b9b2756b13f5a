//! `http1::body::BodyDecoder`, and what writes chunks.

use ringfort::http1::body::{BodyDecoder, CHUNK_END, Framing, write_chunk_size, write_last_chunk};
use ringfort::http1::error::BodyError;
use ringfort::http1::trailer;

use super::reference;

/// What came of a body: data, trailers, bytes taken.
type Outcome = Result<(Vec<u8>, Option<Box<[u8]>>, usize), BodyError>;

/// The data of a body in chunks is that of the reference, with the same end, whatever the pieces
/// are; trailers that may not be forwarded do not come out; what is written is read.
pub fn http1_body(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    check(rest, usize::from(first) + 1);
    check(&[b"1\r\na\r\n0\r\n", rest, b"\r\n\r\n"].concat(), usize::from(first) + 1);
    check(&[b"2;", rest, b"\r\nab\r\n0\r\n\r\n"].concat(), usize::from(first) + 1);
    check_length(rest, u64::from(first));
    check_written(rest, usize::from(first) + 1);
}

fn check(bytes: &[u8], piece: usize) {
    let whole = taken_apart(Framing::Chunked, bytes, bytes.len().max(1));
    let text = bytes.escape_ascii();
    for piece in [1, piece] {
        assert_eq!(taken_apart(Framing::Chunked, bytes, piece), whole, "pieces of {piece}: {text}");
    }
    match (reference::chunks(bytes), whole) {
        (Some((data, taken, lines)), Ok((found, trailers, consumed))) => {
            assert_eq!((found, consumed), (data, taken), "{text}");
            check_trailers(&lines, trailers.as_deref().unwrap_or_default());
        }
        (None, Err(_)) => {}
        (expected, found) => panic!("{expected:?}, but {found:?}: {text}"),
    }
}

/// Those that may go on are there, in their order, and no others.
fn check_trailers(lines: &[&[u8]], trailers: &[u8]) {
    let name = |line: &[u8]| line.split(|&byte| byte == b':').next().unwrap_or_default().to_vec();
    let expected: Vec<Vec<u8>> =
        lines.iter().map(|line| name(line)).filter(|name| trailer::is_forwarded(name)).collect();
    let found: Vec<Vec<u8>> = trailers
        .split_inclusive(|&byte| byte == b'\n')
        .inspect(|line| assert!(line.ends_with(b"\r\n")))
        .map(name)
        .collect();
    assert_eq!(found, expected, "{}", trailers.escape_ascii());
}

fn check_length(bytes: &[u8], length: u64) {
    let outcome = taken_apart(Framing::Length(length), bytes, 3);
    if (bytes.len() as u64) < length {
        assert_eq!(outcome, Err(BodyError::Incomplete));
    } else {
        let data = bytes[..length as usize].to_vec();
        assert_eq!(outcome, Ok((data, None, length as usize)));
    }
}

fn check_written(bytes: &[u8], piece: usize) {
    let mut out = Vec::new();
    for part in bytes.chunks(piece) {
        out.extend_from_slice(&write_chunk_size(part.len() as u32));
        out.extend_from_slice(part);
        out.extend_from_slice(CHUNK_END);
    }
    write_last_chunk(&mut out, b"A: b\r\n");
    let length = out.len();
    out.extend_from_slice(b"GET / HTTP/1.1\r\n");
    let trailers: Option<Box<[u8]>> = Some(b"A: b\r\n"[..].into());
    let expected = Ok((bytes.to_vec(), trailers, length));
    assert_eq!(taken_apart(Framing::Chunked, &out, 11), expected);
}

fn taken_apart(framing: Framing, bytes: &[u8], piece: usize) -> Outcome {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut at) = (Vec::new(), 0);
    while !decoder.is_complete() && at < bytes.len() {
        let end = bytes.len().min(at + piece);
        let decoded = decoder.decode(&bytes[at..end])?;
        assert!(decoded.consumed > 0 && decoded.data.len() <= decoded.consumed);
        data.extend_from_slice(decoded.data);
        at += decoded.consumed;
    }
    decoder.end()?;
    Ok((data, decoder.take_trailers(), at))
}
