//! Replays the committed corpus, and requires that it is small and complete.

use std::fs;
use std::path::{Path, PathBuf};

use ringfort_fuzz::{HARNESSES, Harness};

/// Bytes of the whole corpus: everyone clones it.
const CORPUS_BYTES_MAX: u64 = 200 * 1024;
const INPUTS_PER_HARNESS_MAX: usize = 64;

fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    inputs.sort();
    inputs
}

fn replay(name: &str, harness: Harness) {
    let inputs = corpus(name);
    assert!(!inputs.is_empty(), "{name} has no corpus");
    for input in inputs {
        let bytes = fs::read(&input).expect("an input can be read");
        let held = std::panic::catch_unwind(|| harness(&bytes));
        assert!(held.is_ok(), "the property that the panic above names fails for {input:?}");
    }
}

macro_rules! replays {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            replay(stringify!($name), ringfort_fuzz::$name);
        }
    )* };
}
ringfort_fuzz::for_each_harness!(replays);

#[test]
fn the_corpus_is_small_and_every_harness_has_a_target_and_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).expect("a folder").map(|entry| {
            let path = entry.expect("an entry").path();
            path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned()
        });
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    };
    let mut harnesses: Vec<&str> = HARNESSES.iter().map(|(name, _)| *name).collect();
    harnesses.sort_unstable();
    assert_eq!(names("targets"), harnesses);
    assert_eq!(names("corpus"), harnesses);
    let mut bytes = 0;
    for name in harnesses {
        let inputs = corpus(name);
        assert!(inputs.len() <= INPUTS_PER_HARNESS_MAX, "{name} has {} inputs", inputs.len());
        bytes += inputs.iter().map(|it| fs::metadata(it).expect("a file").len()).sum::<u64>();
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes: run scripts/fuzz --minimise");
}
