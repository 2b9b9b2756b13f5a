//! The TLS client that records: rustls with our ears in it, for one connection or several.
//!
//! It knows nothing of sockets and of what is recorded. The connections of one recorder share what
//! a server gave them to resume with; they are made one after the other.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection};

use super::error::{Cause, RecordError};
use super::observe::{CertificateEar, KeyEar, Observer, VerifierEar};
use super::record::{self, RecordOptions, Recording, Trust};

/// A client whose connections are recorded.
#[derive(Debug)]
pub struct Recorder {
    config: Arc<ClientConfig>,
    observer: Arc<Observer>,
}

impl Recorder {
    /// A client of these options: of their certificate, trust, versions, protocols and crypto.
    ///
    /// # Errors
    ///
    /// [`Cause::Roots`] and [`Cause::Options`].
    pub fn new(options: &RecordOptions<'_>) -> Result<Self, Cause> {
        let observer = Arc::new(Observer::default());
        let verifier = verifier(options, &observer)?;
        let provider = &options.provider;
        let certificate = match &options.client_cert {
            Some(held) => {
                let (chain, key) = (held.chain.clone(), held.key.clone_key());
                let certified = CertifiedKey::from_der(chain, key, provider);
                Some(Arc::new(certified.map_err(Cause::Options)?))
            }
            None => None,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(options.versions)
            .map_err(Cause::Options)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(CertificateEar {
                observer: Arc::clone(&observer),
                certificate,
            }));
        config.alpn_protocols.clone_from(&options.alpn);
        config.key_log = Arc::new(KeyEar(Arc::clone(&observer)));
        Ok(Self { config: Arc::new(config), observer })
    }

    /// Makes a connection to the address of these options and records it, as [`record::record`]
    /// does; it offers to resume the last one where the server made that possible.
    ///
    /// # Errors
    ///
    /// Those of [`record::record`].
    pub fn record(&self, options: &RecordOptions<'_>) -> Result<Recording, RecordError> {
        let config = Arc::clone(&self.config);
        let mut tls = ClientConnection::new(config, options.server_name.clone())
            .map_err(|error| record::failed(options, Cause::Options(error)))?;
        tls.set_buffer_limit(None);
        record::run(options, tls, &self.observer)
    }
}

fn verifier(options: &RecordOptions<'_>, observer: &Arc<Observer>) -> Result<VerifierEar, Cause> {
    let provider = &options.provider;
    let (roots, is_binding) = match &options.trust {
        Trust::Required(roots) => (Some(roots), true),
        Trust::Judged(roots) => (Some(roots), false),
        Trust::Unverified => (None, false),
    };
    let build = |roots: &Arc<_>| {
        let (roots, provider) = (Arc::clone(roots), Arc::clone(provider));
        WebPkiServerVerifier::builder_with_provider(roots, provider).build()
    };
    Ok(VerifierEar {
        observer: Arc::clone(observer),
        verifier: roots.map(build).transpose().map_err(Cause::Roots)?,
        is_binding,
        algorithms: provider.signature_verification_algorithms,
    })
}
