//! Each check with what it came to, in the order in which the gateway makes them.
//!
//! A check is `ok` only where the code that makes it said so, or where it can only have been passed
//! for the refusal to be what it is: webpki looks at dates, then at purposes, then for issuers.

use super::facts::{Certificate, shown_date};
use super::input::Input;
use super::report::{Check, Lookup, Outcome, Rule, Verdict};
use super::trail::Trail;
use crate::error::Refusal;
use crate::policy::{Decision, Explanation};
use crate::trust::crl::{Consulted, Revoked};
use crate::trust::verdict::Verdict as Known;
use crate::trust::verify::{ClientAuth, Refused};

/// All that is known of one client.
pub(super) struct Judged<'a> {
    pub(super) input: &'a Input,
    /// Of its chain; `None`: it presents none, or is not asked.
    pub(super) outcome: Option<&'a Result<Known, Refused>>,
    pub(super) trail: &'a Trail,
    pub(super) rules: Option<&'a Explanation<'a>>,
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Certificate,
    Count,
    Encoding,
    Keys,
    Validity,
    Purpose,
    Path,
    TrustDomain,
    Revocation,
}

impl Part {
    const ALL: [Self; 9] = [
        Self::Certificate,
        Self::Count,
        Self::Encoding,
        Self::Keys,
        Self::Validity,
        Self::Purpose,
        Self::Path,
        Self::TrustDomain,
        Self::Revocation,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Count => "count",
            Self::Encoding => "encoding",
            Self::Keys => "keys",
            Self::Validity => "validity",
            Self::Purpose => "purpose",
            Self::Path => "path",
            Self::TrustDomain => "trust_domain",
            Self::Revocation => "revocation",
        }
    }

    const fn of(refusal: Refusal) -> Self {
        match refusal {
            Refusal::CertificateMissing => Self::Certificate,
            Refusal::ChainTooLong => Self::Count,
            Refusal::Malformed
            | Refusal::UnsupportedVersion
            | Refusal::UnknownCriticalExtension => Self::Encoding,
            Refusal::KeyTypeRefused | Refusal::KeyTooSmall => Self::Keys,
            Refusal::Expired | Refusal::NotYetValid => Self::Validity,
            Refusal::EkuLacksClientAuth | Refusal::CaAsLeaf | Refusal::LeafAsCa => Self::Purpose,
            Refusal::TrustDomainMismatch => Self::TrustDomain,
            Refusal::Revoked | Refusal::CrlMissing | Refusal::CrlStale => Self::Revocation,
            Refusal::UnknownAnchor
            | Refusal::SelfSigned
            | Refusal::BadSignature
            | Refusal::KeyNotProven
            | Refusal::SignatureAlgorithmRefused
            | Refusal::Distrusted
            | Refusal::NameConstraint
            | Refusal::PathLength
            | Refusal::PathTooComplex
            | Refusal::Other => Self::Path,
        }
    }
}

/// Every check.
pub(super) fn all(judged: &Judged<'_>, verdict: &Verdict) -> Vec<Check> {
    let mut checks: Vec<Check> = match judged.outcome {
        Some(outcome) => Part::ALL.iter().map(|part| chain_check(judged, outcome, *part)).collect(),
        None => vec![presents_none(judged, verdict)],
    };
    if judged.outcome.is_some() {
        checks.push(names_check(judged));
    }
    checks.push(rules_check(judged));
    checks
}

fn presents_none(judged: &Judged<'_>, verdict: &Verdict) -> Check {
    let auth = judged.input.scope.client_auth();
    let (result, note) = match auth {
        ClientAuth::Require => (Outcome::Refused, "none is presented, and one is required"),
        ClientAuth::Optional => (Outcome::Ok, "none is presented, and none is required"),
        ClientAuth::Off if judged.input.chain.is_empty() => {
            (Outcome::NotAsked, "clients are not asked for one")
        }
        ClientAuth::Off => {
            (Outcome::NotAsked, "clients are not asked for one: what it has is not looked at")
        }
    };
    Check {
        check: Part::Certificate.as_str(),
        result,
        code: verdict.refusal.filter(|_| result == Outcome::Refused),
        notes: vec![note.to_owned()],
    }
}

