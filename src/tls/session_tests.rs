//! Tests of `tls::session`: what a client can send in pieces, or all at once, is never a panic.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore};

use super::*;
use crate::tls::provider::{provider, suite_by_name};

const NAME: &str = "gateway.test";
const HANDSHAKE: u8 = 22;

/// A client without a certificate and a server that requires one, or asks for none.
fn pair(requires_certificate: bool) -> (ClientConnection, Session) {
    let key = KeyPair::generate().expect("a key");
    let chain: CertificateDer<'static> = CertificateParams::new(vec![NAME.to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate")
        .into();
    let mut roots = RootCertStore::empty();
    roots.add(chain.clone()).expect("a root");
    let roots = Arc::new(roots);
    let suite = suite_by_name("TLS_AES_128_GCM_SHA256").expect("a known suite");
    let provider = Arc::new(provider(&[suite], &[]));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("suites of this version");
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let builder = match requires_certificate {
        true => builder.with_client_cert_verifier(verifier.build().expect("a root")),
        false => builder.with_no_client_auth(),
    };
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let mut server = builder.with_single_cert(vec![chain], key).expect("they match");
    server.send_tls13_tickets = 0;
    server.enable_secret_extraction = true;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("suites of this version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    let name = ServerName::try_from(NAME).expect("a name");
    let client = ClientConnection::new(Arc::new(client), name).expect("a client");
    (client, Session::new(Arc::new(server)).expect("a server"))
}

fn written(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("memory");
    }
    bytes
}

fn give(client: &mut ClientConnection, bytes: &[u8]) -> Result<(), rustls::Error> {
    let mut rest = bytes;
    while !rest.is_empty() {
        client.read_tls(&mut rest).expect("room");
        client.process_new_packets()?;
    }
    Ok(())
}

/// The client's second flight, after the server's first.
fn second_flight(client: &mut ClientConnection, server: &mut Session) -> Vec<u8> {
    let mut out = Vec::new();
    server.handshake(&mut written(client), &mut out).expect("a good hello");
    give(client, &out).expect("a good flight");
    written(client)
}

#[test]
fn a_client_refused_amid_its_flight_gets_the_alert() {
    let (mut client, mut server) = pair(true);
    // Certificate, which is refused, and Finished share a record.
    let mut flight = second_flight(&mut client, &mut server);
    let mut out = Vec::new();
    let refused = server.handshake(&mut flight, &mut out);
    let expected = SessionError::Tls(rustls::Error::NoCertificatesPresented);
    assert_eq!(refused.err(), Some(expected));
    let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
    assert_eq!(give(&mut client, &out), Err(alert));
    server.close(&mut out);
    assert!(server.write(b"x", &mut out).is_err(), "nothing follows a fatal alert");
}

/// A record under the client's keys; rustls itself never splits so short a message.
fn sealed(secrets: &ConnectionTrafficSecrets, sequence: u64, content: &[u8]) -> Vec<u8> {
    let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
        panic!("the only suite offered");
    };
    let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).expect("16 bytes");
    let mut nonce: [u8; 12] = iv.as_ref().try_into().expect("12 bytes");
    for (byte, part) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
        *byte ^= part;
    }
    let mut inner = [content, &[HANDSHAKE]].concat();
    let bytes = u16::try_from(inner.len() + AES_128_GCM.tag_len()).expect("short");
    let [high, low] = bytes.to_be_bytes();
    let header = [23, 3, 3, high, low];
    LessSafeKey::new(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header),
            &mut inner,
        )
        .expect("short");
    [&header[..], &inner].concat()
}

#[test]
fn writing_goes_on_while_half_of_a_message_of_the_client_s_is_there() {
    let (mut client, mut server) = pair(false);
    let mut out = Vec::new();
    let mut flight = second_flight(&mut client, &mut server);
    let agreed = server.handshake(&mut flight, &mut out).expect("a good flight");
    assert!(agreed.is_some());
    // The first bytes of a KeyUpdate (RFC 8446, 4.6.3).
    let secrets = client.dangerous_extract_secrets().expect("extraction is on");
    let (sequence, secrets) = secrets.tx;
    let half = sealed(&secrets, sequence, &[24, 0, 0]);
    let mut plain = Vec::new();
    server.read(&half, &mut plain, &mut out).expect("the rest may follow");
    out.clear();
    server.write(b"response", &mut out).expect("the server may write");
    assert!(out.len() > b"response".len());
    let rest = sealed(&secrets, sequence + 1, &[1, 0]);
    server.read(&rest, &mut plain, &mut out).expect("the message is whole now");
    assert!(plain.is_empty() && !server.peer_closed());
    server.close(&mut out);
}
