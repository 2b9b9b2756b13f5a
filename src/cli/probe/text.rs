//! A report as text for a terminal of 100 columns: the timeline, then what was found.
//!
//! Every text in it goes through `printable` on its way: a server's name for itself steers nothing.

use super::facts::{Certificate, Chain, ClientCertificate};
use super::report::{Outcome, Report};
use super::resume::Resumption;
use crate::cli::timeline::{printable, table_of, wrap};
use crate::limits::TIMELINE_LIST_MAX;

const LABEL_COLUMNS: usize = 20;
const TEXT_COLUMNS: usize = 80;

const _: () = assert!(LABEL_COLUMNS + TEXT_COLUMNS == 100);

/// The report, each line ended by a newline.
pub(super) fn render(report: &Report, colour: bool) -> String {
    let mut page = Page(String::new());
    for attempt in &report.attempts {
        page.line("not reached", &format!("{}: {}", attempt.address, attempt.error));
    }
    if let Some(address) = &report.address {
        page.line("connected", &format!("{} at {address}", report.target));
        page.timeline(report, colour);
    }
    page.result(report);
    if report.address.is_some() {
        page.negotiated(report);
        page.client_certificate(&report.client_certificate);
        page.chain(report, &report.chain);
        page.line("resumption", &resumption(&report.resumption));
    }
    page.0
}

struct Page(String);

impl Page {
    /// One line, and as many below it as its text needs.
    fn line(&mut self, label: &str, text: &str) {
        for (index, piece) in wrap(&printable(text), TEXT_COLUMNS).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            let line = format!("{label:<LABEL_COLUMNS$}{piece}");
            self.0.push_str(line.trim_end());
            self.0.push('\n');
        }
    }

    fn timeline(&mut self, report: &Report, colour: bool) {
        self.0.push('\n');
        self.0.push_str(&table_of(&report.rows, colour, "server"));
        if report.timeline_cut > 0 {
            self.0.push_str(&format!("... and {} lines more\n", report.timeline_cut));
        }
        self.0.push('\n');
        for line in &report.summary {
            self.0.push_str(line);
            self.0.push('\n');
        }
        self.0.push('\n');
    }

    fn result(&mut self, report: &Report) {
        let text = match (report.result, &report.failure) {
            (Outcome::Done, _) => String::from("handshake done"),
            (Outcome::Refused, Some(failure)) => format!("REFUSED: {}", failure.text),
            (_, Some(failure)) => format!("FAILED: {}", failure.text),
            (_, None) => String::from("FAILED"),
        };
        self.line("result", &text);
        if let Some(note) = &report.note {
            self.line("", note);
        }
    }

    fn negotiated(&mut self, report: &Report) {
        let agreed = &report.negotiated;
        for (label, value) in
            [("version", &agreed.version), ("suite", &agreed.suite), ("group", &agreed.group)]
        {
            self.line(label, value.as_deref().unwrap_or("unknown"));
        }
        self.line("ALPN", agreed.alpn.as_deref().unwrap_or("none chosen"));
        let sni = match report.sni_sent {
            true => report.server_name.clone(),
            false => format!("none, for {} is an address", report.server_name),
        };
        self.line("SNI", &sni);
    }

    fn client_certificate(&mut self, asked: &ClientCertificate) {
        let text = match (asked.requested, asked.presented) {
            (None, _) => "unknown",
            (Some(false), _) => "not asked for",
            (Some(true), true) => "asked for; presented",
            (Some(true), false) if asked.given => {
                "asked for; none presented: the server takes no signature of the key given"
            }
            (Some(true), false) => "asked for; none presented",
        };
        self.line("client certificate", text);
        if asked.requested == Some(true) && asked.authorities.is_empty() {
            self.line("  CAs", "none named");
        }
        for name in &asked.authorities {
            self.line("  CA", name);
        }
        if asked.authorities_cut {
            self.line("", &format!("the first {TIMELINE_LIST_MAX}; there may be more"));
        }
    }

    fn chain(&mut self, report: &Report, chain: &Chain) {
        let verification = &report.verification;
        let reason = verification.reason.as_deref().unwrap_or_default();
        let verified = match verification.status {
            "verified" => format!("verified, for {}", report.server_name),
            "failed" => format!("DOES NOT VERIFY: {reason}"),
            _ => format!("not verified: {reason}"),
        };
        let s = if chain.presented == 1 { "" } else { "s" };
        self.line("chain", &format!("{} certificate{s}; {verified}", chain.presented));
        for (index, certificate) in chain.certificates.iter().enumerate() {
            self.certificate(index, certificate);
        }
        if chain.presented > chain.certificates.len() {
            self.line("", &format!("the first {} of the chain", chain.certificates.len()));
        }
    }

    fn certificate(&mut self, index: usize, certificate: &Certificate) {
        self.line(&format!("  [{index}] subject"), &certificate.subject);
        self.line("      issuer", &certificate.issuer);
        let mut names = certificate.names.join(", ");
        if certificate.names_cut {
            names.push_str(", and perhaps more");
        }
        self.line("      names", if names.is_empty() { "none" } else { &names });
        self.line("      key", &certificate.key);
        let ends = certificate.not_after.as_deref().unwrap_or("beyond the calendar");
        self.line("      not after", &format!("{ends}, {}", days(certificate)));
        self.line("      SHA-256", &certificate.sha256);
    }
}

fn days(certificate: &Certificate) -> String {
    let plural = |days: u64| if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
    let days = plural(certificate.days_left.unsigned_abs());
    match (certificate.days_left, certificate.in_date) {
        // Days are rounded down, so that one that ended an hour ago has -1 left.
        (..0, _) => format!("EXPIRED: {days} ago at most"),
        (_, true) => format!("{days} left"),
        (_, false) => {
            let begins = certificate.not_before.as_deref().unwrap_or("beyond the calendar");
            format!("NOT YET VALID: from {begins}")
        }
    }
}

fn resumption(resumption: &Resumption) -> String {
    let tickets = match (resumption.tickets, resumption.lifetime_s) {
        (1, Some(lifetime_s)) => format!("1 ticket, good for {lifetime_s} s"),
        (count, Some(lifetime_s)) => format!("{count} tickets, good for {lifetime_s} s"),
        (_, None) => String::from("a session ID"),
    };
    let reason = resumption.reason.as_deref().unwrap_or_default();
    match resumption.result {
        "by_ticket" => format!("yes, by ticket ({tickets})"),
        "by_session_id" => String::from("yes, by session ID"),
        "none_offered" => String::from("no: no ticket and no session ID was offered"),
        "declined" => format!("no: {tickets} offered, and declined when it came back"),
        "failed" => format!("no: {reason}"),
        _ => format!("not tried: {reason}"),
    }
}
