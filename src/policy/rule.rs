//! The rules of a listener, as data. How they are applied is in `decide.rs`.
//!
//! It must not know the client. The invariant: a list is in the order of its patterns' texts, each
//! once, so that two rules are equal exactly when the same patterns were written.

use aws_lc_rs::digest::Context;

use crate::identity::Pattern;

/// The first bytes of what [`Rules::hash_into`] adds; another encoding gets another number.
const ENCODING: &[u8] = b"ringfort-rules-1\0";

/// Which clients may use a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// `None`: no list was given. An empty list is a list: it allows nobody.
    allowed: Option<Box<[Pattern]>>,
    denied: Box<[Pattern]>,
}

impl Rules {
    /// Whoever passed the listener's client authentication is allowed. Where that is optional or
    /// off, this includes clients without a certificate.
    pub fn unrestricted() -> Self {
        Self { allowed: None, denied: Box::default() }
    }

    /// Only clients whose certificate one of `patterns` matches are allowed. An empty list allows
    /// nobody.
    pub fn allow(patterns: Vec<Pattern>) -> Self {
        Self { allowed: Some(canonical(patterns)), denied: Box::default() }
    }

    /// The same rules, which also deny clients whose certificate one of `patterns` matches,
    /// whether or not they are allowed otherwise. An empty list denies nobody.
    #[must_use]
    pub fn and_deny(self, patterns: Vec<Pattern>) -> Self {
        let patterns = self.denied.into_vec().into_iter().chain(patterns).collect();
        Self { denied: canonical(patterns), ..self }
    }

    /// The patterns of which one has to match, in the order of their texts; `None` where no such
    /// list was given.
    pub fn allowed(&self) -> Option<&[Pattern]> {
        self.allowed.as_deref()
    }

    /// The patterns of which none may match, in the order of their texts.
    pub fn denied(&self) -> &[Pattern] {
        &self.denied
    }

    /// Whether nothing is asked of a client, not even a certificate.
    pub fn is_unrestricted(&self) -> bool {
        self.allowed.is_none() && self.denied.is_empty()
    }

    /// Adds these rules to a digest: rules that are equal, and only those, add the same bytes.
    ///
    /// The bytes begin with their own length of each part, so what is added before or after them
    /// cannot be taken for a part of them.
    pub fn hash_into(&self, digest: &mut Context) {
        digest.update(ENCODING);
        digest.update(&[u8::from(self.allowed.is_some())]);
        for list in [self.allowed.as_deref().unwrap_or_default(), &self.denied] {
            digest.update(&(list.len() as u64).to_be_bytes());
            for pattern in list {
                let text = pattern.to_string();
                digest.update(&(text.len() as u64).to_be_bytes());
                digest.update(text.as_bytes());
            }
        }
    }
}

/// In the order of their texts, each once. A pattern has one text, as reading it back shows.
fn canonical(mut patterns: Vec<Pattern>) -> Box<[Pattern]> {
    patterns.sort_by_cached_key(Pattern::to_string);
    patterns.dedup();
    patterns.into_boxed_slice()
}
