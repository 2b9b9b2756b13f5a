//! The pages against the code: what a page lists is what there is, and its examples work.
//!
//! `docs/configuration.md` has a test of its own in `src/config/document.rs`; `tests/tidy` checks
//! the links.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Parser;
use ringfort::cli::Cli;
use ringfort::cli::pki::{Authority, KeyChoice, Names, Profile, Validity};
use ringfort::config::model;
use ringfort::control::lists::EVENTS;
use ringfort::control::reload::{Cause, Outcome, Report};
use ringfort::control::signals::Ended;
use ringfort::identity::{Identity, Presented};
use ringfort::log::{ClockPair, ConnectionRecord, Negotiated, RequestRecord};
use ringfort::metrics::counter::CounterSnapshot;
use ringfort::policy::Denial;
use ringfort::time::Instant;
use ringfort::tls::names::alert_name;
use ringfort::{CloseKind, CloseReason, Refusal};
use serde_json::Value;
use time::OffsetDateTime;

const OPERATIONS: &str = "docs/operations.md";
const REFUSALS: &str = "docs/refusals.md";
const HTTP: &str = "docs/http.md";

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between a heading and the next one.
fn section(path: &str, heading: &str) -> String {
    let page = read(path);
    let mut lines = page.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "{path} has no heading {heading:?}");
    lines.take_while(|line| !line.starts_with("## ") && !line.starts_with("### ")).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    )
}

/// The code in the first cells of a section's tables: `a` and `b` of "| `a`, `b` | text |".
fn first_cells(section: &str) -> BTreeSet<String> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let names = cells.flat_map(|cell| cell.split('`').step_by(2).collect::<Vec<_>>());
    names.map(str::to_owned).filter(|name| !name.is_empty()).collect()
}

/// The blocks of a page that are marked as `language`.
fn blocks(path: &str, language: &str) -> Vec<String> {
    let page = read(path);
    let mut parts = page.split("```");
    parts.next();
    let blocks: Vec<String> = parts
        .step_by(2)
        .filter_map(|part| part.strip_prefix(language)?.strip_prefix('\n'))
        .map(str::to_owned)
        .collect();
    assert!(!blocks.is_empty(), "{path} has no block of {language}");
    blocks
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// The names that `CloseKind::as_str` can return, from its source: the enum carries data, so it
/// has no list of all.
fn close_reasons() -> BTreeSet<String> {
    let source = read("src/error.rs");
    let body = source.split("impl CloseKind {").nth(1).expect("the names are in src/error.rs");
    let body = body.split("\nimpl ").next().expect("it ends");
    let names: BTreeSet<String> = body
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""))
        .filter_map(|(_, name)| name.strip_suffix("\","))
        .map(str::to_owned)
        .collect();
    let variants = source.split("pub enum CloseKind {").nth(1).expect("the enum is there");
    let variants = variants.split("\n}").next().expect("it ends");
    let is_variant = |line: &&str| line.trim().starts_with(|c: char| c.is_ascii_uppercase());
    assert_eq!(names.len(), variants.lines().filter(is_variant).count(), "each has its own name");
    names
}

#[test]
fn operations_explains_every_close_reason_and_no_other() {
    let mut listed = first_cells(&section(OPERATIONS, "## Why a connection ended"));
    assert!(listed.remove("close_reason"), "the head of the table");
    // Those that end what was relayed are on the page of refusals; here they may be.
    listed.extend(CloseKind::LAPSED.map(|kind| kind.as_str().to_owned()));
    assert_eq!(listed, close_reasons());
    assert!(listed.contains(CloseKind::Truncated.as_str()));
}

/// The rows of a table of refusals: code and alert.
fn codes_and_alerts(heading: &str, head: &str) -> Vec<(String, String)> {
    let table = section(REFUSALS, heading);
    let mut rows = table.lines().filter(|line| line.starts_with("| `"));
    let expected = format!("| `{head}` | cause | alert | cure |");
    assert_eq!(rows.next(), Some(expected.as_str()), "the head of the table");
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [code, cause, alert, cure] = cells[..] else { panic!("{row} has not four cells") };
        assert!(cause.trim().len() > 8 && cure.trim().len() > 8, "{row} says nothing");
        (code_of(code)[0].to_owned(), alert.to_owned())
    })
    .collect()
}

