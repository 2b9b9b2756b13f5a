//! The two ends of a session under test: ringfort's `Session`, and rustls at the other side.
//!
//! Configurations are made once; nothing is resumed, so no input depends on those before it.

use std::sync::{Arc, LazyLock};

use ringfort::identity::KeyType;
use ringfort::tls::provider::{Backend, provider};
use ringfort::tls::server::{Certificate, ListenerTls, ListenerTlsOptions};
use ringfort::tls::session::Session;
use ringfort::tls::verify::{ClientAuth, ClientVerifier, KeyRules};
use rustls::client::{
    ClientConnectionData, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, UnbufferedClientConnection,
};
use rustls::crypto::CryptoProvider;
use rustls::kernel::KernelConnection;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{
    CipherSuite, ClientConfig, ConnectionTrafficSecrets, ExtractedSecrets, NamedGroup, ServerConfig,
};

use crate::pki::pki;
use crate::seal::Keys;

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
    client: Arc<ClientConfig>,
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
    let provider = provider(Backend::ALL[0], &[suite], &[NamedGroup::X25519]);
    let provider = Arc::new(provider.expect("a suite that there is"));
    Configs {
        server: server_config(is_tls12, &provider),
        plain_server: plain_server_config(is_tls12, &provider),
        client: client_config(is_tls12, &provider),
    }
}

fn versions(is_tls12: bool) -> Vec<&'static rustls::SupportedProtocolVersion> {
    vec![if is_tls12 { &rustls::version::TLS12 } else { &rustls::version::TLS13 }]
}

fn server_config(is_tls12: bool, provider: &Arc<CryptoProvider>) -> Arc<ServerConfig> {
    let pki = pki();
    let keys = KeyRules { types: KeyType::ALL.to_vec(), rsa_bits_min: 2048 };
    let roots = Arc::clone(&pki.roots);
    let verifier = ClientVerifier::new(roots, ClientAuth::Require, 6, keys, Arc::clone(provider));
    let key = PrivateKeyDer::from(pki.server.key.clone_key());
    let certificate = Certificate::new(pki.server.chain.clone(), key, provider);
    let options = ListenerTlsOptions {
        provider: Arc::clone(provider),
        versions: versions(is_tls12),
        verifier: Arc::new(verifier.expect("a verifier")),
        alpn: vec![b"one".to_vec()],
        key_log: None,
    };
    let tls = ListenerTls::new(&[certificate.expect("a certificate")], &options);
    Arc::clone(&tls.expect("a configuration").configs()[0])
}

fn plain_server_config(is_tls12: bool, provider: &Arc<CryptoProvider>) -> Arc<ServerConfig> {
    let pki = pki();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions(is_tls12))
        .expect("a suite for the version")
        .with_no_client_auth()
        .with_single_cert(pki.server.chain.clone(), pki.server.key.clone_key().into())
        .expect("a certificate and its key");
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.enable_secret_extraction = true;
    Arc::new(config)
}

fn client_config(is_tls12: bool, provider: &Arc<CryptoProvider>) -> Arc<ClientConfig> {
    let pki = pki();
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions(is_tls12))
        .expect("a suite for the version")
        .with_root_certificates(Arc::clone(&pki.roots))
        .with_client_auth_cert(pki.client.chain.clone(), pki.client.key.clone_key().into())
        .expect("a certificate and its key");
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

    /// The session under test, before its first byte.
    pub(crate) fn session(self) -> Session {
        let configs = self.configs();
        let session = if self.is_client {
            Session::client(Arc::clone(&configs.client), server_name())
        } else {
            Session::new(Arc::clone(&configs.server))
        };
        session.expect("a configuration that works")
    }

    /// The other end.
    pub(crate) fn peer(self) -> Peer {
        let configs = self.configs();
        if self.is_client {
            let config = Arc::clone(&configs.plain_server);
            let connection = UnbufferedServerConnection::new(config).expect("a server");
            Peer::Server(Box::new(connection))
        } else {
            let config = Arc::clone(&configs.client);
            let connection = UnbufferedClientConnection::new(config, server_name());
            Peer::Client(Box::new(connection.expect("a client")))
        }
    }
}

fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
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
