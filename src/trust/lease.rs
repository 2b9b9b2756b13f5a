//! Whether a client that was let in may stay, judged as a new handshake would judge it now.
//!
//! PURE: the time is passed in. It must not know connections. Invariant: where this cannot tell
//! that a new handshake would let the client in, the client goes. One thing is not looked at: an
//! intermediate that the configuration had and has no more, which the client may present itself.

use rustls::pki_types::UnixTime;

use super::crl::Revoked;
use super::scope::Scope;
use super::verdict::{Lapsed, Verdict, check_now, unix_s};
use super::verify::ClientAuth;
use crate::error::CloseKind;
use crate::policy::{Decision, decide};

/// The last second since 1970 at which the client may stay; `None` where time alone does not end
/// it.
///
/// # Errors
/// It may not: [`CloseKind::Revoked`], [`CloseKind::CertificateExpired`],
/// [`CloseKind::RevocationUnknown`] or [`CloseKind::NoLongerAllowed`].
pub fn check(
    scope: &Scope,
    client: Option<&Verdict>,
    now: UnixTime,
) -> Result<Option<i64>, CloseKind> {
    let (Some(verdict), Some(_)) = (client, scope.verifier()) else {
        return match (scope.client_auth(), decide(scope.rules(), None)) {
            (ClientAuth::Optional | ClientAuth::Off, Decision::Allowed) => Ok(None),
            _ => Err(CloseKind::NoLongerAllowed),
        };
    };
    let until = check_now(scope, &verdict.chain, now).map_err(|lapsed| match lapsed {
        Lapsed::Expired | Lapsed::NotYetValid => CloseKind::CertificateExpired,
        Lapsed::Revocation(Revoked::Revoked { .. }) => CloseKind::Revoked,
        Lapsed::Revocation(_) => CloseKind::RevocationUnknown,
    })?;
    let Ok(identity) = &verdict.identity else {
        return Err(CloseKind::NoLongerAllowed);
    };
    let domain = identity.spiffe_id().map(|id| id.trust_domain());
    let is_allowed = verdict.bounds == *scope.bounds()
        && scope.has_anchor(&verdict.chain.anchor, domain)
        && decide(scope.rules(), Some(identity)) == Decision::Allowed;
    if is_allowed { Ok(Some(until)) } else { Err(CloseKind::NoLongerAllowed) }
}

/// What there is to say, for the log, about a client that may not stay; `None` where it may.
pub fn say(scope: &Scope, client: Option<&Verdict>, now: UnixTime) -> Option<String> {
    check(scope, client, now).err()?;
    Some(why(scope, client, now))
}

fn why(scope: &Scope, client: Option<&Verdict>, now: UnixTime) -> String {
    let (Some(verdict), Some(_)) = (client, scope.verifier()) else {
        return match decide(scope.rules(), None) {
            Decision::Denied(denial) => denial.to_string(),
            Decision::Allowed => "the listener requires a certificate now".into(),
        };
    };
    match check_now(scope, &verdict.chain, now) {
        Err(Lapsed::Revocation(revoked)) => {
            return scope.revocation().say(revoked, &verdict.chain.links, unix_s(now));
        }
        Err(Lapsed::Expired) => return "a certificate of the client's chain has expired".into(),
        Err(Lapsed::NotYetValid) => {
            return "the clock was set back before a certificate of the client's chain".into();
        }
        Ok(_) => {}
    }
    let identity = verdict.identity.as_deref().ok();
    let domain = identity.and_then(|identity| identity.spiffe_id()).map(|id| id.trust_domain());
    if let Decision::Denied(denial) = decide(scope.rules(), identity) {
        denial.to_string()
    } else if !scope.has_anchor(&verdict.chain.anchor, domain) {
        "the root of the client's chain does not vouch for it any more".into()
    } else {
        "the bounds of clients' chains have changed since it was let in".into()
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
