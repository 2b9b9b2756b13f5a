//! `http2` on a real ring: between its own two ends, and against peers that write frames by hand.

#[allow(dead_code)] // Shared with the tests of the runtime, which use all of it.
#[path = "../runtime/kit.rs"]
mod kit;

mod echo;
mod ends;
mod floods;
mod frames;
mod upstream;
