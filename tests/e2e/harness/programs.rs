//! Programs of others: openssl, curl, nginx, Python. Each must be installed; `scripts/test` sees
//! to that.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use super::pki::{Credentials, SERVER_NAME, pki};
use super::{free_local, temp_dir, wait_until};

/// `openssl s_client`, spoken to through pipes; killed on drop.
pub(crate) struct OpenSsl {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl OpenSsl {
    /// Connects, with a certificate where one is given.
    pub(crate) fn connect(
        address: SocketAddr,
        credentials: Option<&Credentials>,
        arguments: &[&str],
    ) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-no_ign_eof", "-verify_return_error"]);
        command.args(["-connect", &address.to_string(), "-servername", SERVER_NAME]);
        command.args(["-verify_hostname", SERVER_NAME]);
        command.arg("-CAfile").arg(&pki().root_file);
        if let Some(credentials) = credentials {
            command.arg("-cert").arg(&credentials.leaf_file);
            command.arg("-key").arg(&credentials.key_file);
            command.arg("-cert_chain").arg(&credentials.issuers_file);
        }
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("openssl is installed");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, stdin, stdout }
    }

    /// Sends a line and returns the next one that comes.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        let stdin = self.stdin.as_mut().expect("open");
        // It may have ended upon an alert, which the answer shows.
        let _ = writeln!(stdin, "{line}");
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).expect("text");
        answer.trim_end().to_string()
    }

    /// Ends its input, upon which it sends close_notify; returns whether it was content, and what
    /// it said on standard error.
    pub(crate) fn end(mut self) -> (bool, String) {
        drop(self.stdin.take());
        let stderr = self.child.stderr.take().expect("piped");
        let text = super::gateway::read_text(stderr);
        (self.child.wait().expect("our child").success(), text)
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        // By its own pid; fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `openssl s_client` prints of a connection: the server's certificate among it.
pub(crate) fn shown_to_openssl(address: SocketAddr, credentials: &Credentials) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", SERVER_NAME])
        .arg("-CAfile")
        .arg(&pki().root_file)
        .arg("-cert")
        .arg(&credentials.leaf_file)
        .arg("-key")
        .arg(&credentials.key_file)
        .arg("-cert_chain")
        .arg(&credentials.issuers_file)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The number of the alert by which a gateway refuses `openssl s_client`, which presents whatever
/// it is given.
///
/// # Panics
/// Where it is not refused by an alert.
#[track_caller]
pub(crate) fn openssl_alert(address: SocketAddr, credentials: &Credentials, version: &str) -> u8 {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-no_ign_eof", version]);
    command.args(["-connect", &address.to_string(), "-servername", SERVER_NAME]);
    // It must not be the one that minds.
    command.args(["-cipher", "ALL:@SECLEVEL=0"]);
    command.arg("-cert").arg(&credentials.leaf_file).arg("-key").arg(&credentials.key_file);
    if credentials.chain.len() > 1 {
        command.arg("-cert_chain").arg(&credentials.issuers_file);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl is installed");
    // Its end would end openssl, under TLS 1.3 before the alert has come.
    let stdin = child.stdin.take();
    let said = super::gateway::read_text(child.stderr.take().expect("piped"));
    drop(stdin);
    child.wait().expect("our child");
    let number = said.split("SSL alert number ").nth(1).and_then(|text| text.lines().next());
    let number = number.and_then(|number| number.trim().parse().ok());
    number.unwrap_or_else(|| panic!("no alert in: {said}"))
}

/// `curl` with the usual roots; the name of the server is resolved to `address`.
pub(crate) fn curl(
    address: SocketAddr,
    credentials: Option<&Credentials>,
    arguments: &[&str],
) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60"]);
    command.arg("--cacert").arg(&pki().root_file);
    command.args(["--resolve", &format!("{SERVER_NAME}:{}:{}", address.port(), address.ip())]);
    if let Some(credentials) = credentials {
        command.arg("--cert").arg(&credentials.chain_file);
        command.arg("--key").arg(&credentials.key_file);
    }
    command.args(arguments).output().expect("curl is installed")
}

/// The URL of a path behind a gateway, as [`curl`] resolves it.
pub(crate) fn url(address: SocketAddr, path: &str) -> String {
    format!("https://{SERVER_NAME}:{}{path}", address.port())
}

/// The path of a script of tests/e2e/python.
pub(crate) fn script(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/python");
    folder.join(name).display().to_string()
}

/// Runs a script of tests/e2e/python with the address, the roots, the credentials and then
/// `arguments`; returns what it prints.
pub(crate) fn python(
    script: &str,
    address: SocketAddr,
    credentials: &Credentials,
    arguments: &[&str],
) -> String {
    let output = Command::new("python3")
        .arg(self::script(script))
        .args([&address.ip().to_string(), &address.port().to_string(), SERVER_NAME])
        .arg(&pki().root_file)
        .arg(&credentials.chain_file)
        .arg(&credentials.key_file)
        .args(arguments)
        .output()
        .expect("python3 is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The Python of the environment that has what tests take from PyPI.
///
/// # Panics
/// Where it is not there.
fn python_with_packages() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("below the target folder");
    let python = target.join("python/bin/python");
    let missing =
        "is missing: scripts/test makes it, by the list tests/e2e/python/requirements.txt";
    assert!(python.exists(), "{} {missing}", python.display());
    python
}

/// A script of tests/e2e/python that needs packages of PyPI, bounded in time.
pub(crate) fn python_command(script: &str) -> Command {
    let mut command = bounded(&python_with_packages().display().to_string());
    command.arg("-B").arg(self::script(script)).stdin(Stdio::null());
    command
}

/// A program that is ended after a minute.
pub(crate) fn bounded(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "60", program]);
    command
}

