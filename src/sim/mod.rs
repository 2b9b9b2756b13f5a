//! The gateway on a simulated kernel, network and clock: one seed, one run (docs/simulation.md).
//!
//! The real `proxy`, `rt` and `tls` code runs, whole, on the second variant of
//! [`rt::driver::Driver`](crate::rt::driver::Driver); clients and upstreams are in the same thread.
//! Feature `sim` only: nothing of it is in a release build.

pub mod client;
pub mod crypto;
pub mod demands;
pub mod driver;
pub mod faults;
pub mod hellos;
pub mod hold;
pub mod http;
pub mod ledger;
pub mod net;
pub mod pki;
pub mod plan;
pub mod random;
pub mod records;
pub mod run;
pub mod trace;
pub mod upstream;
pub mod world;
