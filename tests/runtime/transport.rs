//! A transport on a real core, towards a TLS server that is made by hand.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use ringfort::CloseKind;
use ringfort::rt::core::Core;
use ringfort::tls::client::UpstreamTls;
use ringfort::tls::session::SessionError;
use ringfort::tls::transport::{Chunk, Transport, TransportError, connect, recycle};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ServerConnection};

use crate::kit::{World, content};
use crate::peers::{VERSIONS, pair, serve};

async fn connected(core: &Core, address: SocketAddr, tls: &UpstreamTls) -> Transport {
    let stream = core.connect(address.into(), None).await.expect("a listener");
    connect(stream, tls).await.expect("a handshake").0
}

async fn next(core: &Core, transport: &mut Transport) -> Result<Option<Chunk>, TransportError> {
    poll_fn(|cx| transport.poll_read(core, cx)).await
}

/// All that comes, and how it ends.
async fn read_all(core: &Core, transport: &mut Transport) -> (Vec<u8>, Option<TransportError>) {
    let mut all = Vec::new();
    loop {
        match next(core, transport).await {
            Ok(Some(chunk)) => {
                assert!(!chunk.is_empty(), "never none");
                all.extend_from_slice(&chunk);
                recycle(core, chunk);
            }
            Ok(None) => return (all, None),
            Err(error) => return (all, Some(error)),
        }
    }
}

/// What a client reads of a server that does this, and how it ends.
fn reads(
    version: usize,
    then: impl FnOnce(crate::peers::Peer) + Send + 'static,
) -> (Vec<u8>, Option<TransportError>) {
    let (tls, server) = pair(VERSIONS[version]);
    let (address, thread) = serve(server, then);
    let world = World::new();
    let core = world.core.clone();
    let read = world.complete(async move {
        let mut transport = connected(&core, address, &tls).await;
        let read = read_all(&core, &mut transport).await;
        transport.close();
        read
    });
    world.settle();
    thread.join().expect("it was read");
    read
}

#[test]
fn records_that_come_in_pieces_are_whole_again() {
    for version in [0, 1] {
        let (all, error) = reads(version, |mut peer| {
            peer.say(&content(300));
            peer.session.close(&mut peer.out);
            for byte in std::mem::take(&mut peer.out) {
                peer.socket.write_all(&[byte]).expect("it is read");
                thread::sleep(Duration::from_micros(50));
            }
        });
        assert!(error.is_none(), "{error:?}");
        assert!(all == content(300));
        let (all, error) = reads(version, |mut peer| {
            peer.say(&content(3_000_000));
            peer.session.close(&mut peer.out);
            peer.send();
        });
        assert!(error.is_none() && all == content(3_000_000), "{error:?}");
    }
}

#[test]
fn an_end_without_close_notify_is_cut_short_even_within_a_record() {
    for cut in [0, 7] {
        let (all, error) = reads(0, move |mut peer| {
            peer.say(b"whole");
            peer.send();
            peer.say(b"in part");
            peer.out.truncate(cut);
            peer.send();
        });
        assert_eq!(all, b"whole");
        assert!(matches!(error, Some(TransportError::Truncated)), "{error:?}");
    }
}

#[test]
fn what_came_before_an_alert_is_handed_out_and_then_the_alert() {
    let (all, error) = reads(0, |mut peer| {
        peer.say(b"a whole response");
        peer.session.alert(AlertDescription::InternalError, &mut peer.out);
        peer.send();
    });
    assert_eq!(all, b"a whole response");
    let Some(TransportError::Tls(SessionError::AlertReceived(alert))) = error else {
        panic!("{error:?}")
    };
    assert_eq!(alert, AlertDescription::InternalError);
}

