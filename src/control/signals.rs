//! Runs a gateway until a signal or a failure ends it.
//!
//! The first SIGTERM or SIGINT drains: accept nothing more, let connections end, cut off what is
//! left at the deadline. The second ends what is left at once. SIGHUP loads the configuration
//! again and opens the log anew; SIGUSR1 writes what was counted so far to the log. Signals are
//! looked at every `TICK`, as the log and what was reloaded are.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::admin::Admin;
use super::clock::ClockWatch;
use super::lists::{self, ListWatch};
use super::load::Warning;
use super::reload::{Outcome, Reloader};
use super::resolver::Resolver;
use super::supervisor::Gateway;
use crate::config::snapshot::{Cluster, Snapshot, carry_answers};
use crate::error::CloseKind;
use crate::limits::{CRL_LOOK_S, EXIT_TIMEOUT_MS};

/// How often the control thread looks at signals, the log and the resolver.
const TICK: Duration = Duration::from_millis(20);

/// How a gateway came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to drain, and every connection ended by itself.
    Drained,
    /// It was told to drain, and connections had to be cut off at the deadline.
    DeadlineCut,
    /// It was told twice.
    Stopped,
    /// A worker failed.
    Failed,
}

impl Ended {
    /// The name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::DeadlineCut => "deadline_cut",
            Self::Stopped => "stopped",
            Self::Failed => "worker_failed",
        }
    }

    /// The exit status of `ringfort run`.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Drained => 0,
            Self::DeadlineCut => 3,
            Self::Stopped => 4,
            Self::Failed => 5,
        }
    }
}

/// SIGTERM, SIGINT and SIGUSR1, caught from now on.
///
/// # Errors
/// What sigaction(2) reports.
pub fn catch() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGUSR1])
}

/// SIGHUP and SIGUSR1, caught from now on: one that comes while the gateway starts must not end it.
///
/// # Errors
/// What sigaction(2) reports.
pub fn catch_requests() -> io::Result<Signals> {
    Signals::new([SIGHUP, SIGUSR1])
}

/// SIGTERM and SIGINT too, from now on.
///
/// # Errors
/// What sigaction(2) reports.
pub fn catch_ends(signals: &Signals) -> io::Result<()> {
    [SIGTERM, SIGINT].into_iter().try_for_each(|signal| signals.add_signal(signal))
}

/// Runs `gateway` until it ends, one way or the other. With a `reloader`, SIGHUP makes it load and
/// opens the log anew; without one SIGHUP ends it too, where `signals` catches that. `admin` is
/// told what changes.
///
/// # Errors
/// A thread for the resolver could not be started.
pub fn supervise(
    gateway: Gateway,
    signals: &mut Signals,
    reloader: Option<Reloader>,
    admin: Option<Admin>,
) -> io::Result<Ended> {
    let resolver = Resolver::start(&gateway.snapshot().clusters)?;
    let life = Life {
        gateway,
        resolver,
        reloader,
        admin,
        reloads: 0,
        reloads_failed: 0,
        clock: ClockWatch::new(Instant::now(), SystemTime::now()),
        lists: ListWatch::default(),
        lists_looked: None,
    };
    Ok(life.run(signals))
}

/// A gateway and what changes its configuration.
struct Life {
    gateway: Gateway,
    resolver: Resolver,
    reloader: Option<Reloader>,
    admin: Option<Admin>,
    /// Loads that were published.
    reloads: u64,
    /// Loads that were refused.
    reloads_failed: u64,
    clock: ClockWatch,
    lists: ListWatch,
    /// When the lists of revocation were looked at last.
    lists_looked: Option<Instant>,
}

impl Life {
    fn run(mut self, signals: &mut Signals) -> Ended {
        loop {
            match self.next_signal(signals) {
                Some(Told::End) => return self.drain(signals),
                Some(Told::Reload) => self.reload(),
                Some(Told::Stats) => self.write_stats(),
                None => {}
            }
            if self.gateway.has_lost_worker() {
                return self.fail();
            }
            self.take_addresses();
            self.take_reload();
            self.look_at_time();
            self.gateway.free_retired();
            self.gateway.write_log();
            thread::sleep(TICK);
        }
    }

