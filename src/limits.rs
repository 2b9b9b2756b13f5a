//! Every bound of the program, with compile-time assertions of how they relate.
//!
//! A bound that an operator may move is here as its default, minimum and maximum; the
//! configuration reference (`docs/configuration.md`) lists the same numbers.

mod http;

pub use self::http::*;

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

/// Handshakes in progress on one worker, by default. A core makes some 4,000 a second, and a
/// client's answer takes up to a quarter of a second: more would not make a core busier.
pub const HANDSHAKES_PER_WORKER_MAX_DEFAULT: u32 = 1024;
/// Handshakes in progress on one worker, at most: rustls keeps some 20 KiB for each.
pub const HANDSHAKES_MAX: u32 = 1 << 20;
/// The part of a worker's handshakes that one source may have by default: one in so many, so that
/// no source has all, and a load balancer that all clients come through has enough.
pub const HANDSHAKES_PER_SOURCE_DIVISOR_DEFAULT: u32 = 2;
/// Milliseconds that a handshake waits for its place, by default: twice what a full queue takes.
pub const HANDSHAKE_QUEUE_MS_DEFAULT: u64 = 500;
/// Milliseconds that a handshake waits for its place, at most.
pub const HANDSHAKE_QUEUE_MS_MAX: u64 = 10_000;
/// Handshakes of one worker that may wait for a place.
pub const HANDSHAKES_WAITING_MAX: usize = 1024;
/// Of these, those of sources whose handshakes keep failing.
pub const HANDSHAKES_WAITING_FAILING_MAX: usize = HANDSHAKES_WAITING_MAX / 4;
/// Of these, those of one source: an eighth, so that not a few can fill the queue.
pub const HANDSHAKES_WAITING_OF_SOURCE_MAX: usize = HANDSHAKES_WAITING_MAX / 8;
/// Of these, those without a session that need not make room for those that offer one: an eighth,
/// as of the places.
pub const HANDSHAKES_WAITING_NEW_MIN: usize = HANDSHAKES_WAITING_MAX / 8;
/// Milliseconds that its client is waited for, after which a handshake in progress loses its place
/// while others wait.
pub const HANDSHAKE_STALE_MS: u64 = 1_000;
/// Times that this begins, anew where something came: for a second ClientHello, and for the pieces
/// of a client's flight.
pub const HANDSHAKE_WAITS_MAX: u32 = 4;
/// Cells in each of the two rows that remember failed handshakes by source, 8 bytes each.
pub const FAILURE_CELLS_PER_ROW: usize = 1 << 12;
/// Milliseconds that halve what is remembered of a source's failures.
pub const FAILURE_HALF_LIFE_MS: u64 = 4_000;
/// Failures, less successes, from which a source counts as failing: two a second for some seconds.
pub const FAILURES_OF_SOURCE_MIN: u32 = 8;
/// Failures that are remembered of a source: it is forgiven after five half-lives.
pub const FAILURE_SCORE_MAX: u32 = 255;
/// Milliseconds that halve what is remembered of all sources together: a flood is forgotten sooner.
pub const FLOOD_HALF_LIFE_MS: u64 = 500;
/// Failures of all sources in a half-life from which they may be a flood.
pub const FAILURES_FLOOD_MIN: u32 = 64;

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

