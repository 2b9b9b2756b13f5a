//! The simulation: many seeds, each a run of the whole gateway. `docs/simulation.md` has the rest.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ringfort::limits::{LEASE_SWEEP_MS_MAX, LEASES_PER_SLICE_MAX};
use ringfort::planted::Bug;
use ringfort::sim::faults::Fault;
use ringfort::sim::run::{Outcome, quiet, run, run_all};
use ringfort::sim::world::crowd::crowd;

/// The seeds of an everyday run: from 1 to this.
const SEEDS: u64 = 200;
/// Of these, the first are run twice.
const TWICE: u64 = 20;
/// Reasons of a close that no seed reaches: HTTP/2 and TLS to upstreams are not in the simulation,
/// and none of its clients leaves a response untaken for long enough. `tests/http2` and
/// `tests/e2e` reach them.
const NOT_SIMULATED: &[&str] = &[
    "http2_flood",
    "http2_error",
    "ping_timeout",
    "response_not_taken",
    "upstream_certificate_refused",
    "upstream_tls_failed",
];
/// What is too rare for the seeds of an everyday run, each with a seed that reaches it.
const RARE: &[(&str, u64)] = &[("notification_late", 624), ("upstream_connections", 294)];
/// Events that the report of a failure shows.
const EVENTS_SHOWN: usize = 40;

/// Each bug with a seed that catches it and a part of what is said then, as in
/// `docs/simulation.md`.
const CATCHES: &[(Bug, u64, &str)] = &[
    (Bug::RearmWithoutBuffer, 3, "is armed again while all buffers are lent"),
    (Bug::FreeSlotOnCancel, 2, "does not belong to the operation in its slot"),
    (Bug::CloseUnderReceive, 2, "is closed under"),
    (Bug::ForgetShortSend, 67, "cannot read what it got"),
    (Bug::CloseWithoutDeadline, 13, "nothing will ever happen again"),
    (Bug::PauseForever, 1, "has not drained in time"),
    (Bug::LeakBuffer, 1, "has drained and holds"),
    (Bug::LeakTimer, 1, "has drained and holds"),
    (Bug::UnboundedQueue, 217, "a connection holds too much"),
    (Bug::BelieveFin, 107, "saw an orderly end"),
    (Bug::AuthoriseAfterConnect, 1, "clients are let in, and"),
    (Bug::ForgetHalfClose, 1, "is logged as"),
    (Bug::ForwardTruncation, 16, "saw an end after"),
    (Bug::ForgetEarlyData, 1, "is logged as"),
    (Bug::IgnoreBackPressure, 79, "a connection holds too much"),
    (Bug::ForgetToCount, 3, "clients are let in, and"),
    (Bug::LeakPlace, 1, "has drained and holds"),
    (Bug::ResumeUnbound, 5, "has not authenticated, or not lately"),
    (Bug::ResumeRevoked, 110, "resumed: true, ends as"),
    (Bug::TicketTwice, 1864, "a ticket was taken"),
    (Bug::ForgetLeases, 210, "is still connected to"),
    (Bug::ForgetClock, 3285, "is still connected to"),
    (Bug::VerdictOfAnyScope, 149, "it should have been one of"),
    (Bug::VerdictForever, 7, "it should have been one of"),
    (Bug::RetryWhatever, 26, "a second time"),
    (Bug::RetryWithoutBody, 961, "an upstream has all of request"),
    (Bug::RouteOfTheStart, 258, "by the gateway, for no reason"),
    (Bug::KeepIdentityFields, 3, "reaches an upstream: with"),
    (Bug::KeepPool, 6, "has not drained in time"),
    (Bug::ForgetWatch, 185, "has not drained in time"),
    (Bug::CompleteCutResponse, 4, "saw an orderly end amid a response"),
    (Bug::ForgetMisdirected, 3, "for another trust scope"),
];

/// The text of a failure, with the command that replays it.
fn report(outcome: &Outcome, bug: Option<Bug>) -> Option<String> {
    Some(format!("{}to replay: {}\n", outcome.describe()?, outcome.replay(bug)))
}