    fn next_signal(&self, signals: &mut Signals) -> Option<Told> {
        let signal = signals.pending().next()?;
        Some(match signal {
            SIGHUP if self.reloader.is_some() => Told::Reload,
            SIGUSR1 => Told::Stats,
            _ => Told::End,
        })
    }

    /// What passes, or ends, with the time alone.
    fn look_at_time(&mut self) {
        let (monotonic, wall) = (Instant::now(), SystemTime::now());
        if self.clock.was_set(monotonic, wall) {
            self.gateway.clock_was_set();
            self.gateway.log().event("clock_set", &json!({}));
        }
        let interval = Duration::from_secs(CRL_LOOK_S);
        if self.lists_looked.is_some_and(|last| monotonic < last + interval) {
            return;
        }
        self.lists_looked = Some(monotonic);
        for (event, fields) in self.lists.look(self.gateway.snapshot(), unix_s(wall)) {
            self.gateway.log().event(event, &fields);
        }
    }

    /// New addresses of the upstreams' names.
    fn take_addresses(&mut self) {
        let Some(resolved) = self.resolver.change() else { return };
        if let Some(snapshot) = with_addresses(self.gateway.snapshot(), &resolved) {
            self.gateway.publish(snapshot);
        }
    }

    /// What came of a load.
    fn take_reload(&mut self) {
        let Some(mut report) = self.reloader.as_ref().and_then(Reloader::report) else { return };
        match &mut report.outcome {
            Outcome::New(snapshot, warnings) => {
                self.reloads += 1;
                warnings.extend(self.publish(snapshot));
            }
            Outcome::Refused(_) => self.reloads_failed += 1,
            Outcome::Same(_) => {}
        }
        let (event, fields) = report.event(self.gateway.snapshot().epoch);
        self.gateway.log().event(event, &fields);
    }

    fn publish(&mut self, snapshot: &Snapshot) -> Option<Warning> {
        let before = self.gateway.snapshot();
        // Names may have got new addresses while it was loaded.
        let clusters = carry_answers(&snapshot.clusters, &before.clusters);
        let epoch = before.epoch + 1;
        let followed = self.resolver.follow(&clusters);
        // The keys first: what they sign must find them.
        self.admin.iter().for_each(|admin| admin.publish(snapshot));
        self.gateway.publish(Snapshot { epoch, clusters, ..snapshot.clone() });
        followed.err().map(|error| Warning::NoResolver { reason: error.to_string() })
    }

    fn reload(&mut self) {
        self.reopen_log();
        self.reloader.iter().for_each(Reloader::load_now);
    }

    /// The file may have been renamed by who rotates it.
    fn reopen_log(&mut self) {
        if let Err(error) = self.gateway.reopen_log() {
            let fields = json!({ "error": error.to_string() });
            self.gateway.log().event("log_reopen_failed", &fields);
        }
    }

    fn drain(mut self, signals: &mut Signals) -> Ended {
        let timeout = self.gateway.snapshot().drain_timeout;
        let live = live_connections(&self.gateway);
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let fields = json!({ "connections": live, "timeout_ms": timeout_ms });
        self.gateway.log().event("drain", &fields);
        self.admin.iter().for_each(Admin::drain);
        self.gateway.drain();
        let deadline = Instant::now() + timeout;
        let mut ended = Ended::Drained;
        let mut give_up = None;
        while !self.gateway.is_finished() {
            let told = self.next_signal(signals);
            match told {
                Some(Told::Reload) => self.reload(),
                Some(Told::Stats) => self.write_stats(),
                Some(Told::End) | None => {}
            }
            if give_up.is_none() {
                if told == Some(Told::End) {
                    ended = Ended::Stopped;
                    self.gateway.cut_off(CloseKind::Stopped);
                } else if Instant::now() >= deadline {
                    ended = Ended::DeadlineCut;
                    self.gateway.cut_off(CloseKind::DrainDeadline);
                }
                if ended != Ended::Drained {
                    give_up = Some(Instant::now() + Duration::from_millis(EXIT_TIMEOUT_MS));
                }
            } else if give_up.is_some_and(|at| Instant::now() >= at) {
                // The kernel closes what is left when the process ends.
                break;
            }
            // Nobody new comes, but who is connected may not be allowed to stay.
            self.take_reload();
            self.look_at_time();
            self.gateway.free_retired();
            self.gateway.write_log();
            thread::sleep(TICK);
        }
        self.finish(ended)
    }

