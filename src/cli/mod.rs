//! The subcommands, one file each. Nothing but `main` imports this room.

pub mod pki;
