//! Who may use a listener: rules as data, and one pure decision over them.
//!
//! It must not know sockets, files, the clock or TLS: it sees an identity that was already
//! authenticated. The invariants: where rules exist, nobody without a certificate is allowed; a
//! pattern of the deny list wins over every other; neither order nor repetition of patterns has a
//! meaning.

mod decide;
mod explain;
mod rule;

#[cfg(test)]
mod properties;

pub use decide::{Decision, Denial, decide};
pub use explain::{Explanation, explain};
pub use rule::Rules;
