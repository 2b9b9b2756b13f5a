//! The work: handshakes, round trips and bulk, by blocking rustls clients, and the origin. What is
//! of HTTP is in [`http`].

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::{Pki, http};

pub const MESSAGE_BYTES: usize = 128;
pub const CHUNK_BYTES: usize = 256 * 1024;

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// One kind of work.
pub enum Load {
    /// Connect, handshake, one exchange, close.
    Handshake(u64),
    /// A message there and back.
    RoundTrip { connections: u64, count: u64 },
    /// From the origin to the client.
    Down { connections: u64, bytes: u64 },
    /// From the client to the origin.
    Up { connections: u64, bytes: u64 },
    /// A small request of HTTP/1.1 and its answer.
    Request { connections: u64, count: u64 },
    /// Bodies of HTTP/1.1 of that length, all of them together.
    Bodies { connections: u64, body: u64, bytes: u64, up: bool },
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Handshake(_) => "full handshake and exchange".to_string(),
            Self::RoundTrip { connections, .. } => format!("round trip, {connections} connections"),
            Self::Down { connections, .. } => format!("bulk down, {connections} connections"),
            Self::Up { connections, .. } => format!("bulk up, {connections} connections"),
            Self::Request { connections, .. } => format!("http request, {connections} connections"),
            Self::Bodies { body, up, .. } => {
                format!("http bodies {}, {} MiB", if *up { "up" } else { "down" }, body >> 20)
            }
        };
        f.pad(&text)
    }
}

impl Load {
    /// Does the work; returns the number of operations, or of bytes.
    pub fn run(&self, address: SocketAddr, origin: &Origin, pki: &Pki) -> u64 {
        match *self {
            Self::Handshake(count) => {
                in_parallel(4, || {
                    for _ in 0..count / 4 {
                        let mut tls = connect(address, pki);
                        echo(&mut tls);
                        end(tls);
                    }
                });
                count / 4 * 4
            }
            Self::RoundTrip { connections, count } => {
                let mut clients: Vec<Tls> =
                    (0..connections).map(|_| connect(address, pki)).collect();
                clients.iter_mut().for_each(sweep::enlist);
                sweep::run(&mut clients, origin, count)
            }
            Self::Down { connections, bytes } => {
                let each = bytes / connections;
                in_parallel(connections, || down(connect(address, pki), each));
                each * connections
            }
            Self::Up { connections, bytes } => {
                let each = bytes / connections;
                in_parallel(connections, || up(connect(address, pki), each));
                each * connections
            }
            Self::Request { connections, count } => {
                http::requests(address, &origin.http, pki, connections, count)
            }
            Self::Bodies { connections, body, bytes, up } => {
                http::bodies(address, pki, connections, body, bytes, up)
            }
        }
    }

    /// Whether it takes a proxy that speaks HTTP.
    pub fn is_http(&self) -> bool {
        matches!(self, Self::Request { .. } | Self::Bodies { .. })
    }

    /// A cost in nanoseconds per operation, in the unit that suits the work.
    pub fn show(&self, ns: f64) -> String {
        match self {
            Self::Handshake(_) | Self::RoundTrip { .. } | Self::Request { .. } => {
                format!("{:8.2} us", ns / 1000.0)
            }
            Self::Down { .. } | Self::Up { .. } | Self::Bodies { .. } => format!("{ns:8.3} ns/B"),
        }
    }
}

pub fn in_parallel(threads: u64, act: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(&act);
        }
    });
}

pub fn connect(address: SocketAddr, pki: &Pki) -> Tls {
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::clone(&pki.client), name).expect("a client");
    let socket = TcpStream::connect(address).expect("a listener");
    socket.set_nodelay(true).expect("a TCP socket");
    StreamOwned::new(client, socket)
}

fn echo(tls: &mut Tls) {
    exchange(tls, b'E');
}

fn exchange(tls: &mut Tls, kind: u8) {
    let mut message = [kind; MESSAGE_BYTES];
    tls.write_all(&message).expect("the proxy takes it");
    tls.read_exact(&mut message).expect("it comes back");
}

pub fn end(mut tls: Tls) {
    tls.conn.send_close_notify();
    tls.flush().expect("the proxy takes it");
    // nginx ends without close_notify, which rustls reports as an error; both are the end.
    let rest = tls.read(&mut [0; 16]);
    assert!(!matches!(rest, Ok(1..)), "nothing comes after the end");
}

fn command(kind: u8, bytes: u64) -> [u8; 9] {
    let mut command = [kind; 9];
    command[1..].copy_from_slice(&bytes.to_be_bytes());
    command
}

fn down(mut tls: Tls, bytes: u64) {
    tls.write_all(&command(b'D', bytes)).expect("the proxy takes it");
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let count = tls.read(&mut chunk).expect("the proxy sends") as u64;
        assert!(count > 0, "{left} bytes are missing");
        left -= count;
    }
    end(tls);
}

