//! Clients that come back with the session of an earlier connection: rustls, openssl, Python.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, HandshakeKind, NamedGroup};

use super::chaos::{children, file, openssl, split, tlv};
use super::client::{Client, ClientOptions, alert_of};
use super::gateway::read_text;
use super::pki::{Credentials, SERVER_NAME, pki};
use super::programs::script;
use super::temp_dir;

/// How a connection went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// The session was resumed, and bytes came back.
    Resumed,
    /// The handshake was a full one, and bytes came back.
    Full,
    /// An alert ended it, in or right after this handshake.
    Refused(AlertDescription),
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

/// Both.
pub(crate) const VERSIONS: [Version; 2] = [Version::Tls12, Version::Tls13];

impl Version {
    /// A client of this version only.
    pub(crate) fn of(self, options: ClientOptions) -> ClientOptions {
        match self {
            Self::Tls12 => options.tls12(),
            Self::Tls13 => options.tls13(),
        }
    }
}

/// Sessions, whichever server they are of: so that one can be offered where it does not belong.
#[derive(Debug, Default)]
pub(crate) struct Wallet {
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<VecDeque<Tls13ClientSessionValue>>,
}

impl Wallet {
    /// Tickets of TLS 1.3 that have come and were not used.
    pub(crate) fn tickets(&self) -> usize {
        self.tls13.lock().expect("not poisoned").len()
    }

    /// Whether it holds a session of any version.
    pub(crate) fn has_session(&self) -> bool {
        self.tickets() > 0 || self.tls12.lock().expect("not poisoned").is_some()
    }
}

impl ClientSessionStore for Wallet {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *self.tls12.lock().expect("not poisoned") = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12.lock().expect("not poisoned").clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *self.tls12.lock().expect("not poisoned") = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.tls13.lock().expect("not poisoned").push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tls13.lock().expect("not poisoned").pop_back()
    }
}

/// A rustls client that comes back.
pub(crate) struct Returning {
    config: Arc<ClientConfig>,
    server_name: String,
    pub(crate) wallet: Arc<Wallet>,
}

impl Returning {
    /// One without a session.
    pub(crate) fn new(options: &ClientOptions) -> Self {
        let wallet = Arc::<Wallet>::default();
        let mut config = options.config();
        config.resumption = Resumption::store(Arc::clone(&wallet) as Arc<dyn ClientSessionStore>);
        Self { config: Arc::new(config), server_name: options.name().to_owned(), wallet }
    }

    /// The same client with the same sessions, which it offers to a server of another name.
    pub(crate) fn asking(&self, server_name: &str) -> Self {
        let (config, wallet) = (Arc::clone(&self.config), Arc::clone(&self.wallet));
        Self { config, server_name: server_name.into(), wallet }
    }

    /// Connects with what it has, exchanges a few bytes, and goes.
    pub(crate) fn visit(&self, address: SocketAddr) -> Visit {
        match self.stay(address) {
            Ok((client, visit)) => {
                client.end();
                visit
            }
            Err(error) => {
                Visit::Refused(alert_of(&error).unwrap_or_else(|| panic!("no alert but {error:?}")))
            }
        }
    }

    /// The same, and stays.
    pub(crate) fn stay(&self, address: SocketAddr) -> io::Result<(Client, Visit)> {
        let mut client = self.open(address)?;
        client.shake_hands()?;
        // The answer comes behind the tickets.
        client.try_send(b"hello")?;
        let mut answer = [0; 5];
        client.read_exact(&mut answer)?;
        assert_eq!(&answer, b"hello");
        let visit = match client.tls.handshake_kind().expect("it is complete") {
            HandshakeKind::Resumed => Visit::Resumed,
            HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest => Visit::Full,
        };
        Ok((client, visit))
    }

    /// Connects, and leaves the handshake to the caller.
    pub(crate) fn open(&self, address: SocketAddr) -> io::Result<Client> {
        let options = ClientOptions::anonymous();
        let mut client = options.over(TcpStream::connect(address)?);
        let name = ServerName::try_from(self.server_name.clone()).expect("a name");
        client.tls = ClientConnection::new(Arc::clone(&self.config), name).expect("a client");
        Ok(client)
    }
}

/// What openssl sends, and gets back.
const HELLO: &str = "hello, gateway";

/// `openssl s_client` that comes back: its sessions are in a file.
pub(crate) struct OpenSslReturning {
    credentials: Vec<String>,
    version: Version,
    /// The newest session.
    pub(crate) session: PathBuf,
}

