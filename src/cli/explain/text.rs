//! A report as text for a terminal of 100 columns.
//!
//! Every text in it goes through `printable` on its way: what a certificate says steers nothing.

use super::facts::Certificate;
use super::lines;
use super::report::{Check, Lookup, Outcome, Report, Rule, Verdict};
use crate::limits::EXPLAIN_PATTERNS_MAX;

const LABEL_COLUMNS: usize = 16;
const TEXT_COLUMNS: usize = 84;
/// What follows the result of a check.
const NOTE_COLUMNS: usize = 70;
const RESULT_COLUMNS: usize = TEXT_COLUMNS - NOTE_COLUMNS;

const _: () = assert!(LABEL_COLUMNS + TEXT_COLUMNS == 100);

/// The report, each line ended by a newline.
pub(super) fn render(report: &Report) -> String {
    let mut page = Page(String::new());
    page.head(report);
    for certificate in &report.certificates {
        page.certificate(certificate);
    }
    if report.presented > report.certificates.len() {
        let more = report.presented - report.certificates.len();
        page.line("", &format!("and {more} certificates more"));
    }
    page.0.push('\n');
    for check in &report.checks {
        page.check(report, check);
    }
    if report.presented > 0 && report.client_auth != "off" {
        page.check_line("proof of key", "not judged", "the client's signature in the handshake");
    }
    page.0.push('\n');
    page.verdict(&report.verdict);
    page.0
}

struct Page(String);

