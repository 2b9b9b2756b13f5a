//! KeyUpdate (RFC 8446, 4.6.3), and keys that are used up (5.5).

use ringfort::limits::QUIET_RECORDS_MAX;
use ringfort::tls::provider::{Backend, suite_by_name};
use ringfort::tls::record::{ContentType, RecordError};
use ringfort::tls::session::{Session, SessionError};
use rustls::crypto::CipherSuiteCommon;
use rustls::{AlertDescription, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};

use crate::kit::{Offer, Pair, RawClient, TLS12, TLS13, VERSIONS};

const NOT_REQUESTED: [u8; 5] = [24, 0, 0, 1, 0];
const REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];

fn read(session: &mut Session, wire: &[u8]) -> (Result<(), SessionError>, Vec<u8>, Vec<u8>) {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    (session.read(wire, &mut plain, &mut out), plain, out)
}

/// The session must have refused with this alert.
fn refused(
    client: &mut RawClient,
    (result, _, mut out): (Result<(), SessionError>, Vec<u8>, Vec<u8>),
    alert: AlertDescription,
) {
    result.expect_err("refused");
    assert_eq!(client.open(&mut out), (ContentType::Alert, vec![2, u8::from(alert)]));
    assert!(out.is_empty());
}

#[test]
fn rustls_client_renews_its_keys_again_and_again_while_data_flows() {
    for &backend in Backend::ALL {
        let mut pair = Pair::established(&Offer { backend, ..Offer::version(TLS13) });
        for round in 0..100_u32 {
            pair.client.refresh_traffic_keys().expect("TLS 1.3");
            // rustls asks for the server's renewal, too.
            pair.echo(&round.to_be_bytes());
        }
    }
}

#[test]
fn an_update_is_answered_where_it_is_requested_in_front_of_the_next_data() {
    let (mut client, mut session) = RawClient::established(TLS13);
    for (message, answered) in [(NOT_REQUESTED, false), (REQUESTED, true), (REQUESTED, true)] {
        let mut wire = client.record(ContentType::Handshake, &message);
        client.renew_write();
        wire.extend(client.record(ContentType::Data, b"new keys"));
        let (result, plain, mut out) = read(&mut session, &wire);
        result.expect("a good update");
        assert_eq!(plain, b"new keys");
        assert!(out.is_empty(), "an answer that no data waits for");
        session.write(b"down", &mut out).expect("keys");
        if answered {
            let answer = (ContentType::Handshake, NOT_REQUESTED.to_vec());
            assert_eq!(client.open(&mut out), answer);
            client.renew_read();
        }
        assert_eq!(client.open(&mut out), (ContentType::Data, b"down".to_vec()));
        assert!(out.is_empty());
    }
}

#[test]
fn a_client_that_requests_and_never_reads_makes_no_output_grow() {
    let (mut client, mut session) = RawClient::established(TLS13);
    for round in 0..100 {
        let mut wire = Vec::new();
        for _ in 0..QUIET_RECORDS_MAX {
            wire.extend(client.record(ContentType::Handshake, &REQUESTED));
            client.renew_write();
        }
        wire.extend(client.record(ContentType::Data, b"x"));
        let (result, plain, out) = read(&mut session, &wire);
        assert_eq!((result, plain), (Ok(()), b"x".to_vec()), "round {round}");
        assert!(out.is_empty(), "round {round}: {} bytes that nobody takes", out.len());
    }
    // One answer is to all that was requested before it (RFC 8446, 4.6.3).
    let mut out = Vec::new();
    session.write(b"down", &mut out).expect("keys");
    let answer = (ContentType::Handshake, NOT_REQUESTED.to_vec());
    assert_eq!(client.open(&mut out), answer);
    client.renew_read();
    assert_eq!(client.open(&mut out), (ContentType::Data, b"down".to_vec()));
    assert!(out.is_empty());
    session.write(b"and no other", &mut out).expect("keys");
    assert_eq!(client.open(&mut out), (ContentType::Data, b"and no other".to_vec()));
    assert!(out.is_empty());
}

#[test]
fn an_update_may_be_cut_over_records() {
    for cut in 1..5 {
        let (mut client, mut session) = RawClient::established(TLS13);
        let mut wire = client.record(ContentType::Handshake, &NOT_REQUESTED[..cut]);
        wire.extend(client.record(ContentType::Handshake, &NOT_REQUESTED[cut..]));
        client.renew_write();
        wire.extend(client.record(ContentType::Data, b"x"));
        let (result, plain, _) = read(&mut session, &wire);
        assert_eq!((result, plain), (Ok(()), b"x".to_vec()), "cut at {cut}");
    }
}

#[test]
fn nothing_may_come_between_the_parts_of_an_update() {
    for (kind, content) in [(ContentType::Data, &b"x"[..]), (ContentType::Data, b"")] {
        let (mut client, mut session) = RawClient::established(TLS13);
        let mut wire = client.record(ContentType::Handshake, &NOT_REQUESTED[..2]);
        wire.extend(client.record(kind, content));
        let seen = read(&mut session, &wire);
        refused(&mut client, seen, AlertDescription::UnexpectedMessage);
    }
}

#[test]
fn nothing_may_follow_an_update_in_its_record() {
    let (mut client, mut session) = RawClient::established(TLS13);
    let twice = [NOT_REQUESTED, NOT_REQUESTED].concat();
    let wire = client.record(ContentType::Handshake, &twice);
    let seen = read(&mut session, &wire);
    refused(&mut client, seen, AlertDescription::UnexpectedMessage);
}

#[test]
fn an_update_that_asks_for_something_else_is_an_illegal_parameter() {
    let (mut client, mut session) = RawClient::established(TLS13);
    let wire = client.record(ContentType::Handshake, &[24, 0, 0, 1, 2]);
    let seen = read(&mut session, &wire);
    refused(&mut client, seen, AlertDescription::IllegalParameter);
}