/// Runs a client that must be content; returns what it prints.
#[track_caller]
pub(crate) fn content(command: &mut Command) -> String {
    let output = command.output().expect("timeout is a program of every Linux");
    let (stdout, stderr) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8_lossy(stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}

/// Adds the address, the roots and the credentials, as the scripts of tests/e2e/python take them.
pub(crate) fn as_client(command: &mut Command, address: SocketAddr, credentials: &Credentials) {
    command
        .args([&address.ip().to_string(), &address.port().to_string(), SERVER_NAME])
        .arg(&pki().root_file)
        .arg(&credentials.chain_file)
        .arg(&credentials.key_file);
}

/// A server of another program that says on which port it listens; killed on drop.
pub(crate) struct Server {
    child: Child,
    /// Open, so that what it prints does not end it.
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it. Its first line is the port, on 127.0.0.1.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program is installed");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        let port = line.trim().parse().unwrap_or_else(|_| panic!("no port but {line:?}"));
        Self { child, _stdout: stdout, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// A script of tests/e2e/python.
    #[track_caller]
    pub(crate) fn python(script: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(python_with_packages());
        Self::start(command.arg("-B").arg(self::script(script)).args(arguments))
    }

    /// A script of tests/e2e/node.
    #[track_caller]
    pub(crate) fn node(script: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/node");
        Self::start(Command::new("node").arg(folder.join(script)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By its own pid; fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// nginx with a folder of files, on a port of its own; killed on drop.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) root: PathBuf,
}

impl Nginx {
    pub(crate) fn start() -> Self {
        Self::speaking("", "")
    }

    /// HTTP/2 with prior knowledge.
    pub(crate) fn start_http2() -> Self {
        Self::speaking("http2", "")
    }

    /// The same as [`Nginx::start`], with these directives of its server.
    pub(crate) fn with(directives: &str) -> Self {
        Self::speaking("", directives)
    }

    /// Over TLS with this certificate; `protocol` is empty or `http2`.
    pub(crate) fn over_tls(protocol: &str, server: &Credentials, directives: &str) -> Self {
        let (chain, key) = (server.chain_file.display(), server.key_file.display());
        let files = format!("ssl_certificate {chain}; ssl_certificate_key {key};");
        Self::speaking(&format!("ssl {protocol}"), &format!("{files} {directives}"))
    }

    fn speaking(protocol: &str, directives: &str) -> Self {
        let prefix = temp_dir();
        let root = prefix.join("root");
        std::fs::create_dir(&root).expect("a temporary folder");
        let address = free_local();
        let temp_paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|what| format!("{what}_temp_path {}/{what};\n", prefix.display()))
            .collect();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log {0}/error.log;\n\
             events {{}}\nhttp {{\naccess_log {0}/access.log;\n{temp_paths}\
             server {{ listen {address} {protocol}; root {0}/root; {directives} }}\n}}\n",
            prefix.display()
        );
        let file = prefix.join("nginx.conf");
        std::fs::write(&file, text).expect("a temporary file");
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&prefix)
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        let nginx = Self { child, address, root };
        wait_until("nginx", || std::net::TcpStream::connect(address).is_ok());
        nginx
    }

    /// Its log, of one line for each request.
    pub(crate) fn access_log(&self) -> PathBuf {
        self.root.with_file_name("access.log")
    }

    /// Puts a file into its folder.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.root.join(name), bytes).expect("a temporary file");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // By its own pid; without a master there is one process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
