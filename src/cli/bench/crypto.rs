//! `ringfort bench crypto`: every operation of every backend, interleaved.
//!
//! Times are of the thread's CPU clock, so that other programs cost precision only. Each round
//! measures each operation of each backend once, and the backends of one operation directly one
//! after the other, the first of them another in each round: what drifts, drifts for all alike.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::cases::{Case, Failure, Kit, cases};
use super::report::Report;
use crate::tls::provider::Backend;

/// Rounds, at least; more where the time allows it.
const ROUNDS_MIN: u32 = 5;
/// Longest time of one operation of one backend in one round: more rounds tell more than longer
/// ones.
const SLICE_MAX: Duration = Duration::from_millis(50);
/// Operations in one slice at most.
const OPERATIONS_MAX: u32 = 1 << 20;
/// The exit status of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// The arguments of `bench crypto`.
#[derive(Args, Clone, Debug)]
pub(super) struct CryptoArgs {
    /// Seconds that it takes, about
    #[arg(long, value_name = "N", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Backends to compare: "ring,openssl" [default: all that are compiled in]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    backend: Vec<Backend>,

    /// Write the figures as JSON to a file, or to standard output in place of the table ("-")
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures and prints.
pub(super) fn run(args: &CryptoArgs) -> ExitCode {
    match measured(args) {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::from(INTERRUPTED),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether a signal ended it early.
fn measured(args: &CryptoArgs) -> Result<bool, Failure> {
    let is_ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&is_ending)).map_err(Failure::Signals)?;
    }
    // Before the minutes, not after them.
    let mut json = args.json.as_deref().map(open).transpose()?;
    let mut backends = if args.backend.is_empty() { usable()? } else { args.backend.clone() };
    // By the order of preference, each once: the first one is what the others are compared with.
    backends.sort_by_key(|backend| Backend::ALL.iter().position(|known| known == backend));
    backends.dedup();
    let kit = Kit::new()?;
    let mut table = cases(&kit, &backends)?;
    let mut report = Report::new(&table, backends);
    let rounds = Rounds::new(args.seconds, &table);
    let counts = rounds.counts(&mut table, &report, &is_ending)?;
    for round in 0..rounds.count {
        progress(&format!("round {} of {}", round + 1, rounds.count));
        if !rounds.run(round, &mut table, &counts, &mut report, &is_ending)? {
            break;
        }
        report.end_round();
    }
    progress("");
    let is_early = is_ending.load(Ordering::Relaxed);
    if let Some(out) = &mut json {
        let value = report.json(args.seconds, is_early);
        writeln!(out, "{value:#}").and_then(|()| out.flush()).map_err(Failure::Output)?;
    }
    if args.json.as_deref() != Some(Path::new("-")) {
        write!(io::stdout().lock(), "{}", report.table()).map_err(Failure::Output)?;
    }
    Ok(is_early)
}

/// The backends that run on this machine.
fn usable() -> Result<Vec<Backend>, Failure> {
    let names = Backend::ALL.iter().map(|backend| backend.name());
    let mut usable = Vec::new();
    for name in names {
        match name.parse() {
            Ok(backend) => usable.push(backend),
            Err(error) => eprintln!("left out: {error}"),
        }
    }
    if usable.is_empty() { Err(Failure::NoBackend) } else { Ok(usable) }
}

fn open(path: &Path) -> Result<Box<dyn Write>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let file = fs::File::create(path).map_err(|source| {
        let path = path.to_path_buf();
        Failure::Create { path, source }
    })?;
    Ok(Box::new(io::BufWriter::new(file)))
}

/// A line that is overwritten by the next, where somebody looks.
fn progress(text: &str) {
    let mut out = io::stderr();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[K{text}");
        let _ = out.flush();
    }
}

struct Rounds {
    count: u32,
    slice: Duration,
}

impl Rounds {
    fn new(seconds: u64, table: &[Case]) -> Self {
        let cells = table.iter().flat_map(|case| &case.operations).filter(|it| it.is_ok()).count();
        let cells = u32::try_from(cells).unwrap_or(u32::MAX).max(1);
        let total = Duration::from_secs(seconds);
        let count = (total / cells).as_micros() / SLICE_MAX.as_micros();
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(ROUNDS_MIN);
        Self { count, slice: total / cells / count }
    }

    /// Tries everything once, to warm caches up, and once more to see how often it fits a slice.
    fn counts(
        &self,
        table: &mut [Case],
        report: &Report,
        is_ending: &AtomicBool,
    ) -> Result<Vec<Vec<u32>>, Failure> {
        let mut counts = Vec::with_capacity(table.len());
        for case in table {
            let mut row = Vec::with_capacity(case.operations.len());
            for column in 0..case.operations.len() {
                if is_ending.load(Ordering::Relaxed) {
                    return Ok(Vec::new());
                }
                measure(case, column, report, 1)?;
                let once = measure(case, column, report, 2)? / 2;
                let fitting = self.slice.as_nanos() / once.as_nanos().max(1);
                let fitting = u32::try_from(fitting).unwrap_or(u32::MAX);
                row.push(fitting.clamp(1, OPERATIONS_MAX));
            }
            counts.push(row);
        }
        Ok(counts)
    }

    /// One round; returns whether it was completed.
    fn run(
        &self,
        round: u32,
        table: &mut [Case],
        counts: &[Vec<u32>],
        report: &mut Report,
        is_ending: &AtomicBool,
    ) -> Result<bool, Failure> {
        for (row, (case, counts)) in table.iter_mut().zip(counts).enumerate() {
            let backends = case.operations.len();
            for turn in 0..backends {
                if is_ending.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                let column = (turn + round as usize) % backends;
                let spent = measure(case, column, report, counts[column])?;
                if case.operations[column].is_ok() {
                    report.add((row, column), spent, counts[column]);
                }
            }
        }
        Ok(!is_ending.load(Ordering::Relaxed))
    }
}

/// The CPU time of `count` operations; none where the backend lacks it.
fn measure(
    case: &mut Case,
    column: usize,
    report: &Report,
    count: u32,
) -> Result<Duration, Failure> {
    let Ok(operation) = &mut case.operations[column] else { return Ok(Duration::ZERO) };
    operation(count).map_err(|reason| Failure::Broken {
        backend: report.backend(column),
        what: format!("{} {}", case.section, case.name),
        reason,
    })
}
