//! The handshake: every version, suite and group, and every cut of the client's flights.

use std::sync::Arc;

use proptest::prelude::*;
use ringfort::limits::HANDSHAKE_BYTES_MAX;
use ringfort::tls::provider::{Backend, suite_name};
use ringfort::tls::session::{Session, SessionError};
use rustls::crypto::SupportedKxGroup;
use rustls::server::ServerSessionMemoryCache;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, ProtocolVersion, ServerConfig,
    SupportedCipherSuite,
};

use crate::kit::{Offer, Pair, TLS12, TLS13, VERSIONS, client_chain, server_name};

/// Every suite of a backend with every group.
fn choices(backend: Backend) -> Vec<(SupportedCipherSuite, &'static dyn SupportedKxGroup)> {
    let (suites, groups) = (backend.suites(), backend.groups());
    suites.iter().flat_map(|&suite| groups.iter().map(move |&group| (suite, group))).collect()
}

#[test]
fn every_suite_and_group_is_agreed_on_and_carries_data_both_ways() {
    for &backend in Backend::ALL {
        for (suite, group) in choices(backend) {
            let name = format!("{} of {}", suite_name(suite.suite()), backend.name());
            let version = suite.version().version;
            if version == ProtocolVersion::TLSv1_2 && !group.usable_for_version(version) {
                continue;
            }
            let suites = vec![suite];
            let versions = VERSIONS.into_iter().filter(|known| known.version == version).collect();
            let groups = vec![group];
            let offer = Offer { backend, versions, suites, groups, ..Offer::default() };
            let mut pair = Pair::established(&offer);
            let agreed = pair.agreed.clone().expect("complete");
            assert_eq!(agreed.suite.suite(), suite.suite(), "{name}");
            assert_eq!((agreed.version, agreed.group), (version, Some(group.name())), "{name}");
            assert_eq!(agreed.alpn.as_deref(), Some(&b"one"[..]));
            assert!(!agreed.resumed && agreed.peer_certificate.is_some());
            for bytes in [1, 100, 16_384, 16_385] {
                pair.echo(&vec![7; bytes]);
            }
        }
    }
}

#[test]
fn a_handshake_may_come_byte_by_byte_or_in_pieces_of_any_size() {
    for version in VERSIONS {
        for piece_bytes in [1, 2, 3, 4, 5, 6, 7, 100, 1000] {
            let mut pair = Pair::new(&Offer::version(version));
            pair.shake(piece_bytes);
            pair.echo(b"after it");
        }
    }
}

#[test]
fn a_handshake_may_come_in_small_records_cut_anywhere() {
    for version in VERSIONS {
        for (fragment_bytes, piece_bytes) in [(32, 1), (32, 7), (32, 40), (64, 1000), (200, 13)] {
            let offer = Offer { fragment_bytes: Some(fragment_bytes), ..Offer::version(version) };
            let mut pair = Pair::new(&offer);
            pair.shake(piece_bytes);
            pair.echo(&[5; 3000]);
        }
    }
}

/// The client's flights, with `data` behind its last.
fn last_flight(pair: &mut Pair, data: &[&[u8]]) -> Vec<u8> {
    let mut flight = pair.client_flight();
    while pair.client.is_handshaking() {
        pair.feed(&flight).expect("a good client");
        pair.deliver().expect("a good server");
        flight = pair.client_flight();
        if pair.client.is_handshaking() && pair.agreed.is_none() {
            continue;
        }
    }
    for part in data {
        flight.extend(pair.sent_by_client(part));
    }
    flight
}

#[test]
fn data_in_the_flight_of_the_clients_finished_comes_out_once_and_in_order_at_every_cut() {
    let bytes = last_flight(&mut Pair::new(&Offer::version(TLS13)), &[b"one", b"two"]).len();
    // A client certificate has a signature of varying length, so the flights differ by a little.
    for cut in 0..bytes + 8 {
        let mut pair = Pair::new(&Offer::version(TLS13));
        let flight = last_flight(&mut pair, &[b"one", b"two"]);
        let (first, second) = flight.split_at(cut.min(flight.len()));
        for part in [first, second] {
            pair.feed(part).expect("a good client");
        }
        assert_eq!(pair.plain, b"onetwo", "cut at {cut}");
        pair.echo(b"and on");
    }
}

#[test]
fn everything_after_finished_may_come_with_it() {
    let mut pair = Pair::new(&Offer::version(TLS13));
    let mut flight = last_flight(&mut pair, &[b"request"]);
    pair.client.refresh_traffic_keys().expect("TLS 1.3");
    flight.extend(pair.sent_by_client(b" under new keys"));
    pair.client.send_close_notify();
    flight.extend(pair.client_flight());
    let end = flight.len();
    for cut in [end, end - 1, end - 20, end - 30, end - 50] {
        let mut pair = Pair::new(&Offer::version(TLS13));
        let mut flight = last_flight(&mut pair, &[b"request"]);
        pair.client.refresh_traffic_keys().expect("TLS 1.3");
        flight.extend(pair.sent_by_client(b" under new keys"));
        pair.client.send_close_notify();
        flight.extend(pair.client_flight());
        let (first, second) = flight.split_at(cut.min(flight.len()));
        for part in [first, second] {
            pair.feed(part).expect("a good client");
        }
        assert_eq!(pair.plain, b"request under new keys", "cut at {cut}");
        assert!(pair.server.peer_closed(), "cut at {cut}");
        pair.server.write(b"response", &mut pair.out).expect("keys");
        pair.deliver().expect("data");
        assert_eq!(pair.client_plain(), b"response");
    }
}

