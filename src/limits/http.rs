//! The bounds of HTTP: heads, bodies, routes, upstream connections, HTTP/2, what upstreams are
//! told, and the admin listener.

use super::{
    DNS_NAME_BYTES_MAX, FDS_RESERVED, NAME_BYTES_MAX, RECV_BUFFER_BYTES, SETUP_TIMEOUT_MS_MAX,
    SPIFFE_ID_BYTES_MAX, TIMEOUT_MS_MAX,
};

/// Bytes of a request's body that are thrown away where its response was complete before it, so
/// that the connection can go on.
pub const DISCARD_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of a method, an authority or a path that a log line shows.
pub const LOGGED_TEXT_BYTES_MAX: usize = 1024;

/// Connections without a request that a worker keeps to each endpoint of an upstream, by default.
pub const UPSTREAM_IDLE_DEFAULT: usize = 128;
/// Milliseconds for which such a connection is kept, by default: less than servers keep theirs
/// (nginx 75 s, Apache 5 s, Node 5 s), so that it is rarely they who close it.
pub const UPSTREAM_IDLE_TIMEOUT_MS_DEFAULT: u64 = 4_000;

// What upstreams are told of a client (src/attest).

/// Bytes of one field line that tells of a client: what common upstreams take for all of a head.
pub const TOLD_LINE_BYTES_MAX: usize = 16 * 1024;

// TLS towards upstreams, and the connections that are kept to them.

/// Connections without a request that a worker keeps to each endpoint of an upstream, at most.
pub const UPSTREAM_IDLE_MAX: usize = 65_536;
/// The part of `connections_max` that connections to upstreams leave to requests of clients that
/// have no other in progress: one in so many.
pub const UPSTREAMS_FOR_FIRST_REQUESTS_DIVISOR: u32 = 4;
/// Requests of one connection to an upstream, at most, where they are bounded.
pub const UPSTREAM_REQUESTS_MAX: i64 = 1_000_000_000;
/// Tickets of one upstream that are kept for resuming its sessions.
pub const UPSTREAM_SESSIONS_MAX: usize = 16;
/// Seconds after which the certificate of an upstream is verified anew at the latest: until then
/// its sessions are resumed. As long as the sessions of clients by default.
pub const UPSTREAM_SESSION_AGE_MAX_S: u64 = 3600;
const _: () = assert!(UPSTREAM_IDLE_DEFAULT <= UPSTREAM_IDLE_MAX);
const _: () = assert!(UPSTREAM_IDLE_TIMEOUT_MS_DEFAULT <= TIMEOUT_MS_MAX);

// Routes: rates, retries, what each may say.

/// Parts of a table of rates, each with a lock of its own.
pub const RATE_SHARDS: usize = 64;
/// Keys that one rate limit remembers, at most; some 100 bytes each.
pub const RATE_KEYS_MAX: usize = 65_536;
/// Keys that all rate limits of a configuration share, as long as each keeps
/// [`RATE_KEYS_MIN`].
pub const RATE_KEYS_OF_ALL_MAX: usize = 1 << 20;
/// Keys that one rate limit remembers, at least.
pub const RATE_KEYS_MIN: usize = 1024;
/// Requests in a second or a minute, and in a burst, that a rate limit may grant.
pub const RATE_COUNT_MAX: u32 = 1_000_000;
/// Retries a second that there may be to a cluster, of each worker, however few requests there are.
pub const RETRIES_PER_S_MIN: u64 = 3;
/// Requests whose part of the retry budget is saved up, at most.
pub const RETRY_BUDGET_REQUESTS_MAX: u64 = 10_000;
/// Milliseconds after which half of what was saved up is gone.
pub const RETRY_BUDGET_WINDOW_MS: u64 = 10_000;

