//! `tls::session::Session`, either end, against bytes that no honest peer sends.
//!
//! Three kinds of input: any bytes instead of a handshake, a handshake with rustls whose flights
//! are changed on their way (both here), and a finished handshake followed by records of any
//! content (`established`). Each input runs twice, in one piece and in small ones.

mod established;

use arbitrary::{Arbitrary, Unstructured};
use ringfort::limits::{HANDSHAKE_BYTES_MAX, TLS_RECORD_BYTES_MAX};
use ringfort::tls::session::{Session, SessionError};
use rustls::pki_types::CertificateDer;

use crate::peer::Choice;

/// What one end says in a whole handshake: two flights and an alert.
const FLIGHTS_BYTES_MAX: usize = 16 * 1024;
/// Flights of each end after which a handshake must have come to an end.
const ROUNDS_MAX: usize = 8;
/// The position of a client that is in order.
const ALLOWED: usize = 1;

/// How bytes are cut on their way.
#[derive(Clone, Copy, Debug)]
struct Cuts([u8; 4]);

impl Cuts {
    const NONE: Self = Self([0; 4]);

    /// The pieces that `bytes` arrive in; zeros leave them whole.
    fn pieces(self, bytes: &[u8]) -> Vec<&[u8]> {
        if self.0 == [0; 4] {
            return vec![bytes];
        }
        let mut pieces = Vec::new();
        let mut rest = bytes;
        for at in 0.. {
            let size = usize::from(self.0[at % 4]).pow(2) / 8 + 1;
            let (piece, behind) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        pieces
    }
}

/// Nothing is decrypted before the handshake is complete; what comes out afterwards is what the
/// peer sealed, in its order; output and storage are bounded; an error is final; and none of it
/// depends on how the bytes are cut.
pub fn session(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok((flags, cuts)) = input.arbitrary::<(u8, [u8; 4])>() else { return };
    let choice =
        Choice { is_client: flags & 1 != 0, is_tls12: flags & 2 != 0, is_chacha: flags & 4 != 0 };
    let cuts = Cuts(cuts);
    match flags >> 3 & 3 {
        0 => raw(choice, cuts, input.take_rest()),
        1 => {
            let Ok((who, changes)) = input.arbitrary::<(u8, Vec<Change>)>() else { return };
            changed(choice, usize::from(who), cuts, &changes);
        }
        _ => established::run(choice, cuts, flags & 0x20 != 0, &mut input),
    }
}

/// Any bytes, to either end, before anything was agreed on.
fn raw(choice: Choice, cuts: Cuts, wire: &[u8]) {
    let whole = answer(choice, Cuts::NONE, wire);
    let cut = answer(choice, cuts, wire);
    assert_eq!(whole, cut, "by {cuts:?}");
}

/// An error as it can be compared: what a verifier says equals nothing, not even itself.
fn comparable(error: &SessionError) -> String {
    format!("{error:?}")
}

/// What a fresh session makes of `wire`: its error, what it says, whether that was an end.
fn answer(choice: Choice, cuts: Cuts, wire: &[u8]) -> (Option<String>, Vec<u8>, bool) {
    let (mut session, _) = choice.ends(ALLOWED);
    let mut out = Vec::new();
    if choice.is_client {
        session.handshake(&mut [], &mut out).expect("a ClientHello");
    }
    let mut error = None;
    for piece in cuts.pieces(wire) {
        match session.handshake(&mut piece.to_vec(), &mut out) {
            Ok(agreed) => assert!(agreed.is_none(), "agreed with who has no key: {agreed:?}"),
            Err(found) => {
                error = Some(comparable(&found));
                break;
            }
        }
        check_before_agreement(&mut session);
    }
    if error.is_some() {
        check_failed(&mut session);
    }
    assert!(out.len() <= FLIGHTS_BYTES_MAX, "{} bytes of output", out.len());
    (error, out, session.peer_closed())
}

fn check_before_agreement(session: &mut Session) {
    let stored = session.stored_bytes();
    // A vector grows by doubling.
    assert!(stored <= 2 * (HANDSHAKE_BYTES_MAX + TLS_RECORD_BYTES_MAX), "{stored} bytes stored");
    assert!(!session.has_early() && session.take_early().is_empty());
}

/// An error is final: nothing is read, written or said any more.
fn check_failed(session: &mut Session) {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    for bytes in [&b"\x17\x03\x03\0\x01x"[..], b""] {
        assert!(session.read(bytes, &mut plain, &mut out).is_err(), "it reads after an error");
        assert!(session.handshake(&mut bytes.to_vec(), &mut out).is_err(), "it goes on");
    }
    assert!(session.write(b"x", &mut out).is_err(), "it writes after an error");
    session.close(&mut out);
    session.alert(rustls::AlertDescription::AccessDenied, &mut out);
    assert!(out.is_empty(), "it says something after its alert");
    assert!(plain.is_empty() && session.take_early().is_empty(), "it hands out after an error");
}

/// What happens to a flight of the peer.
#[derive(Arbitrary, Debug)]
struct Change {
    flight: u8,
    at: u16,
    how: How,
}

#[derive(Arbitrary, Debug)]
enum How {
    Flip { mask: u8 },
    Insert { bytes: [u8; 3], count: u8 },
    Remove { count: u8 },
    Cut,
    Repeat,
    Append { bytes: Vec<u8> },
}

impl Change {
    fn apply(&self, flight: &mut Vec<u8>) {
        let at = usize::from(self.at) % flight.len().max(1);
        match &self.how {
            How::Flip { mask } => flight.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask),
            How::Insert { bytes, count } => {
                flight.splice(at..at, bytes[..usize::from(count % 4)].iter().copied());
            }
            How::Remove { count } => {
                flight.drain(at..(at + usize::from(*count)).min(flight.len()));
            }
            How::Cut => flight.truncate(at),
            How::Repeat if flight.len() <= FLIGHTS_BYTES_MAX => flight.extend_from_within(..),
            How::Repeat => {}
            How::Append { bytes } => flight.extend_from_slice(bytes),
        }
    }
}

