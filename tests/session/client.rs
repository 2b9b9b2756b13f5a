//! The client's end: against rustls' own server, and against the gateway's session.

use std::io::{Read, Write};
use std::sync::Arc;

use ringfort::tls::session::{Agreed, Session, SessionError};
use rustls::server::ServerSessionMemoryCache;
use rustls::{AlertDescription, ClientConfig, ServerConfig, ServerConnection};

use crate::kit::{Offer, TLS13, VERSIONS, server_name};

/// Runs a client's session against rustls' server until both are done, in pieces of `piece_bytes`.
fn shake(
    client: &mut Session,
    server: &mut ServerConnection,
    piece_bytes: usize,
) -> Result<Agreed, SessionError> {
    let mut agreed = None;
    let mut flight = Vec::new();
    assert!(client.handshake(&mut [], &mut flight)?.is_none());
    while agreed.is_none() || server.is_handshaking() {
        assert!(!flight.is_empty() || server.wants_write(), "the handshake stalls");
        to_server(server, &std::mem::take(&mut flight)).expect("a good client");
        let answer = from_server(server);
        for piece in answer.chunks(piece_bytes) {
            if agreed.is_none() {
                agreed = client.handshake(&mut piece.to_vec(), &mut flight)?;
            } else {
                client.read(piece, &mut Vec::new(), &mut flight)?;
            }
        }
    }
    // Tickets come behind the server's last flight.
    client.read(&from_server(server), &mut Vec::new(), &mut flight)?;
    Ok(agreed.expect("agreed"))
}

fn to_server(server: &mut ServerConnection, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        server.read_tls(&mut bytes).expect("memory");
        server.process_new_packets()?;
    }
    Ok(())
}

fn from_server(server: &mut ServerConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut wire).expect("memory");
    }
    wire
}

fn server(config: &ServerConfig) -> ServerConnection {
    ServerConnection::new(Arc::new(config.clone())).expect("a server")
}

fn client(config: &Arc<ClientConfig>) -> Session {
    Session::client(Arc::clone(config), server_name()).expect("a client")
}

#[test]
fn a_client_shakes_hands_and_carries_data_both_ways_at_every_cut() {
    for version in VERSIONS {
        for piece_bytes in [1, 7, 1000, usize::MAX] {
            let offer = Offer::version(version);
            let (mut client, mut server) = (client(&offer.client()), server(&offer.server()));
            let agreed = shake(&mut client, &mut server, piece_bytes).expect("a good server");
            assert_eq!(agreed.version, version.version);
            assert!(!agreed.resumed);
            assert!(server.peer_certificates().is_some(), "the client's certificate arrived");

            let mut wire = Vec::new();
            client.write(b"question", &mut wire).expect("keys");
            to_server(&mut server, &wire).expect("data");
            let mut question = [0; 8];
            server.reader().read_exact(&mut question).expect("data");
            assert_eq!(&question, b"question");
            server.writer().write_all(b"answer").expect("room");
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            for piece in from_server(&mut server).chunks(piece_bytes) {
                client.read(piece, &mut plain, &mut out).expect("data");
            }
            assert_eq!(plain, b"answer");
            assert!(out.is_empty());
            assert_eq!(client.stored_bytes(), 0);
        }
    }
}

#[test]
fn a_client_keeps_tickets_and_resumes_with_them() {
    for version in VERSIONS {
        let offer = Offer::version(version);
        let mut config = ServerConfig::clone(&offer.server());
        config.session_storage = ServerSessionMemoryCache::new(16);
        config.send_tls13_tickets = 2;
        let mut resuming = ClientConfig::clone(&offer.client());
        resuming.resumption = rustls::client::Resumption::in_memory_sessions(16);
        let resuming = Arc::new(resuming);
        for resumed in [false, true, true] {
            let (mut client, mut server) = (client(&resuming), server(&config));
            let agreed = shake(&mut client, &mut server, usize::MAX).expect("a good server");
            assert_eq!(agreed.resumed, resumed, "{version:?}");
            assert_eq!(client.stored_bytes(), 0);
        }
    }
}

#[test]
fn a_client_reads_the_alert_of_a_server_that_refuses_it() {
    let offer = Offer::version(TLS13);
    let mut config = ClientConfig::clone(&offer.client());
    config.client_auth_cert_resolver = Arc::new(NoCertificate);
    let mut server = server(&offer.server());
    let mut client = client(&Arc::new(config));
    let mut flight = Vec::new();
    client.handshake(&mut [], &mut flight).expect("a ClientHello");
    to_server(&mut server, &std::mem::take(&mut flight)).expect("a good ClientHello");
    let agreed = client.handshake(&mut from_server(&mut server), &mut flight).expect("a flight");
    assert!(agreed.is_some(), "in TLS 1.3 a client is done before the server has judged it");
    to_server(&mut server, &flight).expect_err("a certificate is required");
    let error = client
        .read(&from_server(&mut server), &mut Vec::new(), &mut Vec::new())
        .expect_err("an alert");
    assert_eq!(error.alert_received(), Some(AlertDescription::CertificateRequired));
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn a_ticket_is_refused_where_only_a_server_may_send_one() {
    let (mut raw, mut session) = crate::kit::RawClient::established(TLS13);
    let record = raw.record(ringfort::tls::record::ContentType::Handshake, &[4, 0, 0, 1, 0]);
    let mut out = Vec::new();
    let error = session.read(&record, &mut Vec::new(), &mut out).expect_err("no ticket");
    assert!(matches!(error, SessionError::Protocol(_)), "{error:?}");
}
