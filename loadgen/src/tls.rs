//! The TLS side of a run: who we are, whom we trust, what is agreed on, which tickets are kept.

use std::collections::VecDeque;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use ringfort::cli::pki::{Authority, KeyChoice, Names, Profile, Validity};
use ringfort::tls::provider::{Backend, group_by_name, provider, suite_by_name, version_by_name};
use ringfort::tls::server::KeyLogWriter;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    WebPkiServerVerifier,
};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, KeyLog, NamedGroup, RootCertStore};
use rustls::{SignatureScheme, SupportedProtocolVersion};

use crate::cli::CommonArgs;
use crate::limits::{PEM_BYTES_MAX, TICKETS_MAX};

/// Why TLS cannot be set up; the text names the file or option.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read.
    File(PathBuf, io::Error),
    /// A file holds something else than expected.
    Content(PathBuf, String),
    /// An option names what there is not.
    Unknown(&'static str, String),
    /// The options do not go together.
    Config(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{} cannot be read: {error}", path.display()),
            Self::Content(path, what) => write!(f, "{}: {what}", path.display()),
            Self::Unknown(option, name) => {
                write!(f, "{option}: {name:?} is not known to the crypto backend")
            }
            Self::Config(what) => f.write_str(what),
        }
    }
}

/// One client, as the server sees it.
#[derive(Debug)]
pub struct Identity {
    /// Offers no session; keeps tickets where some will be resumed.
    pub full: Arc<ClientConfig>,
    /// Offers a session where one is kept.
    pub resuming: Arc<ClientConfig>,
}

/// The clients of a run, who take turns.
///
/// # Errors
/// [`TlsError`], for the first file or option that does not fit.
pub fn identities(
    args: &CommonArgs,
    alpn: &[String],
    resume: bool,
) -> Result<Vec<Identity>, TlsError> {
    let provider = Arc::new(crypto(args)?);
    let verifier = verifier(args, &provider)?;
    let key_log = args.key_log.as_deref().map(open_key_log).transpose()?;
    let versions = versions(args)?;
    let configure = |client: Option<Arc<CertifiedKey>>| {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|error| {
                TlsError::Config(format!("--tls, --suite and --group do not go together: {error}"))
            })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier));
        let mut config = match client {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        // The record layer takes the keys over after the handshake.
        config.enable_secret_extraction = true;
        if let Some(key_log) = &key_log {
            config.key_log = Arc::clone(key_log);
        }
        Ok(Identity::new(config, resume))
    };
    match (&args.cert, args.identities) {
        (_, Some(count)) => {
            minted(args, count, &provider)?.into_iter().map(|key| configure(Some(key))).collect()
        }
        (Some(cert), None) => {
            let key = certified_key(cert, args.key.as_deref(), &provider)?;
            Ok(vec![configure(Some(key))?])
        }
        (None, None) => Ok(vec![configure(None)?]),
    }
}

impl Identity {
    fn new(mut config: ClientConfig, resume: bool) -> Self {
        if !resume {
            config.resumption = Resumption::disabled();
            let full = Arc::new(config);
            return Self { resuming: Arc::clone(&full), full };
        }
        let kept = Arc::new(Kept::default());
        let mut full = config.clone();
        let store = |gives| Arc::new(Store { kept: Arc::clone(&kept), gives });
        full.resumption = Resumption::store(store(false));
        config.resumption = Resumption::store(store(true));
        Self { full: Arc::new(full), resuming: Arc::new(config) }
    }
}

fn crypto(args: &CommonArgs) -> Result<CryptoProvider, TlsError> {
    let suites: Result<Vec<_>, _> = args
        .suite
        .iter()
        .map(|name| suite_by_name(name).ok_or_else(|| TlsError::Unknown("--suite", name.clone())))
        .collect();
    let groups: Result<Vec<_>, _> = args
        .group
        .iter()
        .map(|name| group_by_name(name).ok_or_else(|| TlsError::Unknown("--group", name.clone())))
        .collect();
    let (suites, groups) = (suites?, groups?);
    let made = Backend::preferred().and_then(|backend| provider(backend, &suites, &groups));
    made.map_err(|error| TlsError::Config(error.to_string()))
}

fn versions(args: &CommonArgs) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    if args.tls.is_empty() {
        return Ok(rustls::ALL_VERSIONS.to_vec());
    }
    let version = |name: &String| {
        version_by_name(name).ok_or_else(|| TlsError::Unknown("--tls", name.clone()))
    };
    args.tls.iter().map(version).collect()
}

