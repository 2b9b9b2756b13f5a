//! Logs that merge, and logs that are damaged.

use proptest::prelude::*;

use super::*;
use crate::report::hdr;
use crate::report::tests::{empty, sample, temporary};
use crate::report::{errors_by_name, json as json_report, rate_per_s};

fn log(outcome: &Outcome) -> Vec<u8> {
    let mut log = Vec::new();
    hdr::write(outcome, &mut log).expect("memory");
    log
}

fn merged(logs: &[Vec<u8>]) -> Result<Outcome, MergeError> {
    let names: Vec<PathBuf> = (1..=logs.len()).map(|nth| format!("{nth}.hdr").into()).collect();
    let mut merge = Merge::default();
    for (name, log) in names.iter().zip(logs) {
        merge.read(name, log.as_slice())?;
    }
    Ok(merge.outcome(&names))
}

fn complaint(log: &[u8]) -> String {
    merged(&[log.to_vec()]).expect_err("a complaint").to_string()
}

#[test]
fn a_log_alone_tells_what_its_run_told() {
    let run = sample();
    let merged = merged(&[log(&run)]).expect("a log");
    assert_eq!(merged.total.phases, run.total.phases);
    assert_eq!(errors_by_name(&merged.total), errors_by_name(&run.total));
    assert_eq!(merged.total.operations, run.total.operations);
    assert_eq!((merged.duration, merged.started), (run.duration, run.started));
    assert_eq!(merged.negotiated, run.negotiated);
    assert_eq!(merged.rate_asked_per_s, run.rate_asked_per_s);
    assert!(merged.insecure && merged.interrupted);
    assert_eq!(merged.series.len(), 3);
    for (mine, theirs) in merged.series.iter().zip(&run.series) {
        assert_eq!((mine.end, mine.length), (theirs.end, theirs.length));
        assert_eq!(mine.tally.phases, theirs.tally.phases);
    }
    assert_eq!(merged.failures, ["1.hdr: 200 operations per second were asked for, 100 made"]);
    assert_eq!(merged.bottleneck.as_deref(), Some("1.hdr: worker 0 was busy for 97 % of the time"));
}

#[test]
fn runs_at_the_same_time_add_up_and_gaps_do_not_count() {
    let run = sample();
    let mut beside = sample();
    beside.started += Duration::from_secs(1);
    beside.target = "127.0.0.2:8443".to_owned();
    let both = merged(&[log(&run), log(&beside)]).expect("logs");
    assert_eq!(both.duration, Duration::from_secs(4));
    assert_eq!(rate_per_s(&both.total, both.duration), 150.0);
    let operations: Vec<u64> = both.series.iter().map(|at| at.tally.operations).collect();
    assert_eq!(operations, [100, 200, 200, 100]);
    assert_eq!(both.target, "127.0.0.1:8443 and 127.0.0.2:8443");
    assert_eq!((both.workers, both.connections), (2, 16));
    assert_eq!((both.protocol.as_deref(), both.streams), (Some("HTTP/2"), Some(10)));
    assert_eq!(both.total.requests, 660);

    let mut later = sample();
    later.started += Duration::from_secs(1_000);
    // The order of the files does not count.
    let apart = merged(&[log(&later), log(&run)]).expect("logs");
    assert_eq!(apart.duration, Duration::from_secs(6));
    assert_eq!(apart.started, run.started);
    let ends: Vec<u64> = apart.series.iter().map(|at| at.end.as_secs()).collect();
    assert_eq!(ends, [1, 2, 3, 1_001, 1_002, 1_003]);
}

#[test]
fn a_merged_log_merges() {
    let both = merged(&[log(&sample()), log(&sample())]).expect("logs");
    let again = merged(&[log(&both), log(&sample())]).expect("logs");
    assert_eq!(again.total.operations, 900);
    assert_eq!(again.total.errors.len(), 1);
    assert_eq!(again.duration, Duration::from_secs(3));
}

