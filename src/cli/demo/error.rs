//! Why the demo ended early, in words for the person at the terminal.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::cli::pki::{IssueError, PkiError};
use crate::config::error::ConfigError;
use crate::control::supervisor::StartError;

/// Why the demo ended early.
#[derive(Debug)]
pub(super) enum DemoError {
    /// A signal handler, a thread or a socket could not be had.
    Resources(io::Error),
    /// The folder of the certificates cannot be made.
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This file is where the demo would write one of its own.
    Exists(PathBuf),
    /// The name of the folder is not UTF-8, as the gateway's configuration is.
    NotUtf8(PathBuf),
    /// A certificate or a key could not be written.
    Write(PkiError),
    /// A certificate could not be issued.
    Issue(IssueError),
    /// The gateway's configuration is refused.
    Config(Vec<ConfigError>),
    /// The address cannot be listened on, for this reason.
    Listen(String),
    /// The gateway did not start.
    Start(StartError),
    /// The gateway's log cannot be read.
    Log(io::Error),
    /// Standard output does not take what the demo has to say.
    Output(io::Error),
    /// The self-check found this to be wrong.
    Check(Vec<String>),
    /// A signal came before the self-check was done.
    Interrupted,
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resources(error) => write!(f, "the demo cannot be set up: {error}"),
            Self::Folder { path, source } => write!(
                f,
                "{}: cannot make the folder of the certificates: {source}",
                path.display()
            ),
            Self::Exists(path) => write!(
                f,
                "{}: exists already, and the demo replaces nothing; give --keep another folder",
                path.display()
            ),
            Self::NotUtf8(path) => write!(
                f,
                "{}: the name of the folder is not UTF-8; choose another with --keep",
                path.display()
            ),
            Self::Write(error) => write!(f, "{error}"),
            Self::Issue(error) => write!(f, "{error}"),
            Self::Config(errors) => {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                f.write_str(&errors.join("\n"))
            }
            Self::Listen(found) => write!(
                f,
                "{found}; choose another address with --listen, such as --listen 127.0.0.1:9443"
            ),
            Self::Start(StartError::Listen(address, error)) => write!(
                f,
                "{address} cannot be listened on: {error}; choose another address with --listen"
            ),
            Self::Start(error) => write!(f, "{error}"),
            Self::Log(error) => write!(f, "the gateway's log cannot be read: {error}"),
            Self::Output(error) => write!(f, "standard output cannot be written: {error}"),
            Self::Check(problems) => write!(f, "the self-check failed: {}", problems.join("; ")),
            Self::Interrupted => f.write_str("interrupted before the self-check was done"),
        }
    }
}

impl std::error::Error for DemoError {}
