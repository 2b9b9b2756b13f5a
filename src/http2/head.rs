//! Heads, between the fields of HTTP/2 and the textual form of HTTP/1.1.
//!
//! PURE. What comes as fields is written as the head of HTTP/1.1 that means the same and parsed by
//! the codec of HTTP/1.1, so that one set of checks, one classification of fields and one way out
//! serve both. Invariant: what HTTP/1.1 cannot say in one way only is refused before it is written
//! (RFC 9113, 8.2.1 and 10.3).
//!
//! h2 refuses by itself, with RST_STREAM and `PROTOCOL_ERROR`: upper case and invalid characters in
//! names, unknown or repeated pseudo-header fields or such behind others, a request without
//! `:method` or `:scheme`, `:status` in it, connection-specific fields, TE other than `trailers`,
//! several lengths that differ, and bodies that are longer or shorter than their length.

use std::fmt;

use http::header::{CONTENT_LENGTH, COOKIE, HOST, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use crate::http1::body::Framing;
use crate::http1::error::HeadError;
use crate::http1::fields::{Class, Field, values};
use crate::http1::legible::of_parts;
use crate::http1::request::{self, HeadLimits, RequestHead, Version};
use crate::http1::response::{self, AnswerTo, ResponseHead};
use crate::http1::trailer;
use crate::http1::write::{RequestChange, ResponseChange};

/// Why a message is refused. Its code is a log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// CONNECT, which is for proxies.
    Connect,
    /// A scheme other than http and https.
    Scheme,
    /// Neither `:authority` nor Host, or user information in it.
    Authority,
    /// `:authority` and Host differ, or there are several Host.
    AuthorityConflict,
    /// `:path` does not begin with `/`.
    Path,
    /// A field that is about the connection.
    ConnectionSpecific,
    /// White space at an end of a value.
    Value,
    /// A length that the end of the stream contradicts.
    Length,
    /// A status that HTTP/2 does not have: 101.
    Status,
    /// As in HTTP/1.1.
    Head(HeadError),
}

impl Refused {
    /// The status of the answer to a request: 400, 431, 414 or 501.
    pub const fn status(self) -> u16 {
        match self {
            Self::Head(error) => error.status(),
            Self::Connect => 501,
            _ => 400,
        }
    }

    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "http2_connect",
            Self::Scheme => "http2_scheme",
            Self::Authority => "http2_authority",
            Self::AuthorityConflict => "http2_authority_conflict",
            Self::Path => "http2_path",
            Self::ConnectionSpecific => "http2_connection_field",
            Self::Value => "http2_field_value",
            Self::Length => "http2_length",
            Self::Status => "http2_status",
            Self::Head(error) => error.as_str(),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<HeadError> for Refused {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

/// A head in the form of HTTP/1.1, and the bytes that its spans are of.
#[derive(Debug)]
pub struct Rendered<H> {
    /// The head. Its version is [`Version::Http2`].
    pub head: H,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A client's request; `is_end` where the stream ends with its fields.
///
/// # Errors
/// [`Refused`].
pub fn request(
    parts: &http::request::Parts,
    is_end: bool,
    limits: HeadLimits,
) -> Result<Rendered<RequestHead>, Refused> {
    if parts.method == Method::CONNECT {
        return Err(Refused::Connect);
    }
    let path = path(&parts.method, &parts.uri)?;
    let authority = authority(parts)?;
    let mut bytes = Vec::with_capacity(512);
    for part in [parts.method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        bytes.extend_from_slice(part.as_bytes());
    }
    line(&mut bytes, b"host", authority);
    let length = write_fields(&mut bytes, &parts.headers)?;
    write_framing(&mut bytes, length, is_end, !is_end)?;
    bytes.extend_from_slice(b"\r\n");
    // A head that is written to its end is complete, or refused.
    let parsed = request::parse(&bytes, limits)?.ok_or(Refused::Value)?;
    if parsed.bytes != bytes.len() {
        return Err(Refused::Value);
    }
    Ok(Rendered {
        head: RequestHead { version: Version::Http2, keep_alive: true, ..parsed },
        bytes,
    })
}

/// What is legible of a request that is refused: for the log, never to act on.
pub fn legible(parts: &http::request::Parts) -> (RequestHead, Vec<u8>) {
    let host = parts.headers.get(HOST).map_or(&[][..], HeaderValue::as_bytes);
    let authority = parts.uri.authority().map_or(host, |authority| authority.as_str().as_bytes());
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let (head, bytes) = of_parts(parts.method.as_str().as_bytes(), authority, path.as_bytes());
    (RequestHead { version: Version::Http2, ..head }, bytes)
}

/// RFC 9113, 8.3.1: "This pseudo-header field MUST NOT be empty for "http" or "https" URIs; "http"
/// or "https" URIs that do not contain a path component MUST include a value of '/'. The exceptions
/// to this rule are: an OPTIONS request [...] MUST include a ":path" pseudo-header field with a
/// value of '*'".
fn path<'a>(method: &Method, uri: &'a Uri) -> Result<&'a str, Refused> {
    let scheme = uri.scheme();
    if scheme.is_some_and(|it| *it != Scheme::HTTP && *it != Scheme::HTTPS) {
        return Err(Refused::Scheme);
    }
    if uri.path().is_empty() {
        return Err(Refused::Path);
    }
    let path = uri.path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
    let is_allowed = path.starts_with('/') || (path == "*" && *method == Method::OPTIONS);
    if is_allowed { Ok(path) } else { Err(Refused::Path) }
}

fn authority(parts: &http::request::Parts) -> Result<&[u8], Refused> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Refused::AuthorityConflict);
    }
    let stated = parts.uri.authority().map(|it| it.as_str().as_bytes());
    let authority = match (stated, host) {
        // RFC 9113, 8.3.1: "A server SHOULD treat a request as malformed if it contains a Host
        // header field that identifies an entity that differs from the entity in the ":authority"
        // pseudo-header field."
        (Some(stated), Some(host)) if !stated.eq_ignore_ascii_case(host) => {
            return Err(Refused::AuthorityConflict);
        }
        (Some(stated), _) => stated,
        (None, Some(host)) => host,
        (None, None) => return Err(Refused::Authority),
    };
    // RFC 9113, 8.3.1: ":authority" MUST NOT include the deprecated userinfo subcomponent for
    // "http" or "https" schemed URIs."
    if authority.is_empty() || authority.contains(&b'@') {
        return Err(Refused::Authority);
    }
    Ok(authority)
}

