//! Certification authorities for trials and tests, in memory: no files, no clock.
//!
//! The invariant: each certificate that is issued has an identity that `crate::identity` reads,
//! and its issuer field is, byte for byte, the subject of its issuer.

mod revoke;

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use clap::ValueEnum;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::pem;
use crate::identity::{
    Identity, IdentityError, NameProblem, SpiffeId, SpiffeProblem, check_dns_name, check_email,
};
use crate::limits::{COMMON_NAME_CHARS_MAX, PKI_DAYS_MAX};

/// Backdating of every certificate, for machines whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The type of a key to make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KeyChoice {
    /// ECDSA over NIST P-256.
    #[default]
    P256,
    /// ECDSA over NIST P-384.
    P384,
    /// Ed25519.
    Ed25519,
    /// RSA of 2048 bits.
    Rsa,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

/// What a certificate needs apart from its names: common name, key, validity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The common name of the subject: 1 to 64 characters.
    pub common_name: String,
    /// The type of the key to make.
    pub key: KeyChoice,
    /// When the certificate is valid.
    pub validity: Validity,
}

/// The subject alternative names of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The SPIFFE ID. A certificate has one at most (X509-SVID, section 2).
    pub spiffe: Option<String>,
    /// DNS names; the first label may be `*`.
    pub dns: Vec<String>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// IP addresses.
    pub ip_addresses: Vec<IpAddr>,
}

/// A certification authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// What a certificate of this authority is presented with: this one and those above it,
    /// without the root.
    presented: Vec<CertificateDer<'static>>,
    /// Authorities that may follow below this one; `None` where it does not say.
    path_length: Option<u32>,
}

/// A certificate with what it is presented with, and its key.
pub struct Issued {
    /// The leaf first, then its issuers, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key of the leaf.
    pub key: PrivatePkcs8KeyDer<'static>,
}

/// Why a certificate cannot be issued.
#[derive(Debug)]
pub enum IssueError {
    /// A common name that is empty, too long, or has control characters.
    CommonName(String),
    /// A number of days that is zero, more than `PKI_DAYS_MAX`, or beyond the calendar.
    Days(u32),
    /// A DNS name, mail address or IP address that no certificate should have.
    Name(String, NameProblem),
    /// A text that is not a SPIFFE ID.
    Spiffe(String, SpiffeProblem),
    /// The names of the certificate together are refused.
    Identity(IdentityError),
    /// The issuer's PEM has no certificate, or a broken one.
    IssuerCertificate,
    /// The issuer's PEM has no unencrypted private key, or a broken one.
    IssuerKey,
    /// The issuer's key is not that of its certificate.
    IssuerKeyOfAnother,
    /// The issuer's certificate is not that of an authority: no cA flag or no keyCertSign.
    NotAnAuthority,
    /// The issuer's path length forbids authorities below it (RFC 5280, 4.2.1.9).
    PathLength,
    /// The issuer's subject has a form that cannot be copied: several values in one RDN, or one
    /// attribute type twice.
    IssuerName,
    /// The issuer is past its notAfter for the whole validity of the certificate.
    IssuerExpired,
    /// A file with a certificate to revoke has none, or a broken one.
    NoCertificate,
    /// The certificate to revoke that is at this place was not issued by this authority.
    NotIssued(usize),
    /// The issuer's keyUsage lacks cRLSign (RFC 5280, 4.2.1.3).
    MayNotRevoke,
    /// Making the key or the signature failed.
    Crypto(String),
}

impl Validity {
    /// Valid for `days` from `now`, and one hour before it.
    ///
    /// # Errors
    ///
    /// [`IssueError::Days`] where `days` is not 1 to `PKI_DAYS_MAX`.
    pub fn days(now: SystemTime, days: u32) -> Result<Self, IssueError> {
        if !(1..=PKI_DAYS_MAX).contains(&days) {
            return Err(IssueError::Days(days));
        }
        let now = OffsetDateTime::from(now);
        let ends = now.checked_add((DAY * days).try_into().map_err(|_| IssueError::Days(days))?);
        Ok(Self { not_before: now - CLOCK_SKEW, not_after: ends.ok_or(IssueError::Days(days))? })
    }

    /// Valid between two times in seconds since 1970-01-01 UTC; `None` where one of them is not
    /// on the calendar. For tests of what is expired or not yet valid.
    pub fn between(not_before_unix_s: i64, not_after_unix_s: i64) -> Option<Self> {
        Some(Self {
            not_before: OffsetDateTime::from_unix_timestamp(not_before_unix_s).ok()?,
            not_after: OffsetDateTime::from_unix_timestamp(not_after_unix_s).ok()?,
        })
    }
}

