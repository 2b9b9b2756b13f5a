//! TLS as ringfort uses it. `provider` is the crypto backend and its names, `server` the
//! certificates of a listener, `verify` says whether a client's certificate holds.
//!
//! It must not know policies or upstreams. What is PURE here (`verify`) sees no socket, file,
//! thread or clock.

pub mod provider;
pub mod server;
pub mod verify;
