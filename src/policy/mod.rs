//! Who may use a listener: rules as data, and one pure decision over them.
//!
//! It must not know sockets, files, the clock or TLS: it sees an identity that was already
//! authenticated. The invariant: where rules exist, nobody without a certificate is allowed.

mod decide;
mod rule;

pub use decide::{Decision, Denial, decide};
pub use rule::Rules;
