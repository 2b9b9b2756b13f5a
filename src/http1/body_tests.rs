//! Tests of bodies: what comes out, however it is cut, and what is refused.

use super::*;
use crate::http1::request::{self, HeadLimits};
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX};

/// Data, trailers and how many bytes were taken.
type Outcome = Result<(Vec<u8>, Option<Box<[u8]>>, usize), BodyError>;

/// What comes of a body that comes in pieces of `piece` bytes.
fn taken_apart(framing: Framing, input: &[u8], piece: usize) -> Outcome {
    let mut decoder = BodyDecoder::new(framing);
    let (mut data, mut at) = (Vec::new(), 0);
    while !decoder.is_complete() && at < input.len() {
        let end = input.len().min(at + piece);
        let decoded = decoder.decode(&input[at..end])?;
        assert!(decoded.consumed > 0, "a body that is not complete takes something");
        data.extend_from_slice(decoded.data);
        at += decoded.consumed;
    }
    decoder.end()?;
    assert_eq!(decoder.decode(b"next"), Ok(Decoded { consumed: 0, data: &[] }));
    Ok((data, decoder.take_trailers(), at))
}

/// The same for each size of the pieces.
fn decoded(framing: Framing, input: &[u8]) -> Outcome {
    let whole = taken_apart(framing, input, usize::MAX - input.len());
    for piece in 1..input.len().min(300) {
        assert_eq!(taken_apart(framing, input, piece), whole, "in pieces of {piece}");
    }
    whole
}

#[test]
fn a_body_with_a_length_ends_after_it() {
    assert_eq!(decoded(Framing::Length(5), b"helloGET"), Ok((b"hello".to_vec(), None, 5)));
    assert_eq!(decoded(Framing::Length(5), b"hell"), Err(BodyError::Incomplete));
    assert_eq!(decoded(Framing::None, b"GET"), Ok((Vec::new(), None, 0)));
    let mut decoder = BodyDecoder::new(Framing::Length(5));
    assert_eq!(decoder.remaining(), Some(5));
    decoder.decode(b"he").expect("data");
    assert_eq!(decoder.remaining(), Some(3));
}

#[test]
fn a_body_until_close_ends_with_the_connection() {
    assert_eq!(decoded(Framing::UntilClose, b"hello"), Ok((b"hello".to_vec(), None, 5)));
    let mut decoder = BodyDecoder::new(Framing::UntilClose);
    assert!(!decoder.is_complete());
    assert_eq!(decoder.remaining(), None);
    assert_eq!(decoder.end(), Ok(()));
    assert!(decoder.is_complete());
}

#[test]
fn chunks_come_out_as_one_body() {
    let cases: &[(&[u8], &[u8])] = &[
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"0\r\n\r\n", b""),
        (b"1\r\na\r\n0000000000000002\r\nbc\r\n00\r\n\r\n", b"abc"),
        (b"A\r\n\r\n\r\n012345\r\n0\r\n\r\n", b"\r\n\r\n012345"),
        (b"a;b\r\n0123456789\r\n0;c=d;e=\"f \\\"\xff\"\r\n\r\n", b"0123456789"),
        (b"1 ; a = b ;\tc\r\nx\r\n0\r\n\r\n", b"x"),
    ];
    for &(input, data) in cases {
        let text = input.escape_ascii();
        let expected = (data.to_vec(), None, input.len());
        assert_eq!(decoded(Framing::Chunked, input), Ok(expected.clone()), "{text}");
        assert_eq!(decoded(Framing::Chunked, &[input, b"GET /"].concat()), Ok(expected), "{text}");
    }
}

#[test]
fn every_part_of_a_body_in_chunks_is_incomplete() {
    let whole = b"5;a=\"b\"\r\nhello\r\n0\r\nA: b\r\n\r\n";
    for len in 0..whole.len() {
        assert_eq!(decoded(Framing::Chunked, &whole[..len]), Err(BodyError::Incomplete), "{len}");
    }
}

