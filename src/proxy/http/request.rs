//! What becomes of a request, before an upstream hears of it: route, rules, limits.
//!
//! No socket, no waiting: a head and who sent it in, a plan or an answer out.

use std::net::IpAddr;
use std::sync::Arc;

use super::answer::Answer;
use super::visitor::{FORWARDED_FOR, InForce, Visitor};
use crate::config::snapshot::{Cluster, Forwarding, HttpOptions, Listener};
use crate::http1::body::Framing;
use crate::http1::fields::{self, Class};
use crate::http1::request::RequestHead;
use crate::http1::write::RequestChange;
use crate::planted::{Bug, planted};
use crate::policy::{Decision, decide};
use crate::route::host::host_of;
use crate::route::path;
use crate::route::table::{Asked, Route};
use crate::time::Instant;

/// A request that goes to an upstream.
#[derive(Debug)]
pub(super) struct Plan {
    /// The configuration that it was made by.
    options: InForce,
    /// Which route of the listener.
    route: usize,
    /// The target, where it is not the one that came.
    target: Option<Vec<u8>>,
    /// Whole lines that this hop adds.
    lines: Vec<u8>,
    token: Option<Arc<[u8]>>,
}

/// Decides about a request.
///
/// # Errors
/// The answer, and the name of the route where one was found.
pub(super) fn plan(
    visitor: &Visitor,
    head: &RequestHead,
    bytes: &[u8],
    now: Instant,
) -> Result<Plan, (Answer, Option<Arc<str>>)> {
    let options = visitor.options();
    if expects_more(head, bytes) {
        return Err((Answer::EXPECTATION, None));
    }
    let host = host_of(authority(visitor, head, bytes)).ok_or((Answer::BAD_HOST, None))?;
    if is_misdirected(visitor, options.listener(), &host) {
        return Err((Answer::MISDIRECTED, None));
    }
    let path = path::normal(head.path.of(bytes));
    let path = path.map_err(|error| (Answer::bad_path(error), None))?;
    let identity = visitor.identity.as_deref();
    let asked = Asked {
        host: &host,
        method: head.method.of(bytes),
        path: &path,
        fields: &head.fields,
        bytes,
        identity,
    };
    let index = options.routes.select(&asked).ok_or((Answer::NO_ROUTE, None))?;
    let route = options.routes.route(index);
    let refused = |answer| (answer, Some(Arc::clone(&route.name)));
    if let Decision::Denied(denial) = decide(&route.rules, identity) {
        return Err(refused(Answer::denied(&denial)));
    }
    check_bounds(route, head).map_err(refused)?;
    check_rates(visitor, route, now).map_err(refused)?;
    let of_rewrite = |rewrite| path::rewritten(rewrite, &path, head.path.of(bytes));
    let target = route.rewrite.as_ref().map(of_rewrite);
    let lines = own_lines(visitor, &options, head, bytes);
    let token = visitor.token_line(
        &options.telling,
        &route.name,
        &options.snapshot.clusters[route.cluster].name,
    );
    Ok(Plan { route: index, target, lines, token, options })
}

/// Whether something else is expected than 100-continue, which upstreams see to.
///
/// RFC 9110, 10.1.1: "A server that receives an Expect field value containing a member other than
/// 100-continue MAY respond with a 417 (Expectation Failed) status code". What it would do to what
/// follows on the connection is not known.
fn expects_more(head: &RequestHead, bytes: &[u8]) -> bool {
    fields::values(&head.fields, bytes, b"expect")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|member| !member.is_empty() && !member.eq_ignore_ascii_case(b"100-continue"))
}

/// The host that is asked for. HTTP/1.0 need not name one (RFC 9112, 3.2).
fn authority<'a>(visitor: &'a Visitor, head: &RequestHead, bytes: &'a [u8]) -> &'a [u8] {
    match head.authority.of(bytes) {
        [] => visitor.fallback_host(),
        named => named,
    }
}

/// RFC 9110, 7.4: a server MUST NOT serve a request that it is not prepared to, on this connection,
/// be responsible for. What the client has shown for one trust scope is worth nothing in another.
fn is_misdirected(visitor: &Visitor, listener: &Listener, host: &[u8]) -> bool {
    let scopes = &listener.scopes;
    if scopes.by_name.is_empty() || planted(Bug::ForgetMisdirected) {
        return false;
    }
    let own = scopes.select(visitor.server_name.as_deref());
    let asked = scopes.select(std::str::from_utf8(host).ok());
    own.hash() != asked.hash()
}

fn check_bounds(route: &Route, head: &RequestHead) -> Result<(), Answer> {
    if head.bytes > route.request_head_bytes_max {
        return Err(Answer::HEAD_TOO_LARGE);
    }
    match (head.framing, route.request_body_bytes_max) {
        (Framing::Length(bytes), Some(max)) if bytes > max => Err(Answer::BODY_TOO_LARGE),
        _ => Ok(()),
    }
}

