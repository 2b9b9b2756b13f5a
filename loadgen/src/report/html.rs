//! The report as one page: it loads nothing, and whatever a run was given is escaped.

use std::fmt::Write;

use crate::outcome::{Outcome, Point, Ramp};
use crate::report::plot::{Plot, highest, mean, round_steps};
use crate::report::units::{duration, grouped, nanos, rate};
use crate::report::{errors_by_name, json, over, table};
use crate::tally::{Phase, Tally};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2330; --soft: #667085; --rule: #d9dde5;
  --back: #fff; --bad: #b42318; --c0: #2563eb; --c1: #d97706; --c2: #0d9488; --c3: #be185d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --rule: #343b49;
  --back: #14181f; --bad: #fda29b; --c0: #7aa7ff; --c1: #fbbf24; --c2: #2dd4bf; --c3: #f472b6; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 60rem; background: var(--back);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
.when, .legend { color: var(--soft); margin: .3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--rule); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child, .facts td { text-align: left; white-space: normal; }
th { color: var(--soft); font-weight: 600; }
.warning { border-left: 4px solid var(--bad); padding: .2rem .8rem; color: var(--bad); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--rule); fill: none; }
polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.l0 { --c: var(--c0); } .l1 { --c: var(--c1); } .l2 { --c: var(--c2); } .l3 { --c: var(--c3); }
polyline { stroke: var(--c); } circle { fill: var(--c); }
.legend span { margin-right: 1rem; } .legend span::before { content: ''; display: inline-block;
  width: .9rem; height: .25rem; margin-right: .4rem; vertical-align: middle; background: var(--c); }
";

/// The page.
pub fn render(outcome: &Outcome) -> String {
    let title = escaped(&format!("{} of {}", outcome.mode, outcome.target));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <h1>{title}</h1>\n<p class=\"when\">{}, ringfort-loadgen {}</p>\n",
        json::rfc3339(outcome.started),
        env!("CARGO_PKG_VERSION"),
    );
    for warning in table::warnings(outcome) {
        page += &format!("<p class=\"warning\">{}</p>\n", escaped(&warning));
    }
    page += &facts(outcome);
    page += &section("Latency by phase", &phases(&outcome.total));
    page += &section("Latency by percentile", &by_percentile(&outcome.total));
    page += &section("Operations per second", &throughput(outcome));
    page += &section("Latency over time", &over_time(outcome));
    page += &errors(&outcome.total);
    if let Some(ramp) = &outcome.ramp {
        page += &section("Ramp", &ramp_steps(ramp));
    }
    let command = outcome.command.join(" ");
    page + &section("Command", &format!("<pre>{}</pre>\n", escaped(&command))) + "</html>\n"
}

/// Text as it stands in HTML, in an attribute too; control characters have no place there.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn section(title: &str, content: &str) -> String {
    format!("<h2>{title}</h2>\n{content}")
}

fn facts(outcome: &Outcome) -> String {
    let mut text = "<table class=\"facts\">\n".to_owned();
    for (name, value) in table::facts(outcome) {
        text += &format!("<tr><th>{name}</th><td>{}</td></tr>\n", escaped(&value));
    }
    text + "</table>\n"
}

/// A table whose cells are escaped here.
fn grid(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = "<div class=\"scroll\"><table>\n<tr>".to_owned();
    for head in heads {
        text += &format!("<th>{}</th>", escaped(head));
    }
    text += "</tr>\n";
    for row in rows {
        let cells = row.iter().map(|cell| format!("<td>{}</td>", escaped(cell)));
        // invariant: a String takes whatever is written to it.
        writeln!(text, "<tr>{}</tr>", cells.collect::<String>()).expect("memory");
    }
    text + "</table></div>\n"
}

fn timed(total: &Tally) -> impl Iterator<Item = Phase> {
    Phase::ALL.into_iter().filter(|phase| !total.phase(*phase).is_empty())
}

fn phases(total: &Tally) -> String {
    let heads = [&["phase"], &table::PHASE_HEADS[..]].concat();
    let row = |phase: Phase| {
        let name = [phase.name().to_owned()];
        [&name[..], &table::phase_cells(total, phase)].concat()
    };
    grid(&heads, timed(total).map(row))
}

/// Steps to the right are tenths of the slowest: 90 %, 99 %, 99.9 %.
fn by_percentile(total: &Tally) -> String {
    const STEPS: usize = 240;
    let count = timed(total).map(|phase| total.phase(phase).len()).max().unwrap_or(0);
    // Beyond that, there is but one operation.
    let end = (count.max(10) as f64).log10().min(7.0);
    let line = |phase: Phase| {
        let at = |nth| {
            let x = nth as f64 * end / STEPS as f64;
            (x, total.phase(phase).value_at_quantile(1.0 - 10_f64.powf(-x)) as f64)
        };
        (phase.name(), (0..=STEPS).map(at).collect())
    };
    let tick = |nines: i32| {
        let percent = 100.0 - 10_f64.powi(2 - nines);
        let decimals = usize::try_from(nines - 2).unwrap_or(0);
        (f64::from(nines), format!("{percent:.decimals$} %"))
    };
    let plot = Plot {
        title: "Latency by percentile",
        x_label: "percentile",
        x_ticks: (0..=7).map(tick).collect(),
        y_text: nanos,
        is_log: true,
        thin: highest,
        lines: timed(total).map(line).collect(),
    };
    plot.render()
}

