//! The report for people, as plain text of fixed width: on a terminal and through a pipe.

use std::fmt::Write;
use std::time::Duration;

use crate::outcome::{CpuTime, Negotiated, Outcome, Ramp};
use crate::report::units::{
    bytes, duration, grouped, nanos, percent, rate, three_digits as digits,
};
use crate::report::{cpu_per_byte, cpu_per_operation, errors_by_name, rate_per_s, share};
use crate::tally::{Phase, Tally};

/// The whole report; it ends with a newline.
pub fn render(outcome: &Outcome) -> String {
    let mut text = String::new();
    for (name, value) in facts(outcome) {
        line(&mut text, &format!("{name:<14}{value}"));
    }
    phases(&mut text, &outcome.total);
    errors(&mut text, &outcome.total);
    if let Some(ramp) = &outcome.ramp {
        ramp_steps(&mut text, ramp);
    }
    remarks(&mut text, outcome);
    text
}

/// What TLS was agreed on, in one line.
pub fn tls(negotiated: &Negotiated) -> String {
    let mut text = format!("{} {}", negotiated.version, negotiated.suite);
    if let Some(group) = &negotiated.group {
        text = format!("{text} {group}");
    }
    match &negotiated.alpn {
        Some(alpn) => format!("{text}, ALPN {alpn}"),
        None => text,
    }
}

/// What is said in one line each: a name and its value.
pub fn facts(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let total = &outcome.total;
    let mut facts = vec![
        ("target", format!("{} ({})", outcome.target, outcome.mode)),
        ("TLS", outcome.negotiated.as_ref().map_or("no handshake completed".to_owned(), tls)),
        ("duration", format!("{}, {}", seconds(outcome.duration), load(outcome))),
    ];
    let asked = outcome.rate_asked_per_s.map(|asked| format!(" of {} asked for", rate(asked)));
    let made = rate(rate_per_s(total, outcome.duration));
    facts.push((
        "operations",
        format!("{}, {made} /s{}", grouped(total.operations), asked.unwrap_or_default()),
    ));
    if let Some(protocol) = &outcome.protocol {
        facts.push(("requests", requests(total.requests, protocol, outcome.streams)));
    }
    if total.bytes_sent + total.bytes_received > 0 {
        facts.push(("sent", volume(total.bytes_sent, outcome.duration)));
        facts.push(("received", volume(total.bytes_received, outcome.duration)));
    }
    if let Some(resumed) = share(total.resumed, total.full + total.resumed) {
        facts.push(("handshakes", handshakes(total, resumed, outcome.resume_asked)));
    }
    if let Some(cpu) = &outcome.server_cpu {
        let pids: Vec<String> = cpu.pids.iter().map(u32::to_string).collect();
        facts.push(("server CPU", format!("{} (PID {})", cost(cpu, total), pids.join(", "))));
    }
    if let Some(cpu) = &outcome.generator_cpu {
        let busy = percent(outcome.busy_share);
        facts.push(("generator CPU", format!("{}, busiest worker {busy}", cost(cpu, total))));
    }
    facts
}

/// A phase's row: count, minimum, mean, percentiles and maximum.
pub fn phase_cells(total: &Tally, phase: Phase) -> [String; 8] {
    let times = total.phase(phase);
    let at = |quantile: f64| nanos(times.value_at_quantile(quantile) as f64);
    [
        grouped(times.len()),
        nanos(times.min() as f64),
        nanos(times.mean()),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        nanos(times.max() as f64),
    ]
}

/// The heads of [`phase_cells`].
pub const PHASE_HEADS: [&str; 8] = ["count", "min", "mean", "p50", "p90", "p99", "p99.9", "max"];

/// What makes the figures doubtful, each a sentence.
pub fn warnings(outcome: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(why) = &outcome.bottleneck {
        found.push(format!("the generator was the bottleneck: {why}"));
    }
    if outcome.insecure {
        found.push("server certificates were NOT verified".to_owned());
    }
    if outcome.interrupted {
        found.push("interrupted: the figures are of the time until then".to_owned());
    }
    found.extend(outcome.failures.iter().map(|failure| format!("not met: {failure}")));
    found
}

/// A ramp's result, in one line.
pub fn ramp_result(ramp: &Ramp) -> String {
    let bound = format!("p{} within {}", ramp.percentile, duration(ramp.latency_max));
    match ramp.rate_per_s {
        Some(found) => format!("{} /s is the highest rate that kept {bound}", rate(found)),
        None => format!("no rate kept {bound}"),
    }
}

fn load(outcome: &Outcome) -> String {
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (connections, workers) = (outcome.connections, outcome.workers);
    let connections_text = format!("{} connection{}", connections, plural(connections));
    format!("{connections_text}, {workers} worker{}", plural(workers))
}

fn requests(answered: u64, protocol: &str, streams: Option<usize>) -> String {
    let at_a_time = match streams {
        Some(streams) if streams > 1 => format!(", {streams} at a time on each connection"),
        _ => String::new(),
    };
    format!("{} answered over {protocol}{at_a_time}", grouped(answered))
}

fn handshakes(total: &Tally, resumed: f64, asked: Option<f64>) -> String {
    let asked = asked.filter(|asked| *asked > 0.0);
    let asked = asked.map(|asked| format!(" of {} asked for", percent(asked)));
    let (full, count) = (grouped(total.full), grouped(total.resumed));
    format!("{full} full, {count} resumed ({}{})", percent(resumed), asked.unwrap_or_default())
}