#[test]
fn a_record_that_was_tampered_with_is_answered_by_an_alert() {
    let (sender, told) = channel();
    let (all, error) = reads(0, move |mut peer| {
        peer.say(b"good");
        peer.send();
        peer.say(b"bad");
        *peer.out.last_mut().expect("a record") ^= 1;
        peer.send();
        let mut answer = Vec::new();
        peer.socket.read_to_end(&mut answer).expect("an orderly end");
        let read = peer.session.read(&answer, &mut Vec::new(), &mut Vec::new());
        sender.send(read).expect("it is awaited");
    });
    assert_eq!(all, b"good");
    assert!(matches!(error, Some(TransportError::Tls(SessionError::Record(_)))), "{error:?}");
    let alert = Err(SessionError::AlertReceived(AlertDescription::BadRecordMac));
    assert_eq!(told.recv().expect("it was told"), alert);
}

#[test]
fn data_in_one_flight_with_the_handshake_is_read_first() {
    let (tls, mut server) = pair(&TLS13);
    server.send_half_rtt_data = true;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let thread = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let mut server = ServerConnection::new(Arc::new(server)).expect("a session");
        server.read_tls(&mut socket).expect("a ClientHello");
        server.process_new_packets().expect("a good one");
        server.writer().write_all(b"early").expect("room");
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).expect("memory");
        }
        socket.write_all(&flight).expect("it is read");
        server.complete_io(&mut socket).expect("the client's flight");
        server.writer().write_all(b" and late").expect("room");
        server.send_close_notify();
        server.complete_io(&mut socket).expect("it is read");
    });
    let world = World::new();
    let core = world.core.clone();
    world.complete(async move {
        let mut transport = connected(&core, address, &tls).await;
        assert!(transport.is_stale(), "something was said already");
        let (all, error) = read_all(&core, &mut transport).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(all, b"early and late");
        transport.close();
    });
    world.settle();
    thread.join().expect("it was read");
}

#[test]
fn a_peer_that_does_not_read_holds_the_writer_up_and_gets_all() {
    for version in [&TLS13, &TLS12] {
        let (tls, server) = pair(version);
        let (go, may_read) = channel::<()>();
        let (address, thread) = serve(server, move |mut peer| {
            may_read.recv().expect("the writer is held up");
            peer.read_all()
        });
        let world = World::new();
        let core = world.core.clone();
        let written = world.complete(async move {
            let mut transport = connected(&core, address, &tls).await;
            let (mut written, mut go) = (0, Some(go));
            while go.is_some() || written < 20_000_000 {
                let until = core.now() + Duration::from_millis(300);
                let room = poll_fn(|cx| transport.poll_writable(cx));
                match core.timeout_at(until, room).await {
                    Ok(room) => room.expect("it is open"),
                    Err(_) => {
                        let go = go.take().expect("it reads by now");
                        go.send(()).expect("it waits");
                        continue;
                    }
                }
                assert!(written < 200_000_000, "no back-pressure in sight");
                transport.write(&content(100_000)).expect("keys");
                transport.flush();
                written += 100_000;
            }
            transport.close();
            written
        });
        world.settle();
        let all = thread.join().expect("it read");
        assert_eq!(all.len(), written);
        assert!(all.chunks(100_000).all(|chunk| chunk == content(100_000)));
    }
}

#[test]
fn what_was_decrypted_moves_into_the_other_socket_without_a_copy() {
    let (tls, server) = pair(&TLS13);
    let (address, thread) = serve(server, |mut peer| {
        peer.say(&content(10_000));
        peer.send();
        peer.read_all()
    });
    let world = World::new();
    let (plain, mut reader) = world.connected();
    let reading = thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).expect("an orderly end");
        all
    });
    let core = world.core.clone();
    world.complete(async move {
        let mut transport = connected(&core, address, &tls).await;
        let mut plain = Transport::Plain(plain);
        let mut left = 10_000;
        let mut is_first = true;
        while left > 0 {
            let mut chunk = next(&core, &mut transport).await.expect("data").expect("no end");
            left -= chunk.len();
            assert!(matches!(chunk, Chunk::Decrypted(_)));
            if std::mem::take(&mut is_first) {
                chunk.advance(3);
                let storage = chunk.as_ptr();
                plain.write_chunk(&core, chunk).expect("it is open");
                let pending = plain.socket().lend_pending(0);
                assert_eq!(pending.remaining().as_ptr(), storage, "it was copied");
                plain.socket().restore_pending(pending);
            } else {
                plain.write_chunk(&core, chunk).expect("it is open");
            }
        }
        plain.flush();
        plain.close();
        transport.close();
    });
    world.settle();
    assert!(reading.join().expect("it ended") == content(10_000)[3..]);
    assert!(thread.join().expect("it ended").is_empty());
}

