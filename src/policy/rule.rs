//! The rules of a listener, as data. How they are applied is in `decide.rs`.

use crate::identity::Pattern;

/// Which clients may use a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// `None`: no list was given. An empty list is a list: it allows nobody.
    allowed: Option<Box<[Pattern]>>,
}

impl Rules {
    /// Whoever passed the listener's client authentication is allowed. Where that is optional or
    /// off, this includes clients without a certificate.
    pub fn unrestricted() -> Self {
        Self { allowed: None }
    }

    /// Only clients whose certificate one of `patterns` matches are allowed. An empty list allows
    /// nobody.
    pub fn allow(patterns: Vec<Pattern>) -> Self {
        Self { allowed: Some(patterns.into_boxed_slice()) }
    }

    /// The list of patterns, or `None` where the rules are unrestricted.
    pub fn patterns(&self) -> Option<&[Pattern]> {
        self.allowed.as_deref()
    }
}
