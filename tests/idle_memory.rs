//! Heap of one idle connection, counted: a whole gateway in this process, its clients and its
//! origin in a child process.
//!
//! The test starts itself a second time for that; the two talk over a control connection. First so
//! many connections come and go that slabs and pools have grown, then they are held and counted.

use std::alloc::System;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ringfort::cli::pki::{Authority, KeyChoice, Names, Profile, Validity};
use ringfort::config::model;
use ringfort::control::load::load_model;
use ringfort::control::supervisor::Gateway;
use ringfort::error::CloseKind;
use ringfort::tls::provider::{Backend, provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Connections that come and go first; more than are held later.
const WARM_UP: u64 = 1_100;
const HELD: u64 = 1_000;
/// The budget of `docs/architecture.md`.
const BYTES_MAX: f64 = 6.0 * 1024.0;
/// Blocks that may be left for each connection that is gone. A connection that leaves one behind
/// makes 1; the pool of send buffers keeps 288 in all, according to how many were in use at once.
const LEFT_BLOCKS_MAX: f64 = 0.5;

/// In the child's environment: the control address and the folder with the certificates.
const CONTROL: &str = "RINGFORT_IDLE_MEMORY_CONTROL";
const FOLDER: &str = "RINGFORT_IDLE_MEMORY_FOLDER";
/// The same: set where they speak HTTP.
const HTTP: &str = "RINGFORT_IDLE_MEMORY_HTTP";

/// What is sent and comes back where bytes are relayed.
const MESSAGE: &[u8; 16] = b"sixteen bytes ok";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What the connections are.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    tls: &'static str,
    /// Requests, whose upstream connections are closed: those that wait have budgets of their own.
    is_http: bool,
}

const CASES: [Case; 3] = [
    Case { name: "TLS 1.3", tls: "1.3", is_http: false },
    Case { name: "TLS 1.2", tls: "1.2", is_http: false },
    Case { name: "HTTP/1.1 over TLS 1.3", tls: "1.3", is_http: true },
];

#[test]
fn an_idle_connection_holds_at_most_6_kib_of_heap_and_leaves_none_behind() {
    if let (Ok(control), Ok(folder)) = (std::env::var(CONTROL), std::env::var(FOLDER)) {
        return clients(&control, folder.into());
    }
    for case in CASES {
        let name = case.name;
        let mut subject = Subject::start(case);
        subject.open(WARM_UP);
        subject.close(WARM_UP);
        let start = live();
        subject.open(HELD);
        let held = live();
        subject.close(WARM_UP + HELD);
        let end = live();
        let each = |now: Live| (now.bytes - start.bytes) as f64 / HELD as f64;
        let blocks = |now: Live| (now.blocks - start.blocks) as f64 / HELD as f64;
        println!("{name}: {:.0} bytes in {:.1} blocks each", each(held), blocks(held));
        println!("{name}: {:.2} blocks left of each", blocks(end));
        assert!(each(held) > 500.0, "{} bytes cannot be all", each(held));
        assert!(each(held) <= BYTES_MAX, "{} bytes", each(held));
        assert!(blocks(end) <= LEFT_BLOCKS_MAX, "{} blocks stay", blocks(end));
        subject.stop();
    }
}

#[derive(Clone, Copy)]
struct Live {
    bytes: i64,
    blocks: i64,
}

/// What is allocated and not freed, in this whole process.
fn live() -> Live {
    let stats = HEAP.stats();
    let signed = |count: usize| i64::try_from(count).expect("below 2^63");
    Live {
        // Reallocations are counted in `allocated` and `deallocated`, too.
        bytes: signed(stats.bytes_allocated) - signed(stats.bytes_deallocated),
        blocks: signed(stats.allocations) - signed(stats.deallocations),
    }
}

/// The gateway, and the child with everybody that it talks to.
struct Subject {
    gateway: Gateway,
    child: Child,
    control: BufReader<TcpStream>,
    folder: PathBuf,
    case: Case,
}