impl Authority {
    /// Makes a root: an authority that signed itself.
    ///
    /// # Errors
    ///
    /// An [`IssueError`] where `profile` is out of bounds.
    pub fn root(profile: &Profile) -> Result<Self, IssueError> {
        let key = generate(profile.key)?;
        let params = authority_params(profile)?;
        let certificate = params.self_signed(&key).map_err(crypto)?.der().clone();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
            presented: Vec::new(),
            path_length: None,
        })
    }

    /// Makes an authority below this one.
    ///
    /// # Errors
    ///
    /// An [`IssueError`] where `profile` is out of bounds or this authority may have none below it.
    pub fn intermediate(&self, profile: &Profile) -> Result<Self, IssueError> {
        if self.path_length == Some(0) {
            return Err(IssueError::PathLength);
        }
        let key = generate(profile.key)?;
        let mut params = authority_params(profile)?;
        params.use_authority_key_identifier_extension = true;
        let certificate = self.sign(&params, &key)?;
        let mut presented = vec![certificate.clone()];
        presented.extend_from_slice(&self.presented);
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
            presented,
            path_length: self.path_length.map(|left| left - 1),
        })
    }

    /// Reads an authority back: its certificate first in `certificates_pem`, those above it
    /// behind, and its private key in PKCS#8, SEC1 or PKCS#1.
    ///
    /// # Errors
    ///
    /// An [`IssueError`] that says which of the two is at fault.
    pub fn from_pem(certificates_pem: &[u8], key_pem: &[u8]) -> Result<Self, IssueError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(certificates_pem)
            .collect::<Result<_, _>>()
            .map_err(|_| IssueError::IssuerCertificate)?;
        let certificate = certificates.first().ok_or(IssueError::IssuerCertificate)?.clone();
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| IssueError::IssuerKey)?;
        let key = KeyPair::try_from(&key).map_err(|_| IssueError::IssuerKey)?;

        let path_length = {
            let parsed = parse(&certificate)?;
            if *parsed.subject_pki.raw != *rcgen::PublicKeyData::subject_public_key_info(&key) {
                return Err(IssueError::IssuerKeyOfAnother);
            }
            path_length_of(&parsed)?
        };
        let issuer = Issuer::from_ca_cert_der(&certificate, key);
        let issuer = issuer.map_err(|_| IssueError::IssuerName)?;
        let mut presented = Vec::new();
        for above in certificates {
            let parsed = parse(&above)?;
            if parsed.subject.as_raw() != parsed.issuer.as_raw() {
                presented.push(above);
            }
        }
        Ok(Self { issuer, certificate, presented, path_length })
    }

    /// Issues a certificate for a TLS server. Clients look at DNS names and IP addresses.
    ///
    /// # Errors
    ///
    /// An [`IssueError`] where `profile` or `names` are out of bounds.
    pub fn issue_server(&self, profile: &Profile, names: &Names) -> Result<Issued, IssueError> {
        self.issue(profile, names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues a certificate for a TLS client.
    ///
    /// # Errors
    ///
    /// An [`IssueError`] where `profile` or `names` are out of bounds.
    pub fn issue_client(&self, profile: &Profile, names: &Names) -> Result<Issued, IssueError> {
        self.issue(profile, names, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// The certificate of this authority itself.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate of this authority, then those above it, without the root unless it is one.
    pub fn chain_pem(&self) -> String {
        if self.presented.is_empty() {
            return pem::certificates(std::slice::from_ref(&self.certificate));
        }
        pem::certificates(&self.presented)
    }

    /// The private key of this authority, in PKCS#8.
    pub fn key_pem(&self) -> String {
        pem::private_key(self.issuer.key().serialized_der())
    }

    fn issue(
        &self,
        profile: &Profile,
        names: &Names,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Issued, IssueError> {
        let key = generate(profile.key)?;
        let mut params = params(profile)?;
        params.subject_alt_names = names.to_sans()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let leaf = self.sign(&params, &key)?;
        Identity::from_der(&leaf).map_err(IssueError::Identity)?;
        let mut chain = vec![leaf];
        chain.extend_from_slice(&self.presented);
        Ok(Issued { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()) })
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &KeyPair,
    ) -> Result<CertificateDer<'static>, IssueError> {
        let issuer = parse(&self.certificate)?;
        if issuer.validity.not_after.timestamp() < params.not_before.unix_timestamp() {
            return Err(IssueError::IssuerExpired);
        }
        let certificate = params.signed_by(key, &self.issuer).map_err(crypto)?;
        let certificate = certificate.der().clone();
        if parse(&certificate)?.issuer.as_raw() != issuer.subject.as_raw() {
            return Err(IssueError::IssuerName);
        }
        Ok(certificate)
    }
}

impl Issued {
    /// The chain in PEM: the leaf first, then its issuers, without the root.
    pub fn chain_pem(&self) -> String {
        pem::certificates(&self.chain)
    }

    /// The private key in PEM (PKCS#8).
    pub fn key_pem(&self) -> String {
        pem::private_key(self.key.secret_pkcs8_der())
    }
}

impl Names {
    fn to_sans(&self) -> Result<Vec<SanType>, IssueError> {
        let ia5 = |text: &str| text.try_into().map_err(crypto);
        let mut sans = Vec::new();
        if let Some(id) = &self.spiffe {
            SpiffeId::parse(id).map_err(|problem| IssueError::Spiffe(id.clone(), problem))?;
            sans.push(SanType::URI(ia5(id)?));
        }
        for name in &self.dns {
            check_dns_name(name, true).map_err(|why| IssueError::Name(name.clone(), why))?;
            sans.push(SanType::DnsName(ia5(name)?));
        }
        for address in &self.emails {
            check_email(address).map_err(|why| IssueError::Name(address.clone(), why))?;
            sans.push(SanType::Rfc822Name(ia5(address)?));
        }
        sans.extend(self.ip_addresses.iter().copied().map(SanType::IpAddress));
        Ok(sans)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommonName(found) => write!(
                f,
                "found the common name {found:?}; expected 1 to {COMMON_NAME_CHARS_MAX} characters \
                 without control characters, such as client-1"
            ),
            Self::Days(found) => {
                write!(f, "found a validity of {found} days; expected 1 to {PKI_DAYS_MAX}")
            }
            Self::Name(found, why) => write!(f, "found the name {found:?}: {why}"),
            Self::Spiffe(found, why) => write!(
                f,
                "found the SPIFFE ID {found:?}: {why}; expected one such as \
                 spiffe://example.org/client-1"
            ),
            Self::Identity(why) => write!(f, "{why}"),
            Self::IssuerCertificate => f.write_str(
                "it has no readable certificate; expected one in PEM, \
                 '-----BEGIN CERTIFICATE-----'",
            ),
            Self::IssuerKey => f.write_str(
                "it has no readable private key; expected an unencrypted one in PEM, such as \
                 '-----BEGIN PRIVATE KEY-----'",
            ),
            Self::IssuerKeyOfAnother => f.write_str(
                "the key is not that of the certificate; expected the two files that one \
                 'ringfort pki ca' or 'ringfort pki intermediate' wrote",
            ),
            Self::NotAnAuthority => f.write_str(
                "the certificate is not an authority's; expected one of 'ringfort pki ca' or \
                 'ringfort pki intermediate'",
            ),
            Self::PathLength => f.write_str(
                "its path length forbids further authorities below it; expected the root or an \
                 authority without such a limit",
            ),
            Self::IssuerName => f.write_str(
                "its subject cannot be copied into certificates; expected one value in each part \
                 of the name and each type of value once",
            ),
            Self::IssuerExpired => {
                f.write_str("it has expired; expected an authority that is still valid")
            }
            Self::NoCertificate => f.write_str(
                "it has no readable certificate to revoke; expected one in PEM, \
                 '-----BEGIN CERTIFICATE-----'",
            ),
            Self::NotIssued(_) => f.write_str(
                "its first certificate is not one that this authority issued; expected one that \
                 it can revoke",
            ),
            Self::MayNotRevoke => f.write_str(
                "its key usage does not allow it to sign revocation lists; expected one with \
                 cRLSign, such as 'ringfort pki ca' makes",
            ),
            Self::Crypto(why) => write!(f, "the key or the signature cannot be made: {why}"),
        }
    }
}

impl std::error::Error for IssueError {}

fn crypto(error: impl fmt::Display) -> IssueError {
    IssueError::Crypto(error.to_string())
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IssueError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(IssueError::IssuerCertificate),
    }
}