/// The part of a core's time that costly tasks, handshakes above all, have while urgent ones leave
/// none: one in so many. What a flood costs in the kernel comes on top, which no share bounds.
pub const COSTLY_SHARE_DIVISOR: u64 = 12;
/// Microseconds that costly tasks may run in a turn that urgent ones leave to them: about one poll
/// of a handshake, which is what a request then waits for at most.
pub const COSTLY_TIME_PER_TURN_US_MAX: u64 = 100;
/// Microseconds that costly tasks may save up, and run in a turn in which urgent ones ran too.
pub const COSTLY_CREDIT_US_MAX: u64 = 200;
/// Microseconds that costly tasks may be made to pay back; twelve times as long they wait at most.
pub const COSTLY_DEBT_US_MAX: u64 = 2_000;
/// Microseconds after an urgent task ran for which more of them are expected.
pub const URGENT_RECENT_US: u64 = 1_000;

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
/// Bytes of a Certificate message that rustls reads; a chain beyond it ends the handshake.
pub const CERTIFICATE_MESSAGE_BYTES_MAX: usize = 0xffff;
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
pub const LEASES_PER_LOOK: usize = 2;
/// Seconds before its nextUpdate from which a list of revocation is warned of, at most.
pub const CRL_WARNING_S_MAX: i64 = 86_400;
/// Seconds between two looks at how long lists of revocation are good for.
pub const CRL_LOOK_S: u64 = 1;
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
/// Characters of a common name (RFC 5280, A.1: ub-common-name).
pub const COMMON_NAME_CHARS_MAX: usize = 64;
/// Days for which `ringfort pki` makes a certificate or a revocation list valid at most: about a
/// century.
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
/// Bytes that are shown of a subject or an issuer that a refused client presented.
pub const PRESENTED_TEXT_BYTES_MAX: usize = 256;
/// Subject alternative names that are shown of a certificate that was refused.
pub const PRESENTED_NAMES_MAX: usize = 16;
/// Bytes of all of them together.
pub const PRESENTED_NAMES_BYTES_MAX: usize = 1024;
/// Bytes that are shown of a key identifier, each as two digits; SHA-256 has 32.
pub const PRESENTED_KEY_ID_BYTES_MAX: usize = 32;
/// Characters that are shown of the identifier of an algorithm.
pub const PRESENTED_ALGORITHM_BYTES_MAX: usize = 64;
/// Bytes of all that the log shows of what a refused client presented, as JSON.
pub const PRESENTED_LINE_BYTES_MAX: usize = 5 * 1024;
/// Bytes of the log line of a client whose certificate was refused.
pub const REFUSED_LINE_BYTES_MAX: usize = 8 * 1024;
/// Trust anchors whose names are compared with the one that a refused chain lacks; those beyond
/// are only looked at for the very same name or key.
pub const NEAREST_NAMES_MAX: usize = 64;
/// Bytes of the DER of an issuer's name for which a similar one is looked for.
pub const NEAREST_NAME_BYTES_MAX: usize = 2048;
/// Bytes that a hint shows of a name: three of them fit into the free text of a record.
pub const HINT_NAME_BYTES_MAX: usize = 56;
/// Bytes that a hint shows of a key identifier: enough to tell two apart.
pub const HINT_KEY_ID_BYTES_MAX: usize = 8;

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
/// Files of a folder that the configuration names.
pub const CA_DIRECTORY_FILES_MAX: usize = 4096;
/// Root bundle files and folders of one listener.
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
/// Milliseconds between two looks at the files of the configuration.
pub const WATCH_INTERVAL_MS: u64 = 1_000;
/// Looks at files that keep changing before they are loaded all the same.
pub const WATCH_RESTLESS_LOOKS_MAX: u32 = 30;
/// Entries of a directory that are told apart from one look to the next.
pub const WATCHED_ENTRIES_MAX: usize = 65_536;
/// Files that changed, and warnings, that the log names of one reload; it counts the others.
pub const RELOAD_LIST_MAX: usize = 32;
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

/// Milliseconds that a probe takes at most, by default.
pub const PROBE_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// Milliseconds that a probe may be given.
pub const PROBE_TIMEOUT_MS_MAX: u64 = 600_000;
/// Milliseconds of quiet after its handshake that a probe waits for, at least: a TLS 1.3 server
/// refuses a client, and hands out tickets, after the client's Finished.
pub const PROBE_QUIET_MS: u64 = 500;
/// Addresses of one name that a probe tries.
pub const PROBE_ADDRESSES_MAX: usize = 16;
/// Application protocols that a probe offers.
pub const PROBE_ALPN_MAX: usize = 16;
/// Bytes of an application protocol's name (RFC 7301, 3.1).
pub const ALPN_NAME_BYTES_MAX: usize = 255;
/// Bytes that a server may send unasked before a probe stops listening.
pub const PROBE_RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Characters of one text of the server's in a probe's report.
pub const PROBE_TEXT_CHARS_MAX: usize = 256;
/// Characters of the details of one line of a probe's timeline.
pub const PROBE_DETAILS_CHARS_MAX: usize = 1024;
/// Lines of a probe's timeline.
pub const PROBE_ROWS_MAX: usize = 64;

