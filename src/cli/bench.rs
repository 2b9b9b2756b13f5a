//! `ringfort bench`: what the parts of the gateway cost on this machine.

mod cases;
mod crypto;
mod handshake;
mod report;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// The arguments of `bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Compare the crypto backends that are compiled in, by CPU time
    Crypto(crypto::CryptoArgs),
}

/// Measures, and prints what was found.
///
/// The exit status is 0, 1 where something does not work, and 130 where Ctrl-C ended it early.
pub fn run(args: &BenchArgs) -> ExitCode {
    match &args.what {
        What::Crypto(args) => crypto::run(args),
    }
}
