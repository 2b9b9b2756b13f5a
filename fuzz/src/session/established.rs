//! An established session and a peer that seals what it likes.

use arbitrary::{Arbitrary, Unstructured};
use ringfort::limits::{QUIET_RECORDS_MAX, TICKET_BYTES_MAX, TLS_RECORD_BYTES_MAX};
use ringfort::tls::record::PLAINTEXT_BYTES_MAX;
use ringfort::tls::session::{Session, SessionError, encrypted_bytes_max};

use super::{ALLOWED, Cuts, check_failed, comparable};
use crate::peer::{Choice, EstablishedPeer};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const CLOSE_NOTIFY: [u8; 2] = [1, 0];
/// A KeyUpdate without its last byte, which says whether one is asked for in return.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];
const NEW_SESSION_TICKET: u8 = 4;
/// Bytes of an alert as a record, with the most that protects it.
const ALERT_BYTES_MAX: usize = 5 + 8 + 2 + 1 + 16;
/// Acts of one input.
const ACTS_MAX: usize = 256;
/// Bytes of records and messages that an established session may store; vectors double.
const STORED_BYTES_MAX: usize = 2 * (TLS_RECORD_BYTES_MAX + TICKET_BYTES_MAX + PLAINTEXT_BYTES_MAX);

/// What the peer, or the owner of the session, does next. What the peer makes goes onto the wire
/// and is delivered at the next `Deliver`, `Write` or `Close`.
#[derive(Arbitrary, Debug)]
enum Act {
    Data { bytes: u16, padding: u16 },
    Empty,
    KeyUpdate { request: u8 },
    Alert { level: u8, code: u8 },
    CloseNotify,
    Ticket { bytes: u16, record_bytes: u16 },
    Record { kind: u8, content: Vec<u8>, padding: u16 },
    Oversized { kind: u8, extra: u16 },
    Flip { at: u16, mask: u8 },
    Drop,
    Repeat,
    Raw { bytes: Vec<u8> },
    Deliver,
    Write { bytes: u16 },
    Close,
}

/// Runs the acts, and once more over a wire that cuts.
pub(super) fn run(choice: Choice, cuts: Cuts, is_early: bool, input: &mut Unstructured<'_>) {
    let mut acts: Vec<Act> = Vec::new();
    while !input.is_empty() && acts.len() < ACTS_MAX {
        let Ok(act) = input.arbitrary() else { break };
        acts.push(act);
    }
    let whole = outcome(choice, Cuts::NONE, is_early, &acts);
    let cut = outcome(choice, cuts, is_early, &acts);
    assert_eq!(whole.error, cut.error, "by {cuts:?}");
    // An error in the flight that completes the handshake takes the flight's data with it.
    if !is_early || whole.error.is_none() {
        assert_eq!(whole, cut, "by {cuts:?}");
    }
}

/// What both ends saw.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    error: Option<String>,
    plain: Vec<u8>,
    received: Vec<u8>,
    alerts: Vec<Vec<u8>>,
    peer_closed: bool,
    partial_bytes: usize,
}

fn outcome(choice: Choice, cuts: Cuts, is_early: bool, acts: &[Act]) -> Outcome {
    let mut scene = Scene::new(choice, cuts, is_early);
    for act in acts {
        scene.act(act);
    }
    scene.deliver();
    scene.listen();
    if scene.error.is_some() {
        check_failed(&mut scene.session);
    }
    let failed = scene.error.is_some();
    Outcome {
        plain: scene.plain,
        received: scene.received,
        alerts: scene.alerts,
        peer_closed: scene.session.peer_closed(),
        partial_bytes: if failed { 0 } else { scene.session.partial_bytes() },
        error: scene.error.as_ref().map(comparable),
    }
}

struct Scene {
    choice: Choice,
    cuts: Cuts,
    session: Session,
    peer: EstablishedPeer,
    is_agreed: bool,
    /// On its way to the session.
    wire: Vec<u8>,
    /// Where the last record on the wire begins.
    last_record: usize,
    /// All data that the peer sealed.
    sealed: Vec<u8>,
    /// All data that the session handed out.
    plain: Vec<u8>,
    /// On its way to the peer.
    out: Vec<u8>,
    /// All data that the session was given to write, and all that the peer decrypted.
    written: Vec<u8>,
    received: Vec<u8>,
    alerts: Vec<Vec<u8>>,
    error: Option<SessionError>,
    /// Everything so far was as an honest peer does it.
    is_sound: bool,
    /// Records in a row without data.
    quiet: u32,
    /// The peer has asked for new keys and not seen them; the other, what was delivered.
    asked: bool,
    owed: bool,
    has_closed: bool,
}

