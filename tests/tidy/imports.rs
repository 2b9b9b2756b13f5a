//! Who may import whom: the rooms of `docs/architecture.md`, read from every path in `src/`.

use crate::scan::{Path, Source};
use crate::{Violation, violation};

/// A module, by prefix, and what it may import beyond its own room and the leaves.
///
/// The longest prefix that fits rules. What is in no line has no room yet.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "control", "config", "proxy", "tls", "trust", "identity", "policy", "rt", "metrics",
            "log",
        ],
    ),
    (
        "control",
        &[
            "config", "proxy", "tls", "trust", "identity", "policy", "attest", "rt", "sys",
            "metrics", "log",
        ],
    ),
    (
        "proxy",
        &[
            "http1",
            "http2",
            "tls",
            "trust",
            "identity",
            "policy",
            "route",
            "attest",
            "rt",
            "config::snapshot",
            "metrics",
            "log",
        ],
    ),
    // The descriptors of its listeners, which it hands to its core.
    (
        "proxy::worker",
        &[
            "tls",
            "trust",
            "identity",
            "policy",
            "rt",
            "sys::descriptor",
            "config::snapshot",
            "metrics",
            "log",
        ],
    ),
    ("config", &["tls", "trust", "identity", "policy", "http1", "http2", "route", "attest"]),
    ("log", &["tls::names", "identity"]),
    ("policy", &["identity"]),
    ("identity", &[]),
    ("route", &["http1", "identity", "policy"]),
    ("attest", &["identity"]),
    ("http1", &[]),
    ("http2", &["http1", "tls", "rt", "sys::ops"]),
    ("tls", &["identity"]),
    ("tls::stream", &["identity", "rt", "sys"]),
    ("tls::transport", &["rt", "sys"]),
    ("trust", &["tls", "identity", "policy"]),
    ("rt", &["sys"]),
    // The second driver, where the feature `sim` is on.
    ("rt::driver", &["sys", "sim::driver"]),
    (
        "sim",
        &[
            "tls",
            "trust",
            "identity",
            "policy",
            "attest",
            "config::snapshot",
            "http1::request",
            "route",
            "rt",
            "sys",
            "proxy",
            "metrics",
            "log",
        ],
    ),
    ("sys", &[]),
    ("metrics", &[]),
    // The leaves.
    ("metrics::counter", &[]),
    ("limits", &[]),
    ("error", &[]),
    ("time", &[]),
    ("planted", &[]),
];

/// Importable by all.
const LEAVES: &[&str] = &["limits", "error", "time", "planted", "metrics::counter"];

/// Decisions without sockets, files, threads or clocks.
const PURE: &[&str] = &[
    "identity",
    "policy",
    "http1",
    "http2::frames",
    "http2::head",
    "route",
    "attest",
    "trust",
    "tls::hello",
    "tls::names",
    "tls::session",
    "config::model",
    "config::resolve",
];

/// What a PURE module may not name, in whatever way it got the name.
const IMPURE: &[&str] = &[
    "crate::rt",
    "crate::sys",
    "crate::tls::stream",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::os::unix::net",
    "std::fs",
    "std::thread",
    "std::process",
    "std::time::Instant",
    "rustix",
    "socket2",
    "libc",
    "io_uring",
];

/// Where io_uring may be named.
const NAMES_IO_URING: &[&str] = &["sys", "rt::uring"];

/// Checks one file; files outside `src/` are in no room.
pub(crate) fn check(source: &Source) -> Vec<Violation> {
    let Some(module) = module_of(&source.path) else {
        return Vec::new();
    };
    let paths = source.production_paths();
    let mut found = Vec::new();
    for path in &paths {
        let name = absolute(path, &module);
        found.extend(direction(source, &module, path, &name));
        if any_prefix(PURE, &module) {
            found.extend(purity(source, &module, path, &name));
        }
        let is_io_uring = name.split("::").any(|segment| segment == "io_uring");
        if is_io_uring && !any_prefix(NAMES_IO_URING, &module) {
            let what = "only sys and rt::uring name io_uring: go through rt::driver";
            found.push(violation(source, path.line, what));
        }
    }
    found
}

