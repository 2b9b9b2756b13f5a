//! Two ends in memory: certificates, configurations, rustls' client, and a client whose records
//! are made by hand.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use ringfort::cli::pki::{Authority, Issued, KeyChoice, Names, Profile, Validity};
use ringfort::tls::provider::{Backend, provider};
use ringfort::tls::record::{ContentType, HEADER_BYTES, ReadKeys, WriteKeys};
use ringfort::tls::server::{Certificate, Hooks, ListenerTls, ListenerTlsOptions};
use ringfort::tls::session::{Agreed, Session, SessionError};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::kernel::KernelConnection;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    SupportedCipherSuite, SupportedProtocolVersion,
};

pub const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
pub const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [TLS13, TLS12];

/// One authority, a server with a key of each kind, a client.
struct Pki {
    roots: Arc<RootCertStore>,
    ecdsa: Issued,
    rsa: Issued,
    client: Issued,
}

fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let profile = |name: &str, key| Profile {
            common_name: name.into(),
            key,
            validity: Validity::days(SystemTime::now(), 30).expect("30 days"),
        };
        let names = || Names { dns: vec!["localhost".into()], ..Names::default() };
        let root = Authority::root(&profile("root", KeyChoice::P256)).expect("a root");
        let server = |key| root.issue_server(&profile("server", key), &names()).expect("a server");
        let (ecdsa, rsa) = (server(KeyChoice::P256), server(KeyChoice::Rsa));
        let client = profile("client", KeyChoice::P256);
        let mut client = root.issue_client(&client, &names()).expect("a client");
        // So that there is a chain; a client may present its anchor too.
        client.chain.push(root.certificate().clone());
        let mut roots = RootCertStore::empty();
        roots.add(root.certificate().clone()).expect("a root");
        Pki { roots: Arc::new(roots), ecdsa, rsa, client }
    })
}

/// What the two ends may agree on; empty stands for all.
#[derive(Clone)]
pub struct Offer {
    pub backend: Backend,
    pub versions: Vec<&'static SupportedProtocolVersion>,
    pub suites: Vec<SupportedCipherSuite>,
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// Bytes of the client's records at most.
    pub fragment_bytes: Option<usize>,
}

impl Default for Offer {
    fn default() -> Self {
        let (versions, suites, groups) = Default::default();
        Self { backend: Backend::ALL[0], versions, suites, groups, fragment_bytes: None }
    }
}

impl Offer {
    pub fn version(version: &'static SupportedProtocolVersion) -> Self {
        Self { versions: vec![version], ..Self::default() }
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        if self.versions.is_empty() { VERSIONS.to_vec() } else { self.versions.clone() }
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = provider(self.backend, &[], &[]).expect("all that there is");
        if !self.suites.is_empty() {
            provider.cipher_suites.clone_from(&self.suites);
        }
        if !self.groups.is_empty() {
            provider.kx_groups.clone_from(&self.groups);
        }
        provider
    }

    pub fn server(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(self.provider());
        let roots = Arc::clone(&pki().roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let certificates = [&pki().ecdsa, &pki().rsa].map(|issued| {
            let key = PrivateKeyDer::from(issued.key.clone_key());
            Certificate::new(issued.chain.clone(), key, &provider).expect("they match")
        });
        let options = ListenerTlsOptions {
            provider,
            versions: self.versions(),
            alpn: vec![b"one".to_vec()],
            key_log: None,
            time: None,
        };
        let tls = ListenerTls::new(&certificates, options).expect("certificates");
        let rsa = self.suites.iter().any(|suite| format!("{:?}", suite.suite()).contains("_RSA_"));
        let hooks = Hooks { verifier: verifier.build().expect("a root"), sessions: None };
        Arc::new(tls.config(usize::from(rsa), hooks).expect("a configuration"))
    }

    pub fn client(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(self.provider());
        let issued = &pki().client;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions())
            .expect("suites for the versions")
            .with_root_certificates(Arc::clone(&pki().roots))
            .with_client_auth_cert(issued.chain.clone(), issued.key.clone_key().into())
            .expect("a certificate and its key");
        config.alpn_protocols = vec![b"one".to_vec()];
        config.enable_secret_extraction = true;
        config.max_fragment_size = self.fragment_bytes;
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }

    pub fn session(&self) -> Session {
        Session::new(self.server()).expect("a configuration that works")
    }
}

/// What the client presents.
pub fn client_chain() -> &'static [CertificateDer<'static>] {
    &pki().client.chain
}

pub fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// rustls' client and the session, and what the session said so far.
pub struct Pair {
    pub client: ClientConnection,
    pub server: Session,
    pub agreed: Option<Agreed>,
    /// What the session received.
    pub plain: Vec<u8>,
    /// What the session has to say and was not delivered.
    pub out: Vec<u8>,
    /// What the client received.
    received: Vec<u8>,
}

impl Pair {
    pub fn new(offer: &Offer) -> Self {
        let client = ClientConnection::new(offer.client(), server_name()).expect("a client");
        let server = offer.session();
        let (plain, out, received) = Default::default();
        Self { client, server, agreed: None, plain, out, received }
    }

    /// Two ends whose handshake is complete.
    pub fn established(offer: &Offer) -> Self {
        let mut pair = Self::new(offer);
        pair.shake(usize::MAX);
        pair
    }

    /// Runs the handshake; what the client says arrives in pieces of `piece_bytes`.
    pub fn shake(&mut self, piece_bytes: usize) {
        while self.agreed.is_none() || self.client.is_handshaking() {
            let flight = self.client_flight();
            assert!(!flight.is_empty(), "the handshake stalls");
            for piece in flight.chunks(piece_bytes) {
                self.feed(piece).expect("a good client");
            }
            self.deliver().expect("a good server");
        }
    }

