//! Harnesses for everything in ringfort that reads what others wrote, and for what must not lose
//! count: each is a function of bytes that asserts what has to hold for any bytes.
//!
//! The same function serves libFuzzer (`targets/`), the replay of the committed corpus and random
//! input (`tests/`). So a harness reads no clock, no file and no random numbers that could change
//! what it asserts, and says all that it found in its panic. `docs/fuzzing.md` lists them.

mod attest;
mod bufring;
mod config;
mod crl;
mod der;
mod hello;
mod http1;
mod http2;
mod identity;
mod ops;
mod patterns;
mod peer;
mod pki;
mod routes;
mod seal;
mod session;
mod tickets;
mod timer;

pub use attest::attest;
pub use bufring::bufring;
pub use config::config;
pub use crl::crl;
pub use hello::hello;
pub use http1::{http1_body, http1_request, http1_response};
pub use http2::{http2_frames, http2_head};
pub use identity::identity;
pub use ops::ops;
pub use patterns::patterns;
pub use routes::routes;
pub use session::session;
pub use tickets::tickets;
pub use timer::timer;

/// Calls a macro with the name of each harness, so that no list of them can fall behind.
#[macro_export]
macro_rules! for_each_harness {
    ($callback:ident) => {
        $callback! {
            hello session config identity attest crl patterns timer ops bufring tickets
            http1_request http1_response http1_body routes http2_frames http2_head
        }
    };
}

/// A harness: it panics where a property does not hold.
pub type Harness = fn(&[u8]);

macro_rules! list {
    ($($name:ident)*) => {
        /// Every harness by its name, which is that of its target and of its corpus.
        pub const HARNESSES: &[(&str, Harness)] = &[$((stringify!($name), $name)),*];
    };
}
for_each_harness!(list);
