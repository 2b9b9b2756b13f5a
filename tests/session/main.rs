//! `tls::session::Session` against rustls' own client, in memory.
//!
//! Sans-IO, so every cut of a flight can be tried. `kit` has the two ends; each other file is one
//! part of the protocol.

mod client;
mod close;
mod data;
mod faults;
mod handshake;
mod kit;
mod update;
