//! From the name of a file to a [`Snapshot`]: the part of loading that touches the machine.
//!
//! Reads files, the file limit, the clock and the resolver, and hands them to `resolve`, which
//! decides. It blocks, so it runs on the control thread or before the workers start. `run`, a
//! reload and `check` all come through here, so they refuse the same things.

use std::cell::RefCell;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::KeyLog;
use socket2::{Domain, Protocol, Socket, Type};

use super::inputs::{Identity, Inputs};
use crate::attest::SigningKey;
use crate::config::error::{ConfigError, Place};
use crate::config::model::{self, Model};
use crate::config::resolve::{Belongs, Context, FileSource, resolve};
use crate::config::snapshot::{Cluster, Listener, LogTarget, Snapshot, carry_answers};
use crate::limits::{CA_DIRECTORY_FILES_MAX, CONFIG_BYTES_MAX, TICKET_SECRET_BYTES_MIN};
use crate::sys::cpu;
use crate::tls::server::KeyLogWriter;
use crate::trust::tickets::TicketSecret;
use crate::trust::verify::VerifyObserver;

/// A configuration that was accepted, and what is odd about it.
#[derive(Debug)]
pub struct Loaded {
    /// What the data plane reads; its names are resolved as far as the resolver answered.
    pub snapshot: Snapshot,
    /// What does not stop the gateway and should be seen.
    pub warnings: Vec<Warning>,
    /// The files that were read for it.
    pub inputs: Inputs,
}

/// What a gateway was told to run with, so that it can be read again.
#[derive(Clone, Debug)]
pub enum Configuration {
    /// This file, and the files that it names.
    File(PathBuf),
    /// What the flags of the command line say, and the files that they name.
    Flags(Box<Model>),
}

/// What came of reading a configuration again.
#[derive(Debug)]
pub struct Attempt {
    /// The files that were read, or that could not be.
    pub inputs: Inputs,
    /// The configuration as it is written and what it means, or everything that is wrong.
    pub outcome: Result<(Model, Snapshot, Vec<Warning>), Vec<ConfigError>>,
}

/// Something that does not stop the gateway and should be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Every user of the machine can read this file, which holds a private key.
    KeyReadableByAll {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A name of an upstream has no address now; it is asked for again.
    Unresolved {
        /// The upstream.
        cluster: Arc<str>,
        /// `host:port`.
        name: String,
        /// What the resolver said.
        reason: String,
    },
    /// Others than this machine can reach the admin listener.
    AdminReachable {
        /// Where it listens.
        address: SocketAddr,
    },
    /// The names of the upstreams are not resolved again.
    NoResolver {
        /// Why there is no thread for it.
        reason: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyReadableByAll { path, mode } => write!(
                f,
                "{path}: every user can read this private key (mode {mode:03o}); \
                 fix: chmod 600 {path}",
                path = path.display()
            ),
            Self::Unresolved { cluster, name, reason } => write!(
                f,
                "upstream {cluster}: {name} has no address ({reason}); it is resolved again \
                 after resolve_interval_ms; fix: check the name and the resolver"
            ),
            Self::AdminReachable { address } => write!(
                f,
                "[admin] {address}: other machines can reach the admin listener, which asks for \
                 no certificate; fix: write an address of 127.0.0.0/8 or [::1], or keep others \
                 away by a firewall"
            ),
            Self::NoResolver { reason } => write!(
                f,
                "the resolver's thread cannot be started ({reason}): names of upstreams keep \
                 their addresses; fix: raise the limit of threads, then reload"
            ),
        }
    }
}

/// Loads what a gateway was told to run with.
///
/// # Errors
///
/// Everything that is wrong with it and with what it names.
pub fn load(configuration: &Configuration) -> Result<Loaded, Vec<ConfigError>> {
    let files = DiskFiles::default();
    let model = configuration.model(&files).map_err(|error| vec![error])?;
    let (snapshot, warnings) = load_from(&files, &model, None, &[])?;
    Ok(Loaded { snapshot, warnings, inputs: files.inputs.into_inner() })
}

/// The same without the resolver: names of upstreams have no address, and nothing is asked.
///
/// # Errors
///
/// As [`load`].
pub fn load_unresolved(configuration: &Configuration) -> Result<Loaded, Vec<ConfigError>> {
    let files = DiskFiles::default();
    let model = configuration.model(&files).map_err(|error| vec![error])?;
    let snapshot = resolve_from(&files, &model, None)?;
    let warnings = files.warnings.take();
    Ok(Loaded { snapshot, warnings, inputs: files.inputs.into_inner() })
}

