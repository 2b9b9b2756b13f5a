//! Tests of `explain` within the process; `tests/e2e` holds it against a gateway.

use std::path::PathBuf;

use super::*;
use crate::config::kit;
use crate::limits::{EXPLAIN_CERTIFICATES_MAX, EXPLAIN_PEM_BYTES_MAX};

/// A folder with the files of the configuration's tests; it goes with its value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("ringfort-explain-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("the folder of temporary files takes folders");
        for (path, bytes) in kit::files().0 {
            std::fs::write(folder.join(path), bytes).expect("the folder takes files");
        }
        Self(folder)
    }

    /// Explains what comes on standard input.
    fn explain(
        &self,
        config: &str,
        mut stdin: impl io::Read,
        change: impl FnOnce(&mut ExplainArgs),
    ) -> Result<Report, Vec<String>> {
        let path = self.0.join("r.toml");
        std::fs::write(&path, config).expect("the folder takes files");
        let run = RunArgs { config: Some(path), ..RunArgs::default() };
        let client = Some(PathBuf::from("-"));
        let mut args = ExplainArgs { run, client, ..ExplainArgs::default() };
        change(&mut args);
        explain(&args, &mut stdin, &mut io::sink())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is in the folder of temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A client of the root `clients.pem`, valid from 2020 to 2036.
fn client() -> String {
    kit::server("client.example.org", 2020..2036).0
}

fn at(time: &str) -> impl FnOnce(&mut ExplainArgs) {
    let time = Some(time.parse().expect("a time"));
    move |args| args.at = time
}

#[track_caller]
fn assert_fits(report: &Report) -> String {
    let text = text::render(report);
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
    assert_eq!(json["verdict"]["allowed"], report.verdict.allowed);
    text
}

#[test]
fn times_are_rfc_3339_or_seconds_within_the_calendar() {
    let unix_s = |text: &str| text.parse().map(Moment::unix_s).ok();
    assert_eq!(unix_s("0"), Some(0));
    assert_eq!(unix_s("1767312000"), Some(kit::NOW_UNIX_S));
    assert_eq!(unix_s("2026-01-02T00:00:00Z"), Some(kit::NOW_UNIX_S));
    assert_eq!(unix_s("2026-01-02T01:30:00.999+01:30"), Some(kit::NOW_UNIX_S));
    assert_eq!(unix_s("253402300799"), Some(253_402_300_799));
    let wrong = ["", "-1", "+1", "253402300800", "99999999999999999999", "2026-01-02", "noon"];
    for wrong in wrong.into_iter().chain(["1969-12-31T23:59:59Z", "2026-01-02T00:00:00"]) {
        assert_eq!(unix_s(wrong), None, "{wrong}");
    }
}

#[test]
fn the_time_decides_whether_a_client_is_valid() {
    let folder = Folder::new("time");
    let judged = |time| {
        let report = folder.explain(kit::RIGHT, client().as_bytes(), at(time)).expect("a report");
        let text = assert_fits(&report);
        (report.verdict.refusal, report.verdict.until, text)
    };
    let (refusal, until, text) = judged("2026-01-02T00:00:00Z");
    assert_eq!((refusal, until.as_deref()), (None, Some("2036-01-01T00:00:00Z")));
    assert!(text.contains("; 3651 days left\n"), "{text}");
    let (refusal, until, text) = judged("2036-01-02T00:00:00Z");
    assert_eq!((refusal, until), (Some("expired"), None));
    assert!(text.contains("; EXPIRED: 1 day ago at most\n"), "{text}");
    let (refusal, _, text) = judged("2019-12-31T23:59:59Z");
    assert_eq!(refusal, Some("not_yet_valid"));
    assert!(text.contains("; NOT YET VALID\n"), "{text}");
}

#[test]
fn the_earliest_end_is_told_with_what_it_is() {
    let folder = Folder::new("end");
    let config = kit::but("#", "connection_age_max_ms = 3600000");
    let judge = |time| {
        let report = folder.explain(&config, client().as_bytes(), at(time)).expect("a report");
        (report.verdict.until.expect("an end"), report.verdict.until_because)
    };
    let aged = ("2026-01-02T01:00:00Z".to_owned(), Some("connection_age_max"));
    assert_eq!(judge("2026-01-02T00:00:00Z"), aged);
    let expires = ("2036-01-01T00:00:00Z".to_owned(), Some("path"));
    assert_eq!(judge("2035-12-31T23:30:00Z"), expires);
}

#[test]
fn who_is_not_asked_for_a_certificate_is_not_judged_by_it() {
    let folder = Folder::new("off");
    let config = kit::but("client_ca = \"clients.pem\"", "client_auth = \"off\"");
    let report = folder.explain(&config, client().as_bytes(), |_| {}).expect("a report");
    assert!(report.verdict.allowed && report.verdict.until.is_none(), "{report:?}");
    let text = assert_fits(&report);
    assert!(text.contains("what it has is not looked at"), "{text}");
    assert_eq!(report.path.map(|path| path.anchor), None);
}

#[test]
fn a_listener_is_named_where_there_are_several() {
    let folder = Folder::new("several");
    let second = kit::RIGHT.split_once("[[listener]]").expect("a listener").1;
    let second = second.replace("main", "other").replace("8443", "8444");
    let config = format!("{}[[listener]]{second}", kit::RIGHT);
    let of = |name: Option<&str>| {
        let named = |args: &mut ExplainArgs| args.listener = name.map(str::to_owned);
        folder.explain(&config, client().as_bytes(), named).map(|report| report.listener)
    };
    let error = of(None).expect_err("two").join("\n");
    assert!(error.contains("name one of main, other"), "{error}");
    assert_eq!(of(Some("other")), Ok("other".to_owned()));
    let error = of(Some("othre")).expect_err("none").join("\n");
    assert!(error.contains("did you mean other?"), "{error}");
}

/// Counts what is taken from it, and never ends.
struct Endless<'a>(&'a mut usize);

