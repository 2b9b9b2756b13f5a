//! Recordings of real connections: against a rustls server in this process, against `openssl
//! s_server`, and against servers that misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls::{SupportedProtocolVersion, crypto::aws_lc_rs::kx_group};
use socket2::{Domain, Socket, Type};

use super::*;

mod openssl;

const NAME: &str = "gateway.example";
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.0 200 OK\r\n\r\nhello";
const CLIENT: Direction = Direction::ToServer;
const SERVER: Direction = Direction::ToClient;

/// A private CA with a server's and a client's certificate under it.
struct Pki {
    ca: CertificateDer<'static>,
    server: (CertificateDer<'static>, PrivateKeyDer<'static>),
    client: (CertificateDer<'static>, PrivateKeyDer<'static>),
    server_pem: (String, String),
    ca_pem: String,
}

impl Pki {
    fn new() -> Self {
        let named = |names: &[&str], common: &str| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(names).expect("names are DNS names");
            params.distinguished_name.push(DnType::CommonName, common);
            params
        };
        let mut params = named(&[], "Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("P-256 key");
        let ca = CertifiedIssuer::self_signed(params, key).expect("self-signed");
        let issue = |params: CertificateParams| {
            let key = KeyPair::generate().expect("P-256 key");
            let certificate = params.signed_by(&key, &ca).expect("issued");
            let der = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS #8");
            let pem = (certificate.pem(), key.serialize_pem());
            ((certificate.der().clone(), der), pem)
        };
        let (server, server_pem) = issue(named(&[NAME], "gateway"));
        let (client, _) = issue(named(&["client.example"], "client"));
        Self { ca: ca.der().clone(), server, client, server_pem, ca_pem: ca.pem() }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).expect("a root");
        Arc::new(roots)
    }

    fn client_certificate(&self) -> ClientCertificate {
        ClientCertificate { chain: vec![self.client.0.clone()], key: self.client.1.clone_key() }
    }

    fn options(&self, address: SocketAddr) -> RecordOptions<'static> {
        RecordOptions {
            address,
            server_name: ServerName::try_from(NAME).expect("a DNS name"),
            trust: Trust::Required(self.roots()),
            peer: "gateway",
            client_cert: Some(self.client_certificate()),
            alpn: vec![b"http/1.1".to_vec()],
            versions: rustls::DEFAULT_VERSIONS,
            provider: Arc::new(aws_lc_rs::default_provider()),
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(15),
            request: REQUEST,
            response_end: ResponseEnd::Close,
            response_bytes_max: 1000,
        }
    }

    /// A server that answers one request on one connection, if its handshake succeeds.
    fn serve(
        &self,
        version: &'static SupportedProtocolVersion,
        groups: &[&'static dyn SupportedKxGroup],
    ) -> (SocketAddr, thread::JoinHandle<Option<Duration>>) {
        let provider = provider(groups);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("the provider has suites of this version")
            .with_client_cert_verifier(verifier.build().expect("a root is given"))
            .with_single_cert(vec![self.server.0.clone()], self.server.1.clone_key())
            .expect("the key fits");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        serve_raw(move |mut socket| {
            let tls = ServerConnection::new(Arc::new(config)).expect("a good configuration");
            let mut stream = StreamOwned::new(tls, socket.try_clone().expect("a descriptor"));
            let mut request = [0; REQUEST.len()];
            let began = Instant::now();
            let read = stream.read_exact(&mut request);
            // rustls leaves the alert of a failed handshake to be written.
            let _ = stream.conn.write_tls(&mut socket);
            read.ok()?;
            stream.write_all(RESPONSE).expect("the client reads");
            stream.conn.send_close_notify();
            stream.flush().expect("the client reads");
            Some(began.elapsed())
        })
    }
}

fn provider(groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: groups.to_vec(), ..aws_lc_rs::default_provider() })
}

