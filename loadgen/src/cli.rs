//! The command line, as it is typed. What it means is decided in `plan`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::merge::MergeArgs;
use crate::origin::OriginArgs;

/// Measures handshakes, requests and bytes per second of a TLS server.
#[derive(Debug, Parser)]
#[command(name = "ringfort-loadgen", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// New connections: connect, handshake, an exchange where asked for, close
    Handshake(HandshakeArgs),
    /// Requests on connections that are kept
    Request(RequestArgs),
    /// Bytes per second
    Bulk(BulkArgs),
    /// Connections that are opened and held
    Idle(IdleArgs),
    /// Several of these at a time
    Mixed(MixedArgs),
    /// One report over the --hdr files of several runs
    Merge(MergeArgs),
    /// A plain TCP service to measure a gateway with
    Origin(OriginArgs),
}

/// `handshake`.
#[derive(Debug, Args)]
pub struct HandshakeArgs {
    /// What all modes have.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Share of the handshakes to be resumed, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub resume: f64,
    /// Bytes to send on each connection, and to read back
    #[arg(long, value_name = "BYTES", default_value = "0")]
    pub exchange: String,
}

/// `request`.
#[derive(Debug, Args)]
pub struct RequestArgs {
    /// What all modes have.
    #[command(flatten)]
    pub common: CommonArgs,
    /// The requests.
    #[command(flatten)]
    pub request: RequestOptions,
}

/// What is asked of the server again and again.
#[derive(Clone, Debug, Args)]
pub struct RequestOptions {
    /// http (HTTP/1.1), h2 (HTTP/2), or tcp: bytes that come back as they are
    #[arg(long, value_enum, default_value_t = Protocol::Http)]
    pub proto: Protocol,
    /// Requests at a time on each connection, with h2 [default: 1]
    #[arg(long, value_name = "N")]
    pub streams: Option<usize>,
    /// Bytes of a request's body, or of the echo [default: 0 with http and h2, 128 with tcp]
    #[arg(long, value_name = "BYTES")]
    pub size: Option<String>,
    /// Bytes that each answer's body must have, with http and h2 [default: any number]
    #[arg(long, value_name = "BYTES")]
    pub expect: Option<String>,
    /// Path and query of the request
    #[arg(long, default_value = "/")]
    pub path: String,
    /// Method of the request [default: GET, or POST with a body]
    #[arg(long)]
    pub method: Option<String>,
    /// A header field, "Name: value"; repeatable
    #[arg(long, value_name = "FIELD")]
    pub header: Vec<String>,
}

/// `bulk`.
#[derive(Debug, Args)]
pub struct BulkArgs {
    /// What all modes have.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Which way the bytes go; both: they come back
    #[arg(long, value_enum, default_value_t = Direction::Down)]
    pub direction: Direction,
    /// Bytes of one operation
    #[arg(long, value_name = "BYTES", default_value = "1MiB")]
    pub size: String,
    /// tcp: the service sends by itself, discards, or echoes (RFC 864, 863, 862); http, h2: bodies
    #[arg(long, value_enum, default_value_t = Protocol::Tcp)]
    pub proto: Protocol,
    /// Requests at a time on each connection, with h2 [default: 1]
    #[arg(long, value_name = "N")]
    pub streams: Option<usize>,
    /// Path and query of the request, with http and h2 [default: /bytes/SIZE down, /echo both, /]
    #[arg(long)]
    pub path: Option<String>,
}

/// `idle`.
#[derive(Debug, Args)]
pub struct IdleArgs {
    /// What all modes have.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `mixed`.
#[derive(Debug, Args)]
pub struct MixedArgs {
    /// What all modes have.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Which share of the connections does what
    #[arg(long, value_name = "MODE=WEIGHT,...", default_value = "handshake=1,request=8,bulk=1")]
    pub mix: String,
    /// The requests.
    #[command(flatten)]
    pub request: RequestOptions,
}

/// A version of HTTP, or bytes as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2.
    H2,
    /// Bytes.
    Tcp,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// From the server.
    Down,
    /// To the server.
    Up,
    /// To the server and back.
    Both,
}

