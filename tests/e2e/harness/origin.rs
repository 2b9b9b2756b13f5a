//! Upstreams in this process, on threads: what a gateway relays to.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use socket2::SockRef;

use super::{PATIENCE, temp_dir};

/// Stack of a thread that serves one connection.
const STACK_BYTES: usize = 128 * 1024;
/// Bytes of one read or write.
const PIECE_BYTES: usize = 64 * 1024;

/// How one connection to an origin ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    /// Bytes received.
    pub(crate) bytes: u64,
    /// SHA-256 of them.
    pub(crate) sha256: Vec<u8>,
    /// Whether FIN ended it; a reset otherwise.
    pub(crate) orderly: bool,
}

/// A server on a free port of this machine.
pub(crate) struct Origin {
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    served: Mutex<Receiver<Served>>,
}

/// Serves one connection; what it received goes into the [`Tally`].
type Serve = dyn Fn(TcpStream, &mut Tally) -> std::io::Result<()> + Send + Sync;

/// Counts and hashes what a connection brings.
pub(crate) struct Tally {
    bytes: u64,
    hash: Context,
    received: Arc<AtomicU64>,
}

impl Tally {
    fn new(received: Arc<AtomicU64>) -> Self {
        Self { bytes: 0, hash: Context::new(&SHA256), received }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
        self.received.fetch_add(bytes.len() as u64, Ordering::SeqCst);
    }

    /// Reads into `buffer`; 0 at FIN.
    pub(crate) fn read(
        &mut self,
        mut stream: &TcpStream,
        buffer: &mut [u8],
    ) -> std::io::Result<usize> {
        let count = stream.read(buffer)?;
        self.add(&buffer[..count]);
        Ok(count)
    }

    /// The stream, of which what is read is counted.
    pub(crate) fn counting(&mut self, stream: TcpStream) -> Counting<'_> {
        Counting { stream, tally: self }
    }

    /// Reads until FIN.
    pub(crate) fn drain(&mut self, stream: &TcpStream) -> std::io::Result<()> {
        let mut buffer = vec![0; PIECE_BYTES];
        while self.read(stream, &mut buffer)? > 0 {}
        Ok(())
    }
}

/// See [`Tally::counting`].
pub(crate) struct Counting<'a> {
    stream: TcpStream,
    tally: &'a mut Tally,
}

impl Counting<'_> {
    pub(crate) fn into_inner(self) -> TcpStream {
        self.stream
    }
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.tally.read(&self.stream, buffer)
    }
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

impl Origin {
    /// A server that serves each connection by `serve`, on a thread of its own.
    pub(crate) fn new(
        serve: impl Fn(TcpStream, &mut Tally) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into(), Arc::new(serve))
    }

    fn at(ip: IpAddr, serve: Arc<Serve>) -> Self {
        let listener = listener(ip, 4096);
        let address = listener.local_addr().expect("bound");
        let (accepted, received) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (tell, served) = channel();
        let (count, bytes) = (Arc::clone(&accepted), Arc::clone(&received));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = match stream {
                    Ok(stream) => stream,
                    Err(error) => {
                        eprintln!("origin: {error}");
                        continue;
                    }
                };
                count.fetch_add(1, Ordering::SeqCst);
                let tally = Tally::new(Arc::clone(&bytes));
                spawn_serve(stream, Arc::clone(&serve), tally, tell.clone());
            }
        });
        Self { address, accepted, received, served: Mutex::new(served) }
    }

    /// Sends back what comes, and FIN after FIN.
    pub(crate) fn echo() -> Self {
        Self::new(echo)
    }

    /// The same on an address of this machine.
    pub(crate) fn echo_at(ip: IpAddr) -> Self {
        Self::at(ip, Arc::new(echo))
    }

    /// Sends one line that names it and then echoes.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::new(move |stream, tally| {
            (&stream).write_all(format!("{name}\n").as_bytes())?;
            echo(stream, tally)
        })
    }

    /// Counts and hashes what comes; says nothing, and FIN after FIN.
    pub(crate) fn sink() -> Self {
        Self::new(|stream, tally| {
            tally.drain(&stream)?;
            stream.shutdown(Shutdown::Write)
        })
    }

    /// Sends `pieces` times `piece`, then FIN, then takes what comes.
    pub(crate) fn source(piece: Vec<u8>, pieces: usize) -> Self {
        Self::new(move |mut stream, tally| {
            for _ in 0..pieces {
                stream.write_all(&piece)?;
            }
            stream.shutdown(Shutdown::Write)?;
            tally.drain(&stream)
        })
    }

    /// Resets each connection as soon as a byte has come, or at once.
    pub(crate) fn resetting(after_a_byte: bool) -> Self {
        Self::new(move |stream, tally| {
            if after_a_byte {
                tally.read(&stream, &mut [0; 1])?;
            }
            reset(stream);
            Ok(())
        })
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Bytes received so far, over all connections.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    /// How the next connection that ends has ended.
    pub(crate) fn next_served(&self) -> Served {
        let served = self.served.lock().expect("no test panics while it holds this");
        served.recv_timeout(PATIENCE).expect("a connection to the origin ends")
    }
}

fn spawn_serve(stream: TcpStream, serve: Arc<Serve>, mut tally: Tally, tell: Sender<Served>) {
    let work = move || {
        let _ = stream.set_nodelay(true);
        let orderly = serve(stream, &mut tally).is_ok();
        let sha256 = tally.hash.finish().as_ref().to_vec();
        // The test may have ended.
        let _ = tell.send(Served { bytes: tally.bytes, sha256, orderly });
    };
    thread::Builder::new().stack_size(STACK_BYTES).spawn(work).expect("a thread");
}

fn echo(mut stream: TcpStream, tally: &mut Tally) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match tally.read(&stream, &mut buffer)? {
            0 => break,
            count => stream.write_all(&buffer[..count])?,
        }
    }
    stream.shutdown(Shutdown::Write)
}

/// A listener with this backlog, on a free port.
fn listener(ip: IpAddr, backlog: i32) -> TcpListener {
    let listener = TcpListener::bind((ip, 0)).expect("a free port");
    SockRef::from(&listener).listen(backlog).expect("it is bound");
    listener
}

/// Closes a connection with RST.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(stream);
}

/// A port that answers no SYN: its backlog is full and nobody accepts.
pub(crate) struct Hanging {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Hanging {
    pub(crate) fn new() -> Self {
        let listener = listener(Ipv4Addr::LOCALHOST.into(), 0);
        let address = listener.local_addr().expect("bound");
        let mut waiting = Vec::new();
        // Until a connection is not established any more.
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            waiting.push(stream);
        }
        Self { address, _listener: listener, _waiting: waiting }
    }
}

/// A port on which nobody listens, and on which nobody will: it is bound.
pub(crate) struct Refusing {
    pub(crate) address: SocketAddr,
    _socket: socket2::Socket,
}

impl Refusing {
    pub(crate) fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a free port");
        let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
        Self { address, _socket: socket }
    }
}

/// An echo server on a Unix socket; returns its path.
pub(crate) fn unix_echo() -> PathBuf {
    // Short, for `sun_path`.
    let path = temp_dir().join("e.sock");
    let listener = UnixListener::bind(&path).expect("a short path");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count) = stream.read(&mut buffer) {
                    if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    path
}