/// Loads it again, while a gateway runs with the upstreams `clusters`.
///
/// Names that `clusters` has an answer for are not asked for: the resolver's thread does that in
/// its time. Only regular files are read, for a pipe has nothing a second time.
pub fn load_again(configuration: &Configuration, clusters: &[Arc<Cluster>]) -> Attempt {
    let files = DiskFiles { again: true, ..DiskFiles::default() };
    let outcome = configuration.model(&files).map_err(|error| vec![error]).and_then(|model| {
        let (snapshot, warnings) = load_from(&files, &model, None, clusters)?;
        Ok((model, snapshot, warnings))
    });
    Attempt { inputs: files.inputs.into_inner(), outcome }
}

impl Configuration {
    /// The configuration as it is written; reads the file where there is one.
    fn model(&self, files: &DiskFiles) -> Result<Model, ConfigError> {
        match self {
            Self::File(path) => read_model_from(files, path),
            Self::Flags(model) => Ok(Model::clone(model)),
        }
    }
}

/// Reads a configuration file into a model.
///
/// # Errors
///
/// The file cannot be read, or breaks the schema.
pub fn read_model(path: &Path) -> Result<Model, ConfigError> {
    read_model_from(&DiskFiles::default(), path)
}

fn read_model_from(files: &DiskFiles, path: &Path) -> Result<Model, ConfigError> {
    let name = path.display().to_string();
    let refuse = |found: String, expected: &str, fix: &str| ConfigError {
        place: Place::File(name.clone()),
        found,
        expected: expected.to_string(),
        fix: fix.to_string(),
    };
    let bytes = files.read_noted(path, CONFIG_BYTES_MAX).map(|(bytes, _)| bytes);
    let bytes = bytes.map_err(|error| {
        refuse(
            format!("the configuration cannot be read: {error}"),
            &format!("a file of at most {CONFIG_BYTES_MAX} bytes that the program may read"),
            "correct the path given with --config, or the permissions",
        )
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        refuse(
            format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()),
            "a text in UTF-8",
            "save the file as UTF-8",
        )
    })?;
    let mut model = model::parse(&text, &name)?;
    model.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok(model)
}

/// Gives a model its meaning on this machine: reads the files that it names, raises the file limit
/// and asks the resolver.
///
/// # Errors
///
/// Everything that is wrong.
pub fn load_model(model: &Model) -> Result<Loaded, Vec<ConfigError>> {
    load_model_observed(model, None)
}

/// The same, with `observer` told about each verification of a client.
///
/// # Errors
///
/// Everything that is wrong.
pub fn load_model_observed(
    model: &Model,
    observer: Option<Arc<dyn VerifyObserver>>,
) -> Result<Loaded, Vec<ConfigError>> {
    let files = DiskFiles::default();
    let (snapshot, warnings) = load_from(&files, model, observer, &[])?;
    Ok(Loaded { snapshot, warnings, inputs: files.inputs.into_inner() })
}

/// `known`: clusters whose answers need not be asked for.
fn load_from(
    files: &DiskFiles,
    model: &Model,
    observer: Option<Arc<dyn VerifyObserver>>,
    known: &[Arc<Cluster>],
) -> Result<(Snapshot, Vec<Warning>), Vec<ConfigError>> {
    let mut snapshot = resolve_from(files, model, observer)?;
    let mut warnings = files.warnings.take();
    snapshot.clusters = carry_answers(&snapshot.clusters, known);
    for cluster in &mut snapshot.clusters {
        let (resolved, mut unresolved) = ask(cluster, cluster.unanswered_names());
        *cluster = Arc::new(resolved);
        warnings.append(&mut unresolved);
    }
    Ok((snapshot, warnings))
}

fn resolve_from(
    files: &DiskFiles,
    model: &Model,
    observer: Option<Arc<dyn VerifyObserver>>,
) -> Result<Snapshot, Vec<ConfigError>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let context = Context {
        files,
        now_unix_s: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        fds_max: raise_fd_limit(),
        cpus: cpu::allowed().len(),
        observer,
        ticket_secret: process_secret(),
        signing_key: process_key(),
    };
    let snapshot = resolve(model, &context)?;
    if let Some(address) = snapshot.admin.filter(|address| !address.ip().is_loopback()) {
        files.warnings.borrow_mut().push(Warning::AdminReachable { address });
    }
    Ok(snapshot)
}