/// A server that does `act` to its one connection, then waits for the client to close.
fn serve_raw<T: Send + 'static>(
    act: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("the test connects");
        act(socket)
    });
    (address, server)
}

/// Names of a direction's messages in their order, records of no interest left out.
fn names(decoded: &Decoded, direction: Direction) -> Vec<&'static str> {
    let messages = decoded.messages.iter();
    let own = messages.filter(|message| message.direction == direction);
    own.map(|message| match &message.body {
        Body::ClientHello(_) => "ClientHello",
        Body::ServerHello(hello) if hello.retry => "HelloRetryRequest",
        Body::ServerHello(_) => "ServerHello",
        Body::EncryptedExtensions { .. } => "EncryptedExtensions",
        Body::CertificateRequest { .. } => "CertificateRequest",
        Body::Certificate(_) => "Certificate",
        Body::CertificateVerify { .. } => "CertificateVerify",
        Body::Finished { .. } => "Finished",
        Body::ServerKeyExchange { .. } => "ServerKeyExchange",
        Body::ServerHelloDone => "ServerHelloDone",
        Body::ClientKeyExchange { .. } => "ClientKeyExchange",
        Body::NewSessionTicket { .. } => "NewSessionTicket",
        Body::ChangeCipherSpec => "ChangeCipherSpec",
        Body::ApplicationData => "ApplicationData",
        Body::Alert { .. } => "Alert",
        Body::Opaque { content_type: 21 } => "encrypted Alert",
        _ => "?",
    })
    .filter(|name| !matches!(*name, "ChangeCipherSpec" | "NewSessionTicket"))
    .collect()
}

fn check_bytes_and_times(recording: &Recording) -> Decoded {
    let decoded = recording.decode();
    for (direction, totals) in [(CLIENT, decoded.to_server), (SERVER, decoded.to_client)] {
        let own = || {
            let messages = decoded.messages.iter();
            messages.filter(move |message| message.direction == direction)
        };
        assert!(own().all(|message| message.bytes > 0), "{decoded:?}");
        assert!(own().is_sorted_by_key(|message| message.at));
        assert!(own().all(|message| message.at >= recording.began()));
        let messages: usize = own().map(|message| message.bytes).sum();
        let wire_bytes = recording.wire_bytes(direction);
        assert_eq!(messages + totals.overhead_bytes, wire_bytes);
        assert_eq!(totals.wire_bytes, wire_bytes);
    }
    decoded
}

fn hello(decoded: &Decoded) -> &ServerHello {
    let mut bodies = decoded.messages.iter().map(|message| &message.body);
    let found = bodies.find_map(|body| match body {
        Body::ServerHello(hello) if !hello.retry => Some(hello),
        _ => None,
    });
    found.expect("a ServerHello")
}

const CLIENT_13: [&str; 6] =
    ["ClientHello", "Certificate", "CertificateVerify", "Finished", "ApplicationData", "Alert"];
const SERVER_13: [&str; 8] = [
    "ServerHello",
    "EncryptedExtensions",
    "CertificateRequest",
    "Certificate",
    "CertificateVerify",
    "Finished",
    "ApplicationData",
    "Alert",
];