/// Bytes of the PEM file that `explain` reads a client's chain from: a handshake in base64, and as
/// much again of other sections and comments.
pub const EXPLAIN_PEM_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(EXPLAIN_PEM_BYTES_MAX > 4 * CERTIFICATE_MESSAGE_BYTES_MAX);

/// Certificates that `explain` describes; how many there were is said.
pub const EXPLAIN_CERTIFICATES_MAX: usize = 2 * CHAIN_CERTIFICATES_MAX;

/// Patterns of a list that `explain` prints as text; those that match come first.
pub const EXPLAIN_PATTERNS_MAX: usize = 32;

/// Bytes of one message of `explain` about its arguments or the configuration.
pub const EXPLAIN_MESSAGE_BYTES_MAX: usize = 4096;

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
const _: () = assert!(HANDSHAKES_PER_WORKER_MAX_DEFAULT <= HANDSHAKES_MAX);
const _: () = assert!(HANDSHAKES_WAITING_FAILING_MAX < HANDSHAKES_WAITING_MAX);
const _: () = assert!(HANDSHAKE_QUEUE_MS_DEFAULT <= HANDSHAKE_QUEUE_MS_MAX);
const _: () = assert!(HANDSHAKE_QUEUE_MS_DEFAULT <= HANDSHAKE_STALE_MS);
const _: () = assert!(FAILURE_CELLS_PER_ROW <= 1 << 32 && FAILURE_CELLS_PER_ROW.is_power_of_two());
const _: () = assert!(FAILURES_OF_SOURCE_MIN < FAILURE_SCORE_MAX);
const _: () = assert!(COSTLY_TIME_PER_TURN_US_MAX <= TASK_TIME_PER_TURN_US_MAX);
// What a full turn earns must fit, or the share would be smaller.
const _: () =
    assert!(TASK_TIME_PER_TURN_US_MAX / (COSTLY_SHARE_DIVISOR - 1) <= COSTLY_CREDIT_US_MAX);
const _: () = assert!(CLIENT_HELLO_BYTES_MAX <= HANDSHAKE_BYTES_MAX);
const _: () = assert!(TLS_RECORD_BYTES_MAX <= HANDSHAKE_BYTES_MAX);
const _: () = assert!(TLS_RECORD_BYTES_MAX <= RECV_BUFFER_BYTES);
// An entry of a list: serial number and date with their headers, and an extension with the reason.
const _: () = assert!(2 * 1_000_000 * (2 + 2 + SERIAL_BYTES_MAX + 15 + 14) <= CRL_BYTES_MAX);
const _: () = assert!(CHAIN_CERTIFICATES_MAX_DEFAULT <= CHAIN_CERTIFICATES_MAX);
const _: () = assert!(SPIFFE_ID_BYTES_MAX <= IDENTITY_BYTES_MAX);
// JSON doubles a backslash; 2 KiB are for what has a fixed length.
const _: () = assert!(
    2 * (2 * PRESENTED_TEXT_BYTES_MAX + PRESENTED_NAMES_BYTES_MAX) + 2048
        <= PRESENTED_LINE_BYTES_MAX
);
// A byte of the free text may become six, as \u0000; 1 KiB is for the other fields.
const _: () = assert!(
    PRESENTED_LINE_BYTES_MAX + 6 * DETAIL_BYTES_MAX + DNS_NAME_BYTES_MAX + 1024
        <= REFUSED_LINE_BYTES_MAX
);
// 80 bytes are for the words between.
const _: () = assert!(3 * HINT_NAME_BYTES_MAX + 80 <= DETAIL_BYTES_MAX);
const _: () = assert!(4 * HINT_KEY_ID_BYTES_MAX + 6 <= HINT_NAME_BYTES_MAX);
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
const _: () = assert!(PROBE_RESPONSE_BYTES_MAX <= TIMELINE_RESPONSE_BYTES_MAX);
const _: () = assert!(PROBE_QUIET_MS < PROBE_TIMEOUT_MS_DEFAULT);
const _: () = assert!(PROBE_TIMEOUT_MS_DEFAULT <= PROBE_TIMEOUT_MS_MAX);
