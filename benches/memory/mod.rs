//! Two ends of a TLS connection in memory: what ringfort's listener serves with, and rustls' own
//! client.
//!
//! No sockets, no threads and no clock: the certificates in `pki/` are part of the repository and
//! time stands still at [`NOW_UNIX_S`], so every run does the same work. `ringfort pki` made them,
//! all of P-256: a root, an intermediate, and below it a server for `localhost` and a client. The
//! keys protect nothing.
#![allow(dead_code, reason = "several benchmarks share it, and none uses all of it")]

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use ringfort::metrics::counter::WorkerCounters;
use ringfort::policy::Rules;
use ringfort::tls::server::{Certificate, ListenerTls, ListenerTlsOptions};
use ringfort::trust::crl::Revocation;
use ringfort::trust::scope::{Scope, ScopeOptions};
use ringfort::trust::store::SessionStore;
use ringfort::trust::tickets::{TicketKeys, TicketSecret};
use ringfort::trust::verify::{
    Anchors, ClientAuth, ClientVerifier, KeyRules, KeyType, VerifierOptions,
};
use ringfort::trust::visit::{Desk, Resumption, SessionRules, Visit};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SignatureScheme};

/// The first second of 2027, when all certificates are valid.
pub const NOW_UNIX_S: u64 = 1_798_761_600;

const ROOT: &[u8] = include_bytes!("pki/root.pem");
const SERVER: &[u8] = include_bytes!("pki/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("pki/server.key");
const CLIENT: &[u8] = include_bytes!("pki/client.pem");
const CLIENT_KEY: &[u8] = include_bytes!("pki/client.key");

/// Seconds for which a session may be resumed, as the configuration has it by default.
const SESSION_AGE_MAX_S: u32 = 3600;
const TICKET_SLOT_S: u32 = 3600;
pub const VERDICTS_MAX: usize = 64;
const STORE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How a client of [`Ends`] comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// By a full handshake.
    Off,
    /// With a session that the server keeps.
    Cache,
    /// With one in a sealed ticket.
    Tickets,
}

/// The configurations of both ends.
pub struct Ends {
    /// The listener as `config::resolve` would make it, on the clock that stands still.
    pub listener: ListenerTls,
    /// What it demands of its clients.
    pub scope: Arc<Scope>,
    /// What the worker keeps: verdicts, and the sessions of the store.
    pub desk: Arc<Desk>,
    /// The sessions that are kept.
    pub store: Arc<SessionStore>,
    sessions: SessionRules,
    client: Arc<ClientConfig>,
}

impl Ends {
    /// Two ends that agree on TLS 1.3 with what `provider` prefers. Unless sessions are off, the
    /// server gives each client one ticket.
    pub fn new(provider: CryptoProvider, sessions: Sessions) -> Self {
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(chain(ROOT));
        let roots = Arc::new(roots);
        let store = Arc::new(SessionStore::new(STORE_BYTES_MAX));
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("suites for TLS 1.3")
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain(CLIENT), key(CLIENT_KEY))
            .expect("a certificate and its key");
        client.time_provider = Arc::new(StoppedClock);
        client.resumption = match sessions {
            Sessions::Off => rustls::client::Resumption::disabled(),
            Sessions::Cache | Sessions::Tickets => {
                rustls::client::Resumption::in_memory_sessions(8)
            }
        };
        Self {
            listener: listener(&provider),
            scope: Arc::new(scope(&provider, &roots)),
            desk: Desk::new(VERDICTS_MAX, Arc::clone(&store), WorkerCounters::new()),
            store,
            sessions: session_rules(sessions),
            client: Arc::new(client),
        }
    }

    /// What `proxy::connection` makes for one handshake: its visit, and its configuration.
    pub fn serve(
        &self,
        server_name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> (Arc<Visit>, Arc<ServerConfig>) {
        let certificate = self.listener.select(server_name, schemes);
        let visit = Visit::new(
            Arc::clone(&self.scope),
            self.sessions.clone(),
            Arc::clone(&self.desk),
            Arc::clone(self.listener.time()),
            self.listener.provider().secure_random,
        );
        let config = self.listener.config(certificate, visit.hooks()).expect("tried before");
        (visit, Arc::new(config))
    }

    /// Whether a client that comes back is resumed.
    pub fn resumes(&self) -> bool {
        !matches!(self.sessions.mode, Resumption::Off)
    }

    /// A client that has said nothing yet.
    pub fn client(&self) -> ClientConnection {
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::clone(&self.client), name).expect("a client")
    }

    /// A client that has said nothing yet, and keeps no session.
    pub fn forgetful_client(&self) -> ClientConnection {
        let mut config = (*self.client).clone();
        config.resumption = rustls::client::Resumption::disabled();
        let name = ServerName::try_from("localhost").expect("a name");
        ClientConnection::new(Arc::new(config), name).expect("a client")
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

fn listener(provider: &Arc<CryptoProvider>) -> ListenerTls {
    let certificate = Certificate::new(chain(SERVER), key(SERVER_KEY), provider);
    let options = ListenerTlsOptions {
        provider: Arc::clone(provider),
        versions: vec![&rustls::version::TLS13],
        alpn: Vec::new(),
        key_log: None,
        time: Some(Arc::new(StoppedClock)),
    };
    ListenerTls::new(&[certificate.expect("they match")], options).expect("a certificate")
}

/// The client meets the second of its rules.
fn scope(provider: &Arc<CryptoProvider>, roots: &RootCertStore) -> Scope {
    let keys = KeyRules { types: vec![KeyType::EcdsaP256], rsa_bits_min: 2048 };
    let anchors = Anchors::new(roots);
    let options = VerifierOptions {
        keys,
        ..VerifierOptions::new(anchors, ClientAuth::Require, Arc::clone(provider))
    };
    let verifier = ClientVerifier::new(options).expect("an anchor and a key type");
    let patterns = ["dns:*.internal.example", "spiffe://bench.example/**"];
    Scope::new(ScopeOptions {
        name: "bench".into(),
        verifier: Some(Arc::new(verifier)),
        rules: Rules::allow(patterns.map(|text| text.parse().expect("a pattern")).into()),
        revocation: Arc::new(Revocation::default()),
    })
}

fn session_rules(sessions: Sessions) -> SessionRules {
    let mode = match sessions {
        Sessions::Off => Resumption::Off,
        Sessions::Cache => Resumption::Cache,
        Sessions::Tickets => {
            let secret = TicketSecret::new(&[7; 32]).expect("long enough");
            Resumption::Tickets(Arc::new(TicketKeys::new(secret, TICKET_SLOT_S)))
        }
    };
    SessionRules { mode, age_max_s: SESSION_AGE_MAX_S, tickets: 1 }
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
