//! Who may connect, and for how long: what is known of a certificate after its chain was verified.
//!
//! PURE: it must not know sockets, files, threads or the clock; the time is passed in. The
//! invariant: what cannot be known is never taken for good, unless the operator said so.

pub mod crl;
