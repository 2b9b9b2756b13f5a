//! The keys of an upstream that say how it is spoken to in TLS: whom it must be, and who ringfort
//! is to it.

use std::ops::Range;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{RootCertStore, SupportedProtocolVersion};
use toml::Spanned;

use super::{Complaint, Resolver, address};
use crate::config::model::{self, OneOrMore};
use crate::config::snapshot::Target;
use crate::limits::PEM_BYTES_MAX;
use crate::tls::client::{UpstreamTls, UpstreamTlsOptions};
use crate::tls::provider::{self, Backend, VERSIONS};
use crate::tls::server::Certificate;

/// The roots of the system (ca-certificates(8)).
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Resolver<'_> {
    /// What the keys of TLS say; `None` where they are not written, or something was refused.
    pub(super) fn upstream_tls(
        &mut self,
        written: &Spanned<model::Upstream>,
        http2: bool,
    ) -> Option<UpstreamTls> {
        let upstream = written.get_ref();
        let Some(tls) = upstream.tls.as_ref().filter(|tls| *tls.get_ref()) else {
            self.refuse_without_tls(upstream);
            return None;
        };
        let backend = self.backend("tls_crypto", upstream.tls_crypto.as_ref());
        let server_name = self.upstream_name(written);
        let roots = self.upstream_roots(upstream, tls.span());
        let backend = backend?;
        let provider = Arc::new(provider::provider(backend, &[], &[]).ok()?);
        let certificate = self.upstream_certificate(upstream, &provider);
        let options = UpstreamTlsOptions {
            versions: versions(backend),
            provider,
            roots: Arc::new(roots?),
            certificate: certificate?,
            server_name: server_name?,
            http2,
            time: None,
        };
        let made = UpstreamTls::new(options).map_err(|error| {
            self.refuse(
                &tls.span(),
                &format!("no TLS configuration can be built: {error}"),
                "a backend and roots that work together",
                "remove `tls_crypto` for the default",
            );
        });
        made.ok()
    }

    fn refuse_without_tls(&mut self, upstream: &model::Upstream) {
        let text = |key, text: &Option<model::Text>| Some((key, text.as_ref()?.span()));
        let keys = [
            upstream.tls_ca.as_ref().map(|ca| ("tls_ca", ca.span())),
            text("tls_server_name", &upstream.tls_server_name),
            text("tls_chain", &upstream.tls_chain),
            text("tls_key", &upstream.tls_key),
            text("tls_crypto", &upstream.tls_crypto),
        ];
        for (key, span) in keys.into_iter().flatten() {
            self.refuse(
                &span,
                &format!("{key} is set, and `tls` is not true"),
                "keys of TLS only where it is used",
                "add `tls = true`, or remove this key",
            );
        }
    }

    /// The roots that are named, or the system's.
    fn upstream_roots(
        &mut self,
        upstream: &model::Upstream,
        tls: Range<usize>,
    ) -> Option<RootCertStore> {
        let key = "tls_ca";
        if let Some(written) = &upstream.tls_ca {
            return self.bundle(key, written).map(|(roots, _)| roots);
        }
        let path = std::path::Path::new(SYSTEM_CA);
        if let Err(error) = self.context.files.read(path, PEM_BYTES_MAX) {
            self.refuse(
                &tls,
                &format!("tls = true without `tls_ca`, and {SYSTEM_CA} cannot be read ({error})"),
                "the roots that the upstream's certificate comes from",
                "add `tls_ca = \"upstream-ca.pem\"`, or install the system's roots",
            );
            return None;
        }
        let system = Spanned::new(tls, OneOrMore::One(SYSTEM_CA.into()));
        self.bundle(key, &system).map(|(roots, _)| roots)
    }

    /// The name that is written, or that of the endpoints where they have one and the same.
    fn upstream_name(&mut self, written: &Spanned<model::Upstream>) -> Option<ServerName<'static>> {
        let upstream = written.get_ref();
        let expected = "the DNS name, or the address, that the upstream's certificate has";
        let fix = "add `tls_server_name = \"app.example.org\"`";
        if let Some(text) = &upstream.tls_server_name {
            let name = text.get_ref().strip_suffix('.').unwrap_or(text.get_ref());
            let name = ServerName::try_from(name.to_owned()).map_err(|_| {
                let fix = "write one, without a port and without https://";
                let complaint = Complaint::new("is neither", expected, fix);
                self.complain("tls_server_name", text, complaint);
            });
            return name.ok();
        }
        let endpoints = upstream.endpoints.as_ref()?;
        let mut names = Vec::new();
        for text in endpoints.get_ref() {
            // One that is wrong was refused where the endpoints were read.
            match address::target(text.get_ref(), &self.model.folder).ok()? {
                Target::Name { host, .. } => names.push(host.trim_end_matches('.').to_owned()),
                Target::Socket(_) | Target::Unix(_) => {
                    let found = format!(
                        "tls = true without `tls_server_name`, and endpoint {:?} has no name",
                        text.get_ref()
                    );
                    self.refuse(&text.span(), &found, expected, fix);
                    return None;
                }
            }
        }
        names.dedup();
        let [name] = names.as_slice() else {
            if !names.is_empty() {
                let found =
                    "tls = true without `tls_server_name`, and endpoints have several names";
                self.refuse(&endpoints.span(), found, "one name, which all of them prove", fix);
            }
            return None;
        };
        let parsed = ServerName::try_from(name.clone()).map_err(|_| {
            let found = format!("endpoint {name:?} is no name that a certificate can have");
            self.refuse(&endpoints.span(), &found, expected, fix);
        });
        parsed.ok()
    }

    /// Who ringfort is; `Some(None)` where it presents no certificate.
    #[expect(clippy::option_option, reason = "the outer one is whether all is in order")]
    fn upstream_certificate(
        &mut self,
        upstream: &model::Upstream,
        provider: &CryptoProvider,
    ) -> Option<Option<Certificate>> {
        let (chain, key) = (upstream.tls_chain.as_ref(), upstream.tls_key.as_ref());
        let (alone, span, other) = match (chain, key) {
            (None, None) => return Some(None),
            (Some(_), Some(_)) => {
                let chain = ("tls_chain", chain);
                return self.own_certificate(chain, ("tls_key", key), provider).map(Some);
            }
            (Some(chain), None) => ("tls_chain", chain.span(), "tls_key"),
            (None, Some(key)) => ("tls_key", key.span(), "tls_chain"),
        };
        self.refuse(
            &span,
            &format!("{alone} is set, and `{other}` is not"),
            "a certificate and its private key",
            &format!("add `{other}`, or remove `{alone}`"),
        );
        None
    }
}

/// The versions that the backend has a suite of.
fn versions(backend: Backend) -> Vec<&'static SupportedProtocolVersion> {
    let suites = backend.suites();
    let has =
        |version: &SupportedProtocolVersion| suites.iter().any(|suite| suite.version() == version);
    VERSIONS.iter().map(|(_, version)| *version).filter(|version| has(version)).collect()
}
