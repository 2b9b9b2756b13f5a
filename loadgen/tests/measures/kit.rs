//! Certificates, servers and the program, each ended when its value is dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ringfort::cli::pki::{Authority, Issued, KeyChoice, Names, Profile, Validity};
use ringfort::config::model;
use ringfort::control::load::load_model;
use ringfort::control::supervisor::Gateway;
use ringfort::error::CloseKind;
use ringfort::tls::provider::{Backend, provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// How long anything may take: far longer than it does, for busy machines.
const PATIENCE: Duration = Duration::from_secs(60);

/// The certificates of this run.
pub struct Pki {
    folder: PathBuf,
}

impl Pki {
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("UTF-8").to_owned()
    }
}

/// Roots `ca` and `other`; of `ca`: `server`, `expired` and `client`.
pub fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let folder = scratch("pki");
        std::fs::create_dir_all(&folder).expect("a folder");
        let pki = Pki { folder };
        let write = |name: &str, chain: String, key: String| {
            std::fs::write(pki.path(&format!("{name}.pem")), chain).expect("room");
            std::fs::write(pki.path(&format!("{name}.key")), key).expect("room");
        };
        let profile = |name: &str| Profile {
            common_name: name.into(),
            key: KeyChoice::P256,
            validity: Validity::days(SystemTime::now(), 30).expect("30 days"),
        };
        let names = || Names { dns: vec!["localhost".into()], ..Names::default() };
        let root = Authority::root(&profile("ca")).expect("a root");
        let other = Authority::root(&profile("other")).expect("a root");
        write("ca", root.chain_pem(), root.key_pem());
        write("other", other.chain_pem(), other.key_pem());
        let keep = |name: &str, issued: Issued| write(name, issued.chain_pem(), issued.key_pem());
        keep("server", root.issue_server(&profile("server"), &names()).expect("a server"));
        keep("client", root.issue_client(&profile("client"), &names()).expect("a client"));
        let validity = Validity::between(1_000_000_000, 1_100_000_000).expect("times");
        let old = Profile { validity, ..profile("expired") };
        keep("expired", root.issue_server(&old, &names()).expect("a server"));
        pki
    })
}

/// A path of this test run that nothing else uses.
pub fn scratch(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    folder.join(format!("{}-{number}-{name}", std::process::id()))
}

/// A process that ends with the value.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `ringfort-loadgen origin`.
pub fn origin(service: &str) -> Process {
    let mut child = loadgen(&["origin", "--listen", "127.0.0.1:0", "--serve", service])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("listening on ").expect("the address");
    Process { child, address: address.parse().expect("an address") }
}

/// `server.py` with these arguments: HTTPS that wants a client certificate.
pub fn python(args: &[&str]) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/measures/server.py");
    let mut child = Command::new("python3")
        .arg(script)
        .args([pki().path("server.pem"), pki().path("server.key"), pki().path("ca.pem")])
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("Python 3 is installed");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let address = format!("127.0.0.1:{}", line.trim()).parse().expect("a port");
    Process { child, address }
}

/// `openssl s_server`.
pub fn openssl(args: &[&str]) -> Process {
    let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = probe.local_addr().expect("an address");
    drop(probe);
    let child = Command::new("openssl")
        .args(["s_server", "-quiet", "-accept", &address.to_string()])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let process = Process { child, address };
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "openssl s_server does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    process
}

