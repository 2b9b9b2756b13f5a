//! What ringfort counts about itself.

pub mod counter;
