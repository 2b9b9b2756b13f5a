//! A connection to an upstream, which is a peer that writes frames by hand.

use std::thread;
use std::time::Duration;

use h2::Reason;
use http::Request;
use ringfort::http2::client::{Client, NotOpened, connect};
use ringfort::http2::end::End;
use ringfort::http2::frames::Flood;
use ringfort::http2::options::Http2Options;
use ringfort::rt::core::Core;
use ringfort::tls::transport::Transport;

use crate::frames::*;
use crate::kit::World;

fn meet<F: Future<Output = ()> + 'static>(
    server: impl FnOnce(Peer) + Send + 'static,
    settings: &'static [u8],
    body: impl FnOnce(Core, Client) -> F + 'static,
) -> End {
    let world = World::new();
    let (stream, socket) = world.connected();
    let peer = thread::spawn(move || server(Peer::server(socket, settings)));
    let core = world.core.clone();
    let end = world.complete(async move {
        let options = Http2Options::of_upstreams();
        let transport = Transport::Plain(stream);
        let (client, driver) = connect(&core, transport, &options).await.expect("a server");
        let task_core = core.clone();
        core.spawn(async move {
            // The settings of the server come first.
            task_core.sleep_until(task_core.clock() + Duration::from_millis(100)).await;
            body(task_core, client).await;
        });
        driver.run().await
    });
    join(&world, peer);
    world.settle();
    end
}

fn get() -> Request<()> {
    Request::get("https://api.example/").body(()).expect("a request")
}

#[test]
fn no_more_streams_are_opened_than_the_upstream_allows() {
    // SETTINGS_MAX_CONCURRENT_STREAMS = 2
    let end = meet(
        |mut peer| {
            peer.receive_kind(HEADERS).expect("the first");
            peer.receive_kind(HEADERS).expect("the second");
            // `:status: 200`
            peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]));
            let third = peer.receive_kind(HEADERS).expect("the third");
            assert_eq!(third.stream, 5);
            peer.receive_all();
        },
        &[0, 3, 0, 0, 0, 2],
        |_, mut client| async move {
            let first = client.open(get(), true).expect("one");
            let second = client.open(get(), true).expect("two");
            assert_eq!(client.streams(), 2);
            assert!(client.is_open() && !client.has_room());
            assert_eq!(client.open(get(), true).expect_err("no room"), NotOpened);
            let response = first.response.await.expect("it is answered");
            assert_eq!(response.status(), 200);
            drop((response, first.body, first.place));
            assert!(client.has_room());
            drop(client.open(get(), true).expect("three"));
            drop(second);
        },
    );
    assert!(matches!(end, End::Finished), "{end:?}");
}

#[test]
fn goaway_ends_what_it_does_not_cover_and_lets_the_rest_finish() {
    let end = meet(
        |mut peer| {
            peer.receive_kind(HEADERS).expect("the first");
            peer.receive_kind(HEADERS).expect("the second");
            peer.send(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
            thread::sleep(Duration::from_millis(50));
            peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]));
            peer.receive_all();
        },
        &[],
        |_, mut client| async move {
            let first = client.open(get(), true).expect("one");
            let second = client.open(get(), true).expect("two");
            let error = second.response.await.expect_err("it is beyond the last stream");
            assert!(second.place.is_unprocessed(&error), "{error}");
            assert!(!client.is_open());
            assert_eq!(client.open(get(), true).expect_err("GOAWAY was said"), NotOpened);
            let response = first.response.await.expect("it is covered");
            assert_eq!(response.status(), 200);
        },
    );
    assert!(matches!(end, End::Finished), "{end:?}");
}

#[test]
fn a_refused_stream_was_not_dealt_with_and_another_that_is_reset_may_have_been() {
    meet(
        |mut peer| {
            peer.receive_kind(HEADERS).expect("the first");
            peer.receive_kind(HEADERS).expect("the second");
            peer.send(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]));
            peer.send(&frame(RST_STREAM, 0, 3, &[0, 0, 0, 2]));
            peer.receive_all();
        },
        &[],
        |_, mut client| async move {
            let first = client.open(get(), true).expect("one");
            let second = client.open(get(), true).expect("two");
            let error = first.response.await.expect_err("it is refused");
            assert!(first.place.is_unprocessed(&error));
            let error = second.response.await.expect_err("it fails");
            assert!(!second.place.is_unprocessed(&error));
            assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        },
    );
}

#[test]
fn an_upstream_that_goes_leaves_streams_that_may_have_been_dealt_with() {
    let end = meet(
        |mut peer| {
            peer.receive_kind(HEADERS).expect("the first");
        },
        &[],
        |_, mut client| async move {
            let first = client.open(get(), true).expect("one");
            let error = first.response.await.expect_err("nobody answers");
            assert!(!first.place.is_unprocessed(&error), "{error}");
            assert!(!client.is_open());
        },
    );
    assert_ne!(end.to_string(), "", "{end:?}");
}

#[test]
fn an_upstream_that_floods_is_left() {
    let end = meet(
        |mut peer| {
            peer.send(&frame(PING, 0, 0, &[0; 8]).repeat(20_000));
            peer.receive_all();
        },
        &[],
        |core, client| async move {
            while client.is_open() {
                core.sleep_until(core.now() + Duration::from_millis(10)).await;
            }
        },
    );
    assert!(matches!(end, End::Flood(_)), "{end:?}");
}

#[test]
fn streams_fit_into_the_window_of_the_connection() {
    meet(
        |mut peer| {
            peer.receive_all();
        },
        &[],
        |_, mut client| async move {
            let options = Http2Options::of_upstreams();
            let fit = options.connection_window_bytes / options.stream_window_bytes;
            let streams: Vec<_> =
                (0..fit).map(|_| client.open(get(), true).expect("room")).collect();
            assert!(fit >= 100 && !client.has_room(), "{fit} streams");
            drop(streams);
            assert!(client.has_room());
        },
    );
}

#[test]
fn an_upstream_may_reset_streams_and_not_send_heads_without_end() {
    let end = meet(
        |mut peer| {
            for _ in 0..300 {
                let stream = peer.receive_kind(HEADERS).expect("a request").stream;
                peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]));
                peer.send(&frame(RST_STREAM, 0, stream, &[0; 4]));
            }
            let stream = peer.receive_kind(HEADERS).expect("the last").stream;
            // `:status: 103`
            let hint = frame(HEADERS, END_HEADERS, stream, &hpack(&[(":status", "103")]));
            peer.send(&hint.repeat(10_000));
            peer.receive_all();
        },
        &[],
        |_, mut client| async move {
            for _ in 0..300 {
                let stream = client.open(get(), true).expect("it goes on");
                assert_eq!(stream.response.await.expect("it is answered").status(), 200);
            }
            let stream = client.open(get(), true).expect("it goes on");
            stream.response.await.expect_err("the connection is left");
        },
    );
    assert!(matches!(end, End::Flood(Flood::Headers)), "{end:?}");
}
