//! What callgrind wrote, summed up: which of the instructions are ours.
//!
//! Ours is what the Rust compiler made: symbols that it mangled. aws-lc picks its code by the CPU
//! and its keys by chance, libc picks its copying by the CPU; neither would count alike anywhere
//! else, and neither is ours to make faster. Calling them is: so calls into libc (copies, above
//! all) are counted, and those among them that allocate.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The functions of libc that allocate.
const ALLOCATORS: [&str; 6] =
    ["malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign"];
/// How the name of libc's file begins.
const LIBC: &str = "libc.so";

/// What one scenario took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Instructions of our own code.
    pub instructions: u64,
    /// Calls of our own code into the allocator.
    pub allocations: u64,
    /// Calls of our own code into libc, which allocates, copies and compares.
    pub libc_calls: u64,
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
    pub line: usize,
    pub found: String,
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
    let (mut kinds, mut objects) = (HashMap::new(), HashMap::new());
    let (mut current, mut callee) = (Kind::Other, Kind::Other);
    let (mut is_to_libc, mut is_call_cost) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let error = || FormatError { line: index + 1, found: line.to_owned() };
        if let Some(name) = line.strip_prefix("fn=") {
            current = resolve(&mut kinds, name, kind_of).ok_or_else(error)?;
        } else if let Some(name) = line.strip_prefix("cfn=") {
            callee = resolve(&mut kinds, name, kind_of).ok_or_else(error)?;
        } else if let Some(name) = line.strip_prefix("ob=") {
            resolve(&mut objects, name, is_libc).ok_or_else(error)?;
        } else if let Some(name) = line.strip_prefix("cob=") {
            is_to_libc = resolve(&mut objects, name, is_libc).ok_or_else(error)?;
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let count = calls.split(' ').next().and_then(|count| count.parse().ok());
            let count: u64 = count.ok_or_else(error)?;
            // A callee without an object is in its caller's.
            let is_to_libc = std::mem::take(&mut is_to_libc);
            if current == Kind::Ours {
                profile.ours.libc_calls += if is_to_libc { count } else { 0 };
                profile.ours.allocations += if callee == Kind::Allocator { count } else { 0 };
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

/// What `(number) name` means, or the name that `(number)` was given before.
fn resolve<'t, T: Copy>(
    known: &mut HashMap<&'t str, T>,
    text: &'t str,
    meaning: fn(&str) -> T,
) -> Option<T> {
    let (number, name) = text.split_once(')')?;
    let name = name.trim_start();
    if !name.is_empty() {
        known.insert(number, meaning(name));
    }
    known.get(number).copied()
}

fn is_libc(object: &str) -> bool {
    object.rsplit('/').next().is_some_and(|file| file.starts_with(LIBC))
}

fn kind_of(name: &str) -> Kind {
    // Of the second and later turns of a recursion callgrind says `name'2`.
    let name = name.split('\'').next().unwrap_or(name);
    let is_legacy = name.starts_with("_ZN") && name.contains("17h");
    if is_legacy || name.starts_with("_R") {
        Kind::Ours
    } else if ALLOCATORS.contains(&name) {
        Kind::Allocator
    } else {
        Kind::Other
    }
}
