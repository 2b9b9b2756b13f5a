//! Sizes, banned calls, and what has to be written beside the code.

use crate::scan::Source;
use crate::{Violation, violation};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;
const MAIN_LINES_MAX: usize = 99;

/// A call that is banned where `is_banned` says so, and what to use instead.
struct Ban {
    /// What the code looks like; letters, digits and `_` end at its ends.
    calls: &'static [&'static str],
    is_banned: fn(&Source, usize) -> bool,
    instead: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        calls: &["println!", "eprintln!", "print!", "eprint!"],
        is_banned: |source, line| {
            is_production(source, line) && !is_in(source, &["src/cli", "src/main.rs"])
        },
        instead: "write a record with log, or return the text to cli",
    },
    Ban {
        calls: &["thread::sleep"],
        is_banned: |source, line| {
            is_production(source, line) && !is_in(source, &["src/cli", "src/control"])
        },
        instead: "start a timer of the worker's wheel (rt::timer)",
    },
    Ban {
        calls: &[".unwrap()", ".expect("],
        is_banned: |source, line| {
            is_production(source, line) && !source.is_explained(line, "invariant:")
        },
        instead: "return an error, or prove it in an `// invariant:` comment above",
    },
    Ban {
        calls: &["todo!", "unimplemented!", "dbg!"],
        is_banned: |_, _| true,
        instead: "write what is missing, or leave the feature out",
    },
    Ban {
        calls: &["Box<dyn Error", "Box<dyn std::error::Error"],
        is_banned: |source, _| is_in(source, &["src"]),
        instead: "give the module an error enum",
    },
    Ban {
        calls: &["unsafe"],
        is_banned: |source, _| !is_in(source, &["src/sys"]),
        instead: "put a safe function into sys",
    },
    Ban { calls: &["#[ignore"], is_banned: |_, _| true, instead: "repair the test or delete it" },
];

/// Checks one file by all rules of this page.
pub(crate) fn check(source: &Source) -> Vec<Violation> {
    let mut found = sizes(source);
    found.extend(bans(source));
    found.extend(clocks(source));
    found.extend(explanations(source));
    found
}

fn sizes(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let count = source.lines.len();
    let max = if source.path == "src/main.rs" { MAIN_LINES_MAX } else { FILE_LINES_MAX };
    if count > max {
        let what = format!("{count} lines, at most {max}: it is two ideas, so make two files");
        found.push(violation(source, max, &what));
    }
    for (name, lines) in source.functions() {
        if lines.len() > FUNCTION_LINES_MAX {
            let count = lines.len();
            let what = format!("fn {name} has {count} lines, at most {FUNCTION_LINES_MAX}: split");
            found.push(violation(source, lines.start, &what));
        }
    }
    for (line, text) in source.lines.iter().enumerate() {
        let columns = text.chars().count();
        if columns > LINE_COLUMNS_MAX {
            let what = format!("{columns} columns, at most {LINE_COLUMNS_MAX}: break the line");
            found.push(violation(source, line, &what));
        }
    }
    found
}

fn bans(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, code) in source.code.iter().enumerate() {
        for ban in BANS {
            for call in ban.calls {
                if contains_word(code, call) && (ban.is_banned)(source, line) {
                    let what = format!("`{call}` is banned here: {}", ban.instead);
                    found.push(violation(source, line, &what));
                }
            }
        }
    }
    found
}

/// `std::time::Instant`, which is reached through a `use` tree more often than by its whole name.
fn clocks(source: &Source) -> Vec<Violation> {
    if !is_in(source, &["src"]) || is_in(source, &["src/sys", "src/cli", "src/control"]) {
        return Vec::new();
    }
    let is_clock = |segments: &[String]| {
        let name = segments.join("::");
        ["std::time::Instant", "std::time::*", "time::Instant"]
            .iter()
            .any(|clock| name == *clock || name.starts_with(&format!("{clock}::")))
    };
    let paths = source.production_paths();
    let clocks = paths.iter().filter(|path| is_clock(&path.segments));
    let what = "std::time::Instant is banned here: take crate::time::Instant from the driver";
    clocks.map(|path| violation(source, path.line, what)).collect()
}

fn explanations(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    if !source.lines.first().is_some_and(|line| line.starts_with("//!")) {
        let what = "a file opens with `//!`: what it is, what it must not know, its invariant";
        found.push(violation(source, 0, what));
    }
    for (line, code) in source.code.iter().enumerate() {
        let opens = ["unsafe {", "unsafe impl"].iter().any(|open| contains_word(code, open));
        if opens && !source.is_explained(line, "SAFETY:") {
            let what = "unsafe without `// SAFETY:` above: prove why it is sound";
            found.push(violation(source, line, what));
        }
    }
    found
}

fn is_production(source: &Source, line: usize) -> bool {
    is_in(source, &["src"]) && !source.is_test[line]
}

