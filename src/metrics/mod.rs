//! What the program counts about itself.
//!
//! It must not know who reads the numbers or how they are published. The cells themselves are in
//! [`counter`], a leaf that every room may import.

pub mod counter;
pub mod histogram;
pub mod phases;