fn path_length_of(authority: &X509Certificate<'_>) -> Result<Option<u32>, IssueError> {
    let constraints = authority.basic_constraints();
    let constraints = constraints.map_err(|_| IssueError::IssuerCertificate)?;
    let usage = authority.key_usage().map_err(|_| IssueError::IssuerCertificate)?;
    let may_sign = usage.is_none_or(|usage| usage.value.key_cert_sign());
    match constraints {
        Some(constraints) if constraints.value.ca && may_sign => {
            Ok(constraints.value.path_len_constraint)
        }
        _ => Err(IssueError::NotAnAuthority),
    }
}

fn authority_params(profile: &Profile) -> Result<CertificateParams, IssueError> {
    let mut params = params(profile)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(profile: &Profile) -> Result<CertificateParams, IssueError> {
    let name = &profile.common_name;
    let fits = (1..=COMMON_NAME_CHARS_MAX).contains(&name.chars().count());
    if !fits || name.chars().any(char::is_control) {
        return Err(IssueError::CommonName(name.clone()));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    params.not_before = profile.validity.not_before;
    params.not_after = profile.validity.not_after;
    params.serial_number = Some(random_serial()?.to_vec().into());
    Ok(params)
}

/// 16 random bytes: positive, and as an INTEGER always of 16 content bytes (RFC 5280, 4.1.2.2).
fn random_serial() -> Result<[u8; 16], IssueError> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(crypto)?;
    serial[0] = (serial[0] & 0x3f) | 0x40;
    Ok(serial)
}

fn generate(choice: KeyChoice) -> Result<KeyPair, IssueError> {
    let algorithm = match choice {
        KeyChoice::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyChoice::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeyChoice::Rsa => &rcgen::PKCS_RSA_SHA256,
        KeyChoice::Ed25519 => {
            // rcgen makes PKCS#8 of version 2, which OpenSSL 3.0 does not read.
            let key = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(crypto)?;
            let key = PrivatePkcs8KeyDer::from(key.as_ref());
            return KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519)
                .map_err(crypto);
        }
    };
    KeyPair::generate_for(algorithm).map_err(crypto)
}