fn verifier(
    args: &CommonArgs,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let Some(path) = &args.ca else {
        return Ok(Arc::new(Insecure(provider.signature_verification_algorithms)));
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(path)? {
        roots.add(root).map_err(|error| {
            TlsError::Content(path.clone(), format!("a certificate is no root: {error}"))
        })?;
    }
    let inner =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    let inner = inner.map_err(|error| TlsError::Content(path.clone(), error.to_string()))?;
    Ok(Arc::new(Remembering { inner, verified: OnceLock::new() }))
}

fn open_key_log(path: &Path) -> Result<Arc<dyn KeyLog>, TlsError> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(|error| TlsError::File(path.to_owned(), error))?;
    Ok(Arc::new(KeyLogWriter::new(file)))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| TlsError::File(path.to_owned(), error))?;
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(TlsError::Content(path.to_owned(), "expected PEM certificates".into())),
        Err(error) => Err(TlsError::Content(path.to_owned(), format!("no good PEM: {error}"))),
    }
}

fn certified_key(
    cert: &Path,
    key: Option<&Path>,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(cert)?;
    let key = key.ok_or_else(|| TlsError::Config("--cert needs --key".into()))?;
    let der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| {
        TlsError::Content(key.to_owned(), format!("expected an unencrypted PEM key: {error}"))
    })?;
    let pair = CertifiedKey::from_der(chain, der, provider);
    pair.map(Arc::new).map_err(|error| {
        TlsError::Content(key.to_owned(), format!("does not go with {}: {error}", cert.display()))
    })
}

/// Certificates `client-1` to `client-N`, with SPIFFE IDs, of the authority that was given.
fn minted(
    args: &CommonArgs,
    count: usize,
    provider: &CryptoProvider,
) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
    let (Some(ca), Some(key)) = (&args.identity_ca, &args.identity_ca_key) else {
        return Err(TlsError::Config("--identities needs --identity-ca and its key".into()));
    };
    let failed = |error: &dyn fmt::Display| {
        TlsError::Content(ca.clone(), format!("no client can be minted: {error}"))
    };
    let authority = Authority::from_pem(&read(ca)?, &read(key)?).map_err(|e| failed(&e))?;
    let validity = || Validity::days(SystemTime::now(), 30).map_err(|e| failed(&e));
    (1..=count)
        .map(|number| {
            let name = format!("client-{number}");
            let names = Names {
                spiffe: Some(format!("spiffe://loadgen.example/{name}")),
                ..Names::default()
            };
            let profile =
                Profile { common_name: name, key: KeyChoice::P256, validity: validity()? };
            let issued = authority.issue_client(&profile, &names).map_err(|e| failed(&e))?;
            CertifiedKey::from_der(issued.chain, issued.key.into(), provider)
                .map(Arc::new)
                .map_err(|e| failed(&e))
        })
        .collect()
}

/// Verifies chains as webpki does, and remembers the first that was good: a server presents the
/// same one again and again, and a client that verifies it each time costs more than the server.
/// The signature of each handshake is always checked, so the server has the key.
#[derive(Debug)]
struct Remembering {
    inner: Arc<WebPkiServerVerifier>,
    verified: OnceLock<Verified>,
}

#[derive(Debug)]
struct Verified {
    chain: Vec<Vec<u8>>,
    server_name: ServerName<'static>,
}

impl Verified {
    fn is(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> bool {
        let presented = std::iter::once(leaf).chain(intermediates).map(AsRef::as_ref);
        self.server_name == *name && self.chain.iter().map(Vec::as_slice).eq(presented)
    }
}

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.verified.get().is_some_and(|verified| verified.is(leaf, intermediates, name)) {
            return Ok(ServerCertVerified::assertion());
        }
        let verdict = self.inner.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        self.verified.get_or_init(|| Verified {
            chain: std::iter::once(leaf).chain(intermediates).map(|der| der.to_vec()).collect(),
            server_name: name.to_owned(),
        });
        Ok(verdict)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// `--insecure`: whoever the server says it is, but it has the key of the certificate it shows.
#[derive(Debug)]
struct Insecure(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Insecure {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The sessions of one identity: a run speaks to one server only.
#[derive(Debug, Default)]
struct Kept {
    tickets: Mutex<VecDeque<Tls13ClientSessionValue>>,
    session: Mutex<Option<Tls12ClientSessionValue>>,
}

/// rustls' own store gives out what it keeps; that of a client whose handshakes are to be full
/// must not, and still has to keep what the others resume with.
#[derive(Debug)]
struct Store {
    kept: Arc<Kept>,
    gives: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientSessionStore for Store {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *lock(&self.kept.session) = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        if self.gives { lock(&self.kept.session).clone() } else { None }
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *lock(&self.kept.session) = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut tickets = lock(&self.kept.tickets);
        if tickets.len() >= TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(value);
    }

    /// The newest: tickets are for one use (RFC 8446, C.4), and old ones may have expired.
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if self.gives { lock(&self.kept.tickets).pop_back() } else { None }
    }
}
