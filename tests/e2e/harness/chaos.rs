//! An authority that issues what no good one would: chains that are wrong in one way each.
//!
//! rcgen makes what it can; what it refuses to make is cut into the DER and signed again.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, SigningKey,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use super::gateway::read_text;
use super::pki::{Credentials, pem};
use super::temp_dir;

/// Children of a TBSCertificate, in the order of RFC 5280, 4.1.
pub(crate) const SERIAL: usize = 1;
pub(crate) const ALGORITHM: usize = 2;
pub(crate) const SUBJECT: usize = 5;
pub(crate) const SPKI: usize = 6;

/// ecdsa-with-SHA1 as an AlgorithmIdentifier.
const ECDSA_WITH_SHA1: &[u8] = &[0x30, 9, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];

/// So many seconds from now.
pub(crate) fn from_now(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from(SystemTime::now()) + time::Duration::seconds(seconds)
}

/// Seconds since 1970, a fraction included.
pub(crate) fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970")
}

/// An authority, and what leads to it.
pub(crate) struct Ca {
    params: CertificateParams,
    key: KeyPair,
    /// Its own certificate first, up to the root but without it; empty for a root.
    chain: Vec<CertificateDer<'static>>,
    /// Its own certificate.
    pub(crate) certificate: CertificateDer<'static>,
}

