//! The keys of a listener that say what its TLS is made of: backend, suites, groups, versions.

use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{NamedGroup, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

use super::Resolver;
use crate::config::model::{self, Text, Texts};
use crate::tls::provider::{self, BACKENDS, Backend, BackendError, GROUPS, SUITES, VERSIONS};

type Versions = Vec<&'static SupportedProtocolVersion>;

impl Resolver<'_> {
    /// The backend, and what of it the listener uses.
    ///
    /// Where what is written is refused, the preferred backend and all that it has, so that the
    /// other checks can go on; `None` where not even that runs here.
    pub(super) fn crypto(
        &mut self,
        listener: &model::Listener,
    ) -> Option<(Backend, CryptoProvider)> {
        let backend = self.backend("crypto", listener.crypto.as_ref());
        let backend = backend.or_else(|| Backend::preferred().ok())?;
        let suites = self.known_list(
            listener.suites.as_ref(),
            "suites",
            SUITES.iter().map(|(name, _)| *name),
            |text| provider::suite_by_name(text).map(|suite| (provider::suite_name(suite), suite)),
        );
        let groups = self.known_list(
            listener.groups.as_ref(),
            "groups",
            GROUPS.iter().map(|(name, _)| *name),
            |text| provider::group_by_name(text).map(|group| (provider::group_name(group), group)),
        );
        self.refuse_lacking("suites", listener.suites.as_ref(), |text| {
            let suite = provider::suite_by_name(text)?;
            provider::provider(backend, &[suite], &[]).err()
        });
        self.refuse_lacking("groups", listener.groups.as_ref(), |text| {
            let group = provider::group_by_name(text)?;
            provider::provider(backend, &[], &[group]).err()
        });
        let (suites, groups) = (suites.unwrap_or_default(), groups.unwrap_or_default());
        let provider = provider::provider(backend, &suites, &groups)
            .or_else(|_| provider::provider(backend, &[], &[]));
        Some((backend, provider.ok()?))
    }

    /// The backend that a key names, or the preferred one.
    pub(super) fn backend(&mut self, key: &str, written: Option<&Text>) -> Option<Backend> {
        let Some(text) = written else {
            return Backend::preferred()
                .map_err(|error| {
                    self.refuse_absent(&error.found(), &error.expected(), &error.fix());
                })
                .ok();
        };
        match text.get_ref().parse() {
            Ok(backend) => return Some(backend),
            Err(BackendError::Unknown(_)) => {
                self.refuse_unknown(key, text, BACKENDS.iter().copied());
            }
            Err(error) => {
                let found = format!("{key} asks for {}", error.found());
                self.refuse(&text.span(), &found, &error.expected(), &error.fix());
            }
        }
        None
    }

    /// Refuses what the backend lacks where it is written.
    fn refuse_lacking(
        &mut self,
        key: &str,
        written: Option<&Texts>,
        lacking: impl Fn(&str) -> Option<BackendError>,
    ) {
        for text in written.map(|texts| texts.get_ref().as_slice()).unwrap_or_default() {
            if let Some(error) = lacking(text.get_ref()) {
                let found = format!("{key} lists {}", error.found());
                self.refuse(&text.span(), &found, &error.expected(), &error.fix());
            }
        }
    }

    /// The versions, each with a suite and a group that it can use, and no suite without a version.
    pub(super) fn versions(
        &mut self,
        listener: &model::Listener,
        backend: Backend,
        provider: &CryptoProvider,
    ) -> Versions {
        let parse = |text: &str| {
            provider::version_by_name(text)
                .map(|version| (provider::version_name(version.version), version))
        };
        let names = VERSIONS.iter().map(|(name, _)| *name);
        let has = |version: &SupportedProtocolVersion, suites: &[SupportedCipherSuite]| {
            suites.iter().any(|suite| suite.version() == version)
        };
        let theirs = backend.suites();
        // Where nothing is said, what the backend can do; what is written must be possible.
        let default = || VERSIONS.iter().map(|(_, it)| *it).filter(|it| has(it, &theirs)).collect();
        let versions = self
            .known_list(listener.tls_versions.as_ref(), "tls_versions", names, parse)
            .unwrap_or_else(default);
        for version in &versions {
            self.refuse_without_suite(listener, backend, has(version, &theirs), version, provider);
        }
        self.refuse_suites_without_version(listener, &versions);
        self.refuse_hybrid_alone(listener, &versions, provider);
        versions
    }

    fn refuse_without_suite(
        &mut self,
        listener: &model::Listener,
        backend: Backend,
        backend_has: bool,
        version: &SupportedProtocolVersion,
        provider: &CryptoProvider,
    ) {
        let name = provider::version_name(version.version);
        if let Some(versions) = listener.tls_versions.as_ref().filter(|_| !backend_has) {
            let backend = backend.name();
            self.refuse(
                &versions.span(),
                &format!(
                    "tls_versions lists {name}, and the crypto backend {backend} has no suite of it"
                ),
                "versions that the backend has",
                &format!("write `tls_versions` without \"{name}\", or choose another backend"),
            );
        } else if let Some(suites) = &listener.suites
            && !provider.cipher_suites.iter().any(|suite| suite.version() == version)
        {
            self.refuse(
                &suites.span(),
                &format!("suites lists none of TLS {name}"),
                "a suite for each of `tls_versions`",
                &format!("add one, or write `tls_versions` without \"{name}\""),
            );
        }
    }

    fn refuse_suites_without_version(&mut self, listener: &model::Listener, versions: &Versions) {
        let suites = listener.suites.as_ref().map(|suites| suites.get_ref().as_slice());
        for text in suites.unwrap_or_default() {
            let version = provider::suite_by_name(text.get_ref()).map(provider::version_of);
            if let Some(version) = version.filter(|version| !versions.contains(version)) {
                let name = provider::version_name(version.version);
                self.refuse(
                    &text.span(),
                    &format!("{:?} is a suite of TLS {name}", text.get_ref()),
                    "suites of `tls_versions` only",
                    &format!("remove it, or add \"{name}\" to `tls_versions`"),
                );
            }
        }
    }

    fn refuse_hybrid_alone(
        &mut self,
        listener: &model::Listener,
        versions: &Versions,
        provider: &CryptoProvider,
    ) {
        let classic = |group: &&dyn SupportedKxGroup| group.name() != NamedGroup::X25519MLKEM768;
        let has_tls12 = versions.iter().any(|version| version.version == ProtocolVersion::TLSv1_2);
        if let Some(groups) = &listener.groups
            && has_tls12
            && !provider.kx_groups.iter().any(classic)
        {
            self.refuse(
                &groups.span(),
                "groups lists X25519MLKEM768 alone, which TLS 1.2 cannot use",
                "a group for each of `tls_versions`",
                "add \"X25519\" to `groups`, or write `tls_versions = [\"1.3\"]`",
            );
        }
    }
}