#[test]
fn tickets_are_nothing_to_an_idle_connection_and_its_end_is() {
    let (tls, server) = pair(&TLS13);
    let (go, may_end) = channel::<()>();
    let (address, thread) = serve(server, move |mut peer| {
        may_end.recv().expect("it is told");
        peer.session.close(&mut peer.out);
        peer.send();
        // Before FIN, which comes when this is dropped.
        may_end.recv().expect("it is told");
    });
    let world = World::new();
    let core = world.core.clone();
    world.complete(async move {
        let mut transport = connected(&core, address, &tls).await;
        let until = core.now() + Duration::from_millis(200);
        let idle = core.timeout_at(until, poll_fn(|cx| transport.poll_idle(&core, cx))).await;
        assert!(idle.is_err(), "tickets have come, and nothing else");
        assert!(!transport.is_stale());
        go.send(()).expect("it waits");
        poll_fn(|cx| transport.poll_idle(&core, cx)).await;
        assert!(transport.is_stale(), "close_notify is an end, with FIN or without");
        go.send(()).expect("it waits");
        transport.close();
    });
    world.settle();
    thread.join().expect("it ended");
}

#[test]
fn a_connection_whose_last_data_came_with_the_end_is_stale() {
    let (tls, server) = pair(&TLS13);
    let (address, thread) = serve(server, |mut peer| {
        peer.say(b"the last");
        peer.session.close(&mut peer.out);
        peer.send();
        peer.read_all()
    });
    let world = World::new();
    let core = world.core.clone();
    world.complete(async move {
        let mut transport = connected(&core, address, &tls).await;
        let chunk = next(&core, &mut transport).await.expect("data").expect("no end yet");
        assert_eq!(&*chunk, b"the last");
        recycle(&core, chunk);
        assert!(transport.is_stale());
        transport.close();
    });
    world.settle();
    thread.join().expect("it ended");
}

#[test]
fn a_plain_connection_is_stale_when_its_peer_speaks_or_ends() {
    for speaks in [true, false] {
        let world = World::new();
        let (stream, mut peer) = world.connected();
        let core = world.core.clone();
        world.complete(async move {
            let mut transport = Transport::Plain(stream);
            let mut cx = Context::from_waker(Waker::noop());
            assert_eq!(transport.poll_idle(&core, &mut cx), Poll::Pending);
            assert!(!transport.is_stale());
            match speaks {
                true => peer.write_all(b"unasked").expect("it is open"),
                false => peer.shutdown(Shutdown::Write).expect("it is open"),
            }
            core.sleep_until(core.now() + Duration::from_millis(50)).await;
            assert!(transport.is_stale());
            assert_eq!(transport.poll_idle(&core, &mut cx), Poll::Ready(()));
            drop(transport);
        });
        world.settle();
    }
}

#[test]
fn a_plain_connection_that_ends_for_a_reason_is_reset() {
    let world = World::new();
    let (stream, mut peer) = world.connected();
    world.complete(async move { Transport::Plain(stream).close_for(CloseKind::IdleTimeout) });
    world.settle();
    let read = peer.read(&mut [0; 8]).expect_err("no orderly end");
    assert_eq!(read.kind(), std::io::ErrorKind::ConnectionReset);
}
