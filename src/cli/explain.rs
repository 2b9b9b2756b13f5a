//! `ringfort explain`: what the gateway would do with a client, and why, step by step and offline.
//!
//! It must not judge: the configuration is loaded as `check` loads it, and the client is judged by
//! the code that a worker calls, which tells its steps. Invariant: where this says allowed or a
//! code, a gateway with the same files at that time says the same, for a client that proves that
//! it holds its key.

mod checks;
mod facts;
mod input;
mod judge;
mod page;
mod report;
mod text;
mod trail;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use self::input::{Input, Moment};
use self::report::Report;
use super::run::RunArgs;
use super::timeline::{printable, wrap};
use crate::limits::EXPLAIN_MESSAGE_BYTES_MAX;

/// The exit status where there was nothing to judge, which is clap's for a wrong command line.
const USAGE: u8 = 2;

/// The arguments of `explain`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainArgs {
    /// What `run` would be given
    #[command(flatten)]
    pub run: RunArgs,

    /// The client's certificate chain, its own first (PEM); "-" is standard input
    #[arg(value_name = "CLIENT", required_unless_present = "no_certificate")]
    pub client: Option<PathBuf>,

    /// Explain what becomes of a client that presents no certificate
    #[arg(long, conflicts_with = "client")]
    pub no_certificate: bool,

    /// The listener that the client connects to, by its name [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,

    /// The server name that the client asks for (SNI) [default: none]
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,

    /// When: RFC 3339 such as 2026-01-31T12:00:00Z, or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<Moment>,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Explains on standard output.
///
/// The exit status is 0 where the client would be allowed, 1 where it would be refused (or what was
/// found could not be printed), and 2 where the arguments or the configuration are wrong.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let stdin = &mut io::stdin().lock();
    let report = match explain(args, stdin, &mut io::stderr().lock()) {
        Ok(report) => report,
        Err(errors) => {
            say(&errors, &mut io::stderr().lock());
            return ExitCode::from(USAGE);
        }
    };
    let shown = if args.json { report.json() } else { text::render(&report) };
    let mut out = io::stdout().lock();
    let written = out.write_all(shown.as_bytes()).and_then(|()| out.flush());
    match (report.verdict.allowed, written) {
        (true, Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Loads, reads and judges; warnings of loading go to `err`.
fn explain(
    args: &ExplainArgs,
    stdin: &mut impl io::Read,
    err: &mut impl Write,
) -> Result<Report, Vec<String>> {
    let loaded = args
        .run
        .load_unresolved()
        .map_err(|errors| -> Vec<String> { errors.iter().map(ToString::to_string).collect() })?;
    for warning in &loaded.warnings {
        // Where standard error is gone, what was asked for still counts.
        let _ = writeln!(err, "warning: {}", printable(&warning.to_string()));
    }
    let input = Input::read(args, &loaded.snapshot, stdin).map_err(|error| vec![error])?;
    Ok(judge::judge(&input))
}

fn say(errors: &[String], err: &mut impl Write) {
    for error in errors {
        let end = error.floor_char_boundary(EXPLAIN_MESSAGE_BYTES_MAX);
        // Where standard error is gone as well, the status has to do.
        let _ = writeln!(err, "{}", printable(&error[..end]));
    }
}

/// A text as lines of a terminal, of `columns` at the most.
fn lines(text: &str, columns: usize) -> Vec<String> {
    wrap(&printable(text), columns)
}

#[cfg(test)]
mod tests;