/// The table has these codes in this order, no other, and the alerts that go with them.
#[track_caller]
fn assert_listed(heading: &str, head: &str, expected: &[(&str, Option<u8>)]) {
    let listed = codes_and_alerts(heading, head);
    let codes: Vec<&str> = listed.iter().map(|(code, _)| code.as_str()).collect();
    let wanted: Vec<&str> = expected.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, wanted, "{heading}");
    for ((code, alert), (_, description)) in listed.iter().zip(expected) {
        let name = description.and_then(alert_name).expect("a refused client is told");
        assert_eq!(code_of(alert)[0], name, "{code}");
    }
}

#[test]
fn refusals_explains_every_refusal_with_its_alert_and_no_other() {
    let all = Refusal::ALL.map(|refusal| (refusal.as_str(), Some(refusal.alert())));
    assert_listed("## Why a certificate was refused", "refusal", &all);
}

#[test]
fn refusals_explains_every_denial_and_no_other() {
    let all = Denial::CODES.map(|code| (code, CloseKind::Denied.alert()));
    assert_listed("## Why a client was denied", "denied", &all);
}

#[test]
fn refusals_explains_every_end_of_a_client_that_was_let_in_and_no_other() {
    let all = CloseKind::LAPSED.map(|kind| (kind.as_str(), kind.alert()));
    assert_listed("## Why a client was put out again", "close_reason", &all);
}

#[test]
fn operations_explains_every_counter_and_no_other() {
    let counters = serde_json::to_value(CounterSnapshot::default()).expect("plain numbers");
    let counters = counters.as_object().expect("an object");
    let listed = first_cells(&section(OPERATIONS, "### Counters"));
    assert_eq!(listed, set(counters.keys().map(String::as_str)));
}

#[test]
fn operations_lists_every_event_and_no_other() {
    let listed = first_cells(&section(OPERATIONS, "### Events"));
    let files = ["control/signals.rs", "control/logwriter.rs", "cli/run.rs"];
    let mut written = set(["reload", "reload_failed"].into_iter().chain(EVENTS));
    for file in files {
        let source = read(&format!("src/{file}"));
        let source = source.split("#[cfg(test)]").next().expect("the code comes first");
        for call in ["event(\"", "event_line(\""] {
            let names = source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
            written.extend(names.map(str::to_owned));
        }
    }
    assert_eq!(listed, written);
}

#[test]
fn operations_lists_every_field_of_a_reload() {
    let events = section(OPERATIONS, "### Events");
    let outcomes = [Outcome::Same(Vec::new()), Outcome::Refused(Vec::new())];
    for (outcome, name) in outcomes.into_iter().zip(["reload", "reload_failed"]) {
        let (cause, duration) = (Cause::Files, Duration::ZERO);
        let (event, fields) = Report { cause, duration, files: Vec::new(), outcome }.event(1);
        assert_eq!(event, name);
        let row = events.lines().find(|line| line.starts_with(&format!("| `{event}` |")));
        let row = row.expect("the event has a row");
        for field in keys(&fields) {
            assert!(row.contains(&format!("`{field}`")), "{field} is not in {row}");
        }
    }
}

#[test]
fn operations_lists_every_exit_status_with_its_event() {
    let statuses = section(OPERATIONS, "## Exit statuses");
    let events = section(OPERATIONS, "### Events");
    for ended in [Ended::Drained, Ended::DeadlineCut, Ended::Stopped, Ended::Failed] {
        assert!(statuses.contains(&format!("\n| {} | ", ended.exit_status())), "{ended:?}");
        assert!(events.contains(&format!("`{}`", ended.as_str())), "{ended:?}");
    }
}

/// A record in which every field has a value.
fn full_record() -> ConnectionRecord {
    let profile = |name: &str| Profile {
        common_name: name.into(),
        key: KeyChoice::P256,
        validity: Validity::days(SystemTime::now(), 1).expect("a day"),
    };
    let names = Names {
        spiffe: Some("spiffe://example.org/client".into()),
        dns: vec!["client.example.org".into()],
        emails: vec!["client@example.org".into()],
        ip_addresses: vec![[192, 0, 2, 7].into()],
    };
    let authority = Authority::root(&profile("ca")).expect("a root");
    let client = authority.issue_client(&profile("client"), &names).expect("a client");
    let listener: Arc<str> = "main".into();
    let mut record = ConnectionRecord::new(Instant::ORIGIN, &listener, None);
    let identity = Identity::from_der(&client.chain[0]).expect("an identity");
    record.identity = Some(Arc::new(identity));
    let mut presented = Presented::of(&client.chain);
    presented.names_more = 1;
    presented.unreadable = vec!["names: what is wrong with them".into()];
    record.presented = Some(Box::new(presented));
    record.authenticated_unix_s = Some(1);
    record.session_declined = Some("too_old");
    record.negotiated =
        Some(Negotiated { version: 0x0304, suite: 0x1301, group: Some(0x1d), resumed: false });
    record.handshake = Some(Duration::from_micros(1));
    record.reason = CloseReason::downstream(CloseKind::CertificateRefused(Refusal::Expired));
    record
}