impl Subject {
    fn start(case: Case) -> Self {
        let folder = write_certificates(case);
        let control = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut child = Command::new(std::env::current_exe().expect("this test"));
        if case.is_http {
            child.env(HTTP, "1");
        }
        let child = child
            .args(["an_idle_connection_holds_at_most_6_kib_of_heap_and_leaves_none_behind"])
            .args(["--exact", "--nocapture"])
            .env(CONTROL, control.local_addr().expect("an address").to_string())
            .env(FOLDER, &folder)
            .spawn()
            .expect("this test runs");
        let mut control = BufReader::new(control.accept().expect("the child").0);
        let origin = answer(&mut control);
        let gateway = start_gateway(&folder, &origin, case);
        let address = gateway.addresses()[0];
        writeln!(control.get_mut(), "{address}").expect("the child reads");
        Self { gateway, child, control, folder, case }
    }

    /// Has the child open connections, each with one message there and back.
    fn open(&mut self, count: u64) {
        writeln!(self.control.get_mut(), "open {count}").expect("the child reads");
        assert_eq!(answer(&mut self.control), "done");
        let sockets = if self.case.is_http { 1 } else { 2 };
        self.until(|gateway| gateway.counters().sockets_live == sockets * count);
    }

    /// Has it close all of them; `closed` are gone then since the start.
    fn close(&mut self, closed: u64) {
        writeln!(self.control.get_mut(), "close").expect("the child reads");
        assert_eq!(answer(&mut self.control), "done");
        self.until(|gateway| {
            let counters = gateway.counters();
            counters.connections_closed == closed && counters.sockets_live == 0
        });
    }

    fn until(&self, holds: impl Fn(&Gateway) -> bool) {
        let began = Instant::now();
        while !holds(&self.gateway) {
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", self.gateway.counters());
            thread::sleep(Duration::from_millis(10));
        }
        // The worker frees what belonged to the last of them.
        thread::sleep(Duration::from_millis(200));
    }

    fn stop(mut self) {
        drop(self.control);
        assert!(self.child.wait().expect("it ends").success());
        self.gateway.cut_off(CloseKind::Stopped);
        assert!(self.gateway.join().is_empty());
        std::fs::remove_dir_all(&self.folder).expect("our own folder");
    }
}

fn answer(control: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    control.read_line(&mut line).expect("the other process lives");
    line.trim_end().to_string()
}

fn write_certificates(case: Case) -> PathBuf {
    let kind = if case.is_http { "http" } else { case.tls };
    let name = format!("ringfort-idle-{}-{kind}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let profile = |name: &str| Profile {
        common_name: name.into(),
        key: KeyChoice::P256,
        validity: Validity::days(SystemTime::now(), 30).expect("30 days"),
    };
    let root = Authority::root(&profile("root")).expect("a root");
    let between = root.intermediate(&profile("intermediate")).expect("an intermediate");
    let names = Names { dns: vec!["localhost".into()], ..Names::default() };
    let server = between.issue_server(&profile("server"), &names).expect("a server");
    let names = Names { spiffe: Some("spiffe://test.example/client".into()), ..Names::default() };
    let client = between.issue_client(&profile("client"), &names).expect("a client");
    for (name, text) in [
        ("root.pem", root.chain_pem()),
        ("server.pem", server.chain_pem()),
        ("server.key", server.key_pem()),
        ("client.pem", client.chain_pem()),
        ("client.key", client.key_pem()),
    ] {
        std::fs::write(folder.join(name), text).expect("a temporary file");
    }
    folder
}

