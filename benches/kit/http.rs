//! The work in HTTP/1.1: requests on connections that stay open, and bodies, by blocking rustls
//! clients, and an origin for both.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::Pki;
use super::load::{CHUNK_BYTES, Tls, connect, end, in_parallel};

/// Bytes of the answer to a small request.
pub const ANSWER_BYTES: usize = 128;
const GET: &[u8] = b"GET /bytes/128 HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The upstream. A connection that begins with a small GET is left to the sweep; every other one
/// has a thread that answers `/bytes/N` with N bytes and takes bodies.
pub struct Origin {
    pub address: SocketAddr,
    swept: Arc<Mutex<Vec<Peer<TcpStream>>>>,
}

impl Origin {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let swept: Arc<Mutex<Vec<Peer<TcpStream>>>> = Arc::default();
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
        Self { address, swept }
    }
}

/// An error means that the proxy is gone; then so is the connection.
fn serve(mut socket: TcpStream, swept: &Mutex<Vec<Peer<TcpStream>>>) -> Option<()> {
    socket.set_nodelay(true).ok()?;
    let mut chunk = vec![b'x'; CHUNK_BYTES];
    loop {
        let (head, body) = read_head(&mut socket)?;
        let line = head.lines().next()?;
        let asked = line.split_whitespace().nth(1)?.strip_prefix("/bytes/")?;
        let mut left: u64 = asked.parse().ok()?;
        if left == ANSWER_BYTES as u64 {
            socket.write_all(&answer()).ok()?;
            socket.set_nonblocking(true).ok()?;
            swept.lock().ok()?.push(Peer { wire: socket, seen: Vec::new() });
            return None;
        }
        let mut unread = content_length(&head) - body.len() as u64;
        while unread > 0 {
            unread -= socket.read(&mut chunk).ok().filter(|&count| count > 0)? as u64;
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n");
        socket.write_all(head.as_bytes()).ok()?;
        while left > 0 {
            let count = left.min(CHUNK_BYTES as u64) as usize;
            socket.write_all(&chunk[..count]).ok()?;
            left -= count as u64;
        }
    }
}

fn answer() -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {ANSWER_BYTES}\r\n\r\n");
    answer.push_str(&"x".repeat(ANSWER_BYTES));
    answer.into_bytes()
}

/// A head, and what came of the body behind it.
fn read_head(from: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = head_end(&seen) {
            let body = seen.split_off(end);
            return Some((String::from_utf8(seen).ok()?, body));
        }
        assert!(seen.len() < HEAD_BYTES_MAX, "a head without end");
        let count = from.read(&mut piece).ok().filter(|&count| count > 0)?;
        seen.extend_from_slice(&piece[..count]);
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn content_length(head: &str) -> u64 {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().map_or(0, |(_, value)| value.trim().parse().expect("a number"))
}

/// A connection of the sweep, and what came on it of the message that is awaited.
struct Peer<W> {
    wire: W,
    seen: Vec<u8>,
}

/// Requests without a sleeping thread: one loop goes round over all clients and all sockets of the
/// origin, so what is measured is not the waking of a thread for each message.
pub fn requests(address: SocketAddr, origin: &Origin, pki: &Pki, clients: u64, count: u64) -> u64 {
    let mut clients: Vec<Peer<Tls>> = (0..clients)
        .map(|_| {
            let mut tls = connect(address, pki);
            // The first one by itself: it opens what is opened once.
            tls.write_all(GET).expect("the proxy takes it");
            take_answer(&mut tls, ANSWER_BYTES as u64);
            tls.sock.set_nonblocking(true).expect("a socket");
            Peer { wire: tls, seen: Vec::new() }
        })
        .collect();
    clients.iter_mut().for_each(send);
    let mut done = 0;
    while done < count {
        origin.swept.lock().expect("no panic").retain_mut(reply);
        for client in &mut clients {
            if is_answered(client) {
                done += 1;
                send(client);
            }
        }
    }
    done
}

fn send(client: &mut Peer<Tls>) {
    client.wire.conn.writer().write_all(GET).expect("memory");
    while client.wire.conn.wants_write() {
        client.wire.conn.write_tls(&mut client.wire.sock).expect("room for a small message");
    }
}

/// Takes what has come; whether the answer is whole.
fn is_answered(client: &mut Peer<Tls>) -> bool {
    match client.wire.conn.read_tls(&mut client.wire.sock) {
        Ok(count) => assert!(count > 0, "the proxy ended the connection"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            return false;
        }
    }
    let state = client.wire.conn.process_new_packets().expect("good records");
    let before = client.seen.len();
    client.seen.resize(before + state.plaintext_bytes_to_read(), 0);
    client.wire.conn.reader().read_exact(&mut client.seen[before..]).expect("so many are there");
    let Some(end) = head_end(&client.seen) else { return false };
    let head = std::str::from_utf8(&client.seen[..end]).expect("ASCII");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(content_length(head), ANSWER_BYTES as u64, "{head}");
    let is_whole = client.seen.len() >= end + ANSWER_BYTES;
    if is_whole {
        assert_eq!(client.seen.len(), end + ANSWER_BYTES, "bytes behind the answer");
        client.seen.clear();
    }
    is_whole
}

/// Answers each request that is whole; whether the connection goes on.
fn reply(peer: &mut Peer<TcpStream>) -> bool {
    let mut piece = [0; 4096];
    match peer.wire.read(&mut piece) {
        // A proxy may close what it does not need.
        Ok(0) => return false,
        Ok(count) => peer.seen.extend_from_slice(&piece[..count]),
        Err(error) => return error.kind() == ErrorKind::WouldBlock,
    }
    while let Some(end) = head_end(&peer.seen) {
        peer.seen.drain(..end);
        peer.wire.write_all(&answer()).expect("room");
    }
    assert!(peer.seen.len() < HEAD_BYTES_MAX, "a head without end");
    true
}

/// Bodies of `body` bytes one way; returns how many bytes they were.
pub fn bodies(
    address: SocketAddr,
    pki: &Pki,
    clients: u64,
    body: u64,
    bytes: u64,
    up: bool,
) -> u64 {
    let each = bytes / clients / body;
    in_parallel(clients, || {
        let mut tls = connect(address, pki);
        let chunk = vec![3; CHUNK_BYTES];
        for _ in 0..each {
            let (method, sent, received) = if up { ("POST", body, 0) } else { ("GET", 0, body) };
            let head = format!(
                "{method} /bytes/{received} HTTP/1.1\r\nHost: localhost\r\n\
                 Content-Length: {sent}\r\n\r\n"
            );
            tls.write_all(head.as_bytes()).expect("the proxy takes it");
            let mut left = sent;
            while left > 0 {
                let count = left.min(CHUNK_BYTES as u64) as usize;
                tls.write_all(&chunk[..count]).expect("the proxy takes it");
                left -= count as u64;
            }
            take_answer(&mut tls, received);
        }
        end(tls);
    });
    each * clients * body
}

fn take_answer(tls: &mut Tls, bytes: u64) {
    let (head, body) = read_head(tls).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(content_length(&head), bytes, "{head}");
    let mut left = bytes - body.len() as u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    while left > 0 {
        let most = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = tls.read(&mut chunk[..most]).expect("the proxy sends") as u64;
        assert!(count > 0, "{left} bytes are missing");
        left -= count;
    }
}
