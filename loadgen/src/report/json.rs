//! The report as one JSON object, for scripts.
//!
//! Every number is finite. A cost per operation or byte is `null` where there was none, `tls` where
//! no handshake was completed, `protocol` and `streams` where no HTTP was spoken.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::outcome::{CpuTime, Outcome, Point, Ramp};
use crate::report::{cpu_per_byte, cpu_per_operation, megabytes_per_s, rate_per_s, share};
use crate::tally::{Phase, Tally};

/// The object, with a newline behind it.
pub fn render(outcome: &Outcome) -> String {
    // invariant: strings, numbers, lists and maps with keys of text can all be written as JSON.
    let mut text = serde_json::to_string_pretty(&Report::new(outcome)).expect("plain data");
    text.push('\n');
    text
}

/// A time of day as RFC 3339 spells it, in UTC.
pub fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

#[derive(Serialize)]
struct Report<'a> {
    ringfort_loadgen: &'static str,
    mode: &'a str,
    target: &'a str,
    started: String,
    command: &'a [String],
    insecure: bool,
    interrupted: bool,
    ok: bool,
    failures: &'a [String],
    duration_s: f64,
    workers: usize,
    connections: usize,
    protocol: Option<&'a str>,
    streams: Option<usize>,
    rate_asked_per_s: Option<f64>,
    operations: u64,
    requests: u64,
    rate_per_s: f64,
    bytes_sent: u64,
    bytes_received: u64,
    megabytes_per_s: f64,
    handshakes: Handshakes,
    tls: Option<Tls<'a>>,
    phases: Phases,
    #[serde(serialize_with = "by_name")]
    errors: &'a Tally,
    server_cpu: Option<Cpu<'a>>,
    generator_cpu: Option<GeneratorCpu<'a>>,
    series: Vec<Second>,
    ramp: Option<RampReport>,
}

#[derive(Serialize)]
struct Handshakes {
    full: u64,
    resumed: u64,
    resumed_share: f64,
    resume_asked: Option<f64>,
}

#[derive(Serialize)]
struct Tls<'a> {
    version: &'a str,
    suite: &'a str,
    group: Option<&'a str>,
    alpn: Option<&'a str>,
}

#[derive(Serialize)]
struct Phases {
    connect: Percentiles,
    handshake: Percentiles,
    first_byte: Percentiles,
    total: Percentiles,
}

#[derive(Serialize)]
struct Percentiles {
    count: u64,
    min_us: f64,
    mean_us: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

#[derive(Serialize)]
struct Cpu<'a> {
    pids: &'a [u32],
    cpu_us_per_op: Option<f64>,
    user_us_per_op: Option<f64>,
    sys_us_per_op: Option<f64>,
    ns_per_byte: Option<f64>,
}

