//! The tables of a listener that speaks HTTP.

use serde::Deserialize;

use super::{Number, Text, Texts};

/// One table `[[listener.route]]`: which requests it takes, where they go, and what is done with
/// them on the way.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name in logs and metrics.
    pub name: Option<Text>,
    /// Hosts, of which some may be `*.example.org`.
    pub host: Option<Texts>,
    /// A path, exactly.
    pub path: Option<Text>,
    /// A path and what is below it.
    pub path_prefix: Option<Text>,
    /// Methods.
    pub method: Option<Texts>,
    /// `"name"` or `"name: value"`.
    pub header: Option<Texts>,
    /// Patterns of the identities whose requests it takes.
    pub identity: Option<Texts>,
    /// Patterns of the identities that may use it.
    pub allow: Option<Texts>,
    /// Patterns of the identities that may not use it, whatever `allow` says.
    pub deny: Option<Texts>,
    /// The name of the upstream.
    pub upstream: Option<Text>,
    /// Milliseconds from the end of a request to the first byte of its response; 0 = no bound.
    pub first_byte_timeout_ms: Option<Number>,
    /// Milliseconds without progress of a request's body whose length is known.
    pub body_timeout_ms: Option<Number>,
    /// Milliseconds of silence once a response has begun, or while a body of unknown length is
    /// sent; 0 = no bound.
    pub stream_timeout_ms: Option<Number>,
    /// Milliseconds that an exchange may take; 0 = no bound.
    pub total_timeout_ms: Option<Number>,
    /// Attempts beyond the first.
    pub retries: Option<Number>,
    /// Retries in hundredths of the requests.
    pub retry_budget_percent: Option<Number>,
    /// What takes the place of `path_prefix` or `path`.
    pub prefix_rewrite: Option<Text>,
    /// `"name: value"`: fields of requests that replace those of the same name.
    pub request_headers_set: Option<Texts>,
    /// `"name: value"`: fields that requests get in addition.
    pub request_headers_add: Option<Texts>,
    /// Names of fields that are taken out of requests.
    pub request_headers_remove: Option<Texts>,
    /// `"name: value"`: fields of responses that replace those of the same name.
    pub response_headers_set: Option<Texts>,
    /// `"name: value"`: fields that responses get in addition.
    pub response_headers_add: Option<Texts>,
    /// Names of fields that are taken out of responses.
    pub response_headers_remove: Option<Texts>,
    /// Bytes of a request's body; 0 = no bound.
    pub request_body_bytes_max: Option<Number>,
    /// Bytes of a request's head.
    pub request_head_bytes_max: Option<Number>,
    /// `"100/s burst 200"`: requests of one identity.
    pub rate_per_identity: Option<Text>,
    /// The same of one source address.
    pub rate_per_source: Option<Text>,
}

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
    /// Whether a target may have an encoded slash.
    pub encoded_slashes: Option<bool>,
    /// Whether `Via` is added; nothing = to requests only.
    pub via: Option<bool>,
    /// `"off"`, `"set"`, `"append"` or `"pass"`.
    pub x_forwarded: Option<Text>,
    /// The same.
    pub forwarded: Option<Text>,
    /// `"client-cert"`, `"client-cert-chain"`, `"xfcc"` and `"signed"`.
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