fn chain_check(judged: &Judged<'_>, outcome: &Result<Known, Refused>, part: Part) -> Check {
    let refused = outcome.as_ref().err().filter(|refused| Part::of(refused.refusal) == part);
    let stopped_at = outcome.as_ref().err().map(|refused| Part::of(refused.refusal));
    let result = match refused {
        Some(_) => Outcome::Refused,
        None if is_passed(judged, part, stopped_at) => match part {
            Part::Revocation if !judged.input.scope.revocation().is_on() => Outcome::NotAsked,
            _ => Outcome::Ok,
        },
        None => Outcome::NotReached,
    };
    let notes = match (refused, result) {
        (Some(refused), _) => vec![refused.text.clone()],
        (None, Outcome::NotReached) => Vec::new(),
        (None, _) => passed_notes(judged, part),
    };
    let code = refused.map(|refused| refused.refusal.as_str());
    Check { check: part.as_str(), result, code, notes }
}

/// Whether a part that was not refused was passed.
fn is_passed(judged: &Judged<'_>, part: Part, stopped_at: Option<Part>) -> bool {
    let trail = judged.trail;
    let all_keys = trail.keys.len() == judged.input.chain.len();
    let found = trail.path.is_some();
    match part {
        Part::Certificate => true,
        Part::Count => trail.counted.is_some(),
        Part::Encoding => all_keys || stopped_at == Some(Part::Keys),
        Part::Keys => all_keys,
        Part::Validity => found || matches!(stopped_at, Some(Part::Purpose | Part::Path)),
        Part::Purpose => found || stopped_at == Some(Part::Path),
        Part::Path => found,
        Part::TrustDomain => trail.domain.is_some(),
        Part::Revocation => stopped_at.is_none(),
    }
}

fn passed_notes(judged: &Judged<'_>, part: Part) -> Vec<String> {
    let trail = judged.trail;
    let as_far = "as far as the search for a path came".to_owned();
    match part {
        Part::Certificate | Part::Encoding => Vec::new(),
        Part::Count => {
            let said = |(count, max)| format!("{count} presented; {max} are accepted");
            trail.counted.map(said).into_iter().collect()
        }
        Part::Keys => {
            let exempt = trail.keys.iter().enumerate().filter(|(_, is_anchors)| **is_anchors);
            let said = |(position, _)| format!("[{position}] is accepted as the key of an anchor");
            exempt.map(said).collect()
        }
        Part::Validity => match &trail.chain {
            Some(chain) => vec![format!(
                "the whole path, from {} to {}",
                shown_date(chain.not_before_unix_s),
                shown_date(chain.not_after_unix_s)
            )],
            None if trail.path.is_some() => Vec::new(),
            None => vec![as_far],
        },
        Part::Purpose if trail.path.is_some() => vec!["client authentication".to_owned()],
        Part::Purpose => vec![as_far],
        Part::Path => path_notes(judged),
        Part::TrustDomain => match (trail.domain.iter().flatten().next(), &trail.path) {
            (Some(domain), Some(path)) if path.bound_to.as_ref() == Some(domain) => {
                vec![format!("spiffe://{domain} is bound to this anchor")]
            }
            (Some(domain), _) => vec![format!("spiffe://{domain} is bound to no anchor")],
            (None, _) => vec!["the client has none that is bound to an anchor".to_owned()],
        },
        Part::Revocation if judged.input.scope.revocation().is_on() => Vec::new(),
        Part::Revocation => vec!["there is no client_crl".to_owned()],
    }
}

