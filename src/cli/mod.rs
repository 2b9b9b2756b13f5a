//! The commands, one file each.

pub mod check;
pub mod pki;
pub mod run;
pub mod timeline;
