//! Verdicts on chains, kept: a client that was seen before costs no path building.
//!
//! One cache for each worker, bounded, the least recently used goes first. A verdict is found by
//! the SHA-256 of the presented chain and of all that decided about it ([`Scope::trust`]), so a
//! verdict of other anchors or bounds cannot be met. Invariants: the time and the lists of
//! revocation are looked at each time; the proof that the client holds its key is never kept;
//! refusals are kept for [`REFUSAL_TTL_S`] only.

use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};

use aws_lc_rs::digest::{Context, SHA256};
use lru::LruCache;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::crl::{Revocation, Revoked};
use super::scope::{Hash, Scope};
use super::session::BoundClient;
use super::verify::{ClientVerifier, Refused, VerifiedChain, Witness, nobody};
use crate::identity::{Identity, IdentityError};
use crate::limits::{REFUSAL_TTL_S, REFUSALS_MAX};
use crate::planted::{Bug, planted};

/// What is known of a client whose chain was verified.
#[derive(Debug)]
pub struct Verdict {
    /// Under which it is kept: of the presented chain and of what decided about it.
    pub key: Hash,
    /// The chain, as far as it is judged again.
    pub chain: VerifiedChain,
    /// The bounds that the path was held to: [`Scope::bounds`].
    pub bounds: Hash,
    /// Who it is. An error is a certificate whose names cannot be read without doubt.
    pub identity: Result<Arc<Identity>, IdentityError>,
}

struct Refusal {
    refused: Refused,
    until: u64,
    /// The lists that it was found by: a handshake that began before others came may end after.
    lists: Weak<Revocation>,
}

/// The verdicts of one worker.
pub struct VerdictCache {
    accepted: LruCache<Hash, Arc<Verdict>>,
    refused: LruCache<Hash, Refusal>,
}

/// What became of a look into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The verdict was known.
    Hit,
    /// The chain was verified.
    Miss,
}

impl VerdictCache {
    /// A cache of so many verdicts; at least one.
    pub fn new(verdicts_max: usize) -> Self {
        let at_least_one = |max| NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN);
        Self {
            accepted: LruCache::new(at_least_one(verdicts_max)),
            refused: LruCache::new(at_least_one(REFUSALS_MAX)),
        }
    }

    /// Forgets the refusals: the clock that they were found by was set. What was accepted is under
    /// the digest of all that decided about it, and is looked at again each time.
    pub fn forget_refusals(&mut self) {
        self.refused.clear();
    }

    /// A verdict that is kept.
    pub fn get(&mut self, key: &Hash) -> Option<Arc<Verdict>> {
        self.accepted.get(key).map(Arc::clone)
    }

    /// Verdicts that are kept, and refusals.
    pub fn len(&self) -> (usize, usize) {
        (self.accepted.len(), self.refused.len())
    }

    /// The verdict on a presented chain, by `scope` at the time `now`.
    ///
    /// # Errors
    /// As [`ClientVerifier::verify`]; a chain that is revoked is refused too.
    pub fn judge(
        &mut self,
        scope: &Scope,
        verifier: &ClientVerifier,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> (Result<Arc<Verdict>, Refused>, Found) {
        let key = key_of(scope, leaf, intermediates);
        if let Some(known) = self.accepted.get(&key)
            && (planted(Bug::VerdictForever) || check_now(scope, &known.chain, now).is_ok())
        {
            return (Ok(Arc::clone(known)), Found::Hit);
        }
        if let Some(refusal) = self.refused.get(&key)
            // Nor for longer where the clock was set back.
            && (1..=REFUSAL_TTL_S).contains(&refusal.until.saturating_sub(now.as_secs()))
            && Weak::ptr_eq(&refusal.lists, &Arc::downgrade(scope.revocation()))
        {
            return (Err(refusal.refused.clone()), Found::Hit);
        }
        let judged =
            judge_as(key, scope, verifier, (leaf, intermediates), now, &nobody).map(Arc::new);
        match &judged {
            Ok(verdict) => {
                self.refused.pop(&key);
                self.accepted.put(key, Arc::clone(verdict));
            }
            Err(refused) => {
                self.accepted.pop(&key);
                let until = now.as_secs().saturating_add(REFUSAL_TTL_S);
                let lists = Arc::downgrade(scope.revocation());
                self.refused.put(key, Refusal { refused: refused.clone(), until, lists });
            }
        }
        (judged, Found::Miss)
    }
}

