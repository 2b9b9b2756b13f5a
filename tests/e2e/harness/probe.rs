//! `ringfort probe` as a process, and the servers that it is pointed at: openssl's, Python's,
//! rustls', and plain sockets.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::PATIENCE;
use super::pki::{Credentials, pki};
use super::programs::script;

/// How a probe ended.
pub(crate) struct Probed {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl Probed {
    /// Its document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    /// Whether nothing that it printed could steer a terminal.
    #[track_caller]
    pub(crate) fn assert_harmless(&self) {
        for c in self.out.chars().chain(self.err.chars()) {
            let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}');
            assert!(c == '\n' || !(c.is_control() || turns), "{c:?} in {}", self.out);
        }
    }
}

/// Runs `ringfort probe` with these arguments.
pub(crate) fn probe_any(arguments: &[&str]) -> Probed {
    let began = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_ringfort"))
        .arg("probe")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    Probed {
        status: output.status.code().expect("no signal ends it"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
        took: began.elapsed(),
    }
}

/// Probes an address with these arguments, and returns how it ended and its document.
pub(crate) fn probe(address: SocketAddr, arguments: &[&str]) -> (Probed, Value) {
    let target = address.to_string();
    let probed = probe_any(&[&[&target[..], "--json"], arguments].concat());
    let json = probed.json();
    assert_eq!(probed.status, i32::from(json["result"] != "done"), "{json:#}");
    assert_eq!(json["failure"].is_null(), json["result"] == "done", "{json:#}");
    (probed, json)
}

/// The options that present these credentials.
pub(crate) fn presenting(credentials: &Credentials) -> [String; 4] {
    let path = |path: &std::path::Path| path.display().to_string();
    [
        String::from("--cert"),
        path(&credentials.chain_file),
        String::from("--key"),
        path(&credentials.key_file),
    ]
}

/// A program that serves TLS; killed on drop.
pub(crate) struct TlsServer {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Its output, held open so that it can go on writing.
    _out: BufReader<ChildStdout>,
}

impl TlsServer {
    /// `openssl s_server` with the usual certificate and roots.
    pub(crate) fn openssl(arguments: &[&str]) -> Self {
        let path = |path: &std::path::Path| path.display().to_string();
        let server = &pki().server;
        let [leaf, key] = [path(&server.leaf_file), path(&server.key_file)];
        let [issuers, root] = [path(&server.issuers_file), path(&pki().root_file)];
        let usual = ["-cert", &leaf, "-key", &key, "-cert_chain", &issuers, "-CAfile", &root];
        Self::openssl_of(&[&usual[..], arguments].concat())
    }

    /// The same with a certificate and a key of its own.
    pub(crate) fn openssl_of(arguments: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-accept", "127.0.0.1:0"]).args(arguments);
        Self::start(command, |line| line.strip_prefix("ACCEPT ")?.parse().ok())
    }

    /// Python's, which asks for certificates where `verify` is `required`.
    pub(crate) fn python(verify: &str, protocols: &[&str]) -> Self {
        let server = &pki().server;
        let mut command = Command::new("python3");
        command.arg(script("tls_server.py")).arg(&server.chain_file).arg(&server.key_file);
        command.arg(&pki().root_file).arg(verify).args(protocols);
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::start(command, |line| line.parse().ok().map(local))
    }

    fn start(mut command: Command, address: impl Fn(&str) -> Option<SocketAddr>) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it is installed");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            let bytes = out.read_line(&mut line).expect("text");
            assert!(bytes > 0, "{command:?} ended before it accepted");
            if let Some(address) = address(line.trim()) {
                break address;
            }
        };
        Self { child, address, _out: out }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // By its own pid; fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server in this process that does `act` to each of its connections, one after the other.
pub(crate) fn serve(mut act: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
            socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
            act(socket);
        }
    });
    address
}

/// The same with TLS of this configuration, once its handshake is done; `configure` is asked anew
/// for each connection.
pub(crate) fn serve_tls(
    mut configure: impl FnMut() -> ServerConfig + Send + 'static,
    mut act: impl FnMut(StreamOwned<ServerConnection, TcpStream>) + Send + 'static,
) -> SocketAddr {
    serve(move |mut socket| {
        let tls = ServerConnection::new(Arc::new(configure()));
        let mut tls = tls.expect("a good configuration");
        while tls.is_handshaking() {
            if tls.complete_io(&mut socket).is_err() {
                // The alert that says why.
                let _ = tls.write_tls(&mut socket);
                return;
            }
        }
        act(StreamOwned::new(tls, socket));
    })
}

/// Reads until the client ends.
pub(crate) fn read_to_end(mut stream: impl Read) {
    let mut bytes = [0; 4096];
    while matches!(stream.read(&mut bytes), Ok(1..)) {}
}
