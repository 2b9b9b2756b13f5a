//! The service behind the demo's gateway: a small HTTP/1.1 server that says hello.
//!
//! One thread per connection, a bounded number of them. Whatever a client sends, memory stays
//! below the bounds of `limits`, and a connection that stands still is closed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::request::{self, Request, Status};
use crate::limits::{DEMO_CONNECTIONS_MAX, DEMO_HEAD_BYTES_MAX, DEMO_REQUEST_TIMEOUT_MS};

/// The first line of each page.
pub(super) const GREETING: &str = "Hello from behind ringfort.";
const REQUEST_TIMEOUT: Duration = Duration::from_millis(DEMO_REQUEST_TIMEOUT_MS);
/// How often a connection without a request looks whether the demo ends.
const TICK: Duration = Duration::from_millis(100);
/// How long a client may go on sending once its last answer is out.
const LINGER: Duration = Duration::from_millis(500);

/// The running server; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    is_over: AtomicBool,
    /// Set when the demo is told to end: connections close once they are idle.
    is_draining: Arc<AtomicBool>,
    live: AtomicUsize,
    accepted: AtomicUsize,
}

impl Origin {
    /// Listens on a free port of 127.0.0.1 and serves until dropped.
    ///
    /// # Errors
    ///
    /// No port, or no thread.
    pub(super) fn start(is_draining: Arc<AtomicBool>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            is_over: AtomicBool::new(false),
            is_draining,
            live: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
        });
        let own = Arc::clone(&shared);
        let accepting = thread::Builder::new()
            .name(String::from("origin"))
            .spawn(move || accept(&listener, &own))?;
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that it has accepted so far.
    pub(super) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread that waits in accept(2).
        let woken = TcpStream::connect_timeout(&self.address, LINGER).is_ok();
        if let Some(accepting) = self.accepting.take().filter(|_| woken) {
            // It does not panic; if it did, there is nothing left to do about it.
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for socket in listener.incoming() {
        if shared.is_over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(socket) = socket else {
            // Out of descriptors: those of other connections come back.
            thread::sleep(TICK);
            continue;
        };
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        if shared.live.fetch_add(1, Ordering::Relaxed) >= DEMO_CONNECTIONS_MAX {
            shared.live.fetch_sub(1, Ordering::Relaxed);
            refuse_at_once(&socket);
            continue;
        }
        let own = Arc::clone(shared);
        let started =
            thread::Builder::new().name(String::from("origin-connection")).spawn(move || {
                // A client that goes away is no concern of the origin's.
                let _ = serve(&socket, &own);
                own.live.fetch_sub(1, Ordering::Relaxed);
            });
        if started.is_err() {
            shared.live.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Without waiting: this is the thread that accepts.
fn refuse_at_once(mut socket: &TcpStream) {
    let _ = socket.set_nonblocking(true);
    let _ = socket.write_all(&refusal(request::UNAVAILABLE));
}

fn serve(socket: &TcpStream, shared: &Shared) -> io::Result<()> {
    let peer = socket.peer_addr()?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    let mut connection = Connection { socket, received: Vec::new() };
    loop {
        let request = match connection.request(shared)? {
            Some(Ok(request)) => request,
            Some(Err(status)) => {
                connection.send(&refusal(status))?;
                return connection.linger();
            }
            None => return Ok(()),
        };
        let keep_alive = request.keep_alive && !shared.is_draining.load(Ordering::Relaxed);
        connection.send(&answer(&request, peer, keep_alive))?;
        if !keep_alive {
            return connection.linger();
        }
    }
}

struct Connection<'a> {
    socket: &'a TcpStream,
    /// What came and belongs to no request yet.
    received: Vec<u8>,
}

impl Connection<'_> {
    /// The next request, its body read; `None` where none comes any more.
    fn request(&mut self, shared: &Shared) -> io::Result<Option<Result<Request, Status>>> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let head_bytes = loop {
            if let Some(end) = request::head_end(&self.received) {
                break end;
            }
            if self.received.len() >= DEMO_HEAD_BYTES_MAX {
                return Ok(Some(Err(request::HEAD_TOO_LARGE)));
            }
            let is_idle = self.received.is_empty();
            let wait = if is_idle { deadline.min(Instant::now() + TICK) } else { deadline };
            match self.receive(wait)? {
                Received::Bytes => {}
                Received::End => return Ok(None),
                Received::Nothing if Instant::now() < deadline => {
                    if shared.is_draining.load(Ordering::Relaxed) {
                        return Ok(None);
                    }
                }
                Received::Nothing if is_idle => return Ok(None),
                Received::Nothing => return Ok(Some(Err(request::TIMEOUT))),
            }
        };
        let request = match request::parse(&self.received[..head_bytes]) {
            Ok(request) => request,
            Err(status) => return Ok(Some(Err(status))),
        };
        self.received.drain(..head_bytes);
        if request.expects_continue && self.received.is_empty() {
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut missing = request.body_bytes;
        loop {
            let own = missing.min(self.received.len());
            self.received.drain(..own);
            missing -= own;
            if missing == 0 {
                return Ok(Some(Ok(request)));
            }
            match self.receive(Instant::now() + REQUEST_TIMEOUT)? {
                Received::Bytes => {}
                Received::End => return Ok(None),
                Received::Nothing => return Ok(Some(Err(request::TIMEOUT))),
            }
        }
    }

    /// Receives once, until `wait` at the latest.
    fn receive(&mut self, wait: Instant) -> io::Result<Received> {
        let mut buffer = [0; 16 * 1024];
        let left = wait.saturating_duration_since(Instant::now());
        self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match self.socket.read(&mut buffer) {
            Ok(0) => Ok(Received::End),
            Ok(bytes) => {
                self.received.extend_from_slice(&buffer[..bytes]);
                Ok(Received::Bytes)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                    Ok(Received::Nothing)
                }
                _ => Err(error),
            },
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Closes so that the answer arrives although the client may still be sending: to close with
    /// bytes unread would reset the connection (RFC 9112, 9.6).
    fn linger(&mut self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)?;
        let deadline = Instant::now() + LINGER;
        while Instant::now() < deadline && matches!(self.receive(deadline)?, Received::Bytes) {
            self.received.clear();
        }
        Ok(())
    }
}

enum Received {
    Bytes,
    End,
    Nothing,
}

fn answer(request: &Request, peer: SocketAddr, keep_alive: bool) -> Vec<u8> {
    let Request { method, target, body_bytes, .. } = request;
    let body = format!(
        "{GREETING}\n\nYour request: {method} {target}, {body_bytes} bytes of body.\n\
         It came by plain TCP from {peer}: that is ringfort, which relays to\n\
         this service nothing of a client whose certificate it has not verified.\n"
    );
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: {connection}\r\n\r\n",
        body.len()
    );
    if *method != "HEAD" {
        answer.push_str(&body);
    }
    answer.into_bytes()
}

