//! What a deterministic simulation of the gateway is made of; only with the cargo feature `sim`.
//!
//! Nothing here serves a client: it is for tests. The invariant: what it makes follows from a seed
//! alone, so the same seed gives the same bytes, and no code outside this room depends on it.

pub mod crypto;
pub mod pki;
pub mod random;