/// Bytes of the head of a request or response, by default; nginx takes 32 KiB, Node 16 KiB.
pub const HEAD_BYTES_MAX_DEFAULT: usize = 16 * 1024;
/// Bytes of a head, at least what may be set: a target and the fields that browsers send.
pub const HEAD_BYTES_MIN: usize = 1024;
/// Bytes of a head, at most.
pub const HEAD_BYTES_MAX: usize = RECV_BUFFER_BYTES;
/// Field lines of a head, by default.
pub const HEAD_FIELDS_MAX_DEFAULT: usize = 100;
/// Milliseconds from the first byte of a head to its last, by default.
pub const HEAD_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// Milliseconds between two requests of a connection, by default: more than an upstream's, for a
/// new connection of a client costs a handshake.
pub const KEEP_ALIVE_TIMEOUT_MS_DEFAULT: u64 = 60_000;
/// Requests of one connection, at most what may be set.
pub const REQUESTS_MAX: u64 = 1 << 40;
/// Streams of an HTTP/2 connection at a time, by default: RFC 9113, 6.5.2 recommends no less.
pub const STREAMS_MAX_DEFAULT: u32 = 100;
/// Streams of an HTTP/2 connection at a time, at most.
pub const STREAMS_MAX: u32 = 1000;
/// Bytes of a response's fields in HTTP/2, by default; each field counts 32 more than its text.
/// Those of a request are as many as a head's.
pub const HEADER_LIST_BYTES_DEFAULT: u32 = 32 * 1024;
/// Bytes of a request's fields in HTTP/2, at least what may be set.
pub const HEADER_LIST_BYTES_MIN: u32 = 1024;
/// Bytes of a request's fields in HTTP/2, at most: they become a head of HTTP/1.1, and must fit.
pub const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
const _: () = assert!(HEADER_LIST_BYTES_MAX as usize <= HEAD_BYTES_MAX);
const _: () = assert!(HEADER_LIST_BYTES_DEFAULT <= HEADER_LIST_BYTES_MAX);
/// Bytes of the window of a stream, by default, and at least those of a connection (RFC 9113,
/// 6.9.2).
pub const WINDOW_BYTES_DEFAULT: u32 = 65_535;
/// Bytes of the window of a stream, at least: one frame.
pub const STREAM_WINDOW_BYTES_MIN: u32 = 16 * 1024;
/// Bytes of the window of a stream, at most.
pub const STREAM_WINDOW_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Bytes of the window of a connection, by default.
pub const CONNECTION_WINDOW_BYTES_DEFAULT: u32 = 256 * 1024;
/// Bytes of the window of a connection, at most.
pub const CONNECTION_WINDOW_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Streams that a client may reset before their response within ten seconds, by default: users that
/// leave a page do so, and calls whose time is up.
pub const RESETS_MAX_DEFAULT: u32 = 1000;
/// Frames without effect that a client may send within ten seconds, by default.
pub const IDLE_FRAMES_MAX_DEFAULT: u32 = 1000;
/// The most that may be set for either.
pub const HTTP2_NUISANCES_MAX: u32 = 100_000;
/// Milliseconds from the end of a request to the first byte of its response, by default.
pub const FIRST_BYTE_TIMEOUT_MS_DEFAULT: u64 = 60_000;
/// Milliseconds without progress of a request's body whose length is known, by default.
pub const BODY_TIMEOUT_MS_DEFAULT: u64 = 60_000;
/// Milliseconds of silence once a response has begun, or while a body of unknown length is sent, by
/// default: streams are quiet for longer than bodies.
pub const STREAM_TIMEOUT_MS_DEFAULT: u64 = 300_000;
/// Bytes of a body whose length is known that a client sends in a second, on the average, beyond
/// one pause of `body_timeout_ms`: less than any network has.
pub const BODY_BYTES_PER_S_MIN: u64 = 128;
/// Attempts beyond the first, by default.
pub const RETRIES_DEFAULT: u32 = 1;
/// Attempts beyond the first, at most.
pub const RETRIES_MAX: u32 = 10;
/// Retries in hundredths of the requests, by default.
pub const RETRY_BUDGET_PERCENT_DEFAULT: u32 = 20;
/// Retries in hundredths of the requests, at most.
pub const RETRY_BUDGET_PERCENT_MAX: u32 = 100;
/// Routes of one listener.
pub const ROUTES_MAX: usize = 1024;
/// Values of one list of a route: hosts, methods, fields.
pub const ROUTE_VALUES_MAX: usize = 64;
/// Patterns of one list of a route.
pub const ROUTE_PATTERNS_MAX: usize = 1024;
/// Bytes of a path that a route asks for, or rewrites to.
pub const ROUTE_PATH_BYTES_MAX: usize = 1024;
/// Bytes of a field, name and value, that a route asks for or adds.
pub const ROUTE_FIELD_BYTES_MAX: usize = 4096;
/// Bytes of the body of a request, at most what may be set: 1 PiB.
pub const REQUEST_BODY_BYTES_MAX: u64 = 1 << 50;