fn check_rates(visitor: &Visitor, route: &Route, now: Instant) -> Result<(), Answer> {
    let limits = [
        ("rate_of_identity", &route.rate_per_identity, visitor.identity_key()),
        ("rate_of_source", &route.rate_per_source, visitor.source_key()),
    ];
    for (code, limiter, who) in limits {
        if let Some(limiter) = limiter {
            limiter.take(&who, now).map_err(|wait| Answer::too_many(code, wait))?;
        }
    }
    Ok(())
}

/// What this hop adds to the fields: Via, and where the request came from.
fn own_lines(
    visitor: &Visitor,
    options: &HttpOptions,
    head: &RequestHead,
    bytes: &[u8],
) -> Vec<u8> {
    let mut lines = Vec::new();
    if options.via {
        let version = head.version.as_via();
        lines.extend_from_slice(format!("Via: {version} ringfort\r\n").as_bytes());
    }
    let peer = visitor.peer.map(|peer| peer.ip());
    if options.x_forwarded == Forwarding::Append {
        lines.extend_from_slice(b"X-Forwarded-For: ");
        for value in fields::values(&head.fields, bytes, b"x-forwarded-for") {
            lines.extend_from_slice(value);
            lines.extend_from_slice(b", ");
        }
        // The rest of the line is the connection's own.
        let own = visitor.forwarded_for().iter().skip(FORWARDED_FOR.len());
        lines.extend(own);
    }
    if matches!(options.forwarded, Forwarding::Set | Forwarding::Append) {
        lines.extend_from_slice(b"Forwarded: for=");
        lines.extend_from_slice(forwarded_node(peer).as_bytes());
        lines.extend_from_slice(b";proto=https");
        let host = head.authority.of(bytes);
        if !host.is_empty() {
            lines.extend_from_slice(b";host=\"");
            lines.extend_from_slice(host);
            lines.push(b'"');
        }
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// RFC 7239, 6: an IPv6 address is in brackets, and then quoted.
fn forwarded_node(peer: Option<IpAddr>) -> String {
    match peer.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => format!("\"[{ip}]\""),
        None => "unknown".to_owned(),
    }
}

impl Plan {
    pub(super) fn options(&self) -> &HttpOptions {
        &self.options
    }

    pub(super) fn route(&self) -> &Route {
        self.options.routes.route(self.route)
    }

    pub(super) fn cluster(&self) -> &Arc<Cluster> {
        &self.options.snapshot.clusters[self.route().cluster]
    }

    /// Calls `send` with what of the head goes out in another way.
    pub(super) fn with_change<R>(
        &self,
        visitor: &Visitor,
        head: &RequestHead,
        bytes: &[u8],
        send: impl FnOnce(&RequestChange<'_>) -> R,
    ) -> R {
        let told = visitor.told();
        let (route, options) = (self.route(), self.options());
        let keep = |class: Class, name: &[u8]| match class {
            Class::Forwarding if !keeps_forwarding(options, name) => false,
            _ => !route.request_fields.removes(name),
        };
        let token = self.token.as_deref().unwrap_or_default();
        let own = match options.x_forwarded {
            Forwarding::Set => visitor.forwarded_for(),
            Forwarding::Off | Forwarding::Append | Forwarding::Pass => &[],
        };
        let lines = [&self.lines[..], own, &told.lines, token, &route.request_fields.lines];
        send(&RequestChange {
            target: self.target.as_deref().unwrap_or_else(|| head.path.of(bytes)),
            host: authority(visitor, head, bytes),
            framing: head.framing,
            keep: &keep,
            upgrade: head.upgrade.is_some(),
            lines: &lines,
        })
    }
}

/// Whether a field has this name for a server that takes `_` for `-`, as CGI does (RFC 3875,
/// 4.1.18).
fn is_called(name: &[u8], lower: &[u8]) -> bool {
    let folded = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == lower.len() && name.iter().zip(lower).all(|(byte, with)| folded(*byte) == *with)
}

/// Whether a field that tells where the request came from stays as the client sent it.
fn keeps_forwarding(options: &HttpOptions, name: &[u8]) -> bool {
    if name.eq_ignore_ascii_case(b"via") {
        return true;
    }
    if name.eq_ignore_ascii_case(b"forwarded") {
        return matches!(options.forwarded, Forwarding::Append | Forwarding::Pass);
    }
    match options.x_forwarded {
        Forwarding::Pass => true,
        // What is said of host, port and the like by hops before stays; addresses are joined.
        Forwarding::Append => {
            !is_called(name, b"x-forwarded-for") && !is_called(name, b"x-forwarded-proto")
        }
        Forwarding::Off | Forwarding::Set => false,
    }
}
