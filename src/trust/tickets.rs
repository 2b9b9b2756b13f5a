//! Stateless session tickets (RFC 8446, 4.6.1; RFC 5077), sealed with keys that follow the time.
//!
//! The time is cut into slots; each slot has a key, derived from one secret (HKDF, RFC 5869), so
//! gateways that share the secret open each other's tickets and have nothing to synchronise. The
//! keys of the slot before and of the next one are accepted too. PURE: the time and random bytes
//! are passed in. Invariant: what opens was sealed with the secret, not longer than two slots ago.

use std::fmt;
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use crate::limits::{SESSION_BYTES_MAX, TICKET_SECRET_BYTES_MIN};

/// The first byte of a ticket; another format gets another number.
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 1 + 8 + NONCE_LEN;

/// Too few bytes for a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortSecret(pub usize);

impl fmt::Display for ShortSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes; {TICKET_SECRET_BYTES_MIN} are the least", self.0)
    }
}

impl std::error::Error for ShortSecret {}

/// The secret that all keys are derived from.
#[derive(Clone)]
pub struct TicketSecret(Prk);

impl TicketSecret {
    /// Takes the bytes of a secret; they should be random.
    ///
    /// # Errors
    /// Fewer than `TICKET_SECRET_BYTES_MIN`.
    pub fn new(bytes: &[u8]) -> Result<Self, ShortSecret> {
        if bytes.len() < TICKET_SECRET_BYTES_MIN {
            return Err(ShortSecret(bytes.len()));
        }
        Ok(Self(Salt::new(HKDF_SHA256, b"ringfort ticket secret 1").extract(bytes)))
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret")
    }
}

/// The keys of one secret, for slots of one length.
pub struct TicketKeys {
    secret: TicketSecret,
    slot_s: u32,
    /// The keys of the slots around the last time that one was asked for.
    derived: Mutex<Vec<(u64, Arc<LessSafeKey>)>>,
}

struct KeyBytes;

impl KeyType for KeyBytes {
    fn len(&self) -> usize {
        AES_256_GCM.key_len()
    }
}

impl TicketKeys {
    /// Keys that change every `slot_s` seconds; at least 1.
    pub fn new(secret: TicketSecret, slot_s: u32) -> Self {
        Self { secret, slot_s: slot_s.max(1), derived: Mutex::default() }
    }

    /// A ticket that holds `plain`. `nonce` is random, for each ticket anew.
    ///
    /// `None` where `plain` is beyond `SESSION_BYTES_MAX`.
    pub fn seal(&self, plain: &[u8], now_unix_s: u64, nonce: [u8; NONCE_LEN]) -> Option<Vec<u8>> {
        if plain.len() > SESSION_BYTES_MAX {
            return None;
        }
        let slot = self.slot(now_unix_s);
        let mut ticket = Vec::with_capacity(HEADER_BYTES + plain.len() + AES_256_GCM.tag_len());
        ticket.push(FORMAT);
        ticket.extend_from_slice(&slot.to_be_bytes());
        ticket.extend_from_slice(&nonce);
        let mut sealed = plain.to_vec();
        let aad = Aad::from(ticket[..HEADER_BYTES].to_vec());
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key(slot, slot)?.seal_in_place_append_tag(nonce, aad, &mut sealed).ok()?;
        ticket.append(&mut sealed);
        Some(ticket)
    }

    /// What a ticket holds; `None` where it is none of this secret, or its key is too old.
    pub fn open(&self, ticket: &[u8], now_unix_s: u64) -> Option<Vec<u8>> {
        let (header, sealed) = ticket.split_first_chunk::<HEADER_BYTES>()?;
        let (format, rest) = header.split_first()?;
        let (slot, nonce) = rest.split_first_chunk::<8>()?;
        let (slot, now) = (u64::from_be_bytes(*slot), self.slot(now_unix_s));
        if *format != FORMAT || slot.abs_diff(now) > 1 {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let key = self.key(slot, now)?;
        let opened = key.open_in_place(nonce, Aad::from(&header[..]), &mut plain).ok()?.len();
        plain.truncate(opened);
        Some(plain)
    }

    fn slot(&self, now_unix_s: u64) -> u64 {
        now_unix_s / u64::from(self.slot_s)
    }

    /// The key of a slot. All workers ask for it, so nothing is sealed under the lock.
    fn key(&self, slot: u64, now: u64) -> Option<Arc<LessSafeKey>> {
        let mut derived = match self.derived.lock() {
            Ok(derived) => derived,
            Err(poisoned) => poisoned.into_inner(),
        };
        if let Some((_, key)) = derived.iter().find(|(known, _)| *known == slot) {
            return Some(Arc::clone(key));
        }
        let key = Arc::new(self.derive(slot)?);
        derived.retain(|(known, _)| known.abs_diff(now) <= 1);
        derived.push((slot, Arc::clone(&key)));
        Some(key)
    }

    fn derive(&self, slot: u64) -> Option<LessSafeKey> {
        let (length, number) = (self.slot_s.to_be_bytes(), slot.to_be_bytes());
        let info: [&[u8]; 3] = [b"ringfort ticket key 1", &length, &number];
        let mut bytes = [0; 32];
        self.secret.0.expand(&info, KeyBytes).ok()?.fill(&mut bytes).ok()?;
        UnboundKey::new(&AES_256_GCM, &bytes).ok().map(LessSafeKey::new)
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("slot_s", &self.slot_s).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tickets_tests.rs"]
mod tests;