impl OpenSslReturning {
    /// One without a session.
    pub(crate) fn new(credentials: &Credentials, version: Version) -> Self {
        let path = |path: &PathBuf| path.display().to_string();
        let credentials = vec![
            "-cert".into(),
            path(&credentials.leaf_file),
            "-key".into(),
            path(&credentials.key_file),
            "-cert_chain".into(),
            path(&credentials.issuers_file),
        ];
        Self { credentials, version, session: temp_dir().join("session.pem") }
    }

    /// Connects with what it has, exchanges a line, and goes. `keep`: it offers the same session
    /// the next time, too.
    pub(crate) fn visit(&self, address: SocketAddr, keep: bool) -> Visit {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-no_ign_eof", "-connect", &address.to_string()]);
        command.args(["-servername", SERVER_NAME, "-CAfile"]).arg(&pki().root_file);
        command.arg(match self.version {
            Version::Tls12 => "-tls1_2",
            Version::Tls13 => "-tls1_3",
        });
        command.args(&self.credentials);
        if self.session.exists() {
            command.arg("-sess_in").arg(&self.session);
        }
        let new = temp_dir().join("session.pem");
        command.arg("-sess_out").arg(&new);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("openssl is installed");
        let mut stdin = child.stdin.take().expect("piped");
        // It may have ended upon an alert.
        let _ = writeln!(stdin, "{HELLO}");
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut stdin = Some(stdin);
        while let Some(Ok(line)) = lines.next() {
            said.push_str(&line);
            said.push('\n');
            // What it received goes by the buffer of what it prints, so it may follow half a line.
            if line.ends_with(HELLO) {
                drop(stdin.take());
            }
        }
        let errors = read_text(child.stderr.take().expect("piped"));
        child.wait().expect("our child");
        if !keep && new.exists() {
            std::fs::rename(&new, &self.session).expect("a file of ours");
        }
        if let Some(number) = errors.split("SSL alert number ").nth(1) {
            let number = number.lines().next().and_then(|number| number.trim().parse::<u8>().ok());
            return Visit::Refused(number.expect("a number").into());
        }
        assert!(said.contains(HELLO), "{said}\n{errors}");
        match (said.contains("Reused, TLSv"), said.contains("New, TLSv")) {
            (true, false) => Visit::Resumed,
            (false, true) => Visit::Full,
            _ => panic!("neither new nor reused: {said}\n{errors}"),
        }
    }
}

/// Python's ssl module, in a process of its own that comes back when it is told to.
pub(crate) struct PythonReturning {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl PythonReturning {
    /// One without a session.
    pub(crate) fn new(credentials: &Credentials, version: Version) -> Self {
        let mut child = Command::new("python3")
            .args([&script("resume.py"), "127.0.0.1", SERVER_NAME])
            .args([&pki().root_file, &credentials.chain_file, &credentials.key_file])
            .arg(match version {
                Version::Tls12 => "TLSv1_2",
                Version::Tls13 => "TLSv1_3",
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let stdin = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, stdin, lines }
    }

    /// Connects with what it has, exchanges a few bytes, and goes; `keep` as for openssl. What it
    /// says: `resumed`, `full`, or `refused` and why.
    pub(crate) fn visit(&mut self, address: SocketAddr, keep: bool) -> String {
        let keep = if keep { " keep" } else { "" };
        writeln!(self.stdin, "{}{keep}", address.port()).expect("it reads");
        self.lines.next().expect("it answers").expect("text")
    }
}

impl Drop for PythonReturning {
    fn drop(&mut self) {
        // By its own pid; fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts another ticket into a session of openssl's.
pub(crate) fn edit_ticket(session: &Path, edit: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    /// `[10] EXPLICIT OCTET STRING` of openssl's SSL_SESSION.
    const TICKET: u8 = 0xaa;
    let path = session.display().to_string();
    let der = openssl(&["sess_id", "-in", &path, "-outform", "DER"]);
    let mut children = children(split(&der).1);
    let at = children.iter().position(|child| child[0] == TICKET);
    let Some(at) = at else {
        return;
    };
    let ticket = split(split(&children[at]).1).1.to_vec();
    children[at] = tlv(TICKET, &tlv(4, &edit(ticket)));
    let der = file("session.der", tlv(0x30, &children.concat())).display().to_string();
    openssl(&["sess_id", "-inform", "DER", "-in", &der, "-outform", "PEM", "-out", &path]);
}
