//! The two ends of a session under test: ringfort's `Session`, and rustls at the other side.
//!
//! Configurations are made once and nothing is resumed; random numbers, certificates and time are
//! the simulation's. So an input does the same in every run, whatever came before it.

use std::sync::{Arc, LazyLock};

use ringfort::metrics::counter::WorkerCounters;
use ringfort::policy::Rules;
use ringfort::sim::crypto::{self, Clock};
use ringfort::sim::pki::{Client, Credentials, Pki, Verdict, server_name};
use ringfort::tls::server::{Certificate, ListenerTls, ListenerTlsOptions};
use ringfort::tls::session::Session;
use ringfort::trust::scope::{Scope, ScopeOptions};
use ringfort::trust::store::SessionStore;
use ringfort::trust::verify::{Anchors, ClientAuth, ClientVerifier, VerifierOptions};
use ringfort::trust::visit::{self, Desk, SessionRules, Visit};
use rustls::client::{
    ClientConnectionData, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, UnbufferedClientConnection,
};
use rustls::crypto::CryptoProvider;
use rustls::kernel::KernelConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{
    CipherSuite, ClientConfig, ConnectionTrafficSecrets, ExtractedSecrets, NamedGroup,
    ServerConfig, SupportedProtocolVersion,
};

use crate::pki::NOW_UNIX_S;
use crate::seal::Keys;

/// What the random numbers of every handshake follow from.
const SEED: u64 = 0x72_66;

/// Verdicts that the server keeps: none that an earlier input could have left.
const VERDICTS: usize = 1;

/// What the ends agree on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    /// The session under test is the client's.
    pub(crate) is_client: bool,
    pub(crate) is_tls12: bool,
    pub(crate) is_chacha: bool,
}

/// Both configurations of one version and suite.
struct Configs {
    server: Arc<ServerConfig>,
    /// rustls' own, without ringfort's verifier.
    plain_server: Arc<ServerConfig>,
    /// By position in [`Client::LASTING`].
    clients: Vec<Arc<ClientConfig>>,
}

/// By version and suite.
static CONFIGS: LazyLock<[Configs; 4]> =
    LazyLock::new(|| [(false, false), (false, true), (true, false), (true, true)].map(configs));

