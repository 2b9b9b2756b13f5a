//! Answers that ringfort makes by itself.
//!
//! Invariant: a client learns no more than the status, unless the listener says that it may.

use std::time::Duration;

use serde_json::json;

use super::fault::{Fault, Late, SideFault};
use crate::error::CloseKind;
use crate::http1::error::{BodyError, HeadError};
use crate::http2::body::Stopped;
use crate::limits::INTERIMS_MAX;
use crate::policy::Denial;
use crate::proxy::upstream::Unreachable;
use crate::route::path::PathError;
use crate::route::rate::retry_after_s;

/// An answer in place of an upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The stable code: a log field, and what the client is told where it may be.
    pub(super) code: &'static str,
    /// What only the log says.
    pub(super) detail: Option<Box<str>>,
    /// When it may be worth to ask again.
    pub(super) retry_after: Option<Duration>,
    /// The methods for Allow (RFC 9110, 10.2.1), where the answer has it.
    pub(super) allow: Option<&'static str>,
    /// Whether nothing that follows on the connection can be trusted.
    pub(super) closes: bool,
}

/// What is forwarded: RFC 9110, 9.3 without CONNECT and TRACE, and PATCH (RFC 5789).
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";

impl Answer {
    const fn new(status: u16, code: &'static str) -> Self {
        Self { status, code, detail: None, retry_after: None, allow: None, closes: false }
    }

    const fn closing(status: u16, code: &'static str) -> Self {
        Self { status, code, detail: None, retry_after: None, allow: None, closes: true }
    }

    const fn allowing(status: u16, code: &'static str) -> Self {
        let allow = Some(METHODS);
        Self { status, code, detail: None, retry_after: None, allow, closes: false }
    }

    /// The host that is asked for is none.
    pub(super) const BAD_HOST: Self = Self::new(400, "host");
    /// The host belongs to another trust scope than the connection (RFC 9110, 15.5.20).
    pub(super) const MISDIRECTED: Self = Self::new(421, "misdirected");
    /// No route matches.
    pub(super) const NO_ROUTE: Self = Self::new(404, "no_route");
    /// Something else is expected than 100-continue (RFC 9110, 15.5.18).
    pub(super) const EXPECTATION: Self = Self::closing(417, "expectation");
    /// The body is larger than the route allows.
    pub(super) const BODY_TOO_LARGE: Self = Self::new(413, "body_too_large");
    /// The head is larger than the route allows.
    pub(super) const HEAD_TOO_LARGE: Self = Self::new(431, "head_too_large");
    /// The listener serves HTTP/2 only.
    pub(super) const VERSION: Self = Self::closing(505, "http2_only");
    /// TRACE. RFC 9110, 15.5.6: "The origin server MUST generate an Allow header field in a 405
    /// response".
    pub(super) const TRACE: Self = Self::allowing(405, "trace");
    /// OPTIONS that goes no further (RFC 9110, 7.6.2): what can be said of any resource.
    pub(super) const LAST_HOP: Self = Self::allowing(200, "last_hop");
    /// Max-Forwards is no number, or there are two.
    pub(super) const BAD_MAX_FORWARDS: Self = Self::new(400, "max_forwards");
    /// The head did not come in time.
    pub(super) const HEAD_LATE: Self = Self::closing(408, "head_timeout");

    /// What came is no request.
    pub(super) fn bad_head(error: HeadError) -> Self {
        let detail = Some(crate::log::bounded_detail(error));
        Self { detail, ..Self::closing(error.status(), error.as_str()) }
    }

    /// What came is no request, and what follows it on the connection is not concerned.
    pub(super) const fn refused(status: u16, code: &'static str) -> Self {
        Self::new(status, code)
    }

    fn bad_body(error: BodyError) -> Self {
        let detail = Some(crate::log::bounded_detail(error));
        Self { detail, ..Self::closing(400, error.as_str()) }
    }

