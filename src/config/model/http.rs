//! The tables of a listener that speaks HTTP.

use serde::Deserialize;

use super::{Number, Text, Texts};

/// The table `[listener.http]`: how HTTP is spoken to clients, and what upstreams are told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Bytes of a head.
    pub head_bytes_max: Option<Number>,
    /// Field lines of a head.
    pub head_fields_max: Option<Number>,
    /// Milliseconds within which a head must be complete.
    pub head_timeout_ms: Option<Number>,
    /// Milliseconds between two requests of a connection.
    pub keep_alive_timeout_ms: Option<Number>,
    /// Requests of one connection; 0 = no bound.
    pub requests_max: Option<Number>,
    /// Whether `Via` is added.
    pub via: Option<bool>,
    /// `"off"`, `"set"`, `"append"` or `"pass"`.
    pub x_forwarded: Option<Text>,
    /// The same.
    pub forwarded: Option<Text>,
    /// `"client-cert"`, `"client-cert-chain"` and `"xfcc"`.
    pub identity_headers: Option<Texts>,
    /// Whether ringfort's own answers say why.
    pub problem_details: Option<bool>,
    /// Streams of an HTTP/2 connection at a time.
    pub http2_streams_max: Option<Number>,
    /// Bytes of a request's fields in HTTP/2.
    pub http2_header_list_bytes_max: Option<Number>,
    /// Bytes of one stream that a client may send unasked.
    pub http2_stream_window_bytes: Option<Number>,
    /// Bytes of all streams that a client may send unasked.
    pub http2_connection_window_bytes: Option<Number>,
    /// Streams that a client may reset within ten seconds.
    pub http2_resets_max: Option<Number>,
    /// Frames without effect that a client may send within ten seconds.
    pub http2_idle_frames_max: Option<Number>,
}
