//! Runs seeds of the simulation: what `scripts/sim` calls. See `docs/simulation.md`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use ringfort::planted::Bug;
use ringfort::sim::run::{self, Outcome};

/// Events that a report of a failure shows.
const EVENTS_SHOWN: usize = 40;

/// Runs seeds of the simulation and stops at the first failures.
#[derive(Debug, Parser)]
#[command(name = "scripts/sim")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Stop after so many seconds, whatever is left of the seeds.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Runs at a time; by default one per CPU.
    #[arg(long, default_value_t = thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// Stop after so many failures.
    #[arg(long, default_value_t = 3)]
    failures_max: usize,
    /// Run this seed only.
    #[arg(long, conflicts_with_all = ["seeds", "from", "seconds"])]
    seed: Option<u64>,
    /// Print every event of the run, with --seed.
    #[arg(long, requires = "seed")]
    events: bool,
    /// Plant this deliberate bug; `docs/simulation.md` lists them.
    #[arg(long, value_parser = bug)]
    bug: Option<Bug>,
}

fn bug(name: &str) -> Result<Bug, String> {
    let found = Bug::ALL.iter().copied().find(|bug| bug.as_str() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.as_str()).collect();
        format!("there is no such bug; those that can be planted: {}", names.join(", "))
    })
}

/// What many runs came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    events: u64,
    elapsed: Duration,
    clients: usize,
    served: usize,
    marks: BTreeMap<&'static str, u64>,
    failed: Vec<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run::quiet();
    match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(&arguments),
    }
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    let kept = if arguments.events { usize::MAX } else { EVENTS_SHOWN };
    let outcome = run::run(seed, arguments.bug, kept);
    let report = &outcome.report;
    match outcome.describe() {
        Some(text) => print!("{text}"),
        None if arguments.events => report.trace.last().for_each(|line| println!("{line}")),
        None => {}
    }
    println!(
        "seed {seed}: {}; {} events, hash {:016x}, {:.3} s of virtual time, {} clients, {} served; \
         faults in play: {}",
        if outcome.failure().is_some() { "FAILED" } else { "passed" },
        report.trace.events(),
        report.trace.hash(),
        report.elapsed.as_secs_f64(),
        report.clients,
        report.served,
        report.faults,
    );
    ExitCode::from(u8::from(outcome.failure().is_some()))
}

fn many(arguments: &Arguments) -> ExitCode {
    let started = Instant::now();
    let sum = Mutex::new(Sum::default());
    let last = arguments.from.saturating_add(arguments.seeds - 1);
    let is_late = || arguments.seconds.is_some_and(|max| started.elapsed().as_secs() >= max);
    let look = |outcome: Outcome| {
        // A poisoned sum has what it had.
        let mut sum = sum.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        add(&mut sum, &outcome, arguments);
        sum.failed.len() < arguments.failures_max && !is_late()
    };
    run::run_all(arguments.from..=last, arguments.jobs, arguments.bug, EVENTS_SHOWN, look);
    let sum = sum.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    summary(&sum, started.elapsed());
    ExitCode::from(u8::from(!sum.failed.is_empty()))
}

fn add(sum: &mut Sum, outcome: &Outcome, arguments: &Arguments) {
    let report = &outcome.report;
    sum.seeds += 1;
    sum.events += report.trace.events();
    sum.elapsed += report.elapsed;
    sum.clients += report.clients;
    sum.served += report.served;
    for (mark, count) in report.trace.marks() {
        *sum.marks.entry(mark).or_default() += count;
    }
    if let Some(text) = outcome.describe() {
        sum.failed.push(outcome.seed);
        let commit = std::env::var("RINGFORT_COMMIT").unwrap_or_else(|_| "unknown".into());
        println!("{text}commit {commit}; to replay: {}\n", outcome.replay(arguments.bug));
    }
}

fn summary(sum: &Sum, took: Duration) {
    println!("marks:");
    for (mark, count) in &sum.marks {
        println!("  {mark:<24} {count}");
    }
    println!(
        "{} seeds, {} events, {:.2} h of virtual time, {} clients, {} served; {:.0} s; \
         failed: {:?}",
        sum.seeds,
        sum.events,
        sum.elapsed.as_secs_f64() / 3600.0,
        sum.clients,
        sum.served,
        took.as_secs_f64(),
        sum.failed,
    );
}
