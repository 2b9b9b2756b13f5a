//! Heads on their way out: what is kept of the head that came, and what is added.

use super::body::Framing;
use super::fields::Class;
use super::request::RequestHead;
use super::response::ResponseHead;

/// What of a request's head goes out in another way than it came.
#[derive(Clone, Copy)]
pub struct RequestChange<'a> {
    /// Path and query.
    pub target: &'a [u8],
    /// The host.
    pub host: &'a [u8],
    /// How the body goes out.
    pub framing: Framing,
    /// Which end-to-end and forwarding fields go on, by class and name.
    pub keep: &'a dyn Fn(Class, &[u8]) -> bool,
    /// Whether `Connection: upgrade` and Upgrade go on.
    pub upgrade: bool,
    /// Whole lines that are added, in groups.
    pub lines: &'a [&'a [u8]],
}

/// Appends the head to `out`, as HTTP/1.1. `bytes` is what it was parsed from.
///
/// Fields of another class than end-to-end or forwarding are not among what goes out, but for
/// those that are written anew; runs of lines that stay are copied in one go.
pub fn request(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, change: &RequestChange<'_>) {
    let _ = (out, bytes, head, change);
    unimplemented!()
}

/// What of a response's head goes out in another way than it came.
#[derive(Clone, Copy)]
pub struct ResponseChange<'a> {
    /// How the body goes out; a Content-Length of a response without a body stays (HEAD, 304).
    pub framing: Framing,
    /// Whether `Connection: close` is said.
    pub close: bool,
    /// Whether `Connection: keep-alive` is said: to HTTP/1.0.
    pub keep_alive: bool,
    /// Whether `Connection: upgrade` and Upgrade go on (101).
    pub upgrade: bool,
    /// Which end-to-end, identity and forwarding fields go on, by class and name.
    pub keep: &'a dyn Fn(Class, &[u8]) -> bool,
    /// Whole lines that are added, in groups.
    pub lines: &'a [&'a [u8]],
}

/// Appends the head to `out`, as HTTP/1.1. `bytes` is what it was parsed from.
pub fn response(out: &mut Vec<u8>, bytes: &[u8], head: &ResponseHead, change: &ResponseChange<'_>) {
    let _ = (out, bytes, head, change);
    unimplemented!()
}