/// Writes all fields but Host and Content-Length, whose value is returned.
fn write_fields(out: &mut Vec<u8>, fields: &HeaderMap) -> Result<Option<u64>, Refused> {
    for (name, value) in fields {
        check_field(name, value)?;
        if ![HOST, CONTENT_LENGTH, COOKIE].contains(name) {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    write_cookies(out, fields);
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.any(|other| other != length) {
        return Err(Refused::Length);
    }
    // RFC 9110, 8.6: `Content-Length = 1*DIGIT`; `parse` alone would take a sign.
    let digits = length.to_str().ok().filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|it| it.parse().ok()).map(Some).ok_or(Refused::Length)
}

fn check_field(name: &HeaderName, value: &HeaderValue) -> Result<(), Refused> {
    const CONNECTION_SPECIFIC: [&str; 5] =
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
    // RFC 9113, 8.2.2: "An endpoint MUST NOT generate an HTTP/2 message containing
    // connection-specific header fields. [...] Any message containing connection-specific header
    // fields MUST be treated as malformed". "The only exception to this is the TE header field,
    // which MAY be present in an HTTP/2 request; when it is, it MUST NOT contain any value other
    // than "trailers"."
    if CONNECTION_SPECIFIC.contains(&name.as_str()) || (*name == TE && value != "trailers") {
        return Err(Refused::ConnectionSpecific);
    }
    // RFC 9113, 8.2.1: "A field value MUST NOT start or end with an ASCII whitespace character".
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let value = value.as_bytes();
    if is_space(value.first()) || is_space(value.last()) { Err(Refused::Value) } else { Ok(()) }
}

/// RFC 9113, 8.2.3: "If there are multiple Cookie header fields after decompression, these MUST be
/// concatenated into a single octet string using the two-octet delimiter of 0x3b, 0x20 [...] before
/// being passed into a non-HTTP/2 context".
fn write_cookies(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (at, crumb) in fields.get_all(COOKIE).iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"cookie: " } else { b"; " });
        out.extend_from_slice(crumb.as_bytes());
    }
    if fields.contains_key(COOKIE) {
        out.extend_from_slice(b"\r\n");
    }
}

