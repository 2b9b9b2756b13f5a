//! TLS towards clients and upstreams.
//!
//! It must not know policy, routes or configuration files. [`hello`] and [`names`] are pure.

pub mod hello;
pub mod names;
