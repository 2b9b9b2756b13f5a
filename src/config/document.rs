//! Tests that `docs/configuration.md` says what the code does.

use super::kit::{files, resolved_with};
use super::model;
use super::resolve::bounds;
use crate::identity::{KeyType, Pattern};
use crate::limits::CONFIG_ERRORS_MAX;
use crate::tls::provider::{BACKENDS, GROUPS, SUITES, group_by_name};

const DOCUMENT: &str = include_str!("../../docs/configuration.md");

/// The heading of each table and how a text gets into it.
const TABLES: [(&str, &str); 8] = [
    ("## Top level\n", ""),
    ("## `[log]`\n", "[log]\n"),
    ("## `[limits]`\n", "[limits]\n"),
    ("## `[ring]`\n", "[ring]\n"),
    ("## `[[listener]]`\n", "[[listener]]\n"),
    ("## `[listener.http]`\n", "[[listener]]\n[listener.http]\n"),
    ("## `[[listener.route]]`\n", "[[listener]]\n[[listener.route]]\n"),
    ("## `[[upstream]]`\n", "[[upstream]]\n"),
];

/// The text below a heading, up to the next one.
fn section(heading: &str) -> &'static str {
    let (_, below) = DOCUMENT.split_once(heading).expect(heading);
    below.split("\n## ").next().unwrap_or(below)
}

/// The cells of a key's row: key, type, default, bounds, meaning.
fn row(section: &'static str, key: &str) -> Vec<&'static str> {
    let start = format!("| `{key}` |");
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with(&start)).collect();
    assert_eq!(rows.len(), 1, "rows of `{key}`");
    rows[0].trim_matches('|').split('|').map(str::trim).collect()
}

/// The keys that the schema knows in a table, as it tells them when it refuses another.
fn keys(table: &str) -> Vec<String> {
    let error = model::parse(&format!("{table}no_such_key = 1\n"), "r.toml");
    let error = error.expect_err("an unknown key is refused");
    let known = error.expected.strip_prefix("one of ").expect("a list of the known keys");
    known.split(", ").map(str::to_string).collect()
}

fn documented_keys(section: &str) -> Vec<String> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter(|row| row.matches('|').count() == 5);
    rows.filter_map(|row| row.split('`').next()).map(str::to_string).collect()
}

#[test]
fn every_key_is_documented_in_its_order_and_no_other() {
    for (heading, table) in TABLES {
        assert_eq!(documented_keys(section(heading)), keys(table), "{heading}");
    }
    let certificate = "[[listener]]\n[[listener.certificate]]\n";
    let documented = documented_keys(section("## `[[listener.certificate]]`\n"));
    assert_eq!(documented, keys(certificate));
    let domain = "[[listener]]\n[[listener.trust_domain]]\n";
    assert_eq!(documented_keys(section("## `[[listener.trust_domain]]`\n")), keys(domain));
    // Its other keys are the last ones of the listener.
    let mut server_name = documented_keys(section("## `[[listener.server_name]]`\n"));
    let listener = keys("[[listener]]\n");
    let first = listener.iter().position(|key| key == "client_auth").expect("a key");
    server_name.extend_from_slice(&listener[first..]);
    assert_eq!(server_name, keys("[[listener]]\n[[listener.server_name]]\n"));
}

#[test]
fn every_default_and_bound_is_the_one_in_force() {
    for bound in bounds::ALL {
        let table = TABLES.iter().find(|(heading, _)| match bound.table {
            "" => *heading == "## Top level\n",
            table => heading.contains(&format!("[{table}]")),
        });
        let (heading, _) = table.expect("a table of the document");
        let row = row(section(heading), bound.key);
        assert_eq!(row[3], format!("{} to {}", bound.min, bound.max), "{}", bound.key);
        match bound.default {
            Some(default) => assert_eq!(row[2], default.to_string(), "{}", bound.key),
            None => assert!(row[2].parse::<i64>().is_err(), "{} has no default", bound.key),
        }
    }
}

#[test]
fn the_number_of_problems_that_are_listed_is_the_one_in_force() {
    let text = DOCUMENT.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = format!("Of more than {CONFIG_ERRORS_MAX} problems it lists {CONFIG_ERRORS_MAX} ");
    assert!(text.contains(&told), "{told}");
}

#[test]
fn the_example_is_right() {
    let (_, example) = DOCUMENT.split_once("```toml\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let snapshot = resolved_with(example, &files(), 65_536).expect("the example is right");
    assert_eq!(snapshot.listeners.len(), 1);
    assert_eq!(snapshot.clusters[0].targets.len(), 4);
}

#[test]
fn every_suite_and_group_is_listed_in_its_order() {
    let listener = section("## `[[listener]]`\n");
    let quoted = |text: &'static str| text.split('`').skip(1).step_by(2);
    let (_, lists) = listener.split_once("Cipher suites, in").expect("the list of suites");
    let (suites, groups) = lists.split_once("Key exchange groups, in").expect("that of groups");
    let names: Vec<_> = SUITES.iter().map(|(name, _)| *name).collect();
    assert_eq!(quoted(suites).collect::<Vec<_>>(), names);
    let (groups, _) = groups.split_once("\n\nIn `suites`").expect("the end of the list");
    let (names, aliases): (Vec<_>, Vec<_>) =
        quoted(groups).partition(|name| GROUPS.iter().any(|(known, _)| known == name));
    assert_eq!(names, GROUPS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert!(!aliases.is_empty() && aliases.iter().all(|alias| group_by_name(alias).is_some()));
}

#[test]
fn every_backend_is_listed_in_the_row_and_in_the_table() {
    let listener = section("## `[[listener]]`\n");
    let quoted: Vec<_> = BACKENDS.iter().map(|name| format!("\"{name}\"")).collect();
    let bounds = row(listener, "crypto")[3];
    assert_eq!(bounds.split('`').skip(1).step_by(2).collect::<Vec<_>>(), quoted);
    let (_, table) =
        listener.split_once("| Backend | Lacks | Mind |\n|---|---|---|\n").expect("it");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let names: Vec<_> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(names, BACKENDS);
}

#[test]
fn every_key_type_is_listed_and_every_pattern_parses() {
    let listener = section("## `[[listener]]`\n");
    let types = row(listener, "client_key_types")[3];
    let names: Vec<_> = KeyType::ALL.iter().map(|kind| format!("\"{}\"", kind.as_str())).collect();
    assert_eq!(types.split('`').skip(1).step_by(2).collect::<Vec<_>>(), names);
    let (_, patterns) = listener.split_once("|---|---|\n| `any`").expect("the patterns");
    let rows = patterns.lines().skip(1).take_while(|line| line.starts_with('|'));
    let mut count = 0;
    for cell in rows.filter_map(|row| row.split('|').nth(1)) {
        for pattern in cell.split('`').skip(1).step_by(2) {
            let pattern = pattern.replace("HEX", &"0a".repeat(32));
            pattern.parse::<Pattern>().expect(&pattern);
            count += 1;
        }
    }
    assert!(count >= 12, "{count} patterns");
}

#[test]
fn the_example_of_routes_is_right() {
    let section = section("## `[[listener.route]]`\n");
    let (_, example) = section.split_once("```toml\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let rest = super::kit::but("#", "protocol = \"http\"") + example;
    let snapshot = resolved_with(&rest, &files(), 65_536).expect("the example is right");
    let http = snapshot.listeners[0].http.as_ref().expect("it speaks HTTP");
    assert!(http.routes.routes().len() > 1);
}