/// Asks the resolver for the names of a cluster; blocks.
///
/// A name without an answer keeps its last addresses and is among the warnings. The cluster equals
/// the given one where nothing changed.
pub fn resolve_names(cluster: &Cluster) -> (Cluster, Vec<Warning>) {
    ask(cluster, cluster.names())
}

fn ask<'a>(
    cluster: &Cluster,
    names: impl Iterator<Item = (usize, &'a str, u16)>,
) -> (Cluster, Vec<Warning>) {
    let (mut answers, mut warnings) = (Vec::new(), Vec::new());
    for (index, host, port) in names {
        match (host, port).to_socket_addrs().map(Iterator::collect::<Vec<SocketAddr>>) {
            Ok(addresses) if !addresses.is_empty() => answers.push((index, addresses)),
            outcome => warnings.push(Warning::Unresolved {
                cluster: Arc::clone(&cluster.name),
                name: format!("{host}:{port}"),
                reason: match outcome {
                    Ok(_) => "the answer is empty".to_string(),
                    Err(error) => error.to_string(),
                },
            }),
        }
    }
    (cluster.with_resolved(&answers), warnings)
}

/// A seed that nobody can guess, for keyed hashes.
pub fn random_seed() -> [u64; 2] {
    let mut bytes = [0; 16];
    // invariant: aws-lc-rs draws from the kernel's generator, which does not fail once seeded.
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator");
    let (low, high) = bytes.split_at(8);
    let word = |half: &[u8]| half.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    [word(low), word(high)]
}

/// What the keys of session tickets are derived from where no file is named: the same for every
/// configuration of this process, so that a reload ends no session.
fn process_secret() -> TicketSecret {
    static BYTES: OnceLock<[u8; TICKET_SECRET_BYTES_MIN]> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let mut bytes = [0; TICKET_SECRET_BYTES_MIN];
        // invariant: aws-lc-rs draws from the kernel's generator, which does not fail once seeded.
        aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator");
        bytes
    });
    // invariant: these are as many bytes as are needed
    TicketSecret::new(bytes).expect("enough bytes")
}

/// What identities are signed with where no file is named: the same for every configuration of
/// this process, as the secret is.
fn process_key() -> Arc<SigningKey> {
    static KEY: LazyLock<Arc<SigningKey>> = LazyLock::new(|| Arc::new(SigningKey::generate()));
    Arc::clone(&KEY)
}

/// Raises the soft limit of file descriptors to the hard one and returns what holds then.
///
/// Where raising is forbidden, that is the soft limit as it was.
pub fn raise_fd_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    if current != maximum && setrlimit(Resource::Nofile, raised).is_err() {
        return current.unwrap_or(u64::MAX);
    }
    maximum.unwrap_or(u64::MAX)
}

/// Whether a listener's address can be bound, tried without `SO_REUSEPORT`.
///
/// The workers bind with it, and so would not notice another program, or another gateway, that
/// does the same and takes a share of the connections. Binds and lets go.
///
/// # Errors
///
/// The address is taken, is not this machine's, or needs a privilege.
pub fn probe_address(listener: &Listener) -> Result<(), ConfigError> {
    let Err(error) = bind(listener) else {
        return Ok(());
    };
    let (expected, fix) = unbindable(&error);
    Err(ConfigError {
        place: Place::File(format!("listener {}", listener.name)),
        found: format!("{} cannot be bound: {error}", listener.address),
        expected: expected.to_string(),
        fix: fix.to_string(),
    })
}

/// What is expected of an address that could not be bound, and what to do.
pub(super) fn unbindable(error: &io::Error) -> (&'static str, &'static str) {
    match error.kind() {
        io::ErrorKind::AddrInUse => (
            "an address that no program listens on",
            "stop the program that holds it (`ss -ltnp` shows it), or change `address`",
        ),
        io::ErrorKind::AddrNotAvailable => {
            ("an address of this machine", "correct `address`; `ip address` lists them")
        }
        io::ErrorKind::PermissionDenied => (
            "the right to bind this port",
            "give the program CAP_NET_BIND_SERVICE, or use a port above 1023",
        ),
        _ => ("an address that can be bound", "correct `address`"),
    }
}

