//! Sends the first message of each connection back and keeps it; that of the prober goes on.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use ringfort::control::load::raise_fd_limit;
use ringfort::sys::cpu;

/// Bytes of a message.
pub const MESSAGE_BYTES: usize = 16;
/// How the messages of the prober begin.
pub const PROBE: u8 = b'p';

/// Tells its address, and serves until its input ends.
pub fn run() {
    raise_fd_limit();
    assert!(cpu::pin(*cpu::allowed().last().expect("a CPU")));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        let mut held = Vec::new();
        for mut socket in listener.incoming().flatten() {
            let Some(PROBE) = echo(&mut socket) else {
                held.push(socket);
                continue;
            };
            thread::spawn(move || while echo(&mut socket).is_some() {});
        }
    });
    let mut end = String::new();
    std::io::stdin().read_line(&mut end).expect("a pipe");
}

/// Returns the first byte of the message; `None` at the end.
fn echo(socket: &mut TcpStream) -> Option<u8> {
    let mut message = [0; MESSAGE_BYTES];
    socket.read_exact(&mut message).ok()?;
    socket.write_all(&message).ok()?;
    Some(message[0])
}
