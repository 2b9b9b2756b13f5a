//! `ringfort demo`: a gateway with its own certificates and its own service behind it, one request
//! through it shown step by step, and the commands to try it by hand.
//!
//! The gateway is the one that `run` starts, with the same configuration as flags would give it.
//! Everything else is made for the occasion and goes with it.

mod commands;
mod connections;
mod error;
mod folder;
mod journal;
mod origin;
mod request;
mod selfcheck;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use toml::Spanned;

use self::connections::LogReader;
use self::error::DemoError;
use self::folder::Folder;
use self::journal::Journal;
use self::origin::Origin;
use self::selfcheck::SelfCheck;
use super::pki::{Authority, IssueError, Issued, KeyChoice, Names as CertificateNames, Profile};
use super::pki::{Validity, Written};
use super::run::RunArgs;
use crate::config::snapshot::Snapshot;
use crate::control::load::{self, Loaded};
use crate::control::signals::{self, Ended};
use crate::control::supervisor::Gateway;
use crate::error::CloseKind;
use crate::limits::{DEMO_DRAIN_TIMEOUT_MS, EXIT_TIMEOUT_MS};

/// The name that the server's certificate has beside its addresses.
const SERVER_NAME: &str = "localhost";
/// Who the demo's client is.
const CLIENT_SPIFFE: &str = "spiffe://ringfort.demo/client";
const CLIENT_DNS: &str = "client.ringfort.demo";
const CERTIFICATE_DAYS: u32 = 30;
/// How often the log is looked at.
const TICK: Duration = Duration::from_millis(50);

/// The arguments of `demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    listen: String,

    /// Stop after the self-check: status 0 if all of it was right, otherwise 1
    #[arg(long)]
    once: bool,

    /// Write the certificates and the log into DIR and leave them there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the demo; the exit status tells how it ended, and is that of `run` once it serves.
pub fn run(args: &DemoArgs) -> ExitCode {
    match demo(args) {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(ended) => {
            eprintln!("the gateway did not end in order: {}", ended.as_str());
            ExitCode::from(ended.exit_status())
        }
        Err(error) => {
            // Where standard error is gone as well, the status has to do.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The paths of what a client needs, and of the log.
struct Names<'a> {
    ca: &'a str,
    certificate: &'a str,
    key: &'a str,
}

/// What the demo made for its gateway and its client.
struct Stage {
    root: Authority,
    client: Issued,
    ca_file: String,
    server_files: [String; 2],
    client_files: [String; 2],
    log: String,
}

fn demo(args: &DemoArgs) -> Result<Ended, DemoError> {
    // Before anything is made that a signal would leave behind.
    let mut signals = signals::catch().map_err(DemoError::Resources)?;
    signals.add_signal(SIGHUP).map_err(DemoError::Resources)?;
    let is_ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&is_ending))
            .map_err(DemoError::Resources)?;
    }

    let mut folder = match &args.keep {
        Some(path) => Folder::to_keep(path)?,
        None => Folder::temporary()?,
    };
    let stage = Stage::set(&mut folder, &args.listen)?;
    let origin = Origin::start(Arc::clone(&is_ending)).map_err(DemoError::Resources)?;
    let journal = Arc::new(Journal::default());
    let snapshot = load(&stage.flags(&args.listen, origin.address()), &journal)?;
    let address = reachable(&snapshot);
    interrupted(&is_ending)?;
    let mut gateway = Gateway::start(snapshot).map_err(DemoError::Start)?;
    let mut log = LogReader::open(Path::new(&stage.log)).map_err(DemoError::Log)?;
    folder.settle();

    let workers = gateway.cpus().len();
    say(&format!(
        "ringfort demo: one request over mutual TLS, client -> gateway {address} \
         ({workers} worker{}) -> service\n\n",
        if workers == 1 { "" } else { "s" }
    ))?;
    let checked = SelfCheck {
        address,
        stage: &stage,
        origin: &origin,
        journal: &journal,
        is_ending: &is_ending,
    }
    .run(&mut gateway, &mut log, &mut io::stdout());
    journal.close();
    if args.once || checked.is_err() {
        let ended = end(gateway);
        return checked.and(Ok(ended));
    }
    invite(address, &stage, &folder)?;
    let ended = serve(gateway, &mut signals, &mut log)?;
    drop(origin);
    let place = folder.path().display().to_string();
    let fate = if folder.is_temporary() { "removed" } else { "left" };
    drop(folder);
    say(&format!("\nEnded; {fate} {place}\n"))?;
    Ok(ended)
}

