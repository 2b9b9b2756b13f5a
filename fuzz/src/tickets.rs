//! `trust::tickets` and `trust::session`: what opens was sealed, not too long ago, and nothing else
//! opens; what a session is bound to reads back as what was written.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use ringfort::limits::SESSION_BYTES_MAX;
use ringfort::trust::session::Binding;
use ringfort::trust::tickets::{TicketKeys, TicketSecret};

/// Seconds for which a key is the one that seals.
const SLOT_S: u32 = 3600;

/// The keys of a secret, of the same secret in another process, and of another secret.
static KEYS: LazyLock<[TicketKeys; 3]> = LazyLock::new(|| {
    [1, 1, 2].map(|byte| {
        let secret = TicketSecret::new(&[byte; 32]).expect("long enough");
        TicketKeys::new(secret, SLOT_S)
    })
});

#[derive(Arbitrary, Debug)]
struct Input {
    plain: Vec<u8>,
    nonce: [u8; 12],
    now: u64,
    /// Seconds by which the clock that opens is ahead.
    later: i16,
    flips: Vec<(u16, u8)>,
    cut: Option<u16>,
    grown: Vec<u8>,
}

/// The bytes as a ticket and as a binding, and as parts of a ticket that is sealed and changed.
pub fn tickets(data: &[u8]) {
    for now in [0, u64::from(SLOT_S), u64::MAX] {
        // Nobody has the key but this process: bytes from outside are never a ticket.
        assert_eq!(KEYS[0].open(data, now), None, "what was not sealed is opened");
    }
    if let Some((binding, rest)) = Binding::decode(data) {
        check_binding(&binding, &data[..data.len() - rest.len()]);
    }
    if let Ok(input) = Unstructured::new(data).arbitrary::<Input>() {
        check_ticket(&input);
    }
}

fn check_binding(binding: &Binding, encoded: &[u8]) {
    let mut again = Vec::new();
    binding.encode(&mut again);
    assert_eq!(again, encoded, "a binding has one encoding");
    let beyond = [encoded, b"rustls"].concat();
    assert_eq!(Binding::decode(&beyond), Some((binding.clone(), &b"rustls"[..])));
    for end in 0..encoded.len() {
        assert_eq!(Binding::decode(&encoded[..end]), None, "{end} bytes of {}", encoded.len());
    }
}

fn check_ticket(input: &Input) {
    let Some(sealed) = KEYS[0].seal(&input.plain, input.now, input.nonce) else {
        return assert!(input.plain.len() > SESSION_BYTES_MAX, "it fits and is not sealed");
    };
    let then = input.now.saturating_add_signed(i64::from(input.later));
    let slot = |at: u64| at / u64::from(SLOT_S);
    let is_late = slot(input.now).abs_diff(slot(then)) > 1;
    let expected = (!is_late).then_some(&input.plain);
    // Of the process that sealed it, and of another one.
    for keys in &KEYS[..2] {
        assert_eq!(keys.open(&sealed, then).as_ref(), expected, "at {then}");
    }
    assert_eq!(KEYS[2].open(&sealed, then), None, "another secret opens it");
    let mut changed = sealed.clone();
    for (at, flip) in &input.flips {
        let at = usize::from(*at) % changed.len();
        changed[at] ^= flip;
    }
    changed.truncate(input.cut.map_or(usize::MAX, usize::from));
    changed.extend_from_slice(&input.grown);
    if changed != sealed {
        assert_eq!(KEYS[0].open(&changed, then), None, "a changed ticket is opened");
    }
}
