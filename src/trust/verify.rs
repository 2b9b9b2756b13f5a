//! Verification of client certificates: a path to one of a listener's anchors, within its bounds.
//!
//! PURE: it must not know sockets, files, threads, the clock (the time is passed in), or which
//! clients a policy allows. webpki builds the path; what is cheap to refuse (chain length, key
//! type, key size) is refused before the first signature is checked, and each refusal has one
//! cause. What was verified comes out as [`VerifiedChain`]: all that later checks of the same
//! client need, and nothing that a chain may make large.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, RootCertStore, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::certificate::X509CertificateParser;
use x509_parser::nom::Parser;

use super::crl::{IssuerId, Link, Serial};
use crate::error::Refusal;
pub use crate::identity::KeyType;
use crate::identity::{Identity, PublicKey, name_from_der};
use crate::limits::CHAIN_CERTIFICATES_MAX;

mod error;
mod refused;
mod step;

pub use error::VerifierError;
use refused::{ChainRefused, outcome, refusal_of_certificate};
pub use refused::{Refused, refusal_of};
pub use step::{FoundPath, Step, Witness, nobody};

/// Whether a listener asks its clients for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// A client without a certificate is refused.
    Require,
    /// A client may have no certificate; one that it presents must be in order.
    Optional,
    /// Clients are not asked for a certificate.
    Off,
}

/// Which public keys a chain may have: those of the leaf and of all certificates presented with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRules {
    /// The accepted types.
    pub types: Vec<KeyType>,
    /// The smallest accepted RSA modulus, in bits. Where `types` lacks RSA it has no effect.
    pub rsa_bits_min: u32,
}

/// Sees when verification starts and ends; it may read a clock, which this module may not.
///
/// The calls of one connection come in order on the thread that drives the connection.
pub trait VerifyObserver: Send + Sync + fmt::Debug {
    /// The chain of a client is about to be verified.
    fn verification_started(&self);
    /// The chain was verified, or refused for the cause given.
    fn verification_finished(&self, outcome: Result<(), Refusal>);
    /// The CertificateVerify signature of a client (RFC 8446, 4.4.3) is about to be checked.
    fn signature_started(&self);
    /// The CertificateVerify signature was checked, or refused for the cause given.
    fn signature_finished(&self, outcome: Result<(), Refusal>);
}

/// The anchors of a listener, each with the SPIFFE trust domain that it is bound to, if any.
#[derive(Clone, Debug, Default)]
pub struct Anchors {
    roots: Vec<TrustAnchor<'static>>,
    ids: Vec<IssuerId>,
    domains: Vec<Option<Arc<str>>>,
    labels: Vec<Box<str>>,
}

impl Anchors {
    /// Takes the roots of a store, which vouch for every client but those of a bound trust domain.
    pub fn new(store: &RootCertStore) -> Self {
        let mut anchors = Self::default();
        anchors.add(store, None);
        anchors
    }

    /// Adds roots. Those of a `domain` vouch for SPIFFE IDs of that trust domain and for nobody
    /// else, and no other root vouches for these.
    pub fn add(&mut self, store: &RootCertStore, domain: Option<&Arc<str>>) {
        for root in &store.roots {
            self.ids.push(anchor_id(root));
            self.roots.push(root.clone());
            self.domains.push(domain.cloned());
            let name = DistinguishedName::in_sequence(&root.subject);
            let label = name_from_der(name.as_ref()).unwrap_or_else(|_| "an anchor".into());
            self.labels.push(label.into());
        }
    }

    /// Who they are, and which trust domain they are bound to.
    pub fn ids(&self) -> impl Iterator<Item = (IssuerId, Option<&str>)> {
        self.ids.iter().copied().zip(self.domains.iter().map(|domain| domain.as_deref()))
    }

    /// The roots, each with its subject as an RFC 4514 string.
    pub fn labelled(&self) -> impl Iterator<Item = (&TrustAnchor<'static>, &str)> {
        self.roots.iter().zip(self.labels.iter().map(|label| &**label))
    }

    /// The roots, as webpki takes them.
    pub fn roots(&self) -> &[TrustAnchor<'static>] {
        &self.roots
    }

    fn has_domains(&self) -> bool {
        self.domains.iter().any(Option::is_some)
    }

