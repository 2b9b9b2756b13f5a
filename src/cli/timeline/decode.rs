//! A passive reader of a recorded connection: records, and with the key log's secrets the messages
//! inside those that are encrypted (RFC 8446, 5; RFC 5246, 6.2).
//!
//! Pure: it knows nothing of sockets, and takes both directions as hostile. Its invariant, which a
//! property test holds it to: in each direction the bytes of the messages and of their overhead
//! together are the bytes on the wire, whatever those are.

use std::time::Instant;

use super::body::{self, Body, HANDSHAKE, MESSAGE_HEADER_BYTES, TLS12, TLS13};
use super::keys::{Epoch, Opener, Secrets};
use super::record::{Direction, Recording, Wire};
use crate::limits::{HANDSHAKE_BYTES_MAX, TIMELINE_MESSAGES_MAX, TLS_RECORD_BYTES_MAX};

/// Bytes of a record's header (RFC 8446, 5.1).
const HEADER_BYTES: usize = 5;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;

/// One message of a connection, or a piece that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub direction: Direction,
    /// When its last byte went by at the client.
    pub at: Instant,
    /// Its own bytes: a handshake message's with its header of 4, without record headers, padding
    /// and authentication tags. Of what could not be decrypted, the record's fragment.
    pub bytes: usize,
    /// Whether it was encrypted.
    pub encrypted: bool,
    /// What it says.
    pub body: Body,
}

/// What a direction's bytes on the wire are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All bytes.
    pub wire_bytes: usize,
    /// Complete records.
    pub records: usize,
    /// Bytes of record headers, content types, padding and authentication tags.
    pub overhead_bytes: usize,
}

/// A connection, decoded.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The messages of both directions in the order of time.
    pub messages: Vec<Message>,
    /// The client's bytes.
    pub to_server: Totals,
    /// The server's bytes.
    pub to_client: Totals,
}

impl Recording {
    /// Reads what was recorded.
    pub fn decode(&self) -> Decoded {
        decode(&self.to_server, &self.to_client, &self.stamps.secrets)
    }
}

/// Reads both directions of a connection. The server's comes first: it alone tells the suite.
pub(super) fn decode(to_server: &Wire, to_client: &Wire, secrets: &Secrets) -> Decoded {
    let (direction, chosen) = (Direction::ToClient, None);
    let mut server = Reader::new(direction, to_client, secrets, chosen);
    server.run();
    let mut client = Reader::new(Direction::ToServer, to_server, secrets, server.chosen);
    client.run();
    let mut messages = client.messages;
    messages.append(&mut server.messages);
    messages.sort_by_key(|message| message.at);
    Decoded { messages, to_server: client.totals, to_client: server.totals }
}

/// The version and the suite of a connection.
type Chosen = (u16, u16);

/// The reader of one direction.
struct Reader<'a> {
    direction: Direction,
    wire: &'a Wire,
    secrets: &'a Secrets,
    chosen: Option<Chosen>,
    opener: Option<Opener>,
    /// TLS 1.2: whether ChangeCipherSpec was seen, so that all that follows is encrypted.
    ciphered: bool,
    /// Handshake bytes of a message whose end has not come.
    pending: Vec<u8>,
    pending_encrypted: bool,
    /// Whether a message longer than any may be made the handshake bytes unreadable.
    lost: bool,
    messages: Vec<Message>,
    totals: Totals,
}

impl<'a> Reader<'a> {
    fn new(
        direction: Direction,
        wire: &'a Wire,
        secrets: &'a Secrets,
        chosen: Option<Chosen>,
    ) -> Self {
        let mut reader = Self {
            direction,
            wire,
            secrets,
            chosen,
            opener: None,
            ciphered: false,
            pending: Vec::new(),
            pending_encrypted: false,
            lost: false,
            messages: Vec::new(),
            totals: Totals::default(),
        };
        reader.turn_key(Epoch::Handshake);
        reader
    }

    fn run(&mut self) {
        let wire = self.wire;
        let mut rest = &wire.bytes[..];
        self.totals.wire_bytes = rest.len();
        while let Some((header, fragment, after)) = split_record(rest) {
            rest = after;
            self.totals.records += 1;
            self.totals.overhead_bytes += HEADER_BYTES;
            if let Some(at) = wire.at(wire.bytes.len() - rest.len()) {
                self.record(header, fragment, at);
            }
        }
        if let Some(at) = wire.at(wire.bytes.len()) {
            self.give_up_pending(at);
            if !rest.is_empty() {
                self.push(rest.len(), false, at, Body::NotARecord);
            }
        }
    }

