//! What a handshake costs without ringfort: rustls' buffered server in memory, and the same behind
//! a blocking accept loop, which is the least that sockets add. The loop can have an upstream: the
//! difference is what one upstream connection costs.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::floor_mode::Mode;
use super::load::MESSAGE_BYTES;
use super::subject::{Subject, first_cpu, wait_for};
use super::{Pki, median};

/// The argument that makes this program serve as the floor.
pub const SERVE: &str = "--serve-floor";

/// The blocking loop, in a process of its own. It serves one connection at a time: handshakes
/// with one exchange, nothing else.
pub struct Blocking {
    child: Child,
    address: SocketAddr,
}

impl Blocking {
    pub fn start(pki: &Pki) -> Self {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = probe.local_addr().expect("an address");
        drop(probe);
        let program = std::env::current_exe().expect("this program");
        let child = Command::new("taskset")
            .args(["--cpu-list", &first_cpu()])
            .arg(program)
            .args([SERVE, &address.to_string(), &pki.file(""), Mode::New.name()])
            .stdout(Stdio::null())
            .spawn()
            .expect("the floor starts");
        wait_for(address);
        Self { child, address }
    }
}

impl Subject for Blocking {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pids(&self) -> Vec<u32> {
        vec![self.child.id()]
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

/// Serves until it is killed: a message goes back as it came, or to the upstream and back.
pub fn serve(address: &str, folder: &str, mode: Mode, upstream: Option<&str>) {
    let config = super::server_config_from(folder, mode);
    let listener = TcpListener::bind(address).expect("the port is free");
    for socket in listener.incoming().flatten() {
        let server = ServerConnection::new(Arc::clone(&config)).expect("a server");
        // A client that fails is not this program's to judge: the next one is served.
        let _ = exchange(StreamOwned::new(server, socket), upstream);
    }
}

/// The upstream is connected after the handshake, and is shut down before it is closed, as a relay
/// has to do.
fn exchange(
    mut tls: StreamOwned<ServerConnection, TcpStream>,
    upstream: Option<&str>,
) -> io::Result<()> {
    tls.sock.set_nodelay(true)?;
    let mut message = [0; MESSAGE_BYTES];
    tls.conn.complete_io(&mut tls.sock)?;
    let mut upstream = upstream.map(TcpStream::connect).transpose()?;
    tls.read_exact(&mut message)?;
    if let Some(upstream) = &mut upstream {
        upstream.set_nodelay(true)?;
        upstream.write_all(&message)?;
        upstream.read_exact(&mut message)?;
    }
    tls.write_all(&message)?;
    if tls.read(&mut message)? > 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if let Some(upstream) = &mut upstream {
        upstream.shutdown(Shutdown::Write)?;
        if upstream.read(&mut message)? > 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    tls.conn.send_close_notify();
    tls.flush()
}

const HANDSHAKES: usize = 300;

/// Microseconds of CPU that the server's side of a full mTLS handshake takes, the median.
pub fn handshake_us(pki: &Pki) -> f64 {
    median((0..HANDSHAKES).map(|_| one(pki).as_secs_f64() * 1e6).collect())
}

fn one(pki: &Pki) -> Duration {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(&pki.client), name).expect("a client");
    let mut spent = Duration::ZERO;
    let mut server =
        timed(&mut spent, || ServerConnection::new(Arc::clone(&pki.server)).expect("a server"));
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        let mut answer = Vec::new();
        timed(&mut spent, || {
            let mut wire = wire.as_slice();
            while !wire.is_empty() {
                server.read_tls(&mut wire).expect("memory");
                server.process_new_packets().expect("a good client");
            }
            while server.wants_write() {
                server.write_tls(&mut answer).expect("memory");
            }
        });
        let mut answer = answer.as_slice();
        while !answer.is_empty() {
            client.read_tls(&mut answer).expect("memory");
            client.process_new_packets().expect("a good server");
        }
    }
    spent
}

fn timed<R>(spent: &mut Duration, act: impl FnOnce() -> R) -> R {
    let before = thread_cpu();
    let result = act();
    *spent += thread_cpu() - before;
    result
}

fn thread_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).expect("below 10^9"))
}
