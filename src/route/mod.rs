//! Which requests go where, and what is done with them on the way: routes as data, and pure
//! decisions over them.
//!
//! PURE. It must not know sockets, upstreams' connections or how a request came. Invariant: a route
//! is chosen by the path as every upstream could read it: what could be read in two ways is no
//! path (`path.rs`).

pub mod budget;
pub mod conditions;
pub mod host;
pub mod path;
pub mod rate;
pub mod table;
