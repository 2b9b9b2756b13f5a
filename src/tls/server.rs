//! The server side of one listener: its certificates, and which one a ClientHello gets.
//!
//! Each handshake gets a `rustls::ServerConfig` of its own, with one certificate and with hooks
//! that know the connection, so rustls has nothing left to resolve and nobody is asked for
//! somebody else. Who may pass is not known here, nor are files, sockets and clocks: DER, an
//! opened key log and a source of time come in.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoClientAuth, NoServerSessionStorage, ProducesTickets, ServerConfig, StoresServerSessions,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{InconsistentKeys, KeyLog, SignatureScheme, SupportedProtocolVersion};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::server_name::NameMap;

/// A server certificate: its chain parses, and its key is the leaf's.
#[derive(Clone, Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    uri: Option<Arc<str>>,
    not_before_unix_s: i64,
    not_after_unix_s: i64,
}

/// Why a chain and a key are not a server certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// The chain holds no certificate.
    Empty,
    /// The certificate at this index of the chain, from 0, is not X.509.
    Unparsable {
        /// Its index in the chain.
        index: usize,
        /// What the parser says.
        reason: String,
    },
    /// The backend cannot sign with this key.
    UnusableKey(String),
    /// The key is not the leaf's.
    KeyMismatch,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the chain is empty"),
            Self::Unparsable { index, reason } => {
                write!(f, "certificate {} of the chain does not parse: {reason}", index + 1)
            }
            Self::UnusableKey(reason) => write!(f, "the key cannot be used: {reason}"),
            Self::KeyMismatch => f.write_str("the key does not belong to the first certificate"),
        }
    }
}

impl std::error::Error for CertificateError {}

impl Certificate {
    /// Takes a chain, leaf first, and the leaf's key.
    ///
    /// # Errors
    ///
    /// See [`CertificateError`]. Validity in time is for the caller to judge.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, CertificateError> {
        for (index, der) in chain.iter().enumerate() {
            parse_x509(der).map_err(|reason| CertificateError::Unparsable { index, reason })?;
        }
        let leaf = chain.first().ok_or(CertificateError::Empty)?;
        let x509 =
            parse_x509(leaf).map_err(|reason| CertificateError::Unparsable { index: 0, reason })?;
        let names = dns_names(&x509);
        let uri = first_uri(&x509);
        let not_before_unix_s = x509.validity().not_before.timestamp();
        let not_after_unix_s = x509.validity().not_after.timestamp();
        drop(x509);
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CertificateError::KeyMismatch
            }
            other => CertificateError::UnusableKey(other.to_string()),
        })?;
        Ok(Self { key: Arc::new(key), names, uri, not_before_unix_s, not_after_unix_s })
    }

    /// The DNS names of the leaf, in lower case, wildcards as `*.example.org`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The chain and the key.
    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// First second of the leaf's validity, in seconds since 1970.
    pub fn not_before_unix_s(&self) -> i64 {
        self.not_before_unix_s
    }

    /// Last second of the leaf's validity, in seconds since 1970.
    pub fn not_after_unix_s(&self) -> i64 {
        self.not_after_unix_s
    }
}

