//! HTTP/1.1 (RFC 9112) as a sans-IO codec: heads and bodies, in and out.
//!
//! PURE. It must not know sockets, TLS, routes or who the client is. Invariant: what it accepts has
//! one meaning and what it writes has one meaning; where a message could be read in two ways it is
//! an error. A head is never copied: it is spans of the buffer that it was parsed from.

pub mod authority;
pub mod body;
mod chunk;
mod diagnose;
pub mod error;
pub mod fields;
mod head;
pub mod legible;
pub mod names;
pub mod request;
pub mod response;
pub mod scan;
pub mod target;
pub mod trailer;
pub mod write;
