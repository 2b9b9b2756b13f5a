//! What a handshake costs without ringfort and without sockets: rustls' buffered server in memory.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};

use super::{Pki, median};

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