fn keys(object: &Value) -> Vec<String> {
    object.as_object().expect("an object").keys().cloned().collect()
}

#[test]
fn operations_shows_the_log_line_as_it_is_written() {
    let clocks = ClockPair { monotonic: Instant::ORIGIN, wall: OffsetDateTime::UNIX_EPOCH };
    let written: Value = serde_json::from_str(&full_record().line(&clocks)).expect("JSON");
    let example = blocks(OPERATIONS, "json").remove(0);
    let example: Value = serde_json::from_str(&example).expect("the example is JSON");

    let mut expected = keys(&written);
    let only_sometimes = ["refusal", "presented", "authenticated", "session_declined"];
    expected.retain(|key| !only_sometimes.contains(&key.as_str()));
    assert_eq!(keys(&example), expected, "the example has the fields in their order");
    let of_identity = keys(&written["identity"]);
    for key in keys(&example["identity"]) {
        assert!(of_identity.contains(&key), "identity.{key} is not written");
    }

    let listed = first_cells(&section(OPERATIONS, "## The log"));
    let of_identity = of_identity.iter().map(|key| format!("identity.{key}"));
    let of_presented = keys(&written["presented"]);
    let of_presented = of_presented.iter().map(|key| format!("presented.{key}"));
    for key in keys(&written).into_iter().chain(of_identity).chain(of_presented) {
        assert!(listed.contains(&key), "{OPERATIONS} does not explain {key}");
    }
}

/// A record in which every field has a value.
fn full_request_record() -> RequestRecord {
    RequestRecord {
        began: Instant::ORIGIN,
        ended: Instant::ORIGIN,
        connection: 1,
        listener: "main".into(),
        peer: None,
        identity: None,
        protocol: "h2",
        method: "GET".into(),
        authority: "a.example.org".into(),
        path: "/".into(),
        status: 502,
        route: Some("default".into()),
        upstream: Some("127.0.0.1:1".into()),
        upstream_time: Some(Duration::from_micros(1)),
        retries: 1,
        bytes_up: 1,
        bytes_down: 1,
        answered: Some("upstream_closed"),
        failure: Some(CloseReason::upstream(CloseKind::Reset)),
        detail: Some("more".into()),
    }
}

#[test]
fn operations_shows_the_line_of_a_request_as_it_is_written() {
    let clocks = ClockPair { monotonic: Instant::ORIGIN, wall: OffsetDateTime::UNIX_EPOCH };
    let written: Value = serde_json::from_str(&full_request_record().line(&clocks)).expect("JSON");
    let example = blocks(OPERATIONS, "json").remove(1);
    let example: Value = serde_json::from_str(&example).expect("the example is JSON");
    let mut expected = keys(&written);
    let only_sometimes = ["answered", "failure", "failure_source"];
    expected.retain(|key| !only_sometimes.contains(&key.as_str()));
    assert_eq!(keys(&example), expected, "the example has the fields in their order");
    let listed = section(OPERATIONS, "### Requests");
    for key in keys(&written) {
        assert!(listed.contains(&format!("`{key}`")), "{OPERATIONS} does not explain {key}");
    }
}

