//! Random input for every harness: bytes of no kind, and inputs of the corpus with changes.
//!
//! The same in every run: what is new to find is libFuzzer's business (`scripts/fuzz`).

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use ringfort_fuzz::Harness;

/// Inputs for a harness, as many as take a second or two.
fn cases(name: &str) -> u32 {
    match name {
        "session" | "config" => 768,
        "bufring" => 1024,
        _ => 8192,
    }
}

/// A change of an input, at a place in it.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Copy(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = prop::collection::vec(any::<u8>(), 1..8);
    prop_oneof![
        4 => any::<(Index, u8)>().prop_map(|(at, byte)| Change::Set(at, byte)),
        2 => (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Change::Remove(from, to)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Change::Copy(from, to)),
    ]
}

impl Change {
    fn apply(&self, input: &mut Vec<u8>) {
        let at = |index: &Index| index.index(input.len() + 1);
        match self {
            Self::Set(index, byte) => {
                let at = at(index);
                input.iter_mut().skip(at).take(1).for_each(|it| *it = *byte);
            }
            Self::Insert(index, bytes) => {
                let at = at(index);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(one, other) => {
                let (one, other) = (at(one), at(other));
                input.drain(one.min(other)..one.max(other));
            }
            Self::Copy(one, other) => {
                let (one, other) = (at(one), at(other));
                input.extend_from_within(one.min(other)..one.max(other));
            }
        }
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(folder).expect("a corpus");
    let mut inputs: Vec<Vec<u8>> =
        entries.map(|entry| fs::read(entry.expect("an entry").path()).expect("an input")).collect();
    inputs.sort();
    inputs
}

fn input(name: &str) -> impl Strategy<Value = Vec<u8>> {
    let changed = (select(corpus(name)), prop::collection::vec(change(), 1..6));
    let changed = changed.prop_map(|(mut input, changes)| {
        changes.iter().for_each(|change| change.apply(&mut input));
        input
    });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..512), 3 => changed]
}

fn hold(name: &str, harness: Harness) {
    let config = Config { cases: cases(name), failure_persistence: None, ..Config::default() };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, random);
    let result = runner.run(&input(name), |input| {
        harness(&input);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{name}: {error}");
    }
}

macro_rules! holds {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            hold(stringify!($name), ringfort_fuzz::$name);
        }
    )* };
}
ringfort_fuzz::for_each_harness!(holds);
