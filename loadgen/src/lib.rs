//! ringfort-loadgen: measures handshakes, requests and bytes per second of any TLS server.
//!
//! It runs on ringfort's own runtime and TLS sessions: pinned workers with an io_uring each.
//!
//! ```text
//! main -> cli -> { run, report }      report -> { outcome, tally }
//! ```
#![deny(unsafe_code)]

pub mod cli;
pub mod client;
pub mod http;
pub mod limits;
pub mod merge;
pub mod origin;
pub mod outcome;
pub mod pace;
pub mod plan;
pub mod report;
pub mod run;
pub mod tally;
pub mod tls;
pub mod watch;
pub mod worker;
