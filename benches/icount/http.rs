//! Requests of HTTP/1.1 through the gateway of [`gateway`](super::gateway): what
//! `proxy::http` does with one, on bytes in memory.
//!
//! Heads are parsed, chosen a route for, judged and written, bodies taken apart, as the exchange
//! does it and in its order. What it has besides is not here: its futures, the pool, the balancer.

use std::sync::Arc;
use std::time::Duration;

use ringfort::http1::body::{BodyDecoder, Framing};
use ringfort::http1::fields::Class;
use ringfort::http1::request::{self, HeadLimits};
use ringfort::http1::response::{self, AnswerTo};
use ringfort::http1::write::{self, RequestChange, ResponseChange};
use ringfort::limits::{HEAD_BYTES_MAX_DEFAULT, HEAD_FIELDS_MAX_DEFAULT};
use ringfort::policy::{Decision, Rules, decide};
use ringfort::route::conditions::{Conditions, PathCondition};
use ringfort::route::host::host_of;
use ringfort::route::path::{self, EncodedSlashes};
use ringfort::route::table::{Asked, FieldChanges, Retries, Route, Table, Timeouts};
use ringfort::rt::buffer::RecvBuf;
use ringfort::sys::ops::SendBuf;
use ringfort::tls::session::encrypted_bytes_max;

use super::gateway::{Gateway, InFlight};

const HEAD: HeadLimits =
    HeadLimits { bytes_max: HEAD_BYTES_MAX_DEFAULT, fields_max: HEAD_FIELDS_MAX_DEFAULT };
/// Room for what a head grows by.
const HEAD_ROOM_BYTES: usize = 256;
const VIA: &[u8] = b"Via: 1.1 ringfort\r\n";

/// A GET as a client of an API sends it.
pub const GET: &[u8] = b"GET /v1/accounts/4711?fields=name HTTP/1.1\r\n\
    Host: api.bench.example\r\nUser-Agent: bench/1.0\r\nAccept: application/json\r\n\
    Accept-Encoding: gzip\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\n\r\n";

/// The head of a POST with a body of [`BODY_BYTES`].
pub const POST: &[u8] = b"POST /v1/accounts HTTP/1.1\r\n\
    Host: api.bench.example\r\nUser-Agent: bench/1.0\r\nAccept: application/json\r\n\
    Content-Type: application/json\r\nContent-Length: 1024\r\n\r\n";

/// Bytes of the bodies.
pub const BODY_BYTES: usize = 1024;

/// The head of a response with a body of [`BODY_BYTES`].
pub const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: bench\r\nDate: Fri, 01 Jan 2027 00:00:00 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 1024\r\nETag: \"4711\"\r\n\r\n";

/// The routes of the listener: one that is chosen by the path, and one for the rest.
pub fn routes() -> Table {
    let route = |name: &str| {
        Arc::new(Route {
            name: name.into(),
            rules: Rules::allow(vec!["spiffe://bench.example/*".parse().expect("a pattern")]),
            cluster: 0,
            timeouts: Timeouts {
                first_byte: Some(Duration::from_secs(60)),
                body: Duration::from_secs(60),
                stream: None,
                total: None,
            },
            retries: Retries { max: 1, budget_percent: 20 },
            rewrite: None,
            request_fields: FieldChanges::default(),
            response_fields: FieldChanges::default(),
            request_body_bytes_max: None,
            request_head_bytes_max: HEAD_BYTES_MAX_DEFAULT,
            rate_per_identity: None,
            rate_per_source: None,
        })
    };
    let of_path = |path| Conditions { path, ..Conditions::default() };
    Table::new(vec![
        (of_path(PathCondition::Prefix("/v1".into())), route("api")),
        (Conditions::default(), route("rest")),
    ])
}