    fn finish(mut self, mut ended: Ended) -> Ended {
        let gateway = &mut self.gateway;
        for error in gateway.failures() {
            gateway.log().event("worker_failed", &json!({ "error": error.to_string() }));
            ended = Ended::Failed;
        }
        gateway.write_log();
        let mut event = Map::new();
        event.insert("ended".into(), ended.as_str().into());
        event.append(&mut self.statistics());
        self.gateway.log().event("stop", &Value::Object(event));
        ended
    }

    fn write_stats(&mut self) {
        let mut event = Map::new();
        event.insert("connections".into(), live_connections(&self.gateway).into());
        event.append(&mut self.statistics());
        self.gateway.log().event("stats", &Value::Object(event));
    }

    /// What was counted and timed so far.
    fn statistics(&mut self) -> Map<String, Value> {
        let gateway = &mut self.gateway;
        let phases = gateway.phases().into_iter();
        let phases = phases.map(|(listener, phases)| (listener.to_string(), json!(phases)));
        let lists = lists::states(gateway.snapshot(), unix_s(SystemTime::now()));
        let mut fields = Map::new();
        fields.insert("counters".into(), json!(gateway.counters()));
        fields.insert("reloads".into(), self.reloads.into());
        fields.insert("reloads_failed".into(), self.reloads_failed.into());
        fields.insert("log_lines_lost".into(), gateway.log().lost().into());
        fields.insert("revocation_lists".into(), json!(lists));
        fields.insert("handshake_phases".into(), Value::Object(phases.collect()));
        fields
    }

    /// A worker is gone, and its share of the connections with it: the others end too, for a
    /// gateway that serves a part of its clients is worse than one that is restarted.
    fn fail(mut self) -> Ended {
        self.gateway.cut_off(CloseKind::Stopped);
        let deadline = Instant::now() + Duration::from_millis(EXIT_TIMEOUT_MS);
        while !self.gateway.is_finished() && Instant::now() < deadline {
            thread::sleep(TICK);
        }
        self.finish(Ended::Failed)
    }
}

/// The configuration with new addresses of its names, where they differ. `resolved` may be the
/// upstreams of an earlier configuration, of which only the addresses count.
fn with_addresses(snapshot: &Snapshot, resolved: &[Arc<Cluster>]) -> Option<Snapshot> {
    let clusters = carry_answers(&snapshot.clusters, resolved);
    let differs = clusters != snapshot.clusters;
    differs.then(|| Snapshot { clusters, ..snapshot.clone() })
}

/// What a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    End,
    Reload,
    Stats,
}

/// Seconds since 1970.
fn unix_s(wall: SystemTime) -> i64 {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn live_connections(gateway: &Gateway) -> u64 {
    let counters = gateway.counters();
    // Read one after the other while workers count: a connection may have closed in between.
    counters.accepted.saturating_sub(counters.connections_closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::kit;

    #[test]
    fn of_what_was_resolved_for_an_earlier_configuration_only_addresses_count() {
        let upstream = |endpoints: &str| {
            let text = kit::but("endpoints = [\"127.0.0.1:9000\"]", endpoints);
            kit::resolved(&text).expect("the configuration is right")
        };
        let resolved = |snapshot: &Snapshot, address: &str| {
            let answer = vec![address.parse().expect("an address")];
            vec![Arc::new(snapshot.clusters[0].with_resolved(&[(0, answer)]))]
        };
        let earlier = upstream("endpoints = [\"a.test:1\"]");
        let now = upstream("endpoints = [\"b.test:1\", \"127.0.0.1:9\"]");
        assert!(with_addresses(&now, &resolved(&earlier, "10.0.0.1:1")).is_none());
        let clusters = resolved(&now, "10.0.0.2:1");
        let changed = with_addresses(&now, &clusters).expect("there is a new address");
        assert_eq!(changed.clusters, clusters);
        assert_eq!(changed.epoch, now.epoch);
        assert!(with_addresses(&changed, &clusters).is_none(), "nothing is new");
    }
}