    fn record(&mut self, header: &[u8], fragment: &[u8], at: Instant) {
        let content_type = header.first().copied().unwrap_or_default();
        if !self.is_13() && self.ciphered {
            let body = match content_type {
                HANDSHAKE => Body::Finished { opened: false },
                APPLICATION_DATA => Body::ApplicationData,
                content_type => Body::Opaque { content_type },
            };
            return self.push(fragment.len(), true, at, body);
        }
        if content_type != APPLICATION_DATA {
            return self.content(content_type, fragment, false, at);
        }
        let opened = self.opener.as_mut();
        match opened.and_then(|opener| opener.open(header, fragment)) {
            Some((inner_type, plain)) => {
                self.totals.overhead_bytes += fragment.len() - plain.len();
                self.content(inner_type, &plain, true, at);
            }
            None => self.push(fragment.len(), true, at, Body::Opaque { content_type }),
        }
    }

    /// One record's content, in clear.
    fn content(&mut self, content_type: u8, content: &[u8], encrypted: bool, at: Instant) {
        let body = match (content_type, content) {
            (HANDSHAKE, _) if !self.lost => {
                return self.handshake(content, encrypted, at);
            }
            (CHANGE_CIPHER_SPEC, [1]) => {
                self.ciphered = true;
                Body::ChangeCipherSpec
            }
            (ALERT, [_, description]) => Body::Alert { description: *description },
            (APPLICATION_DATA, _) => Body::ApplicationData,
            _ => Body::Opaque { content_type },
        };
        self.push(content.len(), encrypted, at, body);
    }

    fn handshake(&mut self, content: &[u8], encrypted: bool, at: Instant) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(content);
        self.pending_encrypted = encrypted;
        let mut rest = &pending[..];
        while let [message_type, a, b, c, after @ ..] = rest {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if length > HANDSHAKE_BYTES_MAX {
                self.lost = true;
                break;
            }
            let Some((bytes, after)) = after.split_at_checked(length) else {
                break;
            };
            rest = after;
            let version = self.chosen.map_or(TLS13, |(version, _)| version);
            let body = body::parse(*message_type, bytes, version);
            self.follow(*message_type, &body);
            self.push(MESSAGE_HEADER_BYTES + length, encrypted, at, body);
        }
        self.pending = rest.to_vec();
        if self.lost {
            self.give_up_pending(at);
        }
    }

    /// Changes the keys where a message says so.
    fn follow(&mut self, message_type: u8, body: &Body) {
        const KEY_UPDATE: u8 = 24;
        match body {
            // A HelloRetryRequest too: the dummy ChangeCipherSpec after it must not be taken for
            // TLS 1.2's.
            Body::ServerHello(hello) if self.direction == Direction::ToClient => {
                self.chosen = Some((hello.version, hello.suite));
                self.turn_key(Epoch::Handshake);
            }
            Body::Finished { .. } => self.turn_key(Epoch::Application),
            // The next secret is not in the key log: what follows stays closed.
            _ if message_type == KEY_UPDATE => self.opener = None,
            _ => {}
        }
    }

    fn turn_key(&mut self, epoch: Epoch) {
        let secret = self.secrets.find(self.direction, epoch);
        self.opener = match (self.chosen, secret) {
            (Some((TLS13, suite)), Some(secret)) => Opener::new(suite, secret),
            _ => None,
        };
    }

    fn is_13(&self) -> bool {
        self.chosen.is_some_and(|(version, _)| version != TLS12)
    }

    fn give_up_pending(&mut self, at: Instant) {
        let pending = std::mem::take(&mut self.pending);
        if let Some(message_type) = pending.first().copied() {
            let body = Body::Partial { message_type };
            self.push(pending.len(), self.pending_encrypted, at, body);
        }
    }

    /// Lists a message; what comes after the last that may be listed is counted together.
    fn push(&mut self, bytes: usize, encrypted: bool, at: Instant, body: Body) {
        let full = self.messages.len() >= TIMELINE_MESSAGES_MAX;
        if let Some(last) = self.messages.last_mut().filter(|_| full) {
            last.bytes += bytes;
            last.at = at;
            last.body = Body::TooMany;
            return;
        }
        self.messages.push(Message { direction: self.direction, at, bytes, encrypted, body });
    }
}