/// `tls::hello` of `src/tls/hello.rs`; empty for the crate's root; `None` outside `src/`.
fn module_of(path: &str) -> Option<String> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let name = inside.replace('/', "::");
    Some(if name == "lib" { String::new() } else { name })
}

/// The path from its crate: `self` and `super` resolved, `core` counted as `std`.
fn absolute(path: &Path, module: &str) -> String {
    let mut base: Vec<&str> = module.split("::").filter(|name| !name.is_empty()).collect();
    let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
    let Some((&first, rest)) = segments.split_first() else {
        return String::new();
    };
    if first != "self" && first != "super" {
        let is_core = matches!(first, "core" | "alloc");
        return [if is_core { "std" } else { first }]
            .iter()
            .chain(rest)
            .copied()
            .collect::<Vec<_>>()
            .join("::");
    }
    let ups = segments.iter().take_while(|&&segment| segment == "super").count();
    base.truncate(base.len().saturating_sub(ups));
    let rest = &segments[ups.max(1)..];
    [&["crate"], &base[..], rest].concat().join("::")
}

fn direction(source: &Source, module: &str, path: &Path, name: &str) -> Option<Violation> {
    if module == "main" {
        let target = name.strip_prefix("ringfort::")?;
        let what = "main uses the library through ringfort::cli only: move this into cli";
        return (!has_prefix(target, "cli")).then(|| violation(source, path.line, what));
    }
    let target = name.strip_prefix("crate::")?;
    let own_room = module.split("::").next().unwrap_or_default();
    let same_room = target.split("::").next() == Some(own_room);
    if module.is_empty() || any_prefix(LEAVES, target) {
        return None;
    }
    let rule = MAY_IMPORT.iter().filter(|(prefix, _)| has_prefix(module, prefix));
    let Some((_, allowed)) = rule.max_by_key(|(prefix, _)| prefix.len()) else {
        let what = format!("{module} is in no room: add it to MAY_IMPORT in tests/tidy/imports.rs");
        return Some(violation(source, path.line, &what));
    };
    // A leaf is importable by all, so it may not drag in the rest of its room.
    let is_leaf = any_prefix(LEAVES, module);
    let is_own = if is_leaf { any_prefix(&[module], target) } else { same_room };
    if is_own || any_prefix(allowed, target) {
        return None;
    }
    let allowed = if allowed.is_empty() { "only leaves".to_owned() } else { allowed.join(", ") };
    let what = format!("{module} may not import {target}; it may import {allowed}");
    Some(violation(source, path.line, &what))
}