impl Stage {
    /// Issues the certificates and writes them into `folder`.
    fn set(folder: &mut Folder, listen: &str) -> Result<Self, DemoError> {
        let now = SystemTime::now();
        let profile = |name: &str| -> Result<Profile, IssueError> {
            Ok(Profile {
                common_name: format!("ringfort demo {name}"),
                key: KeyChoice::P256,
                validity: Validity::days(now, CERTIFICATE_DAYS)?,
            })
        };
        let issue = || -> Result<(Authority, Issued, Issued), IssueError> {
            let root = Authority::root(&profile("CA")?)?;
            let server = root.issue_server(&profile("server")?, &server_names(listen))?;
            let names = CertificateNames {
                spiffe: Some(CLIENT_SPIFFE.to_owned()),
                dns: vec![CLIENT_DNS.to_owned()],
                ..CertificateNames::default()
            };
            let client = root.issue_client(&profile("client")?, &names)?;
            Ok((root, server, client))
        };
        let (root, server, client) = issue().map_err(DemoError::Issue)?;
        let ca_files = folder.write_pair("ca", &root.chain_pem(), &root.key_pem())?;
        let server_files = folder.write_pair("server", &server.chain_pem(), &server.key_pem())?;
        let client_files = folder.write_pair("client", &client.chain_pem(), &client.key_pem())?;
        let pair = |files: Written| Ok([text(files.certificates)?, text(files.key)?]);
        Ok(Self {
            root,
            client,
            ca_file: text(ca_files.certificates)?,
            server_files: pair(server_files)?,
            client_files: pair(client_files)?,
            log: text(folder.log())?,
        })
    }

    /// The flags that `run` would be given for the same gateway.
    fn flags(&self, listen: &str, origin: SocketAddr) -> RunArgs {
        let [cert, key] = self.server_files.clone();
        RunArgs {
            listen: Some(listen.to_owned()),
            to: vec![origin.to_string()],
            cert: Some(cert),
            key: Some(key),
            client_ca: vec![self.ca_file.clone()],
            log: Some(self.log.clone()),
            ..RunArgs::default()
        }
    }

    fn names(&self) -> Names<'_> {
        let [certificate, key] = &self.client_files;
        Names { ca: &self.ca_file, certificate, key }
    }
}

/// The gateway's configuration, as `run` would have it; the address is free.
fn load(flags: &RunArgs, journal: &Arc<Journal>) -> Result<Snapshot, DemoError> {
    let mut model = flags.model().map_err(|error| DemoError::Config(vec![error]))?;
    let drain_timeout_ms = i64::try_from(DEMO_DRAIN_TIMEOUT_MS).unwrap_or(i64::MAX);
    model.drain_timeout_ms = Some(Spanned::new(0..0, drain_timeout_ms));
    let loaded = load::load_model_observed(&model, Some(Arc::clone(journal) as _));
    let Loaded { snapshot, warnings, .. } = loaded.map_err(DemoError::Config)?;
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    for listener in &snapshot.listeners {
        load::probe_address(listener).map_err(|error| DemoError::Listen(error.found))?;
    }
    Ok(snapshot)
}

/// The names of the server: those of this machine, and the address asked for where it is one.
fn server_names(listen: &str) -> CertificateNames {
    let mut ip_addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    // What is no address is refused where the configuration is read.
    if let Ok(address) = listen.parse::<SocketAddr>()
        && !address.ip().is_unspecified()
        && !ip_addresses.contains(&address.ip())
    {
        ip_addresses.push(address.ip());
    }
    CertificateNames {
        dns: vec![SERVER_NAME.to_owned()],
        ip_addresses,
        ..CertificateNames::default()
    }
}

/// Where a client of this machine reaches the one listener.
fn reachable(snapshot: &Snapshot) -> SocketAddr {
    // invariant: the flags describe one listener, and a snapshot without one cannot exist.
    let listener = snapshot.listeners.first().expect("one listener");
    let mut address = listener.address;
    if address.ip().is_unspecified() {
        let is_v6 = address.is_ipv6() && !listener.socket.dual_stack;
        address.set_ip(match is_v6 {
            true => IpAddr::V6(Ipv6Addr::LOCALHOST),
            false => IpAddr::V4(Ipv4Addr::LOCALHOST),
        });
    }
    address
}

fn text(path: PathBuf) -> Result<String, DemoError> {
    path.into_os_string().into_string().map_err(|path| DemoError::NotUtf8(path.into()))
}

fn interrupted(is_ending: &AtomicBool) -> Result<(), DemoError> {
    if is_ending.load(Ordering::Relaxed) { Err(DemoError::Interrupted) } else { Ok(()) }
}

fn say(text: &str) -> Result<(), DemoError> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(DemoError::Output)
}

/// What there is to copy, and what will be seen.
fn invite(address: SocketAddr, stage: &Stage, folder: &Folder) -> Result<(), DemoError> {
    let [curl, openssl, without] = commands::lines(address, &stage.names());
    let fate = if folder.is_temporary() { ", and removes these files" } else { "" };
    let log = &stage.log;
    say(&format!(
        "\nTry it from another terminal:\n\n{curl}\n{openssl}\nand without a certificate, to be \
         refused:\n\n{without}\nConnections are shown here when they end; the gateway's own log \
         is\n{log}\n\nCtrl-C ends the demo{fate}.\n\n"
    ))
}