    /// Whether the anchor at `index` may vouch for a client of this trust domain, or of none.
    fn vouches(&self, index: usize, client: Option<&str>) -> bool {
        let is_bound = |domain: &str| self.domains.iter().flatten().any(|it| **it == *domain);
        vouches(self.domains[index].as_deref(), client, is_bound)
    }
}

/// Whether an anchor that is `bound` to a trust domain, or to none, may vouch for a client of a
/// trust domain, or of none.
pub(super) fn vouches(
    bound: Option<&str>,
    client: Option<&str>,
    is_bound: impl Fn(&str) -> bool,
) -> bool {
    match bound {
        Some(bound) => client == Some(bound),
        None => !client.is_some_and(is_bound),
    }
}

/// What a [`ClientVerifier`] is made of.
#[derive(Clone, Debug)]
pub struct VerifierOptions {
    /// Where paths end.
    pub anchors: Anchors,
    /// Intermediates that clients need not present.
    pub intermediates: Vec<CertificateDer<'static>>,
    /// Require or Optional.
    pub mode: ClientAuth,
    /// Certificates that a client may present, its own included; 1 to `CHAIN_CERTIFICATES_MAX`.
    pub chain_certificates_max: usize,
    /// The keys that these may have.
    pub keys: KeyRules,
    /// The signature schemes of the chain and of the CertificateVerify; `None`: all that the
    /// provider knows.
    pub schemes: Option<Vec<SignatureScheme>>,
    /// Whether the names of the anchors are sent to clients.
    pub send_names: bool,
    /// What verifies signatures.
    pub provider: Arc<CryptoProvider>,
}

impl VerifierOptions {
    /// Options with the bounds that the configuration has by default.
    pub fn new(anchors: Anchors, mode: ClientAuth, provider: Arc<CryptoProvider>) -> Self {
        Self {
            anchors,
            intermediates: Vec::new(),
            mode,
            chain_certificates_max: crate::limits::CHAIN_CERTIFICATES_MAX_DEFAULT,
            keys: KeyRules {
                types: KeyType::ALL.to_vec(),
                rsa_bits_min: crate::limits::RSA_BITS_MIN_DEFAULT,
            },
            schemes: None,
            send_names: true,
            provider,
        }
    }
}

/// What there is to know of a verified chain: enough to judge it again at any later time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    /// First second at which every certificate of the path is valid, in seconds since 1970.
    pub not_before_unix_s: i64,
    /// Last second at which every certificate of the path is valid, in seconds since 1970.
    pub not_after_unix_s: i64,
    /// The anchor.
    pub anchor: IssuerId,
    /// Issuer and serial of every certificate of the path, the leaf first; the anchor is none.
    pub links: Box<[Link]>,
}

/// Refuses a path for a cause of its own; another path may still be found.
pub type PathCheck<'a> = &'a dyn Fn(&VerifiedChain) -> Result<(), Refused>;

/// The verifier of client certificates of one listener.
#[derive(Debug)]
pub struct ClientVerifier {
    options: VerifierOptions,
    chain_algorithms: Vec<&'static dyn SignatureVerificationAlgorithm>,
    schemes: Vec<SignatureScheme>,
    names: Vec<DistinguishedName>,
    observer: Option<Arc<dyn VerifyObserver>>,
}

impl ClientVerifier {
    /// A verifier that accepts chains to the anchors of `options`.
    ///
    /// # Errors
    ///
    /// A [`VerifierError`] where no client could be verified with these settings.
    pub fn new(options: VerifierOptions) -> Result<Self, VerifierError> {
        if options.anchors.roots.is_empty() {
            return Err(VerifierError::NoAnchors);
        }
        if options.keys.types.is_empty() {
            return Err(VerifierError::NoKeyTypes);
        }
        if !(1..=CHAIN_CERTIFICATES_MAX).contains(&options.chain_certificates_max) {
            return Err(VerifierError::ChainBound(options.chain_certificates_max));
        }
        if options.mode == ClientAuth::Off {
            return Err(VerifierError::Off);
        }
        let known = options.provider.signature_verification_algorithms;
        let (schemes, chain_algorithms) = accepted(&known, options.schemes.as_deref());
        if schemes.is_empty() {
            return Err(VerifierError::NoSchemes);
        }
        let names = if options.send_names { names(&options.anchors) } else { Vec::new() };
        Ok(Self { options, chain_algorithms, schemes, names, observer: None })
    }

