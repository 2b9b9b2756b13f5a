//! Random conversations, the same in every run: requests of right and doubtful parts.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const METHODS: &[&str] = &["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"];
const TARGETS: &[&str] = &[
    "/",
    "/a/b?c=d",
    "/%2e/%20?%41",
    "/a;b=c:d@e!$&'()*+,",
    "/?a[]=b?/",
    "http://a/b?c",
    "https://a",
];
const VERSIONS: &[&str] = &["1.1", "1.1", "1.1", "1.1", "1.0"];
/// Lines that readers could differ about.
const LINES: &[&str] = &[
    "Accept: */*",
    "X-A:",
    "X-B:  \t b \t",
    "X-C: a\tb",
    "X-D: \u{e4}\u{20ac}",
    "x-e:a:b:c",
    "X-F: \"a\\\"b\"",
    "Connection: x-a, close",
    "Connection: keep-alive, x-b",
    "Keep-Alive: 5",
    "TE: trailers",
    "Trailer: X-T",
    "Client-Cert: :AA==:",
    "X_SSL_Client_Cert: a",
    "Via: 1.1 a",
    "X-Forwarded-For: 192.0.2.1",
    "Proxy-Connection: close",
    "Cookie: a=b; c=d",
    "!#$%&'*+.^`|~: a",
    "Content-Type: multipart/form-data; boundary=\"\"",
    "X-Empty: ,",
    "Upgrade: h2c",
];
/// Lines that are refused, or read otherwise where they are not.
const DOUBTFUL: &[&str] = &[
    "X-A: b\r\n c",
    "X-A : b",
    "X-A: b\rc",
    "X-A: b\nX-B: c",
    "Transfer-Encoding: identity",
    "Content-Length: 0\r\nContent-Length: 5",
    "Transfer-Encoding: \x0bchunked",
    "Host: b",
    "Transfer_Encoding: chunked",
    "Content-Length: +1",
    "X-A: \0",
    ": a",
    "X-A",
];
const TRAILERS: &[&str] = &["", "", "X-T: 1\r\n", "Content-Length: 1\r\n", "Host: b\r\nX-T:\r\n"];
const EXTENSIONS: &[&str] = &["", "", "", ";a", ";a=b", " ; a = \"b;\\\"\""];

fn body() -> impl Strategy<Value = (String, Vec<u8>)> {
    let bytes = || {
        prop_oneof![
            vec(any::<u8>(), 0..40),
            Just(b"GET /inner HTTP/1.1\r\nHost: inner\r\n\r\n".to_vec()),
            Just(b"0\r\n\r\n".to_vec()),
        ]
    };
    let length = bytes().prop_map(|data| (format!("Content-Length: {}\r\n", data.len()), data));
    let chunk = (bytes(), select(EXTENSIONS), any::<bool>());
    let chunked = (vec(chunk, 0..3), select(TRAILERS)).prop_map(|(chunks, trailers)| {
        let mut out = Vec::new();
        for (data, extension, is_upper) in chunks.iter().filter(|(data, ..)| !data.is_empty()) {
            let size = data.len();
            let size = if *is_upper { format!("{size:X}") } else { format!("000{size:x}") };
            out.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        ("Transfer-Encoding: chunked\r\n".to_owned(), out)
    });
    prop_oneof![2 => Just((String::new(), Vec::new())), 2 => length, 2 => chunked]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let doubtful = prop_oneof![9 => Just(None), 1 => select(DOUBTFUL).prop_map(Some)];
    let start = (select(METHODS), select(TARGETS), select(VERSIONS), any::<bool>());
    (start, vec(select(LINES), 0..5), doubtful, body()).prop_map(
        |((method, target, version, is_first), mut lines, doubtful, (framing, body))| {
            lines.extend(doubtful);
            lines.insert(if is_first { 0 } else { lines.len() }, "Host: a");
            let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let head = format!("{method} {target} HTTP/{version}\r\n{framing}{lines}\r\n");
            [head.as_bytes(), &body].concat()
        },
    )
}

/// Conversations of one to three requests.
pub(crate) fn conversations(count: usize) -> Vec<Vec<u8>> {
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let strategy = vec(request(), 1..4).prop_map(|requests| requests.concat());
    let mut made = || strategy.new_tree(&mut runner).expect("a conversation").current();
    (0..count).map(|_| made()).collect()
}