#[test]
fn what_is_no_chunk_is_refused() {
    let cases: &[&[u8]] = &[
        b"\r\n",
        b";a\r\n",
        b" 5\r\nhello",
        b"+5\r\nhello",
        b"-5\r\n",
        b"0x5\r\nhello",
        b"g\r\n",
        b"5\nhello",
        b"5\rhello",
        b"5 \r\nhello",
        b"5\t\r\nhello",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhell\r\n0\r\n\r\n",
        b"5,\r\n",
        b"8000000000000000\r\n",
        b"ffffffffffffffff\r\n",
        b"00000000000000005\r\nhello",
        b"5;\r\nhello",
        b"5;a=\r\nhello",
        b"5;=b\r\nhello",
        b"5;a b\r\nhello",
        b"5;a\nhello",
        b"5;a\r\r\nhello",
        b"5;a=\"b\r\n",
        b"5;a=\"b\\\r\n",
        b"5;a=\"b\"c\r\nhello",
        b"5;a\x00\r\n",
        b"5;a=b\x7f\r\n",
        b"5;a;;b\r\nhello",
        b"5;a=\"\n\"\r\nhello",
        b"5;\xc3\xa4\r\nhello",
        b"5\x0b\r\nhello",
        b"5\x00\r\nhello",
        b"\xef\xbc\x95\r\nhello",
        b"5_0\r\n",
        b"5 ;a \r\nhello",
    ];
    for input in cases {
        let result = decoded(Framing::Chunked, input);
        assert_eq!(result, Err(BodyError::Chunk), "{}", input.escape_ascii());
    }
}

#[test]
fn extensions_are_bounded_for_a_chunk_and_for_a_body() {
    let fits = format!("1;{}\r\na\r\n0\r\n\r\n", "b".repeat(CHUNK_EXTENSION_BYTES_MAX - 1));
    assert!(decoded(Framing::Chunked, fits.as_bytes()).is_ok());
    let longer = fits.replace(";b", ";bb");
    assert_eq!(decoded(Framing::Chunked, longer.as_bytes()), Err(BodyError::ChunkExtension));
    let chunk = fits.trim_end_matches("0\r\n\r\n");
    let count = crate::limits::CHUNK_EXTENSIONS_BYTES_MAX / CHUNK_EXTENSION_BYTES_MAX;
    let end = "0\r\n\r\n";
    let body = |count| chunk.repeat(count) + end;
    assert!(taken_apart(Framing::Chunked, body(count).as_bytes(), 999).is_ok());
    let error = taken_apart(Framing::Chunked, body(count + 1).as_bytes(), 999);
    assert_eq!(error, Err(BodyError::ChunkExtension));
}

#[test]
fn trailers_that_may_be_forwarded_are_handed_out_once() {
    let input = b"1\r\na\r\n0\r\nGrpc-Status: 0\r\nContent-Length: 5\r\nX-Checksum:  ab \r\n\
        Host: a\r\nAuthorization: b\r\nClient_Cert: c\r\nVia: d\r\nConnection: e\r\n\
        Transfer-Encoding: chunked\r\nSet-Cookie: f\r\n\r\n";
    let (data, trailers, taken) = decoded(Framing::Chunked, input).expect("a body");
    assert_eq!((data, taken), (b"a".to_vec(), input.len()));
    let expected = b"Grpc-Status: 0\r\nX-Checksum: ab\r\n";
    assert_eq!(trailers.as_deref(), Some(&expected[..]));

    let mut decoder = BodyDecoder::new(Framing::Chunked);
    decoder.decode(b"0\r\nA: b\r\n").expect("a part");
    assert_eq!(decoder.take_trailers(), None, "they are not complete");
    decoder.decode(b"\r\n").expect("the end");
    assert_eq!(decoder.take_trailers().as_deref(), Some(&b"A: b\r\n"[..]));
    assert_eq!(decoder.take_trailers(), None);
}

