//! What becomes of a request, before an upstream hears of it: route, rules, limits.
//!
//! No socket, no waiting: a head and who sent it in, a plan or an answer out.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::answer::Answer;
use super::visitor::{FORWARDED_FOR, InForce, Visitor};
use crate::config::snapshot::{Cluster, Forwarding, HttpOptions, Listener};
use crate::http1::body::Framing;
use crate::http1::fields::{self, Class};
use crate::http1::request::{RequestHead, Version};
use crate::http1::write::RequestChange;
use crate::limits::MAX_FORWARDS_MAX;
use crate::planted::{Bug, planted};
use crate::policy::{Decision, decide};
use crate::route::host::host_of;
use crate::route::path;
use crate::route::table::{Asked, Route};
use crate::time::Instant;

/// How many more hops a request may go (RFC 9110, 7.6.2).
const MAX_FORWARDS: &[u8] = b"max-forwards";

/// A request that goes to an upstream.
#[derive(Debug)]
pub(super) struct Plan {
    /// The configuration that it was made by.
    options: InForce,
    /// Which route of the listener.
    route: usize,
    /// The target, where it is not the one that came.
    target: Option<Vec<u8>>,
    /// Whole lines that this hop adds, Via aside.
    lines: Vec<u8>,
    /// Max-Forwards of the client, which this hop counts down.
    hops_left: Option<u64>,
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
    // RFC 7301, 3.2 has the server choose where the client offers; whoever offers nothing speaks
    // HTTP/1.1, and is held to what the listener serves all the same.
    if !options.http1 && head.version != Version::Http2 {
        return Err((Answer::VERSION, None));
    }
    // RFC 9110, 9.3.8: "The final recipient of the request SHOULD reflect the message received
    // [...] back to the client": with what was added to it here, which is not for the client.
    if head.method.of(bytes) == b"TRACE" {
        return Err((Answer::TRACE, None));
    }
    if expects_more(head, bytes) {
        return Err((Answer::EXPECTATION, None));
    }
    let host = host_of(authority(visitor, head, bytes)).ok_or((Answer::BAD_HOST, None))?;
    if is_misdirected(visitor, options.listener(), &host) {
        return Err((Answer::MISDIRECTED, None));
    }
    let target = with_path(head.path.of(bytes));
    let path = path::normal(&target, options.encoded_slashes);
    let path = path.map_err(|error| (Answer::bad_path(error), None))?;
    let identity = visitor.identity.as_deref();
    let asked = Asked {
        host: &host,
        method: head.method.of(bytes),
        path: &path::without_parameters(&path),
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
    let hops_left = hops_left(head, bytes).map_err(refused)?;
    let of_rewrite = |rewrite| path::rewritten(rewrite, &path, &target);
    let target = match (&route.rewrite, &target) {
        (Some(rewrite), _) => Some(of_rewrite(rewrite)),
        (None, Cow::Owned(made)) => Some(made.clone()),
        (None, Cow::Borrowed(_)) => None,
    };
    let lines = own_lines(visitor, &options, head, bytes, hops_left);
    let token = visitor.token_line(
        &options.telling,
        &options.listener().name,
        &route.name,
        &options.snapshot.clusters[route.cluster].name,
    );
    Ok(Plan { route: index, target, lines, hops_left, token, options })
}

/// Path and query. RFC 9110, 4.2.3: "an empty path component is equivalent to an absolute path of
/// "/", so the normal form is to provide a path of "/" instead". Only the absolute form can have a
/// query without a path.
fn with_path(target: &[u8]) -> Cow<'_, [u8]> {
    if target.first() == Some(&b'?') {
        Cow::Owned([b"/", target].concat())
    } else {
        Cow::Borrowed(target)
    }
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
        named => without_empty_port(named),
    }
}

/// RFC 3986, 3.2.3: "URI producers and normalizers should omit the port component and its ":"
/// delimiter if port is empty".
fn without_empty_port(authority: &[u8]) -> &[u8] {
    authority.strip_suffix(b":").unwrap_or(authority)
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

/// What Max-Forwards is sent on as, where the request has it and it counts.
///
/// RFC 9110, 7.6.2: "Each intermediary that receives a TRACE or OPTIONS request containing a
/// Max-Forwards header field MUST check and update its value prior to forwarding the request. If
/// the received value is zero (0), the intermediary MUST NOT forward the request; instead, the
/// intermediary MUST respond as the final recipient." It "MUST generate an updated Max-Forwards
/// field [...] that is the lesser of a) the received value decremented by one (1) or b) the
/// recipient's maximum supported value".
fn hops_left(head: &RequestHead, bytes: &[u8]) -> Result<Option<u64>, Answer> {
    if head.method.of(bytes) != b"OPTIONS" {
        return Ok(None);
    }
    let mut values = fields::values(&head.fields, bytes, MAX_FORWARDS);
    let Some(value) = values.next() else { return Ok(None) };
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    if !is_number || values.next().is_some() {
        return Err(Answer::BAD_MAX_FORWARDS);
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    match value.iter().fold(0, add) {
        0 => Err(Answer::LAST_HOP),
        hops => Ok(Some((hops - 1).min(MAX_FORWARDS_MAX))),
    }
}

/// What this hop adds to the fields: hops that are left, and where the request came from.
fn own_lines(
    visitor: &Visitor,
    options: &HttpOptions,
    head: &RequestHead,
    bytes: &[u8],
    hops_left: Option<u64>,
) -> Vec<u8> {
    let mut lines = Vec::new();
    if let Some(hops) = hops_left {
        lines.extend_from_slice(format!("Max-Forwards: {hops}\r\n").as_bytes());
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
        let host = without_empty_port(head.authority.of(bytes));
        if !host.is_empty() {
            lines.extend_from_slice(b";host=\"");
            lines.extend_from_slice(host);
            lines.push(b'"');
        }
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// The line that says of this hop that the request passed it (RFC 9110, 7.6.3).
const fn via(received: Version) -> &'static [u8] {
    match received {
        Version::Http10 => b"Via: 1.0 ringfort\r\n",
        Version::Http11 => b"Via: 1.1 ringfort\r\n",
        Version::Http2 => b"Via: 2 ringfort\r\n",
    }
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
            _ if self.hops_left.is_some() && fields::is_same_name(name, MAX_FORWARDS) => false,
            _ => !route.request_fields.removes(name),
        };
        let token = self.token.as_deref().unwrap_or_default();
        let own = match options.x_forwarded {
            Forwarding::Set => visitor.forwarded_for(),
            Forwarding::Off | Forwarding::Append | Forwarding::Pass => &[],
        };
        let via = if options.via { via(head.version) } else { &[] };
        let lines = [via, &self.lines[..], own, &told.lines, token, &route.request_fields.lines];
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

/// What of hops before stays with `x_forwarded = "append"`: by which name and port they were asked,
/// and who they are. Addresses are joined in X-Forwarded-For; a field that holds one alone would
/// contradict that, one of the scheme X-Forwarded-Proto, and one with a path would have the
/// upstream serve another resource than the one that a route was chosen by.
const KEPT_BY_APPEND: [&[u8]; 4] =
    [b"x-forwarded-by", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-server"];

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
        Forwarding::Append => KEPT_BY_APPEND.iter().any(|kept| fields::is_same_name(name, kept)),
        Forwarding::Off | Forwarding::Set => false,
    }
}