/// How operations are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Schedule {
    /// Evenly.
    Fixed,
    /// At random, independent of each other.
    Poisson,
}

/// What all modes have.
#[derive(Clone, Debug, Args)]
pub struct CommonArgs {
    /// The server: HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    pub target: String,

    /// The client's certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The client's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Root certificates of the server (PEM)
    #[arg(long, value_name = "FILE", required_unless_present = "insecure")]
    pub ca: Option<PathBuf>,
    /// Do not verify the server's certificate; the report says so
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,
    /// Take turns as N clients with certificates of their own, minted from --identity-ca
    #[arg(long, value_name = "N", requires = "identity_ca", conflicts_with = "cert")]
    pub identities: Option<usize>,
    /// The chain of the authority that mints them (PEM)
    #[arg(long, value_name = "FILE", requires = "identity_ca_key", requires = "identities")]
    pub identity_ca: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "identity_ca")]
    pub identity_ca_key: Option<PathBuf>,

    /// TLS version: 1.2 or 1.3; repeatable [default: both]
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    pub tls: Vec<String>,
    /// Cipher suites by IANA's names, the preferred first [default: all]
    #[arg(long, value_name = "SUITE", value_delimiter = ',')]
    pub suite: Vec<String>,
    /// Key exchange groups, the preferred first [default: all]
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    pub group: Vec<String>,
    /// Application protocols (ALPN), the preferred first [default: none]
    #[arg(long, value_name = "PROTOCOL", value_delimiter = ',')]
    pub alpn: Vec<String>,
    /// Server name, for SNI and to verify the certificate [default: the target's host]
    #[arg(long, value_name = "NAME")]
    pub sni: Option<String>,
    /// Append TLS secrets to this file, in the format of SSLKEYLOGFILE
    #[arg(long, value_name = "FILE")]
    pub key_log: Option<PathBuf>,
    /// Addresses to connect from: "127.0.0.2,127.0.0.3" or "127.0.0.2-127.0.0.9"
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub source: Vec<String>,

    /// Connections at a time, over all workers
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub connections: usize,
    /// Operations per second (open loop): latency counts from the intended start
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// How the operations of --rate are spread
    #[arg(long, value_enum, default_value_t = Schedule::Fixed)]
    pub schedule: Schedule,
    /// Find the highest rate that keeps --latency-bound, beginning with --rate
    #[arg(long, requires = "rate")]
    pub ramp: bool,
    /// The bound of --ramp: a percentile and a time
    #[arg(long, value_name = "pNN=TIME", default_value = "p99=10ms")]
    pub latency_bound: String,
    /// How long each rate of --ramp is measured
    #[arg(long, value_name = "TIME", default_value = "3s")]
    pub step: String,
    /// Not measured at the beginning [default: 1s, or 0s with --count]
    #[arg(long, value_name = "TIME")]
    pub warmup: Option<String>,
    /// How long to measure [default: 10s, or until --count is reached]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<String>,
    /// Stop after so many operations
    #[arg(long, value_name = "N", conflicts_with = "ramp")]
    pub count: Option<u64>,
    /// The longest that connect, handshake or one exchange may take
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub timeout: String,
    /// Begin at this second (Unix time), so that several machines begin together
    #[arg(long, value_name = "SECONDS")]
    pub start_at: Option<u64>,

    /// Worker threads [default: one per usable CPU]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// CPUs to pin the workers to: "0,2"
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub cpus: Vec<usize>,
    /// Processes of the server, whose CPU time is reported per operation; children are counted too
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub watch_pid: Vec<u32>,

    /// Write the report as JSON; "-" is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the latencies as an HdrHistogram log
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// Write the report as a page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Neither progress nor table
    #[arg(long)]
    pub quiet: bool,
}
