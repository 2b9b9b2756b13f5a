//! TLS: the crypto backend, the server side of a listener, and how a client is verified.

pub mod provider;
pub mod server;
