//! The keys of a listener that say what its TLS is made of: backend, suites, groups, versions.

use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{
    CipherSuite, NamedGroup, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::Resolver;
use crate::config::model::{self, Text};
use crate::tls::provider::{self, BACKENDS, Backend, BackendError, GROUPS, SUITES, VERSIONS};

type Versions = Vec<&'static SupportedProtocolVersion>;

impl Resolver<'_> {
    /// The backend, and what of it the listener uses.
    ///
    /// `None` where there is no backend, which was refused here: nothing that is said about suites
    /// or keys can be judged without one.
    pub(super) fn crypto(
        &mut self,
        listener: &model::Listener,
    ) -> Option<(Backend, CryptoProvider)> {
        let backend = self.backend(listener.crypto.as_ref())?;
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
        // What the backend lacks is refused where it is written; the other checks go on without.
        let suites = self.had_by_backend(&listener.suites, suites, |suite: &CipherSuite| {
            provider::provider(backend, &[*suite], &[])
        });
        let groups = self.had_by_backend(&listener.groups, groups, |group: &NamedGroup| {
            provider::provider(backend, &[], &[*group])
        });
        provider::provider(backend, &suites, &groups).ok().map(|provider| (backend, provider))
    }