#[test]
fn configuration_examples_keep_to_the_schema() {
    for path in ["README.md", "docs/configuration.md"] {
        for mut block in blocks(path, "toml") {
            // What belongs to a listener stands below one.
            if block.starts_with("[listener") {
                block.insert_str(0, "[[listener]]\n");
            }
            model::parse(&block, path).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn command_lines_of_the_pages_are_understood() {
    let mut count = 0;
    for path in ["README.md", OPERATIONS, REFUSALS, "docs/probe.md", "CONTRIBUTING.md"] {
        let text = blocks(path, "sh").concat().replace("\\\n", " ");
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim().trim_end_matches('&');
            let words = line.replace("cargo run --release --", "ringfort");
            let words = words.replace("cargo run --", "ringfort");
            let mut words = words.split_whitespace();
            if !words.next().is_some_and(|program| program.ends_with("ringfort")) {
                continue;
            }
            let parsed = Cli::try_parse_from(std::iter::once("ringfort").chain(words));
            assert!(parsed.is_ok(), "{path}: {line}: {:?}", parsed.err());
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} command lines were found");
}

#[test]
fn the_map_of_the_rooms_is_complete() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries = fs::read_dir(source).expect("the sources can be read").map(|entry| {
        let entry = entry.expect("the sources can be read");
        let is_room = entry.file_type().expect("a type").is_dir();
        let name = entry.file_name().into_string().expect("names are UTF-8");
        if is_room { format!("{name}/") } else { name }
    });
    let map = blocks("docs/architecture.md", "text").remove(0);
    let map = map.split("tests/\n").next().expect("the sources come first");
    let listed: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, entries.collect());
}

/// The texts in quotes of some source.
fn quoted(source: &str) -> BTreeSet<String> {
    set(source.split('"').skip(1).step_by(2))
}

/// What stands between two texts of a file, each of which is there.
fn between(path: &str, start: &str, end: &str) -> String {
    let source = read(path);
    let rest = source.split_once(start).unwrap_or_else(|| panic!("{path} has no {start:?}")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("{path} has no {end:?} behind it")).0.to_owned()
}

/// The codes that ringfort answers by, with their status where the source says it in one place.
fn answers() -> Vec<(String, Option<u16>)> {
    let mut answers: Vec<(String, Option<u16>)> = Vec::new();
    let source = read("src/proxy/http/answer.rs");
    let calls = ["::new(", "::closing(", "::allowing("].map(|call| source.split(call).skip(1));
    for call in calls.into_iter().flatten() {
        let (status, rest) = call.split_once(", ").expect("two arguments");
        if let (Ok(status), Some(code)) = (status.parse(), rest.strip_prefix('"')) {
            let code = code.split('"').next().expect("it ends");
            answers.push((code.to_owned(), Some(status)));
        }
    }
    assert!(answers.len() >= 14, "{answers:?}");
    let more = |path, start, end| quoted(&between(path, start, end)).into_iter();
    let heads = more("src/http1/error.rs", "Self::TooLarge =>", "Self::Status =>");
    answers.extend(heads.map(|code| (code, None)));
    let bodies = more("src/http1/error.rs", "Self::Chunk =>", "Self::Incomplete =>");
    answers.extend(bodies.map(|code| (code, Some(400))));
    let streams = more("src/http2/head.rs", "Self::Scheme =>", "Self::Status =>");
    answers.extend(streams.map(|code| (code, None)).chain([("http2_connect".into(), Some(501))]));
    let paths = more("src/route/path.rs", "Self::DotSegment =>", "}");
    answers.extend(paths.map(|code| (code, Some(400))));
    let rates = more("src/proxy/http/request.rs", "let limits = [", "];");
    answers.extend(rates.map(|code| (code, Some(429))));
    answers.extend(Denial::CODES.map(|code| (code.to_owned(), Some(403))));
    let unreachable = [
        (CloseKind::NoEndpoint, 503),
        (CloseKind::UpstreamConnections, 503),
        (CloseKind::ConnectTimeout, 504),
        (CloseKind::ConnectRefused, 502),
        (CloseKind::ConnectFailed(1), 502),
        (CloseKind::UpstreamCertificateRefused, 502),
        (CloseKind::UpstreamTlsFailed, 502),
        (CloseKind::Reset, 502),
        (CloseKind::Io(1), 502),
        (CloseKind::Truncated, 502),
        (CloseKind::Finished, 502),
        (CloseKind::Http2Error, 502),
        (CloseKind::Http2Flood, 502),
        (CloseKind::TlsFailed, 502),
        (CloseKind::AlertReceived, 502),
        (CloseKind::PingTimeout, 502),
    ];
    answers.extend(unreachable.map(|(kind, status)| (kind.as_str().to_owned(), Some(status))));
    answers
}

#[test]
fn http_lists_every_answer_with_its_status_and_no_other() {
    let table = section(HTTP, "## Answers");
    let mut listed = std::collections::BTreeMap::new();
    for row in table.lines().filter(|line| line.starts_with("| `")).skip(1) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [codes, status, cause] = cells[..] else { panic!("{row} has not three cells") };
        assert!(cause.trim().len() > 8, "{row} says nothing");
        for code in code_of(codes) {
            let status: u16 = status.trim().parse().expect("a status");
            assert_eq!(listed.insert(code.to_owned(), status), None, "{code} is there twice");
        }
    }
    let answers = answers();
    for (code, status) in &answers {
        let found = listed.get(code);
        assert!(found.is_some(), "{HTTP} does not explain {code}");
        assert!(status.is_none() || found == status.as_ref(), "{code}: {found:?}, not {status:?}");
    }
    let known = set(answers.iter().map(|(code, _)| code.as_str()));
    let unknown: Vec<&String> = listed.keys().filter(|code| !known.contains(*code)).collect();
    assert!(unknown.is_empty(), "nothing is answered by {unknown:?}");
}

