//! How the listener that speaks HTTP is configured in a run, chosen before it begins.

use std::time::Duration;

use crate::config::snapshot::Forwarding;
use crate::sim::demands::LISTENERS;
use crate::sim::random::Random;

/// Upstream servers that speak HTTP.
pub const UPSTREAMS_MAX: u64 = 2;

/// See the module's description.
#[derive(Clone, Debug)]
pub struct HttpPlan {
    /// The listener that speaks it.
    pub listener: usize,
    /// Upstream servers.
    pub upstreams: usize,
    /// Whether the last of them is behind a Unix socket.
    pub has_unix: bool,
    /// See the configuration.
    pub head_timeout: Duration,
    /// See the configuration.
    pub keep_alive_timeout: Duration,
    /// See the configuration.
    pub first_byte_timeout: Duration,
    /// See the configuration.
    pub body_timeout: Duration,
    /// See the configuration.
    pub total_timeout: Option<Duration>,
    /// Requests of a client's connection.
    pub requests_max: Option<u64>,
    /// Attempts beyond the first.
    pub retries_max: u32,
    /// Bytes of a request's body.
    pub body_bytes_max: Option<u64>,
    /// Connections that wait, of each endpoint.
    pub idle_max: usize,
    /// How long they wait.
    pub idle_timeout: Duration,
    /// Requests of one of them.
    pub upstream_requests_max: Option<u64>,
    /// How old one of them becomes.
    pub upstream_age_max: Option<Duration>,
    /// Whether `Via` is added.
    pub via: bool,
    /// What becomes of `X-Forwarded-For`.
    pub x_forwarded: Forwarding,
    /// What becomes of `Forwarded`.
    pub forwarded: Forwarding,
    /// Whether upstreams get `Client-Cert`.
    pub client_cert: bool,
    /// Whether they get `X-Forwarded-Client-Cert`.
    pub xfcc: bool,
    /// Whether answers say why.
    pub problem_details: bool,
}

/// Bytes of a request's head, at most.
pub const HEAD_BYTES_MAX: usize = 4_000;
/// Fields of a request's head, at most.
pub const FIELDS_MAX: usize = 40;

impl HttpPlan {
    /// Of a run in which a listener speaks HTTP: every other one.
    pub fn any(random: &mut Random) -> Option<Self> {
        let r = random;
        if !r.chance(500) {
            return None;
        }
        let forwarding = [Forwarding::Off, Forwarding::Set, Forwarding::Append, Forwarding::Pass];
        Some(Self {
            listener: r.below(LISTENERS as u64) as usize,
            upstreams: r.range(1..=UPSTREAMS_MAX) as usize,
            has_unix: r.chance(300),
            head_timeout: millis(r, &[500, 2_000, 10_000]),
            keep_alive_timeout: millis(r, &[1_000, 5_000, 60_000]),
            first_byte_timeout: millis(r, &[500, 2_000, 10_000]),
            body_timeout: millis(r, &[500, 2_000, 10_000]),
            total_timeout: r.chance(200).then(|| millis(r, &[3_000, 10_000])),
            requests_max: r.chance(200).then(|| r.range(1..=4)),
            retries_max: r.below(3) as u32,
            body_bytes_max: r.chance(200).then(|| *r.pick(&[100, 5_000])),
            idle_max: *r.pick(&[0, 1, 2, 100, 100]),
            idle_timeout: millis(r, &[100, 4_000, 60_000]),
            upstream_requests_max: r.chance(200).then(|| r.range(1..=5)),
            upstream_age_max: r.chance(200).then(|| millis(r, &[1_000, 10_000])),
            via: r.chance(500),
            x_forwarded: *r.pick(&forwarding),
            forwarded: *r.pick(&forwarding),
            client_cert: r.chance(500),
            xfcc: r.chance(500),
            problem_details: r.chance(500),
        })
    }

    /// How long an exchange may take when nobody fails any more, beyond what its connections take.
    pub fn exchange_max(&self) -> Duration {
        let attempts = 2 + self.retries_max;
        self.head_timeout * 2
            + (self.first_byte_timeout + self.body_timeout * 2) * attempts
            + self.keep_alive_timeout.min(Duration::from_secs(1))
    }
}

fn millis(random: &mut Random, choices: &[u64]) -> Duration {
    Duration::from_millis(*random.pick(choices))
}
