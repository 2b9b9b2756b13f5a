//! What happens to a connection: from accept to the last byte.
//!
//! [`connection`] is the story, top to bottom; the other files are its chapters. It runs on the
//! workers, one task a connection, and never blocks.

pub mod admission;
pub mod connection;
mod descriptors;
mod failures;
pub mod gate;
mod http;
#[cfg(test)]
mod kit;
pub mod leases;
pub mod pool;
pub mod relay;
pub mod shared;
pub mod sources;
pub mod upstream;
pub mod worker;
