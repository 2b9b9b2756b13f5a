//! HTTP/1.1 of the simulated clients and upstreams, and the oracles of its messages.
//!
//! It must not use the code that it is the measure of: heads and bodies are written and read here
//! by code of its own ([`message`]), which is stricter than a server has to be. Invariant: each
//! request has a number, and all that is sent because of it follows from that number.

pub mod answer;
pub mod book;
pub mod client;
pub mod hostile;
pub mod message;
pub mod plan;
pub mod script;
pub mod upstream;
