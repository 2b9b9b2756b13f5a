//! HTTP/2 (RFC 9113) by the `h2` crate over this program's own sockets.
//!
//! It must not know routes, rules or who the client is. Invariant: its heads are the same
//! [`RequestHead`](crate::http1::request::RequestHead) and
//! [`ResponseHead`](crate::http1::response::ResponseHead) that HTTP/1.1 has, so that one set of
//! checks holds for both.

pub mod body;
pub mod client;
pub mod end;
pub mod frames;
pub mod head;
pub mod io;
mod opened;
pub mod options;
pub mod payload;
pub mod server;