    /// The same verifier, which tells `observer` when it works.
    #[must_use]
    pub fn observed(self, observer: Arc<dyn VerifyObserver>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// What it was made of.
    pub fn options(&self) -> &VerifierOptions {
        &self.options
    }

    /// Finds a path from `leaf` to an anchor that `check` accepts too.
    ///
    /// # Errors
    ///
    /// The one cause for which the chain is refused.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        check: PathCheck<'_>,
    ) -> Result<VerifiedChain, Refused> {
        self.verify_witnessed(leaf, intermediates, now, check, &nobody)
    }

    /// The same, told to `witness` step by step.
    ///
    /// # Errors
    ///
    /// As [`Self::verify`].
    pub fn verify_witnessed(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        check: PathCheck<'_>,
        witness: Witness<'_>,
    ) -> Result<VerifiedChain, Refused> {
        let Some(observer) = &self.observer else {
            return self.verify_chain(leaf, intermediates, now, check, witness);
        };
        observer.verification_started();
        let result = self.verify_chain(leaf, intermediates, now, check, witness);
        observer.verification_finished(result.as_ref().map(|_| ()).map_err(|it| it.refusal));
        result
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        check: PathCheck<'_>,
        witness: Witness<'_>,
    ) -> Result<VerifiedChain, Refused> {
        let certificates = intermediates.len() + 1;
        let certificates_max = self.options.chain_certificates_max;
        if certificates > certificates_max {
            let too_long = ChainRefused::TooLong { certificates, certificates_max };
            return Err(Error::from(too_long).into());
        }
        witness(Step::Counted { certificates, certificates_max });
        for (position, certificate) in [leaf].into_iter().chain(intermediates).enumerate() {
            let is_anchors = self.check_key(certificate, position)?;
            witness(Step::KeyAccepted { position, is_anchors });
        }
        let domain = self.trust_domain(leaf);
        let mine = &self.options.intermediates;
        let borrowed = |der| CertificateDer::from(AsRef::<[u8]>::as_ref(der));
        let all: Vec<CertificateDer<'_>> =
            intermediates.iter().map(borrowed).chain(mine.iter().map(borrowed)).collect();
        let leaf_certificate = EndEntityCert::try_from(leaf).map_err(refused::from_webpki)?;
        // Of the last path that led to an anchor: a refusal says more than webpki, and what was
        // accepted here is what webpki returns.
        let judged: RefCell<Option<Result<VerifiedChain, Refused>>> = RefCell::new(None);
        let verify_path = |path: &VerifiedPath<'_>| {
            let result = self.judge(path, domain.as_deref(), check, witness);
            let is_accepted = result.is_ok();
            if !is_accepted {
                witness(Step::PathRefused);
            }
            *judged.borrow_mut() = Some(result);
            if is_accepted { Ok(()) } else { Err(webpki::Error::CertRevoked) }
        };
        let path = leaf_certificate.verify_for_usage(
            &self.chain_algorithms,
            &self.options.anchors.roots,
            &all,
            now,
            KeyUsage::client_auth(),
            None,
            Some(&verify_path),
        );
        match (path, judged.take()) {
            (Ok(_), Some(Ok(chain))) => Ok(chain),
            // Not described yet: nobody was asked about it.
            (Ok(path), _) => self.judge(&path, domain.as_deref(), check, witness),
            (Err(_), Some(Err(refused))) => Err(refused),
            (Err(error), _) => Err(self.explain(refused::from_webpki(error), leaf).into()),
        }
    }

    /// The trust domain of the leaf's SPIFFE ID, where that matters.
    fn trust_domain(&self, leaf: &CertificateDer<'_>) -> Option<String> {
        if !self.options.anchors.has_domains() {
            return None;
        }
        let identity = Identity::from_der(leaf).ok()?;
        identity.spiffe_id().map(|id| id.trust_domain().to_owned())
    }

    fn judge(
        &self,
        path: &VerifiedPath<'_>,
        domain: Option<&str>,
        check: PathCheck<'_>,
        witness: Witness<'_>,
    ) -> Result<VerifiedChain, Refused> {
        let anchors = &self.options.anchors;
        // webpki lends the anchor from the slice that it was given.
        let index = anchors.roots.iter().position(|root| std::ptr::eq(root, path.anchor()));
        witness(Step::PathFound(FoundPath::new(path, anchors, index)));
        if !index.is_some_and(|index| anchors.vouches(index, domain)) {
            return Err(Refused::new(
                Refusal::TrustDomainMismatch,
                match domain {
                    Some(domain) => format!("this anchor does not vouch for spiffe://{domain}"),
                    None => "this anchor vouches only for SPIFFE IDs of its trust domain".into(),
                },
            ));
        }
        witness(Step::DomainAccepted { domain });
        let chain = self.describe(path)?;
        witness(Step::Described(&chain));
        check(&chain)?;
        Ok(chain)
    }

    fn describe(&self, path: &VerifiedPath<'_>) -> Result<VerifiedChain, Refused> {
        let anchor = IssuerId::of_anchor(path.anchor());
        let issuers = path
            .intermediate_certificates()
            .map(|issuer| issuer_id(issuer.subject(), &issuer.subject_public_key_info()))
            .chain([anchor]);
        let leaf: &webpki::Cert<'_> = path.end_entity();
        let certificates = [leaf].into_iter().chain(path.intermediate_certificates());
        let mut chain = VerifiedChain {
            not_before_unix_s: i64::MIN,
            not_after_unix_s: i64::MAX,
            anchor: anchor_id(path.anchor()),
            links: Box::default(),
        };
        let mut links = Vec::with_capacity(CHAIN_CERTIFICATES_MAX);
        for (certificate, issuer) in certificates.zip(issuers) {
            let der = certificate.der();
            let parsed = X509CertificateParser::new().with_deep_parse_extensions(false).parse(&der);
            let serial = Serial::from_der_integer_content(certificate.serial());
            // What webpki accepted may still be beyond what a CRL can name (RFC 5280, 4.1.2.2).
            let (Ok((_, parsed)), Some(serial)) = (parsed, serial) else {
                let text = "a certificate of the path has a serial number that is not a positive \
                            integer of up to 20 bytes";
                return Err(Refused::new(Refusal::Malformed, text.into()));
            };
            let validity = &parsed.validity;
            chain.not_before_unix_s = chain.not_before_unix_s.max(validity.not_before.timestamp());
            chain.not_after_unix_s = chain.not_after_unix_s.min(validity.not_after.timestamp());
            links.push(Link { issuer, serial });
        }
        chain.links = links.into_boxed_slice();
        Ok(chain)
    }

    /// Whether the key is accepted only because it is an anchor's.
    fn check_key(&self, certificate: &CertificateDer<'_>, position: usize) -> Result<bool, Error> {
        let spki = subject_public_key_info(certificate)?;
        let keys = &self.options.keys;
        let key = PublicKey::from_spki_der(&spki);
        let refused = match key {
            Some(key) if !keys.types.contains(&key.key_type) => {
                ChainRefused::KeyType { position, found: Some(key.key_type) }
            }
            None => ChainRefused::KeyType { position, found: None },
            Some(key) if key.key_type == KeyType::Rsa && key.bits < keys.rsa_bits_min => {
                ChainRefused::KeyTooSmall { position, bits: key.bits, bits_min: keys.rsa_bits_min }
            }
            Some(_) => return Ok(false),
        };
        // Many clients send their root along. The operator chose it as an anchor, key and all.
        if position > 0 && self.is_anchor_key(&spki) {
            return Ok(true);
        }
        Err(refused.into())
    }

    fn is_anchor_key(&self, spki: &[u8]) -> bool {
        self.options
            .anchors
            .roots
            .iter()
            .any(|anchor| webpki::spki_for_anchor(anchor).as_ref() == spki)
    }

    /// Tells apart what rustls reports alike.
    fn explain(&self, error: Error, leaf: &CertificateDer<'_>) -> Error {
        let Error::InvalidCertificate(cause) = &error else {
            return error;
        };
        match refusal_of_certificate(cause) {
            // As the chain's, so that rustls' own BadSignature is left for the CertificateVerify.
            Refusal::KeyNotProven => ChainRefused::Signature.into(),
            // What `openssl req -x509` makes is self-signed and an authority.
            Refusal::UnknownAnchor | Refusal::CaAsLeaf if self.is_self_signed(leaf) => {
                ChainRefused::SelfSigned.into()
            }
            _ => error,
        }
    }

    /// Whether `leaf` names itself as its issuer and has the key of no anchor.
    fn is_self_signed(&self, leaf: &CertificateDer<'_>) -> bool {
        let parsed = X509CertificateParser::new().with_deep_parse_extensions(false).parse(leaf);
        parsed.is_ok_and(|(_, leaf)| {
            leaf.subject.as_raw() == leaf.issuer.as_raw()
                && !self.is_anchor_key(leaf.subject_pki.raw)
        })
    }

    /// Subjects of the anchors, as hints for clients; none where they are not sent.
    pub fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    /// The signatures that certificates of a chain may have.
    pub fn chain_algorithms(&self) -> &[&'static dyn SignatureVerificationAlgorithm] {
        &self.chain_algorithms
    }

    /// The signature schemes that a client may sign with.
    pub fn schemes(&self) -> &[SignatureScheme] {
        &self.schemes
    }

    /// Checks the CertificateVerify of TLS 1.3 (RFC 8446, 4.4.3) or TLS 1.2 (RFC 5246, 7.4.8).
    ///
    /// # Errors
    ///
    /// The signature is wrong, or of a scheme that is not accepted.
    pub fn verify_signature(
        &self,
        version: SignatureVersion,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let check = || {
            if !self.schemes.contains(&signed.scheme) {
                return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
            }
            let known = &self.options.provider.signature_verification_algorithms;
            match version {
                SignatureVersion::Tls12 => {
                    verify_tls12_signature(message, certificate, signed, known)
                }
                SignatureVersion::Tls13 => {
                    verify_tls13_signature(message, certificate, signed, known)
                }
            }
        };
        let Some(observer) = &self.observer else {
            return check();
        };
        observer.signature_started();
        let result = check();
        observer.signature_finished(outcome(&result));
        result
    }
}

