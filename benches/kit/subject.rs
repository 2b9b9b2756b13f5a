//! The programs that are measured, each on the first CPU with one worker.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::load::Origin;
use super::{Pki, cpu_ns, resident_bytes};

/// A proxy under load.
pub trait Subject {
    fn name(&self) -> &'static str;
    fn address(&self) -> SocketAddr;
    fn pids(&self) -> Vec<u32>;

    fn cpu_ns(&self) -> u64 {
        cpu_ns(&self.pids())
    }

    fn resident_bytes(&self) -> u64 {
        resident_bytes(&self.pids())
    }
}

fn free_address() -> SocketAddr {
    let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
    probe.local_addr().expect("an address")
}

pub fn first_cpu() -> String {
    // The threads of this program are pinned to the last CPU; their parent may use all.
    "0".to_string()
}

pub fn wait_for(address: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on {address}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The gateway itself.
pub struct Ringfort {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    log: String,
}

impl Ringfort {
    pub fn start(pki: &Pki, origin: &Origin) -> Self {
        Self::of(pki, origin.address, &pki.file("log"), &[])
    }

    /// As an HTTP proxy, which writes no line for each request, as nginx writes none.
    pub fn start_http(pki: &Pki, origin: &Origin) -> Self {
        Self::of(pki, origin.http.address, "off", &["--protocol", "http"])
    }

    /// As a relay of bytes before the origin of HTTP: what the exchange costs without HTTP.
    pub fn start_relay(pki: &Pki, origin: &Origin) -> Self {
        Self { name: "relay", ..Self::of(pki, origin.http.address, "off", &[]) }
    }

    fn of(pki: &Pki, origin: SocketAddr, log: &str, more: &[&str]) -> Self {
        let address = free_address();
        let child = Command::new("taskset")
            .args(["--cpu-list", &first_cpu(), env!("CARGO_BIN_EXE_ringfort"), "run"])
            .args(["--listen", &address.to_string(), "--to", &origin.to_string()])
            .args(["--cert", &pki.file("server.pem"), "--key", &pki.file("server.key")])
            .args(["--client-ca", &pki.file("root.pem"), "--log", log])
            .args(more)
            .stderr(Stdio::null())
            .spawn()
            .expect("the gateway starts");
        wait_for(address);
        Self { name: "ringfort", child, address, log: log.to_string() }
    }

    /// Ends it.
    pub fn end(mut self) {
        terminate(&mut self.child);
    }

    /// Ends it, and returns its own counters.
    pub fn stop(mut self) -> String {
        terminate(&mut self.child);
        let log = std::fs::read_to_string(&self.log).expect("it wrote its log");
        let stop = log.lines().last().expect("the stop event");
        let stop: serde_json::Value = serde_json::from_str(stop).expect("JSON");
        stop["counters"].to_string()
    }
}

fn terminate(child: &mut Child) {
    let pid = child.id().to_string();
    Command::new("kill").arg(pid).status().expect("kill(1)");
    child.wait().expect("it ends");
}

impl Subject for Ringfort {
    fn name(&self) -> &'static str {
        self.name
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pids(&self) -> Vec<u32> {
        vec![self.child.id()]
    }
}

/// Debian's nginx as a TLS-terminating proxy.
pub struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Nginx {
    /// As a relay of bytes.
    pub fn start(pki: &Pki, origin: &Origin) -> Self {
        let origin = origin.address;
        let more = format!("proxy_pass {origin}; proxy_buffer_size 64k;");
        Self::of(pki, "nginx", ["stream", "", &more])
    }

    /// As an HTTP proxy that keeps its connections, puts nothing into files and says what the
    /// client said.
    pub fn start_http(pki: &Pki, origin: &Origin) -> Self {
        let (folder, origin) = (pki.folder.display(), origin.http.address);
        let more = format!(
            "keepalive_requests 1000000000; client_max_body_size 0;\n\
             client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
             fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
             location / {{ proxy_pass http://origin; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
             proxy_request_buffering off; proxy_max_temp_file_size 0; proxy_buffer_size 64k;\n\
             proxy_buffers 8 64k; proxy_busy_buffers_size 128k; }}"
        );
        let upstream = format!(
            "upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}"
        );
        Self::of(pki, "nginx-http", ["http", &upstream, &more])
    }

    /// With that kind of block, its own lines, and those of its server.
    fn of(pki: &Pki, name: &str, [kind, upstream, more]: [&str; 3]) -> Self {
        let address = free_address();
        let folder = pki.folder.display();
        let module = match kind {
            "stream" => "load_module /usr/lib/nginx/modules/ngx_stream_module.so;",
            _ => "",
        };
        let conf = format!(
            "{module} daemon off; worker_processes 1; pid {folder}/{name}.pid;\n\
             error_log {folder}/{name}.error crit; events {{ worker_connections 16384; }}\n\
             {kind} {{ access_log off; {upstream} server {{\n\
             listen {address} ssl reuseport backlog=4096;\n\
             ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;\n\
             ssl_client_certificate {folder}/root.pem; ssl_verify_client on; ssl_verify_depth 3;\n\
             ssl_protocols TLSv1.3; ssl_session_cache off; ssl_session_tickets off;\n\
             ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; ssl_ecdh_curve X25519;\n\
             tcp_nodelay on; {more} }} }}\n"
        );
        let file = pki.file(&format!("{name}.conf"));
        std::fs::write(&file, conf).expect("a temporary file");
        let child = Command::new("taskset")
            .args(["--cpu-list", &first_cpu(), "nginx", "-c", &file])
            .spawn()
            .expect("nginx starts; apt-get install nginx libnginx-mod-stream");
        wait_for(address);
        Self { child, address }
    }
}

impl Subject for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    /// The master and its worker.
    fn pids(&self) -> Vec<u32> {
        let master = self.child.id();
        let path = format!("/proc/{master}/task/{master}/children");
        let children = std::fs::read_to_string(path).expect("nginx runs");
        let workers = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        std::iter::once(master).chain(workers).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Not SIGKILL: the master ends its worker.
        terminate(&mut self.child);
    }
}