/// Serves until a signal, and shows the connections.
fn serve(gateway: Gateway, signals: &mut Signals, log: &mut LogReader) -> Result<Ended, DemoError> {
    let is_over = AtomicBool::new(false);
    let follow = || {
        // One more look once all is over.
        loop {
            let is_last = is_over.load(Ordering::Relaxed);
            // A terminal that is gone, or a disk that fails, is no reason to stop serving.
            let (connections, more) = log.read().unwrap_or_default();
            let mut lines: String = connections.iter().map(|one| one.line() + "\n").collect();
            if more > 0 {
                lines.push_str(&format!("          and {more} more\n"));
            }
            let _ = say(&lines);
            if is_last {
                return;
            }
            thread::sleep(TICK);
        }
    };
    thread::scope(|scope| {
        let follower = thread::Builder::new().name(String::from("follower"));
        follower.spawn_scoped(scope, follow).map_err(DemoError::Resources)?;
        let ended = signals::supervise(gateway, signals, None, None).map_err(DemoError::Resources);
        is_over.store(true, Ordering::Relaxed);
        ended
    })
}

/// Ends a gateway that serves nobody any more.
fn end(mut gateway: Gateway) -> Ended {
    let mut ended = Ended::Drained;
    gateway.drain();
    let deadline = Instant::now() + Duration::from_millis(DEMO_DRAIN_TIMEOUT_MS);
    while !gateway.is_finished() && Instant::now() < deadline {
        thread::sleep(TICK);
    }
    if !gateway.is_finished() {
        ended = Ended::DeadlineCut;
        gateway.cut_off(CloseKind::DrainDeadline);
        let deadline = Instant::now() + Duration::from_millis(EXIT_TIMEOUT_MS);
        while !gateway.is_finished() && Instant::now() < deadline {
            thread::sleep(TICK);
        }
    }
    gateway.write_log();
    if gateway.is_finished() {
        for error in gateway.join() {
            eprintln!("ringfort: a worker failed: {error}");
            ended = Ended::Failed;
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// The problems that the self-check finds where the gateway's flags were changed by `change`.
    fn problems(change: impl FnOnce(&mut RunArgs)) -> Vec<String> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let listen = free.local_addr().expect("bound").to_string();
        drop(free);
        let is_ending = Arc::new(AtomicBool::new(false));
        let mut folder = Folder::temporary().expect("a folder");
        let stage = Stage::set(&mut folder, &listen).expect("certificates");
        let origin = Origin::start(Arc::clone(&is_ending)).expect("a port");
        let journal = Arc::new(Journal::default());
        let mut flags = stage.flags(&listen, origin.address());
        change(&mut flags);
        let snapshot = load(&flags, &journal).expect("good flags");
        let address = reachable(&snapshot);
        let mut gateway = Gateway::start(snapshot).expect("it starts");
        let mut log = LogReader::open(Path::new(&stage.log)).expect("it is there");
        let (origin, journal, is_ending) = (&origin, &*journal, &*is_ending);
        let check = SelfCheck { address, stage: &stage, origin, journal, is_ending };
        let mut shown = Vec::new();
        let checked = check.run(&mut gateway, &mut log, &mut shown);
        assert_eq!(end(gateway), Ended::Drained);
        let shown = String::from_utf8(shown).expect("UTF-8");
        match checked {
            Ok(()) => Vec::new(),
            Err(DemoError::Check(problems)) => {
                assert_eq!(shown.matches("FAIL").count(), problems.len(), "{shown}");
                problems
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_self_check_of_a_good_gateway_finds_nothing() {
        assert_eq!(problems(|_| {}), [""; 0]);
    }

    #[test]
    fn a_gateway_that_serves_clients_without_a_certificate_fails_the_self_check() {
        let found = problems(|flags| flags.client_auth = Some(String::from("optional")));
        assert!(found.contains(&String::from("a client without a certificate was served")));
        assert!(found.iter().any(|problem| problem.contains("saw 2 connections")), "{found:?}");
    }

    #[test]
    fn a_service_that_does_not_answer_fails_the_self_check() {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let nobody = closed.local_addr().expect("bound").to_string();
        drop(closed);
        let found = problems(|flags| flags.to = vec![nobody]);
        assert!(found.iter().any(|problem| problem.starts_with("no answer: ")), "{found:?}");
        assert!(found.iter().any(|problem| problem.contains("connect_refused")), "{found:?}");
    }

    #[test]
    fn a_gateway_that_refuses_the_client_fails_the_self_check() {
        let found = problems(|flags| flags.allow = vec![String::from("dns:other.test")]);
        assert!(found.iter().any(|problem| problem.contains("denied")), "{found:?}");
    }
}
