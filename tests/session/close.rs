//! How a connection ends: close_notify and alerts, both ways (RFC 8446, 6).

use ringfort::tls::record::ContentType;
use ringfort::tls::session::SessionError;
use rustls::AlertDescription;

use crate::kit::{Offer, Pair, RawClient, TLS12, TLS13, VERSIONS};

#[test]
fn close_notify_reaches_the_client_once() {
    for version in VERSIONS {
        let mut pair = Pair::established(&Offer::version(version));
        pair.server.close(&mut pair.out);
        let once = pair.out.len();
        pair.server.close(&mut pair.out);
        assert!(once > 0 && pair.out.len() == once);
        pair.deliver().expect("an orderly end");
        let state = pair.client.process_new_packets().expect("an orderly end");
        assert!(state.peer_has_closed());
        let flight = pair.sent_by_client(b"the other way is open");
        pair.feed(&flight).expect("data");
        assert_eq!(pair.plain, b"the other way is open");
    }
}

#[test]
fn what_follows_the_clients_close_notify_is_ignored() {
    for version in VERSIONS {
        for cut in [usize::MAX, 3, 25] {
            let (mut client, mut session) = RawClient::established(version);
            let mut wire = client.record(ContentType::Data, b"last");
            wire.extend(client.record(ContentType::Alert, &[1, 0]));
            wire.extend(client.record(ContentType::Data, b"too late"));
            wire.extend_from_slice(b"and this is not TLS at all");
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            for part in wire.chunks(cut.min(wire.len())) {
                session.read(part, &mut plain, &mut out).expect("ignored");
            }
            assert!(session.peer_closed());
            assert_eq!((plain, out), (b"last".to_vec(), Vec::new()));
            let mut down = Vec::new();
            session.write(b"down", &mut down).expect("this way is open");
            assert_eq!(client.open(&mut down), (ContentType::Data, b"down".to_vec()));
        }
    }
}

#[test]
fn a_fatal_alert_ends_it_and_a_warning_ends_it_in_tls_1_3_only() {
    let denied = AlertDescription::AccessDenied;
    for (version, level, ends) in
        [(TLS13, 2, true), (TLS13, 1, true), (TLS12, 2, true), (TLS12, 1, false)]
    {
        let (mut client, mut session) = RawClient::established(version);
        let mut wire = client.record(ContentType::Alert, &[level, u8::from(denied)]);
        wire.extend(client.record(ContentType::Data, b"more"));
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let result = session.read(&wire, &mut plain, &mut out);
        if ends {
            assert_eq!(result, Err(SessionError::AlertReceived(denied)));
            assert_eq!(result.err().and_then(|error| error.alert_received()), Some(denied));
        } else {
            assert_eq!((result, plain), (Ok(()), b"more".to_vec()));
        }
        assert!(out.is_empty(), "an alert is not answered");
    }
}

#[test]
fn user_canceled_means_nothing_and_a_strange_alert_is_refused() {
    for version in VERSIONS {
        let (mut client, mut session) = RawClient::established(version);
        let canceled = u8::from(AlertDescription::UserCanceled);
        let wire = client.record(ContentType::Alert, &[1, canceled]);
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        session.read(&wire, &mut plain, &mut out).expect("close_notify follows");
        for content in [&[][..], &[1], &[1, 0, 0]] {
            let (mut client, mut session) = RawClient::established(version);
            let wire = client.record(ContentType::Alert, content);
            assert!(session.read(&wire, &mut plain, &mut out).is_err(), "{content:?}");
            let unexpected = u8::from(AlertDescription::UnexpectedMessage);
            assert_eq!(client.open(&mut out), (ContentType::Alert, vec![2, unexpected]));
        }
        assert!(plain.is_empty());
    }
}

#[test]
fn an_alert_of_ours_reaches_rustls_client() {
    for version in VERSIONS {
        let mut pair = Pair::established(&Offer::version(version));
        pair.server.alert(AlertDescription::AccessDenied, &mut pair.out);
        assert_eq!(pair.alert_seen(), AlertDescription::AccessDenied);
    }
}
