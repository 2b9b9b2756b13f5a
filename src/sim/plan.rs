//! What a seed stands for: the shape of a run, chosen before it begins.

use std::time::Duration;

use super::demands::{Demand, LISTENERS, Rules};
use super::faults::{Fault, Faults};
use super::http::plan::HttpPlan;
use super::net::Shape;
use super::random::Random;
use crate::limits::SESSION_CACHE_BYTES_MIN;
use crate::trust::verify::ClientAuth;

/// Milliseconds, as nanoseconds.
pub const MS: u64 = 1_000_000;
/// Seconds, as nanoseconds.
pub const S: u64 = 1_000 * MS;
/// More connections than a run has clients.
const ROOM: u32 = 1_000;
/// Bytes that all clients of a run send, at most.
const RUN_BYTES_MAX: u64 = 2_000_000;
/// Windows of the smallest size that a client's bytes fill, at most.
const WINDOWS_MAX: u64 = 200;
/// Bytes of a store of sessions that has room for a few in each part.
const FEW_SESSIONS_BYTES: u32 = 64 * 4 * 1024;
/// More descriptors than a run needs.
const FILES_ENOUGH: usize = 4_000;

/// Something that the world does to the gateway at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client connects.
    Connect,
    /// All workers get another configuration.
    Publish,
    /// All workers get other lists of revocation.
    PublishLists,
    /// An upstream stops listening, or listens again.
    Flap,
    /// A connection is reset from outside.
    Reset,
    /// The monotonic clock jumps.
    JumpClock,
    /// The wall clock jumps.
    JumpWallClock,
    /// A worker drains.
    DrainOne,
    /// Faults stop, and clients that nothing is wrong with must be served.
    Probe,
    /// All workers drain.
    Drain,
    /// What is left is cut off.
    CutOff,
}

/// Whether and where a listener keeps sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// Nowhere.
    Off,
    /// In the store of all workers.
    Cache {
        /// Seconds after the full handshake for which a session may be resumed.
        age_max_s: u32,
        /// Tickets for each handshake of TLS 1.3.
        tickets: usize,
    },
    /// With the client.
    Tickets {
        /// See above.
        age_max_s: u32,
        /// See above.
        tickets: usize,
    },
}

impl Sessions {
    /// Seconds after the full handshake for which a session may be resumed; `None`: none is.
    pub fn age_max_s(self) -> Option<u32> {
        match self {
            Self::Off => None,
            Self::Cache { age_max_s, .. } | Self::Tickets { age_max_s, .. } => Some(age_max_s),
        }
    }

    /// Any.
    fn any(random: &mut Random) -> Self {
        let age_max_s = *random.pick(&[1, 2, 10, 3600]);
        let tickets = random.range(1..=4) as usize;
        match random.below(5) {
            0 => Self::Off,
            1 | 2 => Self::Cache { age_max_s, tickets },
            _ => Self::Tickets { age_max_s, tickets },
        }
    }
}

