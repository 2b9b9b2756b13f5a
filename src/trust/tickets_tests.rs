//! Tests of `trust::tickets`: which tickets are opened, and when.

use proptest::prelude::*;

use super::*;

const SLOT_S: u32 = 600;
const SLOT: u64 = SLOT_S as u64;
const NOW: u64 = 1_750_000_200;

fn keys(secret: u8) -> TicketKeys {
    slots(secret, SLOT_S)
}

fn slots(secret: u8, slot_s: u32) -> TicketKeys {
    TicketKeys::new(TicketSecret::new(&[secret; 32]).expect("enough bytes"), slot_s)
}

fn sealed(keys: &TicketKeys, now: u64) -> Vec<u8> {
    keys.seal(b"a session", now, [3; NONCE_LEN]).expect("short")
}

#[test]
fn a_ticket_is_opened_in_its_slot_and_in_those_beside_it() {
    // 1,750,000,200 is 2,916,667 slots exactly.
    assert_eq!(NOW % SLOT, 0);
    let ticket = sealed(&keys(1), NOW + 10);
    for (now, opens) in [
        (NOW - SLOT - 1, false),
        (NOW - SLOT, true),
        (NOW - 1, true),
        (NOW, true),
        (NOW + SLOT - 1, true),
        (NOW + SLOT, true),
        (NOW + 2 * SLOT - 1, true),
        (NOW + 2 * SLOT, false),
        (0, false),
        (u64::MAX, false),
    ] {
        // Also of keys that have opened nothing else, and so derive theirs now.
        for keys in [keys(1), {
            let used = keys(1);
            sealed(&used, now);
            used
        }] {
            let opened = keys.open(&ticket, now);
            assert_eq!(opened.as_deref(), opens.then_some(&b"a session"[..]), "at {now}");
        }
    }
}

#[test]
fn gateways_with_one_secret_open_each_others_tickets_and_no_others() {
    let ticket = sealed(&keys(1), NOW);
    assert!(keys(1).open(&ticket, NOW).is_some());
    assert_eq!(keys(2).open(&ticket, NOW), None, "another secret");
    assert_eq!(slots(1, SLOT_S + 1).open(&ticket, NOW), None, "slots of another length");
}

#[test]
fn the_key_of_each_slot_is_another() {
    let keys = keys(1);
    let (one, two) = (sealed(&keys, NOW), sealed(&keys, NOW + SLOT));
    assert_ne!(one[HEADER_BYTES..], two[HEADER_BYTES..], "one nonce, one text, two keys");
    // To claim another slot is to have another key, and a changed header.
    let mut moved = one.clone();
    moved[1..9].copy_from_slice(&two[1..9]);
    assert_eq!(keys.open(&moved, NOW), None);
}

#[test]
fn a_bit_that_was_changed_makes_a_ticket_worthless() {
    let keys = keys(1);
    let ticket = sealed(&keys, NOW);
    for bit in 0..ticket.len() * 8 {
        let mut tampered = ticket.clone();
        tampered[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(keys.open(&tampered, NOW), None, "bit {bit}");
    }
    for length in 0..ticket.len() {
        assert_eq!(keys.open(&ticket[..length], NOW), None, "{length} bytes");
    }
    assert_eq!(keys.open(&[&ticket[..], &[0]].concat(), NOW), None, "a byte more");
    assert_eq!(keys.open(&vec![FORMAT; 64 * 1024], NOW), None);
}

#[test]
fn what_is_sealed_is_bounded() {
    let keys = keys(1);
    assert!(keys.seal(&vec![0; SESSION_BYTES_MAX], NOW, [0; NONCE_LEN]).is_some());
    assert!(keys.seal(&vec![0; SESSION_BYTES_MAX + 1], NOW, [0; NONCE_LEN]).is_none());
}

#[test]
fn a_secret_has_enough_bytes() {
    let short = TicketSecret::new(&[0; TICKET_SECRET_BYTES_MIN - 1]).err();
    assert_eq!(short, Some(ShortSecret(TICKET_SECRET_BYTES_MIN - 1)));
    assert!(TicketSecret::new(&[0; TICKET_SECRET_BYTES_MIN]).is_ok());
}

#[test]
fn keys_that_are_too_old_are_forgotten() {
    let keys = keys(1);
    for slot in 0..100 {
        let now = NOW + slot * SLOT;
        sealed(&keys, now);
        keys.open(&sealed(&keys, now + SLOT), now);
        assert!(keys.derived.lock().expect("not poisoned").len() <= 3);
    }
}

proptest! {
    #[test]
    fn a_ticket_is_opened_by_its_secret_and_not_more_than_a_slot_away(
        slot_s in 1..100_000_u32,
        sealed_at in 0..u64::MAX,
        // Around the bounds, where it counts.
        slots_later in -3_i64..=3,
        off in -2_i64..=2,
        plain: Vec<u8>,
        nonce: [u8; NONCE_LEN],
    ) {
        let keys = slots(1, slot_s);
        let Some(later) = i64::from(slot_s).checked_mul(slots_later) else { unreachable!() };
        let now = sealed_at.saturating_add_signed(later + off);
        let ticket = keys.seal(&plain, sealed_at, nonce).expect("short");
        let slot = |time: u64| time / u64::from(slot_s);
        let expected = (slot(sealed_at).abs_diff(slot(now)) <= 1).then_some(plain);
        prop_assert_eq!(keys.open(&ticket, now), expected);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(mut bytes: Vec<u8>, now: u64) {
        prop_assert_eq!(keys(1).open(&bytes, now), None);
        // Even where format and slot are right.
        let slot = (now / SLOT).to_be_bytes();
        bytes.splice(0..0, [&[FORMAT][..], &slot].concat());
        prop_assert_eq!(keys(1).open(&bytes, now), None);
    }
}