fn up(mut tls: Tls, bytes: u64) {
    tls.write_all(&command(b'U', bytes)).expect("the proxy takes it");
    let chunk = vec![3; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(CHUNK_BYTES as u64) as usize;
        tls.write_all(&chunk[..count]).expect("the proxy takes it");
        left -= count as u64;
    }
    let mut answer = [0];
    tls.read_exact(&mut answer).expect("the origin has it all");
    end(tls);
}

/// Connections that are established and idle.
pub fn hold(address: SocketAddr, pki: &Pki, connections: u64) -> Vec<impl Sized> {
    (0..connections)
        .map(|_| {
            let mut tls = connect(address, pki);
            echo(&mut tls);
            tls
        })
        .collect()
}

/// Round trips without a sleeping thread: one loop goes round over all clients and all sockets of
/// the origin, so what is measured is not the waking of a thread for each message.
mod sweep {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;

    use super::{MESSAGE_BYTES, Origin, Tls, exchange};

    /// Has the origin leave this connection's socket to the sweep.
    pub fn enlist(client: &mut Tls) {
        exchange(client, b'S');
        client.sock.set_nonblocking(true).expect("a socket");
    }

    pub fn run(clients: &mut [Tls], origin: &Origin, count: u64) -> u64 {
        let mut sockets = std::mem::take(&mut *origin.swept.lock().expect("no panic"));
        for socket in &sockets {
            socket.set_nonblocking(true).expect("a socket");
        }
        clients.iter_mut().for_each(send);
        let mut done = 0;
        while done < count {
            sockets.iter_mut().for_each(answer);
            for client in clients.iter_mut() {
                if received(client) {
                    done += 1;
                    send(client);
                }
            }
        }
        done
    }

    fn send(client: &mut Tls) {
        client.conn.writer().write_all(&[b'E'; MESSAGE_BYTES]).expect("memory");
        while client.conn.wants_write() {
            client.conn.write_tls(&mut client.sock).expect("room for a small message");
        }
    }

    fn received(client: &mut Tls) -> bool {
        match client.conn.read_tls(&mut client.sock) {
            Ok(count) => assert!(count > 0, "the proxy ended the connection"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return false;
            }
        }
        let state = client.conn.process_new_packets().expect("good records");
        assert!(matches!(state.plaintext_bytes_to_read(), 0 | MESSAGE_BYTES));
        client.conn.reader().read(&mut [0; MESSAGE_BYTES]).is_ok_and(|count| count > 0)
    }

    fn answer(socket: &mut TcpStream) {
        let mut message = [0; MESSAGE_BYTES];
        match socket.read(&mut message) {
            Ok(count) => socket.write_all(&message[..count]).expect("room"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

/// The upstream: by the first byte of a connection it echoes, sends or swallows, or leaves the
/// socket to the sweep.
pub struct Origin {
    pub address: SocketAddr,
    pub swept: Arc<Mutex<Vec<TcpStream>>>,
    /// The one that speaks HTTP.
    pub http: http::Origin,
}

impl Origin {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let swept: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let enlisted = Arc::clone(&swept);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let swept = Arc::clone(&enlisted);
                thread::Builder::new()
                    .stack_size(64 * 1024)
                    .spawn(move || serve(socket, &swept))
                    .expect("a thread");
            }
        });
        Self { address, swept, http: http::Origin::start() }
    }
}

/// An error means that the proxy is gone; then so is the connection.
fn serve(mut socket: TcpStream, swept: &Mutex<Vec<TcpStream>>) -> Option<()> {
    socket.set_nodelay(true).ok()?;
    let mut first = [0; 9];
    socket.read_exact(&mut first).ok()?;
    let mut left = u64::from_be_bytes(first[1..].try_into().ok()?);
    let mut chunk = vec![b'x'; CHUNK_BYTES];
    match first[0] {
        b'D' => {
            while left > 0 {
                let count = left.min(CHUNK_BYTES as u64) as usize;
                socket.write_all(&chunk[..count]).ok()?;
                left -= count as u64;
            }
        }
        b'U' => {
            while left > 0 {
                left -= socket.read(&mut chunk).ok().filter(|&count| count > 0)? as u64;
            }
            socket.write_all(b"!").ok()?;
        }
        _ => {
            let mut rest = [0; MESSAGE_BYTES - 9];
            socket.read_exact(&mut rest).ok()?;
            if first[0] == b'S' {
                // Before the answer: who has it finds the socket.
                swept.lock().ok()?.push(socket.try_clone().ok()?);
            }
            socket.write_all(&[&first[..], &rest].concat()).ok()?;
            if first[0] == b'S' {
                return None;
            }
            let mut small = [0; 4096];
            loop {
                let count = socket.read(&mut small).ok().filter(|&count| count > 0)?;
                socket.write_all(&small[..count]).ok()?;
            }
        }
    }
    Some(())
}