const _: () = assert!(ROUTE_FIELD_BYTES_MAX < HEAD_BYTES_MAX_DEFAULT);
const _: () = assert!(RATE_KEYS_MIN >= RATE_SHARDS && RATE_KEYS_MIN <= RATE_KEYS_MAX);
const _: () = assert!(HEAD_BYTES_MIN <= HEAD_BYTES_MAX_DEFAULT);
const _: () = assert!(HEAD_BYTES_MAX_DEFAULT <= HEAD_BYTES_MAX);
const _: () = assert!(HEAD_FIELDS_MAX_DEFAULT <= HEAD_FIELDS_MAX);
const _: () = assert!(HEAD_TIMEOUT_MS_DEFAULT <= SETUP_TIMEOUT_MS_MAX);
const _: () = assert!(UPSTREAM_IDLE_TIMEOUT_MS_DEFAULT < KEEP_ALIVE_TIMEOUT_MS_DEFAULT);
const _: () = assert!(STREAM_WINDOW_BYTES_MIN <= WINDOW_BYTES_DEFAULT);
const _: () = assert!(WINDOW_BYTES_DEFAULT <= CONNECTION_WINDOW_BYTES_DEFAULT);

// HTTP/2.

/// The last identifier of a stream (RFC 9113, 5.1.1).
pub const HTTP2_STREAM_ID_MAX: u32 = (1 << 31) - 1;
/// Seconds over which frames without effect and resets are counted.
pub const HTTP2_COUNT_PERIOD_S: u64 = 10;
/// PING and WINDOW_UPDATE frames that each frame of ours with fields or data may call forth.
pub const HTTP2_ECHOES_PER_FRAME: u32 = 3;
/// How many of them may be saved up.
pub const HTTP2_ECHOES_MAX: u32 = 16 * 1024;
/// Streams of one connection that a client may have reset by breaking their rules.
pub const HTTP2_ERROR_RESETS_MAX: usize = 256;
/// Streams of a client that are remembered, so that it is known what resetting them means: those
/// that may be open, and as many more that were refused and not yet told so.
pub const HTTP2_WATCHED_STREAMS_MAX: usize = 2 * STREAMS_MAX as usize;
/// CONTINUATION frames of one list of fields, at least.
pub const HTTP2_CONTINUATIONS_MIN: u32 = 4;
/// The largest payload of a frame that is taken, and the least that may be announced
/// (RFC 9113, 4.2).
pub const HTTP2_FRAME_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of the dynamic table that a peer may compress its fields with (RFC 7541, 4.2).
pub const HTTP2_HEADER_TABLE_BYTES: u32 = 4 * 1024;
/// Bytes of DATA of one stream that wait to be sent.
pub const HTTP2_SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Milliseconds without a byte of the peer, with streams open, after which it is asked by PING.
pub const HTTP2_PING_INTERVAL_MS: u64 = 30_000;
/// Milliseconds for the answer.
pub const HTTP2_PING_TIMEOUT_MS: u64 = 15_000;
/// Milliseconds that requests and tunnels have to end on a connection that became too old.
pub const CONNECTION_GRACE_MS: u64 = 30_000;
/// Milliseconds for the end of a connection to be said, and for what is under way to come.
pub const HTTP2_CLOSE_TIMEOUT_MS: u64 = 2_000;

// RFC 9113, 6.9.1: a window cannot exceed 2^31 - 1.
const _: () = assert!(CONNECTION_WINDOW_BYTES_MAX < 1 << 31);

// HTTP/1.1.

/// Field lines of a head of HTTP/1.1 at most, whatever is configured: they are found on the stack.
pub const HEAD_FIELDS_MAX: usize = 256;
/// Options that the Connection fields of one head may have, empty ones included: each is compared
/// with each field.
pub const CONNECTION_OPTIONS_MAX: usize = 32;
/// Bytes of an authority: a DNS name, a colon and a port.
pub const AUTHORITY_BYTES_MAX: usize = DNS_NAME_BYTES_MAX + 6;
/// Hexadecimal digits of the size of a chunk.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 16;
/// Bytes of the extensions of one chunk, white space included.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 256;
/// Bytes of the extensions of all chunks of one body.
pub const CHUNK_EXTENSIONS_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the trailer section of a body in chunks.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Field lines of the trailer section of a body in chunks.
pub const TRAILER_FIELDS_MAX: usize = 64;

const _: () = assert!(CHUNK_EXTENSION_BYTES_MAX <= CHUNK_EXTENSIONS_BYTES_MAX);
const _: () = assert!(TRAILER_FIELDS_MAX <= HEAD_FIELDS_MAX);