impl io::Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(b'\n');
        *self.0 += buffer.len();
        Ok(buffer.len())
    }
}

#[test]
fn what_is_read_and_what_is_shown_is_bounded() {
    let folder = Folder::new("bounds");
    let mut taken = 0;
    let endless = Endless(&mut taken);
    let error = folder.explain(kit::RIGHT, endless, |_| {}).expect_err("too large").join("\n");
    assert!(error.contains("more than 1048576 bytes"), "{error}");
    assert!(taken <= EXPLAIN_PEM_BYTES_MAX + 1, "{taken}");

    let many = client().repeat(3 * EXPLAIN_CERTIFICATES_MAX);
    let report = folder.explain(kit::RIGHT, many.as_bytes(), |_| {}).expect("a report");
    assert_eq!(report.presented, 3 * EXPLAIN_CERTIFICATES_MAX);
    assert_eq!(report.certificates.len(), EXPLAIN_CERTIFICATES_MAX);
    assert_eq!(report.verdict.refusal, Some("chain_too_long"));
    assert!(assert_fits(&report).contains("and 64 certificates more"));

    let too_many = client().repeat(500);
    let error = folder.explain(kit::RIGHT, too_many.as_bytes(), |_| {}).expect_err("too long");
    assert!(error.join("\n").contains("is given up before any is looked at"), "{error:?}");
}

#[test]
fn other_sections_are_skipped_and_messages_are_harmless() {
    let folder = Folder::new("sections");
    let (chain, key) = kit::server("client.example.org", 2020..2036);
    let mixed = format!("a comment\n{key}{chain}");
    let report = folder.explain(kit::RIGHT, mixed.as_bytes(), |_| {}).expect("a report");
    assert!(report.verdict.allowed);
    let pem = "-----BEGIN \u{1b}[2J\u{202e}X-----\nMAA=\n-----END \u{1b}[2J\u{202e}X-----\n";
    let errors = folder.explain(kit::RIGHT, pem.as_bytes(), |_| {}).expect_err("no certificate");
    let mut said = Vec::new();
    say(&errors, &mut said);
    let said = String::from_utf8(said).expect("text");
    assert!(said.contains("standard input: holds"), "{said}");
    assert!(said.chars().all(|c| c == '\n' || matches!(c, ' '..='~')), "{said:?}");
    say(&["\u{e4}".repeat(EXPLAIN_MESSAGE_BYTES_MAX)], &mut Vec::new());
}

#[test]
fn patterns_are_bounded_in_the_text_and_those_that_match_come_first() {
    let folder = Folder::new("patterns");
    let many: Vec<String> = (0..100).map(|n| format!("dns:a{n}.test")).collect();
    let config = kit::but(
        "#",
        &format!("allow = {:?}", [&many[..], &["dns:client.example.org".into()]].concat()),
    );
    let report = folder.explain(&config, client().as_bytes(), |_| {}).expect("a report");
    assert_eq!(report.rules.len(), 101);
    assert!(report.verdict.allowed);
    let text = assert_fits(&report);
    assert!(text.contains("allow MATCHES        dns:client.example.org"), "{text}");
    assert!(text.contains("allow and 69 patterns more"), "{text}");
}

/// What begins each line of a text that does not go on from the line before.
fn labels(text: &str) -> Vec<&str> {
    let starts = text.lines().filter(|line| !line.starts_with("          ") && line.len() > 16);
    starts.map(|line| line[..16].trim()).collect()
}

#[test]
fn the_page_shows_what_is_printed() {
    let page = include_str!("../../../docs/refusals.md");
    let (_, shown) = page.split_once("```text\n").expect("an example");
    let (shown, _) = shown.split_once("```").expect("it ends");
    let folder = Folder::new("page");
    let report = folder.explain(kit::RIGHT, client().as_bytes(), at("2040-01-01T00:00:00Z"));
    let text = assert_fits(&report.expect("a report"));
    let (shown, printed) = (labels(shown), labels(&text));
    // The example has a second certificate.
    let second = shown.iter().position(|label| *label == "[1] subject").expect("it has two");
    let shown = [&shown[..second], &shown[second + 7..]].concat();
    assert_eq!(shown, printed);
}
