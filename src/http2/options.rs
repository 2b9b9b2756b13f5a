//! The bounds of a connection that a configuration may set.

use crate::limits::{
    CONNECTION_WINDOW_BYTES_DEFAULT, HEADER_LIST_BYTES_DEFAULT, IDLE_FRAMES_MAX_DEFAULT,
    RESETS_MAX_DEFAULT, STREAMS_MAX_DEFAULT, UPSTREAM_CONNECTION_WINDOW_BYTES,
    UPSTREAM_IDLE_FRAMES_MAX, WINDOW_BYTES_DEFAULT,
};

/// Bounds of HTTP/2 (RFC 9113).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Options {
    /// Streams of one connection at a time (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    pub streams_max: u32,
    /// Bytes of a request's fields as they count for `SETTINGS_MAX_HEADER_LIST_SIZE`.
    pub header_list_bytes_max: u32,
    /// Bytes that a client may send of one stream before they were taken.
    pub stream_window_bytes: u32,
    /// Bytes that a client may send of all streams before they were taken.
    pub connection_window_bytes: u32,
    /// Streams that a client may reset within ten seconds.
    pub resets_max: u32,
    /// Frames without effect that a client may send within ten seconds: SETTINGS, PRIORITY, empty
    /// DATA, frames of unknown types, and PING and WINDOW_UPDATE beyond what is called forth by
    /// what it was sent.
    pub idle_frames_max: u32,
}

impl Http2Options {
    /// Of connections to upstreams, which clients share: no client may bring them to a stop, nor to
    /// their end.
    ///
    /// The window of the connection is that of all its streams: one whose client does not read
    /// keeps its own, and nobody else's. An upstream may reset as many streams as it likes, for it
    /// is clients who make it: "A server MAY request that the client stop transmission of a
    /// request without error by sending a RST_STREAM with an error code of NO_ERROR after sending a
    /// complete response" (RFC 9113, 8.1).
    pub fn of_upstreams() -> Self {
        Self {
            connection_window_bytes: UPSTREAM_CONNECTION_WINDOW_BYTES,
            resets_max: u32::MAX,
            idle_frames_max: UPSTREAM_IDLE_FRAMES_MAX,
            ..Self::default()
        }
    }
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            streams_max: STREAMS_MAX_DEFAULT,
            header_list_bytes_max: HEADER_LIST_BYTES_DEFAULT,
            stream_window_bytes: WINDOW_BYTES_DEFAULT,
            connection_window_bytes: CONNECTION_WINDOW_BYTES_DEFAULT,
            resets_max: RESETS_MAX_DEFAULT,
            idle_frames_max: IDLE_FRAMES_MAX_DEFAULT,
        }
    }
}