fn start_gateway(folder: &std::path::Path, origin: &str, case: Case) -> Gateway {
    let version = case.tls;
    let (upstream, protocol) = match case.is_http {
        true => ("idle_connections_max = 0\n", "protocol = \"http\"\n"),
        false => ("", ""),
    };
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a free port");
    let text = format!(
        "workers = 1\n[log]\ntarget = \"off\"\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"{origin}\"]\n{upstream}\
         [[listener]]\nname = \"main\"\naddress = \"{address}\"\nupstream = \"origin\"\n{protocol}\
         client_ca = \"root.pem\"\ntls_versions = [\"{version}\"]\nallow = [\"any\"]\n\
         [[listener.certificate]]\nchain = \"server.pem\"\nkey = \"server.key\"\n"
    );
    let mut model = model::parse(&text, "idle.toml").expect("a right configuration");
    model.folder = folder.to_path_buf();
    Gateway::start(load_model(&model).expect("right files").snapshot).expect("it starts")
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// The child: the origin, and clients as the control connection asks for.
fn clients(control: &str, folder: PathBuf) {
    ringfort::control::load::raise_fd_limit();
    let control = TcpStream::connect(control).expect("the test that started this");
    let mut control = BufReader::new(control);
    let (origin, sockets) = start_origin();
    writeln!(control.get_mut(), "{origin}").expect("it reads");
    let gateway: SocketAddr = answer(&mut control).parse().expect("an address");
    let config = client_config(&folder);
    let mut held = Vec::new();
    loop {
        let line = answer(&mut control);
        if let Some(count) = line.strip_prefix("open ") {
            let count: u64 = count.parse().expect("a number");
            held.extend((0..count).map(|_| connect(gateway, &config)));
        } else if line == "close" {
            held.drain(..).for_each(end);
            sockets.lock().expect("not poisoned").clear();
        } else {
            return;
        }
        writeln!(control.get_mut(), "done").expect("it reads");
    }
}

/// Sends one message of each connection back, and keeps it.
fn start_origin() -> (SocketAddr, Arc<Mutex<Vec<TcpStream>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let sockets: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let kept = Arc::clone(&sockets);
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut message = [0; 16];
            socket.read_exact(&mut message).expect("a message");
            let answer: &[u8] = if &message == MESSAGE { MESSAGE } else { RESPONSE };
            if answer == RESPONSE {
                until_empty_line(&mut socket);
            }
            kept.lock().expect("not poisoned").push(socket.try_clone().expect("a descriptor"));
            socket.write_all(answer).expect("the gateway reads");
        }
    });
    (address, sockets)
}

/// Reads what is left of a head.
fn until_empty_line(socket: &mut TcpStream) {
    let mut last = [0; 4];
    while &last != b"\r\n\r\n" {
        last.rotate_left(1);
        socket.read_exact(&mut last[3..]).expect("the rest of the head");
    }
}

fn client_config(folder: &std::path::Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(folder.join("root.pem")).expect("a certificate");
    roots.add(root).expect("a root");
    let chain = CertificateDer::pem_file_iter(folder.join("client.pem")).expect("a file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(folder.join("client.key")).expect("a key");
    let config = ClientConfig::builder_with_provider(Arc::new(
        provider(Backend::ALL[0], &[], &[]).expect("all that there is"),
    ))
    .with_protocol_versions(rustls::ALL_VERSIONS)
    .expect("suites for the versions")
    .with_root_certificates(roots)
    .with_client_auth_cert(chain, key)
    .expect("a certificate and its key");
    Arc::new(config)
}

fn connect(gateway: SocketAddr, config: &Arc<ClientConfig>) -> Tls {
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let socket = TcpStream::connect(gateway).expect("a listener");
    // Or the message waits for the acknowledgement of Finished, 40 ms each time.
    socket.set_nodelay(true).expect("an option");
    let mut tls = StreamOwned::new(client, socket);
    let (said, expected) = match std::env::var(HTTP) {
        Ok(_) => (REQUEST, RESPONSE),
        Err(_) => (&MESSAGE[..], &MESSAGE[..]),
    };
    tls.write_all(said).expect("the gateway reads");
    let mut answer = vec![0; expected.len()];
    tls.read_exact(&mut answer).expect("it comes back");
    assert_eq!(answer, expected);
    tls
}

fn end(mut tls: Tls) {
    tls.conn.send_close_notify();
    tls.flush().expect("the gateway reads");
}
