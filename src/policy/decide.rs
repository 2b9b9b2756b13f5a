//! The decision: rules and an identity in, allowed or denied out. Pure.

use std::fmt;

use super::Rules;
use crate::identity::Identity;

/// What the rules say about one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a client that was not decided about must not reach an upstream"]
pub enum Decision {
    /// The client may use the listener.
    Allowed,
    /// The client may not.
    Denied(Denial),
}

/// Why a client was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// The listener has rules, and the client presented no certificate for them to match.
    NoCertificate,
    /// The client's certificate is valid, and no rule of the listener matches it.
    NoRuleMatches,
}

impl Denial {
    /// The stable code of this denial: the log field and the metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::NoRuleMatches => "no_rule_matches",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decides whether `client` may use the listener that has `rules`.
///
/// `client` is the identity of the certificate that the listener's client authentication verified,
/// `None` where the client presented none and that was acceptable to the listener.
pub fn decide(rules: &Rules, client: Option<&Identity>) -> Decision {
    let Some(patterns) = rules.patterns() else {
        return Decision::Allowed;
    };
    let Some(client) = client else {
        return Decision::Denied(Denial::NoCertificate);
    };
    if patterns.iter().any(|pattern| pattern.matches(client)) {
        Decision::Allowed
    } else {
        Decision::Denied(Denial::NoRuleMatches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Pattern;

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
}
