//! TLS as ringfort uses it. Room by room: `verify` says whether a client's certificate holds.
//!
//! It must not know policies or upstreams. What is PURE here (`verify`) sees no socket, file,
//! thread or clock.

pub mod verify;
