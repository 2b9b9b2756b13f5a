//! A conversation through the codec, as a gateway has it: taken apart, and written anew.

use ringfort::http1::body::{BodyDecoder, CHUNK_END, Framing, write_chunk_size, write_last_chunk};
use ringfort::http1::fields::Class;
use ringfort::http1::request::{HeadLimits, RequestHead, parse};
use ringfort::http1::write::{RequestChange, request};

const LIMITS: HeadLimits = HeadLimits { bytes_max: 8 * 1024, fields_max: 64 };

/// The last message of each conversation: where a reader sees it, everything before it ended where
/// it should.
pub(crate) const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n";

/// A request as a reader sees it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub method: String,
    pub target: String,
    pub fields: usize,
    pub body: Vec<u8>,
    /// Not compared: what a reader can be given.
    pub is_chunked: bool,
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        let parts = |it: &Self| (it.method.clone(), it.target.clone(), it.fields, it.body.clone());
        parts(self) == parts(other)
    }
}

/// What is written of `input` with [`LAST`] behind it, and what ringfort read of that; `None` where
/// it refuses a part of it or would wait for more.
pub(crate) fn through(input: &[u8]) -> Option<(Vec<u8>, Vec<Message>)> {
    let mut left = input;
    let (mut out, mut messages) = (Vec::new(), Vec::new());
    while !left.is_empty() {
        let head = parse(left, LIMITS).ok()??;
        let (body, trailers, taken) = body(&head, &left[head.bytes..])?;
        messages.push(write(&mut out, left, &head, &body, trailers.as_deref()));
        left = &left[head.bytes + taken..];
    }
    let fields = 2;
    messages.push(Message {
        method: "GET".to_owned(),
        target: "/last".to_owned(),
        fields,
        body: Vec::new(),
        is_chunked: false,
    });
    out.extend_from_slice(LAST);
    Some((out, messages))
}

type Body = (Vec<u8>, Option<Box<[u8]>>, usize);

fn body(head: &RequestHead, bytes: &[u8]) -> Option<Body> {
    let mut decoder = BodyDecoder::new(head.framing);
    let (mut data, mut taken) = (Vec::new(), 0);
    while !decoder.is_complete() && taken < bytes.len() {
        let decoded = decoder.decode(&bytes[taken..]).ok()?;
        data.extend_from_slice(decoded.data);
        taken += decoded.consumed;
    }
    decoder.end().ok()?;
    Some((data, decoder.take_trailers(), taken))
}

fn write(
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &RequestHead,
    body: &[u8],
    trailers: Option<&[u8]>,
) -> Message {
    let host = head.authority.of(bytes);
    let host = if host.is_empty() { b"none" } else { host };
    let change = RequestChange {
        target: head.path.of(bytes),
        host,
        framing: head.framing,
        keep: &|_, _| true,
        upgrade: false,
        lines: &[],
    };
    request(out, bytes, head, &change);
    let is_chunked = head.framing == Framing::Chunked;
    if is_chunked {
        for part in body.chunks(3) {
            out.extend_from_slice(&write_chunk_size(part.len() as u32));
            out.extend_from_slice(part);
            out.extend_from_slice(CHUNK_END);
        }
        write_last_chunk(out, trailers.unwrap_or_default());
    } else {
        out.extend_from_slice(body);
    }
    let is_kept = |class| matches!(class, Class::EndToEnd | Class::Forwarding);
    let kept = head.fields.iter().filter(|field| is_kept(field.class)).count();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Message {
        method: text(head.method.of(bytes)),
        target: text(head.path.of(bytes)),
        // Host, and Content-Length or Transfer-Encoding.
        fields: kept + 1 + usize::from(head.framing != Framing::None),
        body: body.to_vec(),
        is_chunked,
    }
}