fn parse_x509<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], x509)) => Ok(x509),
        Ok((rest, _)) => Err(format!("{} bytes follow the certificate", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

fn dns_names(x509: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = x509.subject_alternative_name() else {
        return Vec::new();
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

fn first_uri(x509: &X509Certificate<'_>) -> Option<Arc<str>> {
    let extension = x509.subject_alternative_name().ok()??;
    extension.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some(Arc::from(*uri)),
        _ => None,
    })
}

/// What all certificates of one listener share.
#[derive(Clone, Debug)]
pub struct ListenerTlsOptions {
    /// Suites and groups, in the order of preference.
    pub provider: Arc<CryptoProvider>,
    /// Protocol versions.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Application protocols, most preferred first; empty = the extension is not answered.
    pub alpn: Vec<Vec<u8>>,
    /// Where the secrets of every connection go; only for debugging.
    pub key_log: Option<Arc<dyn KeyLog>>,
    /// The wall clock that the validity of client certificates is judged by; `None` is the
    /// system's. Another one is for tests that say what time it is.
    pub time: Option<Arc<dyn TimeProvider>>,
}

/// What rustls asks during a handshake, and whom.
#[derive(Debug)]
pub struct Hooks {
    /// Whether a client may pass.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// Which sessions are resumed; `None`: none are.
    pub sessions: Option<SessionHooks>,
}

/// What rustls asks about sessions, and whom.
#[derive(Debug)]
pub struct SessionHooks {
    /// Keeps sessions, where it says that it can.
    pub storage: Arc<dyn StoresServerSessions>,
    /// Makes tickets, where it says that it is enabled; the storage is for others then.
    pub ticketer: Arc<dyn ProducesTickets>,
    /// Tickets for each handshake of TLS 1.3.
    pub tickets: usize,
}

impl Hooks {
    /// Nobody is asked for a certificate, and no session is resumed.
    pub fn none() -> Self {
        Self { verifier: Arc::new(NoClientAuth), sessions: None }
    }
}

/// The certificates of one listener, ready to serve; at least one.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    certificates: Vec<Arc<CertifiedKey>>,
    /// The first URI of each.
    uris: Vec<Option<Arc<str>>>,
    options: ListenerTlsOptions,
    time: Arc<dyn TimeProvider>,
    /// Indices into `certificates` by name, in the order of the configuration.
    names: NameMap<Vec<usize>>,
    /// Every index: who asks for no name, or for an unknown one.
    all: Vec<usize>,
}

impl ListenerTls {
    /// The first certificate is the default.
    ///
    /// # Errors
    ///
    /// `rustls::Error::NoCertificatesPresented` without a certificate; what rustls reports where
    /// versions, suites and groups have nothing in common.
    pub fn new(
        certificates: &[Certificate],
        options: ListenerTlsOptions,
    ) -> Result<Self, rustls::Error> {
        if certificates.is_empty() {
            return Err(rustls::Error::NoCertificatesPresented);
        }
        let mut names: NameMap<Vec<usize>> = NameMap::default();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                let indices = names.entry(name);
                if indices.last() != Some(&index) {
                    indices.push(index);
                }
            }
        }
        let time = options.time.clone().unwrap_or_else(|| Arc::new(DefaultTimeProvider));
        let tls = Self {
            certificates: certificates.iter().map(|it| Arc::clone(&it.key)).collect(),
            uris: certificates.iter().map(|it| it.uri.clone()).collect(),
            options,
            time,
            names,
            all: (0..certificates.len()).collect(),
        };
        tls.config(0, Hooks::none()).map(|_| tls)
    }

    /// The certificate for a ClientHello, by its index.
    ///
    /// By exact name, then by wildcard (which stands for exactly one label, RFC 6125, 6.4.3),
    /// otherwise among all certificates. Of those that qualify, the first whose key can sign with
    /// a scheme that the client offers; the first of them where none can, so that the handshake
    /// fails with the alert that says why.
    pub fn select(
        &self,
        server_name: Option<&str>,
        signature_schemes: &[SignatureScheme],
    ) -> usize {
        let candidates: &[usize] =
            server_name.and_then(|name| self.names.get(name)).unwrap_or(&self.all);
        match candidates {
            [only] => *only,
            several => several
                .iter()
                .copied()
                .find(|index| {
                    self.certificates[*index].key.choose_scheme(signature_schemes).is_some()
                })
                .unwrap_or(several[0]),
        }
    }

    /// The first URI that the certificate at `index` names, as it is written there: the SPIFFE ID
    /// of a gateway that has one. Whatever writes it must escape it.
    pub fn uri(&self, index: usize) -> Option<&Arc<str>> {
        self.uris.get(index)?.as_ref()
    }

    /// The configuration of one handshake with the certificate at `index`, which asks `hooks`.
    ///
    /// # Errors
    ///
    /// As [`ListenerTls::new`], which has tried it: none where that returned.
    pub fn config(&self, index: usize, hooks: Hooks) -> Result<ServerConfig, rustls::Error> {
        let ListenerTlsOptions { provider, versions, alpn, key_log, .. } = &self.options;
        let key = SingleCertAndKey::from(Arc::clone(&self.certificates[index]));
        let time = Arc::clone(&self.time);
        let mut config = ServerConfig::builder_with_details(Arc::clone(provider), time)
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(hooks.verifier)
            .with_cert_resolver(Arc::new(key));
        config.ignore_client_order = true;
        config.alpn_protocols.clone_from(alpn);
        // A session is resumed only by leave of a hook: rustls itself compares suite, extended
        // master secret and server name, and nothing else. Without one, no session is kept, and
        // no ticket sent (nor, without a ticketer, which is the default, any of TLS 1.2).
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_tls13_tickets = 0;
        if let Some(sessions) = hooks.sessions {
            config.session_storage = sessions.storage;
            config.ticketer = sessions.ticketer;
            config.send_tls13_tickets = sessions.tickets;
            config.max_tls13_tickets = sessions.tickets;
        }
        // Early data can be replayed, and comes before the client has proven anything.
        config.max_early_data_size = 0;
        // The record layer takes the keys over after the handshake.
        config.enable_secret_extraction = true;
        if let Some(key_log) = key_log {
            config.key_log = Arc::clone(key_log);
        }
        Ok(config)
    }

    /// Suites and groups, in the order of preference.
    pub fn provider(&self) -> &Arc<CryptoProvider> {
        &self.options.provider
    }

    /// The wall clock that validity is judged by.
    pub fn time(&self) -> &Arc<dyn TimeProvider> {
        &self.time
    }
}

/// Writes TLS secrets in the format of `SSLKEYLOGFILE` to an opened file.
///
/// The lock is taken a few times per handshake, and only where the option is set. A line that
/// cannot be written is lost: a full disk must not end the connections that are being debugged.
pub struct KeyLogWriter<W>(Mutex<W>);

impl<W: Write + Send> KeyLogWriter<W> {
    /// Writes to `sink`, which was opened for appending.
    pub fn new(sink: W) -> Self {
        Self(Mutex::new(sink))
    }
}

impl<W> fmt::Debug for KeyLogWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLogWriter")
    }
}

impl<W: Write + Send> KeyLog for KeyLogWriter<W> {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!("{label} {} {}\n", Hex(client_random), Hex(secret));
        let mut sink = match self.0.lock() {
            Ok(sink) => sink,
            Err(poisoned) => poisoned.into_inner(),
        };
        // One write per line: several workers append to one file.
        let _lost = sink.write_all(line.as_bytes());
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
