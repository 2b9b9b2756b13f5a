//! Requests that are made once, and sent again and again.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::verdict::Expected;

/// What both versions of HTTP say in their own way.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Host and port.
    pub host: &'a str,
    /// More fields, "Name: value".
    pub fields: &'a [String],
    /// Bytes of the body, which is all zeros.
    pub body_bytes: u64,
    /// Bytes of the answer's body; `None` for any number.
    pub answer_bytes: Option<u64>,
    /// Whether the body comes back.
    pub is_echo: bool,
}

/// The option that cannot be, and what is wrong with it.
pub type BadRequest = (&'static str, String);

/// A request of HTTP/1.1.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line, fields, empty line.
    pub head: Vec<u8>,
    /// Bytes of the body, which is all zeros.
    pub body_bytes: u64,
    /// What the answer has to be.
    pub expected: Expected,
}

/// A request of HTTP/2.
#[derive(Clone, Debug)]
pub struct Request2 {
    /// Pseudo-header fields and fields.
    pub head: http::Request<()>,
    /// Bytes of the body, which is all zeros.
    pub body_bytes: u64,
    /// What the answer has to be.
    pub expected: Expected,
}

impl Request {
    /// As HTTP/1.1 writes it (RFC 9112, 3).
    ///
    /// # Errors
    /// The option, and what is wrong with it.
    pub fn new(asked: &Asked<'_>) -> Result<Self, BadRequest> {
        let (host, fields) = asked.checked()?;
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", asked.method, asked.path);
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        if asked.body_bytes > 0 {
            head += &format!("Content-Length: {}\r\n", asked.body_bytes);
        }
        head += "\r\n";
        let (body_bytes, expected) = (asked.body_bytes, asked.expected());
        Ok(Self { head: head.into_bytes(), body_bytes, expected })
    }
}

impl Request2 {
    /// As HTTP/2 writes it (RFC 9113, 8.3.1).
    ///
    /// # Errors
    /// The option, and what is wrong with it.
    pub fn new(asked: &Asked<'_>) -> Result<Self, BadRequest> {
        let (host, fields) = asked.checked()?;
        let method = Method::from_bytes(asked.method.as_bytes()).map_err(|_| asked.no_method())?;
        let uri = Uri::builder().scheme("https").authority(host).path_and_query(asked.path);
        let uri = uri.build().map_err(|error| {
            ("--path", format!("found {:?}, which HTTP/2 cannot carry: {error}", asked.path))
        })?;
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let (name, value) = field_of_http2(name, value)?;
            map.append(name, value);
        }
        if asked.body_bytes > 0 {
            map.insert(http::header::CONTENT_LENGTH, asked.body_bytes.into());
        }
        let mut head = http::Request::new(());
        (*head.method_mut(), *head.uri_mut(), *head.headers_mut()) = (method, uri, map);
        *head.version_mut() = http::Version::HTTP_2;
        Ok(Self { head, body_bytes: asked.body_bytes, expected: asked.expected() })
    }
}

/// "An endpoint MUST NOT generate an HTTP/2 message containing connection-specific header fields"
/// (RFC 9113, 8.2.2).
fn field_of_http2(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), BadRequest> {
    const OF_A_CONNECTION: [&str; 5] =
        ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"];
    let bad = |why: &str| ("--header", format!("found \"{name}: {value}\", {why}"));
    let is_te = name.eq_ignore_ascii_case("te") && !value.eq_ignore_ascii_case("trailers");
    if is_te || OF_A_CONNECTION.iter().any(|other| name.eq_ignore_ascii_case(other)) {
        return Err(bad("which HTTP/2 has no place for: leave it out, or use --proto http"));
    }
    let expected = "expected \"Name: value\" of printable characters";
    let parsed = HeaderName::from_bytes(name.as_bytes());
    let value = HeaderValue::from_str(value).map_err(|_| bad(expected))?;
    Ok((parsed.map_err(|_| bad(expected))?, value))
}