/// The verdict on a presented chain, by `scope` at the time `now`, without a cache.
///
/// # Errors
/// As [`ClientVerifier::verify`]; a chain that is revoked is refused too.
pub fn judge(
    scope: &Scope,
    verifier: &ClientVerifier,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<Verdict, Refused> {
    judge_witnessed(scope, verifier, leaf, intermediates, now, &nobody)
}

/// The same as [`judge`], told to `witness` step by step.
///
/// # Errors
/// As [`judge`].
pub fn judge_witnessed(
    scope: &Scope,
    verifier: &ClientVerifier,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    witness: Witness<'_>,
) -> Result<Verdict, Refused> {
    let key = key_of(scope, leaf, intermediates);
    judge_as(key, scope, verifier, (leaf, intermediates), now, witness)
}

/// The digest of the chain is known already.
fn judge_as(
    key: Hash,
    scope: &Scope,
    verifier: &ClientVerifier,
    (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    now: UnixTime,
    witness: Witness<'_>,
) -> Result<Verdict, Refused> {
    let now_unix_s = unix_s(now);
    let check = |chain: &VerifiedChain| {
        let lists = scope.revocation();
        lists.check(&chain.links, now_unix_s).map(drop).map_err(|revoked| {
            Refused::new(revoked.refusal(), lists.say(revoked, &chain.links, now_unix_s))
        })
    };
    let verified = verifier.verify_witnessed(leaf, intermediates, now, &check, witness);
    let chain = verified.map_err(|refused| {
        let presented: Vec<CertificateDer<'_>> =
            [leaf].into_iter().chain(intermediates).cloned().collect();
        match scope.nearest(refused.refusal, &presented) {
            // First, for what is beyond the bound of a detail is cut off.
            Some(hint) => Refused { text: format!("{hint}; {}", refused.text), ..refused },
            None => refused,
        }
    })?;
    let identity = Identity::from_der(leaf).map(Arc::new);
    Ok(Verdict { key, chain, bounds: *scope.bounds(), identity })
}

/// Whether a path that was in order is so now. Returns the last second since 1970 at which it is.
///
/// # Errors
/// It has expired, or one of its certificates was revoked, or may have been.
pub fn check_now(scope: &Scope, chain: &VerifiedChain, now: UnixTime) -> Result<i64, Lapsed> {
    let now_unix_s = unix_s(now);
    if now_unix_s > chain.not_after_unix_s {
        return Err(Lapsed::Expired);
    }
    if now_unix_s < chain.not_before_unix_s {
        return Err(Lapsed::NotYetValid);
    }
    let lists = scope.revocation().check(&chain.links, now_unix_s).map_err(Lapsed::Revocation)?;
    // What the lists say ends at a second, a certificate only after one.
    let lists = lists.map_or(i64::MAX, |ends| ends.saturating_sub(1));
    Ok(lists.min(chain.not_after_unix_s))
}

/// Why a path that was in order is so no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapsed {
    /// A certificate of it has expired.
    Expired,
    /// The clock was set back before the beginning of a certificate.
    NotYetValid,
    /// One was revoked, or no list says any more that it was not.
    Revocation(Revoked),
}

impl Verdict {
    /// What a session of this client is bound to.
    pub fn bound(&self) -> BoundClient {
        BoundClient { verdict: self.key, chain: self.chain.clone() }
    }
}

fn key_of(scope: &Scope, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Hash {
    let mut digest = Context::new(&SHA256);
    if !planted(Bug::VerdictOfAnyScope) {
        digest.update(scope.trust());
    }
    for certificate in [leaf].into_iter().chain(intermediates) {
        // DER says its own length, but what is no DER must not run into the next either.
        digest.update(&(certificate.len() as u64).to_be_bytes());
        digest.update(certificate);
    }
    let mut key = [0; 32];
    // invariant: the output of SHA-256 has 32 bytes.
    key.copy_from_slice(digest.finish().as_ref());
    key
}

/// Seconds since 1970, as certificates count them.
pub fn unix_s(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

impl std::fmt::Debug for VerdictCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerdictCache").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