fn throughput(outcome: &Outcome) -> String {
    let made = |point: &Point| over(point.tally.operations, point.length);
    let failed = |point: &Point| over(point.tally.failed(), point.length);
    let mut lines = vec![("operations", line(outcome, made))];
    if outcome.total.failed() > 0 {
        lines.push(("failed", line(outcome, failed)));
    }
    time_plot(outcome, "Operations per second", rate, false, lines)
}

fn over_time(outcome: &Outcome) -> String {
    let at = |quantile: f64| {
        line(outcome, move |point| {
            point.tally.phase(Phase::Total).value_at_quantile(quantile) as f64
        })
    };
    let lines = vec![("p50", at(0.5)), ("p99", at(0.99)), ("p99.9", at(0.999))];
    time_plot(outcome, "Latency over time", nanos, true, lines)
}

fn line(outcome: &Outcome, y: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    outcome.series.iter().map(|point| (point.end.as_secs_f64(), y(point))).collect()
}

fn time_plot(
    outcome: &Outcome,
    title: &str,
    y_text: fn(f64) -> String,
    is_log: bool,
    lines: Vec<(&str, Vec<(f64, f64)>)>,
) -> String {
    let end = outcome.series.last().map_or(0.0, |point| point.end.as_secs_f64());
    let tick = |at: f64| (at, format!("{}", (at * 1e3).round() / 1e3));
    let plot = Plot {
        title,
        x_label: "seconds since the start of the measured window",
        x_ticks: round_steps(end, 10).into_iter().map(tick).collect(),
        y_text,
        is_log,
        thin: if is_log { highest } else { mean },
        lines,
    };
    plot.render()
}

fn errors(total: &Tally) -> String {
    if total.failed() == 0 {
        return String::new();
    }
    let row = |(name, count)| vec![name, grouped(count)];
    section("Errors", &grid(&["kind", "count"], errors_by_name(total).into_iter().map(row)))
}

fn ramp_steps(ramp: &Ramp) -> String {
    let percentile = format!("p{}", ramp.percentile);
    let heads = ["asked /s", "made /s", &percentile, "failed", "bound"];
    let rows = ramp.steps.iter().map(|step| {
        vec![
            rate(step.rate_per_s),
            rate(step.made_per_s),
            duration(step.latency),
            grouped(step.failed),
            if step.kept { "kept" } else { "not kept" }.to_owned(),
        ]
    });
    format!("{}<p>{}</p>\n", grid(&heads, rows), escaped(&table::ramp_result(ramp)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{empty, sample};

    #[test]
    fn the_page_has_its_parts_and_loads_nothing() {
        let page = render(&sample());
        assert_eq!(page.matches("<svg ").count(), 3);
        // Connect, handshake, total; made, failed; three percentiles.
        assert_eq!(page.matches("<polyline ").count(), 8);
        for expected in [
            "<h1>handshake of 127.0.0.1:8443</h1>",
            "2026-01-02T03:04:05Z",
            "<p class=\"warning\">server certificates were NOT verified</p>",
            "<td>alert certificate_required</td><td>3</td>",
            "<pre>ringfort-loadgen handshake</pre>",
            "<td>not kept</td>",
            ">99 %</text>",
        ] {
            assert!(page.contains(expected), "{expected}\n{page}");
        }
        for loads in ["http:", "https:", "<script", "src=", "url(", "@import"] {
            assert!(!page.contains(loads), "{loads}");
        }
        assert!(!page.contains("NaN") && !page.contains(">inf"), "{page}");
    }

    #[test]
    fn whatever_a_run_was_given_is_escaped() {
        let mut outcome = empty();
        let evil = "<script>alert('1')</script>\"&\u{1b}";
        outcome.target = evil.to_owned();
        outcome.mode = evil.to_owned();
        outcome.command = vec![evil.to_owned()];
        outcome.failures = vec![evil.to_owned()];
        outcome.bottleneck = Some(evil.to_owned());
        let page = render(&outcome);
        assert!(!page.contains("<script"), "{page}");
        assert!(
            page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;"),
            "{page}"
        );
        assert!(page.chars().all(|c| c == '\n' || !c.is_control()), "{page}");
    }

    #[test]
    fn a_run_in_which_nothing_happened_has_a_page() {
        let page = render(&empty());
        assert_eq!(page.matches("Nothing was measured").count(), 3);
        assert!(page.ends_with("</html>\n"));
    }
}
