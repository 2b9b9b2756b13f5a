//! Every bound of the program, with compile-time assertions of how they relate.
//!
//! A bound that an operator may move is here as its default, minimum and maximum; the
//! configuration reference (`docs/configuration.md`) lists the same numbers.

/// Bytes of one receive buffer: a burst of four full TLS records less their overhead.
pub const RECV_BUFFER_BYTES: usize = 64 * 1024;
/// Receive buffers of one worker by default; a power of two.
pub const RECV_BUFFERS_DEFAULT: u16 = 256;
/// Fewest receive buffers of one worker.
pub const RECV_BUFFERS_MIN: u16 = 8;
/// Most receive buffers of one worker: the kernel's bound for a buffer ring.
pub const RECV_BUFFERS_MAX: u16 = 32768;
/// Receive buffers that one socket may hold queued before its receive is stopped.
pub const RECV_QUEUE_BUFFERS_MAX: usize = 4;

/// Bytes waiting behind the send in flight at which a socket is no longer writable.
pub const SEND_PENDING_BYTES_MAX: usize = 64 * 1024;

/// Submission queue entries of one ring by default.
pub const RING_ENTRIES_DEFAULT: u32 = 1024;
/// Fewest submission queue entries.
pub const RING_ENTRIES_MIN: u32 = 64;
/// Most submission queue entries: the kernel's bound.
pub const RING_ENTRIES_MAX: u32 = 32768;
/// Completion queue entries per submission queue entry.
pub const CQ_ENTRIES_PER_SQ_ENTRY: u32 = 4;

/// Tasks polled in one turn of a worker's loop before completions are looked at again.
pub const TASK_POLLS_PER_TURN_MAX: usize = 256;

/// Bytes of a ClientHello, its record headers included. RFC 8446 allows 16 MiB; browsers send 2
/// KiB.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;
/// Extensions of a ClientHello; browsers send about 20, and the IANA registry has some 60.
pub const HELLO_EXTENSIONS_MAX: usize = 128;
/// Application protocols that a ClientHello may offer.
pub const HELLO_PROTOCOLS_MAX: usize = 64;
/// Key shares that a ClientHello may carry; clients send one or two.
pub const HELLO_KEY_SHARES_MAX: usize = 32;
/// Bytes of an HTTP method that is recognised where a ClientHello should be.
pub const HTTP_METHOD_BYTES_MAX: usize = 24;
/// Bytes of one direction of a handshake that may wait for their record to be complete.
pub const HANDSHAKE_BYTES_MAX: usize = 128 * 1024;
/// Bytes of a TLS record on the wire: header, 2^14 of plaintext, expansion (RFC 5246, 6.2.3).
pub const TLS_RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2048;

/// Certificates that a client may present by default, its own included.
pub const CHAIN_CERTIFICATES_MAX_DEFAULT: usize = 6;
/// Most that the configuration may allow.
pub const CHAIN_CERTIFICATES_MAX: usize = 16;
/// Subject alternative names of a client certificate that are kept.
pub const IDENTITY_NAMES_MAX: usize = 256;
/// Bytes of all the names of an identity together.
pub const IDENTITY_BYTES_MAX: usize = 16 * 1024;

/// Counters in each of the two rows that count connections by source; indexed by 16 bits.
pub const SOURCE_CELLS_PER_ROW: usize = 1 << 16;
/// Times that a connection competes with others of its source for the last place.
pub const SOURCE_ACQUIRE_TRIES_MAX: usize = 16;

/// Most worker threads.
pub const WORKERS_MAX: usize = 256;
/// Most endpoints of an upstream once its names are resolved.
pub const ENDPOINTS_MAX: usize = 256;
/// Bytes of a configuration file.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a certificate, key or root bundle file.
pub const PEM_BYTES_MAX: usize = 16 * 1024 * 1024;
/// File descriptors kept aside for what is not a connection: rings, listeners, log, control.
pub const FDS_RESERVED: u64 = 64;
/// File descriptors of one relayed connection: the client's socket and the upstream's.
pub const FDS_PER_CONNECTION: u64 = 2;
/// Log records that may wait in one worker's buffer; what comes on top is counted as lost.
pub const LOG_RECORDS_MAX: usize = 8192;

/// Milliseconds within which a handshake must be complete, by default.
pub const HANDSHAKE_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// Milliseconds without a byte in either direction after which a connection is closed, by default.
pub const IDLE_TIMEOUT_MS_DEFAULT: u64 = 3_600_000;
/// Milliseconds within which an upstream connection must be established, by default.
pub const CONNECT_TIMEOUT_MS_DEFAULT: u64 = 5_000;
/// Milliseconds that connections get to end by themselves on SIGTERM, by default.
pub const DRAIN_TIMEOUT_MS_DEFAULT: u64 = 30_000;
/// Milliseconds that a closed socket's peer gets to read what was sent and close its own side.
pub const CLOSE_TIMEOUT_MS: u64 = 2_000;
/// Milliseconds between two resolutions of an upstream's names, by default.
pub const RESOLVE_INTERVAL_MS_DEFAULT: u64 = 30_000;

const _: () = assert!(RECV_BUFFERS_DEFAULT.is_power_of_two());
const _: () = assert!(RECV_BUFFERS_MIN as usize >= 2 * RECV_QUEUE_BUFFERS_MAX);
const _: () = assert!(CLIENT_HELLO_BYTES_MAX <= HANDSHAKE_BYTES_MAX);
const _: () = assert!(TLS_RECORD_BYTES_MAX <= HANDSHAKE_BYTES_MAX);
const _: () = assert!(TLS_RECORD_BYTES_MAX <= RECV_BUFFER_BYTES);
const _: () = assert!(CHAIN_CERTIFICATES_MAX_DEFAULT <= CHAIN_CERTIFICATES_MAX);
const _: () = assert!(RING_ENTRIES_MIN <= RING_ENTRIES_DEFAULT);
const _: () = assert!(RING_ENTRIES_DEFAULT <= RING_ENTRIES_MAX);
