//! What a TLS session is bound to: all that was authorised when it began.
//!
//! rustls resumes a session for whoever has its secret; a [`Binding`] goes with it and says whether
//! it still may. PURE: the time is passed in. Invariant: a session is resumed only where a full
//! handshake of the same client, now, in the same scope, would lead to the same decision.

use rustls::pki_types::UnixTime;

use super::crl::{IssuerId, Link, Serial};
use super::scope::{Hash, Scope};
use super::verdict::{Lapsed, check_now, unix_s};
use super::verify::VerifiedChain;
use crate::limits::{SERIAL_BYTES_MAX, SESSION_SKEW_S_MAX};
use crate::planted::{Bug, planted};

/// The first byte of the encoding; another encoding gets another number.
const ENCODING: u8 = 1;
const LINK_BYTES: usize = 32 + SERIAL_BYTES_MAX;

/// What a session was authorised as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// [`Scope::hash`]: listener, server name, mode, anchors, bounds and rules.
    pub scope: Hash,
    /// When the full handshake was, in seconds since 1970. Renewals keep it.
    pub authenticated_unix_s: i64,
    /// The client; `None`: it had no certificate.
    pub client: Option<BoundClient>,
}

/// The client of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundClient {
    /// Under which its verdict is kept: [`Verdict::key`](super::verdict::Verdict::key).
    pub verdict: Hash,
    /// Its chain.
    pub chain: VerifiedChain,
}

/// Why a session is not resumed; a full handshake follows, and decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// It is not known here, was used before, or its ticket is not one of ours (any more).
    Unknown,
    /// It was authorised by other demands: another listener or server name, or these have changed.
    Scope,
    /// The full handshake is too long ago, or in the future.
    Age,
    /// The client's chain is not in order any more.
    Lapsed(Lapsed),
}

impl Declined {
    /// The stable code in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Scope => "demands_changed",
            Self::Age => "too_old",
            Self::Lapsed(Lapsed::Expired) => "expired",
            Self::Lapsed(Lapsed::NotYetValid) => "not_yet_valid",
            Self::Lapsed(Lapsed::Revocation(revoked)) => revoked.refusal().as_str(),
        }
    }
}

impl Binding {
    /// Whether the session may be resumed by `scope` at the time `now`, `age_max_s` seconds after
    /// its full handshake at the most.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, scope: &Scope, age_max_s: u32, now: UnixTime) -> Result<(), Declined> {
        if self.scope != *scope.hash() {
            return Err(Declined::Scope);
        }
        let age = unix_s(now).saturating_sub(self.authenticated_unix_s);
        // Of another gateway, whose clock may be a little ahead.
        if !(-SESSION_SKEW_S_MAX..=i64::from(age_max_s)).contains(&age) {
            return Err(Declined::Age);
        }
        match &self.client {
            Some(client) => match check_now(scope, &client.chain, now) {
                Err(Lapsed::Revocation(_)) if planted(Bug::ResumeRevoked) => Ok(()),
                checked => checked.map(drop).map_err(Declined::Lapsed),
            },
            None => Ok(()),
        }
    }

    /// Appends the encoding to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(ENCODING);
        out.extend_from_slice(&self.scope);
        out.extend_from_slice(&self.authenticated_unix_s.to_be_bytes());
        let Some(BoundClient { verdict, chain }) = &self.client else {
            out.push(0);
            return;
        };
        // invariant: a path has at most 17 certificates; more would not decode, and so not resume.
        out.push(u8::try_from(chain.links.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(verdict);
        out.extend_from_slice(&chain.not_before_unix_s.to_be_bytes());
        out.extend_from_slice(&chain.not_after_unix_s.to_be_bytes());
        out.extend_from_slice(chain.anchor.as_bytes());
        for link in &chain.links {
            out.extend_from_slice(link.issuer.as_bytes());
            out.extend_from_slice(link.serial.as_bytes());
        }
    }

    /// Reads an encoding from the front of `bytes`; returns what follows it.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (encoding, rest) = bytes.split_first()?;
        if *encoding != ENCODING {
            return None;
        }
        let (scope, rest) = rest.split_first_chunk::<32>()?;
        let (authenticated, rest) = rest.split_first_chunk::<8>()?;
        let (links, rest) = rest.split_first()?;
        let (client, rest) = match usize::from(*links) {
            0 => (None, rest),
            links => {
                let (client, rest) = decode_client(links, rest)?;
                (Some(client), rest)
            }
        };
        let authenticated_unix_s = i64::from_be_bytes(*authenticated);
        Some((Self { scope: *scope, authenticated_unix_s, client }, rest))
    }
}

fn decode_client(links: usize, rest: &[u8]) -> Option<(BoundClient, &[u8])> {
    let (verdict, rest) = rest.split_first_chunk::<32>()?;
    let (not_before, rest) = rest.split_first_chunk::<8>()?;
    let (not_after, rest) = rest.split_first_chunk::<8>()?;
    let (anchor, rest) = rest.split_first_chunk::<32>()?;
    let (encoded, rest) = rest.split_at_checked(links.checked_mul(LINK_BYTES)?)?;
    let links = encoded
        .chunks_exact(LINK_BYTES)
        .map(|link| {
            let (issuer, serial) = link.split_first_chunk::<32>()?;
            let issuer = IssuerId::from_bytes(*issuer);
            Some(Link { issuer, serial: Serial::from_bytes(serial.try_into().ok()?) })
        })
        .collect::<Option<Box<[Link]>>>()?;
    let chain = VerifiedChain {
        not_before_unix_s: i64::from_be_bytes(*not_before),
        not_after_unix_s: i64::from_be_bytes(*not_after),
        anchor: IssuerId::from_bytes(*anchor),
        links,
    };
    Some((BoundClient { verdict: *verdict, chain }, rest))
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