/// By which protocol version a CertificateVerify is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Of the provider's schemes those that are wanted, and the algorithms of certificates for them.
fn accepted(
    known: &WebPkiSupportedAlgorithms,
    wanted: Option<&[SignatureScheme]>,
) -> (Vec<SignatureScheme>, Vec<&'static dyn SignatureVerificationAlgorithm>) {
    let Some(wanted) = wanted else {
        return (known.supported_schemes(), known.all.to_vec());
    };
    let chosen: Vec<_> =
        known.mapping.iter().filter(|(scheme, _)| wanted.contains(scheme)).collect();
    let schemes = chosen.iter().map(|(scheme, _)| *scheme).collect();
    (schemes, chosen.iter().flat_map(|(_, algorithms)| algorithms.iter().copied()).collect())
}

fn names(anchors: &Anchors) -> Vec<DistinguishedName> {
    let mut names: Vec<DistinguishedName> = Vec::with_capacity(anchors.roots.len());
    for root in &anchors.roots {
        let name = DistinguishedName::in_sequence(&root.subject);
        // A root with a new key has its old name.
        if !names.iter().any(|known| known.as_ref() == name.as_ref()) {
            names.push(name);
        }
    }
    names
}

fn subject_public_key_info(
    certificate: &CertificateDer<'_>,
) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let parsed = EndEntityCert::try_from(certificate).map_err(refused::from_webpki)?;
    Ok(parsed.subject_public_key_info())
}

/// Who an anchor is. One of a known name and key that may vouch for other names is another anchor:
/// what was found in order below the one may not be below the other.
fn anchor_id(anchor: &TrustAnchor<'_>) -> IssuerId {
    let id = IssuerId::of_anchor(anchor);
    match &anchor.name_constraints {
        Some(constraints) => IssuerId::new(id.as_bytes(), constraints),
        None => id,
    }
}

/// `name` is the content of the Name's SEQUENCE, as webpki has it.
fn issuer_id(name: &[u8], spki: &[u8]) -> IssuerId {
    IssuerId::new(DistinguishedName::in_sequence(name).as_ref(), spki)
}

/// No further condition on a path.
pub fn any_path(_: &VerifiedChain) -> Result<(), Refused> {
    Ok(())
}

const _: fn() = || {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<ClientVerifier>();
};

#[cfg(test)]
mod tests;
