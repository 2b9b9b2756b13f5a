//! The command `ringfort`: parse the command line, call one command.

use std::process::ExitCode;

use clap::Parser;
use ringfort::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