/// Says how the body is delimited. RFC 9113, 8.1.1: a length must be that of the data.
fn write_framing(
    out: &mut Vec<u8>,
    length: Option<u64>,
    is_end: bool,
    has_body: bool,
) -> Result<(), Refused> {
    match length {
        Some(length) if is_end && has_body && length > 0 => return Err(Refused::Length),
        Some(length) => line(out, b"content-length", length.to_string().as_bytes()),
        None if !has_body => {}
        None if is_end => line(out, b"content-length", b"0"),
        None => line(out, b"transfer-encoding", b"chunked"),
    }
    Ok(())
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// An upstream's response, be it informational; `is_end` where the stream ends with its fields.
///
/// # Errors
/// [`Refused`]; to the client that is 502.
pub fn response(
    parts: &http::response::Parts,
    is_end: bool,
    limits: HeadLimits,
    to: AnswerTo,
) -> Result<Rendered<ResponseHead>, Refused> {
    let status = parts.status;
    // RFC 9113, 8.6: "HTTP/2 does not support the 101 (Switching Protocols) informational status
    // code".
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Refused::Status);
    }
    let mut bytes = Vec::with_capacity(512);
    for part in ["HTTP/1.1 ", status.as_str(), " \r\n"] {
        bytes.extend_from_slice(part.as_bytes());
    }
    let length = write_fields(&mut bytes, &parts.headers)?;
    let has_body = to != AnswerTo::Head
        && !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED;
    write_framing(&mut bytes, length, is_end, has_body)?;
    bytes.extend_from_slice(b"\r\n");
    let parsed = response::parse(&bytes, limits, to)?.ok_or(Refused::Value)?;
    if parsed.bytes != bytes.len() {
        return Err(Refused::Value);
    }
    let head = ResponseHead { version: Version::Http2, keep_alive: true, ..parsed };
    Ok(Rendered { head, bytes })
}

/// What HTTP/2 cannot say of a message that came by HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsayable;

/// The request to an upstream: the head that came in `bytes`, with its changes.
///
/// # Errors
/// [`Unsayable`]: without a host, or with a target that is not one of a URI (RFC 3986).
pub fn upstream_request(
    bytes: &[u8],
    head: &RequestHead,
    change: &RequestChange<'_>,
    scheme: Scheme,
) -> Result<Request<()>, Unsayable> {
    let unsayable = |_| Unsayable;
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(Authority::try_from(change.host).map_err(|_| Unsayable)?)
        .path_and_query(PathAndQuery::try_from(change.target).map_err(|_| Unsayable)?)
        .build()
        .map_err(unsayable)?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method.of(bytes)).map_err(|_| Unsayable)?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    let fields = request.headers_mut();
    let stays = |field: &&Field| {
        matches!(field.class, Class::EndToEnd | Class::Forwarding)
            && (change.keep)(field.class, field.name.of(bytes))
    };
    copy(fields, bytes, head.fields.iter().filter(stays))?;
    if wants_trailers(bytes, &head.fields) {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Framing::Length(length) = change.framing {
        fields.insert(CONTENT_LENGTH, length.into());
    }
    add_lines(fields, change.lines)?;
    Ok(request)
}

/// Whether the client takes trailers (RFC 9110, 10.1.4): gRPC insists that the upstream is told.
fn wants_trailers(bytes: &[u8], fields: &[Field]) -> bool {
    values(fields, bytes, b"te")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// The response to a client, be it informational: the head that came in `bytes`, with its changes.
///
/// # Errors
/// [`Unsayable`]: a status out of range, or more fields than HTTP/2 is given.
pub fn client_response(
    bytes: &[u8],
    head: &ResponseHead,
    change: &ResponseChange<'_>,
) -> Result<Response<()>, Unsayable> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| Unsayable)?;
    *response.version_mut() = http::Version::HTTP_2;
    let fields = response.headers_mut();
    let stays = |field: &&Field| {
        matches!(field.class, Class::EndToEnd | Class::Forwarding | Class::Identity)
            && (change.keep)(field.class, field.name.of(bytes))
    };
    copy(fields, bytes, head.fields.iter().filter(stays))?;
    let length = match change.framing {
        Framing::Length(length) => Some(length),
        Framing::None => head.content_length,
        Framing::Chunked | Framing::UntilClose => None,
    };
    if let Some(length) = length {
        fields.insert(CONTENT_LENGTH, length.into());
    }
    add_lines(fields, change.lines)?;
    Ok(response)
}

fn copy<'a>(
    to: &mut HeaderMap,
    bytes: &[u8],
    fields: impl Iterator<Item = &'a Field>,
) -> Result<(), Unsayable> {
    for field in fields {
        append(to, field.name.of(bytes), field.value.of(bytes))?;
    }
    Ok(())
}