impl Scene {
    fn new(choice: Choice, cuts: Cuts, is_early: bool) -> Self {
        let (mut session, mut peer) = choice.ends(ALLOWED);
        let (mut wire, mut out) = (Vec::new(), Vec::new());
        let mut is_agreed = false;
        if choice.is_client {
            session.handshake(&mut [], &mut out).expect("a ClientHello");
        }
        loop {
            let peer_is_done = peer.run(&mut out, &mut wire).expect("an honest session");
            // The last flight may wait for what comes behind it.
            if peer_is_done && (is_agreed || is_early) {
                break;
            }
            let mut flight = std::mem::take(&mut wire);
            let agreed = session.handshake(&mut flight, &mut out).expect("an honest peer");
            is_agreed |= agreed.is_some();
            if peer_is_done && is_agreed {
                break;
            }
        }
        let peer = peer.into_established(choice);
        Self {
            choice,
            cuts,
            session,
            peer,
            is_agreed,
            last_record: wire.len(),
            wire,
            sealed: Vec::new(),
            plain: Vec::new(),
            out,
            written: Vec::new(),
            received: Vec::new(),
            alerts: Vec::new(),
            error: None,
            is_sound: true,
            quiet: 0,
            asked: false,
            owed: false,
            has_closed: false,
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Data { bytes, padding } => self.seal_data(*bytes, *padding),
            Act::Empty => self.seal_quiet(DATA, &[], true),
            Act::KeyUpdate { request } => self.seal_key_update(*request),
            Act::Alert { level, code } => self.seal_quiet(ALERT, &[*level, *code], false),
            Act::CloseNotify => self.seal_close_notify(),
            Act::Ticket { bytes, record_bytes } => self.seal_ticket(*bytes, *record_bytes),
            Act::Record { kind, content, padding } => {
                let content = &content[..content.len().min(PLAINTEXT_BYTES_MAX)];
                self.push(*kind, content, usize::from(*padding), false);
            }
            Act::Oversized { kind, extra } => {
                let content = vec![0x55; PLAINTEXT_BYTES_MAX + usize::from(extra % 2048)];
                self.push(*kind, &content, 0, false);
            }
            Act::Flip { at, mask } => {
                let record = &mut self.wire[self.last_record..];
                let at = usize::from(*at) % record.len().max(1);
                record.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
                self.is_sound &= *mask == 0 || record.is_empty();
            }
            Act::Drop => {
                self.is_sound &= self.wire.len() == self.last_record;
                self.wire.truncate(self.last_record);
            }
            Act::Repeat => {
                self.is_sound &= self.wire.len() == self.last_record;
                // The copy is the last record now, or repetitions would double the wire each time.
                let copy = self.wire.len();
                self.wire.extend_from_within(self.last_record..);
                self.last_record = copy;
            }
            Act::Raw { bytes } => {
                self.is_sound &= bytes.is_empty();
                self.wire.extend_from_slice(bytes);
            }
            Act::Deliver => self.deliver(),
            Act::Write { bytes } => self.write(usize::from(*bytes) * 2),
            Act::Close => self.close(),
        }
    }

    fn push(&mut self, kind: u8, content: &[u8], padding: usize, is_sound: bool) {
        // What a record can say of its length; beyond it is `Oversized`'s business.
        let padding = padding.min((PLAINTEXT_BYTES_MAX).saturating_sub(content.len()));
        let record = self.peer.write.seal(kind, content, padding);
        if kind == DATA {
            self.sealed.extend_from_slice(content);
        }
        self.last_record = self.wire.len();
        self.wire.extend_from_slice(&record);
        self.is_sound &= is_sound;
    }

    fn seal_data(&mut self, bytes: u16, padding: u16) {
        let count = usize::from(bytes) % PLAINTEXT_BYTES_MAX + 1;
        // No two stretches are the same, so what is lost or swapped shows.
        let start = self.sealed.len();
        let content: Vec<u8> = (start..start + count).map(|at| ((at * 31) >> 3) as u8).collect();
        self.push(DATA, &content, usize::from(padding), true);
        self.quiet = 0;
    }

    /// A record without data; too many of them in a row are not sound.
    fn seal_quiet(&mut self, kind: u8, content: &[u8], is_sound: bool) {
        self.quiet += 1;
        self.push(kind, content, 0, is_sound && self.quiet <= QUIET_RECORDS_MAX);
    }

    fn seal_key_update(&mut self, request: u8) {
        let is_sound = !self.choice.is_tls12 && request < 2;
        self.seal_quiet(HANDSHAKE, &[&KEY_UPDATE[..], &[request]].concat(), is_sound);
        if !self.choice.is_tls12 {
            self.peer.renew_write();
        }
        self.asked |= request == 1;
    }

    fn seal_close_notify(&mut self) {
        let was_sound = self.is_sound;
        self.seal_quiet(ALERT, &CLOSE_NOTIFY, true);
        self.deliver();
        if was_sound && self.is_sound {
            assert!(self.session.peer_closed(), "close_notify");
        }
        // What follows is ignored.
        self.is_sound = false;
    }

