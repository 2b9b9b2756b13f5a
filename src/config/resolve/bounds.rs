//! Default, minimum and maximum of every number of the configuration.
//!
//! The values are `limits.rs`'; this table ties them to keys, and it is what `resolve` enforces
//! and what the test of `docs/configuration.md` compares the document with.

use crate::limits;

/// The bounds of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The table it stands in; empty for the top level.
    pub table: &'static str,
    /// Its key.
    pub key: &'static str,
    /// What stands where it is not written; `None` = what the reference says in words.
    pub default: Option<i64>,
    /// Smallest value.
    pub min: i64,
    /// Largest value.
    pub max: i64,
}

/// Declares the bounds and the list of all of them.
macro_rules! bounds {
    ($($name:ident: $table:literal $key:literal $default:expr, $min:expr, $max:expr;)*) => {
        $(
            #[doc = concat!("`", $key, "`")]
            pub const $name: Bound = Bound {
                table: $table,
                key: $key,
                default: $default,
                min: $min as i64,
                max: $max as i64,
            };
        )*
        /// Every bound.
        pub const ALL: &[Bound] = &[$($name),*];
    };
}

bounds! {
    WORKERS: "" "workers" None, limits::WORKERS_MIN, limits::WORKERS_MAX;
    DRAIN_TIMEOUT_MS: "" "drain_timeout_ms"
        Some(limits::DRAIN_TIMEOUT_MS_DEFAULT as i64), 0, limits::DRAIN_TIMEOUT_MS_MAX;
    CONNECTIONS_MAX: "limits" "connections_max" None, 1, limits::CONNECTIONS_MAX;
    CONNECTIONS_PER_WORKER_MAX: "limits" "connections_per_worker_max"
        None, 1, limits::CONNECTIONS_MAX;
    CONNECTIONS_PER_SOURCE_MAX: "limits" "connections_per_source_max"
        None, 1, limits::CONNECTIONS_MAX;
    VERDICTS_PER_WORKER_MAX: "limits" "verdicts_per_worker_max"
        Some(limits::VERDICTS_DEFAULT as i64), 1, limits::VERDICTS_MAX;
    SESSION_CACHE_BYTES: "limits" "session_cache_bytes"
        Some(limits::SESSION_CACHE_BYTES_DEFAULT as i64),
        limits::SESSION_CACHE_BYTES_MIN, limits::SESSION_CACHE_BYTES_MAX;
    HANDSHAKES_PER_WORKER_MAX: "limits" "handshakes_per_worker_max"
        Some(limits::HANDSHAKES_PER_WORKER_MAX_DEFAULT as i64), 1, limits::HANDSHAKES_MAX;
    HANDSHAKES_PER_SOURCE_MAX: "limits" "handshakes_per_source_max"
        None, 1, limits::HANDSHAKES_MAX;
    HANDSHAKE_QUEUE_MS: "limits" "handshake_queue_ms"
        Some(limits::HANDSHAKE_QUEUE_MS_DEFAULT as i64), 0, limits::HANDSHAKE_QUEUE_MS_MAX;
    ENTRIES: "ring" "entries"
        Some(limits::RING_ENTRIES_DEFAULT as i64),
        limits::RING_ENTRIES_MIN, limits::RING_ENTRIES_MAX;
    RECV_BUFFERS: "ring" "recv_buffers"
        Some(limits::RECV_BUFFERS_DEFAULT as i64),
        limits::RECV_BUFFERS_MIN, limits::RECV_BUFFERS_MAX;
    SQPOLL_IDLE_MS: "ring" "sqpoll_idle_ms" Some(0), 0, limits::SQPOLL_IDLE_MS_MAX;
    NAPI_BUSY_POLL_US: "ring" "napi_busy_poll_us" Some(0), 0, limits::NAPI_BUSY_POLL_US_MAX;
    CHAIN_CERTIFICATES_MAX: "listener" "chain_certificates_max"
        Some(limits::CHAIN_CERTIFICATES_MAX_DEFAULT as i64), 1, limits::CHAIN_CERTIFICATES_MAX;
    CLIENT_RSA_BITS_MIN: "listener" "client_rsa_bits_min"
        Some(limits::RSA_BITS_MIN_DEFAULT as i64),
        limits::RSA_BITS_MIN_DEFAULT, limits::RSA_BITS_MIN_MAX;
    SESSION_AGE_MAX_S: "listener" "session_age_max_s"
        Some(limits::SESSION_AGE_MAX_S_DEFAULT as i64), 1, limits::SESSION_AGE_MAX_S_MAX;
    SESSION_TICKETS: "listener" "session_tickets"
        Some(limits::SESSION_TICKETS_DEFAULT as i64), 1, limits::SESSION_TICKETS_MAX;
    HANDSHAKE_TIMEOUT_MS: "listener" "handshake_timeout_ms"
        Some(limits::HANDSHAKE_TIMEOUT_MS_DEFAULT as i64), 1, limits::SETUP_TIMEOUT_MS_MAX;
    IDLE_TIMEOUT_MS: "listener" "idle_timeout_ms"
        Some(limits::IDLE_TIMEOUT_MS_DEFAULT as i64), 1, limits::TIMEOUT_MS_MAX;
    CONNECTION_AGE_MAX_MS: "listener" "connection_age_max_ms"
        Some(0), 0, limits::TIMEOUT_MS_MAX;
    TCP_USER_TIMEOUT_MS: "listener" "tcp_user_timeout_ms"
        Some(limits::TCP_USER_TIMEOUT_MS_DEFAULT as i64), 0, limits::TCP_USER_TIMEOUT_MS_MAX;
    KEEPALIVE_S: "listener" "keepalive_s"
        Some(limits::KEEPALIVE_S_DEFAULT as i64), 0, limits::KEEPALIVE_S_MAX;
    SEND_BUFFER_BYTES: "listener" "send_buffer_bytes"
        None, limits::SOCKET_BUFFER_BYTES_MIN, limits::SOCKET_BUFFER_BYTES_MAX;
    RECV_BUFFER_BYTES: "listener" "recv_buffer_bytes"
        None, limits::SOCKET_BUFFER_BYTES_MIN, limits::SOCKET_BUFFER_BYTES_MAX;
    BACKLOG: "listener" "backlog" Some(limits::BACKLOG_DEFAULT as i64), 1, limits::BACKLOG_MAX;
    HEAD_BYTES_MAX: "listener.http" "head_bytes_max"
        Some(limits::HEAD_BYTES_MAX_DEFAULT as i64),
        limits::HEAD_BYTES_MIN, limits::HEAD_BYTES_MAX;
    HEAD_FIELDS_MAX: "listener.http" "head_fields_max"
        Some(limits::HEAD_FIELDS_MAX_DEFAULT as i64), 1, limits::HEAD_FIELDS_MAX;
    HEAD_TIMEOUT_MS: "listener.http" "head_timeout_ms"
        Some(limits::HEAD_TIMEOUT_MS_DEFAULT as i64), 1, limits::SETUP_TIMEOUT_MS_MAX;
    KEEP_ALIVE_TIMEOUT_MS: "listener.http" "keep_alive_timeout_ms"
        Some(limits::KEEP_ALIVE_TIMEOUT_MS_DEFAULT as i64), 1, limits::TIMEOUT_MS_MAX;
    REQUESTS_MAX: "listener.http" "requests_max" Some(0), 0, limits::REQUESTS_MAX;
    HTTP2_STREAMS_MAX: "listener.http" "http2_streams_max"
        Some(limits::STREAMS_MAX_DEFAULT as i64), 1, limits::STREAMS_MAX;
    HTTP2_HEADER_LIST_BYTES_MAX: "listener.http" "http2_header_list_bytes_max"
        None, limits::HEADER_LIST_BYTES_MIN, limits::HEADER_LIST_BYTES_MAX;
    HTTP2_STREAM_WINDOW_BYTES: "listener.http" "http2_stream_window_bytes"
        Some(limits::WINDOW_BYTES_DEFAULT as i64),
        limits::STREAM_WINDOW_BYTES_MIN, limits::STREAM_WINDOW_BYTES_MAX;
    HTTP2_CONNECTION_WINDOW_BYTES: "listener.http" "http2_connection_window_bytes"
        Some(limits::CONNECTION_WINDOW_BYTES_DEFAULT as i64),
        limits::WINDOW_BYTES_DEFAULT, limits::CONNECTION_WINDOW_BYTES_MAX;
    HTTP2_RESETS_MAX: "listener.http" "http2_resets_max"
        Some(limits::RESETS_MAX_DEFAULT as i64), 1, limits::HTTP2_NUISANCES_MAX;
    HTTP2_IDLE_FRAMES_MAX: "listener.http" "http2_idle_frames_max"
        Some(limits::IDLE_FRAMES_MAX_DEFAULT as i64), 1, limits::HTTP2_NUISANCES_MAX;
    FIRST_BYTE_TIMEOUT_MS: "listener.route" "first_byte_timeout_ms"
        Some(limits::FIRST_BYTE_TIMEOUT_MS_DEFAULT as i64), 0, limits::TIMEOUT_MS_MAX;
    BODY_TIMEOUT_MS: "listener.route" "body_timeout_ms"
        Some(limits::BODY_TIMEOUT_MS_DEFAULT as i64), 1, limits::TIMEOUT_MS_MAX;
    STREAM_TIMEOUT_MS: "listener.route" "stream_timeout_ms"
        Some(limits::STREAM_TIMEOUT_MS_DEFAULT as i64), 0, limits::TIMEOUT_MS_MAX;
    TOTAL_TIMEOUT_MS: "listener.route" "total_timeout_ms" Some(0), 0, limits::TIMEOUT_MS_MAX;
    RETRIES: "listener.route" "retries"
        Some(limits::RETRIES_DEFAULT as i64), 0, limits::RETRIES_MAX;
    RETRY_BUDGET_PERCENT: "listener.route" "retry_budget_percent"
        Some(limits::RETRY_BUDGET_PERCENT_DEFAULT as i64), 0, limits::RETRY_BUDGET_PERCENT_MAX;
    REQUEST_BODY_BYTES_MAX: "listener.route" "request_body_bytes_max"
        Some(0), 0, limits::REQUEST_BODY_BYTES_MAX;
    REQUEST_HEAD_BYTES_MAX: "listener.route" "request_head_bytes_max"
        None, limits::HEAD_BYTES_MIN, limits::HEAD_BYTES_MAX;
    CONNECT_TIMEOUT_MS: "upstream" "connect_timeout_ms"
        Some(limits::CONNECT_TIMEOUT_MS_DEFAULT as i64), 1, limits::SETUP_TIMEOUT_MS_MAX;
    RESOLVE_INTERVAL_MS: "upstream" "resolve_interval_ms"
        Some(limits::RESOLVE_INTERVAL_MS_DEFAULT as i64),
        limits::RESOLVE_INTERVAL_MS_MIN, limits::RESOLVE_INTERVAL_MS_MAX;
    UPSTREAM_IDLE_CONNECTIONS_MAX: "upstream" "idle_connections_max"
        Some(limits::UPSTREAM_IDLE_DEFAULT as i64), 0, limits::UPSTREAM_IDLE_MAX;
    UPSTREAM_IDLE_TIMEOUT_MS: "upstream" "idle_timeout_ms"
        Some(limits::UPSTREAM_IDLE_TIMEOUT_MS_DEFAULT as i64), 1, limits::TIMEOUT_MS_MAX;
    UPSTREAM_REQUESTS_MAX: "upstream" "requests_max" Some(0), 0, limits::UPSTREAM_REQUESTS_MAX;
    UPSTREAM_CONNECTION_AGE_MAX_MS: "upstream" "connection_age_max_ms"
        Some(0), 0, limits::TIMEOUT_MS_MAX;
}
