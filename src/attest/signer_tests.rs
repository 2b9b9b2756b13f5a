//! Tests of keys: which are taken, how they are named and published.

use super::*;

const NOON: i64 = 1_800_000_000;

fn ids(ring: &mut KeyRing, now_unix_s: i64) -> Vec<String> {
    let set: Value = serde_json::from_str(&ring.to_json(now_unix_s)).expect("JSON");
    let keys = set["keys"].as_array().expect("a list");
    keys.iter().map(|key| key["kid"].as_str().expect("a name").to_owned()).collect()
}

/// The key of RFC 8037, appendix A.1, and its thumbprint of A.3.
#[test]
fn the_thumbprint_and_the_public_key_are_those_of_the_rfc() {
    let d = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").expect("base64");
    let pair = Ed25519KeyPair::from_seed_unchecked(&d).expect("a seed");
    let key = Arc::new(SigningKey::new(pair));
    assert_eq!(key.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let mut ring = KeyRing::default();
    ring.publish(&key, NOON);
    let set: Value = serde_json::from_str(&ring.to_json(NOON)).expect("JSON");
    assert_eq!(
        set,
        json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        }] })
    );
}

#[test]
fn only_an_ed25519_key_in_pkcs8_signs() {
    let der = Ed25519KeyPair::generate().and_then(|it| it.to_pkcs8v1()).expect("a key");
    let taken = SigningKey::from_der(&PrivateKeyDer::Pkcs8(der.as_ref().into())).expect("a key");
    let shown = format!("{taken:?}");
    assert!(shown.contains(taken.id()) && !shown.contains("pair"), "{shown}");
    let other = rcgen::KeyPair::generate().expect("a key of P-256").serialize_der();
    let refused = SigningKey::from_der(&PrivateKeyDer::Pkcs8(other.as_slice().into()));
    assert_eq!(refused.err(), Some(NoSigningKey));
    let refused = SigningKey::from_der(&PrivateKeyDer::Sec1(other.as_slice().into()));
    assert_eq!(refused.err(), Some(NoSigningKey));
}

#[test]
fn an_old_key_stays_while_it_is_held_and_an_hour_more() {
    let (old, new) = (Arc::new(SigningKey::generate()), Arc::new(SigningKey::generate()));
    let [old_id, new_id] = [&old, &new].map(|key| key.id().to_owned());
    let mut ring = KeyRing::default();
    ring.publish(&old, NOON);
    ring.publish(&new, NOON + 10);
    let both = [new_id.clone(), old_id.clone()];
    // A connection with the older configuration lives for long.
    assert_eq!(ids(&mut ring, NOON + 100_000), both);
    drop(old);
    assert_eq!(ids(&mut ring, NOON + 100_000 + PUBLISHED_KEY_S), both);
    assert_eq!(ids(&mut ring, NOON + 100_001 + PUBLISHED_KEY_S), [new_id]);
    drop(new);
}

#[test]
fn the_same_key_again_is_published_once_and_the_newest_come_first() {
    let key = Arc::new(SigningKey::generate());
    let der = key.pair.to_pkcs8v1().expect("a key");
    let again = SigningKey::from_der(&PrivateKeyDer::Pkcs8(der.as_ref().into())).expect("a key");
    let again = Arc::new(again);
    let mut ring = KeyRing::default();
    let others: Vec<_> =
        (0..PUBLISHED_KEYS_MAX).map(|_| Arc::new(SigningKey::generate())).collect();
    ring.publish(&key, NOON);
    ring.publish(&others[0], NOON);
    ring.publish(&again, NOON);
    drop(key);
    assert_eq!(ids(&mut ring, NOON + 2 * PUBLISHED_KEY_S), [again.id(), others[0].id()]);
    others.iter().for_each(|key| ring.publish(key, NOON));
    let bounded = ids(&mut ring, NOON);
    assert_eq!(bounded.len(), PUBLISHED_KEYS_MAX);
    assert_eq!(bounded[0], others[PUBLISHED_KEYS_MAX - 1].id());
    assert!(!bounded.iter().any(|id| id == again.id()), "the oldest goes");
}