    pub(super) const fn bad_path(error: PathError) -> Self {
        Self::new(400, error.as_str())
    }

    pub(super) fn denied(denial: &Denial<'_>) -> Self {
        let detail = Some(crate::log::bounded_detail(denial));
        Self { detail, ..Self::new(403, denial.as_str()) }
    }

    pub(super) fn too_many(code: &'static str, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..Self::new(429, code) }
    }

    /// There is no connection to the upstream.
    pub(super) fn unreachable(failed: Unreachable) -> Self {
        let status = match failed.reason.kind {
            CloseKind::NoEndpoint | CloseKind::UpstreamConnections => 503,
            CloseKind::ConnectTimeout => 504,
            _ => 502,
        };
        let code = failed.reason.kind.as_str();
        Self { detail: failed.detail, ..Self::new(status, code) }
    }

    /// What a fault is answered by, where no response has begun; `None` where nobody is there to be
    /// answered.
    pub(super) fn to(fault: &Fault) -> Option<Self> {
        Some(match fault {
            Fault::Client(SideFault::Body(error)) => Self::bad_body(*error),
            Fault::Client(_) => return None,
            Fault::BodyTooLarge => Self { closes: true, ..Self::BODY_TOO_LARGE },
            Fault::Upstream(SideFault::Head(error)) => {
                let detail = Some(crate::log::bounded_detail(error));
                Self { detail, ..Self::new(502, "bad_response") }
            }
            Fault::Upstream(SideFault::Refused(refused)) => {
                let detail = Some(crate::log::bounded_detail(refused));
                Self { detail, ..Self::new(502, "bad_response") }
            }
            Fault::Upstream(SideFault::TlsRefused(refused)) => {
                let detail = Some(crate::log::bounded_detail(refused));
                Self { detail, ..Self::new(502, CloseKind::UpstreamTlsFailed.as_str()) }
            }
            Fault::Upstream(SideFault::Interims) => {
                let found = format!("more than {INTERIMS_MAX} interim responses");
                Self { detail: Some(found.into()), ..Self::new(502, "bad_response") }
            }
            Fault::Upstream(SideFault::Body(_) | SideFault::Unequal) => {
                Self::new(502, "bad_response")
            }
            Fault::Upstream(SideFault::Transport(_) | SideFault::Ended) => {
                Self::new(502, "upstream_closed")
            }
            Fault::Upstream(
                SideFault::Stopped(Stopped(code)) | SideFault::Unprocessed(Stopped(code)),
            ) => {
                let detail = Some(crate::log::bounded_detail(code));
                Self { detail, ..Self::new(502, "upstream_reset") }
            }
            Fault::Late(Late::RequestBody) => Self::closing(408, "body_timeout"),
            Fault::Late(Late::FirstByte) => Self::new(504, "first_byte_timeout"),
            // What is left of the body is not read.
            Fault::Late(Late::UpstreamStalled) => Self::closing(504, "upstream_stalled"),
            // Of a response that has begun, or of a connection that ends now whatever it carries.
            Fault::Late(Late::ResponseBody | Late::NotTaken | Late::Idle | Late::Age) => {
                return None;
            }
            Fault::Late(Late::Total) => Self::new(504, "total_timeout"),
        })
    }

    /// The media type and the content that go with it.
    pub(super) fn content(&self, has_details: bool) -> (&'static str, String) {
        let title = reason_phrase(self.status);
        if has_details {
            let problem = json!({
                "type": "about:blank",
                "title": title,
                "status": self.status,
                "code": self.code,
            });
            ("application/problem+json", format!("{problem}\n"))
        } else {
            ("text/plain", format!("{} {title}\n", self.status))
        }
    }

    /// Seconds for Retry-After (RFC 9110, 10.2.3), rounded up.
    pub(super) fn retry_after_s(&self) -> Option<u64> {
        self.retry_after.map(retry_after_s)
    }
}

/// The reason phrase of a status that ringfort answers by (RFC 9110, 15).
pub(super) const fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
