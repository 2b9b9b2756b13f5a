//! The control thread's room: what may block, and what talks to files and to the resolver.

pub mod load;
