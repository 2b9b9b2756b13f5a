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

/// Counters in each of the two rows that count connections by source; indexed by 16 bits.
pub const SOURCE_CELLS_PER_ROW: usize = 1 << 16;
/// Times that a connection competes with others of its source for the last place.
pub const SOURCE_ACQUIRE_TRIES_MAX: usize = 16;

/// Bytes from which a send is worth sending without a copy, where `ring.zero_copy_send` is on.
pub const ZERO_COPY_BYTES_MIN: usize = 16 * 1024;
/// Bytes that are thrown away from a socket that is being closed, before it is cut off.
pub const CLOSE_DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// Milliseconds after which a listener that is full looks again: other workers do not tell.
pub const ADMISSION_RETRY_MS: u64 = 20;
/// Milliseconds after which a listener that ran out of descriptors tries again.
pub const ACCEPT_RETRY_MS: u64 = 50;

/// Submission queue entries of one ring by default.
pub const RING_ENTRIES_DEFAULT: u32 = 1024;
/// Fewest submission queue entries.
pub const RING_ENTRIES_MIN: u32 = 64;
/// Most submission queue entries: the kernel's bound.
pub const RING_ENTRIES_MAX: u32 = 32768;
/// Completion queue entries per submission queue entry.
pub const CQ_ENTRIES_PER_SQ_ENTRY: u32 = 4;

/// Microseconds that tasks may run in one turn of a worker's loop before completions are looked
/// at again; the task that exceeds it ends its poll.
pub const TASK_TIME_PER_TURN_US_MAX: u64 = 1_000;

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

/// Bytes of a NewSessionTicket that a client keeps; RFC 8446, 4.6.1 allows some 130 KiB.
pub const TICKET_BYTES_MAX: usize = 64 * 1024;
/// Records in a row that may come without data: empty ones, warnings, key updates.
pub const QUIET_RECORDS_MAX: u32 = 32;

/// Verdicts on chains that one worker keeps, by default.
pub const VERDICTS_DEFAULT: u32 = 16_384;
/// Most verdicts on chains that one worker may keep.
pub const VERDICTS_MAX: u32 = 1 << 22;
/// Refusals of chains that one worker keeps: what peers send fills this.
pub const REFUSALS_MAX: usize = 1024;
/// Seconds for which a refusal is kept.
pub const REFUSAL_TTL_S: u64 = 3;

/// Bytes of a session that is kept, or sealed into a ticket: it holds the client's chain. A longer
/// one is not resumed.
pub const SESSION_BYTES_MAX: usize = 16 * 1024;
/// Bytes that one session of the store counts for besides its own.
pub const SESSION_ENTRY_BYTES: usize = 512;
/// Parts of the store of sessions, each with a lock of its own.
pub const SESSION_SHARDS: usize = 64;
/// Bytes of the store of sessions by default.
pub const SESSION_CACHE_BYTES_DEFAULT: u32 = 64 * 1024 * 1024;
/// Fewest bytes of the store of sessions: each part has room for the largest session.
pub const SESSION_CACHE_BYTES_MIN: u32 = 2 * 1024 * 1024;
/// Most bytes of the store of sessions.
pub const SESSION_CACHE_BYTES_MAX: u32 = 1 << 31;
/// Seconds for which a session may be resumed after its full handshake, by default.
pub const SESSION_AGE_MAX_S_DEFAULT: u32 = 3600;
/// Seconds for which a session may be resumed, at most: RFC 8446, 4.6.1.
pub const SESSION_AGE_MAX_S_MAX: u32 = 604_800;
/// Seconds by which the clock of another gateway of a fleet may be ahead.
pub const SESSION_SKEW_S_MAX: i64 = 60;
/// Tickets for one handshake by default.
pub const SESSION_TICKETS_DEFAULT: u32 = 1;
/// Most tickets for one handshake.
pub const SESSION_TICKETS_MAX: u32 = 8;
/// Milliseconds within which a connection whose client may not stay is ended.
pub const LEASE_SWEEP_MS_MAX: u64 = 1_000;
/// Microseconds that judging leases may take of a worker in one go.
pub const LEASE_SLICE_US_MAX: u64 = 500;
/// Leases that are judged between two looks at the clock.
pub const LEASES_PER_LOOK: usize = 8;
/// Leases that are judged in one go, whatever the clock says.
pub const LEASES_PER_SLICE_MAX: usize = 512;
/// Fewest bytes of the secret that ticket keys are derived from.
pub const TICKET_SECRET_BYTES_MIN: usize = 32;
/// Most bytes of a file with such a secret.
pub const TICKET_SECRET_BYTES_MAX: usize = 4096;

