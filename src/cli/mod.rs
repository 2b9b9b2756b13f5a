//! The commands: one file per subcommand. They may block, print and use threads and the system's
//! clocks; nothing imports them.

pub mod timeline;