fn is_in(source: &Source, places: &[&str]) -> bool {
    let is_below = |place: &&str| {
        source
            .path
            .strip_prefix(*place)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    places.iter().any(is_below)
}

/// Whether `code` has `call`, not as a part of a longer name.
fn contains_word(code: &str, call: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let begins = call.starts_with(is_word);
    let ends = call.ends_with(is_word);
    code.match_indices(call).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + call.len()..].chars().next();
        !(begins && before.is_some_and(is_word) || ends && after.is_some_and(is_word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a file that is otherwise sound.
    fn found(path: &str, text: &str) -> Vec<Violation> {
        check(&Source::new(path, &format!("//! A page.\n{text}")))
    }

    #[test]
    fn banned_calls_are_caught_and_pass_where_they_are_allowed() {
        let planted = [
            ("src/rt/x.rs", "fn f() { println!(); }", "src/cli/x.rs"),
            ("src/rt/x.rs", "fn f() { eprint!(); }", "src/main.rs"),
            ("src/proxy/x.rs", "fn f() { std::thread::sleep(d); }", "src/control/x.rs"),
            ("src/proxy/x.rs", "use std::thread::sleep;", "src/cli/x.rs"),
            ("src/proxy/x.rs", "fn f() { a.unwrap(); }", "tests/x.rs"),
            ("src/proxy/x.rs", "fn f() { a.expect(); }", "tests/x.rs"),
            ("src/proxy/x.rs", "fn f() -> Result<(), Box<dyn Error>> {}", "tests/x.rs"),
            ("src/rt/x.rs", "// SAFETY: y\nunsafe impl Send for X {}", "src/sys/x.rs"),
            ("src/rt/x.rs", "use std::time::{Duration, Instant};", "src/cli/x.rs"),
            ("src/rt/x.rs", "use std::time;\nfn f() { time::Instant::now(); }", "src/sys/x.rs"),
        ];
        for (path, text, allowed) in planted {
            assert_eq!(found(path, text).len(), 1, "{path}: {text}");
            assert!(found(allowed, text).is_empty(), "{allowed}: {text}");
            if !text.contains("dyn Error") && !text.contains("unsafe") {
                let test = format!("#[cfg(test)]\nmod tests {{\n{text}\n}}");
                assert!(found(path, &test).is_empty(), "{path}: {test}");
            }
        }
        for text in ["fn f() { todo!() }", "fn f() { dbg!(x); }", "#[ignore = \"slow\"]"] {
            assert_eq!(found("tests/x.rs", text).len(), 1, "{text}");
        }
        for text in ["#![deny(unsafe_code)]", "use crate::time::Instant;", "a.unwrap_or(b);"] {
            assert!(found("src/rt/x.rs", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_ban_names_what_to_use_instead() {
        let text = found("src/rt/x.rs", "fn f() { thread::sleep(d); }")[0].to_string();
        assert!(text.starts_with("src/rt/x.rs:2: "), "{text}");
        assert!(text.contains("rt::timer"), "{text}");
    }

    #[test]
    fn unwrap_passes_with_its_invariant_only() {
        let with = "fn f() {\n    // invariant: b was checked\n    a(b)\n        .unwrap();\n}";
        assert!(found("src/rt/x.rs", with).is_empty());
        let apart = "fn f() {\n    // invariant: b was checked\n    a(b);\n    c.unwrap();\n}";
        assert_eq!(found("src/rt/x.rs", apart).len(), 1);
    }

    #[test]
    fn what_is_too_long_is_caught() {
        let lines = "x\n".repeat(FILE_LINES_MAX - 1);
        assert!(found("src/rt/x.rs", &lines).is_empty());
        assert_eq!(found("src/rt/x.rs", &format!("{lines}x\n")).len(), 1);
        assert_eq!(found("src/main.rs", &"x\n".repeat(MAIN_LINES_MAX)).len(), 1);
        let body = "    x;\n".repeat(FUNCTION_LINES_MAX - 2);
        assert!(found("src/rt/x.rs", &format!("fn f() {{\n{body}}}")).is_empty());
        assert_eq!(found("src/rt/x.rs", &format!("fn f() {{\n{body}    x;\n}}")).len(), 1);
        assert!(found("src/rt/x.rs", &"é".repeat(LINE_COLUMNS_MAX)).is_empty());
        assert_eq!(found("src/rt/x.rs", &"x".repeat(LINE_COLUMNS_MAX + 1)).len(), 1);
    }

    #[test]
    fn missing_explanations_are_caught() {
        assert_eq!(check(&Source::new("src/rt/x.rs", "use a;\n")).len(), 1);
        assert_eq!(check(&Source::new("src/rt/x.rs", "")).len(), 1);
        let bare = "fn f() {\n    let x = unsafe { y() };\n}";
        assert_eq!(found("src/sys/x.rs", bare).len(), 1);
        let proved = "fn f() {\n    // SAFETY: y is sound\n    let x = unsafe { y() };\n}";
        assert!(found("src/sys/x.rs", proved).is_empty());
        let arm =
            "match a {\n    // SAFETY: y is sound\n    B => {\n        unsafe { y() }\n    }\n}";
        assert!(found("src/sys/x.rs", arm).is_empty());
    }
}