#[test]
fn a_damaged_log_is_named_with_its_line() {
    let whole = String::from_utf8(log(&sample())).expect("text");
    let lines: Vec<&str> = whole.lines().collect();
    let with = |nth: usize, line: &str| {
        let mut lines = lines.clone();
        lines[nth - 1] = line;
        format!("{}\n", lines.join("\n")).into_bytes()
    };
    let cut = &whole.as_bytes()[..whole.len() / 2];
    let no_end = format!("{}\n", lines[..lines.len() - 1].join("\n"));
    let swapped = whole.replace("Tag=total", "Tag=totals");
    let digits = lines[5].replace('A', "B");
    for (log, expected) in [
        (Vec::new(), "1.hdr:1: the log ends without a line `#ringfort-loadgen run ...`"),
        (b"hello\n".to_vec(), "1.hdr:1: neither a comment nor `Tag="),
        (cut.to_vec(), ": the line is cut: copy the log again"),
        (no_end.into_bytes(), "the log ends without its last line"),
        (swapped.into_bytes(), "the tag `totals` is none of connect, handshake"),
        (with(2, "#"), "1.hdr:5: no line `#ringfort-loadgen run ...` before this one"),
        (with(2, "#ringfort-loadgen run {}"), "1.hdr:2: not the JSON that belongs here"),
        (with(5, "#"), "1.hdr:6: no line `#ringfort-loadgen point ...` before"),
        (with(6, &digits), "1.hdr:6: the histogram is damaged"),
        (with(7, lines[5]), "1.hdr:7: a second histogram of `connect` in one second"),
        ([whole.as_bytes(), b"#\n"].concat(), "more behind the log's end"),
        (vec![b'x'; LINE_BYTES_MAX as usize + 9], "1.hdr:1: a line of more than 4194304"),
    ] {
        let complaint = complaint(&log);
        assert!(complaint.contains(expected), "{expected}\n{complaint}");
    }
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let whole = String::from_utf8(log(&sample())).expect("text");
    for (from, to) in [
        ("\"operations\":100", "\"operations\":1099511627777"),
        ("\"operations\":100", "\"operations\":-1"),
        ("\"end_ns\":1000000000", "\"end_ns\":1"),
        ("\"duration_ns\":3000000000", "\"duration_ns\":18446744073709551615"),
        ("\"points\":3", "\"points\":4"),
        ("\"version\":1", "\"version\":2"),
    ] {
        assert!(whole.contains(from), "{from}");
        let complaint = complaint(whole.replace(from, to).as_bytes());
        assert!(complaint.starts_with("1.hdr:"), "{complaint}");
    }
}

#[test]
fn an_endless_file_ends() {
    let endless = io::repeat(b'\n');
    let error = Merge::default().read(Path::new("zero"), endless).expect_err("endless");
    assert!(error.to_string().starts_with("zero:1: neither"), "{error}");
}

#[test]
fn run_reads_files_and_writes_reports() {
    let [one, two, json] = ["one.hdr", "two.hdr", "merged.json"].map(temporary);
    std::fs::write(&one, log(&sample())).expect("a file");
    std::fs::write(&two, log(&empty())).expect("a file");
    let args = MergeArgs {
        files: vec![one.clone(), two.clone()],
        json: Some(json.clone()),
        hdr: None,
        html: None,
    };
    let outcome = run(&args).expect("logs");
    let text = std::fs::read_to_string(&json).expect("the report");
    assert_eq!(text, json_report::render(&outcome));
    let twice = MergeArgs { files: vec![one.clone(), one.clone()], ..args.clone() };
    let error = run(&twice).expect_err("twice").to_string();
    assert!(error.ends_with("is given twice and would count twice: give it once"), "{error}");
    let missing = MergeArgs { files: vec!["/nonexistent.hdr".into()], ..args };
    let error = run(&missing).expect_err("missing").to_string();
    assert!(error.starts_with("/nonexistent.hdr cannot be read: "), "{error}");
    for path in [one, two, json] {
        std::fs::remove_file(path).expect("removable");
    }
}

prop_compose! {
    fn any_run()(
        start_ms in 0_u64..5_000,
        seconds in prop::collection::vec(
            (0_u64..1_000_000, prop::collection::vec(1_u64..10_000_000_000, 0..20), 0_u8..4),
            0..6,
        ),
    ) -> Outcome {
        let mut outcome = empty();
        outcome.started += Duration::from_millis(start_ms);
        outcome.duration = Duration::from_secs(seconds.len() as u64);
        for (nth, (count, times, failed)) in seconds.into_iter().enumerate() {
            let mut tally = Tally { operations: count, bytes_sent: count, ..Tally::default() };
            for time in times {
                tally.record(Phase::Total, Duration::from_nanos(time));
            }
            for alert in 0..failed {
                tally.fail(Failure::Alert(alert + 42));
            }
            outcome.total.add(&tally);
            let end = Duration::from_secs(nth as u64 + 1);
            outcome.series.push(Point { end, length: Duration::from_secs(1), tally });
        }
        outcome
    }
}

proptest! {
    #[test]
    fn merged_logs_are_the_sum_of_their_runs(runs in prop::collection::vec(any_run(), 1..5)) {
        let logs: Vec<Vec<u8>> = runs.iter().map(log).collect();
        let merged = merged(&logs).expect("logs");
        let mut sum = Tally::default();
        for run in &runs {
            sum.add(&run.total);
        }
        let mut series = Tally::default();
        for point in &merged.series {
            series.add(&point.tally);
        }
        for total in [&merged.total, &series] {
            prop_assert_eq!(total.operations, sum.operations);
            prop_assert_eq!(total.bytes_sent, sum.bytes_sent);
            prop_assert_eq!(errors_by_name(total), errors_by_name(&sum));
            prop_assert_eq!(&total.phases, &sum.phases);
        }
        let longest = runs.iter().map(|run| run.duration).max().unwrap_or_default();
        prop_assert!(merged.duration >= longest);
    }

    #[test]
    fn no_damage_makes_it_panic(at in 0_usize..4_000, byte: u8, cut in 0_usize..4_000) {
        let mut log = log(&sample());
        let end = log.len() - cut.min(log.len());
        log.truncate(end);
        if let Some(place) = log.get_mut(at) {
            *place = byte;
        }
        let _ = merged(&[log]);
    }
}
