//! A blocking rustls client, for precise control of what is sent and when.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CipherSuite, ClientConfig, ClientConnection, NamedGroup, ProtocolVersion,
    SignatureScheme, SupportedProtocolVersion,
};

use super::PATIENCE;
use super::pki::{Credentials, SERVER_NAME, pki};

/// What a client offers.
#[derive(Clone)]
pub(crate) struct ClientOptions {
    certified: Option<(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>)>,
    versions: Vec<&'static SupportedProtocolVersion>,
    suites: Vec<CipherSuite>,
    groups: Vec<NamedGroup>,
    alpn: Vec<Vec<u8>>,
    server_name: String,
    /// For names that no certificate has.
    any_server: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self::with(&pki().client)
    }
}

impl ClientOptions {
    /// A client that presents this certificate.
    pub(crate) fn with(credentials: &Credentials) -> Self {
        Self::with_chain(credentials.chain.clone(), credentials.private_key())
    }

    /// A client that presents this chain and signs with this key, whether they fit or not.
    pub(crate) fn with_chain(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        Self { certified: Some((chain, Arc::new(key))), ..Self::anonymous() }
    }

    /// A client without a certificate.
    pub(crate) fn anonymous() -> Self {
        Self {
            certified: None,
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            suites: Vec::new(),
            groups: Vec::new(),
            alpn: Vec::new(),
            server_name: SERVER_NAME.into(),
            any_server: false,
        }
    }

    /// TLS 1.2 only.
    pub(crate) fn tls12(mut self) -> Self {
        self.versions = vec![&rustls::version::TLS12];
        self
    }

    /// TLS 1.3 only.
    pub(crate) fn tls13(mut self) -> Self {
        self.versions = vec![&rustls::version::TLS13];
        self
    }

    /// These suites, in this order.
    pub(crate) fn suites(mut self, suites: &[CipherSuite]) -> Self {
        self.suites = suites.to_vec();
        self
    }

    /// These groups, in this order.
    pub(crate) fn groups(mut self, groups: &[NamedGroup]) -> Self {
        self.groups = groups.to_vec();
        self
    }

    /// These application protocols, in this order.
    pub(crate) fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// This name in SNI and in the check of the server's certificate.
    pub(crate) fn server_name(mut self, name: &str) -> Self {
        self.server_name = name.into();
        self
    }

    /// Takes any server: for names that no certificate has.
    pub(crate) fn any_server(mut self) -> Self {
        self.any_server = true;
        self
    }

    /// The name that it asks for.
    pub(crate) fn name(&self) -> &str {
        &self.server_name
    }

    /// What rustls makes of it.
    pub(crate) fn config(&self) -> ClientConfig {
        let default = aws_lc_rs::default_provider();
        let cipher_suites = match self.suites.as_slice() {
            [] => default.cipher_suites.clone(),
            suites => suites
                .iter()
                .map(|wanted| {
                    let known = default.cipher_suites.iter();
                    *known.clone().find(|suite| suite.suite() == *wanted).expect("a known suite")
                })
                .collect(),
        };
        let kx_groups = match self.groups.as_slice() {
            [] => default.kx_groups.clone(),
            groups => groups
                .iter()
                .map(|wanted| {
                    let mut known = aws_lc_rs::ALL_KX_GROUPS.iter();
                    *known.find(|group| group.name() == *wanted).expect("a known group")
                })
                .collect(),
        };
        let provider = Arc::new(CryptoProvider { cipher_suites, kx_groups, ..default });
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .expect("versions that the suites have");
        let builder = if self.any_server {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyServer(Arc::clone(&provider))))
        } else {
            builder.with_root_certificates(pki().roots())
        };
        let mut config = match &self.certified {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = aws_lc_rs::sign::any_supported_type(key).expect("a usable key");
                let certified = Arc::new(CertifiedKey::new(chain.clone(), key));
                builder.with_client_cert_resolver(Arc::new(Always(certified)))
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.resumption = rustls::client::Resumption::disabled();
        config
    }

    /// Connects and shakes hands as far as a client can see it: under TLS 1.3 the server may
    /// still refuse.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<Client> {
        let mut client = self.open(address)?;
        client.shake_hands()?;
        Ok(client)
    }

    /// Connects, and leaves the handshake to the caller.
    pub(crate) fn open(&self, address: SocketAddr) -> io::Result<Client> {
        Ok(self.over(TcpStream::connect(address)?))
    }

    /// A TLS client over a connection that is there.
    pub(crate) fn over(&self, socket: TcpStream) -> Client {
        socket.set_nodelay(true).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
        let name = ServerName::try_from(self.server_name.clone()).expect("a name");
        let tls = ClientConnection::new(Arc::new(self.config()), name).expect("a configuration");
        Client { tls, socket }
    }

    /// Connects, and returns the alert by which the server refuses.
    ///
    /// # Panics
    /// Where the server does not refuse, or not by an alert.
    #[track_caller]
    pub(crate) fn refused(&self, address: SocketAddr) -> (SocketAddr, AlertDescription) {
        let mut client = self.open(address).expect("the port is open");
        let error = client
            .shake_hands()
            .and_then(|()| client.read(&mut [0; 1]))
            .expect_err("the server must refuse");
        let alert = alert_of(&error).unwrap_or_else(|| panic!("no alert but {error:?}"));
        (client.local_address(), alert)
    }
}

