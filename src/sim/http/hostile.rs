//! Requests that are none, or never come to their end: what a client must not get through with.
//!
//! Behind most of them is another request, as it would be smuggled past a gateway that reads
//! another boundary than its upstream (RFC 9112, 11.2).

use super::book::{Asked, Book, NUMBER, request_body};
use super::message::Framing;
use super::script::{Maker, Sending, Stop, Who};
use crate::sim::random::Random;

/// What a head that could be read in two ways is refused as.
const REFUSED: &[u16] = &[400, 414, 431, 501, 505];

/// Field lines that no request may have.
const LINES: &[&str] = &[
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 5, 6",
    "Content-Length: +5",
    "Content-Length: -5",
    "Content-Length: 0x5",
    "Content-Length: 5 5",
    "Content-Length:",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding : chunked",
    "X-Folded: a\r\n Transfer-Encoding: chunked",
    "X-Bare: a\nTransfer-Encoding: chunked",
    "X-Bare: a\rTransfer-Encoding: chunked",
    "X-Null: a\0b",
    "X(name: a",
    ": a",
    "no colon",
    "Host: elsewhere.test",
];

/// Start lines that none may have; `N` is its number.
const STARTS: &[&str] = &[
    "GET /r/N HTTP/1.1 more",
    "GET  /r/N HTTP/1.1",
    "GET /r/N HTTP/2.0",
    "GET /r/N HTTP/1.1\u{b}",
    "GET /r/N http/1.1",
    "GET r/N HTTP/1.1",
    "GET /r/ N HTTP/1.1",
    "GET /r/\0N HTTP/1.1",
    "G(T /r/N HTTP/1.1",
    " GET /r/N HTTP/1.1",
    "GET http://elsewhere.test/r/N HTTP/1.1",
];

/// Targets that have no path that a route could be chosen by: the message as such is in order.
const TARGETS: &[&str] = &["/x/../r/N", "/%2e%2e/r/N", "/r/%zz", "/r/./N", "/r/%2E/N"];

/// Size lines that no chunk may have, and chunks that are none; 3 bytes of data come with them.
const CHUNKS: &[&str] = &[
    "zz\r\n",
    "-3\r\n",
    "+3\r\n",
    " 3\r\n",
    "3 \r\n",
    "0x3\r\n",
    "3\n",
    "\r\n",
    "2\r\n",
    "3;\0\r\n",
    "10000000000000003\r\n",
];

/// Any.
pub(super) fn any(who: Who<'_>, book: &mut Book, random: &mut Random) -> Sending {
    let method = *random.pick(&["GET", "POST"]);
    let mut maker = Maker::new(who, method, book, random);
    match random.below(9) {
        0 | 1 => bad_line(maker, who, book, random),
        2 => bad_start(maker, who, book, random),
        3 => bad_chunk(maker, who, book, random),
        4 => garbage(maker, book, random),
        5 => {
            let target = random.pick(TARGETS).replace('N', &maker.number.to_string());
            maker.asked.refused_as = &[400];
            let head = maker.head(Some(format!("{method} {target} HTTP/1.1")));
            maker.finish_with(head, book)
        }
        6 => {
            // A head that does not end.
            let head = maker.head(None);
            let at = random.range(1..=head.len() as u64 - 1) as usize;
            let stop = *random.pick(&[Stop::Cut, Stop::Silence, Stop::Silence]);
            (maker.asked.refused_as, maker.stops) = (&[408], Some((at, stop)));
            maker.finish_with(head, book)
        }
        _ => {
            // A body that does not end.
            maker.asked.method = "POST";
            maker.asked.is_cut = true;
            maker.asked.body_bytes = 1 + random.below(who.bytes_max.max(2));
            if random.chance(500) {
                maker.body = request_body(maker.number, 0, maker.asked.body_bytes);
                maker.set_length();
            } else {
                maker.add_chunks(random);
            }
            let head_bytes = maker.head(None).len();
            let at = head_bytes + random.below(maker.body.len() as u64) as usize;
            let stop = *random.pick(&[Stop::Cut, Stop::Silence, Stop::End]);
            maker.stops = Some((at, stop));
            maker.finish(book)
        }
    }
}

fn bad_line(mut maker: Maker, who: Who<'_>, book: &mut Book, random: &mut Random) -> Sending {
    let line = (*random.pick(LINES)).to_owned();
    let at = random.range(1..=maker.lines.len() as u64) as usize;
    maker.lines.insert(at, line);
    maker.asked.refused_as = REFUSED;
    let head = maker.head(None);
    maker.body = [b"0\r\n\r\n".to_vec(), smuggled(who, book)].concat();
    maker.finish_with(head, book)
}

fn bad_start(mut maker: Maker, who: Who<'_>, book: &mut Book, random: &mut Random) -> Sending {
    let start = random.pick(STARTS).replace('N', &maker.number.to_string());
    maker.asked.refused_as = REFUSED;
    let head = maker.head(Some(start));
    maker.body = smuggled(who, book);
    maker.finish_with(head, book)
}

/// The head is in order, and an upstream may hear of it, but not of the end.
fn bad_chunk(mut maker: Maker, who: Who<'_>, book: &mut Book, random: &mut Random) -> Sending {
    maker.asked.method = "POST";
    maker.asked.is_cut = true;
    maker.asked.body_bytes = 6;
    maker.asked.framing = Framing::Chunked;
    maker.lines.push("Transfer-Encoding: chunked".into());
    let body = request_body(maker.number, 0, 6);
    let bad = random.pick(CHUNKS).as_bytes();
    let first = [b"3\r\n", &body[..3], b"\r\n"].concat();
    maker.body = [&first, bad, &body[3..], b"\r\n0\r\n\r\n"].concat();
    maker.body.extend(smuggled(who, book));
    maker.finish(book)
}

fn garbage(mut maker: Maker, book: &mut Book, random: &mut Random) -> Sending {
    let mut bytes = vec![0; random.range(20..=2_000) as usize];
    random.fill(&mut bytes);
    bytes[0] |= 0x80;
    // So that what is no head has an end.
    bytes.extend_from_slice(b"\r\n\r\n");
    maker.asked.refused_as = REFUSED;
    maker.finish_with(bytes, book)
}

/// A request that must never be taken for one.
fn smuggled(who: Who<'_>, book: &mut Book) -> Vec<u8> {
    let number = book.number();
    let asked = Asked {
        client: who.client,
        method: "GET",
        host: who.host.into(),
        is_elsewhere: false,
        framing: Framing::None,
        body_bytes: 0,
        refused_as: REFUSED,
        is_cut: true,
        is_http11: true,
    };
    book.add(number, asked);
    let host = who.host;
    format!("GET /r/{number} HTTP/1.1\r\nHost: {host}\r\n{NUMBER}: {number}\r\n\r\n").into_bytes()
}
