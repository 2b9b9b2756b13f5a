//! For the tests of this room: an authority, its clients, and scopes that trust it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams,
};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use super::crl::{CrlCheck, Missing, Revocation, RevocationList, Stale};
use super::scope::{Scope, ScopeOptions};
use super::verify::{Anchors, ClientAuth, ClientVerifier, VerifierOptions, VerifyObserver};
use crate::error::Refusal;
use crate::policy::Rules;

/// The middle of the validity of every certificate, in seconds since 1970.
pub(super) const NOON: u64 = 1_750_000_000;
/// Seconds from the middle to either end.
pub(super) const HALF: u64 = 86_400;

/// So many seconds after noon.
pub(super) fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOON.saturating_add_signed(seconds)))
}

fn date(seconds: i64) -> OffsetDateTime {
    let unix_s = NOON.saturating_add_signed(seconds).cast_signed();
    OffsetDateTime::from_unix_timestamp(unix_s).expect("on the calendar")
}

/// A root.
pub(super) struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pub(super) certificate: CertificateDer<'static>,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub(super) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self::made(params, KeyPair::generate().expect("a key"), change)
    }

    /// The same name and key with another certificate.
    pub(super) fn again(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::try_from(self.key.serialize_der()).expect("its own key");
        Self::made(self.params.clone(), key, change)
    }

    fn made(
        mut params: CertificateParams,
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        change(&mut params);
        let certificate = params.self_signed(&key).expect("a root").der().clone();
        Self { params, key, certificate }
    }

    /// A client with this DNS name and serial number.
    pub(super) fn client(&self, name: &str, serial: u64) -> CertificateDer<'static> {
        let mut params = CertificateParams::new([name.into()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(serial.into());
        let half = i64::try_from(HALF).expect("small");
        (params.not_before, params.not_after) = (date(-half), date(half));
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(&key, &issuer).expect("a certificate").der().clone()
    }

    /// A list that revokes these, valid between two times in seconds from noon.
    pub(super) fn list(&self, serials: &[u64], from: i64, until: i64) -> Arc<RevocationList> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: date(from),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date(from),
            next_update: date(until),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let der = params.signed_by(&Issuer::from_params(&self.params, &self.key)).expect("a list");
        let issuer = super::crl::Issuer::from_der(&self.certificate).expect("an authority");
        let algorithms = default_provider().signature_verification_algorithms;
        Arc::new(RevocationList::parse(der.der(), &[issuer], &algorithms).expect("a good list"))
    }
}

/// The lists in force, strictly taken; without any nothing is checked.
pub(super) fn revocation(lists: &[&Arc<RevocationList>]) -> Arc<Revocation> {
    if lists.is_empty() {
        return Arc::default();
    }
    let lists = lists.iter().map(|list| Arc::clone(list));
    Arc::new(Revocation::new(lists, CrlCheck::Chain, Missing::Reject, Stale::Reject))
}

/// What a scope is made of; a test changes what it is about.
pub(super) struct Demands {
    pub(super) name: &'static str,
    pub(super) anchors: Anchors,
    pub(super) mode: ClientAuth,
    pub(super) rules: Rules,
    pub(super) revocation: Arc<Revocation>,
    pub(super) observer: Option<Arc<Count>>,
    pub(super) options: fn(&mut VerifierOptions),
}

impl Demands {
    /// A certificate of `ca`, and nothing else.
    pub(super) fn of(ca: &Ca) -> Self {
        Self {
            name: "main",
            anchors: anchors(&[(ca, None)]),
            mode: ClientAuth::Require,
            rules: Rules::unrestricted(),
            revocation: revocation(&[]),
            observer: None,
            options: |_| {},
        }
    }

    pub(super) fn verifier(&self) -> Option<Arc<ClientVerifier>> {
        if self.mode == ClientAuth::Off {
            return None;
        }
        let provider = Arc::new(default_provider());
        let mut options = VerifierOptions::new(self.anchors.clone(), self.mode, provider);
        (self.options)(&mut options);
        let verifier = ClientVerifier::new(options).expect("a verifier");
        Some(Arc::new(match &self.observer {
            Some(observer) => verifier.observed(Arc::clone(observer) as Arc<dyn VerifyObserver>),
            None => verifier,
        }))
    }

    pub(super) fn scope(&self) -> Arc<Scope> {
        Arc::new(Scope::new(ScopeOptions {
            name: self.name.into(),
            verifier: self.verifier(),
            rules: self.rules.clone(),
            revocation: Arc::clone(&self.revocation),
        }))
    }
}

/// Roots, each with the trust domain that it is bound to.
pub(super) fn anchors(roots: &[(&Ca, Option<&str>)]) -> Anchors {
    let mut anchors = Anchors::default();
    for (ca, domain) in roots {
        let mut store = RootCertStore::empty();
        store.add(ca.certificate.clone()).expect("a root");
        anchors.add(&store, domain.map(Arc::from).as_ref());
    }
    anchors
}

/// Counts verifications.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicUsize);

impl Count {
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl VerifyObserver for Count {
    fn verification_started(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn verification_finished(&self, _outcome: Result<(), Refusal>) {}
    fn signature_started(&self) {}
    fn signature_finished(&self, _outcome: Result<(), Refusal>) {}
}

/// The patterns of a list.
pub(super) fn patterns(texts: &[&str]) -> Vec<crate::identity::Pattern> {
    texts.iter().map(|text| text.parse().expect("a pattern")).collect()
}
