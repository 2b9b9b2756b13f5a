//! `http2::frames` against a reading of the whole at once, and `http2::head` against httparse.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use ringfort::http1::request::HeadLimits;
use ringfort::http1::response::AnswerTo;
use ringfort::http2::frames::{
    FRAME_HEADER_BYTES, FrameBounds, FrameWatch, PREFACE_BYTES, Scanner,
};
use ringfort::http2::head;
use ringfort::time::Instant;

const BOUNDS: FrameBounds =
    FrameBounds { resets_max: 20, idle_frames_max: 50, continuations_max: 4 };
const LIMITS: HeadLimits = HeadLimits { bytes_max: 16 * 1024, fields_max: 100 };

/// Frames are where their lengths say, however the bytes are cut; a flood is seen at the same frame
/// whatever the cut, and no more than the bounds allow passes before.
pub fn http2_frames(data: &[u8]) {
    let Some((&step, bytes)) = data.split_first() else { return };
    let step = usize::from(step).max(1);
    for with_preface in [false, true] {
        let mut scanner = Scanner::new(with_preface);
        let mut found = Vec::new();
        for mut piece in bytes.chunks(step) {
            while let Some(frame) = scanner.next(&mut piece) {
                found.push((frame.kind, frame.flags, frame.stream, frame.payload_bytes));
            }
        }
        let expected = whole(bytes, if with_preface { PREFACE_BYTES } else { 0 });
        // The last one may wait for a byte of its payload.
        assert!(expected.starts_with(&found), "{found:?} are not of {expected:?}");
        assert!(expected.len() <= found.len() + 1, "{found:?} are not all of {expected:?}");
    }
    let passed = |step: usize| {
        let mut watch = FrameWatch::new(BOUNDS, true, Instant::ORIGIN);
        let met = bytes.chunks(step).find_map(|it| watch.received(it, Instant::ORIGIN).err());
        (met, met.is_none().then(|| watch.goaway()))
    };
    assert_eq!(passed(step), passed(bytes.len().max(1)), "in pieces of {step}");
}

/// Kind, flags, stream and length of each frame whose header is there.
fn whole(bytes: &[u8], mut at: usize) -> Vec<(u8, u8, u32, u32)> {
    let mut frames = Vec::new();
    while let Some(head) = bytes.get(at..).and_then(|rest| rest.get(..FRAME_HEADER_BYTES)) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        frames.push((head[3], head[4], stream, length));
        at += FRAME_HEADER_BYTES + length as usize;
    }
    frames
}

/// Of fields that h2 would hand out comes one head that httparse reads to its end, with each of the
/// fields and nothing else; trailers come back as they were.
pub fn http2_head(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let start = lines.next().unwrap_or_default();
    let mut fields = HeaderMap::new();
    for line in lines {
        let (name, value) = match line.iter().position(|&byte| byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => continue,
        };
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            fields.append(name, value);
        }
    }
    let is_end = data.len().is_multiple_of(2);
    check_request(start, &fields, is_end);
    check_response(start, &fields, is_end);
    if let Some(lines) = head::trailer_lines(&fields) {
        let back = head::trailer_map(&lines).expect("lines that were written");
        assert_eq!(head::trailer_lines(&back).as_deref(), Some(&*lines));
    }
}

fn check_request(start: &[u8], fields: &HeaderMap, is_end: bool) {
    let mut words = start.splitn(2, |&byte| byte == b' ');
    let method = words.next().unwrap_or_default();
    let uri = words.next().unwrap_or_default();
    let Ok(request) = Request::builder().method(method).uri(uri).body(()) else { return };
    let (mut parts, ()) = request.into_parts();
    parts.headers = fields.clone();
    let Ok(rendered) = head::request(&parts, is_end, LIMITS) else { return };
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut headers);
    let status = parsed.parse(&rendered.bytes).expect("httparse takes it too");
    assert_eq!(status, httparse::Status::Complete(rendered.bytes.len()), "it is one head");
    assert_eq!(parsed.method, Some(parts.method.as_str()));
    assert_eq!(parsed.path.map(str::as_bytes), Some(rendered.head.path.of(&rendered.bytes)));
    check_fields(parsed.headers, fields, 1);
}

fn check_response(start: &[u8], fields: &HeaderMap, is_end: bool) {
    let status = 100 + start.first().map_or(0, |&byte| u16::from(byte)) * 2 % 500;
    let Ok(response) = Response::builder().status(status).body(()) else { return };
    let (mut parts, ()) = response.into_parts();
    parts.headers = fields.clone();
    for to in [AnswerTo::Head, AnswerTo::Other] {
        let Ok(rendered) = head::response(&parts, is_end, LIMITS, to) else { continue };
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut parsed = httparse::Response::new(&mut headers);
        let read = parsed.parse(&rendered.bytes).expect("httparse takes it too");
        assert_eq!(read, httparse::Status::Complete(rendered.bytes.len()), "it is one head");
        assert_eq!(parsed.code, Some(status));
        check_fields(parsed.headers, fields, 0);
    }
}

/// `hosts` fields are those that every request has.
fn check_fields(parsed: &[httparse::Header<'_>], fields: &HeaderMap, hosts: usize) {
    let own = ["host", "content-length", "transfer-encoding", "cookie"];
    let mut others = 0;
    for header in parsed.iter().filter(|header| !own.contains(&header.name)) {
        others += 1;
        let mut values = fields.get_all(header.name).iter();
        assert!(values.any(|value| value.as_bytes() == header.value), "{header:?} is made up");
    }
    let expected = fields.iter().filter(|(name, _)| !own.contains(&name.as_str())).count();
    assert_eq!(others, expected, "all of them, and no more");
    let count = |name: &str| parsed.iter().filter(|header| header.name == name).count();
    assert!(count("host") <= hosts.max(fields.get_all("host").iter().count()));
    assert!(count("content-length") + count("transfer-encoding") <= 1, "one framing");
    assert!(count("cookie") <= 1, "crumbs are joined");
}
