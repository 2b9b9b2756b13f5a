//! What callgrind wrote, summed up: which of the instructions are ours.
//!
//! Ours is what the Rust compiler made: symbols that it mangled. aws-lc picks its code by the CPU
//! and its keys by chance, libc picks its copying by the CPU; neither would count alike anywhere
//! else, and neither is ours to make faster. Calling them is: that is why allocations and copies,
//! which would be invisible otherwise, are counted by the calls.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The functions of libc that allocate.
const ALLOCATORS: [&str; 6] =
    ["malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign"];
/// Parts of the names of those that copy, whichever of its variants libc took for this CPU.
const COPIERS: [&str; 2] = ["memcpy", "memmove"];

/// What one scenario took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Instructions of our own code.
    pub instructions: u64,
    /// Calls of our own code into the allocator.
    pub allocations: u64,
    /// Calls of our own code to memcpy(3) and memmove(3).
    pub copies: u64,
}

/// A profile, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// What is checked.
    pub ours: Counts,
    /// All instructions, those of aws-lc and libc included.
    pub all_instructions: u64,
}

/// A line that is not in callgrind's format.
#[derive(Debug, PartialEq, Eq)]
pub struct FormatError {
    line: usize,
    found: String,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}: found {:?}; expected the format of callgrind (valgrind 3.19), with one \
             position and one count per line",
            self.line, self.found
        )
    }
}

/// A function, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    Ours,
    Allocator,
    Copier,
    #[default]
    Other,
}

/// Sums up the text of a profile that was written with `--demangle=no`.
///
/// # Errors
/// The first line that is not understood.
pub fn sum(text: &str) -> Result<Profile, FormatError> {
    let mut profile = Profile::default();
    // Names are given once and referred to by a number afterwards.
    let mut kinds: HashMap<&str, Kind> = HashMap::new();
    let (mut current, mut callee) = (Kind::Other, Kind::Other);
    let mut is_call_cost = false;
    for (index, line) in text.lines().enumerate() {
        let error = || FormatError { line: index + 1, found: line.to_owned() };
        if let Some(name) = line.strip_prefix("fn=") {
            current = resolve(&mut kinds, name).ok_or_else(error)?;
        } else if let Some(name) = line.strip_prefix("cfn=") {
            callee = resolve(&mut kinds, name).ok_or_else(error)?;
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let count = calls.split(' ').next().and_then(|count| count.parse().ok());
            let count: u64 = count.ok_or_else(error)?;
            match (current, callee) {
                (Kind::Ours, Kind::Allocator) => profile.ours.allocations += count,
                (Kind::Ours, Kind::Copier) => profile.ours.copies += count,
                _ => {}
            }
            // The next line has what the callee cost, which its own lines have too.
            is_call_cost = true;
        } else if line.starts_with(|first: char| matches!(first, '0'..='9' | '+' | '-' | '*')) {
            let count = line.split_once(' ').and_then(|(_, count)| count.parse().ok());
            let count: u64 = count.ok_or_else(error)?;
            if std::mem::take(&mut is_call_cost) {
                continue;
            }
            profile.all_instructions += count;
            if current == Kind::Ours {
                profile.ours.instructions += count;
            }
        }
    }
    Ok(profile)
}

/// The kind of `(number) name`, or of the name that `(number)` was given before.
fn resolve<'t>(kinds: &mut HashMap<&'t str, Kind>, text: &'t str) -> Option<Kind> {
    let (number, name) = text.split_once(')')?;
    let name = name.trim_start();
    if !name.is_empty() {
        kinds.insert(number, kind_of(name));
    }
    kinds.get(number).copied()
}

fn kind_of(name: &str) -> Kind {
    // Of the second and later turns of a recursion callgrind says `name'2`.
    let name = name.split('\'').next().unwrap_or(name);
    let is_legacy = name.starts_with("_ZN") && name.contains("17h");
    if is_legacy || name.starts_with("_R") {
        Kind::Ours
    } else if ALLOCATORS.contains(&name) {
        Kind::Allocator
    } else if COPIERS.iter().any(|part| name.contains(part)) {
        Kind::Copier
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# callgrind format
version: 1
events: Ir

ob=(1) /target/icount
fl=(1) ???
fn=(1) _ZN6icount4main17h0123456789abcdefE
16 100
+2 20
cob=(2) libc.so.6
cfi=(2) malloc.c
cfn=(2) malloc
calls=3 0
* 900
cfn=(3) _RNvCs1234_7mycrate3foo'2
calls=1 0
+1 55
fi=(3) inlined.rs
-4 7

fn=(3)
1 50
cfn=(4) __memmove_avx_unaligned_erms
calls=2 0
1 5

fn=(2)
1 800
cfn=(4)
calls=9 0
1 100

fn=(4)
1 105

fn=(5) aws_lc_0_37_0_p256_mul
9 4000

totals: 5082
";

    #[test]
    fn self_costs_are_summed_by_what_the_symbols_are() {
        let profile = sum(TEXT).expect("callgrind's format");
        let ours = Counts { instructions: 100 + 20 + 7 + 50, allocations: 3, copies: 2 };
        assert_eq!(profile, Profile { ours, all_instructions: 5082 });
    }

    #[test]
    fn a_line_that_is_not_understood_is_shown() {
        for (line, bad) in [(4, "fn=main"), (4, "cfn=(9)"), (4, "calls=many"), (4, "16 x")] {
            let error = sum(&format!("version: 1\n\n\n{bad}\n")).expect_err("not the format");
            assert_eq!(error, FormatError { line, found: bad.to_owned() });
            assert!(error.to_string().starts_with(&format!("line 4: found {bad:?}; expected")));
        }
    }
}
