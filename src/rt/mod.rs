//! The per-core runtime: an executor, timers and sockets over a driver, in safe Rust.
//!
//! Must not know TLS, HTTP or policy. Invariant: futures never lend memory to the kernel, so
//! dropping any future, at any time, is sound.

mod asleep;
#[cfg(feature = "sim")]
pub mod audit;
pub mod buffer;
pub mod core;
pub mod driver;
pub mod executor;
pub mod inbox;
pub mod listen;
pub mod op;
mod pace;
pub mod pool;
pub mod socket;
pub mod stream;
pub mod timer;
pub mod uring;