/// Certificates that a client may present by default, its own included.
pub const CHAIN_CERTIFICATES_MAX_DEFAULT: usize = 6;
/// Most that the configuration may allow.
pub const CHAIN_CERTIFICATES_MAX: usize = 16;
/// Subject alternative names of a client certificate that are kept.
pub const IDENTITY_NAMES_MAX: usize = 256;
/// Bytes of all the names of an identity together.
pub const IDENTITY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a SPIFFE ID (SPIFFE-ID, section 2.4).
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;
/// Bytes of the trust domain of a SPIFFE ID (SPIFFE-ID, section 2.4).
pub const SPIFFE_TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Bytes of a DNS name (RFC 1035, 2.3.4, in its text form without the final dot).
pub const DNS_NAME_BYTES_MAX: usize = 253;
/// Bytes of one label of a DNS name (RFC 1035, 2.3.4).
pub const DNS_LABEL_BYTES_MAX: usize = 63;
/// Content bytes of a certificate's serial number (RFC 5280, 4.1.2.2).
pub const SERIAL_BYTES_MAX: usize = 20;
/// Bytes of a file of certificate revocation lists, and of one list. A million revoked certificates
/// fit twice: as DER with a reason each, and as PEM without.
pub const CRL_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes of the name of a list's issuer that an error shows.
pub const CRL_NAME_BYTES_MAX: usize = 4096;
/// Seconds that a list's thisUpdate may be ahead of our clock, for clocks that differ.
pub const CRL_FUTURE_S_MAX: i64 = 300;
/// Days for which `ringfort pki` makes a revocation list valid by default.
pub const PKI_CRL_DAYS_DEFAULT: u32 = 7;
/// Characters of a common name (RFC 5280, A.1: ub-common-name).
pub const COMMON_NAME_CHARS_MAX: usize = 64;
/// Days for which `ringfort pki` makes a certificate valid at most: about a century.
pub const PKI_DAYS_MAX: u32 = 36_500;
/// Smallest RSA modulus that a client may bring by default, in bits.
pub const RSA_BITS_MIN_DEFAULT: u32 = 2048;

/// Most worker threads.
pub const WORKERS_MAX: usize = 256;
/// Most endpoints of an upstream once its names are resolved.
pub const ENDPOINTS_MAX: usize = 256;
/// Bytes of a configuration file.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a certificate, key or root bundle file.
pub const PEM_BYTES_MAX: usize = 16 * 1024 * 1024;
/// File descriptors kept aside for what belongs to no worker: standard streams, log, control.
pub const FDS_RESERVED: u64 = 64;
/// File descriptors of a worker besides its listeners: its ring, and the control thread's copy.
pub const FDS_PER_WORKER: u64 = 2;
/// File descriptors of one relayed connection: the client's socket and the upstream's.
pub const FDS_PER_CONNECTION: u64 = 2;
/// Bytes of the free text of a log record: what peers sent may be printed in it.
pub const DETAIL_BYTES_MAX: usize = 256;
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
/// Milliseconds that a closed socket's peer gets, from our FIN on, to close its own side.
pub const CLOSE_TIMEOUT_MS: u64 = 2_000;
/// Milliseconds that a closed socket's peer gets to make room for what is still to be sent.
pub const CLOSE_FLUSH_TIMEOUT_MS: u64 = 60_000;
/// Milliseconds that it gets for all of that when the worker must end.
pub const CLOSE_HURRIED_TIMEOUT_MS: u64 = 1_000;
/// Milliseconds that workers get to close what is left when they are told to stop.
pub const EXIT_TIMEOUT_MS: u64 = CLOSE_TIMEOUT_MS + 1_000;
/// Milliseconds between two resolutions of an upstream's names, by default.
pub const RESOLVE_INTERVAL_MS_DEFAULT: u64 = 30_000;

