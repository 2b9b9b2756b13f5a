//! The gateway's own account of how it verified a client, for the timeline.
//!
//! The gateway's workers call in; they wait for nothing but each other here, and for nobody once
//! the journal is closed. The invariant: an event's times are of one check on one worker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use crate::cli::timeline::ServerEvent;
use crate::error::Refusal;
use crate::limits::DEMO_CHECKS_MAX;
use crate::trust::verify::VerifyObserver;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Journal {
    is_closed: AtomicBool,
    checks: Mutex<Vec<Check>>,
}

#[derive(Debug)]
struct Check {
    what: What,
    worker: ThreadId,
    began: Instant,
    ended: Option<(Instant, Result<(), Refusal>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Chain,
    Signature,
}

/// What the gateway verified.
#[derive(Debug)]
pub(super) struct Account {
    /// The checks that have ended.
    pub(super) events: Vec<ServerEvent>,
    /// How many of them refused the client.
    pub(super) refusals: usize,
}

impl Journal {
    /// What was verified since the last call, in the order of the beginnings.
    pub(super) fn take(&self) -> Account {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let checks = std::mem::take(&mut *checks);
        let is_refusal = |check: &&Check| check.ended.is_some_and(|(_, outcome)| outcome.is_err());
        Account {
            refusals: checks.iter().filter(is_refusal).count(),
            events: checks.iter().filter_map(Check::event).collect(),
        }
    }

    /// Ends the account: the gateway works as it does without one.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    fn began(&self, what: What) {
        if self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        if checks.len() < DEMO_CHECKS_MAX {
            let worker = thread::current().id();
            checks.push(Check { what, worker, began: Instant::now(), ended: None });
        }
    }

    fn ended(&self, what: What, outcome: Result<(), Refusal>) {
        if self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        let ended = Instant::now();
        let worker = thread::current().id();
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |check: &&mut Check| {
            check.what == what && check.worker == worker && check.ended.is_none()
        };
        if let Some(check) = checks.iter_mut().rfind(own) {
            check.ended = Some((ended, outcome));
        }
    }
}

impl Check {
    fn event(&self) -> Option<ServerEvent> {
        let (at, outcome) = self.ended?;
        let name = match self.what {
            What::Chain => "verifies chain",
            What::Signature => "verifies signature",
        };
        let details = match (self.what, outcome) {
            (_, Err(refusal)) => format!("REFUSED: {refusal}"),
            (What::Chain, Ok(())) => {
                String::from("issued under the CA given, for clients, and in date")
            }
            (What::Signature, Ok(())) => {
                String::from("the client holds the certificate's private key")
            }
        };
        Some(ServerEvent {
            at,
            what: format!("{name}: {details}"),
            duration: Some(at.saturating_duration_since(self.began)),
        })
    }
}

impl VerifyObserver for Journal {
    fn verification_started(&self) {
        self.began(What::Chain);
    }

    fn verification_finished(&self, outcome: Result<(), Refusal>) {
        self.ended(What::Chain, outcome);
    }

    fn signature_started(&self) {
        self.began(What::Signature);
    }

    fn signature_finished(&self, outcome: Result<(), Refusal>) {
        self.ended(What::Signature, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_told_once_it_has_ended_with_its_outcome_and_its_time() {
        let journal = Journal::default();
        journal.verification_started();
        journal.verification_finished(Ok(()));
        journal.signature_started();
        journal.signature_finished(Err(Refusal::KeyNotProven));
        let Account { events, refusals } = journal.take();
        assert_eq!(refusals, 1);
        let told: Vec<&str> = events.iter().map(|event| event.what.as_str()).collect();
        assert_eq!(
            told,
            [
                "verifies chain: issued under the CA given, for clients, and in date",
                "verifies signature: REFUSED: key_not_proven"
            ]
        );
        assert!(events[0].at <= events[1].at && events[0].duration.is_some());
        journal.signature_started();
        assert!(journal.take().events.is_empty(), "it has not ended");
    }

    #[test]
    fn checks_of_two_workers_at_once_keep_their_own_times() {
        let journal = Journal::default();
        journal.signature_started();
        let other = thread::scope(|scope| {
            let run = || {
                journal.signature_started();
                let before = Instant::now();
                journal.signature_finished(Ok(()));
                before
            };
            scope.spawn(run).join().expect("it does not panic")
        });
        let events = journal.take().events;
        assert_eq!(events.len(), 1, "that of this thread has not ended");
        assert!(events[0].at >= other);
    }

    #[test]
    fn a_journal_is_bounded_and_closed_for_good() {
        let journal = Journal::default();
        for _ in 0..DEMO_CHECKS_MAX + 3 {
            journal.signature_started();
            journal.signature_finished(Ok(()));
        }
        assert_eq!(journal.take().events.len(), DEMO_CHECKS_MAX);
        journal.close();
        journal.signature_started();
        journal.signature_finished(Ok(()));
        assert!(journal.take().events.is_empty());
    }
}
