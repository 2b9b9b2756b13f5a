//! What an authority takes back: a certificate revocation list (RFC 5280, section 5).

use std::time::SystemTime;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use time::OffsetDateTime;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::{Authority, DAY, IssueError, crypto, parse};
use crate::limits::PKI_DAYS_MAX;

impl Authority {
    /// Makes the list of all that this authority revoked, as of `now` and for `days`.
    ///
    /// Nothing is remembered from list to list: each has to be given all of `revoked`, of which one
    /// that occurs twice is listed once. The number of the list is the time in microseconds, so it
    /// grows.
    ///
    /// # Errors
    ///
    /// [`IssueError::NotIssued`] for a certificate that another authority issued,
    /// [`IssueError::MayNotRevoke`], or [`IssueError::Days`] where `days` is not 1 to
    /// `PKI_DAYS_MAX`.
    pub fn revocation_list(
        &self,
        revoked: &[CertificateDer<'_>],
        now: SystemTime,
        days: u32,
    ) -> Result<CertificateRevocationListDer<'static>, IssueError> {
        if !(1..=PKI_DAYS_MAX).contains(&days) {
            return Err(IssueError::Days(days));
        }
        let now = OffsetDateTime::from(now);
        let ends = now.checked_add((DAY * days).try_into().map_err(|_| IssueError::Days(days))?);
        let number = u64::try_from(now.unix_timestamp_nanos() / 1000).unwrap_or_default();
        let mut serials = Vec::new();
        for (index, certificate) in revoked.iter().enumerate() {
            serials.push(self.serial_of(certificate).ok_or(IssueError::NotIssued(index))?);
        }
        serials.sort();
        serials.dedup();
        let entry = |serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: ends.ok_or(IssueError::Days(days))?,
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(|serial| entry(serial)).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).map_err(|error| match error {
            rcgen::Error::IssuerNotCrlSigner => IssueError::MayNotRevoke,
            error => crypto(error),
        })?;
        self.check_name(list.der())?;
        Ok(list.der().clone())
    }

    /// The serial number of a certificate that this authority signed; `None` for another's.
    fn serial_of(&self, certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
        let (issuer, issued) = (parse(&self.certificate).ok()?, parse(certificate).ok()?);
        let is_named = issued.issuer.as_raw() == issuer.subject.as_raw();
        let is_signed = || issued.verify_signature(Some(&issuer.subject_pki)).is_ok();
        (is_named && is_signed()).then(|| issued.raw_serial().to_vec())
    }

    /// A list is found by the name of its issuer, byte for byte.
    fn check_name(&self, list: &[u8]) -> Result<(), IssueError> {
        let (_, list) = CertificateRevocationList::from_der(list).map_err(crypto)?;
        if list.tbs_cert_list.issuer.as_raw() != parse(&self.certificate)?.subject.as_raw() {
            return Err(IssueError::IssuerName);
        }
        Ok(())
    }
}
