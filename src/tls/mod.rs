//! TLS towards clients: the ClientHello, the session, and the certificates of the server.
//!
//! It must not know who may connect, routes or configuration files. [`hello`], [`names`],
//! [`record`], [`server_name`] and [`session`] are pure: no sockets, files, threads or clocks.

pub mod client;
pub mod hello;
pub mod names;
pub mod provider;
pub mod record;
pub mod server;
pub mod server_name;
pub mod session;
pub mod stream;
pub mod transport;
