//! Lints the repository by its own rules: who may import whom, sizes, banned calls, pages.
//!
//! Every complaint names the file, the line and what to do. Each rule has tests beside it that
//! plant a violation and require that it is caught.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

mod imports;
mod pages;
mod rules;
mod scan;

use pages::Page;
use scan::Source;

/// Directories whose Rust files are the project's.
const SOURCE_DIRECTORIES: &[&str] =
    &["src/", "tests/", "benches/", "loadgen/", "fuzz/", "examples/"];

/// Something against the rules.
#[derive(Debug)]
struct Violation {
    path: String,
    /// Index of the line.
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line + 1, self.what)
    }
}

fn violation(source: &Source, line: usize, what: &str) -> Violation {
    Violation { path: source.path.clone(), line, what: what.to_owned() }
}

/// The repository as it is on disk.
struct Repository {
    files: BTreeSet<String>,
    sources: Vec<Source>,
    pages: Vec<Page>,
}

impl Repository {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = BTreeSet::new();
        walk(root, "", &mut files);
        let read = |path: &String| {
            fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let is_source = |path: &&String| {
            path.ends_with(".rs") && SOURCE_DIRECTORIES.iter().any(|place| path.starts_with(place))
        };
        let mut sources: Vec<Source> =
            files.iter().filter(is_source).map(|path| Source::new(path, &read(path))).collect();
        scan::mark_test_files(&mut sources);
        let pages = files.iter().filter(|path| path.ends_with(".md"));
        let pages = pages.map(|path| Page { path: path.clone(), text: read(path) }).collect();
        Self { files, sources, pages }
    }
}

/// Collects files and directories below `inside`, without what is hidden or built.
fn walk(root: &Path, inside: &str, files: &mut BTreeSet<String>) {
    for entry in fs::read_dir(root.join(inside)).expect("the repository can be read") {
        let entry = entry.expect("the repository can be read");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        if name.starts_with('.') || name == "target" {
            continue;
        }
        let path = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        if entry.file_type().expect("the repository can be read").is_dir() {
            walk(root, &path, files);
        }
        files.insert(path);
    }
}

fn require_none(violations: &[Violation]) {
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} against the rules:\n{}", list.len(), list.join("\n"));
}

#[test]
fn the_scanner_reads_the_repository() {
    let repository = Repository::read();
    let lib = repository.sources.iter().find(|source| source.path == "src/lib.rs");
    assert!(lib.is_some_and(|lib| lib.code.iter().any(|line| line == "pub mod limits;")));
    assert!(repository.sources.len() > 10);
}

#[test]
fn imports_follow_the_arrows() {
    let sources = Repository::read().sources;
    require_none(&sources.iter().flat_map(imports::check).collect::<Vec<_>>());
}

#[test]
fn sizes_calls_and_comments_follow_the_style() {
    let sources = Repository::read().sources;
    require_none(&sources.iter().flat_map(rules::check).collect::<Vec<_>>());
}

#[test]
fn pages_are_linked_and_their_links_lead_somewhere() {
    let repository = Repository::read();
    require_none(&pages::check_links(&repository.pages, &repository.files));
}

#[test]
fn every_end_to_end_test_runs() {
    require_none(&pages::check_e2e(&Repository::read().sources));
}