/// RFC 9113, 8.2.1: names go out in lower case.
fn append(to: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Unsayable> {
    let name = HeaderName::from_bytes(name).map_err(|_| Unsayable)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| Unsayable)?;
    to.try_append(name, value).map(|_| ()).map_err(|_| Unsayable)
}

/// Adds whole field lines.
fn add_lines(to: &mut HeaderMap, groups: &[&[u8]]) -> Result<(), Unsayable> {
    for line in groups.iter().flat_map(|group| lines_of(group)) {
        let colon = line.iter().position(|&byte| byte == b':').ok_or(Unsayable)?;
        append(to, &line[..colon], line[colon + 1..].trim_ascii())?;
    }
    Ok(())
}

/// The lines of `bytes`, without their CRLF.
fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split(|&byte| byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
}

/// Trailers that came by HTTP/2, as whole field lines: those that may go on. `None` where there
/// are none.
pub fn trailer_lines(trailers: &HeaderMap) -> Option<Box<[u8]>> {
    let mut lines = Vec::new();
    for (name, value) in trailers {
        if trailer::is_forwarded(name.as_str().as_bytes()) && check_field(name, value).is_ok() {
            line(&mut lines, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    (!lines.is_empty()).then(|| lines.into_boxed_slice())
}

/// Trailers that came as whole field lines, for HTTP/2: those that may go on.
///
/// # Errors
/// [`Unsayable`] where a line is none of a field.
pub fn trailer_map(lines: &[u8]) -> Result<HeaderMap, Unsayable> {
    let mut trailers = HeaderMap::new();
    add_lines(&mut trailers, &[lines])?;
    let forbidden: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !trailer::is_forwarded(name.as_str().as_bytes()))
        .cloned()
        .collect();
    for name in forbidden {
        trailers.remove(name);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::write;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 16 * 1024, fields_max: 100 };

    fn parts(request: http::request::Builder) -> http::request::Parts {
        request.body(()).expect("a request").into_parts().0
    }

    fn post() -> http::request::Builder {
        Request::post("https://api.example/a?b=c")
    }

    fn refused(request: http::request::Builder) -> Refused {
        super::request(&parts(request), true, LIMITS).expect_err("it is refused")
    }

    #[test]
    fn a_request_becomes_the_head_that_means_the_same() {
        let request = post().header("x-a", "1").header("cookie", "a=1").header("cookie", "b=2");
        let Rendered { head, bytes } =
            super::request(&parts(request), false, LIMITS).expect("good");
        assert_eq!(head.method.of(&bytes), b"POST");
        assert_eq!(head.authority.of(&bytes), b"api.example");
        assert_eq!(head.path.of(&bytes), b"/a?b=c");
        assert_eq!((head.version, head.framing), (Version::Http2, Framing::Chunked));
        assert_eq!(values(&head.fields, &bytes, b"cookie").collect::<Vec<_>>(), [b"a=1; b=2"]);
        assert_eq!(head.bytes, bytes.len());
    }

    #[test]
    fn a_body_is_delimited_by_what_is_known_of_it() {
        let framing = |request, is_end| {
            super::request(&parts(request), is_end, LIMITS).map(|it| it.head.framing)
        };
        assert_eq!(framing(post(), true), Ok(Framing::None));
        assert_eq!(framing(post(), false), Ok(Framing::Chunked));
        assert_eq!(framing(post().header("content-length", "7"), false), Ok(Framing::Length(7)));
        let same = post().header("content-length", "7").header("content-length", "7");
        assert_eq!(framing(same, false), Ok(Framing::Length(7)));
        for wrong in ["+7", "", "7,7", "18446744073709551616", "0x7"] {
            let request = post().header("content-length", wrong);
            assert_eq!(framing(request, false), Err(Refused::Length), "{wrong:?}");
        }
        let differ = post().header("content-length", "7").header("content-length", "8");
        assert_eq!(framing(differ, false), Err(Refused::Length));
    }

    #[test]
    fn what_has_two_meanings_or_none_is_refused() {
        assert_eq!(refused(Request::connect("api.example:443")), Refused::Connect);
        assert_eq!(refused(Request::get("ftp://api.example/")), Refused::Scheme);
        assert_eq!(refused(Request::get("https://user@api.example/")), Refused::Authority);
        assert_eq!(refused(Request::get("/")), Refused::Authority);
        assert_eq!(refused(Request::get("https://api.example").uri("*")), Refused::Path);
        assert_eq!(refused(post().header("host", "other")), Refused::AuthorityConflict);
        let twice = post().header("host", "api.example").header("host", "api.example");
        assert_eq!(refused(twice), Refused::AuthorityConflict);
        for (name, value) in [("connection", "x"), ("transfer-encoding", "chunked"), ("te", "gzip")]
        {
            assert_eq!(refused(post().header(name, value)), Refused::ConnectionSpecific, "{name}");
        }
        assert_eq!(refused(post().header("x", " a")), Refused::Value);
        assert_eq!(refused(post().header("x", "a\t")), Refused::Value);
        assert_eq!(refused(post().header("x", "a".repeat(17_000))).status(), 431);
        assert_eq!(refused(Request::connect("api.example:443")).status(), 501);
    }

    #[test]
    fn host_stands_for_an_authority_that_is_not_there() {
        let request = Request::get("/").header("host", "api.example");
        let rendered = super::request(&parts(request), true, LIMITS).expect("good");
        assert_eq!(rendered.head.authority.of(&rendered.bytes), b"api.example");
        let same = post().header("host", "API.example");
        assert!(super::request(&parts(same), true, LIMITS).is_ok(), "case does not matter");
    }

    #[test]
    fn it_goes_on_to_either_version_without_what_is_not_the_clients_to_say() {
        let request = post()
            .header("te", "trailers")
            .header("x-forwarded-client-cert", "By=me")
            .header("x-a", "1");
        let Rendered { head, bytes } =
            super::request(&parts(request), false, LIMITS).expect("good");
        let change = RequestChange {
            target: b"/new",
            host: b"inner.example",
            framing: head.framing,
            keep: &|_, name| name != b"x-a",
            upgrade: false,
            lines: &[b"Via: 2 ringfort\r\n"],
        };
        let mut text = Vec::new();
        write::request(&mut text, &bytes, &head, &change);
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("POST /new HTTP/1.1\r\nHost: inner.example\r\n"), "{text}");
        assert!(!text.contains("By=me") && !text.contains("x-a"), "{text}");
        let sent = upstream_request(&bytes, &head, &change, Scheme::HTTPS).expect("sayable");
        assert_eq!(sent.uri(), "https://inner.example/new");
        assert_eq!(sent.headers().len(), 2, "{:?}", sent.headers());
        assert_eq!(sent.headers()["te"], "trailers");
        assert_eq!(sent.headers()["via"], "2 ringfort");
        let change = RequestChange { host: b"in valid", ..change };
        upstream_request(&bytes, &head, &change, Scheme::HTTPS).expect_err("no host of a URI");
    }

    fn response_of(status: u16, fields: &[(&str, &str)], is_end: bool, to: AnswerTo) -> Framing {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let parts = response.body(()).expect("a response").into_parts().0;
        super::response(&parts, is_end, LIMITS, to).expect("good").head.framing
    }

    #[test]
    fn the_body_of_a_response_ends_where_its_stream_says() {
        let length = [("content-length", "5")];
        assert_eq!(response_of(200, &[], false, AnswerTo::Other), Framing::Chunked);
        assert_eq!(response_of(200, &[], true, AnswerTo::Other), Framing::Length(0));
        assert_eq!(response_of(200, &length, false, AnswerTo::Other), Framing::Length(5));
        assert_eq!(response_of(200, &length, true, AnswerTo::Head), Framing::None);
        assert_eq!(response_of(304, &length, true, AnswerTo::Other), Framing::None);
        assert_eq!(response_of(204, &[], true, AnswerTo::Other), Framing::None);
        assert_eq!(response_of(103, &[("link", "</a>")], false, AnswerTo::Other), Framing::None);
        let switching = Response::builder().status(101).body(()).expect("one").into_parts().0;
        let refused = super::response(&switching, true, LIMITS, AnswerTo::Other);
        assert_eq!(refused.expect_err("HTTP/2 has no 101"), Refused::Status);
    }

    #[test]
    fn trailers_go_on_as_far_as_they_may() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("content-length", HeaderValue::from_static("7"));
        trailers.insert("x-forwarded-client-cert", HeaderValue::from_static("By=me"));
        let lines = trailer_lines(&trailers).expect("one goes on");
        assert_eq!(&*lines, b"grpc-status: 0\r\n");
        let back = trailer_map(&lines).expect("lines");
        assert_eq!((back.len(), &back["grpc-status"]), (1, &HeaderValue::from_static("0")));
        assert_eq!(trailer_map(b"Host: a\r\nX: b\r\n").expect("lines").len(), 1);
        assert_eq!(trailer_map(b"no colon\r\n"), Err(Unsayable));
        assert_eq!(trailer_lines(&HeaderMap::new()), None);
    }
}