fn bind(listener: &Listener) -> io::Result<()> {
    let domain = Domain::for_address(listener.address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // As the workers do: connections of an earlier run that still close are no obstacle.
    socket.set_reuse_address(true)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(!listener.socket.dual_stack)?;
    }
    socket.bind(&listener.address.into())
}

/// Whether the log can be written; creates nothing.
///
/// # Errors
///
/// The file cannot be appended to, or is missing and its folder takes no new file.
pub fn probe_log(target: &LogTarget) -> Result<(), ConfigError> {
    let LogTarget::File(path) = target else {
        return Ok(());
    };
    let outcome = match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            rustix::fs::access(folder.unwrap_or(Path::new(".")), access).map_err(io::Error::from)
        }
        opened => opened.map(drop),
    };
    outcome.map_err(|error| ConfigError {
        place: Place::File(path.display().to_string()),
        found: format!("the log cannot be written: {error}"),
        expected: "a file that the program may append to".to_string(),
        fix: "correct `target` of [log], or the permissions of the file and its folder".to_string(),
    })
}

/// Files of the disk; notes which were read.
#[derive(Default)]
struct DiskFiles {
    warnings: RefCell<Vec<Warning>>,
    inputs: RefCell<Inputs>,
    /// They were read before: what can be read only once is refused, and not waited for.
    again: bool,
}

impl DiskFiles {
    fn read_noted(&self, path: &Path, bytes_max: usize) -> io::Result<(Vec<u8>, u32)> {
        let identity = Identity::of(path);
        let read = read_bounded(path, bytes_max, self.again);
        let bytes = read.as_ref().ok().map(|(bytes, _)| bytes.as_slice());
        self.inputs.borrow_mut().record(path, identity, bytes);
        read
    }
}

impl DiskFiles {
    fn warn_of_mode(&self, path: &Path, mode: u32) {
        let warning = Warning::KeyReadableByAll { path: path.to_path_buf(), mode };
        let mut warnings = self.warnings.borrow_mut();
        if mode & 0o004 != 0 && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

impl FileSource for DiskFiles {
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, io::Error> {
        let (bytes, mode) = self.read_noted(path, bytes_max)?;
        // By content, not by key: a chain file that also holds the key is as dangerous.
        if holds_private_key(&bytes) {
            self.warn_of_mode(path, mode);
        }
        Ok(bytes)
    }

    fn read_secret(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, io::Error> {
        let (bytes, mode) = self.read_noted(path, bytes_max)?;
        self.warn_of_mode(path, mode);
        Ok(bytes)
    }

    fn list(&self, path: &Path, belongs: Belongs) -> Result<Option<Vec<PathBuf>>, io::Error> {
        let identity = Identity::of(path);
        if !fs::metadata(path)?.is_dir() {
            return Ok(None);
        }
        // Files that come and go are seen by the folder.
        self.inputs.borrow_mut().record(path, identity, None);
        let mut files = Vec::new();
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            // Kubernetes keeps what it mounts in `..data`, and has links to it beside.
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let file = path.join(&name);
            if !belongs(&file) {
                continue;
            }
            let metadata = fs::metadata(&file).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", file.display()))
            })?;
            if !metadata.is_file() {
                continue;
            }
            if files.len() == CA_DIRECTORY_FILES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            files.push(file);
        }
        files.sort();
        Ok(Some(files))
    }

    fn key_log(&self, path: &Path) -> Result<Arc<dyn KeyLog>, io::Error> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Arc::new(KeyLogWriter::new(file)))
    }
}

/// The bytes of a regular file or, unless it is read `again`, a pipe; and the permission bits.
fn read_bounded(path: &Path, bytes_max: usize, again: bool) -> io::Result<(Vec<u8>, u32)> {
    let file = if again { open_without_waiting(path)? } else { File::open(path)? };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if again && !metadata.is_file() {
        return Err(io::Error::other("not a regular file, which cannot be read again"));
    }
    let mut bytes = Vec::new();
    // One more than allowed tells "too large" from "just fits", also where the size is not known.
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok((bytes, metadata.mode() & 0o7777))
}

/// Opening a pipe waits for its writer otherwise (fifo(7)).
fn open_without_waiting(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn holds_private_key(bytes: &[u8]) -> bool {
    let marker = b"PRIVATE KEY-----";
    bytes.windows(marker.len()).any(|window| window == marker)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
