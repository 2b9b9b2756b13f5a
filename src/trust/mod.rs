//! Who may connect, and for how long: chains, revocation, sessions and leases.
//!
//! [`scope`] is what a listener demands; [`verify`] finds a path, [`crl`] knows what was revoked,
//! [`verdict`] keeps what was found; [`session`], [`tickets`] and [`store`] are resumption;
//! [`visit`] is one handshake as rustls sees it; [`lease`] judges who is connected.
//!
//! PURE: it must not know sockets, files, threads or the clock; the time is passed in. The
//! invariant: what cannot be known is never taken for good, unless the operator said so.

pub mod crl;
pub mod lease;
pub mod scope;
pub mod session;
pub mod store;
pub mod tickets;
pub mod verdict;
pub mod verify;
pub mod visit;

#[cfg(test)]
mod kit;