/// Fewest worker threads.
pub const WORKERS_MIN: usize = 1;
/// CPU numbers that a mask of `sched_setaffinity(2)` can name.
pub const CPUS_MAX: usize = 1024;
/// Most connections of the process: beyond it, 6 KiB each is more than 96 GiB.
pub const CONNECTIONS_MAX: u32 = 1 << 24;
/// Listeners of a configuration.
pub const LISTENERS_MAX: usize = 256;
/// Upstreams of a configuration.
pub const UPSTREAMS_MAX: usize = 1024;
/// Problems of a configuration that are listed; those beyond it are counted.
pub const CONFIG_ERRORS_MAX: usize = 100;
/// Names of upstreams that one problem lists, where another name is wrong.
pub const NAMES_SHOWN_MAX: usize = 16;
/// Certificates of one listener.
pub const LISTENER_CERTIFICATES_MAX: usize = 1024;
/// Certificates of one server chain.
pub const SERVER_CHAIN_CERTIFICATES_MAX: usize = 16;
/// Root bundle files of one listener.
pub const CLIENT_CA_FILES_MAX: usize = 64;
/// Intermediates that clients of one listener need not present.
pub const CLIENT_INTERMEDIATES_MAX: usize = 64;
/// Tables `[[listener.server_name]]` of one listener.
pub const SERVER_NAME_TABLES_MAX: usize = 256;
/// Server names of one such table.
pub const SERVER_NAMES_MAX: usize = 256;
/// Patterns of one listener's `allow`.
pub const ALLOW_PATTERNS_MAX: usize = 4096;
/// Patterns of one listener's `deny`.
pub const DENY_PATTERNS_MAX: usize = 4096;
/// Application protocols of one listener.
pub const ALPN_PROTOCOLS_MAX: usize = 16;
/// Bytes of one application protocol's name (RFC 7301, 3.1).
pub const ALPN_PROTOCOL_BYTES_MAX: usize = 255;
/// Bytes of the name of a listener or an upstream.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of the path of a Unix socket: `sun_path` less its final zero.
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// Largest bound for the shortest RSA key of a client: the longest that the backend verifies.
pub const RSA_BITS_MIN_MAX: u32 = 8192;

/// Milliseconds of the longest timeout that the configuration may set: 30 days.
pub const TIMEOUT_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// Milliseconds of the longest handshake and connect timeouts.
pub const SETUP_TIMEOUT_MS_MAX: u64 = 300_000;
/// Milliseconds that connections may get to end by themselves, at most: a day.
pub const DRAIN_TIMEOUT_MS_MAX: u64 = 24 * 3_600_000;
/// Milliseconds between two resolutions of an upstream's names, at least.
pub const RESOLVE_INTERVAL_MS_MIN: u64 = 1_000;
/// Milliseconds between two resolutions of an upstream's names, at most.
pub const RESOLVE_INTERVAL_MS_MAX: u64 = 24 * 3_600_000;
/// Milliseconds that sent data may stay unacknowledged by default; 0 leaves it to the kernel.
///
/// Not set by default because it also ends a peer that is alive but reads slowly: the kernel
/// counts the time of a closed window (tcp(7), `TCP_USER_TIMEOUT`).
pub const TCP_USER_TIMEOUT_MS_DEFAULT: u64 = 0;
/// Milliseconds that sent data may stay unacknowledged, at most.
pub const TCP_USER_TIMEOUT_MS_MAX: u64 = 3_600_000;
/// Seconds of silence before the kernel probes a client, by default.
pub const KEEPALIVE_S_DEFAULT: u64 = 60;
/// Seconds of silence before the kernel probes a client, at most (tcp(7)).
pub const KEEPALIVE_S_MAX: u64 = 32_767;
/// Bytes of a socket buffer that is set by hand, at least.
pub const SOCKET_BUFFER_BYTES_MIN: u32 = 4096;
/// Bytes of a socket buffer that is set by hand, at most.
pub const SOCKET_BUFFER_BYTES_MAX: u32 = 256 * 1024 * 1024;
/// Connections that wait to be accepted, by default; the kernel caps it at `net.core.somaxconn`.
pub const BACKLOG_DEFAULT: u32 = 4096;
/// Connections that wait to be accepted, at most.
pub const BACKLOG_MAX: u32 = 65_535;
/// Milliseconds before an idle kernel submission thread sleeps, at most.
pub const SQPOLL_IDLE_MS_MAX: u32 = 60_000;
/// Microseconds of busy polling of the network card, at most.
pub const NAPI_BUSY_POLL_US_MAX: u32 = 1_000_000;

/// Bytes that the recorder of a handshake timeline keeps of each direction, as on the wire.
pub const TIMELINE_WIRE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Reads and writes of each direction that the recorder keeps the time of.
pub const TIMELINE_PIECES_MAX: usize = 4096;
/// Bytes of a response that the recorder reads at most, decrypted.
pub const TIMELINE_RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// Messages of each direction that the decoder of a recording lists.
pub const TIMELINE_MESSAGES_MAX: usize = 1024;
/// Names, groups, suites and the like that the decoder keeps of one list of a message.
pub const TIMELINE_LIST_MAX: usize = 64;
/// Traffic secrets that a recording keeps.
pub const TIMELINE_SECRETS_MAX: usize = 16;

