//! What a hostile client sends too much of ends its connection, with `ENHANCE_YOUR_CALM`.

use std::thread;

use ringfort::error::CloseKind;
use ringfort::http2::end::End;
use ringfort::http2::frames::Flood;
use ringfort::http2::options::Http2Options;

use crate::echo::{LIFETIME, serve};
use crate::frames::*;
use crate::kit::World;

const BOUNDED: Http2Options = Http2Options {
    streams_max: 100,
    header_list_bytes_max: 16 * 1024,
    stream_window_bytes: 65_535,
    connection_window_bytes: 65_535,
    resets_max: 50,
    idle_frames_max: 100,
};

/// Serves a client that does this; what the server and the client saw.
fn meet(client: impl FnOnce(&mut Peer) + Send + 'static) -> (End, Vec<Frame>) {
    let world = World::new();
    let (stream, socket) = world.connected();
    let peer = thread::spawn(move || {
        let mut peer = Peer::client(socket, &[]);
        client(&mut peer);
        peer.receive_all()
    });
    let end = world.complete(serve(world.core.clone(), stream, BOUNDED, LIFETIME));
    let frames = join(&world, peer);
    world.settle();
    (end, frames)
}

fn assert_calmed(frames: &[Frame]) {
    let codes: Vec<u32> = frames.iter().filter_map(Frame::goaway_code).collect();
    assert_eq!(codes.last(), Some(&ENHANCE_YOUR_CALM), "{codes:?}");
}

fn assert_flood(expected: Flood, client: impl FnOnce(&mut Peer) + Send + 'static) {
    let (end, frames) = meet(client);
    assert!(matches!(end, End::Flood(flood) if flood == expected), "{expected:?}: {end:?}");
    assert_eq!(end.close_kind(), CloseKind::Http2Flood);
    assert!(end.to_string().contains("too many"), "{end}");
    assert_calmed(&frames);
}

fn again(times: usize, bytes: &[u8]) -> Vec<u8> {
    bytes.repeat(times)
}

#[test]
fn streams_that_are_reset_at_once() {
    assert_flood(Flood::Resets, |peer| {
        for stream in (1..2_000).step_by(2) {
            peer.send(&frame(HEADERS, END_HEADERS, stream, &request("/")));
            peer.send(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        }
    });
}

#[test]
fn streams_that_are_reset_at_once_in_one_flight() {
    assert_flood(Flood::Resets, |peer| {
        let mut flight = Vec::new();
        for stream in (1..2_000).step_by(2) {
            flight.extend(frame(HEADERS, END_HEADERS, stream, &request("/")));
            flight.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        }
        peer.send(&flight);
    });
}

#[test]
fn continuation_without_end() {
    assert_flood(Flood::Continuations, |peer| {
        peer.send(&frame(HEADERS, 0, 1, &request("/")));
        peer.send(&again(10_000, &frame(CONTINUATION, 0, 1, &hpack(&[("a", "b")]))));
    });
}

#[test]
fn empty_continuation_without_end() {
    assert_flood(Flood::Continuations, |peer| {
        peer.send(&frame(HEADERS, 0, 1, &request("/")));
        peer.send(&again(10_000, &frame(CONTINUATION, 0, 1, &[])));
    });
}

#[test]
fn frames_that_only_ask_for_an_answer_or_for_nothing() {
    assert_flood(Flood::Pings, |peer| peer.send(&again(10_000, &frame(PING, 0, 0, &[7; 8]))));
    assert_flood(Flood::Settings, |peer| peer.send(&again(10_000, &frame(SETTINGS, 0, 0, &[]))));
    assert_flood(Flood::Priorities, |peer| {
        peer.send(&again(10_000, &frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 9])));
    });
    assert_flood(Flood::WindowUpdates, |peer| {
        peer.send(&again(10_000, &frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])));
    });
    assert_flood(Flood::Others, |peer| peer.send(&again(10_000, &frame(200, 0, 0, b"?"))));
}

#[test]
fn data_without_data() {
    // h2 has a bound of its own, which may be the first.
    let (end, frames) = meet(|peer| {
        peer.send(&frame(HEADERS, END_HEADERS, 1, &request("/")));
        peer.send(&again(10_000, &frame(DATA, 0, 1, &[])));
    });
    assert_eq!(end.close_kind(), CloseKind::Http2Flood, "{end:?}");
    assert_calmed(&frames);
}

#[test]
fn a_client_that_reads_no_answers_is_given_none_to_keep() {
    // With its window at nothing the answers wait; it is the pings that end it.
    assert_flood(Flood::Pings, |peer| {
        for _ in 0..50 {
            peer.send(&again(1_000, &frame(PING, 0, 0, &[7; 8])));
        }
    });
}

#[test]
fn a_list_of_fields_beyond_its_bound_is_answered_431() {
    let (end, frames) = meet(|peer| {
        let long = "x".repeat(20 * 1024);
        let mut block = request("/");
        block.extend(hpack(&[("long", &long)]));
        let (first, second) = block.split_at(16 * 1024);
        peer.send(&frame(HEADERS, END_STREAM, 1, first));
        peer.send(&frame(CONTINUATION, END_HEADERS, 1, second));
        let answer = peer.receive_kind(HEADERS).expect("an answer");
        // `:status: 431` is a literal; 8 is the index of the name `:status` in the static table.
        let text = [b"431".as_slice(), &[0x68, 0x0c, 0xff]].concat();
        assert!(
            answer.payload.windows(3).any(|three| three == &text[..3]) || answer.payload.len() < 16
        );
        let _ = peer.stream.shutdown(std::net::Shutdown::Write);
    });
    assert!(matches!(end, End::Finished), "{end:?}");
    assert!(frames.iter().all(|frame| frame.goaway_code().unwrap_or_default() == 0));
}

#[test]
fn a_list_of_fields_far_beyond_its_bound_ends_the_connection() {
    let (end, frames) = meet(|peer| {
        let field = hpack(&[("name", &"x".repeat(15 * 1024))]);
        peer.send(&frame(HEADERS, 0, 1, &request("/")));
        for _ in 0..4 {
            peer.send(&frame(CONTINUATION, 0, 1, &field));
        }
        peer.send(&frame(CONTINUATION, END_HEADERS, 1, &field));
    });
    assert_eq!(end.close_kind(), CloseKind::Http2Flood, "{end:?}");
    assert_calmed(&frames);
}

#[test]
fn a_bomb_of_hpack_is_a_list_beyond_its_bound() {
    let (end, frames) = meet(|peer| {
        // A field of 4,000 bytes goes into the table, and is then named by one byte each.
        let mut block = request("/");
        block.extend([0x40, 1, b'a', 127, 0xa1, 0x1e]);
        block.extend([b'x'; 4_000]);
        block.extend([0x80 | 62; 4_000]);
        peer.send(&frame(HEADERS, END_HEADERS, 1, &block));
    });
    assert_eq!(end.close_kind(), CloseKind::Http2Flood, "{end:?}");
    assert_calmed(&frames);
}