#[test]
fn http_lists_every_field_that_is_removed_and_no_other() {
    let table = section(HTTP, "## Identity");
    let table = table.split("\n\n").find(|part| part.starts_with("| removed")).expect("a table");
    let listed = first_cells(table);
    let names = |name| between("src/http1/names.rs", &format!("const {name}: &[&[u8]] = &["), "];");
    let mut removed = quoted(&names("IDENTITY"));
    removed.extend(quoted(&names("IDENTITY_PREFIXES")).iter().map(|prefix| format!("{prefix}*")));
    assert_eq!(listed, removed);
}

const THREATS: &str = "docs/threat-model.md";

/// The code in a cell: `a` and `b` of "`a`, `b` and more".
fn code_of(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether `text` has `name` with no letter, digit or `_` beside it.
fn has_word(text: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let after = &text[at + name.len()..];
        !text[..at].ends_with(is_word) && !after.starts_with(is_word)
    })
}

/// What is wrong with a row of the table of bounds.
fn wrong_with(row: &str, limits: &str, keys: &BTreeSet<String>) -> Option<String> {
    let cells: Vec<&str> = row.split(" | ").collect();
    let [_, bounds, enforcer, test] = cells[..] else {
        return Some("it has not four cells".to_owned());
    };
    let [enforcer] = code_of(enforcer)[..] else {
        return Some("it names not one file that enforces it".to_owned());
    };
    let source = read(enforcer);
    for bound in code_of(bounds) {
        let is_limit = !bound.contains(|c: char| c.is_ascii_lowercase());
        if is_limit && !limits.contains(&format!("pub const {bound}: ")) {
            return Some(format!("{bound} is not in src/limits.rs"));
        }
        if is_limit && !has_word(&source, bound) {
            return Some(format!("{enforcer} does not name {bound}"));
        }
        if !is_limit && !keys.contains(bound) {
            return Some(format!("{bound} is no key of the configuration"));
        }
    }
    let [file, name] = code_of(test)[..] else {
        return Some("it names not one file and one test".to_owned());
    };
    let source = read(file);
    let body = source.split_once(&format!("fn {name}("));
    let is_test =
        body.is_some_and(|(before, _)| before.trim_end_matches(|c| c != ']').ends_with("#[test]"));
    (!is_test).then(|| format!("{file} has no test {name}"))
}

#[test]
fn the_threat_model_names_bounds_files_and_tests_that_exist() {
    let limits = read("src/limits.rs") + &read("src/limits/http.rs");
    let keys: BTreeSet<String> = [
        "## Top level",
        "## `[limits]`",
        "## `[ring]`",
        "## `[[listener]]`",
        "## `[listener.http]`",
        "## `[[listener.route]]`",
        "## `[[upstream]]`",
    ]
    .iter()
    .flat_map(|heading| first_cells(&section("docs/configuration.md", heading)))
    .collect();
    let table = section(THREATS, "## What a peer can take, and where it is bounded");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows: Vec<&str> = rows.collect();
    assert!(rows.len() >= 25, "only {} rows were found", rows.len());
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| Some(format!("{row}\n  {}", wrong_with(row, &limits, &keys)?)))
        .collect();
    assert!(wrong.is_empty(), "{THREATS}:\n{}", wrong.join("\n"));

    let sound = "| a | `backlog`, `BACKLOG_MAX` | `src/config/resolve/bounds.rs` | \
                 `tests/docs.rs`: `the_map_of_the_rooms_is_complete` |";
    assert_eq!(wrong_with(sound, &limits, &keys), None);
    for (is, was) in [
        ("BACKLOG_MAY", "BACKLOG_MAX"),
        ("CONFIG_BYTES_MAX", "BACKLOG_MAX"),
        ("backlogs", "backlog"),
        ("fn_the_map", "the_map"),
        ("first_cells", "the_map_of_the_rooms_is_complete"),
    ] {
        assert!(wrong_with(&sound.replace(was, is), &limits, &keys).is_some(), "{is}");
    }
}
