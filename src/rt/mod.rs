//! The runtime of one core: timers now; driver, executor and streams beside them.
//!
//! Safe Rust only. It must not know TLS, policy or configuration.

pub mod timer;