/// A run, before it begins.
#[derive(Debug)]
pub struct Plan {
    /// Workers of the gateway.
    pub workers: usize,
    /// Upstream servers of each of the two clusters.
    pub upstreams: usize,
    /// Receive buffers of each worker; a power of two.
    pub recv_buffers: u16,
    /// Bytes of each.
    pub recv_buffer_bytes: usize,
    /// Whether large sends go out without a copy.
    pub zero_copy_send: bool,
    /// The backlog of each listener.
    pub backlog: u32,
    /// Connections that the gateway may have.
    pub connections_max: u32,
    /// Connections that a worker may have.
    pub connections_per_worker_max: u32,
    /// Connections that a source may have.
    pub connections_per_source_max: Option<u32>,
    /// Handshakes in progress of a worker, and of a source.
    pub handshakes_max: u32,
    /// How long a handshake waits for its place.
    pub handshake_queue: Duration,
    /// See the configuration.
    pub handshake_timeout: Duration,
    /// See the configuration.
    pub idle_timeout: Duration,
    /// See the configuration.
    pub connection_age_max: Option<Duration>,
    /// See the configuration.
    pub connect_timeout: Duration,
    /// Of each listener.
    pub sessions: [Sessions; LISTENERS],
    /// Bytes of the sessions that are kept.
    pub session_cache_bytes: u32,
    /// Verdicts that a worker keeps, where they are few.
    pub verdicts_max: Option<u32>,
    /// How long a client that may not stay gets to end by itself.
    pub lapse_drain: Duration,
    /// What each listener demands at first of who asks for the other name, where that is its own.
    pub other_name: [Option<Demand>; LISTENERS],
    /// Clients that have come before under the same certificate, of 1000.
    pub returning: u32,
    /// The last seconds of a few certificates that expire meanwhile, after the beginning.
    pub expiring_s: [u64; 3],
    /// The network.
    pub shape: Shape,
    /// Clients that misbehave, of 1000.
    pub bad_clients: u32,
    /// Whether the first of several upstreams does not listen until faults stop.
    pub first_upstream_is_down: bool,
    /// Bytes that a client sends, at most.
    pub bytes_max: u64,
    /// How one of the listeners speaks HTTP, where one does.
    pub http: Option<HttpPlan>,
    /// What happens when, in nanoseconds.
    pub actions: Vec<(u64, Action)>,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(random: &mut Random, faults: &Faults, http: Option<HttpPlan>) -> Self {
        let mut random = random.fork("plan");
        let r = &mut random;
        let healthy = !faults.break_things();
        let window_min = *r.pick(&[1, 200, 5_000, 60_000]);
        let worker_files_max =
            if healthy || r.chance(500) { FILES_ENOUGH } else { *r.pick(&[6, 12, 40]) };
        let shape = Shape {
            latency_ns_max: *r.pick(&[100_000, 2 * MS, 40 * MS]),
            window_min,
            window_max: window_min * *r.pick(&[2, 10, 50]),
            worker_files_max,
        };
        // A slow network may take for ever without anything being idle.
        let cuts_off = !shape.is_gentle() || r.chance(500);
        let actions = actions(r, faults, cuts_off);
        let clients = actions.iter().filter(|(_, action)| *action == Action::Connect).count();
        // So that a run takes a fraction of a second.
        let bytes_max = (*r.pick(&[100, 5_000, 100_000, 600_000]))
            .min(RUN_BYTES_MAX / clients.max(1) as u64)
            .min(100 + window_min * WINDOWS_MAX);
        let few = *r.pick(&[3, 8, 20, 100]);
        let is_tight = !healthy && r.chance(300);
        Self {
            workers: r.range(1..=3) as usize,
            upstreams: r.range(1..=3) as usize,
            recv_buffers: *r.pick(&[8, 8, 16, 64]),
            recv_buffer_bytes: *r.pick(&[256, 4_096, 65_536]),
            zero_copy_send: r.chance(400),
            backlog: *r.pick(&[2, 8, 64]),
            connections_max: if is_tight { few } else { ROOM },
            connections_per_worker_max: if is_tight { few } else { ROOM },
            connections_per_source_max: if is_tight { Some(r.range(1..=4) as u32) } else { None },
            handshake_timeout: millis(r, &[300, 2_000, 10_000]),
            idle_timeout: millis(r, &[500, 5_000, 60_000]),
            connection_age_max: r.chance(200).then(|| millis(r, &[2_000, 20_000])),
            connect_timeout: millis(r, &[100, 1_000, 5_000]),
            sessions: [Sessions::any(r), Sessions::any(r)],
            session_cache_bytes: *r.pick(&[SESSION_CACHE_BYTES_MIN, FEW_SESSIONS_BYTES]),
            verdicts_max: r.chance(200).then_some(1),
            lapse_drain: millis(r, &[0, 0, 300, 3_000]),
            other_name: [(); LISTENERS].map(|()| {
                let rules = *r.pick(&[Rules::Narrow, Rules::Wide]);
                r.chance(500).then_some(Demand { rules, ..Demand::wide(ClientAuth::Require) })
            }),
            returning: *r.pick(&[0, 500, 900, 900]),
            expiring_s: [(); 3].map(|()| r.range(2..=15)),
            shape,
            bad_clients: *r.pick(&[0, 100, 500]),
            first_upstream_is_down: r.chance(300),
            bytes_max,
            http,
            actions,
            // Last, so that what was drawn before does not depend on them.
            handshakes_max: if !healthy && r.chance(300) { r.range(1..=3) as u32 } else { ROOM },
            handshake_queue: millis(r, &[0, 20, 500]),
        }
    }
}

impl Plan {
    /// Whether nobody has to wait for a place, a descriptor or its turn.
    pub fn has_room(&self) -> bool {
        let has_places = self.connections_max == ROOM && self.handshakes_max == ROOM;
        has_places && self.shape.worker_files_max == FILES_ENOUGH
    }
}

fn millis(random: &mut Random, choices: &[u64]) -> Duration {
    Duration::from_millis(*random.pick(choices))
}

fn actions(random: &mut Random, faults: &Faults, cuts_off: bool) -> Vec<(u64, Action)> {
    let chaos_ends = *random.pick(&[S, 5 * S, 20 * S]);
    let mut actions = Vec::new();
    let clients = *random.pick(&[3, 10, 10, 30, 60]);
    for _ in 0..clients {
        actions.push((S + random.below(chaos_ends), Action::Connect));
    }
    for (fault, action, count) in [
        (Fault::ConfigurationChange, Action::Publish, 4),
        (Fault::RevocationChange, Action::PublishLists, 4),
        (Fault::UpstreamFlap, Action::Flap, 8),
        (Fault::LinkReset, Action::Reset, 6),
        (Fault::ClockJump, Action::JumpClock, 2),
        (Fault::WallClockJump, Action::JumpWallClock, 4),
        (Fault::WorkerDrain, Action::DrainOne, 1),
    ] {
        if faults.in_play(fault) {
            for _ in 0..random.range(1..=count) {
                actions.push((S + random.below(chaos_ends), action));
            }
        }
    }
    // A third drains amid the chaos; the others are asked first whether they still serve.
    let drains_at = if random.chance(333) {
        S + random.below(chaos_ends)
    } else {
        let probes_at = S + chaos_ends + S;
        actions.push((probes_at, Action::Probe));
        probes_at + random.range(5 * S..=30 * S)
    };
    actions.push((drains_at, Action::Drain));
    if cuts_off {
        actions.push((drains_at + random.range(0..=10 * S), Action::CutOff));
    }
    actions.sort_by_key(|(at, _)| *at);
    actions
}
