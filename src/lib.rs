//! ringfort: a high-throughput mutual-TLS gateway for Linux.
//!
//! One worker thread per CPU, pinned, owns an io_uring, its sockets, its timers and its memory;
//! workers share nothing on the hot path. `docs/architecture.md` is the map of this crate: which
//! room holds what, who may import whom, and the life of a connection. `tests/tidy` enforces
//! it.
//!
//! ```text
//! main -> cli -> control -> proxy -> { http2, http1, route, attest, tls, identity, policy }
//! control -> { config, metrics, log }      proxy -> { rt, config::snapshot, metrics, log }
//! tls::stream -> rt -> sys
//! PURE (never rt, sys, sockets, files, threads, wall clock):
//!   identity, policy, trust, http1, route, attest, tls::{hello, session, verify},
//!   config::{model, resolve}
//! leaves, importable by all: limits, error, time, metrics::counter
//! ```
#![deny(unsafe_code)]

pub mod attest;
pub mod cli;
pub mod config;
pub mod control;
pub mod error;
pub mod http1;
pub mod http2;
pub mod identity;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod planted;
pub mod policy;
pub mod proxy;
pub mod route;
pub mod rt;
#[cfg(feature = "sim")]
pub mod sim;
pub mod sys;
pub mod time;
pub mod tls;
pub mod trust;

pub use error::{CloseKind, CloseReason, Refusal};
