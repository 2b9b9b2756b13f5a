//! ringfort-loadgen: measures handshakes, requests and bytes per second of any TLS server.
//!
//! It runs on ringfort's own runtime and TLS sessions: pinned workers with an io_uring each.
//!
//! ```text
//! main -> cli -> { run, report }      report -> { outcome, tally }
//! ```
#![deny(unsafe_code)]

pub mod outcome;
pub mod tally;