#[derive(Serialize)]
struct GeneratorCpu<'a> {
    #[serde(flatten)]
    cpu: Cpu<'a>,
    busy_share: f64,
    bottleneck: bool,
    bottleneck_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Second {
    t_s: f64,
    operations: u64,
    bytes: u64,
    errors: u64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

#[derive(Serialize)]
struct RampReport {
    percentile: f64,
    latency_max_us: f64,
    rate_per_s: Option<f64>,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    rate_per_s: f64,
    made_per_s: f64,
    latency_us: f64,
    failed: u64,
    kept: bool,
}

impl<'a> Report<'a> {
    fn new(outcome: &'a Outcome) -> Self {
        let total = &outcome.total;
        Self {
            ringfort_loadgen: env!("CARGO_PKG_VERSION"),
            mode: &outcome.mode,
            target: &outcome.target,
            started: rfc3339(outcome.started),
            command: &outcome.command,
            insecure: outcome.insecure,
            interrupted: outcome.interrupted,
            ok: outcome.failures.is_empty(),
            failures: &outcome.failures,
            duration_s: outcome.duration.as_secs_f64(),
            workers: outcome.workers,
            connections: outcome.connections,
            protocol: outcome.protocol.as_deref(),
            streams: outcome.streams,
            rate_asked_per_s: outcome.rate_asked_per_s.filter(|rate| rate.is_finite()),
            operations: total.operations,
            requests: total.requests,
            rate_per_s: rate_per_s(total, outcome.duration),
            bytes_sent: total.bytes_sent,
            bytes_received: total.bytes_received,
            megabytes_per_s: megabytes_per_s(total, outcome.duration),
            handshakes: Handshakes {
                full: total.full,
                resumed: total.resumed,
                resumed_share: share(total.resumed, total.full + total.resumed).unwrap_or(0.0),
                resume_asked: outcome.resume_asked.filter(|share| share.is_finite()),
            },
            tls: outcome.negotiated.as_ref().map(|negotiated| Tls {
                version: &negotiated.version,
                suite: &negotiated.suite,
                group: negotiated.group.as_deref(),
                alpn: negotiated.alpn.as_deref(),
            }),
            phases: Phases {
                connect: Percentiles::new(total, Phase::Connect),
                handshake: Percentiles::new(total, Phase::Handshake),
                first_byte: Percentiles::new(total, Phase::FirstByte),
                total: Percentiles::new(total, Phase::Total),
            },
            errors: total,
            server_cpu: outcome.server_cpu.as_ref().map(|cpu| Cpu::new(cpu, total)),
            generator_cpu: outcome.generator_cpu.as_ref().map(|cpu| GeneratorCpu {
                cpu: Cpu::new(cpu, total),
                busy_share: if outcome.busy_share.is_finite() { outcome.busy_share } else { 0.0 },
                bottleneck: outcome.bottleneck.is_some(),
                bottleneck_reason: outcome.bottleneck.as_deref(),
            }),
            series: outcome.series.iter().map(Second::new).collect(),
            ramp: outcome.ramp.as_ref().map(RampReport::new),
        }
    }
}

impl Percentiles {
    fn new(tally: &Tally, phase: Phase) -> Self {
        let times = tally.phase(phase);
        Self {
            count: times.len(),
            min_us: nanos_us(times.min()),
            mean_us: times.mean() / 1e3,
            p50_us: nanos_us(times.value_at_quantile(0.5)),
            p90_us: nanos_us(times.value_at_quantile(0.9)),
            p99_us: nanos_us(times.value_at_quantile(0.99)),
            p999_us: nanos_us(times.value_at_quantile(0.999)),
            max_us: nanos_us(times.max()),
        }
    }
}

impl<'a> Cpu<'a> {
    fn new(cpu: &'a CpuTime, total: &Tally) -> Self {
        Self {
            pids: &cpu.pids,
            cpu_us_per_op: cpu_per_operation(cpu.total(), total),
            user_us_per_op: cpu_per_operation(cpu.user, total),
            sys_us_per_op: cpu_per_operation(cpu.sys, total),
            ns_per_byte: cpu_per_byte(cpu.total(), total),
        }
    }
}

impl Second {
    fn new(point: &Point) -> Self {
        let times = point.tally.phase(Phase::Total);
        Self {
            t_s: point.end.as_secs_f64(),
            operations: point.tally.operations,
            bytes: point.tally.bytes_sent + point.tally.bytes_received,
            errors: point.tally.failed(),
            p50_us: nanos_us(times.value_at_quantile(0.5)),
            p99_us: nanos_us(times.value_at_quantile(0.99)),
            p999_us: nanos_us(times.value_at_quantile(0.999)),
            max_us: nanos_us(times.max()),
        }
    }
}

impl RampReport {
    fn new(ramp: &Ramp) -> Self {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let steps = ramp.steps.iter().map(|step| Step {
            rate_per_s: step.rate_per_s,
            made_per_s: step.made_per_s,
            latency_us: micros(step.latency),
            failed: step.failed,
            kept: step.kept,
        });
        Self {
            percentile: ramp.percentile,
            latency_max_us: micros(ramp.latency_max),
            rate_per_s: ramp.rate_per_s,
            steps: steps.collect(),
        }
    }
}

/// Two failures may have one name: their counts are one.
fn by_name<S: Serializer>(tally: &Tally, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(crate::report::errors_by_name(tally))
}

fn nanos_us(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::tests::{empty, sample};
    use crate::tally::Failure;

    #[test]
    fn the_object_has_what_the_outcome_has() {
        let report: Value = serde_json::from_str(&render(&sample())).expect("JSON");
        assert_eq!(report["mode"], "handshake");
        assert_eq!(report["started"], "2026-01-02T03:04:05Z");
        assert_eq!(report["ok"], false);
        assert_eq!((&report["operations"], &report["requests"]), (&300.into(), &330.into()));
        assert_eq!((&report["protocol"], &report["streams"]), (&"HTTP/2".into(), &10.into()));
        assert_eq!(report["rate_per_s"], 100.0);
        assert_eq!(report["megabytes_per_s"], 0.01);
        assert_eq!(report["handshakes"]["resumed_share"], 0.5);
        assert_eq!(report["tls"]["group"], "X25519");
        assert_eq!(report["phases"]["connect"]["count"], 300);
        assert_eq!(report["phases"]["first_byte"]["count"], 0);
        assert_eq!(report["errors"]["alert certificate_required"], 3);
        assert_eq!(report["server_cpu"]["cpu_us_per_op"], 300.0);
        assert_eq!(report["server_cpu"]["user_us_per_op"], 200.0);
        assert_eq!(report["server_cpu"]["ns_per_byte"], 3000.0);
        assert_eq!(report["generator_cpu"]["bottleneck"], true);
        assert_eq!(report["series"].as_array().map(Vec::len), Some(3));
        assert_eq!(report["series"][2]["t_s"], 3.0);
        assert_eq!(report["ramp"]["steps"][1]["kept"], false);
        let p50 = report["phases"]["total"]["p50_us"].as_f64().expect("a number");
        assert!((p50 - 1000.0).abs() < 1.0, "{p50}");
    }

    #[test]
    fn a_run_in_which_nothing_happened_has_finite_numbers_only() {
        let mut outcome = empty();
        outcome.rate_asked_per_s = Some(f64::INFINITY);
        outcome.busy_share = f64::NAN;
        let report: Value = serde_json::from_str(&render(&outcome)).expect("JSON");
        assert_eq!(report["rate_per_s"], 0.0);
        assert_eq!(report["server_cpu"]["cpu_us_per_op"], Value::Null);
        assert_eq!(report["phases"]["total"]["mean_us"], 0.0);
        assert_eq!(report["tls"], Value::Null);
    }

    #[test]
    fn failures_of_one_name_are_one_entry() {
        let mut outcome = empty();
        outcome.total.fail(Failure::Tls("alert"));
        outcome.total.fail(Failure::Answer("x"));
        outcome.total.fail(Failure::Named("answer x"));
        let report: Value = serde_json::from_str(&render(&outcome)).expect("JSON");
        assert_eq!(report["errors"]["answer x"], 2);
        assert_eq!(report["errors"]["tls alert"], 1);
    }
}
