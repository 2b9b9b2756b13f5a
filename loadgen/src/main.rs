//! The command `ringfort-loadgen`: parse the command line, carry it out, write the report.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use loadgen::cli::{Cli, Command};
use loadgen::origin::{self, OriginArgs, ended_by_signal};
use loadgen::outcome::Outcome;
use loadgen::plan::Plan;
use loadgen::report::{Outputs, table};
use loadgen::{merge, run, tls};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The run did not meet what was asked of it.
const UNMET: u8 = 1;
/// The arguments cannot be; clap exits with the same.
const BAD_ARGUMENTS: u8 = 2;
/// The run could not start, or its report not be written.
const FAILED: u8 = 3;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let done = match &command {
        Command::Origin(args) => serve(args).map(|()| 0),
        Command::Merge(args) => match merge::run(args) {
            Ok(outcome) => Ok(finish(&outcome, !args.take_stdout())),
            Err(error) => Err((FAILED, error.to_string())),
        },
        load => measure(load),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err((status, error)) => {
            // A closed standard error must not hide the status.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(status)
        }
    }
}

type Failed = (u8, String);

fn failed(error: impl fmt::Display) -> Failed {
    (FAILED, error.to_string())
}

fn serve(args: &OriginArgs) -> Result<(), Failed> {
    let ended = ended_by_signal().map_err(failed)?;
    let ready = |address| {
        // Whoever started it may not read.
        let _ = writeln!(io::stdout(), "listening on {address}");
        let _ = io::stdout().flush();
    };
    origin::run(args, ready, &ended).map_err(failed)
}

fn measure(command: &Command) -> Result<u8, Failed> {
    let (plan, args) = Plan::new(command).map_err(|error| (BAD_ARGUMENTS, error.to_string()))?;
    let identities = tls::identities(args, &plan.alpn, plan.resume > 0.0).map_err(failed)?;
    let (json, hdr, html) = (args.json.as_deref(), args.hdr.as_deref(), args.html.as_deref());
    let outputs = Outputs::open(json, hdr, html).map_err(failed)?;
    let ended = ended_by_signal().map_err(failed)?;
    let ended: &AtomicBool = &ended;
    let outcome = run::run(&plan, args, identities, ended).map_err(failed)?;
    let shows_table = !args.quiet && !outputs.take_stdout();
    let status = finish(&outcome, shows_table);
    outputs.write(&outcome).map_err(failed)?;
    Ok(status)
}

/// Shows the table, and tells the exit status.
fn finish(outcome: &Outcome, shows_table: bool) -> u8 {
    if shows_table {
        // A closed pipe is no failure of the run.
        let _ = io::stdout().write_all(table::render(outcome).as_bytes());
    } else {
        for unmet in &outcome.failures {
            let _ = writeln!(io::stderr(), "not met: {unmet}");
        }
    }
    if outcome.failures.is_empty() { 0 } else { UNMET }
}
