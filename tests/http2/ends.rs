//! Every connection ends, within a bound of time, and says why.

use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use h2::Reason;
use ringfort::error::CloseKind;
use ringfort::http2::end::End;
use ringfort::http2::options::Http2Options;
use ringfort::http2::server::{Lifetime, Next, Server};
use ringfort::tls::transport::{Transport, TransportError};

use crate::echo::{LIFETIME, serve};
use crate::frames::*;
use crate::kit::World;

fn meet_for<T: Send + 'static>(
    lifetime: Lifetime,
    client: impl FnOnce(Peer) -> T + Send + 'static,
) -> (End, T) {
    let world = World::new();
    let (stream, socket) = world.connected();
    let peer = thread::spawn(move || client(Peer::client(socket, &[])));
    let serving = serve(world.core.clone(), stream, Http2Options::default(), lifetime);
    let end = world.complete(serving);
    let seen = join(&world, peer);
    world.settle();
    (end, seen)
}

/// Answers SETTINGS and PING as a client has to, until the end; the codes of GOAWAY.
fn obey(peer: &mut Peer) -> Vec<u32> {
    let mut codes = Vec::new();
    while let Some(received) = peer.receive() {
        codes.extend(received.goaway_code());
        if received.flags & ACK == 0 && matches!(received.kind, SETTINGS | PING) {
            let echoed = if received.kind == PING { &received.payload[..] } else { &[] };
            peer.send(&frame(received.kind, ACK, 0, echoed));
        }
    }
    codes
}

#[test]
fn a_connection_without_streams_ends_in_order_after_its_idle_timeout() {
    let idle = Lifetime { idle_timeout: Duration::from_millis(200), age_at: None };
    let began = Instant::now();
    let (end, codes) = meet_for(idle, |mut peer| obey(&mut peer));
    assert!(matches!(end, End::IdleTimeout), "{end:?}");
    assert_eq!(codes, [0, 0], "the first GOAWAY warns, the second says the last stream");
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(began.elapsed() < Duration::from_secs(2), "it did not wait for a timeout");
}

#[test]
fn a_client_that_does_not_answer_is_not_waited_for_when_idle() {
    let idle = Lifetime { idle_timeout: Duration::from_millis(200), age_at: None };
    let (end, codes) = meet_for(idle, |mut peer| {
        let frames = peer.receive_all();
        frames.iter().filter_map(Frame::goaway_code).collect::<Vec<_>>()
    });
    assert!(matches!(end, End::IdleTimeout), "{end:?}");
    assert_eq!(codes, [0]);
}

#[test]
fn a_client_that_says_nothing_at_all_is_idle_too() {
    let world = World::new();
    let (stream, socket) = world.connected();
    let idle = Lifetime { idle_timeout: Duration::from_millis(200), age_at: None };
    let serving = serve(world.core.clone(), stream, Http2Options::default(), idle);
    let end = world.complete(serving);
    assert!(matches!(end, End::IdleTimeout), "{end:?}");
    drop(socket);
    world.settle();
}

#[test]
fn an_old_connection_takes_no_new_streams_and_ends_when_those_it_has_do() {
    let world = World::new();
    let (stream, socket) = world.connected();
    let age_at = Some(world.core.clock() + Duration::from_millis(300));
    let lifetime = Lifetime { idle_timeout: Duration::from_secs(30), age_at };
    let peer = thread::spawn(move || {
        let mut peer = Peer::client(socket, &[]);
        peer.send(&frame(HEADERS, END_HEADERS, 1, &request("/echo")));
        // The stream is open when the connection is too old.
        while peer.receive_kind(GOAWAY).expect("a warning").goaway_code() != Some(0) {}
        peer.send(&frame(DATA, END_STREAM, 1, b"still here"));
        let mut data = Vec::new();
        let mut codes = Vec::new();
        while let Some(received) = peer.receive() {
            codes.extend(received.goaway_code());
            match received.kind {
                DATA => data.extend(received.payload),
                PING => peer.send(&frame(PING, ACK, 0, &received.payload)),
                _ => {}
            }
        }
        (data, codes)
    });
    let serving = serve(world.core.clone(), stream, Http2Options::default(), lifetime);
    let end = world.complete(serving);
    let (data, codes) = join(&world, peer);
    assert!(matches!(end, End::AgeMax), "{end:?}");
    assert_eq!(data, b"still here");
    assert!(codes.iter().all(|&code| code == 0), "{codes:?}");
    world.settle();
}