/// A listener whose connections `serve` gets.
pub fn listener(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

/// nginx with HTTP/2; `/small` is 5 bytes, `/missing` is missing.
pub struct Nginx {
    child: Child,
    pub address: SocketAddr,
}

impl Nginx {
    /// With more lines in its server.
    pub fn start(more: &str) -> Self {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = probe.local_addr().expect("an address");
        drop(probe);
        let folder = scratch("nginx");
        std::fs::create_dir_all(&folder).expect("a folder");
        let (here, certificates) = (folder.display(), pki().folder.display());
        let text = format!(
            "daemon off; worker_processes 1; pid {here}/pid; error_log {here}/error crit;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_max_body_size 0; keepalive_requests 100000;\n\
             client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;\n\
             fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
             server {{ listen {address} ssl http2; ssl_verify_client on;\n\
             ssl_certificate {certificates}/server.pem;\n\
             ssl_certificate_key {certificates}/server.key;\n\
             ssl_client_certificate {certificates}/ca.pem;\n\
             location = /small {{ return 200 hello; }} location = /missing {{ return 404; }}\n\
             {more} }} }}\n"
        );
        let path = folder.join("nginx.conf");
        std::fs::write(&path, text).expect("room");
        let child = Command::new("nginx")
            .env("PATH", "/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
            .arg("-c")
            .arg(&path)
            .args(["-e", &format!("{here}/error")])
            .stdout(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        let nginx = Self { child, address };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Not SIGKILL: the master ends its worker.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// A server of TLS that agrees on HTTP/2, says `answer` to each first request whatever it is, and
/// ends the connection after a while.
pub fn frames(answer: Vec<u8>, stays: Duration) -> SocketAddr {
    let (suites, groups) = (&[], &[]);
    let provider = provider(Backend::preferred().expect("one"), suites, groups).expect("all");
    let chain = CertificateDer::pem_file_iter(pki().path("server.pem")).expect("a file");
    let chain: Vec<_> = chain.map(|one| one.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(pki().path("server.key")).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    listener(move |socket| {
        let server = ServerConnection::new(Arc::clone(&config)).expect("a server");
        let mut tls = StreamOwned::new(server, socket);
        let mut seen = Vec::new();
        // The preface, SETTINGS, WINDOW_UPDATE, and a HEADERS frame of stream 1.
        while !seen.windows(5).any(|five| five[0] == 1 && five[1..] == [5, 0, 0, 0]) {
            let mut piece = [0; 4096];
            match tls.read(&mut piece) {
                Ok(count) if count > 0 => seen.extend_from_slice(&piece[..count]),
                _ => return,
            }
        }
        let _ = tls.write_all(&answer).and_then(|()| tls.flush());
        thread::sleep(stays);
        tls.conn.send_close_notify();
        let _ = tls.flush();
        // What is not read would reset the connection, and with it what was said.
        let _ = tls.sock.shutdown(std::net::Shutdown::Write);
        let _ = tls.sock.set_read_timeout(Some(Duration::from_millis(200)));
        while matches!(tls.sock.read(&mut [0; 4096]), Ok(1..)) {}
    })
}

/// A gateway in this process, in front of `origin`.
pub struct Front {
    gateway: Gateway,
    pub address: SocketAddr,
}

impl Front {
    pub fn of(origin: SocketAddr) -> Self {
        Self::with(origin, "")
    }

    /// With more lines in its listener.
    pub fn with(origin: SocketAddr, more: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a free port");
        let text = format!(
            "workers = 1\n[log]\ntarget = \"off\"\n\
             [[upstream]]\nname = \"origin\"\nendpoints = [\"{origin}\"]\n\
             [[listener]]\nname = \"main\"\naddress = \"{address}\"\nupstream = \"origin\"\n\
             client_ca = \"ca.pem\"\nallow = [\"any\"]\n{more}\
             [[listener.certificate]]\nchain = \"server.pem\"\nkey = \"server.key\"\n"
        );
        let mut model = model::parse(&text, "front.toml").expect("a right configuration");
        model.folder = pki().folder.clone();
        let snapshot = load_model(&model).expect("right files").snapshot;
        let gateway = Gateway::start(snapshot).expect("it starts");
        Self { gateway, address }
    }
}

impl Front {
    /// Waits until it has relayed so much that exchanges of 128 bytes are complete at the other
    /// end, too.
    pub fn wait_for_bytes(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.gateway.counters().bytes_down < 64 * 1024 {
            assert!(Instant::now() < deadline, "nothing comes");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.gateway.cut_off(CloseKind::Stopped);
        self.gateway.join();
    }
}

/// The program.
pub fn loadgen(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort-loadgen"));
    command.args(args);
    command
}

/// How a run ended.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    /// The report; `Null` where there is none.
    pub report: Value,
    pub stderr: String,
}

impl Done {
    pub fn errors(&self) -> Vec<&str> {
        let errors = self.report["errors"].as_object().expect("errors");
        errors.keys().map(String::as_str).collect()
    }

    pub fn count(&self, what: &str) -> u64 {
        self.report[what].as_u64().unwrap_or_else(|| panic!("{what}: {self:?}"))
    }
}

/// Who we are and whom we trust.
pub fn credentials() -> Vec<String> {
    let (cert, key, ca) =
        (pki().path("client.pem"), pki().path("client.key"), pki().path("ca.pem"));
    ["--cert", &cert, "--key", &key, "--ca", &ca].map(str::to_owned).to_vec()
}

/// Runs a mode against `address` with these arguments, and reads its report.
pub fn measure(mode: &str, address: SocketAddr, args: &str, credentials: &[String]) -> Done {
    let target = format!("localhost:{}", address.port());
    let output = loadgen(&[mode, "--target", &target, "--json", "-"])
        .args(credentials)
        .args(args.split_whitespace())
        .output()
        .expect("it runs");
    done(&output)
}

pub fn done(output: &Output) -> Done {
    Done {
        status: output.status.code().expect("an exit status"),
        report: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
