//! What was asked of a run and not met: the sentences that make its exit status.

use std::time::Duration;

use crate::cli::Schedule;
use crate::limits::{RATE_TOLERANCE, TOLERANCE};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::report::{rate_per_s, share};
use crate::tally::Tally;

/// What was asked for and not met, each a sentence; empty where the run is sound.
pub fn unmet(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let total = &outcome.total;
    let mut unmet = Vec::new();
    if outcome.interrupted {
        unmet.push("interrupted before the end".to_owned());
    }
    if total.operations == 0 {
        unmet.push("no operation was completed".to_owned());
    }
    // A ramp goes beyond what the server can do, on purpose.
    if total.failed() > 0 && outcome.ramp.is_none() {
        let kinds: Vec<String> =
            total.errors.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
        unmet.push(format!("{} operations failed ({})", total.failed(), kinds.join(", ")));
    }
    if let Some(asked) = outcome.rate_asked_per_s
        && !outcome.interrupted
        && !keeps_rate(asked, plan.schedule, total, outcome.duration)
    {
        let made = rate_per_s(total, outcome.duration);
        unmet.push(format!("{asked} operations per second were asked for, {made:.1} made"));
    }
    if let Some(unmet_share) = resumed_off(plan, total) {
        unmet.push(unmet_share);
    }
    if outcome.ramp.as_ref().is_some_and(|ramp| ramp.rate_per_s.is_none()) {
        unmet.push("no rate kept the bound".to_owned());
    }
    if let (Some(count), false) = (plan.count, outcome.interrupted)
        && total.operations + total.failed() < count
    {
        let done = total.operations + total.failed();
        unmet.push(format!("{count} operations were asked for, {done} made"));
    }
    unmet
}

/// Whether so many operations were made as the schedule wanted, but for what a short time and
/// chance explain.
pub fn keeps_rate(asked_per_s: f64, schedule: Schedule, total: &Tally, time: Duration) -> bool {
    let wanted = asked_per_s * time.as_secs_f64();
    let chance = match schedule {
        Schedule::Fixed => 0.0,
        // Three standard deviations of a Poisson process.
        Schedule::Poisson => 3.0 * wanted.sqrt(),
    };
    total.operations as f64 + 2.0 + chance >= wanted * (1.0 - RATE_TOLERANCE)
}

/// The sentence where the resumed share is not the one asked for. The first connections have no
/// ticket yet.
fn resumed_off(plan: &Plan, total: &Tally) -> Option<String> {
    if plan.mode != "handshake" {
        return None;
    }
    let made = share(total.resumed, total.full + total.resumed)?;
    let first = plan.connections as f64 / (total.full + total.resumed) as f64;
    let is_off =
        (made - plan.resume).abs() > TOLERANCE + if made < plan.resume { first } else { 0.0 };
    is_off.then(|| {
        let asked = plan.resume;
        format!("a resumed share of {asked} was asked for, {made:.3} of the handshakes resumed")
    })
}
