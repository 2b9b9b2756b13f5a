//! Why a connection of HTTP/2 has ended.

use std::fmt;

use h2::Reason;

use super::frames::Flood;
use super::io::{Fault, Wire};
use crate::error::CloseKind;
use crate::tls::transport::TransportError;

/// See the module's description.
#[derive(Debug)]
pub enum End {
    /// In order: the peer closed it, or it was drained.
    Finished,
    /// The peer sent too much of something; it was told `ENHANCE_YOUR_CALM`.
    Flood(Flood),
    /// The peer broke the rules of HTTP/2; it was told this code.
    Refused(Reason),
    /// The peer ended it with this code, which is not `NO_ERROR`.
    Told(Reason),
    /// The transport failed.
    Transport(TransportError),
    /// The peer answered no PING in time.
    PingTimeout,
    /// No stream was open for too long.
    IdleTimeout,
    /// It became too old.
    AgeMax,
}

impl End {
    /// From what h2 says, and what the wire knows better.
    pub(super) fn of(error: &h2::Error, wire: &Wire) -> Self {
        match (wire.take_fault(), error.reason()) {
            (Some(fault), _) => fault.into(),
            (None, Some(reason)) if error.is_remote() && reason == Reason::NO_ERROR => {
                Self::Finished
            }
            (None, Some(reason)) if error.is_remote() => Self::Told(reason),
            (None, Some(reason)) => Self::Refused(reason),
            // The peer ended its side in order: before it said anything, or in the middle.
            (None, None) if wire.bytes().0 == 0 => Self::Finished,
            (None, None) => Self::Transport(TransportError::Truncated),
        }
    }

    /// The reason for the log.
    pub fn close_kind(&self) -> CloseKind {
        match self {
            Self::Finished => CloseKind::Finished,
            Self::Flood(_) | Self::Refused(Reason::ENHANCE_YOUR_CALM) => CloseKind::Http2Flood,
            Self::Refused(_) | Self::Told(_) => CloseKind::Http2Error,
            Self::Transport(error) => transport_kind(error),
            Self::PingTimeout => CloseKind::PingTimeout,
            Self::IdleTimeout => CloseKind::IdleTimeout,
            Self::AgeMax => CloseKind::AgeMax,
        }
    }

    /// Whether ringfort itself ended it, not the peer by what it did.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::IdleTimeout | Self::AgeMax)
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Flood(flood) => Self::Flood(flood),
            Fault::Transport(error) => Self::Transport(error),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("ended in order"),
            Self::Flood(flood) => write!(f, "too many {}", flood.frames()),
            Self::Refused(reason) => write!(f, "the peer was told {reason:?}: {reason}"),
            Self::Told(reason) => write!(f, "the peer said {reason:?}: {reason}"),
            Self::Transport(TransportError::Io(errno)) => errno.fmt(f),
            Self::Transport(TransportError::Tls(error)) => error.fmt(f),
            Self::Transport(TransportError::Truncated) => f.write_str("FIN without close_notify"),
            Self::PingTimeout => f.write_str("no answer to PING"),
            Self::IdleTimeout => f.write_str("no stream was open"),
            Self::AgeMax => f.write_str("it became too old"),
        }
    }
}

/// The reason for the log of a transport that failed.
fn transport_kind(error: &TransportError) -> CloseKind {
    match error {
        TransportError::Io(errno) if matches!(errno.0, libc::ECONNRESET | libc::EPIPE) => {
            CloseKind::Reset
        }
        TransportError::Io(errno) => CloseKind::Io(errno.0),
        TransportError::Tls(error) if error.alert_received().is_some() => CloseKind::AlertReceived,
        TransportError::Tls(_) => CloseKind::TlsFailed,
        TransportError::Truncated => CloseKind::Truncated,
    }
}
