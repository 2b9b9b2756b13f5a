//! Why an exchange went wrong, and whose doing it was.

use crate::error::{CloseKind, CloseReason};
use crate::http1::body::Unequal;
use crate::http1::error::{BodyError, HeadError};
use crate::http2::body::Stopped;
use crate::http2::head::Refused;
use crate::rt::stream::Errno;
use crate::tls::client::UpstreamFault;
use crate::tls::transport::TransportError;

/// What one side of an exchange did.
#[derive(Debug)]
pub(super) enum SideFault {
    /// Its connection failed.
    Transport(TransportError),
    /// It took no client of our kind: an alert of TLS is the first thing that it said.
    TlsRefused(UpstreamFault),
    /// The head that it sent is no message.
    Head(HeadError),
    /// The body that it sent is none.
    Body(BodyError),
    /// What is to be sent to it is not as long as the head that it was sent says.
    Unequal,
    /// It sent interim responses without end.
    Interims,
    /// Its connection ended before the message did.
    Ended,
    /// It has reset the stream, or its connection of HTTP/2 has ended.
    Stopped(Stopped),
    /// The same, of an upstream that has said that it did not deal with the request.
    Unprocessed(Stopped),
    /// What it sent by HTTP/2 is no message.
    Refused(Refused),
}

impl From<TransportError> for SideFault {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

impl From<HeadError> for SideFault {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

impl From<BodyError> for SideFault {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Incomplete => Self::Ended,
            other => Self::Body(other),
        }
    }
}

impl From<Unequal> for SideFault {
    fn from(_: Unequal) -> Self {
        Self::Unequal
    }
}

/// Which deadline of an exchange came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// The client sent nothing of its body, or too little.
    RequestBody,
    /// The upstream took nothing of the request's body.
    UpstreamStalled,
    /// The upstream did not begin to answer.
    FirstByte,
    /// The upstream sent nothing of the response's body.
    ResponseBody,
    /// The client took nothing of the response.
    NotTaken,
    /// A connection that is no longer HTTP was silent.
    Idle,
    /// The connection is too old.
    Age,
    /// The exchange as a whole.
    Total,
}

/// Why an exchange went wrong.
#[derive(Debug)]
pub(super) enum Fault {
    /// The client's doing.
    Client(SideFault),
    /// The upstream's doing.
    Upstream(SideFault),
    /// A deadline came.
    Late(Late),
    /// The body of the request is larger than the route allows.
    BodyTooLarge,
}

impl Fault {
    /// Of a response that the client could not be given: who sends one of another length than it
    /// said is the upstream.
    pub(super) fn of_response(fault: SideFault) -> Self {
        match fault {
            SideFault::Unequal => Self::Upstream(fault),
            fault => Self::Client(fault),
        }
    }

    /// Why the client's connection ends, where it does because of this.
    pub(super) fn reason(&self) -> CloseReason {
        match self {
            Self::Client(fault) => CloseReason::downstream(fault.kind(CloseKind::BadRequest)),
            Self::Upstream(fault) => CloseReason::upstream(fault.kind(CloseKind::BadResponse)),
            Self::Late(Late::RequestBody) => CloseReason::downstream(CloseKind::RequestTimeout),
            Self::Late(Late::NotTaken) => CloseReason::downstream(CloseKind::ResponseNotTaken),
            Self::Late(Late::UpstreamStalled) => CloseReason::upstream(CloseKind::UpstreamStalled),
            Self::Late(Late::Idle) => CloseReason::internal(CloseKind::IdleTimeout),
            Self::Late(Late::Age) => CloseReason::internal(CloseKind::AgeMax),
            Self::Late(Late::FirstByte | Late::ResponseBody | Late::Total) => {
                CloseReason::upstream(CloseKind::ResponseTimeout)
            }
            Self::BodyTooLarge => CloseReason::downstream(CloseKind::BadRequest),
        }
    }
}

impl SideFault {
    fn kind(&self, malformed: CloseKind) -> CloseKind {
        match self {
            Self::Transport(TransportError::Io(errno)) => kind_of(*errno),
            Self::Transport(TransportError::Tls(error)) => match error.alert_received() {
                Some(_) => CloseKind::AlertReceived,
                None => CloseKind::TlsFailed,
            },
            Self::TlsRefused(_) => CloseKind::UpstreamTlsFailed,
            Self::Transport(TransportError::Truncated) | Self::Ended => CloseKind::Truncated,
            Self::Stopped(_) | Self::Unprocessed(_) => CloseKind::Reset,
            Self::Head(_) | Self::Body(_) | Self::Unequal | Self::Refused(_) | Self::Interims => {
                malformed
            }
        }
    }
}

fn kind_of(errno: Errno) -> CloseKind {
    match errno.0 {
        libc::ECONNRESET | libc::EPIPE => CloseKind::Reset,
        other => CloseKind::Io(other),
    }
}