    /// All that the client wants to send now.
    pub fn client_flight(&mut self) -> Vec<u8> {
        let mut flight = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut flight).expect("memory");
        }
        flight
    }

    /// Gives received bytes to the session as the gateway does.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        if self.agreed.is_some() {
            return self.server.read(bytes, &mut self.plain, &mut self.out);
        }
        self.agreed = self.server.handshake(&mut bytes.to_vec(), &mut self.out)?;
        if self.agreed.is_some() {
            self.plain.append(&mut self.server.take_early());
        }
        Ok(())
    }

    /// Gives the client what the session had to say.
    pub fn deliver(&mut self) -> Result<(), rustls::Error> {
        let out = std::mem::take(&mut self.out);
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).expect("memory");
            self.client.process_new_packets()?;
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = self.client.reader().read(&mut chunk) {
                self.received.extend_from_slice(&chunk[..count]);
            }
        }
        Ok(())
    }

    /// Encrypts by the client.
    pub fn sent_by_client(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut flight = Vec::new();
        for part in plain.chunks(16 * 1024) {
            self.client.writer().write_all(part).expect("room");
            flight.extend(self.client_flight());
        }
        flight
    }

    /// What the client has decrypted.
    pub fn client_plain(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Sends both ways and requires that it arrives.
    pub fn echo(&mut self, message: &[u8]) {
        let flight = self.sent_by_client(message);
        self.plain.clear();
        self.feed(&flight).expect("data");
        assert_eq!(self.plain, message);
        self.server.write(message, &mut self.out).expect("keys");
        self.deliver().expect("data");
        assert_eq!(self.client_plain(), message);
    }

    /// The alert by which the session ended, as rustls' client reads it.
    pub fn alert_seen(&mut self) -> AlertDescription {
        match self.deliver() {
            Err(rustls::Error::AlertReceived(alert)) => alert,
            other => panic!("no alert but {other:?}"),
        }
    }
}

/// A client that can say what rustls' would not: it has the keys and makes records by hand.
pub struct RawClient {
    kernel: KernelConnection<ClientConnectionData>,
    suite: SupportedCipherSuite,
    read: ReadKeys,
    write: WriteKeys,
}

impl RawClient {
    /// Both ends after a handshake.
    pub fn established(version: &'static SupportedProtocolVersion) -> (Self, Session) {
        let offer = Offer::version(version);
        let mut session = offer.session();
        let mut client =
            UnbufferedClientConnection::new(offer.client(), server_name()).expect("a client");
        let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
        let mut agreed = None;
        while !run(&mut client, &mut incoming, &mut outgoing) || agreed.is_none() {
            let done = session.handshake(&mut outgoing, &mut incoming).expect("a good client");
            agreed = agreed.or(done);
            outgoing.clear();
        }
        let suite = agreed.expect("agreed").suite;
        let (secrets, kernel) = client.dangerous_into_kernel_connection().expect("keys");
        let most = u64::MAX >> 1;
        let read = ReadKeys::new(suite, secrets.rx, most).expect("a known algorithm");
        let write = WriteKeys::new(suite, secrets.tx, most).expect("a known algorithm");
        (Self { kernel, suite, read, write }, session)
    }

    /// One record.
    pub fn record(&mut self, kind: ContentType, content: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        self.write.seal(kind, content, &mut record).expect("a fresh key");
        record
    }

    /// Our next record has new keys.
    pub fn renew_write(&mut self) {
        let secrets = self.kernel.update_tx_secret().expect("TLS 1.3");
        self.write = WriteKeys::new(self.suite, secrets, u64::MAX >> 1).expect("as before");
    }

    /// The server's next record has new keys.
    pub fn renew_read(&mut self) {
        let secrets = self.kernel.update_rx_secret().expect("TLS 1.3");
        self.read = ReadKeys::new(self.suite, secrets, u64::MAX >> 1).expect("as before");
    }

    /// Opens the first record of `wire` and takes it off.
    pub fn open(&mut self, wire: &mut Vec<u8>) -> (ContentType, Vec<u8>) {
        let bytes = self.read.record_bytes(wire).expect("a header").expect("a whole header");
        assert!(bytes >= HEADER_BYTES && bytes <= wire.len());
        let record: Vec<u8> = wire.drain(..bytes).collect();
        let mut plain = Vec::new();
        let kind = self.read.open(&record, &mut plain).expect("it decrypts");
        (kind, plain)
    }
}

/// Runs rustls' client until it waits; returns whether it may send data.
fn run(
    client: &mut UnbufferedClientConnection,
    incoming: &mut Vec<u8>,
    outgoing: &mut Vec<u8>,
) -> bool {
    loop {
        let UnbufferedStatus { discard, state } = client.process_tls_records(incoming);
        let waits = match state.expect("a good server") {
            ConnectionState::EncodeTlsData(mut data) => {
                let start = outgoing.len();
                while let Err(EncodeError::InsufficientSize(more)) =
                    data.encode(&mut outgoing[start..])
                {
                    outgoing.resize(start + more.required_size, 0);
                }
                None
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                None
            }
            ConnectionState::BlockedHandshake => Some(false),
            ConnectionState::WriteTraffic(_) => Some(true),
            other => panic!("unexpected: {other:?}"),
        };
        incoming.drain(..discard);
        if let Some(waits) = waits {
            return waits;
        }
    }
}