/// Bytes of a request's head that the demo's origin reads.
pub const DEMO_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a request's body that the demo's origin reads, and throws away.
pub const DEMO_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Connections that the demo's origin serves at a time, a thread each.
pub const DEMO_CONNECTIONS_MAX: usize = 64;
/// Milliseconds that the demo's origin waits for the next request of a connection, and for the
/// rest of one that has begun.
pub const DEMO_REQUEST_TIMEOUT_MS: u64 = 10_000;
/// Milliseconds that connections get to end by themselves when the demo is told to stop.
pub const DEMO_DRAIN_TIMEOUT_MS: u64 = 3_000;
/// Verifications that the demo keeps the time of.
pub const DEMO_CHECKS_MAX: usize = 16;
/// Connections that the demo shows at a time; it counts the others.
pub const DEMO_LINES_MAX: usize = 10;

const _: () = assert!(RECV_BUFFERS_DEFAULT.is_power_of_two());
const _: () = assert!(RECV_BUFFERS_MIN as usize >= 2 * RECV_QUEUE_BUFFERS_MAX);
const _: () = assert!(CLIENT_HELLO_BYTES_MAX <= HANDSHAKE_BYTES_MAX);
const _: () = assert!(TLS_RECORD_BYTES_MAX <= HANDSHAKE_BYTES_MAX);
const _: () = assert!(TLS_RECORD_BYTES_MAX <= RECV_BUFFER_BYTES);
// An entry of a list: serial number and date with their headers, and an extension with the reason.
const _: () = assert!(2 * 1_000_000 * (2 + 2 + SERIAL_BYTES_MAX + 15 + 14) <= CRL_BYTES_MAX);
const _: () = assert!(CHAIN_CERTIFICATES_MAX_DEFAULT <= CHAIN_CERTIFICATES_MAX);
const _: () = assert!(SPIFFE_ID_BYTES_MAX <= IDENTITY_BYTES_MAX);
const _: () = assert!(SPIFFE_TRUST_DOMAIN_BYTES_MAX < SPIFFE_ID_BYTES_MAX);
const _: () = assert!(DNS_LABEL_BYTES_MAX <= DNS_NAME_BYTES_MAX);
const _: () = assert!(CLOSE_HURRIED_TIMEOUT_MS < EXIT_TIMEOUT_MS);
const _: () = assert!(RING_ENTRIES_MIN <= RING_ENTRIES_DEFAULT);
const _: () = assert!(RING_ENTRIES_DEFAULT <= RING_ENTRIES_MAX);
const _: () = assert!(WORKERS_MIN <= WORKERS_MAX && WORKERS_MAX <= CPUS_MAX);
const _: () = assert!(RSA_BITS_MIN_DEFAULT <= RSA_BITS_MIN_MAX);
const _: () = assert!(HANDSHAKE_TIMEOUT_MS_DEFAULT <= SETUP_TIMEOUT_MS_MAX);
const _: () = assert!(CONNECT_TIMEOUT_MS_DEFAULT <= SETUP_TIMEOUT_MS_MAX);
const _: () = assert!(IDLE_TIMEOUT_MS_DEFAULT <= TIMEOUT_MS_MAX);
const _: () = assert!(DRAIN_TIMEOUT_MS_DEFAULT <= DRAIN_TIMEOUT_MS_MAX);
const _: () = assert!(RESOLVE_INTERVAL_MS_MIN <= RESOLVE_INTERVAL_MS_DEFAULT);
const _: () = assert!(RESOLVE_INTERVAL_MS_DEFAULT <= RESOLVE_INTERVAL_MS_MAX);
const _: () = assert!(BACKLOG_DEFAULT <= BACKLOG_MAX);

const _: () = assert!(2 * HANDSHAKE_BYTES_MAX <= TIMELINE_WIRE_BYTES_MAX);
const _: () = assert!(2 * TIMELINE_RESPONSE_BYTES_MAX <= TIMELINE_WIRE_BYTES_MAX);
const _: () = assert!(SESSION_CACHE_BYTES_MIN as usize / SESSION_SHARDS > SESSION_BYTES_MAX + 2048);
