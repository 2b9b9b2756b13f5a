//! Every bound of the load generator. Those of TLS and the runtime are ringfort's.

/// Connections at a time.
pub const CONNECTIONS_MAX: usize = 1_000_000;
/// Worker threads.
pub const WORKERS_MAX: usize = ringfort::limits::WORKERS_MAX;
/// Minted client certificates: some 4 KB each.
pub const IDENTITIES_MAX: usize = 100_000;
/// Addresses to connect from.
pub const SOURCES_MAX: usize = 1 << 16;
/// Operations per second of an open loop.
pub const RATE_PER_S_MAX: f64 = 10_000_000.0;
/// Bytes of one message that is sent as a whole.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a PEM file.
pub const PEM_BYTES_MAX: u64 = 16 << 20;
/// Bytes of an HTTP response's head, and of a chunk's line.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Header fields of an HTTP response.
pub const FIELDS_MAX: usize = 128;
/// Tickets that are kept of one identity.
pub const TICKETS_MAX: usize = 4096;
/// Connections that one worker opens at a time where many are to be held.
pub const OPENING_MAX: usize = 64;
/// Milliseconds after which a connection is tried again that failed.
pub const RETRY_MS: u64 = 20;
/// Milliseconds that operations in flight get to end when a run does.
pub const GRACE_MS: u64 = 1_000;
/// Milliseconds between two reports of a worker to the control thread.
pub const REPORT_MS: u64 = 250;
/// Milliseconds without any success, and with failures, after which a run is given up.
pub const HOPELESS_MS: u64 = 3_000;
/// By how much a resumed share may be off.
pub const TOLERANCE: f64 = 0.02;
/// By which part of it a rate may be missed; a ramp looks no closer.
pub const RATE_TOLERANCE: f64 = 0.05;
/// The busy share of a worker from which the generator is the bottleneck.
pub const BUSY_SHARE: f64 = 0.95;

/// Requests at a time on a connection of HTTP/2.
pub const STREAMS_MAX: usize = 1_000;
/// Connections of HTTP/2 in a row that may end in order and have answered nothing; what was asked
/// on the next one that does has failed.
pub const BARREN_MAX: u32 = 3;
/// Bytes that the server may send on a stream of HTTP/2 before it hears of more.
pub const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// The same of a connection of HTTP/2.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Bytes that a stream of HTTP/2 gives to its connection at a time.
pub const STREAM_PIECE_BYTES: usize = 64 * 1024;
/// Bytes of one record's worth of small writes, which are gathered.
pub const GATHER_BYTES: usize = 64 * 1024;
/// Bytes of the longest body that an origin makes up: 64 GiB.
pub const ORIGIN_BODY_BYTES_MAX: u64 = 64 << 30;
/// Bytes of a response that an origin keeps ready as a whole.
pub const ORIGIN_READY_BYTES_MAX: u64 = 64 * 1024;
/// Responses that an origin keeps ready.
pub const ORIGIN_READY_MAX: usize = 64;

const _: () = assert!(STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES);
const _: () = assert!(TICKETS_MAX >= OPENING_MAX && GRACE_MS > REPORT_MS);