#[test]
fn trailers_are_parsed_as_strictly_as_fields() {
    for lines in [
        "A: b\n\r\n",
        "A: b\r\n c\r\n\r\n",
        " A: b\r\n\r\n",
        "A : b\r\n\r\n",
        "A\r\n\r\n",
        ": b\r\n\r\n",
        "A: b\0\r\n\r\n",
        "A: b\rc\r\n\r\n",
        "A: b\r\n\n",
        "\n",
        "\rA",
        "A: \x7f\r\n\r\n",
        "A: b\r\n\rB: c\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        let input = format!("0\r\n{lines}");
        let result = decoded(Framing::Chunked, input.as_bytes());
        assert_eq!(result, Err(BodyError::Trailer), "{lines:?}");
    }
}

#[test]
fn trailers_are_bounded_in_bytes_and_fields() {
    let body =
        |lines: &str| taken_apart(Framing::Chunked, format!("0\r\n{lines}\r\n").as_bytes(), 99);
    assert!(body(&"A: b\r\n".repeat(TRAILER_FIELDS_MAX)).is_ok());
    let error = Err(BodyError::TrailerTooLarge);
    assert_eq!(body(&"A: b\r\n".repeat(TRAILER_FIELDS_MAX + 1)), error);
    assert!(body(&format!("A: {}\r\n", "b".repeat(TRAILER_BYTES_MAX - 5))).is_ok());
    assert_eq!(body(&format!("A: {}\r\n", "b".repeat(TRAILER_BYTES_MAX - 4))), error);
}

#[test]
fn an_error_is_final() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert_eq!(decoder.decode(b"x"), Err(BodyError::Chunk));
    assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(BodyError::Chunk));
    assert_eq!(decoder.end(), Err(BodyError::Chunk));
    assert!(!decoder.is_complete());
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(&write_chunk_size(0x1f), b"0000001f\r\n");
    assert_eq!(&write_chunk_size(u32::MAX), b"ffffffff\r\n");
    assert_eq!(&write_chunk_size(0), b"00000000\r\n");
    let mut out = write_chunk_size(5).to_vec();
    out.extend_from_slice(b"hello");
    out.extend_from_slice(CHUNK_END);
    write_last_chunk(&mut out, b"A: b\r\n");
    let trailers: Option<Box<[u8]>> = Some(b"A: b\r\n"[..].into());
    assert_eq!(decoded(Framing::Chunked, &out), Ok((b"hello".to_vec(), trailers, out.len())));
}

#[test]
fn trailers_that_connection_names_do_not_go_on() {
    let limits = HeadLimits { bytes_max: 1024, fields_max: 10 };
    let bytes =
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close, X-One\r\nconnection:x-TWO ,,\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\nX-One: 1\r\nx-two: 2\r\nX-On: 3\r\nX_One: 4\r\n\r\n";
    let head = request::parse(bytes, limits).expect("a good head").expect("a whole one");
    let (head_bytes, body) = bytes.split_at(head.bytes);
    let mut decoder = BodyDecoder::behind(head.framing, &head.fields, head_bytes);
    assert_eq!(decoder.decode(body).expect("a body").consumed, body.len());
    assert_eq!(decoder.take_trailers().as_deref(), Some(&b"X-On: 3\r\nX_One: 4\r\n"[..]));
}

#[test]
fn no_more_and_no_less_goes_out_than_the_head_says() {
    for framing in [Framing::None, Framing::Length(0)] {
        let mut promise = Promise::new(framing);
        assert_eq!(promise.keep(1), Err(Unequal), "{framing:?}");
        assert_eq!(promise.end(), Ok(()), "{framing:?}");
    }
    let mut promise = Promise::new(Framing::Length(5));
    assert_eq!((promise.keep(4), promise.end(), promise.is_kept()), (Ok(()), Err(Unequal), false));
    assert_eq!(promise.keep(2), Err(Unequal));
    assert_eq!((promise.keep(1), promise.end(), promise.is_kept()), (Ok(()), Ok(()), true));
    for framing in [Framing::Chunked, Framing::UntilClose] {
        let mut promise = Promise::new(framing);
        assert_eq!((promise.keep(usize::MAX), promise.end()), (Ok(()), Ok(())), "{framing:?}");
    }
}