fn purity(source: &Source, module: &str, path: &Path, name: &str) -> Option<Violation> {
    let glob = name.strip_suffix("::*");
    let is_impure = |&&impure: &&&str| {
        has_prefix(name, impure) || glob.is_some_and(|glob| has_prefix(impure, glob))
    };
    // The type may be held, so its import is sound, and the clock is named in short.
    let clock = ["SystemTime::now", "Instant::now"].iter().find(|clock| name.ends_with(**clock));
    let impure = clock.or_else(|| IMPURE.iter().find(is_impure))?;
    let what =
        format!("{module} is PURE and names {impure}: let its caller do it and pass data in");
    Some(violation(source, path.line, &what))
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn any_prefix(prefixes: &[&str], name: &str) -> bool {
    prefixes.iter().any(|prefix| has_prefix(name, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source::new(path, text)).len()
    }

    #[test]
    fn imports_against_the_arrows_are_caught() {
        let planted = [
            ("src/rt/x.rs", "use crate::tls::stream::TlsStream;"),
            ("src/rt/x.rs", "fn f() { crate::proxy::connection::run(); }"),
            ("src/rt/mod.rs", "use super::config;"),
            ("src/tls/server.rs", "use crate::rt::core::Core;"),
            ("src/tls/server.rs", "use super::super::rt::core::Core;"),
            ("src/proxy/relay.rs", "use crate::{config::model::Model, limits};"),
            ("src/sys/ring.rs", "use crate::rt::timer;"),
            ("src/config/mod.rs", "use crate::control::load;"),
            ("src/control/mod.rs", "use crate::cli::run;"),
            ("src/metrics/counter.rs", "use crate::metrics::expose;"),
            ("src/limits.rs", "use crate::config::model::Model;"),
            ("src/attic/mod.rs", "use crate::rt::timer;"),
            ("src/main.rs", "use ringfort::control::supervisor;"),
            ("src/sim/world.rs", "use crate::control::load;"),
            ("src/proxy/worker.rs", "use crate::sim::random::Random;"),
            ("src/log.rs", "macro_rules! m { () => { $crate::proxy::x() } }"),
        ];
        for (path, text) in planted {
            assert_eq!(count(path, text), 1, "{path}: {text}");
        }
    }

    #[test]
    fn imports_along_the_arrows_pass() {
        let sound = [
            ("src/rt/x.rs", "use super::timer::Wheel;\nuse crate::sys::ring::Ring;"),
            ("src/rt/x.rs", "use crate::metrics::counter::Counter;\nuse crate::limits::X;"),
            ("src/tls/stream.rs", "use crate::{rt::core::Core, tls::session::Session};"),
            ("src/proxy/connection.rs", "use crate::config::snapshot::Snapshot;"),
            ("src/main.rs", "fn main() { ringfort::cli::main() }"),
            ("src/rt/x.rs", "#[cfg(test)]\nmod tests {\n    use crate::proxy::y;\n}"),
            ("tests/e2e/main.rs", "use crate::proxy::y;"),
        ];
        for (path, text) in sound {
            assert_eq!(count(path, text), 0, "{path}: {text}");
        }
    }

    #[test]
    fn impure_names_in_pure_modules_are_caught() {
        let planted = [
            "use std::net::TcpStream;",
            "use std::net::{IpAddr, UdpSocket};",
            "use std::net::*;",
            "fn f() { let _ = std::fs::read(\"x\"); }",
            "use std::{fmt, thread};",
            "use std::time::Instant;",
            "use std::time;\nfn f() { time::SystemTime::now(); }",
            "use std::time::SystemTime;\nfn f() { SystemTime::now(); }",
            "use std::*;",
            "fn f() { rustix::fs::sync(); }",
        ];
        for path in ["src/policy/decide.rs", "src/tls/hello.rs", "src/config/resolve/pem.rs"] {
            for text in planted {
                assert_eq!(count(path, text), 1, "{path}: {text}");
            }
            assert_eq!(count(path, "use std::net::IpAddr;\nuse std::time::Duration;"), 0);
        }
        assert_eq!(count("src/tls/session.rs", "use super::stream::TlsStream;"), 1);
        assert_eq!(count("src/tls/session.rs", "fn f() { self.process(); process(x); }"), 0);
        assert_eq!(count("src/control/load.rs", "use std::fs::File;"), 0);
    }

    #[test]
    fn io_uring_is_caught_outside_its_rooms() {
        assert_eq!(count("src/rt/core.rs", "use io_uring::IoUring;"), 1);
        assert_eq!(count("src/rt/core.rs", "fn f() { ::io_uring::opcode::Nop::new(); }"), 1);
        assert_eq!(count("src/rt/uring.rs", "use io_uring::IoUring;"), 0);
        assert_eq!(count("src/sys/ring.rs", "use io_uring::IoUring;"), 0);
        assert_eq!(count("src/rt/core.rs", "// io_uring\nlet x = \"io_uring\";"), 0);
    }
}
