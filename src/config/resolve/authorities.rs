//! The keys of a listener that name authorities: roots, trust domains and intermediates.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use toml::Spanned;

use super::files::holds_certificates;
use super::{Complaint, Resolver, pem};
use crate::config::model::{self, ClientKeys, OneOrMore};
use crate::identity::check_trust_domain;
use crate::limits::{CLIENT_INTERMEDIATES_MAX, PEM_BYTES_MAX};
use crate::trust::verify::Anchors;

/// What a folder of certificates holds.
const CERTIFICATES: &str =
    "a folder with *.pem, *.crt or *.cer, or with what `openssl rehash` names";

impl Resolver<'_> {
    /// The roots, and all their certificates: who may have signed a list of revocation.
    pub(super) fn roots(
        &mut self,
        keys: &ClientKeys,
        table: Range<usize>,
    ) -> Option<(Anchors, Vec<CertificateDer<'static>>)> {
        let mut anchors = Anchors::default();
        let mut all = Vec::new();
        let mut complete = true;
        match &keys.client_ca {
            Some(client_ca) => match self.bundle("client_ca", client_ca) {
                Some((store, certificates)) => {
                    anchors.add(&store, None);
                    all.extend(certificates);
                }
                None => complete = false,
            },
            // Roots of trust domains are enough.
            None if !keys.trust_domain.is_empty() => {}
            None => {
                self.refuse(
                    &table,
                    "[[listener]] has no key `client_ca`",
                    "the certificates that clients' certificates come from",
                    "add `client_ca = \"clients.pem\"`, or set `client_auth = \"off\"`",
                );
                return None;
            }
        }
        for domain in &keys.trust_domain {
            match self.trust_domain(domain) {
                Some((name, store, certificates)) => {
                    anchors.add(&store, Some(&name));
                    all.extend(certificates);
                }
                None => complete = false,
            }
        }
        complete.then_some((anchors, all))
    }

    fn trust_domain(
        &mut self,
        table: &Spanned<model::TrustDomain>,
    ) -> Option<(Arc<str>, RootCertStore, Vec<CertificateDer<'static>>)> {
        let written = table.get_ref();
        let (Some(name), Some(client_ca)) = (&written.name, &written.client_ca) else {
            self.refuse(
                &table.span(),
                "[[listener.trust_domain]] lacks `name` or `client_ca`",
                "a trust domain and the roots that vouch for it",
                "add `name = \"example.org\"` and `client_ca = \"example.pem\"`",
            );
            return None;
        };
        if check_trust_domain(name.get_ref()).is_err() {
            self.refuse(
                &name.span(),
                &format!("name = {:?} is no SPIFFE trust domain", name.get_ref()),
                "lower-case letters, digits, `.`, `-` and `_`",
                "write it without spiffe://, such as \"example.org\"",
            );
            return None;
        }
        let (store, certificates) = self.bundle("client_ca", client_ca)?;
        Some((name.get_ref().as_str().into(), store, certificates))
    }

    /// The roots of the files that a key names, and all their certificates.
    pub(super) fn bundle(
        &mut self,
        key: &'static str,
        written: &Spanned<OneOrMore>,
    ) -> Option<(RootCertStore, Vec<CertificateDer<'static>>)> {
        let mut roots = RootCertStore::empty();
        // Each once: a folder of OpenSSL has a link beside each file.
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        let files = self.files(key, written, Some(CERTIFICATES), holds_certificates)?;
        let mut complete = true;
        for file in &files {
            let Some(bytes) = self.read_file(key, file, PEM_BYTES_MAX) else {
                complete = false;
                continue;
            };
            let added = pem::certificates(&bytes).and_then(|certificates| {
                let count = certificates.len();
                for (index, certificate) in certificates.into_iter().enumerate() {
                    if !seen.insert(certificate.clone()) {
                        continue;
                    }
                    roots.add(certificate.clone()).map_err(|error| {
                        let number = index + 1;
                        Complaint::new(
                            format!(
                                "has a certificate, {number} of {count}, that is no root: {error}"
                            ),
                            "X.509 certificates of certification authorities",
                            "remove or renew that certificate",
                        )
                    })?;
                    all.push(certificate);
                }
                Ok(())
            });
            if let Err(complaint) = added {
                self.complain_of(key, file, complaint);
                complete = false;
            }
        }
        complete.then_some((roots, all))
    }

    pub(super) fn intermediates(
        &mut self,
        keys: &ClientKeys,
    ) -> Option<Vec<CertificateDer<'static>>> {
        let Some(written) = &keys.client_intermediates else {
            return Some(Vec::new());
        };
        // Read as roots are, so that what is no authority is refused here and not at a handshake.
        let (_, certificates) = self.bundle("client_intermediates", written)?;
        if certificates.len() > CLIENT_INTERMEDIATES_MAX {
            let found = format!("client_intermediates has {} certificates", certificates.len());
            let expected = format!("at most {CLIENT_INTERMEDIATES_MAX}");
            self.refuse(&written.span(), &found, &expected, "leave those that clients need");
        }
        Some(certificates)
    }
}
