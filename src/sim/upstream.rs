//! Upstreams: plaintext servers that echo, send or swallow, and sometimes stop or reset.

use std::collections::BTreeMap;

use super::faults::Fault;
use super::http::upstream::Connection as HttpConnection;
use super::ledger::{ECHO_BIT, HEADER_BYTES, Ledger, pattern, stream};
use super::net::{Inner, Owner, Read};
use super::random::Random;

/// Bytes that an upstream reads at a time.
const READ_BYTES: usize = 20_000;

/// What an upstream does with a connection.
#[derive(Clone, Copy, Debug)]
enum Script {
    /// Sends back what comes, and ends when the client has.
    Echo,
    /// Sends so many bytes, ends, and reads until the client ends.
    Source(u64),
    /// Reads until the client ends, then ends.
    Sink,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    script: Script,
    peer_ended: bool,
    stalled: bool,
}

/// One upstream server.
#[derive(Debug)]
pub struct Upstream {
    actor: u32,
    address: String,
    random: Random,
    bytes_max: u64,
    listener: Option<i32>,
    connections: BTreeMap<i32, Connection>,
    /// Where it speaks HTTP.
    http: Option<BTreeMap<i32, HttpConnection>>,
}

impl Upstream {
    /// An upstream at `address`, not listening yet, which sends `bytes_max` of its own at most.
    pub fn new(actor: u32, address: &str, bytes_max: u64, random: &mut Random) -> Self {
        Self {
            actor,
            address: address.into(),
            random: random.fork("upstream"),
            bytes_max,
            listener: None,
            connections: BTreeMap::new(),
            http: None,
        }
    }

    /// It speaks HTTP.
    pub fn speak_http(&mut self) {
        self.http = Some(BTreeMap::new());
    }

    /// Starts or stops listening.
    pub fn set_up(&mut self, net: &mut Inner, up: bool) {
        match (self.listener.take(), up) {
            (Some(listener), false) => net.close(listener),
            (None, true) => {
                self.listener = Some(net.listen(&self.address, Owner::Actor(self.actor), 100));
            }
            (listener, _) => self.listener = listener,
        }
    }

    /// Does all that it can.
    pub fn step(&mut self, net: &mut Inner, ledger: &mut Ledger) {
        if let Some(mut connections) = self.http.take() {
            self.step_http(net, ledger, &mut connections);
            self.http = Some(connections);
            return;
        }
        while let Some(socket) = self.listener.and_then(|listener| net.accept(listener)) {
            let script = match self.random.below(4) {
                0 => Script::Sink,
                1 => Script::Source(HEADER_BYTES + self.random.range(0..=self.bytes_max)),
                _ => Script::Echo,
            };
            let number = ledger.add_upstream(matches!(script, Script::Echo), net.is_unix(socket));
            net.note(format_args!("upstream {number:#x} is #{socket}: {script:?}"));
            let connection = Connection { number, script, peer_ended: false, stalled: false };
            self.connections.insert(socket, connection);
        }
        let sockets: Vec<i32> = self.connections.keys().copied().collect();
        for socket in sockets {
            let Some(mut connection) = self.connections.remove(&socket) else { continue };
            if serve(net, ledger, socket, &mut connection) {
                self.connections.insert(socket, connection);
            }
        }
    }
}

impl Upstream {
    fn step_http(
        &mut self,
        net: &mut Inner,
        ledger: &mut Ledger,
        connections: &mut BTreeMap<i32, HttpConnection>,
    ) {
        while let Some(socket) = self.listener.and_then(|listener| net.accept(listener)) {
            let is_unix = net.is_unix(socket);
            let (actor, bytes_max) = (self.actor, self.bytes_max);
            let made = HttpConnection::new(actor, socket, is_unix, bytes_max, &mut self.random);
            connections.insert(socket, made);
        }
        connections.retain(|_, connection| connection.serve(net, ledger));
    }
}

/// Goes on with one connection. Returns whether it is still open.
fn serve(net: &mut Inner, ledger: &mut Ledger, socket: i32, connection: &mut Connection) -> bool {
    if net.fault(Fault::UpstreamReset) {
        net.reset_on_close(socket);
        net.close(socket);
        return false;
    }
    connection.stalled |= net.fault(Fault::UpstreamStalled);
    let reads = !connection.stalled || !net.faults.is_active();
    loop {
        let before = (ledger.flow(connection.number).clone(), connection.peer_ended);
        let is_sound = !reads || read(net, ledger, socket, connection);
        if !is_sound || !write(net, ledger, socket, connection) {
            net.close(socket);
            return false;
        }
        let flow = ledger.flow(connection.number);
        if connection.peer_ended && flow.ended {
            net.close(socket);
            return false;
        }
        if (flow.sent, flow.received) == (before.0.sent, before.0.received)
            && connection.peer_ended == before.1
        {
            return true;
        }
    }
}

/// Returns whether the connection is in order.
fn read(net: &mut Inner, ledger: &mut Ledger, socket: i32, connection: &mut Connection) -> bool {
    let number = connection.number;
    let flow = ledger.flow(number);
    if matches!(connection.script, Script::Echo)
        && flow.received + HEADER_BYTES > flow.sent + 60_000
    {
        // Back-pressure: what was not sent back yet is bounded.
        return true;
    }
    let mut bytes = Vec::new();
    match net.read(socket, &mut bytes, READ_BYTES) {
        Read::Bytes(_) => ledger.received(net, number, &bytes),
        Read::Nothing => {}
        Read::End if !connection.peer_ended => {
            connection.peer_ended = true;
            ledger.ended(net, number);
        }
        Read::End => {}
        Read::Failed(_) => return false,
    }
    true
}

fn write(net: &mut Inner, ledger: &mut Ledger, socket: i32, connection: &mut Connection) -> bool {
    let number = connection.number;
    let flow = ledger.flow(number);
    if flow.ended {
        return true;
    }
    let (sent, received) = (flow.sent, flow.received);
    let (total, ends) = match connection.script {
        Script::Echo => (HEADER_BYTES + received, connection.peer_ended),
        Script::Source(bytes) => (bytes, true),
        Script::Sink => (HEADER_BYTES, connection.peer_ended),
    };
    let count = (total - sent).min(READ_BYTES as u64) as usize;
    let bytes = match (number & ECHO_BIT != 0, flow.peer) {
        (true, Some(client)) => (sent..sent + count as u64)
            .map(|at| match at.checked_sub(HEADER_BYTES) {
                Some(at) => pattern(client, at),
                None => pattern(number, at),
            })
            .collect(),
        // Less than a number came: what it was is not known.
        (true, None) => {
            stream(number, sent, count.min((HEADER_BYTES.saturating_sub(sent)) as usize))
        }
        (false, _) => stream(number, sent, count),
    };
    match net.write(socket, &bytes) {
        Ok(written) => {
            let flow = ledger.flow(number);
            flow.sent += written as u64;
            let unknown = number & ECHO_BIT != 0 && flow.peer.is_none();
            if ends && (flow.sent == total || unknown && flow.sent == HEADER_BYTES) {
                flow.ended = true;
                net.shut_write(socket);
            }
            true
        }
        Err(_) => false,
    }
}
