//! ringfort-loadgen: measures handshakes, requests and bytes per second of any TLS server.
//!
//! It runs on ringfort's own runtime and TLS sessions: pinned workers with an io_uring each.
//!
//! ```text
//! main -> { cli -> plan -> run -> worker -> { client, multiplex -> wire }, report, merge, origin }
//! run -> { collected, unmet, watch } -> { outcome, tally } <- report
//! plan, client, multiplex, origin -> http
//! ```
#![deny(unsafe_code)]

pub mod application;
pub mod cli;
pub mod client;
pub mod collected;
pub mod http;
pub mod limits;
pub mod merge;
pub mod multiplex;
pub mod origin;
pub mod outcome;
pub mod pace;
pub mod plan;
pub mod report;
pub mod run;
pub mod tally;
pub mod tls;
pub mod unmet;
pub mod watch;
pub mod wire;
pub mod worker;
