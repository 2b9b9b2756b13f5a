//! The key that identities are signed with, and the set of public keys that upstreams verify by.
//!
//! Invariant: a key is published before anything that it signed leaves, and until nothing is left
//! that it may have signed.

use std::fmt;
use std::sync::{Arc, Weak};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

use crate::limits::{PUBLISHED_KEY_S, PUBLISHED_KEYS_MAX};

/// An Ed25519 key (RFC 8032), with the name that tokens and the key set call it by.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    id: Box<str>,
    public: Box<str>,
}

/// A key that cannot sign identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSigningKey;

impl SigningKey {
    /// Takes an unencrypted PKCS#8 key.
    ///
    /// # Errors
    /// It is no Ed25519 key, or is broken.
    pub fn from_der(key: &PrivateKeyDer<'_>) -> Result<Self, NoSigningKey> {
        let PrivateKeyDer::Pkcs8(key) = key else {
            return Err(NoSigningKey);
        };
        let pair = Ed25519KeyPair::from_pkcs8(key.secret_pkcs8_der());
        pair.map(Self::new).map_err(|_| NoSigningKey)
    }

    /// A key that only this process knows.
    pub fn generate() -> Self {
        // invariant: aws-lc-rs draws from the kernel's generator, which does not fail once seeded.
        Self::new(Ed25519KeyPair::generate().expect("the system's random generator"))
    }

    fn new(pair: Ed25519KeyPair) -> Self {
        let public = URL_SAFE_NO_PAD.encode(pair.public_key());
        // RFC 7638, 3.2 and RFC 8037, 2: the required members in lexicographic order, no space.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#);
        let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()));
        Self { pair, id: id.into(), public: public.into() }
    }

    /// Its thumbprint (RFC 7638), which is the `kid` of tokens.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The signature of `message`; `None` where the backend fails.
    pub(super) fn sign(&self, message: &[u8]) -> Option<impl AsRef<[u8]> + use<>> {
        self.pair.try_sign(message).ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No secret.
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Display for NoSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no Ed25519 key in PKCS#8")
    }
}

/// Signs identities in the name of an issuer.
#[derive(Debug)]
pub struct Signer {
    pub(super) key: Arc<SigningKey>,
    /// The `iss` of tokens.
    pub(super) issuer: Box<str>,
    /// The encoded header of every token, and the dot behind it.
    pub(super) header: Box<str>,
}

impl Signer {
    /// Whether its tokens are those of `other`: the same key, and the same issuer.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.header == other.header && self.issuer == other.issuer
    }

    /// A signer; `issuer` is the `iss` of its tokens (RFC 7519, 4.1.1).
    pub fn new(key: Arc<SigningKey>, issuer: &str) -> Self {
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": key.id() }).to_string();
        let header = URL_SAFE_NO_PAD.encode(header) + ".";
        Self { key, issuer: issuer.into(), header: header.into() }
    }

    /// What it signs with.
    pub fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }
}

/// The public keys that upstreams verify by.
#[derive(Debug, Default)]
pub struct KeyRing {
    /// The newest last; each once.
    keys: Vec<Published>,
}

#[derive(Debug)]
struct Published {
    id: Box<str>,
    public: Box<str>,
    /// Who may sign with it. A file that is loaded again makes a key of the same name.
    signers: Vec<Weak<SigningKey>>,
    /// When one of them was there last, in seconds since 1970.
    seen_unix_s: i64,
}

impl KeyRing {
    /// Publishes a key. To be called before a configuration that signs with it is.
    ///
    /// A key stays for as long as something holds it, as a connection with an older configuration
    /// may, and for `PUBLISHED_KEY_S` more; of more keys than `PUBLISHED_KEYS_MAX` the oldest
    /// goes.
    pub fn publish(&mut self, key: &Arc<SigningKey>, now_unix_s: i64) {
        self.sweep(now_unix_s);
        let signer = Arc::downgrade(key);
        match self.keys.iter().position(|it| it.id == key.id) {
            Some(index) => {
                let mut known = self.keys.remove(index);
                if !known.signers.iter().any(|it| it.ptr_eq(&signer)) {
                    known.signers.push(signer);
                }
                known.seen_unix_s = now_unix_s;
                self.keys.push(known);
            }
            None => self.keys.push(Published {
                id: key.id.clone(),
                public: key.public.clone(),
                signers: vec![signer],
                seen_unix_s: now_unix_s,
            }),
        }
        let surplus = self.keys.len().saturating_sub(PUBLISHED_KEYS_MAX);
        self.keys.drain(..surplus);
    }

    /// The key set (RFC 7517, 5), the newest key first.
    pub fn to_json(&mut self, now_unix_s: i64) -> String {
        self.sweep(now_unix_s);
        // RFC 8037, 2: `kty` is OKP, `x` the public key; nothing private is in reach here.
        let keys = self.keys.iter().rev().map(|key| {
            json!({
                "kty": "OKP", "crv": "Ed25519", "x": &*key.public,
                "kid": &*key.id, "alg": "EdDSA", "use": "sig",
            })
        });
        json!({ "keys": keys.collect::<Vec<Value>>() }).to_string()
    }

    fn sweep(&mut self, now_unix_s: i64) {
        for key in &mut self.keys {
            key.signers.retain(|signer| signer.strong_count() > 0);
            if !key.signers.is_empty() {
                key.seen_unix_s = now_unix_s;
            }
        }
        self.keys.retain(|key| now_unix_s.saturating_sub(key.seen_unix_s) <= PUBLISHED_KEY_S);
    }
}

#[cfg(test)]
#[path = "signer_tests.rs"]
mod tests;