/// The alert that an error of [`Client`] stands for.
pub(crate) fn alert_of(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Presents its certificate whatever the server asks for.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A TLS connection to a gateway. Reading returns 0 at close_notify only; FIN without it is an
/// error of the kind `UnexpectedEof`.
pub(crate) struct Client {
    pub(crate) tls: ClientConnection,
    pub(crate) socket: TcpStream,
}

impl Client {
    /// Connects as the usual client does.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        ClientOptions::default().connect(address).expect("the usual client is let in")
    }

    /// The handshake, as far as a client can see it.
    pub(crate) fn shake_hands(&mut self) -> io::Result<()> {
        while self.tls.is_handshaking() {
            self.tls.complete_io(&mut self.socket)?;
        }
        // The last flight may be still to be written.
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// The address that the gateway sees.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.socket.local_addr().expect("connected")
    }

    /// Suite, group and version that were negotiated.
    pub(crate) fn negotiated(&self) -> (CipherSuite, Option<NamedGroup>, ProtocolVersion) {
        (
            self.tls.negotiated_cipher_suite().expect("the handshake is complete").suite(),
            self.tls.negotiated_key_exchange_group().map(|group| group.name()),
            self.tls.protocol_version().expect("the handshake is complete"),
        )
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the gateway takes bytes");
    }

    /// Sends bytes, where the connection is up.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.socket);
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Reads so many bytes.
    pub(crate) fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.socket);
        stream.read_exact(&mut bytes).expect("the gateway sends bytes");
        bytes
    }

    /// Sends bytes and reads as many back, which must be the same.
    #[track_caller]
    pub(crate) fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        assert!(self.receive(bytes.len()) == bytes, "what came back differs");
    }

    /// Reads a line.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.extend(self.receive(1));
        }
        String::from_utf8(line).expect("text").trim_end().to_string()
    }

    /// Sends close_notify and FIN.
    pub(crate) fn finish(&mut self) {
        self.tls.send_close_notify();
        self.flush();
        self.socket.shutdown(std::net::Shutdown::Write).expect("the connection is up");
    }

    /// Sends what rustls has ready.
    pub(crate) fn flush(&mut self) {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket).expect("the connection is up");
        }
    }

    /// Reads until close_notify.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        rustls::Stream::new(&mut self.tls, &mut self.socket).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Ends in order, both ways, and asserts that nothing more came.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.finish();
        assert_eq!(self.read_to_end().expect("close_notify ends it"), b"");
    }
}

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        rustls::Stream::new(&mut self.tls, &mut self.socket).read(buffer)
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        rustls::Stream::new(&mut self.tls, &mut self.socket).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        rustls::Stream::new(&mut self.tls, &mut self.socket).flush()
    }
}
