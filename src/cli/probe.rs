//! `ringfort probe`: connect to any TLS server and tell what it does.
//!
//! The server is whoever answers, so all that it sends is hostile: what is kept of it, and how long
//! it is listened to, is bounded by `limits`, and no text of it reaches a terminal unchanged. The
//! probe goes on whether or not the server's chain verifies, and says which: a good exit status
//! is no statement about whom it spoke to.

mod alerts;
mod connect;
mod facts;
mod judge;
mod plan;
mod report;
mod resume;
mod text;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use self::judge::Verdict;
use self::plan::{Plan, Target};
use self::report::{Outcome, Report};
use super::timeline::{RecordOptions, Recorder, Recording, colour_wanted, printable};
use crate::limits::{PROBE_TIMEOUT_MS_DEFAULT, PROBE_TIMEOUT_MS_MAX};

/// The exit status of a probe that could not begin, which is clap's for a wrong command line.
const USAGE: u8 = 2;

/// The arguments of `probe`.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// The server: a name or an address and a port, such as example.org:443 or [::1]:8443
    #[arg(value_name = "HOST:PORT")]
    target: String,

    /// The client's certificate chain to present where the server asks for one, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<String>,

    /// The private key of --cert, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<String>,

    /// Roots to verify the server's chain against, PEM; without them it is not verified
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,

    /// The name to send as SNI and to look for in the certificate [default: HOST]
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,

    /// Application protocols to offer, such as h2,http/1.1 [default: none]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    alpn: Vec<String>,

    /// Offer this version only
    #[arg(long, value_name = "VERSION", value_parser = ["1.2", "1.3"])]
    tls: Option<String>,

    /// Milliseconds that all of it may take
    #[arg(
        long,
        value_name = "N",
        default_value_t = PROBE_TIMEOUT_MS_DEFAULT,
        value_parser = clap::value_parser!(u64).range(1..=PROBE_TIMEOUT_MS_MAX)
    )]
    timeout_ms: u64,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Probes, and prints what was found on standard output.
///
/// The exit status is 0 where the handshake was done, 1 where it failed or was refused (or what was
/// found could not be printed), and 2 where the arguments are wrong.
pub fn run(args: &ProbeArgs) -> ExitCode {
    let begun = Plan::new(args).and_then(|plan| {
        let Plan { target, options, timeout } = plan;
        let recorder = Recorder::new(&options).map_err(|cause| cause.to_string())?;
        Ok(Probe { recorder, target, options, deadline: Instant::now() + timeout })
    });
    let probe = match begun {
        Ok(probe) => probe,
        Err(error) => {
            // Where standard error is gone as well, the status has to do.
            let _ = writeln!(io::stderr(), "error: {}", printable(&error));
            return ExitCode::from(USAGE);
        }
    };
    let report = probe.run();
    let shown = match args.json {
        true => report.json(),
        false => text::render(&report, colour_wanted()),
    };
    let mut out = io::stdout();
    let written = out.write_all(shown.as_bytes()).and_then(|()| out.flush());
    match (report.result, written) {
        (Outcome::Done, Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// A probe under way.
struct Probe {
    recorder: Recorder,
    target: Target,
    options: RecordOptions<'static>,
    deadline: Instant,
}

impl Probe {
    fn run(mut self) -> Report {
        let mut report = Report::new(&self.target, &self.options);
        let addresses = match connect::resolve(&self.target, self.left()) {
            Ok(addresses) => addresses,
            Err(error) => return report.failed(judge::unresolved(error)),
        };
        let (attempts, outcome) =
            connect::first(&self.recorder, &mut self.options, &addresses, self.deadline);
        report.attempts = attempts;
        let Verdict { result, failure, note, recording } = judge::judge(outcome);
        report.result = result;
        report.failure = failure;
        report.note = note;
        let Some(recording) = recording else { return report };
        report.tell(&recording, &self.options.trust);
        report.resumption = self.resumption(&recording, report.result);
        report
    }

    fn resumption(mut self, first: &Recording, result: Outcome) -> resume::Resumption {
        if result != Outcome::Done {
            return resume::Resumption::not_tried(first, "the handshake was not done");
        }
        let left = self.left();
        if left.is_zero() {
            return resume::Resumption::not_tried(first, "no time was left");
        }
        resume::again(&self.recorder, &mut self.options, first, left)
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