#[test]
fn a_large_early_flight_is_kept_whole() {
    let data = vec![9; 50_000];
    for cut in [0, 10, 2000, 20_000, 40_000] {
        let mut pair = Pair::new(&Offer::version(TLS13));
        let flight = last_flight(&mut pair, &[&data]);
        let (first, second) = flight.split_at(cut);
        for part in [first, second] {
            pair.feed(part).expect("a good client");
        }
        assert_eq!(pair.plain, data);
    }
}

#[test]
fn an_idle_session_keeps_no_storage_of_what_it_received() {
    for version in VERSIONS {
        let mut pair = Pair::established(&Offer::version(version));
        assert_eq!(pair.server.stored_bytes(), 0, "after the handshake");
        let flight = pair.sent_by_client(b"in two parts");
        pair.feed(&flight[..7]).expect("a part");
        assert!(pair.server.stored_bytes() > 0);
        pair.feed(&flight[7..]).expect("the rest");
        assert_eq!(pair.server.stored_bytes(), 0);
    }
}

#[test]
fn a_client_without_a_certificate_is_told_so() {
    for (version, expected) in [
        (TLS13, AlertDescription::CertificateRequired),
        (TLS12, AlertDescription::CertificateRequired),
    ] {
        let offer = Offer::version(version);
        let mut pair = Pair::new(&offer);
        let config = Arc::unwrap_or_clone(offer.client());
        let mut config = config;
        config.client_auth_cert_resolver = Arc::new(NoCertificate);
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        pair.client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let error = loop {
            let flight = pair.client_flight();
            if let Err(error) = pair.feed(&flight) {
                break error;
            }
            pair.deliver().expect("a good server");
        };
        assert_eq!(error, SessionError::Tls(rustls::Error::NoCertificatesPresented));
        assert_eq!(pair.alert_seen(), expected);
        assert!(pair.feed(b"more").is_err(), "a failed session stays so");
    }
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn the_chain_of_a_full_and_of_a_resumed_handshake_comes_out_where_it_is_asked_for() {
    assert_eq!(client_chain().len(), 2);
    for version in VERSIONS {
        let offer = Offer::version(version);
        let mut server = ServerConfig::clone(&offer.server());
        server.session_storage = ServerSessionMemoryCache::new(16);
        server.send_tls13_tickets = 2;
        let server = Arc::new(server);
        let mut client = ClientConfig::clone(&offer.client());
        client.resumption = rustls::client::Resumption::in_memory_sessions(16);
        let client = Arc::new(client);
        for (resumed, keeps) in [(false, true), (true, true), (true, false)] {
            let mut pair = Pair::new(&offer);
            pair.client =
                ClientConnection::new(Arc::clone(&client), server_name()).expect("a client");
            pair.server = Session::new(Arc::clone(&server)).expect("a server");
            if keeps {
                pair.server.keep_chain();
            }
            pair.shake(usize::MAX);
            pair.echo(b"behind the tickets");
            let agreed = pair.agreed.take().expect("complete");
            assert_eq!(agreed.resumed, resumed, "{version:?}");
            assert_eq!(agreed.peer_certificate.as_ref(), client_chain().first());
            let expected = if keeps { client_chain() } else { &[] };
            assert_eq!(agreed.peer_chain, expected, "{version:?}");
        }
    }
}

#[test]
fn handshake_fragments_are_bounded() {
    let mut session = Offer::default().session();
    let mut out = Vec::new();
    // A ClientHello that claims 16 MB, in records that are never the last.
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.resize(5 + 0x4000, 0);
    record[5..9].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
    let mut sent = 0;
    while session.handshake(&mut record.clone(), &mut out).is_ok() {
        sent += record.len();
        assert!(sent <= 2 * HANDSHAKE_BYTES_MAX, "no bound in sight");
        record[5..9].fill(0);
    }
}

proptest! {
    #[test]
    fn no_bytes_instead_of_a_handshake_make_it_panic(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8),
        as_record in any::<bool>(),
    ) {
        let mut session = Offer::default().session();
        let mut out = Vec::new();
        for mut piece in pieces {
            if as_record {
                let length = (piece.len() as u16).to_be_bytes();
                piece.splice(0..0, [22, 3, 1, length[0], length[1]]);
            }
            if session.handshake(&mut piece, &mut out).is_err() {
                break;
            }
        }
    }

    #[test]
    fn a_changed_byte_anywhere_in_a_flight_is_an_error_or_means_nothing(
        flight in 0..2_usize, at in any::<prop::sample::Index>(), bit in 0..8_u32,
        tls12 in any::<bool>(),
    ) {
        let mut pair = Pair::new(&Offer::version(if tls12 { TLS12 } else { TLS13 }));
        for number in 0.. {
            let mut bytes = pair.client_flight();
            if bytes.is_empty() {
                break;
            }
            if number == flight {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            if pair.feed(&bytes).is_err() || pair.deliver().is_err() {
                break;
            }
        }
    }
}