/// Splits the first record off: its header, its fragment and what follows. `None` where there is
/// no complete one, or none at all.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (header, after) = bytes.split_at_checked(HEADER_BYTES)?;
    let [content_type, major, _, high, low] = header else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let known = (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(content_type) && *major == 3;
    if !known || HEADER_BYTES + length > TLS_RECORD_BYTES_MAX {
        return None;
    }
    let (fragment, after) = after.split_at_checked(length)?;
    Some((header, fragment, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(pieces: &[Vec<u8>]) -> Wire {
        let mut wire = Wire::default();
        for piece in pieces {
            wire.add(piece, Instant::now()).expect("below the bounds");
        }
        wire
    }

    fn accounted(decoded: &Decoded, direction: Direction, totals: Totals) -> bool {
        let messages = decoded.messages.iter();
        let own = messages.filter(|message| message.direction == direction);
        own.map(|message| message.bytes).sum::<usize>() + totals.overhead_bytes == totals.wire_bytes
    }

    fn record(content_type: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("short");
        let mut record = vec![content_type, 3, 3];
        record.extend(length.to_be_bytes());
        record.extend_from_slice(content);
        record
    }

    /// Records whose header is right and whose content is anything, and bytes that are anything.
    fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300);
        let message = (0_u8..25, bytes()).prop_map(|(message_type, body)| {
            let length = u32::try_from(body.len()).expect("short").to_be_bytes();
            let mut message = vec![message_type];
            message.extend_from_slice(&length[1..]);
            message.extend(body);
            record(HANDSHAKE, &message)
        });
        let any_record = (20_u8..24, bytes()).prop_map(|(kind, content)| record(kind, &content));
        let piece = prop_oneof![4 => message, 4 => any_record, 1 => bytes()];
        prop::collection::vec(piece, 0..20)
    }

    fn hello13() -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0x13, 0x01, 0, 0, 6, 0, 43, 0, 2, 3, 4]);
        let mut message = vec![2, 0, 0, u8::try_from(body.len()).expect("short")];
        message.extend(body);
        record(HANDSHAKE, &message)
    }

    proptest! {
        #[test]
        fn whatever_was_on_the_wire_every_byte_is_accounted_for(
            client in pieces(),
            mut server in pieces(),
            tls13: bool,
        ) {
            if tls13 {
                server.insert(0, hello13());
            }
            let mut secrets = Secrets::default();
            secrets.keep("SERVER_HANDSHAKE_TRAFFIC_SECRET", &[1; 32]);
            secrets.keep("CLIENT_HANDSHAKE_TRAFFIC_SECRET", &[2; 32]);
            let decoded = decode(&wire(&client), &wire(&server), &secrets);
            prop_assert!(accounted(&decoded, Direction::ToServer, decoded.to_server));
            prop_assert!(accounted(&decoded, Direction::ToClient, decoded.to_client));
            prop_assert!(decoded.messages.is_sorted_by_key(|message| message.at));
        }
    }

    #[test]
    fn a_message_in_two_records_is_one_with_the_time_of_the_second() {
        let hello = hello13();
        let (first, second) = hello[5..].split_at(9);
        let pieces = [record(HANDSHAKE, first), record(HANDSHAKE, second)];
        let decoded = decode(&Wire::default(), &wire(&pieces), &Secrets::default());
        let [message] = &decoded.messages[..] else {
            panic!("one message expected: {:?}", decoded.messages);
        };
        assert_eq!(message.bytes, hello.len() - 5);
        assert!(matches!(&message.body, Body::ServerHello(hello) if hello.version == TLS13));
        assert_eq!(decoded.to_client.records, 2);
        assert_eq!(decoded.to_client.overhead_bytes, 10);
    }

    #[test]
    fn more_messages_than_are_listed_are_counted_together() {
        let many = vec![record(CHANGE_CIPHER_SPEC, &[1]); TIMELINE_MESSAGES_MAX + 7];
        let decoded = decode(&wire(&many[..10]), &wire(&[many.concat()]), &Secrets::default());
        let last = decoded.messages.last().expect("there are many");
        assert_eq!(decoded.messages.len(), 10 + TIMELINE_MESSAGES_MAX);
        assert_eq!((&last.body, last.bytes), (&Body::TooMany, 8));
        assert!(accounted(&decoded, Direction::ToClient, decoded.to_client));
    }

    #[test]
    fn a_message_longer_than_any_may_be_does_not_wait_for_its_end() {
        let pieces = [record(HANDSHAKE, &[11, 0xff, 0, 0, 1]), record(HANDSHAKE, &[2])];
        let decoded = decode(&Wire::default(), &wire(&pieces), &Secrets::default());
        let bodies: Vec<_> = decoded.messages.iter().map(|message| &message.body).collect();
        assert_eq!(
            bodies,
            [&Body::Partial { message_type: 11 }, &Body::Opaque { content_type: 22 }]
        );
    }
}