/// What a leaf has where a test changes nothing: the DNS name client.test and clientAuth.
pub(crate) fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::new(["client.test".into()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, "client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (from_now(-600), from_now(86_400));
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (from_now(-600), from_now(86_400));
    params
}

impl Ca {
    /// A root, as `change` wants it.
    pub(crate) fn root(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority_params(name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a root").der().clone();
        Self { params, key, chain: Vec::new(), certificate }
    }

    /// The same authority with another certificate of itself.
    pub(crate) fn reissued(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = self.params.clone();
        change(&mut params);
        let key = self.key_again();
        let certificate = params.self_signed(&key).expect("a root").der().clone();
        Self { params, key, chain: Vec::new(), certificate }
    }

    /// An authority below it.
    pub(crate) fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().expect("a key");
        self.below_with(name, key, change)
    }

    /// `other`, certified by this authority too.
    pub(crate) fn cross(&self, other: &Self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = other.key_again();
        let mut params = other.params.clone();
        change(&mut params);
        self.certify(params, key)
    }

    fn below_with(
        &self,
        name: &str,
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = authority_params(name);
        change(&mut params);
        self.certify(params, key)
    }

    fn certify(&self, params: CertificateParams, key: KeyPair) -> Self {
        let certificate = self.sign(&params, &key);
        let chain = [std::slice::from_ref(&certificate), &self.chain].concat();
        Self { params, key, chain, certificate }
    }

    fn key_again(&self) -> KeyPair {
        KeyPair::try_from(self.key.serialize_der()).expect("its own key")
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(key, &issuer).expect("a certificate").der().clone()
    }

    /// A client of it, as `change` wants it.
    pub(crate) fn client(&self, change: impl FnOnce(&mut CertificateParams)) -> Credentials {
        self.client_with(KeyPair::generate().expect("a key"), change, |_, leaf| leaf)
    }

    /// A client whose certificate is changed after rcgen has made it.
    pub(crate) fn client_with(
        &self,
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
        cut: impl FnOnce(&Self, CertificateDer<'static>) -> CertificateDer<'static>,
    ) -> Credentials {
        let mut params = leaf_params();
        change(&mut params);
        let leaf = cut(self, self.sign(&params, &key));
        let chain = [&[leaf], &self.chain[..]].concat();
        Credentials::new(chain, PrivatePkcs8KeyDer::from(key.serialize_der()))
    }

    /// Its own certificate and key, as if it was a client.
    pub(crate) fn as_client(&self) -> Credentials {
        let chain = match self.chain.as_slice() {
            [] => vec![self.certificate.clone()],
            chain => chain.to_vec(),
        };
        Credentials::new(chain, PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    /// The children of a certificate's TBSCertificate, changed and signed anew.
    pub(crate) fn resign(
        &self,
        certificate: &CertificateDer<'_>,
        change: impl FnOnce(&mut Vec<Vec<u8>>),
    ) -> CertificateDer<'static> {
        let mut children = children(tbs(certificate));
        change(&mut children);
        let tbs = tlv(0x30, &children.concat());
        let signature = if children[ALGORITHM] == ECDSA_WITH_SHA1 {
            sign_with_sha1(&self.key, &tbs)
        } else {
            self.key.sign(&tbs).expect("a signature")
        };
        let signature = tlv(3, &[&[0][..], &signature].concat());
        tlv(0x30, &[&tbs[..], &children[ALGORITHM], &signature].concat()).into()
    }

    /// The same certificate, signed with SHA-1.
    pub(crate) fn resign_sha1(&self, certificate: &CertificateDer<'_>) -> CertificateDer<'static> {
        self.resign(certificate, |children| children[ALGORITHM] = ECDSA_WITH_SHA1.to_vec())
    }

    /// Its list of revocation, PEM, valid between two times in seconds from now.
    pub(crate) fn crl(&self, serials: &[u64], from_s: i64, until_s: i64) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: from_now(from_s),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: from_now(from_s),
            next_update: from_now(until_s),
            // Of lists of one second the one with the larger number rules.
            crl_number: SerialNumber::from(u64::try_from(unix_time().as_micros()).expect("64 bit")),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(&issuer).expect("a list").pem().expect("PEM")
    }

    /// Its certificate as a PEM file.
    pub(crate) fn file(&self) -> PathBuf {
        file("root.pem", pem("CERTIFICATE", &[&self.certificate]))
    }
}

/// A new file of this name.
pub(crate) fn file(name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = temp_dir().join(name);
    std::fs::write(&path, text).expect("a temporary file");
    path
}

/// A SPIFFE ID as the only name of a leaf.
pub(crate) fn spiffe(params: &mut CertificateParams, id: &str) {
    params.subject_alt_names = vec![SanType::URI(id.try_into().expect("ASCII"))];
}

/// An RSA key of 1,024 bits as openssl makes it: SubjectPublicKeyInfo and PKCS #8.
pub(crate) fn rsa_1024() -> (Vec<u8>, PrivatePkcs8KeyDer<'static>) {
    let key = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]);
    let path = file("rsa.pem", &key).display().to_string();
    let spki = openssl(&["pkey", "-in", &path, "-pubout", "-outform", "DER"]);
    let pkcs8 = openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", &path, "-outform", "DER"]);
    (spki, PrivatePkcs8KeyDer::from(pkcs8))
}

fn sign_with_sha1(key: &KeyPair, tbs: &[u8]) -> Vec<u8> {
    let key = file("key.pem", key.serialize_pem()).display().to_string();
    let tbs = file("tbs.der", tbs).display().to_string();
    openssl(&["dgst", "-sha1", "-sign", &key, &tbs])
}

/// Runs openssl; returns what it prints.
pub(crate) fn openssl(arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().expect("openssl is installed");
    assert!(output.status.success(), "{}", read_text(&output.stderr[..]));
    output.stdout
}

/// A DER element.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match u8::try_from(length) {
        Ok(short) if short < 0x80 => vec![tag, short],
        _ => {
            let long = u16::try_from(length).expect("below 2^16").to_be_bytes();
            vec![tag, 0x82, long[0], long[1]]
        }
    };
    [&header[..], content].concat()
}

/// The first element whole, its content, and what follows it.
pub(crate) fn split(der: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (length, header) = match der[1] {
        short @ 0..0x80 => (usize::from(short), 2),
        long => {
            let bytes = usize::from(long & 0x7f);
            let length =
                der[2..2 + bytes].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, 2 + bytes)
        }
    };
    (&der[..header + length], &der[header..header + length], &der[header + length..])
}

fn tbs<'a>(certificate: &'a CertificateDer<'_>) -> &'a [u8] {
    let (_, content, _) = split(certificate);
    split(content).1
}

/// The elements of a content, each whole.
pub(crate) fn children(mut content: &[u8]) -> Vec<Vec<u8>> {
    let mut children = Vec::new();
    while !content.is_empty() {
        let (element, _, rest) = split(content);
        children.push(element.to_vec());
        content = rest;
    }
    children
}
