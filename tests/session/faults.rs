//! Records that no honest client sends, after the handshake.

use proptest::prelude::*;
use ringfort::tls::record::{PLAINTEXT_BYTES_MAX, RecordError};
use ringfort::tls::session::SessionError;
use rustls::AlertDescription;

use crate::kit::{Offer, Pair, TLS12, TLS13, VERSIONS};

fn refused(pair: &mut Pair, wire: &[u8], why: RecordError) {
    assert_eq!(pair.feed(wire), Err(SessionError::Record(why)));
    assert_eq!(pair.alert_seen(), why.alert());
}

#[test]
fn a_record_that_was_changed_is_a_bad_mac_and_its_content_stays_inside() {
    for version in VERSIONS {
        let mut pair = Pair::established(&Offer::version(version));
        let mut wire = pair.sent_by_client(b"good");
        wire.extend(pair.sent_by_client(b"bad"));
        let last = wire.len() - 1;
        wire[last] ^= 1;
        refused(&mut pair, &wire, RecordError::BadMac);
        assert_eq!(pair.plain, b"good", "what came before the fault counts");
    }
}

#[test]
fn a_record_that_comes_twice_or_is_missing_is_a_bad_mac() {
    for version in VERSIONS {
        let mut pair = Pair::established(&Offer::version(version));
        let wire = pair.sent_by_client(b"once");
        pair.feed(&wire).expect("once");
        refused(&mut pair, &wire, RecordError::BadMac);
        let mut pair = Pair::established(&Offer::version(version));
        pair.sent_by_client(b"lost");
        let wire = pair.sent_by_client(b"next");
        refused(&mut pair, &wire, RecordError::BadMac);
    }
}

#[test]
fn a_record_that_claims_too_much_is_refused_by_its_header() {
    for version in VERSIONS {
        let mut pair = Pair::established(&Offer::version(version));
        let claimed = u16::try_from(PLAINTEXT_BYTES_MAX + 257).expect("it fits").to_be_bytes();
        let header = [23, 3, 3, claimed[0], claimed[1]];
        for part in &header[..4] {
            pair.feed(&[*part]).expect("not a header yet");
        }
        refused(&mut pair, &header[4..], RecordError::Overflow);
    }
}

#[test]
fn change_cipher_spec_and_unknown_types_are_unexpected_after_the_handshake() {
    for version in VERSIONS {
        for kind in [0, 20, 24, 25, 255] {
            let mut pair = Pair::established(&Offer::version(version));
            refused(&mut pair, &[kind, 3, 3, 0, 1, 1], RecordError::Unexpected);
        }
        let mut pair = Pair::established(&Offer::version(version));
        refused(&mut pair, b"GET / HTTP/1.1\r\n", RecordError::Unexpected);
    }
}

#[test]
fn plaintext_records_are_refused_after_the_handshake() {
    for version in VERSIONS {
        let mut pair = Pair::established(&Offer::version(version));
        // An alert in the clear: anybody could send it.
        let result = pair.feed(&[21, 3, 3, 0, 2, 1, 0]);
        assert!(matches!(result, Err(SessionError::Record(_))), "{result:?}");
        assert!(!pair.server.peer_closed());
    }
}

#[test]
fn a_truncated_end_is_not_close_notify() {
    let mut pair = Pair::established(&Offer::version(TLS13));
    pair.client.send_close_notify();
    let wire = pair.client_flight();
    pair.feed(&wire[..wire.len() - 1]).expect("not whole yet");
    assert!(!pair.server.peer_closed());
    pair.feed(&wire[wire.len() - 1..]).expect("whole");
    assert!(pair.server.peer_closed());
}

#[test]
fn an_error_is_final_and_nothing_follows_its_alert() {
    for version in VERSIONS {
        let mut pair = Pair::established(&Offer::version(version));
        let sound = pair.sent_by_client(b"sound");
        let mut changed = sound.clone();
        changed[9] ^= 1;
        pair.feed(&changed).expect_err("a changed record");
        let alert = pair.out.len();
        // The number of the record that failed was not used up: this one would decrypt.
        pair.feed(&sound).expect_err("the session is over");
        pair.feed(&[]).expect_err("the session is over");
        assert!(pair.server.write(b"x", &mut pair.out).is_err());
        pair.server.close(&mut pair.out);
        pair.server.alert(AlertDescription::AccessDenied, &mut pair.out);
        assert_eq!(pair.plain, b"");
        assert_eq!(pair.out.len(), alert, "one alert and nothing behind it");
        assert_eq!(pair.server.stored_bytes(), 0);
    }
}

#[test]
fn a_session_refuses_what_is_out_of_turn() {
    let mut session = Offer::default().session();
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    assert!(session.read(b"x", &mut plain, &mut out).is_err());
    assert!(session.write(b"x", &mut out).is_err());
    session.close(&mut out);
    session.alert(AlertDescription::AccessDenied, &mut out);
    assert!(plain.is_empty() && out.is_empty());
    let mut pair = Pair::established(&Offer::default());
    assert!(pair.server.handshake(&mut [22], &mut pair.out).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_bytes_after_the_handshake_make_it_panic_or_pass(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
        kind in prop::option::of(20..25_u8),
        tls12 in any::<bool>(),
    ) {
        let mut pair = Pair::established(&Offer::version(if tls12 { TLS12 } else { TLS13 }));
        for mut piece in pieces {
            if let Some(kind) = kind {
                let length = (piece.len() as u16).to_be_bytes();
                piece.splice(0..0, [kind, 3, 3, length[0], length[1]]);
            }
            if pair.feed(&piece).is_err() {
                break;
            }
        }
        prop_assert!(pair.plain.is_empty(), "nothing of this was ever encrypted");
        prop_assert!(!pair.server.peer_closed());
    }
}