fn refusal((code, reason): Status) -> Vec<u8> {
    let body = format!("{code} {reason}\n");
    let allow = if code == 405 { "Allow: GET, HEAD, POST\r\n" } else { "" };
    format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n{allow}\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> (Origin, Arc<AtomicBool>) {
        let draining = Arc::new(AtomicBool::new(false));
        (Origin::start(Arc::clone(&draining)).expect("a port"), draining)
    }

    fn talk(origin: &Origin, sent: &[u8]) -> String {
        let mut socket = TcpStream::connect(origin.address()).expect("it listens");
        socket.write_all(sent).expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it answers and closes");
        answer
    }

    #[test]
    fn it_greets_each_request_of_a_connection_and_names_the_peer() {
        let (origin, _) = origin();
        let mut socket = TcpStream::connect(origin.address()).expect("it listens");
        let peer = socket.local_addr().expect("connected");
        let requests = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\
                        HEAD /b HTTP/1.1\r\nHost: h\r\n\r\n\
                        GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        socket.write_all(requests.as_bytes()).expect("it reads");
        let mut answers = String::new();
        socket.read_to_string(&mut answers).expect("it closes when asked to");
        assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{answers}");
        assert_eq!(answers.matches(GREETING).count(), 2, "none for HEAD: {answers}");
        assert_eq!(answers.matches(&format!("from {peer}:")).count(), 2, "{answers}");
        assert!(answers.contains("POST /a, 3 bytes of body"), "{answers}");
        assert!(answers.contains("GET /c, 0 bytes"), "{answers}");
        assert_eq!(origin.accepted(), 1);
    }

    #[test]
    fn a_client_is_told_to_send_its_body_when_it_waits_for_that() {
        let (origin, _) = origin();
        let mut socket = TcpStream::connect(origin.address()).expect("it listens");
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\
                     Connection: close\r\n\r\n";
        socket.write_all(head).expect("it reads");
        let mut go_ahead = [0; 25];
        socket.read_exact(&mut go_ahead).expect("it says so");
        assert_eq!(&go_ahead, b"HTTP/1.1 100 Continue\r\n\r\n");
        socket.write_all(b"ab").expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it closes");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }

    #[test]
    fn a_bad_request_and_an_endless_head_get_their_status_and_the_end() {
        let (origin, _) = origin();
        let refused = talk(&origin, b"DELETE / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(refused.starts_with("HTTP/1.1 405 "), "{refused}");
        assert!(refused.contains("\r\nAllow: GET, HEAD, POST\r\n"), "{refused}");
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(2 * DEMO_HEAD_BYTES_MAX));
        let refused = talk(&origin, endless.as_bytes());
        assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    }

    #[test]
    fn an_idle_connection_ends_with_the_demo() {
        let (origin, draining) = origin();
        let mut socket = TcpStream::connect(origin.address()).expect("it listens");
        socket.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("it reads");
        let mut buffer = [0; 4096];
        assert!(socket.read(&mut buffer).expect("it answers") > 0);
        let began = Instant::now();
        draining.store(true, Ordering::Relaxed);
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).expect("it closes");
        assert!(began.elapsed() < REQUEST_TIMEOUT / 2, "{:?}", began.elapsed());
        drop(origin);
    }

    #[test]
    fn connections_beyond_the_bound_are_told_so() {
        let (origin, _) = origin();
        let connect = || TcpStream::connect(origin.address()).expect("it listens");
        let _held: Vec<TcpStream> = (0..DEMO_CONNECTIONS_MAX).map(|_| connect()).collect();
        let mut answer = String::new();
        connect().read_to_string(&mut answer).expect("it answers and closes");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
}
