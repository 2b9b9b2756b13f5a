//! What one listener, or one server name of it, demands of its clients.
//!
//! A [`Scope`] is immutable and comes from the configuration. Invariant: two scopes have the same
//! [`Scope::hash`] exactly when they would decide alike about every client, revocation aside, which
//! is looked up each time; so what was decided in one may be kept for the other.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::crl::{IssuerId, Revocation};
use super::verify::{ClientAuth, ClientVerifier, vouches};
use crate::error::Refusal;
use crate::identity::{Candidate, Hint, nearest};
use crate::policy::Rules;

/// A SHA-256.
pub type Hash = [u8; 32];

/// What a [`Scope`] is made of.
#[derive(Debug)]
pub struct ScopeOptions {
    /// The listener, and the server name where it has demands of its own; part of the hash.
    pub name: Arc<str>,
    /// Verifies clients; `None` where they are not asked for a certificate.
    pub verifier: Option<Arc<ClientVerifier>>,
    /// Who may pass.
    pub rules: Rules,
    /// Which certificates were revoked.
    pub revocation: Arc<Revocation>,
}

/// See the module's description.
pub struct Scope {
    options: ScopeOptions,
    /// The anchors, in the order of their ids.
    anchors: Box<[(IssuerId, Option<Box<str>>)]>,
    bounds: Hash,
    trust: Hash,
    hash: Hash,
}

impl Scope {
    /// A scope with these demands.
    pub fn new(options: ScopeOptions) -> Self {
        let mut anchors: Vec<_> = options
            .verifier
            .iter()
            .flat_map(|verifier| verifier.options().anchors.ids())
            .map(|(id, domain)| (id, domain.map(Box::from)))
            .collect();
        anchors.sort_by(|(one, of), (two, and)| (one.as_bytes(), of).cmp(&(two.as_bytes(), and)));
        anchors.dedup();
        let bounds = hash_bounds(options.verifier.as_deref());
        let trust = hash_trust(&bounds, &anchors, options.verifier.as_deref());
        let hash = hash_scope(&options, &trust);
        Self { options, anchors: anchors.into_boxed_slice(), bounds, trust, hash }
    }

    /// The listener, and the server name where it has demands of its own.
    pub fn name(&self) -> &Arc<str> {
        &self.options.name
    }

    /// Whether a client must have a certificate.
    pub fn client_auth(&self) -> ClientAuth {
        self.verifier().map_or(ClientAuth::Off, |verifier| verifier.options().mode)
    }

    /// Verifies clients; `None` where they are not asked for a certificate.
    pub fn verifier(&self) -> Option<&Arc<ClientVerifier>> {
        self.options.verifier.as_ref()
    }

    /// Who may pass.
    pub fn rules(&self) -> &Rules {
        &self.options.rules
    }

    /// Which certificates were revoked.
    pub fn revocation(&self) -> &Arc<Revocation> {
        &self.options.revocation
    }

    /// Of what a path must fulfil besides leading to an anchor.
    pub fn bounds(&self) -> &Hash {
        &self.bounds
    }

    /// Of all that decides whether a chain is in order, lists of revocation and the time aside.
    pub fn trust(&self) -> &Hash {
        &self.trust
    }

    /// Of all that decides about a client, lists of revocation and the time aside.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    /// Why no path led from a refused chain to an anchor, as far as names and keys tell it; `None`
    /// where it was refused for another cause.
    pub fn nearest(&self, refusal: Refusal, chain: &[CertificateDer<'_>]) -> Option<Hint> {
        let anchors = &self.verifier()?.options().anchors;
        match refusal {
            Refusal::UnknownAnchor
            | Refusal::SelfSigned
            | Refusal::BadSignature
            | Refusal::CaAsLeaf => {
                let candidates: Vec<Candidate<'_>> = anchors.labelled().map(candidate).collect();
                nearest(chain, &candidates)
            }
            _ => None,
        }
    }

    /// Whether `anchor` is one of the anchors and may vouch for a client of this SPIFFE trust
    /// domain, or of none.
    pub fn has_anchor(&self, anchor: &IssuerId, domain: Option<&str>) -> bool {
        let is_bound = |name: &str| self.anchors.iter().any(|(_, it)| it.as_deref() == Some(name));
        let of_this = self.anchors.iter().filter(|(id, _)| id == anchor);
        of_this.into_iter().any(|(_, bound)| vouches(bound.as_deref(), domain, is_bound))
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("name", &self.options.name).finish_non_exhaustive()
    }
}

fn candidate<'a>((root, label): (&'a TrustAnchor<'static>, &'a str)) -> Candidate<'a> {
    Candidate { subject: &root.subject, spki: &root.subject_public_key_info, key_id: None, label }
}

/// A digest of parts, each with its length, so that no two lists of parts run together alike.
struct Digest(Context);

impl Digest {
    fn new(label: &str) -> Self {
        let mut digest = Self(Context::new(&SHA256));
        digest.part(label.as_bytes());
        digest
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn finish(self) -> Hash {
        let mut hash = [0; 32];
        // invariant: the output of SHA-256 has 32 bytes.
        hash.copy_from_slice(self.0.finish().as_ref());
        hash
    }
}

fn hash_bounds(verifier: Option<&ClientVerifier>) -> Hash {
    let mut digest = Digest::new("ringfort bounds 1");
    if let Some(verifier) = verifier {
        let options = verifier.options();
        digest.part(&(options.chain_certificates_max as u64).to_be_bytes());
        digest.part(&options.keys.rsa_bits_min.to_be_bytes());
        let mut types: Vec<&str> = options.keys.types.iter().map(|it| it.as_str()).collect();
        types.sort_unstable();
        types.dedup();
        digest.part(types.join(",").as_bytes());
        let mut schemes: Vec<u16> = verifier.schemes().iter().map(|it| u16::from(*it)).collect();
        schemes.sort_unstable();
        schemes.iter().for_each(|scheme| digest.part(&scheme.to_be_bytes()));
        // Of a certificate's signature: two backends may know different ones.
        for algorithm in verifier.chain_algorithms() {
            digest.part(algorithm.public_key_alg_id().as_ref());
            digest.part(algorithm.signature_alg_id().as_ref());
        }
    }
    digest.finish()
}

fn hash_trust(
    bounds: &Hash,
    anchors: &[(IssuerId, Option<Box<str>>)],
    verifier: Option<&ClientVerifier>,
) -> Hash {
    let mut digest = Digest::new("ringfort trust 1");
    digest.part(bounds);
    for (id, domain) in anchors {
        digest.part(id.as_bytes());
        digest.part(domain.as_deref().unwrap_or_default().as_bytes());
    }
    digest.part(&(anchors.len() as u64).to_be_bytes());
    let intermediates = verifier.map(|it| it.options().intermediates.as_slice());
    let mut intermediates: Vec<&[u8]> =
        intermediates.unwrap_or_default().iter().map(AsRef::as_ref).collect();
    intermediates.sort_unstable();
    intermediates.dedup();
    intermediates.iter().for_each(|der| digest.part(der));
    digest.finish()
}

fn hash_scope(options: &ScopeOptions, trust: &Hash) -> Hash {
    let mut digest = Digest::new("ringfort scope 1");
    digest.part(options.name.as_bytes());
    let mode = options.verifier.as_ref().map_or(ClientAuth::Off, |it| it.options().mode);
    digest.part(&[mode as u8]);
    digest.part(trust);
    options.rules.hash_into(&mut digest.0);
    digest.finish()
}

#[cfg(test)]
#[path = "scope_tests.rs"]
mod tests;