impl Page {
    /// One line, and as many below it as its text needs.
    fn line(&mut self, label: &str, text: &str) {
        for (index, piece) in lines(text, TEXT_COLUMNS).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            self.push(&format!("{label:<LABEL_COLUMNS$}{piece}"));
        }
    }

    fn check_line(&mut self, label: &str, result: &str, note: &str) {
        for (index, piece) in lines(note, NOTE_COLUMNS).iter().enumerate() {
            let (label, result) = if index == 0 { (label, result) } else { ("", "") };
            self.push(&format!("{label:<LABEL_COLUMNS$}{result:<RESULT_COLUMNS$}{piece}"));
        }
    }

    fn push(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    fn head(&mut self, report: &Report) {
        self.line("listener", &report.listener);
        let name = report.server_name.as_deref().unwrap_or("none");
        self.line("server name", name);
        let auth = report.client_auth;
        self.line("demands", &format!("of {}; client_auth {auth}", report.demands));
        self.line("at", &report.at);
        let presented = match report.presented {
            0 => "no certificate".to_owned(),
            1 => "1 certificate".to_owned(),
            count => format!("{count} certificates"),
        };
        self.line("presented", &presented);
    }

    fn certificate(&mut self, certificate: &Certificate) {
        let shown = |text: &Option<Box<str>>| text.as_deref().unwrap_or("none").to_owned();
        self.0.push('\n');
        let position = certificate.position;
        self.line(&format!("[{position}] subject"), &shown(&certificate.subject));
        self.line("    issuer", &shown(&certificate.issuer));
        self.line("    serial", &shown(&certificate.serial));
        let mut names: Vec<&str> = certificate.names.iter().map(|name| &**name).collect();
        let more = format!("and {} more", certificate.names_more);
        if certificate.names_more > 0 {
            names.push(&more);
        }
        self.line("    names", &if names.is_empty() { "none".into() } else { names.join(", ") });
        let bits = certificate.key_bits.map_or(String::new(), |bits| format!(" {bits} bits"));
        let signed = shown(&certificate.signature);
        let authority = if certificate.authority { "; an authority's" } else { "" };
        let key = format!("{}{bits}; signed with {signed}{authority}", shown(&certificate.key));
        self.line("    key", &key);
        self.line("    valid", &validity(certificate));
        self.line("    SHA-256", certificate.sha256.as_deref().unwrap_or("none"));
        for part in &certificate.unreadable {
            self.line("    UNREADABLE", part);
        }
    }

    fn check(&mut self, report: &Report, check: &Check) {
        let result = match (check.result, check.code) {
            (Outcome::Ok, _) => "ok".to_owned(),
            (Outcome::NotReached, _) => "not reached".to_owned(),
            (Outcome::NotAsked, _) => "not asked".to_owned(),
            (Outcome::Refused, code) => format!("REFUSED {}", code.unwrap_or_default()),
        };
        let label = check.check.replace('_', " ");
        let mut notes = check.notes.iter().map(String::as_str);
        let first = if result.len() < RESULT_COLUMNS { notes.next() } else { None };
        self.check_line(&label, &result, first.unwrap_or_default());
        for note in notes {
            self.check_line("", "", note);
        }
        match check.check {
            "revocation" => report.revocation.iter().for_each(|it| self.lookup(it)),
            "rules" => {
                self.rules("deny", &report.rules);
                self.rules("allow", &report.rules);
            }
            _ => {}
        }
    }

    fn lookup(&mut self, lookup: &Lookup) {
        let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "never".to_owned());
        let whose = match lookup.position {
            0 => "the client's certificate".to_owned(),
            position => format!("authority {position} of the path"),
        };
        let answer = match lookup.answer {
            "revoked" => format!("REVOKED {}", shown(&lookup.revoked_at)),
            "missing" => "NO LIST of its issuer has begun".to_owned(),
            "stale" => "the list is TOO OLD".to_owned(),
            "missing_accepted" => "no list; crl_missing accepts that".to_owned(),
            "good_past_next_update" => {
                "not revoked; past nextUpdate, as crl_stale allows".to_owned()
            }
            _ => "not revoked".to_owned(),
        };
        let until = lookup.until.as_ref().map_or(String::new(), |at| format!(", until {at}"));
        self.check_line("", "", &format!("{whose}: {answer}{until}"));
        if let Some(list) = &lookup.list {
            let entries = lookup.entries.unwrap_or_default();
            let (begins, ends) = (shown(&lookup.this_update), shown(&lookup.next_update));
            let note = format!(
                "  list of {list}; thisUpdate {begins}; nextUpdate {ends}; {entries} revoked"
            );
            self.check_line("", "", &note);
        }
    }

    /// Those that match first, for they decide.
    fn rules(&mut self, list: &str, rules: &[Rule]) {
        let of_list = || rules.iter().filter(|rule| rule.list == list);
        let matching = of_list().filter(|rule| rule.matches);
        let others = of_list().filter(|rule| !rule.matches);
        for rule in matching.chain(others).take(EXPLAIN_PATTERNS_MAX) {
            let matches = if rule.matches { "MATCHES" } else { "does not match" };
            self.check_line("", "", &format!("{list:<5} {matches:<14} {}", rule.pattern));
        }
        let more = of_list().count().saturating_sub(EXPLAIN_PATTERNS_MAX);
        if more > 0 {
            self.check_line("", "", &format!("{list:<5} and {more} patterns more"));
        }
    }

    fn verdict(&mut self, verdict: &Verdict) {
        if verdict.allowed {
            let why = match verdict.until_because {
                Some("path") => "a certificate of the path ends",
                Some("revocation") => "what a revocation list says ends",
                _ => "connection_age_max, if it connects now",
            };
            let text = match &verdict.until {
                Some(until) => format!("until {until}: {why}"),
                None => "time alone does not end it".to_owned(),
            };
            return self.line("ALLOWED", &text);
        }
        let kind = verdict.close_reason.unwrap_or_default();
        let code = verdict.refusal.or(verdict.denied).unwrap_or(kind);
        self.line("REFUSED", &format!("{code} (close_reason {kind})"));
        self.line("detail", verdict.detail.as_deref().unwrap_or("none"));
        self.line("alert", verdict.alert.unwrap_or("none"));
        if let Some(row) = &verdict.page {
            self.line("cause", row.cause);
            self.line("cure", row.cure);
        }
    }
}

fn validity(certificate: &Certificate) -> String {
    let shown = |date: &Option<String>| date.clone().unwrap_or_else(|| "unknown".to_owned());
    let (begins, ends) = (shown(&certificate.not_before), shown(&certificate.not_after));
    let days = certificate.days_left.map_or(String::new(), |days| match days {
        // Days are rounded down, so that one that ended an hour ago has -1 left.
        ..0 => format!("; EXPIRED: {} ago at most", plural(days.unsigned_abs())),
        _ if certificate.valid == Some(false) => "; NOT YET VALID".to_owned(),
        _ => format!("; {} left", plural(days.unsigned_abs())),
    });
    format!("{begins} to {ends}{days}")
}

fn plural(days: u64) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}