#[test]
fn every_message_of_a_tls_1_3_handshake_is_listed_in_order() {
    let pki = Pki::new();
    let groups: [(&'static dyn SupportedKxGroup, _, _); 2] =
        [(kx_group::X25519, 0x001d, (32, 32)), (kx_group::X25519MLKEM768, 0x11ec, (1216, 1120))];
    for (group, code, (client_share, server_share)) in groups {
        let (address, server) = pki.serve(&TLS13, &[group]);
        let mut options = pki.options(address);
        options.provider = provider(&[group]);
        let recording = record(&options).expect("the server answers");
        server.join().expect("no panic").expect("a good handshake");
        assert_eq!(recording.response(), RESPONSE);
        let decoded = check_bytes_and_times(&recording);
        assert_eq!(names(&decoded, CLIENT), CLIENT_13);
        assert_eq!(names(&decoded, SERVER), SERVER_13);
        let share = Share { group: code, bytes: server_share };
        assert_eq!(hello(&decoded).share, Some(share));
        assert_eq!(hello(&decoded).version, 0x0304);
        let rows = recording.timeline(&[]);
        let exchange = rows.iter().find(|row| row.what == "key exchange");
        let said = &exchange.expect("a key exchange").details;
        assert!(said.contains(&format!("client's share {client_share} bytes")), "{said}");
    }
}

#[test]
fn every_suite_of_tls_1_3_is_decrypted() {
    let pki = Pki::new();
    for suite in [
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        let (address, _server) = pki.serve(&TLS13, &[kx_group::X25519]);
        let mut options = pki.options(address);
        options.provider = Arc::new(CryptoProvider {
            cipher_suites: vec![suite],
            ..aws_lc_rs::default_provider()
        });
        let recording = record(&options).expect("the server answers");
        let decoded = check_bytes_and_times(&recording);
        assert_eq!(hello(&decoded).suite, u16::from(suite.suite()));
        assert_eq!(names(&decoded, SERVER), SERVER_13);
    }
}

#[test]
fn a_hello_retry_request_and_both_client_hellos_are_listed() {
    let pki = Pki::new();
    let (address, _server) = pki.serve(&TLS13, &[kx_group::SECP384R1]);
    let mut options = pki.options(address);
    options.provider = provider(&[kx_group::X25519, kx_group::SECP384R1]);
    let recording = record(&options).expect("the server answers");
    let decoded = check_bytes_and_times(&recording);
    assert_eq!(names(&decoded, CLIENT)[..3], ["ClientHello", "ClientHello", "Certificate"]);
    assert_eq!(names(&decoded, SERVER)[..2], ["HelloRetryRequest", "ServerHello"]);
    assert_eq!(names(&decoded, SERVER)[2..], SERVER_13[1..]);
}

#[test]
fn a_tls_1_2_handshake_is_listed_in_clear_and_its_finished_as_encrypted() {
    let pki = Pki::new();
    let (address, _server) = pki.serve(&TLS12, &[kx_group::X25519]);
    let recording = record(&pki.options(address)).expect("the server answers");
    let decoded = check_bytes_and_times(&recording);
    let client = names(&decoded, CLIENT);
    assert_eq!(
        client[..6],
        [
            "ClientHello",
            "Certificate",
            "ClientKeyExchange",
            "CertificateVerify",
            "Finished",
            "ApplicationData"
        ]
    );
    assert_eq!(
        names(&decoded, SERVER)[..7],
        [
            "ServerHello",
            "Certificate",
            "ServerKeyExchange",
            "CertificateRequest",
            "ServerHelloDone",
            "Finished",
            "ApplicationData"
        ]
    );
    let rows = recording.timeline(&[]);
    let exchange = rows.iter().find(|row| row.what == "key exchange");
    let said = &exchange.expect("a key exchange").details;
    assert!(said.ends_with("client's share 32 bytes, gateway's share 32 bytes"), "{said}");
}

#[test]
fn the_timeline_has_the_clients_checks_and_the_gateways_events_by_time() {
    let pki = Pki::new();
    let (address, _server) = pki.serve(&TLS13, &[kx_group::X25519]);
    let recording = record(&pki.options(address)).expect("the server answers");
    let event = |micros, what: &str| ServerEvent {
        at: recording.began() + Duration::from_micros(micros),
        what: what.to_owned(),
        duration: Some(Duration::from_micros(7)),
    };
    let events = [event(3_000_000, "authorised: rule 1"), event(0, "accepted")];
    let rows = recording.timeline(&events);
    assert!(rows.is_sorted_by_key(|row| row.at));
    let at = |what: &str| {
        let found = rows.iter().position(|row| row.what == what);
        found.unwrap_or_else(|| panic!("{what} is missing: {rows:#?}"))
    };
    assert_eq!((at("accepted"), at("authorised")), (0, rows.len() - 1));
    assert_eq!(rows[at("authorised")].details, "rule 1");
    let order = [
        "connected",
        "ClientHello",
        "ServerHello",
        "key exchange",
        "certificate chain",
        "handshake signature",
        "request",
        "response, first byte",
    ];
    assert!(order.map(at).is_sorted(), "{rows:#?}");
    for check in ["certificate chain", "handshake signature"] {
        assert!(rows[at(check)].duration.is_some_and(|took| took > Duration::ZERO));
        assert!(!rows[at(check)].alarm);
    }
    let chain = &rows[at("Certificate")].details;
    assert!(chain.contains("CN=gateway, DNS:gateway.example, P-256"), "{chain}");
    assert!(rows[at("CertificateRequest")].details.contains("CN=Test CA"));
    assert!(rows[at("ClientHello")].details.contains("SNI gateway.example; ALPN http/1.1"));
    println!("{}{}", table(&rows, false), recording.summary().join("\n"));
}

#[test]
fn a_client_without_a_certificate_is_refused_after_its_own_finished() {
    let pki = Pki::new();
    let (address, _server) = pki.serve(&TLS13, &[kx_group::X25519]);
    let mut options = pki.options(address);
    options.client_cert = None;
    let error = record(&options).expect_err("a certificate is required");
    assert!(error.to_string().contains("certificate_required (116)"), "{error}");
    assert!(matches!(error.cause, Cause::Refused { phase: Phase::Response, alert: 116 }));
    let recording = error.recording.expect("much was recorded");
    let decoded = check_bytes_and_times(&recording);
    assert_eq!(names(&decoded, CLIENT)[..3], ["ClientHello", "Certificate", "Finished"]);
    assert_eq!(names(&decoded, SERVER).last(), Some(&"Alert"));
    let rows = recording.timeline(&[]);
    let alert = rows.iter().find(|row| row.alarm).expect("an alert");
    assert_eq!((&*alert.what, &*alert.details), ("alert", "certificate_required"));
    println!("{}", table(&rows, false));
}

#[test]
fn a_client_without_a_certificate_is_refused_though_it_sends_nothing() {
    let pki = Pki::new();
    let (address, _server) = pki.serve(&TLS13, &[kx_group::X25519]);
    let mut options = pki.options(address);
    options.client_cert = None;
    options.request = b"";
    options.response_end = ResponseEnd::Quiet(Duration::from_secs(3));
    let error = record(&options).expect_err("a certificate is required");
    assert!(matches!(error.cause, Cause::Refused { alert: 116, .. }), "{error}");
}

#[test]
fn quiet_after_a_good_handshake_is_a_complete_response() {
    let pki = Pki::new();
    let (address, _server) = pki.serve(&TLS13, &[kx_group::X25519]);
    let mut options = pki.options(address);
    options.request = b"";
    options.response_end = ResponseEnd::Quiet(Duration::from_millis(100));
    let recording = record(&options).expect("nothing is wrong");
    assert_eq!(recording.response(), b"");
}

#[test]
fn no_more_of_a_response_is_read_than_was_allowed() {
    let pki = Pki::new();
    let (address, _server) = pki.serve(&TLS13, &[kx_group::X25519]);
    let mut options = pki.options(address);
    options.response_bytes_max = 8;
    let recording = record(&options).expect("the server answers");
    assert_eq!(recording.response(), &RESPONSE[..8]);
    assert!(recording.response_truncated());
}

#[test]
fn a_server_under_another_root_is_refused_and_its_chain_is_shown() {
    let pki = Pki::new();
    let (address, _server) = pki.serve(&TLS13, &[kx_group::X25519]);
    let mut options = pki.options(address);
    options.trust = Trust::Required(Pki::new().roots());
    let error = record(&options).expect_err("the root is another");
    assert!(error.to_string().contains("certificate does not verify"), "{error}");
    let recording = error.recording.expect("much was recorded");
    check_bytes_and_times(&recording);
    let rows = recording.timeline(&[]);
    let failed = rows.iter().find(|row| row.what == "certificate chain");
    assert!(failed.is_some_and(|row| row.alarm && row.details.starts_with("FAILED")));
    assert!(rows.iter().any(|row| row.lane == Lane::Wire(CLIENT) && row.what == "alert"));
}

#[test]
fn servers_that_close_stall_or_talk_garbage_give_clear_errors() {
    let pki = Pki::new();
    let read_hello = |socket: &mut TcpStream| {
        let mut header = [0; 5];
        socket.read_exact(&mut header).expect("the ClientHello");
        let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        socket.read_exact(&mut hello).expect("the ClientHello");
    };
    let (address, _server) = serve_raw(move |mut socket| read_hello(&mut socket));
    let error = record(&pki.options(address)).expect_err("the server closes");
    let phase = Phase::Handshake;
    assert!(matches!(error.cause, Cause::Closed { phase: of } if of == phase), "{error}");

    let (address, _server) = serve_raw(move |mut socket| {
        read_hello(&mut socket);
        socket.read(&mut [0; 10])
    });
    let mut options = pki.options(address);
    options.handshake_timeout = Duration::from_millis(80);
    let began = Instant::now();
    let error = record(&options).expect_err("the server stalls");
    assert!(error.to_string().contains("timed out after 80 ms"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2));

    let (address, _server) = serve_raw(move |mut socket| {
        read_hello(&mut socket);
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("the client reads");
        socket.read(&mut [0; 10])
    });
    let error = record(&pki.options(address)).expect_err("the server talks garbage");
    assert!(error.to_string().contains("does not answer in TLS"), "{error}");
    let recording = error.recording.expect("much was recorded");
    assert!(recording.timeline(&[]).iter().any(|row| row.what == "not TLS"));
    check_bytes_and_times(&recording);
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    let pki = Pki::new();
    // Bound and never listening: nobody else can come to listen there.
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    held.bind(&any.into()).expect("a free port");
    let address = held.local_addr().expect("bound");
    let address = address.as_socket().expect("an IPv4 address");
    let error = record(&pki.options(address)).expect_err("nobody listens");
    assert!(error.to_string().starts_with(&address.to_string()), "{error}");
    assert!(error.recording.is_none());
}

#[test]
fn a_response_of_so_many_bytes_is_complete_though_the_server_stays() {
    let pki = Pki::new();
    let (address, _server) = pki.serve(&TLS13, &[kx_group::X25519]);
    let mut options = pki.options(address);
    options.response_end = ResponseEnd::Bytes(RESPONSE.len());
    let recording = record(&options).expect("the server answers");
    assert_eq!(recording.response(), RESPONSE);

    let (address, _server) = pki.serve(&TLS13, &[kx_group::X25519]);
    options = pki.options(address);
    options.response_end = ResponseEnd::Bytes(RESPONSE.len() + 1);
    let error = record(&options).expect_err("the server says no more");
    let phase = Phase::Response;
    assert!(matches!(error.cause, Cause::Closed { phase: of } if of == phase), "{error}");
}

#[test]
fn more_than_a_recording_holds_ends_it() {
    let mut wire = record::Wire::default();
    let bytes = vec![0; crate::limits::TIMELINE_WIRE_BYTES_MAX];
    wire.add(&bytes, Instant::now()).expect("just within the bound");
    assert!(matches!(wire.add(&[0], Instant::now()), Err(Cause::TooMuch { .. })));
    let mut wire = record::Wire::default();
    for _ in 0..crate::limits::TIMELINE_PIECES_MAX {
        wire.add(&[0], Instant::now()).expect("within the bound");
    }
    assert!(matches!(wire.add(&[0], Instant::now()), Err(Cause::TooMuch { .. })));
}
