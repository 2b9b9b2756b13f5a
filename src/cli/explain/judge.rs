//! One client, judged in the order in which a connection is: chain, names, rules, lease.
//!
//! The decisions are those of `trust` and `policy`; this calls them as `proxy::connection` does and
//! writes down what they say.

use std::fmt::Display;

use rustls::pki_types::CertificateDer;

use super::checks::{self, Judged};
use super::facts::{Certificate, shown_date};
use super::input::Input;
use super::page::{self, Row};
use super::report::{Path, PathLink, Report, Verdict};
use super::trail::{self, Trail};
use crate::error::{CloseKind, Refusal};
use crate::limits::EXPLAIN_CERTIFICATES_MAX;
use crate::log::bounded_detail;
use crate::policy::{Decision, explain};
use crate::tls::names::alert_name;
use crate::trust::lease;
use crate::trust::verdict::Verdict as Known;
use crate::trust::verify::{ClientAuth, ClientVerifier, refusal_of};

/// Judges, and tells what it came to.
pub(super) fn judge(input: &Input) -> Report {
    match (input.scope.verifier(), input.chain.split_first()) {
        (Some(verifier), Some((leaf, rest))) => with_certificate(input, verifier, leaf, rest),
        _ => without_certificate(input),
    }
}

fn with_certificate(
    input: &Input,
    verifier: &ClientVerifier,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Report {
    let (outcome, trail) = trail::judge(input, verifier, leaf, intermediates);
    let identity = outcome.as_ref().ok().and_then(|known| known.identity.as_deref().ok());
    let rules = identity.map(|identity| explain(input.scope.rules(), Some(identity)));
    let verdict = match (&outcome, &rules) {
        (Err(refused), _) => refused_chain(refused.refusal, refused),
        (Ok(Known { identity: Err(error), .. }), _) => denied(None, error),
        (Ok(known), Some(rules)) => match rules.decision {
            Decision::Denied(denial) => denied(Some(denial.as_str()), &denial),
            Decision::Allowed => admitted(input, Some(known), &trail),
        },
        // invariant: an identity that could be read has rules applied to it.
        (Ok(_), None) => refused_chain(Refusal::Other, "the names were not judged"),
    };
    let judged = Judged { input, outcome: Some(&outcome), trail: &trail, rules: rules.as_ref() };
    report(&judged, verdict)
}

/// A client that presents none, or is not asked for what it has.
fn without_certificate(input: &Input) -> Report {
    let trail = Trail::default();
    if input.scope.client_auth() == ClientAuth::Require {
        // What rustls says where `Visit::client_auth_mandatory`, and what becomes of it.
        let error = rustls::Error::NoCertificatesPresented;
        let refusal = refusal_of(&error).unwrap_or(Refusal::Other);
        let judged = Judged { input, outcome: None, trail: &trail, rules: None };
        return report(&judged, refused_chain(refusal, error));
    }
    let rules = explain(input.scope.rules(), None);
    let verdict = match rules.decision {
        Decision::Denied(denial) => denied(Some(denial.as_str()), &denial),
        Decision::Allowed => admitted(input, None, &trail),
    };
    let judged = Judged { input, outcome: None, trail: &trail, rules: Some(&rules) };
    report(&judged, verdict)
}

fn report(judged: &Judged<'_>, verdict: Verdict) -> Report {
    let Judged { input, trail, .. } = judged;
    let at = input.at.unix_s();
    let shown = input.chain.iter().take(EXPLAIN_CERTIFICATES_MAX).enumerate();
    Report {
        listener: input.listener.name.to_string(),
        demands: input.scope.name().to_string(),
        server_name: input.server_name.clone(),
        client_auth: match input.scope.client_auth() {
            ClientAuth::Require => "require",
            ClientAuth::Optional => "optional",
            ClientAuth::Off => "off",
        },
        at: shown_date(at),
        presented: input.chain.len(),
        certificates: shown.map(|(index, der)| Certificate::read(index, der, at)).collect(),
        path: trail.path.as_ref().map(|path| path_of(input, path)),
        checks: checks::all(judged, &verdict),
        revocation: checks::lookups(judged),
        rules: checks::rules(judged),
        verdict,
    }
}

fn path_of(input: &Input, path: &trail::Path) -> Path {
    let link = |der: &CertificateDer<'static>| {
        let read = Certificate::read(0, der, input.at.unix_s());
        PathLink {
            subject: read.label(),
            serial: read.serial,
            not_after: read.not_after,
            presented: input.chain.iter().position(|presented| presented == der),
        }
    };
    Path {
        certificates: path.certificates.iter().map(link).collect(),
        anchor: path.anchor.clone(),
        trust_domain: path.bound_to.clone(),
    }
}

/// Who has passed everything: until when it may stay, as its lease would say.
fn admitted(input: &Input, known: Option<&Known>, trail: &Trail) -> Verdict {
    let lease = match lease::check(&input.scope, known, input.at.unix_time()) {
        Ok(until) => until,
        Err(kind) => return ended(kind, page::lapse(kind.as_str()), kind.as_str()),
    };
    let age_max = input.listener.connection_age_max.map(|age| {
        let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        input.at.unix_s().saturating_add(age)
    });
    let until = [lease, age_max].into_iter().flatten().min();
    let path = trail.chain.as_ref().map(|chain| chain.not_after_unix_s);
    let because = |until| match until {
        until if Some(until) == age_max && Some(until) != lease => "connection_age_max",
        until if Some(until) == path => "path",
        _ => "revocation",
    };
    Verdict {
        allowed: true,
        until: until.map(shown_date),
        until_because: until.map(because),
        ..Verdict::default()
    }
}

fn refused_chain(refusal: Refusal, detail: impl Display) -> Verdict {
    let kind = CloseKind::CertificateRefused(refusal);
    let verdict = ended(kind, page::refusal(refusal.as_str()), detail);
    Verdict { refusal: Some(refusal.as_str()), ..verdict }
}

/// `code` is that of the rules; `None`: no rule could be applied.
fn denied(code: Option<&'static str>, detail: &dyn Display) -> Verdict {
    let row = match code {
        Some(code) => page::denial(code),
        None => Some(Row {
            cause: "a client whose names cannot be read without doubt has no identity that a rule \
                    could be applied to",
            cure: "issue its certificate anew, with names that are well-formed; the detail says \
                   which is not",
        }),
    };
    Verdict { denied: code, ..ended(CloseKind::Denied, row, detail) }
}

fn ended(kind: CloseKind, page: Option<Row>, detail: impl Display) -> Verdict {
    Verdict {
        close_reason: Some(kind.as_str()),
        detail: Some(bounded_detail(detail)),
        alert: kind.alert().and_then(alert_name),
        page,
        ..Verdict::default()
    }
}
