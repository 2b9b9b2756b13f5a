//! The oracles of the bytes: who sent what, and what of it arrived where.
//!
//! Every byte stream is a function of its sender's number: 8 bytes with the number, then a pattern
//! that no other stream has. An upstream that echoes sends its own number and then what it got. So
//! a receiver can tell from the bytes alone whose they are, and whether one is missing, twice,
//! changed, or another connection's.

use std::collections::BTreeMap;

use super::demands::InForce;
use super::hellos::Hellos;
use super::http::book::Book;
use super::net::Inner;
use super::pki::{Client as Certificate, Verdict};
use crate::identity::Identity;

/// The bytes of a number in front of each stream.
pub const HEADER_BYTES: u64 = 8;
/// The bit of an upstream connection's number that says that it echoes.
pub const ECHO_BIT: u64 = 1 << 63;

/// The byte at `offset` of the stream of `sender`.
pub fn pattern(sender: u64, offset: u64) -> u8 {
    if offset < HEADER_BYTES {
        return sender.to_be_bytes()[offset as usize];
    }
    let mixed = (sender ^ (offset / 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ offset;
    (mixed >> 32) as u8 ^ mixed as u8
}

/// `count` bytes of the stream of `sender` from `offset` on.
pub fn stream(sender: u64, offset: u64, count: usize) -> Vec<u8> {
    (offset..offset + count as u64).map(|at| pattern(sender, at)).collect()
}

/// What one end has sent and received.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Bytes that it handed over.
    pub sent: u64,
    /// Whether it ended its side in order (close_notify, or FIN of an upstream).
    pub ended: bool,
    /// Bytes that it received.
    pub received: u64,
    /// The first bytes received: the other end's number.
    header: Vec<u8>,
    /// The other end, once its number has arrived.
    pub peer: Option<u64>,
    /// Who has got bytes of it.
    claimed_by: Option<u64>,
    /// It is behind a Unix socket, where a cut cannot be told from an end: there is no reset.
    pub sees_no_reset: bool,
}

/// A client, as the oracles know it.
#[derive(Clone, Debug, Default)]
pub struct ClientFacts {
    /// Its bytes.
    pub flow: Flow,
    /// What it presents.
    pub certificate: Certificate,
    /// Which listener it connects to.
    pub listener: usize,
    /// Whether it asks for the name that a listener may have demands of its own for.
    pub is_other_name: bool,
    /// When its handshake was complete, and whether a session was resumed.
    pub shaken: Option<(u64, bool)>,
    /// When it connected.
    pub since: u64,
    /// Its address.
    pub source: String,
    /// What its certificate says of it.
    pub identity: Option<Identity>,
    /// Something that it sent or got was changed on its way.
    pub is_garbled: bool,
    /// Whether it speaks HTTP.
    pub is_http: bool,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By number.
    pub clients: BTreeMap<u64, ClientFacts>,
    /// By number.
    pub upstreams: BTreeMap<u64, Flow>,
    /// Which configurations came into force, and when.
    pub in_force: Vec<(u64, InForce)>,
    /// What is known of requests.
    pub requests: Book,
    /// What is known of first flights of clients.
    pub hellos: Hellos,
    /// Whose a certificate is, by its SHA-256.
    pub certificates: BTreeMap<[u8; 32], Certificate>,
    /// When the monotonic clock jumped last.
    pub jumped_at: Option<u64>,
    /// When the wall clock was set, and by how many seconds it is ahead since.
    pub(super) wall_offsets: Vec<(u64, i64)>,
    next: u64,
}

impl Ledger {
    /// A number for a client.
    pub fn add_client(&mut self, facts: ClientFacts) -> u64 {
        self.next += 1;
        if let Some(identity) = &facts.identity {
            self.certificates.insert(*identity.sha256(), facts.certificate);
        }
        self.clients.insert(self.next, facts);
        self.next
    }

    /// A number for a connection of an upstream.
    pub fn add_upstream(&mut self, echoes: bool, is_unix: bool) -> u64 {
        self.next += 1;
        let number = if echoes { self.next | ECHO_BIT } else { self.next };
        let flow = Flow { sees_no_reset: is_unix, ..Flow::default() };
        self.upstreams.insert(number, flow);
        number
    }

    /// Something that a client sent or got was changed on its way.
    pub fn garbled(&mut self, client: u64) {
        if let Some(facts) = self.clients.get_mut(&client) {
            facts.is_garbled = true;
        }
    }

    /// The flow of a client or an upstream's connection.
    ///
    /// # Panics
    /// Where there is no such number.
    pub fn flow(&mut self, number: u64) -> &mut Flow {
        match self.clients.get_mut(&number) {
            Some(client) => &mut client.flow,
            // invariant: numbers are given out by `add_client` and `add_upstream` only.
            None => self.upstreams.get_mut(&number).expect("a number given out here"),
        }
    }

    /// `by` got `bytes`.
    pub fn received(&mut self, net: &mut Inner, by: u64, bytes: &[u8]) {
        let is_client = self.clients.contains_key(&by);
        for &byte in bytes {
            let flow = self.flow(by);
            let offset = flow.received;
            flow.received += 1;
            if offset < HEADER_BYTES {
                flow.header.push(byte);
                if flow.header.len() as u64 == HEADER_BYTES {
                    self.identify(net, by, is_client);
                }
                continue;
            }
            let Some(peer) = self.flow(by).peer else { return };
            let expected = match peer & ECHO_BIT != 0 {
                // What comes back is what was sent, and not before it was sent.
                true if offset - HEADER_BYTES < self.flow(by).sent => {
                    Some(pattern(by, offset - HEADER_BYTES))
                }
                true => None,
                false => Some(pattern(peer, offset)),
            };
            if expected != Some(byte) {
                return net.violation(format_args!(
                    "byte {offset} from {peer:#x} to {by:#x} is {byte:#04x}, not {expected:02x?}"
                ));
            }
        }
        let Some(peer) = self.flow(by).peer else { return };
        let (sent, received) = (self.flow(peer).sent, self.flow(by).received);
        if received > sent {
            net.violation(format_args!("{by:#x} got {received} of {sent} bytes of {peer:#x}"));
        }
    }

    /// The first 8 bytes are there: whose are they, and may they be here?
    fn identify(&mut self, net: &mut Inner, by: u64, is_client: bool) {
        let header = self.flow(by).header.iter();
        let peer = header.fold(0, |number, byte| number << 8 | u64::from(*byte));
        let exists = match is_client {
            true => self.upstreams.contains_key(&peer),
            false => self.clients.contains_key(&peer),
        };
        if !exists {
            return net.violation(format_args!("{by:#x} got bytes of nobody: {peer:#x}"));
        }
        self.flow(by).peer = Some(peer);
        let flow = self.flow(peer);
        let others = [flow.peer, flow.claimed_by.replace(by)];
        if others.into_iter().flatten().any(|other| other != by) {
            net.violation(format_args!("{peer:#x} talks to {by:#x} and to {others:x?}"));
        }
        if is_client {
            self.check_allowed(net, by);
        } else {
            self.flow(peer).peer = Some(by);
            self.check_allowed(net, peer);
        }
    }

    /// Bytes go between a client and an upstream: was it allowed at any time since it came?
    fn check_allowed(&self, net: &mut Inner, client: u64) {
        let facts = &self.clients[&client];
        let verdicts = self.verdicts(facts, facts.since, net.now);
        if !verdicts.contains(&Verdict::Allowed) {
            net.violation(format_args!(
                "client {client} reaches an upstream with {:?}",
                facts.certificate
            ));
        }
    }

    /// `by` saw an orderly end: then all that its peer sent is there, and the peer has ended.
    pub fn ended(&mut self, net: &mut Inner, by: u64) {
        if self.flow(by).sees_no_reset {
            return;
        }
        let received = self.flow(by).received;
        let Some(peer) = self.flow(by).peer else {
            // Fewer bytes than a number. Somebody must have ended after so few.
            let is_client = self.clients.contains_key(&by);
            let fits = |flow: &Flow| flow.ended && flow.sent == received;
            let found = match is_client {
                true => self.upstreams.values().any(|flow| fits(flow) || flow.sees_no_reset),
                false => self.clients.values().any(|client| fits(&client.flow)),
            };
            if !found {
                net.violation(format_args!("{by:#x} saw an end after {received} bytes of nobody"));
            }
            return;
        };
        let flow = self.flow(peer);
        let (sent, ended) = (flow.sent, flow.ended || flow.sees_no_reset);
        let is_whole = sent == received || flow.sees_no_reset;
        if !ended || !is_whole {
            net.violation(format_args!(
                "{by:#x} saw an orderly end after {received} bytes; {peer:#x} sent {sent}, ended: \
                 {ended}"
            ));
        }
    }
}
