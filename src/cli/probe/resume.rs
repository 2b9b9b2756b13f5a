//! Whether the server resumes: a second connection with what the first one got.
//!
//! What was offered is read from the ClientHello that went out, and whether it was taken from the
//! handshake that followed: nothing is concluded from the server's promises.

use std::time::Duration;

use serde::Serialize;

use super::connect::set_times;
use super::facts::{TLS13, clip};
use crate::cli::timeline::{
    Body, Direction, Message, RecordError, RecordOptions, Recorder, Recording, ResponseEnd,
    printable,
};

/// Whether the server resumes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Resumption {
    /// `by_ticket`, `by_session_id`, `none_offered` (by the server), `declined`, `failed` or
    /// `not_tried`.
    pub(super) result: &'static str,
    /// Tickets that the first connection got.
    pub(super) tickets: usize,
    /// How long the last of them lives, in seconds.
    pub(super) lifetime_s: Option<u32>,
    /// Why it failed or was not tried.
    pub(super) reason: Option<String>,
}

impl Resumption {
    /// Nothing to offer, or no reason to.
    pub(super) fn not_tried(first: &Recording, reason: &str) -> Self {
        let offer = Offer::read(&first.decode().messages);
        offer.resulted("not_tried", Some(reason.to_owned()))
    }

    /// The value before anything was recorded.
    pub(super) fn unknown() -> Self {
        let reason = Some(String::from("there was no connection"));
        Offer::default().resulted("not_tried", reason)
    }
}

/// What the server gave to resume with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Offer {
    tickets: usize,
    lifetime_s: Option<u32>,
    has_session_id: bool,
}

impl Offer {
    fn read(messages: &[Message]) -> Self {
        let mut offer = Self::default();
        let from_server = |message: &&Message| message.direction == Direction::ToClient;
        for message in messages.iter().filter(from_server) {
            match &message.body {
                Body::ServerHello(hello) if !hello.retry => {
                    offer.has_session_id = hello.version != TLS13 && hello.session_id_bytes > 0;
                }
                // An empty one is none (RFC 5077, 3.3).
                Body::NewSessionTicket { lifetime_s, ticket_bytes: 1.. } => {
                    offer.tickets += 1;
                    offer.lifetime_s = Some(*lifetime_s);
                }
                _ => {}
            }
        }
        offer
    }

    fn resulted(self, result: &'static str, reason: Option<String>) -> Resumption {
        Resumption { result, tickets: self.tickets, lifetime_s: self.lifetime_s, reason }
    }
}

/// Connects once more, to the same address, within `left`.
pub(super) fn again(
    recorder: &Recorder,
    options: &mut RecordOptions<'_>,
    first: &Recording,
    left: Duration,
) -> Resumption {
    let offer = Offer::read(&first.decode().messages);
    if offer.tickets == 0 && !offer.has_session_id {
        return offer.resulted("none_offered", None);
    }
    set_times(options, left, left);
    // Whether it was resumed is known once the handshake is done.
    options.response_end = ResponseEnd::Bytes(0);
    let recording = match recorder.record(options) {
        Ok(recording) => recording,
        Err(RecordError { cause, .. }) => {
            let reason = format!("the second connection failed: {cause}");
            return offer.resulted("failed", Some(clip(&printable(&reason))));
        }
    };
    let by = if offer.tickets > 0 { "by_ticket" } else { "by_session_id" };
    if recording.is_resumed() {
        return offer.resulted(by, None);
    }
    let messages = recording.decode().messages;
    let went_out = messages.iter().any(|message| match &message.body {
        Body::ClientHello(hello) if offer.tickets > 0 => {
            hello.has_pre_shared_key || hello.has_session_ticket
        }
        Body::ClientHello(hello) => hello.session_id_len > 0,
        _ => false,
    });
    match went_out {
        true => offer.resulted("declined", None),
        false => {
            let reason = String::from("what the server gave had expired at once");
            offer.resulted("not_tried", Some(reason))
        }
    }
}