impl Gateway<'_> {
    /// A request of the client, whole, for the upstream.
    pub fn request_up(&mut self, key: usize, received: &RecvBuf, routes: &Table) -> InFlight {
        let connection = &mut self.connections[key];
        self.ops.complete(connection.receive.user_data(), true);
        let mut plain = SendBuf::default();
        self.pool.reserve(&mut plain, received.len() + connection.session.partial_bytes());
        let read = connection.session.read(received, plain.tail(), connection.to_client.tail());
        read.expect("good records");
        let bytes = plain.remaining();
        let head = request::parse(bytes, HEAD).expect("a request").expect("a whole head");
        self.counters.requests.increment();
        let host = host_of(head.authority.of(bytes)).expect("a host");
        let path = path::normal(head.path.of(bytes), EncodedSlashes::Refused).expect("a path");
        let identity = connection.record.identity.as_deref();
        let asked = Asked {
            host: &host,
            method: head.method.of(bytes),
            path: &path::without_parameters(&path),
            fields: &head.fields,
            bytes,
            identity,
        };
        let route = routes.route(routes.select(&asked).expect("a route"));
        assert_eq!(decide(&route.rules, identity), Decision::Allowed);
        let peer = connection.record.peer.expect("a client").ip();
        let lines =
            format!("Via: 1.1 ringfort\r\nX-Forwarded-For: {peer}\r\nX-Forwarded-Proto: https\r\n");
        let change = RequestChange {
            target: head.path.of(bytes),
            host: head.authority.of(bytes),
            framing: head.framing,
            keep: &|class, name| class == Class::EndToEnd && !route.request_fields.removes(name),
            upgrade: head.upgrade.is_some(),
            lines: &[lines.as_bytes(), &route.request_fields.lines],
        };
        let out = &mut connection.to_upstream;
        self.pool.reserve(out, bytes.len() + lines.len() + HEAD_ROOM_BYTES);
        write::request(out.tail(), bytes, &head, &change);
        let count = take_body(head.framing, &bytes[head.bytes..], out.tail());
        connection.record.bytes_up += count;
        self.counters.bytes_up.add(count);
        connection.last_byte = self.now;
        let data = std::mem::take(&mut connection.to_upstream);
        plain.advance(plain.len());
        self.pool.put(plain);
        self.send(key, data).expect("a request")
    }

    /// The upstream's response, whole, for the client.
    pub fn response_down(&mut self, key: usize, bytes: &RecvBuf, routes: &Table) -> InFlight {
        let connection = &mut self.connections[key];
        let receive = connection.upstream_receive.expect("joined with an upstream");
        self.ops.complete(receive.user_data(), true);
        let head = response::parse(bytes, HEAD, AnswerTo::Other);
        let head = head.expect("a response").expect("a whole head");
        let mut plain = SendBuf::default();
        self.pool.reserve(&mut plain, bytes.len() + HEAD_ROOM_BYTES);
        let changes = &routes.route(0).response_fields;
        let change = ResponseChange {
            framing: head.framing,
            close: false,
            keep_alive: false,
            upgrade: false,
            keep: &|_, name| !changes.removes(name),
            lines: &[VIA, &changes.lines],
        };
        write::response(plain.tail(), bytes, &head, &change);
        let count = take_body(head.framing, &bytes[head.bytes..], plain.tail());
        self.pool.reserve(&mut connection.to_client, encrypted_bytes_max(plain.len()));
        let written = connection.session.write(plain.remaining(), connection.to_client.tail());
        written.expect("keys");
        connection.record.bytes_down += count;
        self.counters.bytes_down.add(count);
        connection.last_byte = self.now;
        plain.advance(plain.len());
        self.pool.put(plain);
        self.send_to_client(key).expect("a response")
    }
}

/// Appends the data of a body, which is all there; returns how many bytes that were.
fn take_body(framing: Framing, mut bytes: &[u8], out: &mut Vec<u8>) -> u64 {
    let mut body = BodyDecoder::new(framing);
    let mut count = 0;
    while !body.is_complete() {
        let decoded = body.decode(bytes).expect("a body");
        out.extend_from_slice(decoded.data);
        count += decoded.data.len() as u64;
        bytes = &bytes[decoded.consumed..];
    }
    count
}
