//! Known attacks on the boundaries of messages, each refused with its code.
//!
//! They are those that were found between real proxies and servers: two lengths (CL.TE, TE.CL,
//! CL.CL), a coding that one side does not recognise (TE.TE), lines that end differently, chunks
//! that are counted differently, and a host that is read differently.

use ringfort::http1::body::{BodyDecoder, Framing};
use ringfort::http1::request::{self, HeadLimits};
use ringfort::http1::response::{self, AnswerTo};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 16 * 1024, fields_max: 100 };

/// Name of the attack, lines besides Host, and the code that it is refused with.
const FIELDS: &[(&str, &str, &str)] = &[
    ("CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked", "length_and_encoding"),
    ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4", "length_and_encoding"),
    ("CL.CL", "Content-Length: 8\r\nContent-Length: 7", "content_length_repeated"),
    ("CL.CL in one", "Content-Length: 8, 7", "content_length"),
    ("CL.CL, equal", "Content-Length: 8\r\ncontent-length: 8", "content_length_repeated"),
    ("CL with a sign", "Content-Length: +8", "content_length"),
    ("CL below zero", "Content-Length: -1", "content_length"),
    ("CL in hexadecimal", "Content-Length: 0x8", "content_length"),
    ("CL that overflows", "Content-Length: 18446744073709551624", "content_length"),
    ("CL of signed 64 bits", "Content-Length: 9223372036854775808", "content_length"),
    ("CL in quotes", "Content-Length: \"8\"", "content_length"),
    ("CL with a comment", "Content-Length: 8 (eight)", "content_length"),
    ("CL without digits", "Content-Length: ", "content_length"),
    ("CL behind VT", "Content-Length:\x0b8", "field_value"),
    ("CL before the colon", "Content-Length : 8", "space_before_colon"),
    ("CL with an underscore", "Content_Length: 8", "framing_lookalike"),
    ("CL behind NUL", "Content-Length\x00: 8", "field_name"),
    ("TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "transfer_encoding"),
    (
        "TE.TE, other order",
        "Transfer-Encoding: x\r\nTransfer-encoding: chunked",
        "transfer_encoding",
    ),
    ("TE in one", "Transfer-Encoding: chunked, identity", "transfer_encoding"),
    ("TE twice", "Transfer-Encoding: chunked, chunked", "transfer_encoding"),
    ("TE with a prefix", "Transfer-Encoding: xchunked", "transfer_encoding"),
    ("TE in quotes", "Transfer-Encoding: \"chunked\"", "transfer_encoding"),
    ("TE with a parameter", "Transfer-Encoding: chunked;q=1", "transfer_encoding"),
    ("TE with an empty member", "Transfer-Encoding: ,chunked", "transfer_encoding"),
    ("TE of two words", "Transfer-Encoding: cow chunked", "transfer_encoding"),
    ("TE identity", "Transfer-Encoding: identity", "transfer_encoding"),
    ("TE that is unknown", "Transfer-Encoding: cow, chunked", "transfer_coding"),
    ("TE behind VT", "Transfer-Encoding: \x0bchunked", "field_value"),
    ("TE behind FF", "Transfer-Encoding: \x0cchunked", "field_value"),
    ("TE before VT", "Transfer-Encoding: chunked\x0b", "field_value"),
    ("TE, name before VT", "Transfer-Encoding\x0b: chunked", "field_name"),
    ("TE before the colon", "Transfer-Encoding : chunked", "space_before_colon"),
    ("TE, HTAB before the colon", "Transfer-Encoding\t:chunked", "space_before_colon"),
    ("TE, LF before the colon", "Transfer-Encoding\n: chunked", "line_end"),
    ("TE folded", "Transfer-Encoding:\r\n chunked", "obs_fold"),
    ("TE behind a fold", "X: y\r\n\tTransfer-Encoding: chunked", "obs_fold"),
    ("TE behind a bare LF", "X: y\nTransfer-Encoding: chunked", "line_end"),
    ("TE behind a bare CR", "X: y\rTransfer-Encoding: chunked", "line_end"),
    ("TE in a name", "X:y\x00\r\nTransfer-Encoding: chunked", "field_value"),
    ("TE with an underscore", "Transfer_Encoding: chunked", "framing_lookalike"),
    ("TE of other letters", "Transfer-Encoding: chun\u{212a}ed", "transfer_encoding"),
    ("no colon", "Transfer-Encoding chunked", "field_name"),
    ("no name", ": chunked", "field_name"),
    ("Host twice", "Host: b", "host_repeated"),
    ("Connection as text", "Connection: \"close\", x y", "connection"),
];

/// Name of the attack, a whole head, and the code that it is refused with.
const HEADS: &[(&str, &str, &str)] = &[
    ("no Host", "GET / HTTP/1.1\r\n\r\n", "host_missing"),
    ("Host with a path", "GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n", "host"),
    ("Host with a user", "GET / HTTP/1.1\r\nHost: a:80@b\r\n\r\n", "host"),
    ("Host with a list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "host"),
    ("Host, folded first", "GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n", "obs_fold"),
    ("Host against target", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "host_mismatch"),
    ("user in target", "GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "host"),
    ("space in target", "GET /a HTTP/1.1 x HTTP/1.1\r\nHost: a\r\n\r\n", "start_line"),
    ("tunnel", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "connect"),
    ("HTTP/0.9", "GET /\r\n\r\n", "start_line"),
    (
        "TE in HTTP/1.0",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "transfer_encoding_http10",
    ),
    ("line of bare LF", "GET / HTTP/1.1\nHost: a\n\n", "line_end"),
    ("end of bare LF", "GET / HTTP/1.1\r\nHost: a\r\n\n", "line_end"),
    ("empty lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "empty_line"),
    ("preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version"),
    ("version in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", "start_line"),
];

/// Name of the attack, a body in chunks, and the code that it is refused with.
const CHUNKS: &[(&str, &[u8], &str)] = &[
    ("extension with a bare LF", b"2;\nxx\r\n0\r\n\r\n", "chunk"),
    ("extension, LF behind a name", b"2;a\nxx\r\n0\r\n\r\n", "chunk"),
    ("extension, CR within", b"2;a\rb\r\nxx\r\n0\r\n\r\n", "chunk"),
    ("extension, LF in quotes", b"2;a=\"\n\"\r\nxx\r\n0\r\n\r\n", "chunk"),
    ("size ended by LF", b"2\nxx\r\n0\r\n\r\n", "chunk"),
    ("data ended by LF", b"2\r\nxx\n0\r\n\r\n", "chunk"),
    ("data ended by two others", b"2\r\nxxXX0\r\n\r\n", "chunk"),
    ("data too long", b"2\r\nxxx\r\n0\r\n\r\n", "chunk"),
    ("size in C's notation", b"0x2\r\nxx\r\n0\r\n\r\n", "chunk"),
    ("size with a sign", b"+2\r\nxx\r\n0\r\n\r\n", "chunk"),
    ("size below zero", b"-1\r\nxx\r\n0\r\n\r\n", "chunk"),
    ("size with an underscore", b"0_2\r\nxx\r\n0\r\n\r\n", "chunk"),
    ("size behind a space", b" 2\r\nxx\r\n0\r\n\r\n", "chunk"),
    ("size before a space", b"2 \r\nxx\r\n0\r\n\r\n", "chunk"),
    ("size before NUL", b"2\0\r\nxx\r\n0\r\n\r\n", "chunk"),
    ("size that overflows to 2", b"10000000000000002\r\nxx\r\n0\r\n\r\n", "chunk"),
    ("size of 64 bits", b"ffffffffffffffff\r\nxx\r\n0\r\n\r\n", "chunk"),
    ("no size", b"\r\nxx\r\n0\r\n\r\n", "chunk"),
    ("trailer behind LF", b"0\r\nA: b\nContent-Length: 1\r\n\r\n", "trailer"),
    ("end of bare LF", b"0\r\n\n", "trailer"),
    ("trailer folded", b"0\r\nA: b\r\n c\r\n\r\n", "trailer"),
    ("request as a trailer", b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "trailer"),
];

fn refused(text: &[u8]) -> &'static str {
    match request::parse(text, LIMITS) {
        Ok(head) => panic!("{}: {head:?}", text.escape_ascii()),
        Err(error) => error.as_str(),
    }
}

#[test]
fn fields_that_could_be_read_in_two_ways_are_refused() {
    for (name, lines, code) in FIELDS {
        for place in ["Host: a\r\n", "A: b\r\nHost: a\r\n"] {
            let text = format!("POST / HTTP/1.1\r\n{place}{lines}\r\n\r\n");
            assert_eq!(refused(text.as_bytes()), *code, "{name}");
        }
        let text = format!("POST / HTTP/1.1\r\n{lines}\r\nHost: a\r\n\r\n");
        assert_eq!(refused(text.as_bytes()), *code, "{name}, before Host");
    }
}

#[test]
fn heads_that_could_be_read_in_two_ways_are_refused() {
    for (name, text, code) in HEADS {
        assert_eq!(refused(text.as_bytes()), *code, "{name}");
    }
}

#[test]
fn chunks_that_could_be_counted_in_two_ways_are_refused() {
    for (name, body, code) in CHUNKS {
        for piece in [1, 2, body.len()] {
            let mut decoder = BodyDecoder::new(Framing::Chunked);
            let error = body.chunks(piece).find_map(|part| fed(&mut decoder, part).err());
            assert_eq!(error, Some(*code), "{name}, in pieces of {piece}");
        }
    }
}

/// Feeds all of `part`, or says the code that it is refused with.
fn fed(decoder: &mut BodyDecoder, mut part: &[u8]) -> Result<(), &'static str> {
    while !part.is_empty() {
        let decoded = decoder.decode(part).map_err(|error| error.as_str())?;
        assert!(!decoder.is_complete(), "it took what is wrong for a body");
        part = &part[decoded.consumed..];
    }
    Ok(())
}

#[test]
fn responses_that_could_be_read_in_two_ways_are_refused() {
    for (name, lines, code) in FIELDS.iter().filter(|(name, ..)| *name != "Host twice") {
        let text = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
        let error = response::parse(text.as_bytes(), LIMITS, AnswerTo::Other).map(drop);
        assert_eq!(error.map_err(|error| error.as_str()), Err(*code), "{name}");
    }
}

/// CL.0: a request whose body a server may ignore still has it, and the next one is behind it.
#[test]
fn a_body_of_a_method_that_has_none_is_counted() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\n\
        GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = request::parse(text, LIMITS).expect("a head").expect("complete");
    assert_eq!(head.framing, Framing::Length(33));
    let mut decoder = BodyDecoder::new(head.framing);
    let decoded = decoder.decode(&text[head.bytes..]).expect("data");
    assert_eq!(decoded.consumed, text.len() - head.bytes);
}
