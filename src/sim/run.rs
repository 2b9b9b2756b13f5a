//! One seed, one run, on a thread of its own, so that nothing of another run is in it.

use std::any::Any;
use std::ops::RangeInclusive;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::world::{Report, World};
use crate::planted::{self, Bug};

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What it came to, up to the panic where there was one.
    pub report: Report,
    /// The text of the panic that ended it.
    pub panicked: Option<String>,
}

impl Outcome {
    /// What was broken first, if anything.
    pub fn failure(&self) -> Option<String> {
        match &self.panicked {
            Some(text) => Some(format!("panic: {text}")),
            None => self.report.trace.violations().first().cloned(),
        }
    }

    /// The command that replays it, with every event.
    pub fn replay(&self, bug: Option<Bug>) -> String {
        let bug = bug.map_or(String::new(), |bug| format!(" --bug {}", bug.as_str()));
        format!("scripts/sim --seed {}{bug} --events", self.seed)
    }

    /// The failure with all that is needed to understand it; `None` where there is none.
    pub fn describe(&self) -> Option<String> {
        let failure = self.failure()?;
        let mut text = format!("seed {}: {failure}\n", self.seed);
        text += &format!("faults in play: {}\nlast events:\n", self.report.faults);
        for line in self.report.trace.last() {
            text += &format!("  {line}\n");
        }
        Some(text)
    }
}

/// Runs `seed`, with a bug planted where one is given; the report has the last `events_kept`
/// events.
///
/// # Panics
/// Where the thread cannot be started.
pub fn run(seed: u64, bug: Option<Bug>, events_kept: usize) -> Outcome {
    let thread = thread::Builder::new().name(format!("seed {seed}")).spawn(move || {
        planted::plant(bug);
        let mut world = None;
        let caught = panic::catch_unwind(AssertUnwindSafe(|| {
            world.insert(World::new(seed, events_kept)).run();
        }));
        let panicked = caught.err().map(|panicked| text_of(&*panicked));
        let report = world.as_ref().map(World::report).unwrap_or_default();
        if panicked.is_some() {
            // What it holds may be in any state, and its drop is not what is tested.
            std::mem::forget(world);
        }
        Outcome { seed, report, panicked }
    });
    // invariant: a thread at a time, of the caller's; what may panic in it is caught.
    thread.expect("a thread").join().expect("a report")
}

/// Runs `seeds`, `jobs` at a time, until `look` returns `false`.
pub fn run_all(
    seeds: RangeInclusive<u64>,
    jobs: usize,
    bug: Option<Bug>,
    events_kept: usize,
    look: impl Fn(Outcome) -> bool + Sync,
) {
    let next = AtomicU64::new(*seeds.start());
    let goes_on = AtomicBool::new(true);
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while goes_on.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > *seeds.end() {
                        break;
                    }
                    if !look(run(seed, bug, events_kept)) {
                        goes_on.store(false, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// Keeps panics of runs off standard error: they are in the [`Outcome`].
pub fn quiet() {
    let former = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let is_run = thread::current().name().is_some_and(|name| name.starts_with("seed "));
        if !is_run {
            former(info);
        }
    }));
}

fn text_of(panicked: &(dyn Any + Send)) -> String {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or("?").to_owned()
}
