//! The control thread's room: what may block, and what talks to files and to the resolver.

pub mod admin;
pub mod clock;
pub mod inputs;
#[cfg(test)]
mod kit;
pub mod lists;
pub mod load;
pub mod logwriter;
pub mod placement;
pub mod reload;
pub mod resolver;
pub mod signals;
pub mod supervisor;
