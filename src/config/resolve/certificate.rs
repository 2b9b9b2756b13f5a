//! The keys that name a certificate of ringfort's own, and its private key.

use rustls::crypto::CryptoProvider;

use super::{Complaint, Resolver, pem};
use crate::config::model::Text;
use crate::limits::{PEM_BYTES_MAX, SERVER_CHAIN_CERTIFICATES_MAX};
use crate::tls::server::{Certificate, CertificateError};

/// A key's name, and what is written there.
type Written<'t> = (&'static str, Option<&'t Text>);
/// A key's name, and what is written there.
type Named<'t> = (&'static str, &'t Text);

impl Resolver<'_> {
    /// The certificate whose chain and private key these two name, valid now. What is not written
    /// was refused where that was found.
    pub(super) fn own_certificate(
        &mut self,
        (chain_key, chain_text): Written<'_>,
        (key_key, key_text): Written<'_>,
        provider: &CryptoProvider,
    ) -> Option<Certificate> {
        let chain = chain_text.and_then(|text| {
            let bytes = self.read(chain_key, text, PEM_BYTES_MAX)?;
            pem::certificates(&bytes)
                .map_err(|complaint| self.complain(chain_key, text, complaint))
                .ok()
        });
        let key = key_text.and_then(|text| {
            let bytes = self.read(key_key, text, PEM_BYTES_MAX)?;
            pem::private_key(&bytes)
                .map_err(|complaint| self.complain(key_key, text, complaint))
                .ok()
        });
        let (chain, key, chain_text, key_text) = (chain?, key?, chain_text?, key_text?);
        if chain.len() > SERVER_CHAIN_CERTIFICATES_MAX {
            let complaint = Complaint::new(
                format!("holds {} certificates", chain.len()),
                format!("at most {SERVER_CHAIN_CERTIFICATES_MAX}"),
                "leave the first certificate and its intermediates",
            );
            self.complain(chain_key, chain_text, complaint);
            return None;
        }
        match Certificate::new(chain, key, provider) {
            Ok(certificate) => {
                self.refuse_invalid_now(&certificate, (chain_key, chain_text));
                Some(certificate)
            }
            Err(error) => {
                self.refuse_certificate(&error, (chain_key, chain_text), (key_key, key_text));
                None
            }
        }
    }

    fn refuse_certificate(
        &mut self,
        error: &CertificateError,
        (chain_key, chain): Named<'_>,
        (key_key, key): Named<'_>,
    ) {
        let (name, text, complaint) = match error {
            CertificateError::KeyMismatch => (
                key_key,
                key,
                Complaint::new(
                    format!("is not the key of the first certificate of {:?}", chain.get_ref()),
                    "the private key of that certificate",
                    "name the key that belongs to it; that certificate comes first in the \
                     chain",
                ),
            ),
            CertificateError::UnusableKey(reason) => (
                key_key,
                key,
                Complaint::new(
                    format!("cannot be used: {reason}"),
                    "an ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 to 8192 bits) key",
                    "create a key and a certificate of such a type",
                ),
            ),
            CertificateError::Unparsable { .. } | CertificateError::Empty => (
                chain_key,
                chain,
                Complaint::new(
                    format!("is broken: {error}"),
                    "X.509 certificates",
                    "write the file anew",
                ),
            ),
        };
        self.complain(name, text, complaint);
    }

    fn refuse_invalid_now(&mut self, certificate: &Certificate, (key, chain): Named<'_>) {
        let now = self.context.now_unix_s;
        let (first, last) = (certificate.not_before_unix_s(), certificate.not_after_unix_s());
        let (found, fix) = if now < first {
            (format!("is not valid before {}", utc(first)), "wait, or correct the clock")
        } else if now > last {
            (format!("expired at {}", utc(last)), "renew the certificate")
        } else {
            return;
        };
        let expected = format!("a certificate that is valid now, {}", utc(now));
        self.complain(key, chain, Complaint::new(found, expected, fix));
    }
}

/// A time as RFC 3339 writes it, in UTC.
fn utc(unix_s: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(unix_s)
        .ok()
        .and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| format!("{unix_s} seconds after 1970"))
}
