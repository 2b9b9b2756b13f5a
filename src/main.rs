//! The command `ringfort`: parse the command line, call one command.

use std::process::ExitCode;

use clap::Parser;
use ringfort::cli::Cli;

#[cfg(all(feature = "sim", not(debug_assertions)))]
compile_error!("the feature `sim` is for tests: it has no place in a release build of the gateway");

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
