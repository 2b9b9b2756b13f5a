//! A finished (or interrupted) run, as every report shows it.
//!
//! Plain data, made by the engine (or by `merge`), read by `report`.

use std::time::{Duration, SystemTime};

use crate::tally::Tally;

/// CPU time of a set of processes in the measured window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuTime {
    /// The processes that were asked for; their children are counted too.
    pub pids: Vec<u32>,
    /// Time in user mode.
    pub user: Duration,
    /// Time in the kernel.
    pub sys: Duration,
}

impl CpuTime {
    /// User and kernel time together.
    pub fn total(&self) -> Duration {
        self.user + self.sys
    }
}

/// What TLS was agreed on in the first handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// As the log of ringfort spells it: `TLS 1.3`.
    pub version: String,
    /// IANA's name of the cipher suite.
    pub suite: String,
    /// IANA's name of the key exchange group; `None` where there was no exchange.
    pub group: Option<String>,
    /// The application protocol (RFC 7301).
    pub alpn: Option<String>,
}

/// One second of a run.
#[derive(Clone, Debug)]
pub struct Point {
    /// When it ended, from the start of the measured window.
    pub end: Duration,
    /// How long it was: the last one may be short.
    pub length: Duration,
    /// What was counted in it.
    pub tally: Tally,
}

/// One step of a ramp.
#[derive(Clone, Debug)]
pub struct RampStep {
    /// Operations per second that were asked for.
    pub rate_per_s: f64,
    /// Operations per second that were made.
    pub made_per_s: f64,
    /// The latency at the percentile of the bound.
    pub latency: Duration,
    /// Operations that failed.
    pub failed: u64,
    /// Whether rate and bound were kept.
    pub kept: bool,
}

/// What a ramp found.
#[derive(Clone, Debug)]
pub struct Ramp {
    /// The percentile of the bound: 99.0.
    pub percentile: f64,
    /// The bound.
    pub latency_max: Duration,
    /// Every step, in the order of the run.
    pub steps: Vec<RampStep>,
    /// The highest rate that kept the bound; `None` where none did.
    pub rate_per_s: Option<f64>,
}

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `handshake`, `request`, `bulk`, `idle`, `mixed`; `merge` for several runs.
    pub mode: String,
    /// Host and port.
    pub target: String,
    /// When the measured window began.
    pub started: SystemTime,
    /// The command line.
    pub command: Vec<String>,
    /// Whether server certificates were not verified.
    pub insecure: bool,
    /// Whether it was ended by a signal.
    pub interrupted: bool,
    /// How long the measured window was.
    pub duration: Duration,
    /// Worker threads.
    pub workers: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Operations per second that were asked for (open loop).
    pub rate_asked_per_s: Option<f64>,
    /// What was spoken inside of TLS: `HTTP/1.1`, `HTTP/2`; `None` for bytes.
    pub protocol: Option<String>,
    /// Requests at a time on a connection, where there were any.
    pub streams: Option<usize>,
    /// The share of resumed handshakes that was asked for.
    pub resume_asked: Option<f64>,
    /// What TLS was agreed on; `None` where no handshake was completed.
    pub negotiated: Option<Negotiated>,
    /// What was counted in the measured window.
    pub total: Tally,
    /// The measured window second by second; `total` is their sum.
    pub series: Vec<Point>,
    /// The server's CPU time, where it was watched.
    pub server_cpu: Option<CpuTime>,
    /// The generator's own CPU time; `None` for merged runs.
    pub generator_cpu: Option<CpuTime>,
    /// The busiest worker's share of the wall clock, 0 to 1.
    pub busy_share: f64,
    /// Whether the generator, not the server, was what limited the run, and how that was seen.
    pub bottleneck: Option<String>,
    /// What a ramp found, where one was asked for.
    pub ramp: Option<Ramp>,
    /// What was asked for and not met, each a sentence; empty for a run that is sound.
    pub failures: Vec<String>,
}
