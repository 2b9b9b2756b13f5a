//! The subcommands, one file each. Nothing but `main` imports this room.

pub mod check;
pub mod pki;
pub mod run;