/// The rows of the first table under `heading` of a page, without backquotes.
fn rows(page: &str, heading: &str) -> Vec<Vec<String>> {
    let section = page.split_once(heading).expect("the heading is there").1;
    let table = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = table.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.split('|').skip(1).map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

/// Runs seeds on all CPUs, and hands each outcome to `look`.
fn run_each(seeds: RangeInclusive<u64>, look: impl Fn(Outcome) + Sync) {
    quiet();
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    run_all(seeds, jobs, None, EVENTS_SHOWN, |outcome| {
        look(outcome);
        true
    });
}

#[test]
fn every_seed_holds_and_together_they_reach_every_fault_and_every_reason() {
    let marks: Mutex<BTreeMap<&str, u64>> = Mutex::default();
    let failures: Mutex<Vec<String>> = Mutex::default();
    let look = |outcome: Outcome| {
        let mut marks = marks.lock().expect("nobody panics with it");
        for (mark, count) in outcome.report.trace.marks() {
            *marks.entry(mark).or_default() += count;
        }
        failures.lock().expect("nobody panics with it").extend(report(&outcome, None));
    };
    run_each(1..=SEEDS, look);
    RARE.iter().for_each(|&(_, seed)| run_each(seed..=seed, look));
    let failures = failures.into_inner().expect("nobody panics with it");
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), failures.join("\n"));
    let marks = marks.into_inner().expect("nobody panics with it");
    // tests/docs.rs proves that the page has every reason.
    let reasons = rows(include_str!("../docs/operations.md"), "## Why a connection ended");
    let reasons = reasons.iter().map(|row| row[0].as_str());
    let reached: Vec<&&str> = NOT_SIMULATED.iter().filter(|it| marks.contains_key(*it)).collect();
    assert!(
        reached.is_empty(),
        "{reached:?} can be reached, so `NOT_SIMULATED` is to have them no more"
    );
    let reasons = reasons.filter(|reason| !NOT_SIMULATED.contains(reason));
    let sessions = ["session_resumed", "session_declined", "verdict_known"];
    let wanted = Fault::ALL.iter().map(|fault| fault.as_str()).chain(reasons).chain(sessions);
    let missed: Vec<&str> = wanted.filter(|mark| !marks.contains_key(mark)).collect();
    assert!(missed.is_empty(), "no seed from 1 to {SEEDS}, and none of `RARE`, reaches {missed:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let hashes: Mutex<BTreeMap<u64, u64>> = Mutex::default();
    for _ in 0..2 {
        run_each(1..=TWICE, |outcome| {
            let mut hashes = hashes.lock().expect("nobody panics with it");
            let hash = outcome.report.trace.hash();
            let first = *hashes.entry(outcome.seed).or_insert(hash);
            assert_eq!(first, hash, "seed {} is two different runs", outcome.seed);
        });
    }
    let hashes = hashes.into_inner().expect("nobody panics with it");
    let mut distinct: Vec<u64> = hashes.values().copied().collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len() as u64, TWICE, "different seeds are different runs");
}

#[test]
fn every_deliberate_bug_is_caught_by_its_seed() {
    quiet();
    let listed: Vec<&str> = CATCHES.iter().map(|(bug, ..)| bug.as_str()).collect();
    let all: Vec<&str> = Bug::ALL.iter().map(|bug| bug.as_str()).collect();
    assert_eq!(listed, all, "each bug has its seed, in the order of `Bug`");
    for &(bug, seed, notice) in CATCHES {
        let sound = run(seed, None, EVENTS_SHOWN);
        assert_eq!(report(&sound, None), None, "without a bug the seed holds");
        let broken = run(seed, Some(bug), EVENTS_SHOWN);
        let failure = broken.failure().unwrap_or_default();
        assert!(failure.contains(notice), "seed {seed} with {}: {failure:?}", bug.as_str());
    }
}

#[test]
fn of_200_000_clients_those_that_are_revoked_are_ended_within_a_second_in_slices() {
    let began = Instant::now();
    let crowd = crowd(200_000);
    println!("{crowd:?} in {:?} of real time", began.elapsed());
    assert_eq!((crowd.revoked, crowd.ended, crowd.wronged), (20_000, 20_000, 0));
    assert!(crowd.took <= Duration::from_millis(LEASE_SWEEP_MS_MAX), "{crowd:?}");
    assert!(crowd.judged >= 200_000, "{crowd:?}");
    assert!((1..=LEASES_PER_SLICE_MAX).contains(&crowd.slice_max), "{crowd:?}");
}

#[test]
fn the_page_lists_the_bugs_with_the_seeds_that_catch_them() {
    let page = rows(include_str!("../docs/simulation.md"), "## Deliberate bugs");
    let listed: Vec<[String; 3]> =
        page.into_iter().map(|row| [row[0].clone(), row[2].clone(), row[3].clone()]).collect();
    let caught: Vec<[String; 3]> = CATCHES
        .iter()
        .map(|(bug, seed, notice)| [bug.as_str().into(), seed.to_string(), (*notice).into()])
        .collect();
    assert_eq!(listed, caught);
}
