//! Clients for the tests of this room.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use crate::identity::Identity;

/// The names of a client.
#[derive(Default)]
pub struct Names<'a> {
    /// None where it is empty.
    pub common_name: &'a str,
    pub uris: &'a [&'a str],
    pub dns: &'a [&'a str],
}

/// The DER of a certificate with these names.
pub fn certificate(names: &Names<'_>) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !names.common_name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, names.common_name);
    }
    let uris = names.uris.iter().map(|it| SanType::URI((*it).try_into().expect("ASCII")));
    let dns = names.dns.iter().map(|it| SanType::DnsName((*it).try_into().expect("ASCII")));
    params.subject_alt_names = uris.chain(dns).collect();
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").der().to_vec()
}

/// Who has such a certificate.
pub fn identity(names: &Names<'_>) -> Identity {
    Identity::from_der(&certificate(names)).expect("an identity")
}
