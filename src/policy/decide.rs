//! The decision: rules and an identity in, allowed or denied out. Pure.
//!
//! It must not know how the identity was authenticated. The invariant: a client is allowed only
//! where no pattern of the deny list matches it.

use std::fmt;

use super::Rules;
use crate::identity::{Identity, Pattern};

/// What the rules say about one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a client that was not decided about must not reach an upstream"]
pub enum Decision<'rules> {
    /// The client may use the listener.
    Allowed,
    /// The client may not.
    Denied(Denial<'rules>),
}

/// Why a client was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial<'rules> {
    /// The listener has rules, and the client presented no certificate for them to match.
    NoCertificate,
    /// The client's certificate is valid, and none of the patterns that allow matches it.
    NoRuleMatches,
    /// The client's certificate is valid, and this pattern of the deny list matches it.
    RuleDenied(&'rules Pattern),
}

impl Denial<'_> {
    /// The code of every denial, for a metric that shows each label from the start.
    pub const CODES: [&'static str; 3] = ["no_certificate", "no_rule_matches", "rule_denied"];

    /// The stable code of this denial: the metric label, and the first word of the log field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => Self::CODES[0],
            Self::NoRuleMatches => Self::CODES[1],
            Self::RuleDenied(_) => Self::CODES[2],
        }
    }
}

impl fmt::Display for Denial<'_> {
    /// The code, and the pattern where there is one: `rule_denied: dns:a.test`. Printable ASCII.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate | Self::NoRuleMatches => f.write_str(self.as_str()),
            Self::RuleDenied(pattern) => write!(f, "{}: {pattern}", self.as_str()),
        }
    }
}

/// Decides whether `client` may use the listener that has `rules`.
///
/// `client` is the identity of the certificate that the listener's client authentication verified,
/// `None` where the client presented none and that was acceptable to the listener. Where there are
/// rules, it is denied, even where they only deny: whoever is on the deny list would otherwise only
/// have to hold its certificate back.
pub fn decide<'rules>(rules: &'rules Rules, client: Option<&Identity>) -> Decision<'rules> {
    if rules.is_unrestricted() {
        return Decision::Allowed;
    }
    let Some(client) = client else {
        return Decision::Denied(Denial::NoCertificate);
    };
    let allowed = rules.allowed().map(|patterns| tried(patterns, client));
    conclude(tried(rules.denied(), client), allowed)
}

/// Each pattern, and whether it matches.
pub(super) fn tried<'rules>(
    patterns: &'rules [Pattern],
    client: &Identity,
) -> impl Iterator<Item = (&'rules Pattern, bool)> {
    patterns.iter().map(|pattern| (pattern, pattern.matches(client)))
}

/// What follows from which patterns match. Looks no further than to the pattern that decides.
pub(super) fn conclude<'rules>(
    mut denied: impl Iterator<Item = (&'rules Pattern, bool)>,
    allowed: Option<impl Iterator<Item = (&'rules Pattern, bool)>>,
) -> Decision<'rules> {
    if let Some((pattern, _)) = denied.find(|(_, matches)| *matches) {
        return Decision::Denied(Denial::RuleDenied(pattern));
    }
    let is_allowed = allowed.is_none_or(|mut list| list.any(|(_, matches)| matches));
    if is_allowed { Decision::Allowed } else { Decision::Denied(Denial::NoRuleMatches) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(dns_name: &str) -> Identity {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new([dns_name.to_owned()]).expect("a DNS name");
        let certificate = params.self_signed(&key).expect("a certificate");
        Identity::from_der(certificate.der()).expect("an identity")
    }

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn without_a_list_whoever_passed_client_authentication_is_allowed() {
        let rules = Rules::unrestricted();
        assert_eq!(decide(&rules, None), Decision::Allowed);
        assert_eq!(decide(&rules, Some(&client("a.test"))), Decision::Allowed);
    }

    #[test]
    fn with_a_list_a_certificate_is_needed_even_where_any_is_enough() {
        let rules = Rules::allow(vec![pattern("any")]);
        assert_eq!(decide(&rules, None), Decision::Denied(Denial::NoCertificate));
        assert_eq!(decide(&rules, Some(&client("a.test"))), Decision::Allowed);
    }

    #[test]
    fn one_matching_pattern_of_the_list_is_enough_and_none_is_not() {
        let rules = Rules::allow(vec![pattern("dns:a.test"), pattern("dns:*.b.test")]);
        assert_eq!(decide(&rules, Some(&client("a.test"))), Decision::Allowed);
        assert_eq!(decide(&rules, Some(&client("x.b.test"))), Decision::Allowed);
        let denied = Decision::Denied(Denial::NoRuleMatches);
        assert_eq!(decide(&rules, Some(&client("b.test"))), denied);
        assert_eq!(decide(&rules, Some(&client("a.test.evil"))), denied);
    }

    #[test]
    fn an_empty_list_allows_nobody() {
        let rules = Rules::allow(Vec::new());
        assert_eq!(decide(&rules, None), Decision::Denied(Denial::NoCertificate));
        let denied = Decision::Denied(Denial::NoRuleMatches);
        assert_eq!(decide(&rules, Some(&client("a.test"))), denied);
    }

    #[test]
    fn with_only_a_deny_list_every_other_certificate_is_allowed_and_none_is_not_enough() {
        let rules = Rules::unrestricted().and_deny(vec![pattern("dns:a.test")]);
        assert_eq!(decide(&rules, Some(&client("b.test"))), Decision::Allowed);
        let wanted = pattern("dns:a.test");
        let denied = Decision::Denied(Denial::RuleDenied(&wanted));
        assert_eq!(decide(&rules, Some(&client("a.test"))), denied);
        assert_eq!(decide(&rules, None), Decision::Denied(Denial::NoCertificate));
        let empty = Rules::unrestricted().and_deny(Vec::new());
        assert_eq!(empty, Rules::unrestricted());
        assert_eq!(decide(&empty, None), Decision::Allowed);
    }

    #[test]
    fn deny_wins_over_a_pattern_that_allows_and_names_the_pattern() {
        let rules = Rules::allow(vec![pattern("any"), pattern("dns:a.test")])
            .and_deny(vec![pattern("dns:*.c.test"), pattern("dns:A.test")]);
        let Decision::Denied(denial) = decide(&rules, Some(&client("a.test"))) else {
            panic!("deny must win");
        };
        assert_eq!(denial.to_string(), "rule_denied: dns:a.test");
        assert_eq!(decide(&rules, Some(&client("b.test"))), Decision::Allowed);
    }

    #[test]
    fn each_denial_has_its_own_code() {
        let any = pattern("any");
        let all = [Denial::NoCertificate, Denial::NoRuleMatches, Denial::RuleDenied(&any)];
        assert_eq!(all.map(Denial::as_str), Denial::CODES);
        let codes: std::collections::BTreeSet<_> = Denial::CODES.into_iter().collect();
        assert_eq!(codes.len(), all.len());
    }
}
