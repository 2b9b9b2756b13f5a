//! Loads the configuration again when its files have changed, or when it is told to.
//!
//! On a thread of its own, for files and the resolver may take their time: it looks at the files,
//! loads, and hands what came of it to the control thread, which publishes. It knows nothing of
//! workers. The invariant: all or nothing, and one load at a time. What is handed over can be
//! published as it is; what cannot keeps the old configuration and says why.

mod report;
mod unchangeable;
mod watch;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use self::watch::Watch;
use super::inputs::Inputs;
use super::load::{Attempt, Configuration, Warning, load_again};
use crate::config::error::ConfigError;
use crate::config::snapshot::{Listener, Snapshot};
use crate::limits::WATCH_INTERVAL_MS;

/// What made it load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The files changed.
    Files,
    /// It was told to, by SIGHUP.
    Signal,
}

/// One load, and what came of it.
#[derive(Debug)]
pub struct Report {
    /// What made it load.
    pub cause: Cause,
    /// How long it took.
    pub duration: Duration,
    /// The files whose bytes are not those of the configuration in force.
    pub files: Vec<PathBuf>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a load.
#[derive(Debug)]
pub enum Outcome {
    /// A configuration to publish: what only a restart can change is as it was, and its listeners
    /// are in the order of those that run. Its epoch is the control thread's to set.
    New(Box<Snapshot>, Vec<Warning>),
    /// It means what is in force already.
    Same(Vec<Warning>),
    /// Everything that is wrong; bounded. What is in force stays.
    Refused(Vec<ConfigError>),
}

/// See the module's description. Dropping it ends the thread when it next wakes.
#[derive(Debug)]
pub struct Reloader {
    ask: SyncSender<()>,
    reports: Receiver<Report>,
}

impl Reloader {
    /// Starts watching the files of `configuration`, which was loaded from `inputs` and is in
    /// force as `snapshot`.
    ///
    /// # Errors
    /// What starting a thread reports.
    pub fn start(
        configuration: Configuration,
        inputs: Inputs,
        snapshot: Arc<Snapshot>,
    ) -> io::Result<Self> {
        // One that waits is enough: it loads what is there when its turn comes.
        let (ask, asked) = sync_channel(1);
        let (tell, reports) = channel();
        let thread = Thread {
            configuration,
            in_force: InForce { snapshot, inputs: inputs.clone() },
            watch: Watch::new(inputs),
            refused: false,
        };
        thread::Builder::new().name("reload".into()).spawn(move || thread.run(&asked, &tell))?;
        Ok(Self { ask, reports })
    }

    /// Asks for a load now, whether or not files changed; after the one that is going on.
    pub fn load_now(&self) {
        // Fails where one waits already, or the thread is gone.
        let _ = self.ask.try_send(());
    }

    /// What came of the next load, where there was one.
    pub fn report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }
}

/// What was last handed over, or started with.
struct InForce {
    /// Its addresses of names are from when it was loaded, which is enough to know that a name has
    /// been resolved.
    snapshot: Arc<Snapshot>,
    inputs: Inputs,
}

struct Thread {
    configuration: Configuration,
    in_force: InForce,
    watch: Watch,
    /// The last load was refused, and that was told.
    refused: bool,
}

impl Thread {
    fn run(mut self, asked: &Receiver<()>, tell: &Sender<Report>) {
        let interval = Duration::from_millis(WATCH_INTERVAL_MS);
        loop {
            let cause = match asked.recv_timeout(interval) {
                Ok(()) => Cause::Signal,
                Err(RecvTimeoutError::Timeout) if self.watch.look() => Cause::Files,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if self.load(cause).is_some_and(|report| tell.send(report).is_err()) {
                return;
            }
        }
    }

    /// Loads; `None` where there is nothing to tell.
    fn load(&mut self, cause: Cause) -> Option<Report> {
        let began = Instant::now();
        let attempt = load_again(&self.configuration, &self.in_force.snapshot.clusters);
        self.take(cause, began, attempt)
    }

    fn take(&mut self, cause: Cause, began: Instant, attempt: Attempt) -> Option<Report> {
        let settled = self.watch.loaded(&attempt.inputs);
        // A load that fell into a change has seen some files before it and some after it: what it
        // found is worth nothing, and the next look is not far.
        if cause == Cause::Files && !settled {
            return None;
        }
        let files = attempt.inputs.differing(&self.in_force.inputs);
        let outcome = self.judge(attempt, !files.is_empty());
        let was_refused = std::mem::replace(&mut self.refused, outcome.is_refused());
        // Files that were only touched are nothing to speak of.
        let is_news = cause == Cause::Signal || was_refused || !outcome.is_same();
        is_news.then(|| Report { cause, duration: began.elapsed(), files, outcome })
    }

    fn judge(&mut self, attempt: Attempt, bytes_differ: bool) -> Outcome {
        let (model, mut snapshot, warnings) = match attempt.outcome {
            Ok(loaded) => loaded,
            Err(errors) => return Outcome::Refused(errors),
        };
        let before = &self.in_force.snapshot;
        let refusals = unchangeable::refusals(&model, before, &snapshot);
        if !refusals.is_empty() {
            return Outcome::Refused(refusals);
        }
        snapshot.listeners = unchangeable::in_order(&before.listeners, &snapshot.listeners);
        carry_rates(&mut snapshot.listeners, &before.listeners);
        // The limits follow the file limit of the process too, which is in no file.
        if !bytes_differ && snapshot.limits == before.limits {
            return Outcome::Same(warnings);
        }
        self.in_force = InForce { snapshot: Arc::new(snapshot.clone()), inputs: attempt.inputs };
        Outcome::New(Box::new(snapshot), warnings)
    }
}

/// Whoever used up what a route grants has not got it back for a change of something else.
fn carry_rates(after: &mut [Arc<Listener>], before: &[Arc<Listener>]) {
    for listener in after {
        let same = before.iter().find(|other| other.name == listener.name);
        let Some(earlier) = same.and_then(|same| same.http.as_ref()) else {
            continue;
        };
        if let Some(http) = &mut Arc::make_mut(listener).http {
            Arc::make_mut(http).routes.carry_rates(&earlier.routes);
        }
    }
}

impl Outcome {
    fn is_same(&self) -> bool {
        matches!(self, Self::Same(_))
    }

    fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

#[cfg(test)]
mod tests;