#[test]
fn other_handshake_messages_are_refused_and_so_is_an_empty_one() {
    let hello_request: &[u8] = &[0, 0, 0, 0];
    let client_hello: &[u8] = &[1, 0, 1, 0];
    let certificate: &[u8] = &[11, 0, 0, 4];
    let longer_update: &[u8] = &[24, 0, 0, 2, 0, 0];
    for version in VERSIONS {
        for message in [hello_request, client_hello, certificate, longer_update, b""] {
            let (mut client, mut session) = RawClient::established(version);
            let wire = client.record(ContentType::Handshake, message);
            let seen = read(&mut session, &wire);
            refused(&mut client, seen, AlertDescription::UnexpectedMessage);
        }
    }
}

#[test]
fn tls_1_2_has_no_update_and_no_renegotiation() {
    let (mut client, mut session) = RawClient::established(TLS12);
    let wire = client.record(ContentType::Handshake, &NOT_REQUESTED);
    let seen = read(&mut session, &wire);
    refused(&mut client, seen, AlertDescription::UnexpectedMessage);
}

#[test]
fn updates_in_a_row_without_data_are_bounded_and_data_starts_the_count_again() {
    let (mut client, mut session) = RawClient::established(TLS13);
    for _ in 0..3 {
        for _ in 0..QUIET_RECORDS_MAX {
            let wire = client.record(ContentType::Handshake, &NOT_REQUESTED);
            client.renew_write();
            assert_eq!(read(&mut session, &wire).0, Ok(()));
        }
        let wire = client.record(ContentType::Data, b"x");
        assert_eq!(read(&mut session, &wire).0, Ok(()));
    }
    for _ in 0..QUIET_RECORDS_MAX {
        let wire = client.record(ContentType::Data, b"");
        assert_eq!(read(&mut session, &wire).0, Ok(()));
    }
    let wire = client.record(ContentType::Handshake, &NOT_REQUESTED);
    let seen = read(&mut session, &wire);
    refused(&mut client, seen, AlertDescription::UnexpectedMessage);
}

#[test]
fn after_close_notify_nothing_is_said_not_even_to_a_request() {
    let (mut client, mut session) = RawClient::established(TLS13);
    let mut out = Vec::new();
    session.close(&mut out);
    assert_eq!(client.open(&mut out), (ContentType::Alert, vec![1, 0]));
    let mut wire = client.record(ContentType::Handshake, &REQUESTED);
    client.renew_write();
    wire.extend(client.record(ContentType::Data, b"the other direction goes on"));
    let (result, plain, out) = read(&mut session, &wire);
    assert_eq!((result, out), (Ok(()), Vec::new()));
    assert_eq!(plain, b"the other direction goes on");
    wire = client.record(ContentType::Handshake, b"?");
    let (result, _, out) = read(&mut session, &wire);
    assert!(result.is_err() && out.is_empty());
}

/// `suite` with keys that are good for `records` records.
fn short_lived(suite: SupportedCipherSuite, records: u64) -> SupportedCipherSuite {
    let common = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: common.hash_provider,
        confidentiality_limit: records,
    };
    match suite {
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&suite.common),
                hkdf_provider: suite.hkdf_provider,
                aead_alg: suite.aead_alg,
                quic: None,
            })))
        }
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: suite.aead_alg,
            })))
        }
    }
}

/// A pair in which only the server's keys wear.
fn wearing(name: &str, records: u64) -> Pair {
    let suite = suite_by_name(name).expect("a known suite");
    let suites = Backend::ALL[0].suites();
    let suite = *suites.iter().find(|it| it.suite() == suite).expect("the default has it");
    let offer = Offer { suites: vec![suite], ..Offer::default() };
    let version = if name.contains("_WITH_") { TLS12 } else { TLS13 };
    let offer = Offer { versions: vec![version], ..offer };
    let mut pair = Pair::new(&offer);
    let wearing = Offer { suites: vec![short_lived(suite, records)], ..offer };
    pair.server = wearing.session();
    pair.shake(usize::MAX);
    pair
}

#[test]
fn a_server_renews_its_keys_in_tls_1_3_when_they_are_worn() {
    let mut pair = wearing("TLS_AES_128_GCM_SHA256", 4);
    let mut overhead = Vec::new();
    for round in 0..50_u32 {
        pair.server.write(&round.to_be_bytes(), &mut pair.out).expect("keys");
        overhead.push(pair.out.len() - 4);
        pair.deliver().expect("data under whatever keys");
        assert_eq!(pair.client_plain(), round.to_be_bytes());
    }
    let renewals = overhead.iter().filter(|&&bytes| bytes > overhead[0]).count();
    // The first key did a part of the handshake: from then on every fourth write.
    assert!((11..=13).contains(&renewals), "{renewals} renewals in {overhead:?}");
    // One write over several renewals.
    pair.echo(&vec![3; 20 * 16_384]);
}

#[test]
fn a_server_that_spoke_its_last_record_in_tls_1_2_stops_and_says_so() {
    let mut pair = wearing("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", 4);
    let mut written = 0;
    let error = loop {
        match pair.server.write(b"x", &mut pair.out) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10, "no end in sight");
    };
    assert_eq!(error, SessionError::Record(RecordError::KeyExhausted));
    pair.deliver().expect("what was written is right");
    assert_eq!(pair.client_plain().len(), written);
    // Finished was the first record under these keys.
    assert_eq!(written, 3);
    // One number is kept for the alert.
    pair.server.alert(AlertDescription::InternalError, &mut pair.out);
    assert_eq!(pair.alert_seen(), AlertDescription::InternalError);
}
