//! Who a peer is: its leaf certificate as an [`Identity`], and the [`Pattern`]s that match one.
//!
//! It must not know sockets, files, the clock, or whether a certificate is trusted: verification
//! is `trust::verify`'s, decisions are `policy`'s. The invariant: a name here is exactly the name
//! that the certificate has. What cannot be read without doubt is an error, never a shorter name.

mod dn;
mod key;
mod name;
mod nearest;
mod pattern;
mod peer;
mod presented;
mod san;
mod spiffe;

pub use dn::DnError;
pub(crate) use dn::from_der as name_from_der;
pub use key::{KeyType, PublicKey};
pub use name::NameProblem;
pub(crate) use name::{dns as check_dns_name, email as check_email};
pub use nearest::{Candidate, Hint, Similarity, nearest};
pub use pattern::{Pattern, PatternError};
pub use peer::{Identity, IdentityError, NameKind};
pub use presented::Presented;
pub(crate) use spiffe::check_trust_domain;
pub use spiffe::{SpiffeId, SpiffeProblem};
