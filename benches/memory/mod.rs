//! Two ends of a TLS connection in memory: what ringfort's listener serves with, and rustls' own
//! client.
//!
//! No sockets, no threads and no clock: the certificates in `pki/` are part of the repository and
//! time stands still at [`NOW_UNIX_S`], so every run does the same work. `ringfort pki` made them,
//! all of P-256: a root, an intermediate, and below it a server for `localhost` and a client. The
//! keys protect nothing.
#![allow(dead_code, reason = "several benchmarks share it, and none uses all of it")]

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringfort::limits::CHAIN_CERTIFICATES_MAX;
use ringfort::metrics::counter::WorkerCounters;
use ringfort::policy::Rules;
use ringfort::tls::server::{Certificate, ListenerTls, ListenerTlsOptions};
use ringfort::trust::scope::{Scope, ScopeOptions};
use ringfort::trust::store::SessionStore;
use ringfort::trust::verify::{
    Anchors, ClientAuth, ClientVerifier, KeyRules, KeyType, VerifierOptions,
};
use ringfort::trust::visit::{Desk, Resumption, SessionRules, Visit};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::StoresServerSessions;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

/// The first second of 2027, when all certificates are valid.
pub const NOW_UNIX_S: u64 = 1_798_761_600;

const ROOT: &[u8] = include_bytes!("pki/root.pem");
const SERVER: &[u8] = include_bytes!("pki/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("pki/server.key");
const CLIENT: &[u8] = include_bytes!("pki/client.pem");
const CLIENT_KEY: &[u8] = include_bytes!("pki/client.key");

/// The configurations of both ends.
pub struct Ends {
    /// The listener as `config::resolve` would make it.
    pub listener: ListenerTls,
    /// Its only configuration, on the clock that stands still.
    pub server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Ends {
    /// Two ends that agree on TLS 1.3 with what `provider` prefers. With `resumption` the server
    /// gives each client one ticket, which ringfort's own listeners do not yet.
    pub fn new(provider: CryptoProvider, resumption: bool) -> Self {
        let provider = Arc::new(provider);
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(chain(ROOT));
        let anchors = Arc::new(anchors);
        let listener = listener(&provider, &anchors);
        let mut server = (*listener.configs()[0]).clone();
        server.time_provider = Arc::new(StoppedClock);
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("suites for TLS 1.3")
            .with_root_certificates(anchors)
            .with_client_auth_cert(chain(CLIENT), key(CLIENT_KEY))
            .expect("a certificate and its key");
        client.time_provider = Arc::new(StoppedClock);
        client.resumption = Resumption::disabled();
        if resumption {
            server.session_storage = Arc::new(OneSession(Mutex::new(None)));
            server.send_tls13_tickets = 1;
            client.resumption = Resumption::in_memory_sessions(8);
        }
        Self { listener, server: Arc::new(server), client: Arc::new(client) }
    }

    /// Whether the server gives tickets.
    pub fn resumes(&self) -> bool {
        self.server.send_tls13_tickets > 0
    }

    /// A client that has said nothing yet.
    pub fn client(&self) -> ClientConnection {
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::clone(&self.client), name).expect("a client")
    }
}

/// Has the client shake hands with `serve`, which takes each of its flights and appends the answer.
pub fn shake(client: &mut ClientConnection, mut serve: impl FnMut(&mut [u8], &mut Vec<u8>)) {
    while client.is_handshaking() || client.wants_write() {
        let mut flight = flight(client);
        let mut answer = Vec::new();
        serve(&mut flight, &mut answer);
        assert!(deliver(client, &answer).is_empty(), "a handshake brings no data");
    }
}

/// What the client wants to send now.
pub fn flight(client: &mut ClientConnection) -> Vec<u8> {
    let mut flight = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut flight).expect("memory");
    }
    flight
}

/// `plain` as the client sends it.
pub fn sent(client: &mut ClientConnection, plain: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for part in plain.chunks(16 * 1024) {
        client.writer().write_all(part).expect("room");
        wire.append(&mut flight(client));
    }
    wire
}

/// Gives the client `wire`; returns the data that was in it.
pub fn deliver(client: &mut ClientConnection, mut wire: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !wire.is_empty() {
        client.read_tls(&mut wire).expect("memory");
        client.process_new_packets().expect("a good server");
        let mut part = [0; 16 * 1024];
        while let Ok(count @ 1..) = client.reader().read(&mut part) {
            plain.extend_from_slice(&part[..count]);
        }
    }
    plain
}

/// The client's own certificate.
pub fn client_leaf() -> CertificateDer<'static> {
    chain(CLIENT).swap_remove(0)
}

fn listener(provider: &Arc<CryptoProvider>, anchors: &Arc<RootCertStore>) -> ListenerTls {
    let certificate = Certificate::new(chain(SERVER), key(SERVER_KEY), provider);
    let keys = KeyRules { types: vec![KeyType::EcdsaP256], rsa_bits_min: 2048 };
    let verifier = ClientVerifier::new(
        Arc::clone(anchors),
        ClientAuth::Require,
        CHAIN_CERTIFICATES_MAX,
        keys,
        Arc::clone(provider),
    );
    let options = ListenerTlsOptions {
        provider: Arc::clone(provider),
        versions: vec![&rustls::version::TLS13],
        verifier: Arc::new(verifier.expect("an anchor and a key type")),
        alpn: Vec::new(),
        key_log: None,
        time: None,
    };
    ListenerTls::new(&[certificate.expect("they match")], &options).expect("a certificate")
}

fn chain(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().expect("certificates")
}

fn key(pem: &[u8]) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem).expect("a key")
}

#[derive(Debug)]
struct StoppedClock;

impl TimeProvider for StoppedClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW_UNIX_S)))
    }
}

/// The last session only: rustls' own store is a table whose hashes differ from run to run.
#[derive(Debug)]
struct OneSession(Mutex<Option<(Vec<u8>, Vec<u8>)>>);

impl OneSession {
    fn with<R>(&self, act: impl FnOnce(&mut Option<(Vec<u8>, Vec<u8>)>) -> R) -> R {
        act(&mut self.0.lock().expect("no holder panics"))
    }
}

impl StoresServerSessions for OneSession {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.with(|stored| *stored = Some((id, session)));
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.with(|stored| stored.clone()).filter(|(known, _)| known == id).map(|(_, it)| it)
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.with(|stored| stored.take_if(|(known, _)| known == id)).map(|(_, session)| session)
    }

    fn can_cache(&self) -> bool {
        true
    }
}
