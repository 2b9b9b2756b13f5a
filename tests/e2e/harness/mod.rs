//! What the end-to-end tests are made of: certificates, a gateway process, origins, clients.
//!
//! Nothing here knows how the gateway works inside: it is started as an operator would, and
//! observed through its log, its sockets and /proc. Invariants: every wait has a deadline and
//! observes something rather than sleeping a fixed time; every process is ended, by its own pid,
//! when its wrapper is dropped.

pub(crate) mod chaos;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod frames;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod live;
pub(crate) mod origin;
pub(crate) mod pki;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod raw;
pub(crate) mod reload;
pub(crate) mod returning;
pub(crate) mod site;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) use client::{Client, ClientOptions};
pub(crate) use config::Setup;
pub(crate) use gateway::Gateway;
pub(crate) use http::HttpClient;
pub(crate) use origin::Origin;
pub(crate) use pki::{Credentials, pki};
pub(crate) use site::{Reply, Site, Then};

/// How long a test waits for what must happen: far longer than it takes, for busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Between two looks at what cannot be waited for otherwise.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Ports of tests lie below the range from which the kernel takes those of outgoing connections.
const PORT_FIRST: u32 = 10_000;
const PORTS: u32 = 20_000;

/// Waits until `condition` holds.
///
/// # Panics
/// Where it does not within [`PATIENCE`]; `what` is for the message.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited for {PATIENCE:?}: {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The folder of this run; those of runs that are gone are removed.
fn run_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
        for entry in std::fs::read_dir(&root).into_iter().flatten().flatten() {
            let of = entry.file_name().to_string_lossy().into_owned();
            if !Path::new("/proc").join(&of).exists() {
                // Another run may be faster.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        raise_descriptor_limit();
        let dir = root.join(std::process::id().to_string());
        std::fs::create_dir_all(&dir).expect("the target folder is writable");
        dir
    })
}

/// Tests hold both ends of thousands of connections.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it is refused, the tests that need more fail and say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A new folder.
pub(crate) fn temp_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let dir = run_dir().join(format!("d{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&dir).expect("the target folder is writable");
    dir
}

/// An address of this machine that nobody listens on, in either family.
pub(crate) fn free_address(ip: IpAddr) -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORT_FIRST + (std::process::id().wrapping_mul(131) + step) % PORTS;
        let address = SocketAddr::new(ip, u16::try_from(port).expect("below 2^16"));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// [`free_address`] on 127.0.0.1.
pub(crate) fn free_local() -> SocketAddr {
    free_address(Ipv4Addr::LOCALHOST.into())
}
