//! The other end of a TLS connection: certificates, a client's configuration, and a server in a
//! thread that says what a test wants, in the records that it wants.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use ringfort::cli::pki::{Authority, Issued, KeyChoice, Names, Profile, Validity};
use ringfort::tls::client::{UpstreamTls, UpstreamTlsOptions};
use ringfort::tls::provider::{Backend, provider};
use ringfort::tls::server::Certificate;
use ringfort::tls::session::Session;
use rustls::crypto::CryptoProvider;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

pub const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

fn crypto() -> Arc<CryptoProvider> {
    Arc::new(provider(Backend::ALL[0], &[], &[]).expect("all that it has"))
}

pub fn profile(name: &str) -> Profile {
    let validity = Validity::days(SystemTime::now(), 30).expect("30 days");
    Profile { common_name: name.into(), key: KeyChoice::P256, validity }
}

pub fn names(dns: &str) -> Names {
    Names { dns: vec![dns.into()], ..Names::default() }
}

pub fn authority() -> Authority {
    Authority::root(&profile("root")).expect("a root")
}

/// A server's certificate with this name.
pub fn issued(authority: &Authority, name: &str) -> Issued {
    authority.issue_server(&profile("server"), &names(name)).expect("a server")
}

/// Towards an upstream `up.test`, whose certificate must come from `authority`.
pub fn options(authority: &Authority) -> UpstreamTlsOptions {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).expect("a root");
    UpstreamTlsOptions {
        provider: crypto(),
        versions: VERSIONS.to_vec(),
        roots: Arc::new(roots),
        certificate: None,
        server_name: "up.test".try_into().expect("a name"),
        http2: false,
        time: None,
    }
}

pub fn presenting(issued: &Issued) -> Option<Certificate> {
    let key = issued.key.clone_key().into();
    Some(Certificate::new(issued.chain.clone(), key, &crypto()).expect("a certificate"))
}

/// What a client trusts, and the configuration of the server that it trusts.
pub fn pair(version: &'static SupportedProtocolVersion) -> (UpstreamTls, ServerConfig) {
    let authority = authority();
    let Issued { chain, key } = issued(&authority, "up.test");
    let mut server = ServerConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[version])
        .expect("a version of the backend")
        .with_no_client_auth()
        .with_single_cert(chain, key.into())
        .expect("a certificate");
    server.enable_secret_extraction = true;
    (UpstreamTls::new(options(&authority)).expect("a configuration"), server)
}

/// A server's side of one connection.
pub struct Peer {
    pub socket: TcpStream,
    pub session: Session,
    /// What was said and not sent.
    pub out: Vec<u8>,
}

impl Peer {
    fn accept(socket: TcpStream, config: Arc<ServerConfig>) -> Self {
        socket.set_nodelay(true).expect("an option");
        let mut peer =
            Self { socket, session: Session::new(config).expect("a session"), out: Vec::new() };
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = peer.socket.read(&mut buffer).expect("a client");
            assert!(count > 0, "the client went away");
            let agreed = peer.session.handshake(&mut buffer[..count], &mut peer.out);
            // Tickets come with the end of the handshake.
            peer.send();
            if agreed.expect("a handshake").is_some() {
                return peer;
            }
        }
    }

    pub fn say(&mut self, plain: &[u8]) {
        self.session.write(plain, &mut self.out).expect("it is open");
    }

    pub fn send(&mut self) {
        self.socket.write_all(&self.out).expect("the client is there");
        self.out.clear();
    }

    /// Reads until the client's close_notify.
    pub fn read_all(&mut self) -> Vec<u8> {
        let (mut all, mut buffer) = (self.session.take_early(), vec![0; 64 * 1024]);
        while !self.session.peer_closed() {
            let count = self.socket.read(&mut buffer).expect("no reset");
            assert!(count > 0, "cut short after {} bytes", all.len());
            self.session.read(&buffer[..count], &mut all, &mut self.out).expect("good records");
        }
        all
    }
}

/// A server of one connection, which does this behind its handshake.
pub fn serve<T: Send + 'static>(
    config: ServerConfig,
    then: impl FnOnce(Peer) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let thread = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a client");
        then(Peer::accept(socket, Arc::new(config)))
    });
    (address, thread)
}