    /// NewSessionTicket (RFC 8446, 4.6.1), in records of `record_bytes`.
    fn seal_ticket(&mut self, bytes: u16, record_bytes: u16) {
        let bytes = usize::from(bytes).clamp(1, TICKET_BYTES_MAX - 16);
        let mut message = vec![NEW_SESSION_TICKET, 0, 0, 0, 0, 0, 0, 60, 1, 2, 3, 4, 1, 7];
        message.extend_from_slice(&(bytes as u16).to_be_bytes());
        message.resize(message.len() + bytes, 0x77);
        message.extend_from_slice(&[0, 0]);
        let length = ((message.len() - 4) as u32).to_be_bytes();
        message[1..4].copy_from_slice(&length[1..]);
        let is_sound = self.choice.is_client && !self.choice.is_tls12;
        // At most 64 records.
        let least = message.len().div_ceil(64);
        let most = usize::from(record_bytes).clamp(least, PLAINTEXT_BYTES_MAX);
        for part in message.chunks(most) {
            self.seal_quiet(HANDSHAKE, part, is_sound);
        }
    }

    /// Everything on the wire arrives.
    fn deliver(&mut self) {
        let wire = std::mem::take(&mut self.wire);
        self.last_record = 0;
        if wire.is_empty() {
            return;
        }
        for piece in self.cuts.pieces(&wire) {
            self.read(piece);
        }
        assert!(self.sealed.starts_with(&self.plain), "not what the peer sealed, in its order");
        if self.is_sound {
            assert_eq!(self.error, None, "of an honest peer");
            assert_eq!(self.plain.len(), self.sealed.len(), "all of an honest peer's data");
            assert_eq!(self.session.partial_bytes(), 0);
            self.owed |= std::mem::take(&mut self.asked);
        }
    }

    fn read(&mut self, piece: &[u8]) {
        let (plain_before, out_before) = (self.plain.len(), self.out.len());
        let result = if self.is_agreed {
            self.session.read(piece, &mut self.plain, &mut self.out)
        } else {
            let agreed = self.session.handshake(&mut piece.to_vec(), &mut self.out);
            agreed.map(|agreed| {
                self.is_agreed = agreed.is_some();
                let early = self.session.take_early();
                assert!(self.is_agreed || early.is_empty(), "data before the handshake's end");
                self.plain.extend(early);
            })
        };
        let said = self.out.len() - out_before;
        match result {
            Ok(()) => {
                assert!(self.error.is_none(), "it goes on after {:?}", self.error);
                assert_eq!(said, 0, "reading answers nothing");
            }
            Err(_) if self.error.is_some() => {
                assert_eq!(self.plain.len(), plain_before, "it hands out after an error");
                assert_eq!(said, 0, "it says something after its alert");
            }
            Err(error) => {
                assert!(said <= ALERT_BYTES_MAX, "{said} bytes for an alert");
                self.error = Some(error);
            }
        }
        assert!(self.plain.len() - plain_before <= TLS_RECORD_BYTES_MAX + piece.len());
        let stored = self.session.stored_bytes();
        assert!(stored <= STORED_BYTES_MAX, "{stored} bytes stored");
    }

    fn write(&mut self, bytes: usize) {
        self.deliver();
        self.listen();
        if self.has_closed || !self.is_agreed {
            return;
        }
        let start = self.written.len();
        let content: Vec<u8> = (start..start + bytes).map(|at| ((at * 37) >> 2) as u8).collect();
        let written = self.session.write(&content, &mut self.out);
        if self.error.is_some() {
            assert!(written.is_err() && self.out.is_empty(), "it writes after an error");
            return;
        }
        assert_eq!(written, Ok(()));
        assert!(self.out.len() <= encrypted_bytes_max(bytes), "{} bytes", self.out.len());
        self.written.extend(content);
        let updates = self.listen();
        if self.is_sound {
            let due = usize::from(self.owed && bytes > 0);
            assert_eq!(updates, due, "new keys where they were asked for, once");
            self.owed &= bytes == 0;
        }
    }

    fn close(&mut self) {
        self.deliver();
        if !self.is_agreed {
            return;
        }
        let before = self.out.len();
        self.session.close(&mut self.out);
        assert!(self.out.len() - before <= ALERT_BYTES_MAX);
        self.has_closed = true;
    }

    /// The peer reads what the session said. Returns how many times that had new keys.
    fn listen(&mut self) -> usize {
        let mut updates = 0;
        while !self.out.is_empty() {
            assert!(self.alerts.is_empty(), "nothing follows {:?}", self.alerts);
            match self.peer.read.open(&mut self.out) {
                (DATA, content) => self.received.extend(content),
                (ALERT, content) => self.alerts.push(content),
                (HANDSHAKE, content) => {
                    assert_eq!(content, [&KEY_UPDATE[..], &[0]].concat());
                    self.peer.renew_read();
                    updates += 1;
                }
                (kind, content) => panic!("a record of type {kind}: {content:?}"),
            }
        }
        assert_eq!(self.received, self.written, "all that was written, and nothing else");
        updates
    }
}
