//! Tests of `trust::store`: what it keeps, and how much.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::limits::SESSION_CACHE_BYTES_MIN;
use crate::trust::crl::{IssuerId, Link, Serial};
use crate::trust::session::BoundClient;
use crate::trust::verify::VerifiedChain;

const BYTES_MAX: usize = SESSION_CACHE_BYTES_MIN as usize;

fn stored(number: i64, bytes: usize, links: usize) -> Stored {
    let issuer = IssuerId::from_bytes([0; 32]);
    let link = Link { issuer, serial: Serial::from_bytes([0; 20]) };
    let chain = VerifiedChain {
        not_before_unix_s: 0,
        not_after_unix_s: 0,
        anchor: issuer,
        links: vec![link; links].into_boxed_slice(),
    };
    let client = (links > 0).then_some(BoundClient { verdict: [0; 32], chain });
    let binding = Binding { scope: [0; 32], authenticated_unix_s: number, client };
    Stored { binding, value: vec![7; bytes] }
}

fn id(number: u16) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

#[test]
fn a_session_is_got_as_often_as_wanted_and_taken_once() {
    let store = SessionStore::new(BYTES_MAX);
    let session = stored(1, 100, 2);
    assert!(store.put(id(1), session.clone()));
    assert_eq!(store.get(&id(1)), Some(session.clone()));
    assert_eq!(store.get(&id(1)), Some(session.clone()));
    assert_eq!(store.get(&id(2)), None);
    assert_eq!(store.take(&id(1)), Some(session));
    assert_eq!(store.take(&id(1)), None);
    assert_eq!(store.get(&id(1)), None);
    assert_eq!(store.len(), (0, 0));
}

#[test]
fn a_session_that_is_too_long_is_not_kept() {
    let store = SessionStore::new(BYTES_MAX);
    assert!(store.put(id(1), stored(1, SESSION_BYTES_MAX, 0)));
    assert!(!store.put(id(2), stored(2, SESSION_BYTES_MAX + 1, 0)));
    assert_eq!(store.get(&id(2)), None);
    assert_eq!(store.len().0, 1);
    assert!(!SessionStore::new(0).put(id(1), stored(1, 0, 0)), "no room at all");
}

#[test]
fn the_least_recently_used_goes_first() {
    let store = SessionStore::new(BYTES_MAX);
    // Two that share a shard with what drives them out.
    let mut beside = (0..u16::MAX).filter(|number| shard_of(&id(*number)) == shard_of(&id(0)));
    let mut next = || beside.next().expect("a 64th of them");
    let (old, used) = (next(), next());
    store.put(id(old), stored(1, 10_000, 0));
    store.put(id(used), stored(2, 10_000, 0));
    assert!(store.get(&id(old)).is_some() && store.get(&id(used)).is_some());
    store.put(id(next()), stored(3, 14_000, 0));
    assert!(store.get(&id(old)).is_none(), "used before the other");
    assert!(store.get(&id(used)).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Put { id: u16, bytes: usize, links: usize },
    Get(u16),
    Take(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..300_u16;
    prop_oneof![
        3 => (id.clone(), 0..SESSION_BYTES_MAX + 10, 0..18_usize)
            .prop_map(|(id, bytes, links)| Step::Put { id, bytes, links }),
        1 => id.clone().prop_map(Step::Get),
        1 => id.prop_map(Step::Take),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_put_and_taken_it_stays_in_its_bounds_and_invents_nothing(
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let store = SessionStore::new(BYTES_MAX);
        // What would be there if nothing was ever driven out.
        let mut model: HashMap<u16, Stored> = HashMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put { id: key, bytes, links } => {
                    let session = stored(number as i64, bytes, links);
                    let taken = store.put(id(key), session.clone());
                    prop_assert_eq!(taken, bytes <= SESSION_BYTES_MAX);
                    if taken {
                        prop_assert_eq!(store.get(&id(key)), Some(session.clone()));
                        model.insert(key, session);
                    }
                }
                Step::Get(key) => {
                    let got = store.get(&id(key));
                    prop_assert!(got.is_none() || got.as_ref() == model.get(&key));
                }
                Step::Take(key) => {
                    let taken = store.take(&id(key));
                    prop_assert!(taken.is_none() || taken.as_ref() == model.get(&key));
                    model.remove(&key);
                }
            }
            prop_assert!(store.len().1 <= BYTES_MAX);
        }
        let kept: Vec<_> = (0..300).filter_map(|key| Some((key, store.get(&id(key))?))).collect();
        let bytes: usize = kept.iter().map(|(key, it)| bytes_of(&id(*key), it)).sum();
        prop_assert_eq!(store.len(), (kept.len(), bytes), "the count is that of what is there");
        for (key, session) in kept {
            prop_assert_eq!(model.get(&key), Some(&session));
        }
    }
}
