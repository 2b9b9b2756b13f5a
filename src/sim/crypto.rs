//! TLS whose every byte follows from a seed: the aws-lc-rs backend with its randomness replaced.
//!
//! A simulation has a thread of its own, and the thread has one stream of random numbers, which
//! [`seed_thread`] or [`provider`] sets. rustls wants what draws from it as `&'static`, so the
//! two that do ([`SecureRandom`], [`SupportedKxGroup`]) are statics without state which look the
//! stream up: nothing is leaked, and simulations on other threads do not disturb each other.
//! Invariant: on a thread without a seed they fail; they never fall back to the system's numbers.
//! **Nothing here is secret**: whoever knows the seed knows every key.
//!
//! # What is seeded
//!
//! | what | where it comes from |
//! |---|---|
//! | randoms, session identifiers, the order of a client's extensions | `SecureRandom` |
//! | ephemeral keys: X25519, the only group | `SupportedKxGroup::start` |
//! | signatures | Ed25519 has no random numbers (RFC 8032); keys of other types are refused |
//! | the explicit nonces of TLS 1.2 | from the key block and the record's number |
//!
//! # What is not
//!
//! - `HashMap`s of rustls, rcgen and `tls::server`: hashed with keys of the process. They are only
//!   looked up (names of certificates, the attributes of a name beside a list of their order), or
//!   not used (the caches of sessions: there is no resumption), so no order of theirs is seen.
//! - aws-lc's own generator. Nothing here reaches it: it makes ephemeral keys (replaced), ECDSA
//!   nonces, RSA blinding and padding (no such keys), nonces of tickets (there are none).
//! - Time, which is the [`Clock`]'s where a configuration is given one, as those of
//!   [`super::pki`] are.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_lc_rs::agreement::{self, PrivateKey, PublicKey, UnparsedPublicKey, X25519};
use rustls::crypto::aws_lc_rs::cipher_suite as suites;
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, SharedSecret,
    SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::sign::SigningKey;
use rustls::time_provider::TimeProvider;
use rustls::{Error, NamedGroup, PeerMisbehaved, SupportedCipherSuite};

use super::random::Random;

/// What can be agreed on where the keys of certificates are Ed25519, most preferred first.
///
/// In TLS 1.2 the ECDSA suites are those of EdDSA too (RFC 8422, 5.10).
static SUITES: &[SupportedCipherSuite] = &[
    suites::TLS13_AES_128_GCM_SHA256,
    suites::TLS13_AES_256_GCM_SHA384,
    suites::TLS13_CHACHA20_POLY1305_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Bytes of a private and of a public key of X25519 (RFC 7748, 6.1).
const X25519_BYTES: usize = 32;

/// The two streams of a thread: apart, so that the keys do not depend on how many other numbers
/// rustls draws.
struct Streams {
    randoms: Random,
    keys: Random,
}

thread_local! {
    static STREAMS: RefCell<Option<Streams>> = const { RefCell::new(None) };
}

/// Begins the streams of this thread anew, for every provider that is used on it.
pub fn seed_thread(seed: u64) {
    let mut root = Random::new(seed);
    let streams = Streams { randoms: root.fork("tls randoms"), keys: root.fork("tls keys") };
    STREAMS.set(Some(streams));
}

/// Seeds this thread and returns a provider that draws from its streams, in the order of the
/// calls.
///
/// Make one for each simulation and share it among gateway and clients: another call begins the
/// streams anew. It works on every thread that is seeded, and on no other.
pub fn provider(seed: u64) -> Arc<CryptoProvider> {
    seed_thread(seed);
    Arc::new(CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: vec![&SeededX25519],
        secure_random: &SeededRandom,
        key_provider: &Ed25519Only,
        ..rustls::crypto::aws_lc_rs::default_provider()
    })
}

/// Runs `draw` with the streams of this thread; `None` where it has none.
fn with_streams<T>(draw: impl FnOnce(&mut Streams) -> T) -> Option<T> {
    STREAMS.with_borrow_mut(|streams| streams.as_mut().map(draw))
}

#[derive(Debug)]
struct SeededRandom;

impl SecureRandom for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        with_streams(|streams| streams.randoms.fill(buffer)).ok_or(GetRandomFailed)
    }
}

/// Loads the keys whose signatures are the same each time, and no other.
#[derive(Debug)]
struct Ed25519Only;

impl KeyProvider for Ed25519Only {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let PrivateKeyDer::Pkcs8(key) = &key else {
            return Err(Error::General(String::from("a simulation's keys are Ed25519 in PKCS#8")));
        };
        rustls::crypto::aws_lc_rs::sign::any_eddsa_type(key)
    }
}

/// X25519 (RFC 7748) with ephemeral keys of the thread's stream.
#[derive(Debug)]
struct SeededX25519;

impl SupportedKxGroup for SeededX25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut key = [0; X25519_BYTES];
        with_streams(|streams| streams.keys.fill(&mut key)).ok_or(GetRandomFailed)?;
        // Any 32 bytes are a key: it is clamped when it is used (RFC 7748, 5).
        let private = PrivateKey::from_private_key(&X25519, &key).map_err(|_| GetRandomFailed)?;
        let public = private.compute_public_key().map_err(|_| GetRandomFailed)?;
        Ok(Box::new(KeyExchange { private, public }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct KeyExchange {
    private: PrivateKey,
    public: PublicKey,
}

impl ActiveKeyExchange for KeyExchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let refused = Error::from(PeerMisbehaved::InvalidKeyShare);
        // aws-lc takes keys in other encodings too, which TLS does not (RFC 8446, 4.2.8.2). A
        // secret of zeros it refuses itself (RFC 7748, 6.1).
        if peer.len() != X25519_BYTES {
            return Err(refused);
        }
        let peer = UnparsedPublicKey::new(&X25519, peer);
        agreement::agree(&self.private, peer, refused, |secret| Ok(SharedSecret::from(secret)))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// A wall clock that stands still until it is set. Clones are the same clock, also for the
/// configurations that were given one.
#[derive(Clone)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// A clock that shows `unix_s`, in seconds since 1970.
    pub fn new(unix_s: i64) -> Self {
        Self(Arc::new(AtomicI64::new(unix_s)))
    }

    /// What it shows, in seconds since 1970.
    pub fn unix_s(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it, backwards too, as wall clocks are.
    pub fn set(&self, unix_s: i64) {
        self.0.store(unix_s, Ordering::Relaxed);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.unix_s())
    }
}

impl TimeProvider for Clock {
    /// `None`, which fails a handshake, before 1970: rustls' time has no such seconds.
    fn current_time(&self) -> Option<UnixTime> {
        let unix_s = u64::try_from(self.unix_s()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(unix_s)))
    }
}

#[cfg(test)]
#[path = "crypto_tests.rs"]
pub(super) mod tests;
