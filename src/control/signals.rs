//! Runs a gateway until a signal or a failure ends it.
//!
//! The first SIGTERM or SIGINT drains: accept nothing more, let connections end, cut off what is
//! left at the deadline. The second ends what is left at once. SIGUSR1 writes what was counted so
//! far to the log, at any time. Signals are looked at every `TICK`, as the log is.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::resolver::Resolver;
use super::supervisor::Gateway;
use crate::config::snapshot::Snapshot;
use crate::error::CloseKind;
use crate::limits::EXIT_TIMEOUT_MS;

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

/// Runs `gateway` until it ends, one way or the other.
///
/// # Errors
/// A thread for the resolver could not be started.
pub fn supervise(mut gateway: Gateway, signals: &mut Signals) -> io::Result<Ended> {
    let resolver = Resolver::start(&gateway.snapshot().clusters)?;
    while !is_told_to_end(&mut gateway, signals) {
        if gateway.has_lost_worker() {
            return Ok(fail(gateway));
        }
        if let Some(clusters) = resolver.as_ref().and_then(Resolver::change) {
            let snapshot = Snapshot { clusters, ..Snapshot::clone(gateway.snapshot()) };
            gateway.publish(snapshot);
        }
        gateway.write_log();
        thread::sleep(TICK);
    }
    Ok(drain(gateway, signals))
}

fn drain(mut gateway: Gateway, signals: &mut Signals) -> Ended {
    let timeout = gateway.snapshot().drain_timeout;
    let live = live_connections(&gateway);
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    gateway.log().event("drain", &json!({ "connections": live, "timeout_ms": timeout_ms }));
    gateway.drain();
    let deadline = Instant::now() + timeout;
    let mut ended = Ended::Drained;
    let mut give_up = None;
    while !gateway.is_finished() {
        let is_told = is_told_to_end(&mut gateway, signals);
        if give_up.is_none() {
            if is_told {
                ended = Ended::Stopped;
                gateway.cut_off(CloseKind::Stopped);
            } else if Instant::now() >= deadline {
                ended = Ended::DeadlineCut;
                gateway.cut_off(CloseKind::DrainDeadline);
            }
            if ended != Ended::Drained {
                give_up = Some(Instant::now() + Duration::from_millis(EXIT_TIMEOUT_MS));
            }
        } else if give_up.is_some_and(|at| Instant::now() >= at) {
            // The kernel closes what is left when the process ends.
            break;
        }
        gateway.write_log();
        thread::sleep(TICK);
    }
    finish(gateway, ended)
}

fn finish(mut gateway: Gateway, mut ended: Ended) -> Ended {
    for error in gateway.failures() {
        gateway.log().event("worker_failed", &json!({ "error": error.to_string() }));
        ended = Ended::Failed;
    }
    gateway.write_log();
    let mut event = Map::new();
    event.insert("ended".into(), ended.as_str().into());
    event.append(&mut statistics(&mut gateway));
    gateway.log().event("stop", &Value::Object(event));
    ended
}

/// Looks at the signals that came: those that end the gateway, and those that ask it something.
fn is_told_to_end(gateway: &mut Gateway, signals: &mut Signals) -> bool {
    let mut ends = false;
    for signal in signals.pending() {
        if signal == SIGUSR1 {
            let mut event = Map::new();
            event.insert("connections".into(), live_connections(gateway).into());
            event.append(&mut statistics(gateway));
            gateway.log().event("stats", &Value::Object(event));
        } else {
            ends = true;
        }
    }
    ends
}

/// What was counted and timed so far.
fn statistics(gateway: &mut Gateway) -> Map<String, Value> {
    let phases: Map<String, Value> = gateway
        .phases()
        .into_iter()
        .map(|(listener, phases)| (listener.to_string(), json!(phases)))
        .collect();
    let mut event = Map::new();
    event.insert("counters".into(), json!(gateway.counters()));
    event.insert("log_lines_lost".into(), gateway.log().lost().into());
    event.insert("handshake_phases".into(), Value::Object(phases));
    event
}

/// A worker is gone, and its share of the connections with it: the others end too, for a gateway
/// that serves a part of its clients is worse than one that is restarted.
fn fail(mut gateway: Gateway) -> Ended {
    gateway.cut_off(CloseKind::Stopped);
    let deadline = Instant::now() + Duration::from_millis(EXIT_TIMEOUT_MS);
    while !gateway.is_finished() && Instant::now() < deadline {
        thread::sleep(TICK);
    }
    finish(gateway, Ended::Failed)
}

fn live_connections(gateway: &Gateway) -> u64 {
    let counters = gateway.counters();
    // Read one after the other while workers count: a connection may have closed in between.
    counters.accepted.saturating_sub(counters.connections_closed)
}