/// A handshake with an honest peer, over a wire that is not.
fn changed(choice: Choice, who: usize, cuts: Cuts, changes: &[Change]) {
    let whole = shake(choice, who, Cuts::NONE, changes);
    let cut = shake(choice, who, cuts, changes);
    assert_eq!(whole, cut, "by {cuts:?}");
    if changes.is_empty() {
        let is_agreed = whole == Shaken::Agreed;
        assert_eq!(is_agreed, choice.certificate(who).is_some(), "an honest wire: {whole:?}");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Shaken {
    Agreed,
    Failed(String),
    GivenUp,
    Stalled,
}

fn shake(choice: Choice, who: usize, cuts: Cuts, changes: &[Change]) -> Shaken {
    let (mut session, mut peer) = choice.ends(who);
    let (mut from_peer, mut from_session) = (Vec::new(), Vec::new());
    if choice.is_client {
        session.handshake(&mut [], &mut from_session).expect("a ClientHello");
    }
    for round in 0..ROUNDS_MAX {
        let Some(peer_is_done) = peer.run(&mut from_session, &mut from_peer) else {
            return Shaken::GivenUp;
        };
        for change in changes.iter().filter(|change| usize::from(change.flight) == round) {
            change.apply(&mut from_peer);
        }
        if from_peer.is_empty() {
            return Shaken::Stalled;
        }
        let flight = std::mem::take(&mut from_peer);
        let mut is_agreed = false;
        for piece in cuts.pieces(&flight) {
            // Behind the end of the handshake, which may be in the middle of a flight, too.
            let agreed = if is_agreed {
                let mut plain = Vec::new();
                let read = session.read(piece, &mut plain, &mut from_session);
                assert!(plain.is_empty(), "nobody sealed anything");
                read.map(|()| None)
            } else {
                session.handshake(&mut piece.to_vec(), &mut from_session)
            };
            match agreed {
                Ok(None) if is_agreed => {}
                Ok(None) => check_before_agreement(&mut session),
                Ok(Some(agreed)) => {
                    check_agreed(choice, who, peer_is_done, agreed.peer_certificate);
                    assert!(session.take_early().is_empty(), "nobody sealed anything");
                    is_agreed = true;
                }
                Err(error) => {
                    check_failed(&mut session);
                    return Shaken::Failed(comparable(&error));
                }
            }
        }
        if is_agreed {
            return Shaken::Agreed;
        }
        assert!(from_session.len() <= FLIGHTS_BYTES_MAX);
    }
    Shaken::Stalled
}

fn check_agreed(
    choice: Choice,
    who: usize,
    peer_is_done: bool,
    certificate: Option<CertificateDer<'static>>,
) {
    // Who speaks last completes it last: the client in TLS 1.3, the server in TLS 1.2.
    let speaks_last = choice.is_client != choice.is_tls12;
    assert!(peer_is_done || speaks_last, "agreed before the peer has");
    let expected = choice.certificate(who);
    assert!(expected.is_some(), "agreed with a client that has to be refused");
    assert_eq!(certificate, expected);
}
