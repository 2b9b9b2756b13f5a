//! The decision, with what each pattern had to do with it: for a person who asks why.
//!
//! It must not decide by itself: [`explain`] concludes by the code that [`super::decide`] concludes
//! by, from the same answers of the same patterns.

use super::Rules;
use super::decide::{Decision, conclude, decide, tried};
use crate::identity::{Identity, Pattern};

/// What the rules say about one client, pattern by pattern, in the order of their texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'rules> {
    /// What [`super::decide`] decides.
    pub decision: Decision<'rules>,
    /// Each pattern of the deny list, and whether it matches the client.
    pub denied: Vec<(&'rules Pattern, bool)>,
    /// Each pattern that allows, and whether it matches; `None` where no such list was given.
    pub allowed: Option<Vec<(&'rules Pattern, bool)>>,
}

/// Decides as [`super::decide`] does, and tells for each pattern whether it matches. No pattern
/// matches a client without a certificate.
pub fn explain<'rules>(rules: &'rules Rules, client: Option<&Identity>) -> Explanation<'rules> {
    let answers = |patterns: &'rules [Pattern]| -> Vec<(&'rules Pattern, bool)> {
        match client {
            Some(client) => tried(patterns, client).collect(),
            None => patterns.iter().map(|pattern| (pattern, false)).collect(),
        }
    };
    let denied = answers(rules.denied());
    let allowed = rules.allowed().map(answers);
    let decision = match client {
        Some(_) => conclude(denied.iter().copied(), allowed.as_ref().map(|it| it.iter().copied())),
        None => decide(rules, None),
    };
    Explanation { decision, denied, allowed }
}
