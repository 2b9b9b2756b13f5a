//! TLS towards clients: the ClientHello, the session, certificates and their verification.
//!
//! It must not know policy, routes or configuration files. [`hello`], [`names`], [`record`],
//! [`session`] and [`verify`] are pure: no sockets, files, threads or clocks.

pub mod hello;
pub mod names;
pub mod provider;
pub mod record;
pub mod server;
pub mod session;
pub mod stream;
pub mod verify;