type Field<'a> = (&'a str, &'a str);

impl<'a> Asked<'a> {
    fn expected(&self) -> Expected {
        let is_head = self.method == "HEAD";
        Expected { is_head, body_bytes: self.answer_bytes, is_echo: self.is_echo }
    }

    fn no_method(&self) -> BadRequest {
        ("--method", format!("found {:?}, expected a token such as GET", self.method))
    }

    /// The host, and the other fields.
    fn checked(&self) -> Result<(&'a str, Vec<Field<'a>>), BadRequest> {
        if !is_token(self.method) {
            return Err(self.no_method());
        }
        let path = self.path;
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(("--path", format!("found {path:?}, expected /PATH without blanks")));
        }
        let (mut host, mut fields) = (None, Vec::new());
        for field in self.fields {
            let bad = |expected: &str| ("--header", format!("found {field:?}, {expected}"));
            let parts = field.split_once(':').map(|(name, value)| (name, value.trim()));
            let is_good = |(name, value): &Field<'_>| {
                is_token(name) && !value.bytes().any(|byte| byte.is_ascii_control())
            };
            let good = parts.filter(is_good).ok_or_else(|| bad("expected \"Name: value\""))?;
            let (name, value) = good;
            // Two framings of one message would be a lie about where it ends.
            if ["content-length", "transfer-encoding"].iter().any(|n| name.eq_ignore_ascii_case(n))
            {
                return Err(bad("which follows from --size: leave it out"));
            }
            if !name.eq_ignore_ascii_case("host") {
                fields.push(good);
            } else if host.replace(value).is_some() {
                return Err(bad("a second Host"));
            }
        }
        Ok((host.unwrap_or(self.host), fields))
    }
}

fn is_token(text: &str) -> bool {
    let is_good = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(method: &'a str, path: &'a str, fields: &'a [String], body: u64) -> Asked<'a> {
        let (host, answer_bytes) = ("localhost:1", None);
        Asked { method, path, host, fields, body_bytes: body, answer_bytes, is_echo: false }
    }

    #[test]
    fn a_request_is_said_in_the_words_of_its_version() {
        let fields = ["X-One: 1".to_owned(), "HOST: other.example".to_owned()];
        let asked = asked("PUT", "/a?b=c", &fields, 5);
        let one = Request::new(&asked).expect("a good request");
        let expected = "PUT /a?b=c HTTP/1.1\r\nHost: other.example\r\nX-One: 1\r\n\
                        Content-Length: 5\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&one.head), expected);
        let two = Request2::new(&asked).expect("a good request").head;
        assert_eq!(two.uri(), "https://other.example/a?b=c");
        assert_eq!((two.method(), two.headers()["x-one"].as_bytes()), (&Method::PUT, &b"1"[..]));
        assert_eq!(two.headers()["content-length"], "5");
        assert!(!two.headers().contains_key("host"));
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        let field = |text: &str| [text.to_owned()];
        for (method, path, fields, option) in [
            ("G T", "/", field("A: b"), "--method"),
            ("GET", "x", field("A: b"), "--path"),
            ("GET", "/a b", field("A: b"), "--path"),
            ("GET", "/", field("A b"), "--header"),
            ("GET", "/", field("A: b\r\nC: d"), "--header"),
            ("GET", "/", field("Content-Length: 3"), "--header"),
        ] {
            let asked = asked(method, path, &fields, 0);
            assert_eq!(Request::new(&asked).expect_err("refused").0, option, "{fields:?}");
            assert_eq!(Request2::new(&asked).expect_err("refused").0, option, "{fields:?}");
        }
        for only_http1 in ["Connection: close", "TE: gzip", "Keep-Alive: 5"] {
            let fields = field(only_http1);
            let asked = asked("GET", "/", &fields, 0);
            assert!(Request::new(&asked).is_ok(), "{only_http1}");
            assert_eq!(Request2::new(&asked).expect_err("refused").0, "--header", "{only_http1}");
        }
    }
}