fn volume(count: u64, time: Duration) -> String {
    let total = bytes(count as f64);
    if time.is_zero() {
        return total;
    }
    format!("{total}, {} /s", bytes(count as f64 / time.as_secs_f64()))
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn cost(cpu: &CpuTime, total: &Tally) -> String {
    let per_op = |time| cpu_per_operation(time, total);
    let (Some(both), Some(user), Some(sys)) =
        (per_op(cpu.total()), per_op(cpu.user), per_op(cpu.sys))
    else {
        return format!("{} in all", duration(cpu.total()));
    };
    let mut text = format!("{} us/op ({} user, {} sys)", digits(both), digits(user), digits(sys));
    if let Some(per_byte) = cpu_per_byte(cpu.total(), total) {
        text = format!("{text}, {} ns/byte", digits(per_byte));
    }
    text
}

fn phases(text: &mut String, total: &Tally) {
    let timed: Vec<Phase> =
        Phase::ALL.into_iter().filter(|phase| !total.phase(*phase).is_empty()).collect();
    if timed.is_empty() {
        return;
    }
    let mut rows = vec![("phase".to_owned(), PHASE_HEADS.map(str::to_owned))];
    rows.extend(timed.iter().map(|phase| (phase.name().to_owned(), phase_cells(total, *phase))));
    let width = |at: usize| rows.iter().map(|(_, cells)| cells[at].len()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    line(text, "");
    for (name, cells) in &rows {
        let mut row = format!("{name:<10}");
        for (cell, width) in cells.iter().zip(widths) {
            // invariant: a String takes whatever is written to it.
            write!(row, "  {cell:>width$}").expect("memory");
        }
        line(text, &row);
    }
}

fn errors(text: &mut String, total: &Tally) {
    let failed = total.failed();
    if failed == 0 {
        return;
    }
    line(text, "");
    let all = total.operations.saturating_add(failed);
    let of_all = percent(share(failed, all).unwrap_or(0.0));
    line(text, &format!("{} operations failed ({of_all}):", grouped(failed)));
    for (name, count) in errors_by_name(total) {
        line(text, &format!("  {:>11}  {name}", grouped(count)));
    }
}

fn ramp_steps(text: &mut String, ramp: &Ramp) {
    line(text, "");
    let percentile = format!("p{}", ramp.percentile);
    line(
        text,
        &format!("{:>12}  {:>12}  {percentile:>10}  {:>8}", "asked /s", "made /s", "failed"),
    );
    for step in &ramp.steps {
        let (asked, made) = (rate(step.rate_per_s), rate(step.made_per_s));
        let (latency, failed) = (duration(step.latency), grouped(step.failed));
        let kept = if step.kept { "kept" } else { "not kept" };
        line(text, &format!("{asked:>12}  {made:>12}  {latency:>10}  {failed:>8}  {kept}"));
    }
    line(text, &ramp_result(ramp));
}

fn remarks(text: &mut String, outcome: &Outcome) {
    let warnings = warnings(outcome);
    if !warnings.is_empty() {
        line(text, "");
    }
    for warning in &warnings {
        line(text, warning);
    }
}

fn line(text: &mut String, content: &str) {
    text.push_str(content.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{empty, sample};

    #[test]
    fn the_table_says_it_all() {
        let text = render(&sample());
        for expected in [
            "target        127.0.0.1:8443 (handshake)",
            "TLS           TLS 1.3 TLS_AES_128_GCM_SHA256 X25519",
            "duration      3.00 s, 8 connections, 1 worker",
            "operations    300, 100 /s of 200 asked for",
            "requests      330 answered over HTTP/2, 10 at a time on each connection",
            "sent          12.0 kB, 4.00 kB /s",
            "handshakes    150 full, 150 resumed (50.0 % of 50.0 % asked for)",
            "server CPU    300 us/op (200 user, 100 sys), 3000 ns/byte (PID 7)",
            "generator CPU 200 us/op (100 user, 100 sys), 2000 ns/byte, busiest worker 97.0 %",
            "3 operations failed (1.0 %):",
            "            3  alert certificate_required",
            "100 /s is the highest rate that kept p99 within 5.00 ms",
            "the generator was the bottleneck: worker 0 was busy for 97 % of the time",
            "server certificates were NOT verified",
            "interrupted: ",
            "not met: 200 operations per second were asked for, 100 made",
        ] {
            assert!(text.lines().any(|line| line.starts_with(expected)), "{expected}\n{text}");
        }
        assert!(!text.contains("first_byte"), "a phase that was not timed is left out:\n{text}");
        assert!(text.lines().all(|line| line.len() <= 100 && line == line.trim_end()), "{text}");
    }

    #[test]
    fn the_columns_of_the_phases_are_aligned() {
        let text = render(&sample());
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| ["phase", "connect", "total"].iter().any(|name| line.starts_with(name)))
            .collect();
        assert_eq!(rows.len(), 3, "{text}");
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{text}");
    }

    #[test]
    fn a_run_in_which_nothing_happened_is_short() {
        let text = render(&empty());
        assert!(text.contains("no handshake completed"), "{text}");
        assert!(text.contains("operations    0, 0.00 /s\n"), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        assert!(text.lines().count() < 7, "{text}");
    }
}
