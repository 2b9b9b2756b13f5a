//! The commands, one file each, and the command line that chooses among them.

pub mod bench;
pub mod check;
pub mod demo;
pub mod explain;
pub mod pki;
pub mod probe;
pub mod run;
pub mod timeline;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A high-throughput mutual-TLS gateway for Linux.
#[derive(Debug, Parser)]
#[command(name = "ringfort", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway, from a configuration file or from flags
    Run(run::RunArgs),
    /// Tell whether `run` would start with the same arguments, and why not
    Check(check::CheckArgs),
    /// Show one mutual-TLS request through a gateway of its own, then serve for you to try
    Demo(demo::DemoArgs),
    /// Tell what the gateway would do with a client's certificate, and why, without running it
    Explain(explain::ExplainArgs),
    /// Connect to any TLS server and tell what it does: handshake, chain, client certificates
    Probe(probe::ProbeArgs),
    /// Issue certificates for trials and tests
    Pki(pki::PkiArgs),
    /// Measure what parts of the gateway cost on this machine
    Bench(bench::BenchArgs),
}

impl Cli {
    /// Carries out the command.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Run(args) => run::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Demo(args) => demo::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Probe(args) => probe::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Pki(args) => match pki::run(&args) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("error: {error}");
                    ExitCode::FAILURE
                }
            },
        }
    }
}
