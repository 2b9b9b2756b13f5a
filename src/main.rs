//! The command `ringfort`: parse the command line, call one command.

fn main() {}