fn configs((is_tls12, is_chacha): (bool, bool)) -> Configs {
    let suite = match (is_tls12, is_chacha) {
        (false, false) => CipherSuite::TLS13_AES_128_GCM_SHA256,
        (false, true) => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        (true, false) => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        (true, true) => CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    };
    let mut provider = CryptoProvider::clone(&crypto::provider(SEED));
    provider.cipher_suites.retain(|known| known.suite() == suite);
    let provider = Arc::new(provider);
    let versions: &[&SupportedProtocolVersion] =
        if is_tls12 { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
    let client = |client: &Client| client_config(versions, &provider, *client);
    Configs {
        server: server_config(versions, &provider),
        plain_server: plain_server_config(versions, &provider),
        clients: Client::LASTING.iter().map(client).collect(),
    }
}

fn clock() -> Arc<Clock> {
    Arc::new(Clock::new(NOW_UNIX_S))
}

fn server_config(
    versions: &[&'static SupportedProtocolVersion],
    provider: &Arc<CryptoProvider>,
) -> Arc<ServerConfig> {
    let pki = Pki::new();
    let anchors = Anchors::new(pki.anchors());
    let options = VerifierOptions::new(anchors, ClientAuth::Require, Arc::clone(provider));
    let verifier = ClientVerifier::new(options).expect("a verifier");
    let Credentials { chain, key } = pki.server().clone();
    let certificate = Certificate::new(chain, key.into(), provider);
    let options = ListenerTlsOptions {
        provider: Arc::clone(provider),
        versions: versions.to_vec(),
        alpn: vec![b"one".to_vec()],
        key_log: None,
        time: Some(clock()),
    };
    let tls = ListenerTls::new(&[certificate.expect("a certificate")], options);
    let tls = tls.expect("a configuration");
    let scope = Scope::new(ScopeOptions {
        name: "fuzz".into(),
        verifier: Some(Arc::new(verifier)),
        rules: Rules::unrestricted(),
        revocation: Arc::default(),
    });
    let sessions = SessionRules { mode: visit::Resumption::Off, age_max_s: 1, tickets: 0 };
    let desk = Desk::new(VERDICTS, Arc::new(SessionStore::new(0)), WorkerCounters::new());
    let random = provider.secure_random;
    let visit = Visit::new(Arc::new(scope), sessions, desk, Arc::clone(tls.time()), random);
    Arc::new(tls.config(0, visit.hooks()).expect("a configuration"))
}

fn plain_server_config(
    versions: &[&'static SupportedProtocolVersion],
    provider: &Arc<CryptoProvider>,
) -> Arc<ServerConfig> {
    let Credentials { chain, key } = Pki::new().server().clone();
    let mut config = ServerConfig::builder_with_details(Arc::clone(provider), clock())
        .with_protocol_versions(versions)
        .expect("a suite for the version")
        .with_no_client_auth()
        .with_single_cert(chain, key.into())
        .expect("a certificate and its key");
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.enable_secret_extraction = true;
    Arc::new(config)
}

fn client_config(
    versions: &[&'static SupportedProtocolVersion],
    provider: &Arc<CryptoProvider>,
    client: Client,
) -> Arc<ClientConfig> {
    let pki = Pki::new();
    let builder = ClientConfig::builder_with_details(Arc::clone(provider), clock())
        .with_protocol_versions(versions)
        .expect("a suite for the version")
        .with_root_certificates(Arc::clone(pki.anchors()));
    let mut config = match pki.client(client) {
        None => builder.with_no_client_auth(),
        Some(Credentials { chain, key }) => {
            builder.with_client_auth_cert(chain, key.into()).expect("a certificate and its key")
        }
    };
    config.alpn_protocols = vec![b"one".to_vec()];
    config.enable_secret_extraction = true;
    // It reads tickets, which a store that is off would not let it.
    config.resumption = Resumption::store(Arc::new(Forgetful));
    Arc::new(config)
}

/// Takes every ticket and has none.
#[derive(Debug)]
struct Forgetful;

impl ClientSessionStore for Forgetful {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

impl Choice {
    fn configs(self) -> &'static Configs {
        &CONFIGS[2 * usize::from(self.is_tls12) + usize::from(self.is_chacha)]
    }

    /// The session under test and the other end, before their first byte. Of the clients, `who` is
    /// the one by position in [`Client::LASTING`].
    pub(crate) fn ends(self, who: usize) -> (Session, Peer) {
        let configs = self.configs();
        crypto::seed_thread(SEED);
        let client = Arc::clone(&configs.clients[who % Client::LASTING.len()]);
        if self.is_client {
            let session = Session::client(client, server_name());
            let server = UnbufferedServerConnection::new(Arc::clone(&configs.plain_server));
            (session.expect("a client"), Peer::Server(Box::new(server.expect("a server"))))
        } else {
            let session = Session::new(Arc::clone(&configs.server));
            let client = UnbufferedClientConnection::new(client, server_name());
            (session.expect("a server"), Peer::Client(Box::new(client.expect("a client"))))
        }
    }

    /// The certificate that the session has to see of the other end; `None` where it must not
    /// agree.
    pub(crate) fn certificate(self, who: usize) -> Option<CertificateDer<'static>> {
        let pki = Pki::new();
        if self.is_client {
            return pki.server().chain.first().cloned();
        }
        let client = Client::LASTING[who % Client::LASTING.len()];
        let is_refused = matches!(client.verdict(NOW_UNIX_S), Verdict::Refused(_));
        pki.client(client).filter(|_| !is_refused)?.chain.first().cloned()
    }
}

/// rustls' end of a handshake.
pub(crate) enum Peer {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

impl Peer {
    /// Takes what is in `incoming` and appends what there is to say. Returns whether its own
    /// handshake is complete; `None` where it gave up.
    pub(crate) fn run(&mut self, incoming: &mut Vec<u8>, outgoing: &mut Vec<u8>) -> Option<bool> {
        loop {
            let (discard, waits) = match self {
                Self::Client(client) => advance(client.process_tls_records(incoming), outgoing),
                Self::Server(server) => advance(server.process_tls_records(incoming), outgoing),
            };
            incoming.drain(..discard);
            match waits? {
                Waits::No => {}
                Waits::ForBytes => return Some(false),
                Waits::ForData => return Some(true),
            }
        }
    }

    /// Its keys, once its handshake is complete.
    pub(crate) fn into_established(self, choice: Choice) -> EstablishedPeer {
        let (secrets, kernel) = match self {
            Self::Client(client) => {
                let (secrets, kernel) = client.dangerous_into_kernel_connection().expect("keys");
                (secrets, Kernel::Client(Box::new(kernel)))
            }
            Self::Server(server) => {
                let (secrets, kernel) = server.dangerous_into_kernel_connection().expect("keys");
                (secrets, Kernel::Server(Box::new(kernel)))
            }
        };
        let ExtractedSecrets { tx, rx } = secrets;
        let is_tls13 = !choice.is_tls12;
        let (read, write) = (Keys::new(rx, is_tls13), Keys::new(tx, is_tls13));
        EstablishedPeer { kernel, read, write }
    }
}

enum Waits {
    No,
    ForBytes,
    ForData,
}

fn advance<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Vec<u8>,
) -> (usize, Option<Waits>) {
    let UnbufferedStatus { discard, state } = status;
    let waits = match state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(&mut data, outgoing);
            Some(Waits::No)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Some(Waits::No)
        }
        Ok(ConnectionState::WriteTraffic(_)) => Some(Waits::ForData),
        Ok(ConnectionState::BlockedHandshake) => Some(Waits::ForBytes),
        _ => None,
    };
    (discard, waits)
}

fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let start = out.len();
    while let Err(EncodeError::InsufficientSize(more)) = data.encode(&mut out[start..]) {
        out.resize(start + more.required_size, 0);
    }
}

enum Kernel {
    Client(Box<KernelConnection<ClientConnectionData>>),
    Server(Box<KernelConnection<ServerConnectionData>>),
}

/// An end that has the keys and makes records by hand.
pub(crate) struct EstablishedPeer {
    kernel: Kernel,
    pub(crate) read: Keys,
    pub(crate) write: Keys,
}

impl EstablishedPeer {
    /// Its next record has new keys; TLS 1.3 only.
    pub(crate) fn renew_write(&mut self) {
        let secrets: (u64, ConnectionTrafficSecrets) = match &mut self.kernel {
            Kernel::Client(kernel) => kernel.update_tx_secret(),
            Kernel::Server(kernel) => kernel.update_tx_secret(),
        }
        .expect("TLS 1.3");
        self.write = Keys::new(secrets, true);
    }

    /// The session's next record has new keys; TLS 1.3 only.
    pub(crate) fn renew_read(&mut self) {
        let secrets: (u64, ConnectionTrafficSecrets) = match &mut self.kernel {
            Kernel::Client(kernel) => kernel.update_rx_secret(),
            Kernel::Server(kernel) => kernel.update_rx_secret(),
        }
        .expect("TLS 1.3");
        self.read = Keys::new(secrets, true);
    }
}
