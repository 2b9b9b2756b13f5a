//! Lists of revocation that the authorities of a simulation signed.

use std::sync::Arc;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls::crypto::CryptoProvider;

use super::{Authority, Client, Pki, moment, serial_of};
use crate::trust::crl::{self, CrlCheck, Missing, Revocation, RevocationList, Stale};

/// What all authorities said at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lists {
    /// The number of each of the lists.
    pub number: u64,
    /// When they were issued, in seconds since 1970.
    pub this_update: i64,
    /// When they are too old, in seconds since 1970.
    pub next_update: i64,
    /// Whose certificates are revoked.
    pub revoked: Vec<Client>,
    /// The authority of [`Client::ViaIntermediate`] has issued none.
    pub lacks_issuing: bool,
}

impl Pki {
    /// The lists, signed and read; what is missing, stale or revoked is refused.
    ///
    /// # Panics
    /// Where `next_update` does not follow `this_update`.
    pub fn revocation(&self, lists: &Lists, provider: &CryptoProvider) -> Arc<Revocation> {
        let material = &self.0;
        let authorities = [&material.root, &material.stranger, &material.issuing];
        let count = if lists.lacks_issuing { 2 } else { 3 };
        let signed = authorities.iter().take(count).map(|it| it.sign_list(lists, provider));
        let signed: Vec<Arc<RevocationList>> = signed.collect();
        Arc::new(Revocation::new(signed, CrlCheck::Chain, Missing::Reject, Stale::Reject))
    }
}

impl Authority {
    /// Every authority's list has all serial numbers: whose they are is in the certificate.
    fn sign_list(&self, lists: &Lists, provider: &CryptoProvider) -> Arc<RevocationList> {
        let revoked = lists.revoked.iter().map(|client| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial_of(&client.common_name())),
            revocation_time: moment(lists.this_update),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: moment(lists.this_update),
            next_update: moment(lists.next_update),
            crl_number: SerialNumber::from(lists.number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        // invariant: the key and the parameters are this room's own
        let list = params.signed_by(&self.issuer).expect("a list can be signed");
        // invariant: what `Authority` makes is a certificate of an authority
        let issuer = crl::Issuer::from_der(&self.certificate).expect("an authority");
        let algorithms = &provider.signature_verification_algorithms;
        let parsed = RevocationList::parse(list.der(), &[issuer], algorithms);
        // invariant: it was signed right above
        Arc::new(parsed.expect("a list of its issuer"))
    }
}