fn path_notes(judged: &Judged<'_>) -> Vec<String> {
    let Some(path) = &judged.trail.path else { return Vec::new() };
    let mut notes: Vec<String> = Vec::new();
    if judged.trail.paths_refused > 1 {
        notes.push(format!(
            "{} paths were found and refused; the last:",
            judged.trail.paths_refused
        ));
    }
    for der in &path.certificates {
        let label = Certificate::read(0, der, 0).label();
        let place = match judged.input.chain.iter().position(|presented| presented == der) {
            Some(position) => format!("[{position}]"),
            None => "of the configuration".to_owned(),
        };
        notes.push(format!("{label} {place}, issued by"));
    }
    notes.push(format!("{}, an anchor", path.anchor));
    notes
}

fn names_check(judged: &Judged<'_>) -> Check {
    let known = judged.outcome.and_then(|outcome| outcome.as_ref().ok());
    let (result, code, note) = match known.map(|known| &known.identity) {
        None => (Outcome::NotReached, None, None),
        Some(Ok(identity)) => (Outcome::Ok, None, Some(identity.label().to_owned())),
        Some(Err(error)) => (Outcome::Refused, Some("denied"), Some(error.to_string())),
    };
    Check { check: "names", result, code, notes: note.into_iter().collect() }
}

fn rules_check(judged: &Judged<'_>) -> Check {
    let is_unrestricted = judged.input.scope.rules().is_unrestricted();
    let (result, code, notes) = match judged.rules.map(|rules| rules.decision) {
        None => (Outcome::NotReached, None, Vec::new()),
        Some(Decision::Denied(denial)) => {
            (Outcome::Refused, Some(denial.as_str()), vec![denial.to_string()])
        }
        Some(Decision::Allowed) if is_unrestricted => {
            (Outcome::NotAsked, None, vec!["there is no allow and no deny".to_owned()])
        }
        Some(Decision::Allowed) => (Outcome::Ok, None, Vec::new()),
    };
    Check { check: "rules", result, code, notes }
}

/// Every pattern, those that deny first.
pub(super) fn rules(judged: &Judged<'_>) -> Vec<Rule> {
    let Some(rules) = judged.rules else { return Vec::new() };
    let denied = rules.denied.iter().map(|it| ("deny", it));
    let allowed = rules.allowed.iter().flatten().map(|it| ("allow", it));
    let rule = |(list, (pattern, matches)): (_, &(&crate::identity::Pattern, bool))| Rule {
        list,
        pattern: pattern.to_string(),
        matches: *matches,
    };
    denied.chain(allowed).map(rule).collect()
}

/// What the lists say of each certificate of the path.
pub(super) fn lookups(judged: &Judged<'_>) -> Vec<Lookup> {
    let Some(chain) = &judged.trail.chain else { return Vec::new() };
    let now = judged.input.at.unix_s();
    let consulted = judged.input.scope.revocation().consult(&chain.links, now);
    consulted.map(|consulted| lookup(&consulted, now)).collect()
}

fn lookup(consulted: &Consulted<'_>, now: i64) -> Lookup {
    let list = consulted.list;
    let answer = match consulted.answer {
        Err(Revoked::Revoked { .. }) => "revoked",
        Err(Revoked::Missing { .. }) => "missing",
        Err(Revoked::Stale { .. }) => "stale",
        Ok(_) => match list.filter(|list| list.has_begun(now)) {
            Some(list) if now >= list.next_update() => "good_past_next_update",
            Some(_) => "good",
            None => "missing_accepted",
        },
    };
    Lookup {
        position: consulted.position,
        list: list.map(|list| list.label().to_owned()),
        this_update: list.map(|list| shown_date(list.this_update())),
        next_update: list.map(|list| shown_date(list.next_update())),
        entries: list.map(|list| list.len()),
        answer,
        until: consulted.answer.ok().flatten().map(shown_date),
        revoked_at: match consulted.answer {
            Err(Revoked::Revoked { when, .. }) => Some(shown_date(when)),
            _ => None,
        },
    }
}