// Signed identities.

/// Bytes of the name of a client in a signed identity; who has a longer one is named by the
/// SHA-256 of its certificate.
pub const TOKEN_NAME_BYTES_MAX: usize = 2 * 1024;
/// Seconds for which a signed identity is good.
pub const TOKEN_S: i64 = 60;
/// Signed identities that a connection keeps, one for each route.
pub const TOKENS_PER_CONNECTION_MAX: usize = 8;
/// Seconds for which a public key stays published when nothing signs with it any more.
pub const PUBLISHED_KEY_S: i64 = 3_600;
/// Public keys that are published at a time.
pub const PUBLISHED_KEYS_MAX: usize = 16;
/// Bytes of the issuer of signed identities.
pub const ISSUER_BYTES_MAX: usize = 256;
const _: () = assert!(SPIFFE_ID_BYTES_MAX <= TOKEN_NAME_BYTES_MAX);
const _: () = assert!(TOKEN_S < PUBLISHED_KEY_S);
// Names are text in JSON, where a byte may become six, and base64 makes four bytes of three; 1 KiB
// is for the header, the signature and the other claims.
const _: () = assert!(
    (TOKEN_NAME_BYTES_MAX + 6 * (ISSUER_BYTES_MAX + 2 * NAME_BYTES_MAX)) / 3 * 4 + 1024
        <= TOLD_LINE_BYTES_MAX
);

// The admin listener (src/control/admin.rs).

/// Connections of the admin listener at a time; who comes then waits in the backlog.
pub const ADMIN_CONNECTIONS_MAX: usize = 16;
/// Bytes of the head of a request to the admin listener: the least that its server takes.
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Field lines of such a request.
pub const ADMIN_FIELDS_MAX: usize = 64;
/// Milliseconds from accept to the end of the head of such a request.
pub const ADMIN_HEAD_TIMEOUT_MS: u64 = 2_000;
/// Milliseconds from accept to the end of a connection of the admin listener.
pub const ADMIN_TIMEOUT_MS: u64 = 5_000;
/// Seconds for which whoever asks may keep the public keys.
pub const ADMIN_KEYS_AGE_S: u64 = 300;
const _: () = assert!(ADMIN_HEAD_TIMEOUT_MS <= ADMIN_TIMEOUT_MS);
const _: () = assert!(2 * ADMIN_CONNECTIONS_MAX as u64 <= FDS_RESERVED);
const _: () = assert!(ADMIN_KEYS_AGE_S < PUBLISHED_KEY_S.unsigned_abs());

/// The most hops that `Max-Forwards` is sent on with (RFC 9110, 7.6.2).
pub const MAX_FORWARDS_MAX: u64 = 255;

// The data path (src/proxy/http/run.rs, src/http2).

/// Interim responses (RFC 9110, 15.2) of one exchange: an upstream that has more to say before its
/// response says nothing. Some are passed on to a client that reads none of them.
pub const INTERIMS_MAX: u32 = 16;
/// Bytes of a piece of a body that are copied on their way into HTTP/2: a block of the pool has
/// four times as much, and would be held by as little as a byte.
pub const PAYLOAD_COPY_BYTES_MAX: usize = 1024;
/// Bytes of the window of a connection to an upstream: that of each of its streams.
pub const UPSTREAM_CONNECTION_WINDOW_BYTES: u32 = STREAMS_MAX_DEFAULT * WINDOW_BYTES_DEFAULT;
/// Frames without effect that an upstream may send within ten seconds: those of all the clients
/// that share a connection to it.
pub const UPSTREAM_IDLE_FRAMES_MAX: u32 = 10 * IDLE_FRAMES_MAX_DEFAULT;
/// HEADERS frames that one stream may bring: interim responses, the response, its trailers.
pub const HTTP2_HEADERS_PER_STREAM_MAX: u32 = INTERIMS_MAX + 2;
const _: () = assert!(UPSTREAM_CONNECTION_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES_MAX);
const _: () = assert!(UPSTREAM_IDLE_FRAMES_MAX <= HTTP2_NUISANCES_MAX);
/// HEADERS frames of an upstream that may be saved up, by streams that brought fewer: as many as
/// those can bring that are open at a time.
pub const HTTP2_HEADERS_MAX: u32 = STREAMS_MAX_DEFAULT * HTTP2_HEADERS_PER_STREAM_MAX;
