//! Why a recorded connection did not end with a complete response, in words for the person at the
//! terminal: what was found, what was expected, what to do.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::client::VerifierBuilderError;

use super::record::Recording;
use crate::limits::{TIMELINE_PIECES_MAX, TIMELINE_WIRE_BYTES_MAX};
use crate::tls::names::alert_name;

/// How far a connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Establishing the TCP connection.
    Connect,
    /// From the ClientHello until the client's own Finished was written.
    Handshake,
    /// After it: the request and its response.
    Response,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "while connecting",
            Self::Handshake => "during the handshake",
            Self::Response => "after the client's Finished, before the response was complete",
        })
    }
}

/// A connection that did not end with a complete response.
#[derive(Debug)]
pub struct RecordError {
    /// Where it went to.
    pub address: SocketAddr,
    /// Why it ended.
    pub cause: Cause,
    /// What went over the wire until then; `None` where there was no connection.
    pub recording: Option<Box<Recording>>,
}

/// Why a connection did not end with a complete response.
#[derive(Debug)]
pub enum Cause {
    /// The roots to trust are of no use, for instance because there are none.
    Roots(VerifierBuilderError),
    /// The client's certificate, key, versions or ALPN cannot be used; nothing was sent.
    Options(rustls::Error),
    /// A socket call failed.
    Io {
        /// How far the connection had come.
        phase: Phase,
        /// What the system said.
        source: io::Error,
    },
    /// Too little came in the time given.
    Timeout {
        /// How far the connection had come.
        phase: Phase,
        /// The time it was given.
        timeout: Duration,
    },
    /// The server closed without an alert, earlier than it may.
    Closed {
        /// How far the connection had come.
        phase: Phase,
    },
    /// The server sent a fatal alert.
    Refused {
        /// How far the connection had come.
        phase: Phase,
        /// The alert's description (RFC 8446, 6); [`alert_name`] names it.
        alert: u8,
    },
    /// The client refused what the server sent: no TLS, or a certificate that does not verify.
    Tls {
        /// How far the connection had come.
        phase: Phase,
        /// What rustls found.
        error: rustls::Error,
    },
    /// The server sent more than a recording holds.
    TooMuch {
        /// Bytes of that direction, the last ones included.
        bytes: usize,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Roots(error) => {
                write!(f, "no server can be verified: {error}; give at least one CA certificate")
            }
            Self::Options(error) => write!(f, "the client cannot be set up: {error}"),
            Self::Io { phase, source } => write!(f, "{source} ({phase})"),
            Self::Timeout { phase, timeout } => write!(
                f,
                "timed out after {} ms ({phase}); is it the right port, and is the server alive?",
                timeout.as_millis()
            ),
            Self::Closed { phase } => {
                write!(f, "the server closed the connection without an alert ({phase})")
            }
            Self::Refused { phase, alert } => {
                write!(f, "the server refused with alert ")?;
                match alert_name(*alert) {
                    Some(name) => write!(f, "{name} ({alert})")?,
                    None => write!(f, "{alert}")?,
                }
                write!(f, " ({phase})")
            }
            Self::Tls { phase, error } => match error {
                rustls::Error::InvalidMessage(_) => write!(
                    f,
                    "the server does not answer in TLS: {error} ({phase}); is it the right port?"
                ),
                rustls::Error::InvalidCertificate(_) => write!(
                    f,
                    "the server's certificate does not verify: {error} ({phase}); \
                     expected one for the name given, issued under the roots given"
                ),
                _ => write!(f, "the handshake failed: {error} ({phase})"),
            },
            Self::TooMuch { bytes } => write!(
                f,
                "the server sent more than a recording holds: {bytes} bytes, or in more than \
                 {TIMELINE_PIECES_MAX} pieces; at most {TIMELINE_WIRE_BYTES_MAX} bytes are kept"
            ),
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.cause)
    }
}

impl std::error::Error for RecordError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io { source, .. } => Some(source),
            Cause::Options(error) | Cause::Tls { error, .. } => Some(error),
            Cause::Roots(error) => Some(error),
            _ => None,
        }
    }
}