#[test]
fn a_drained_connection_ends_when_its_streams_do() {
    let world = World::new();
    let (stream, socket) = world.connected();
    let peer = thread::spawn(move || {
        let mut peer = Peer::client(socket, &[]);
        obey(&mut peer)
    });
    let core = world.core.clone();
    let end = world.complete(async move {
        let options = Http2Options::default();
        let mut server = Server::new(&core, Transport::Plain(stream), &options, LIFETIME);
        let settled = core.clock() + Duration::from_millis(100);
        let met = core.timeout_at(settled, server.next()).await;
        assert!(met.is_err(), "nothing comes of a client that only says its settings");
        server.drain();
        match server.next().await {
            Next::End(end) => end,
            Next::Stream(..) => panic!("no stream was opened"),
        }
    });
    assert!(matches!(end, End::Finished), "{end:?}");
    assert_eq!(end.close_kind(), CloseKind::Finished);
    assert_eq!(join(&world, peer), [0, 0]);
    world.settle();
}

#[test]
fn who_is_cut_off_is_not_left_to_take_it_for_an_orderly_end() {
    let world = World::new();
    let (stream, socket) = world.connected();
    let peer = thread::spawn(move || {
        let mut peer = Peer::client(socket, &[]);
        peer.send(&frame(HEADERS, END_HEADERS, 1, &request("/echo")));
        obey(&mut peer);
        // Without TLS the difference is RST in place of FIN.
        std::io::Read::read(&mut peer.stream, &mut [0]).map_err(|error| error.kind())
    });
    let core = world.core.clone();
    world.complete(async move {
        let options = Http2Options::default();
        let mut server = Server::new(&core, Transport::Plain(stream), &options, LIFETIME);
        let next = server.next().await;
        assert!(matches!(next, Next::Stream(..)));
        let before = server.wire().bytes().1;
        server.cut_off(CloseKind::NoLongerAllowed);
        assert_eq!(server.wire().bytes().1, before + 17, "GOAWAY is said where it can be");
    });
    // The first read has taken the error where there was one; then it is an end.
    let end = join(&world, peer);
    assert!(matches!(end, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{end:?}");
    world.settle();
}

#[test]
fn a_clients_own_end_is_told_from_a_broken_one() {
    let (end, _) = meet_for(LIFETIME, |peer| {
        peer.stream.shutdown(Shutdown::Write).expect("it is open");
        let mut peer = peer;
        peer.receive_all()
    });
    assert!(matches!(end, End::Finished), "{end:?}");

    let (end, _) = meet_for(LIFETIME, |mut peer| {
        peer.send(&frame(DATA, 0, 1, b"before its stream"));
        let frames = peer.receive_all();
        let codes: Vec<u32> = frames.iter().filter_map(Frame::goaway_code).collect();
        assert_eq!(codes, [u32::from(Reason::PROTOCOL_ERROR)]);
    });
    assert!(matches!(end, End::Refused(Reason::PROTOCOL_ERROR)), "{end:?}");
    assert_eq!(end.close_kind(), CloseKind::Http2Error);

    let (end, _) = meet_for(LIFETIME, |mut peer| {
        peer.send(&frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2]));
        peer.receive_all();
    });
    assert!(matches!(end, End::Told(Reason::INTERNAL_ERROR)), "{end:?}");
}

#[test]
fn a_reset_connection_is_a_reset() {
    let world = World::new();
    let (stream, socket) = world.connected();
    let peer = thread::spawn(move || {
        let peer = Peer::client(socket, &[]);
        let socket = socket2::SockRef::from(&peer.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a socket");
        thread::sleep(Duration::from_millis(100));
    });
    let serving = serve(world.core.clone(), stream, Http2Options::default(), LIFETIME);
    let end = world.complete(serving);
    assert!(matches!(end, End::Transport(TransportError::Io(_))), "{end:?}");
    assert_eq!(end.close_kind(), CloseKind::Reset);
    join(&world, peer);
    world.settle();
}

#[test]
fn what_is_not_http2_is_refused() {
    let world = World::new();
    let (stream, mut socket) = world.connected();
    std::io::Write::write_all(&mut socket, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n........")
        .expect("sent");
    let serving = serve(world.core.clone(), stream, Http2Options::default(), LIFETIME);
    let end = world.complete(serving);
    assert!(matches!(end, End::Refused(Reason::PROTOCOL_ERROR)), "{end:?}");
    drop(socket);
    world.settle();
}
