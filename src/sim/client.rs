//! Clients: rustls as it is, with a script of what to send, and those that misbehave.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion};

use super::faults::Fault;
use super::hellos::Hello;
use super::http::client::HttpClient;
use super::ledger::{ECHO_BIT, HEADER_BYTES, Ledger, stream};
use super::net::{Inner, Read};
use super::plan::{Plan, Sessions};
use super::random::Random;

mod http;
mod manner;
mod updates;

pub use manner::Manner;
use updates::Updates;

/// Bytes that a client reads at a time.
const READ_BYTES: usize = 20_000;
/// Bytes on their way out at which a client waits before it makes more.
const OUTBOX_BYTES: usize = 40_000;

/// What a well-behaved client does once its handshake is complete.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Bytes to send in all.
    pub total: u64,
    /// Bytes of one message.
    pub message: u64,
    /// Whether it waits for the echo of each message before the next, where there is an echo.
    pub waits: bool,
    /// Whether it never ends by itself.
    pub idles: bool,
}

/// How a client fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not connected.
    Connecting,
    /// It is at work.
    Open,
    /// It is done, and its socket closed; whether all went as the script says.
    Closed {
        /// All was sent, an orderly end came, and the upstream was heard.
        served: bool,
    },
}

/// See the module's description.
pub struct Client {
    /// Its number in the ledger.
    pub number: u64,
    actor: u32,
    socket: i32,
    tls: ClientConnection,
    script: Script,
    manner: Manner,
    random: Random,
    /// TLS bytes that are to be written.
    outbox: VecDeque<u8>,
    /// TLS bytes that were written.
    written: u64,
    /// Nothing is written before.
    hold_until: u64,
    /// The alert that it got.
    alert: Option<AlertDescription>,
    closed_at: u64,
    /// One that misbehaves has made what it sends.
    has_opened: bool,
    state: State,
    saw_end: bool,
    stalled: bool,
    /// Something that it sent was changed: the two may not even have the same keys.
    is_garbled: bool,
    /// Something that it got was changed. It does not end any more: rustls' debug build asserts
    /// that no alert, close_notify included, was sent before the one that says so.
    is_tainted: bool,
    updates: Updates,
    listener: usize,
    replays: Option<Hello>,
    /// The number of what it said first.
    hello: Option<usize>,
    /// What came back first, where it is somebody else's.
    flight: Vec<u8>,
    is_shaken: bool,
    /// What it does instead of its script, where it speaks HTTP.
    http: Option<Box<HttpClient>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("number", &self.number).finish_non_exhaustive()
    }
}

/// What a client is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its number in the ledger.
    pub number: u64,
    /// Its number among the actors.
    pub actor: u32,
    /// Its socket, which is connecting.
    pub socket: i32,
    /// Its TLS.
    pub config: Arc<ClientConfig>,
    /// What it sends.
    pub script: Script,
    /// How it misbehaves, if it does.
    pub manner: Manner,
    /// The name that it asks for.
    pub server_name: ServerName<'static>,
    /// The listener that it connects to.
    pub listener: usize,
    /// What it sends instead of what it has to say itself.
    pub replays: Option<Hello>,
    /// Its side of HTTP, where the listener speaks it.
    pub http: Option<Box<HttpClient>>,
}

impl Client {
    /// A client that is connecting.
    pub fn new(parts: Parts, random: &mut Random) -> Self {
        let Parts { number, actor, socket, config, script, manner, server_name, http, .. } = parts;
        let tls = ClientConnection::new(config, server_name)
            // invariant: the configuration is `pki::client_config`'s, which rustls takes.
            .expect("a configuration that rustls takes");
        Self {
            number,
            actor,
            socket,
            tls,
            script,
            manner,
            random: random.fork("client"),
            outbox: VecDeque::new(),
            written: 0,
            hold_until: 0,
            alert: None,
            closed_at: 0,
            has_opened: false,
            state: State::Connecting,
            saw_end: false,
            stalled: false,
            is_garbled: false,
            is_tainted: false,
            updates: Updates::default(),
            listener: parts.listener,
            replays: parts.replays,
            hello: None,
            flight: Vec::new(),
            is_shaken: false,
            http,
        }
    }

    /// How it fares.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it does what a client should.
    pub fn is_good(&self) -> bool {
        self.manner == Manner::Good && self.http.as_ref().is_none_or(|http| http.is_sound())
    }

    /// The alert that it got.
    pub fn alert(&self) -> Option<AlertDescription> {
        self.alert
    }

    /// When it was done, in nanoseconds.
    pub fn closed_at(&self) -> u64 {
        self.closed_at
    }

    /// Whether it never ends by itself.
    pub fn idles(&self) -> bool {
        self.script.idles
    }

    /// Does all that it can.
    pub fn step(&mut self, net: &mut Inner, ledger: &mut Ledger, plan: &Plan) {
        if self.state == State::Connecting {
            match net.connected(self.socket) {
                None => return,
                Some(Err(_)) => return self.close(net, false),
                Some(Ok(())) => self.state = State::Open,
            }
        }
        if self.state != State::Open {
            return;
        }
        if self.tampers(net) {
            return self.reset(net);
        }
        if !self.manner.is_good() {
            return self.misbehave(net, ledger, plan);
        }
        self.serve(net, ledger);
        if !self.is_shaken && !self.tls.is_handshaking() && !self.is_tainted {
            self.is_shaken = true;
            let resumed = self.tls.handshake_kind() == Some(HandshakeKind::Resumed);
            ledger.shaken(net, plan, self.number, resumed);
            let is_tls13 = self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3);
            if let (Some(hello), true) = (self.hello, resumed && is_tls13) {
                self.count_resumed(net, ledger, plan, hello);
            }
        }
    }

    /// A session was resumed for what was said in the first flight `hello`: for each of them once,
    /// where the gateway keeps the session.
    fn count_resumed(&self, net: &mut Inner, ledger: &mut Ledger, plan: &Plan, hello: usize) {
        let times = ledger.hellos.resumed(hello);
        let is_kept = matches!(plan.sessions[self.listener], Sessions::Cache { .. });
        if times > 1 && is_kept {
            net.violation(format_args!("client {}: a ticket was taken {times} times", self.number));
        }
    }

    /// Faults that a client makes. Returns whether it resets its connection.
    fn tampers(&mut self, net: &mut Inner) -> bool {
        self.stalled |= net.fault(Fault::ClientStalled);
        net.fault(Fault::ClientReset)
    }

    fn serve(&mut self, net: &mut Inner, ledger: &mut Ledger) {
        loop {
            let before = (self.written, ledger.flow(self.number).received, self.outbox.len());
            let reads = !self.stalled || !net.faults.is_active();
            match if reads { self.read(net, ledger) } else { Ok(()) } {
                Ok(()) => {}
                // The alert that says so goes first.
                Err(Broken::Tls) => {
                    self.collect();
                    self.hold_until = 0;
                    self.write(net, ledger);
                    return self.close(net, false);
                }
                Err(Broken::Socket) => return self.close(net, false),
            }
            let is_over = match self.http.take() {
                Some(mut http) => {
                    let is_over = self.send_http(net, ledger, &mut http);
                    self.http = Some(http);
                    is_over
                }
                None => self.send(net, ledger),
            };
            if is_over {
                return;
            }
            if !self.write(net, ledger) {
                return self.close(net, false);
            }
            if self.saw_end && ledger.flow(self.number).ended && self.outbox.is_empty() {
                let served = match &self.http {
                    Some(http) => http.is_served(),
                    None => ledger.flow(self.number).peer.is_some(),
                };
                return self.close(net, served);
            }
            if before == (self.written, ledger.flow(self.number).received, self.outbox.len()) {
                return;
            }
        }
    }

    fn read(&mut self, net: &mut Inner, ledger: &mut Ledger) -> Result<(), Broken> {
        let mut bytes = Vec::new();
        match net.read(self.socket, &mut bytes, READ_BYTES) {
            Read::Bytes(count) => {
                let ended = ledger.flow(self.number).ended;
                if !ended && net.fault(Fault::RecordCorruptedDown) {
                    self.is_tainted = true;
                    // The two may disagree on what was said.
                    ledger.garbled(self.number);
                    let at = self.random.below(count as u64) as usize;
                    bytes[at] ^= 1 << self.random.below(8);
                }
            }
            Read::Nothing => return Ok(()),
            // Without close_notify before it, this is a cut.
            Read::End if self.saw_end => return Ok(()),
            Read::End | Read::Failed(_) => return Err(Broken::Socket),
        }
        self.updates.receive(&bytes);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match self.tls.read_tls(&mut rest) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            let processed = self.tls.process_new_packets();
            let mut plain = vec![0; READ_BYTES];
            while let Ok(count) = self.tls.reader().read(&mut plain)
                && count > 0
            {
                match &mut self.http {
                    Some(http) => {
                        ledger.flow(self.number).received += count as u64;
                        http.received(net, ledger, &plain[..count]);
                    }
                    None => ledger.received(net, self.number, &plain[..count]),
                }
            }
            let processed = match processed {
                Ok(processed) => processed,
                Err(error) => {
                    if let rustls::Error::AlertReceived(alert) = error {
                        self.alert = Some(alert);
                    }
                    if !self.is_tainted
                        && !self.is_garbled
                        && !matches!(error, rustls::Error::AlertReceived(_))
                    {
                        net.violation(format_args!(
                            "client {} cannot read what it got: {error}",
                            self.number
                        ));
                    }
                    return Err(Broken::Tls);
                }
            };
            if processed.peer_has_closed() && !self.saw_end {
                self.saw_end = true;
                match &mut self.http {
                    Some(http) => http.ended(net, ledger),
                    None => ledger.ended(net, self.number),
                }
            }
        }
        self.check_updates(net, ledger);
        Ok(())
    }

    /// Whoever asks for new keys gets them before data that is an answer to what came later.
    fn check_updates(&self, net: &mut Inner, ledger: &mut Ledger) {
        let flow = ledger.flow(self.number);
        let has_echo = flow.peer.is_some_and(|peer| peer & ECHO_BIT != 0);
        if has_echo && self.updates.is_overdue(flow.received.saturating_sub(HEADER_BYTES)) {
            net.violation(format_args!("client {} asked for new keys in vain", self.number));
        }
    }

    /// Goes on with the script. Returns whether the client is over.
    fn send(&mut self, net: &mut Inner, ledger: &mut Ledger) -> bool {
        if self.tls.is_handshaking() || self.outbox.len() > OUTBOX_BYTES {
            return false;
        }
        let flow = ledger.flow(self.number);
        if flow.ended {
            return false;
        }
        let left = self.script.total - flow.sent;
        if self.breaks_off(net, ledger) {
            return true;
        }
        let flow = ledger.flow(self.number);
        if left > 0 {
            let echoed = flow.received.saturating_sub(HEADER_BYTES);
            let has_echo = flow.peer.is_none_or(|peer| peer & ECHO_BIT != 0);
            let is_waiting = self.script.waits
                && !self.saw_end
                && flow.sent > 0
                && has_echo
                && (flow.peer.is_none() || echoed < flow.sent);
            if is_waiting {
                return false;
            }
            if net.fault(Fault::KeyUpdate) {
                // TLS 1.2 has no such thing, and says so.
                if self.tls.refresh_traffic_keys().is_ok() {
                    self.updates.ask(flow.sent);
                }
            }
            // Less than its number would not be echoed.
            let message = self.script.message.max(HEADER_BYTES + 1);
            let count = left.min(message) as usize;
            let bytes = stream(self.number, flow.sent, count);
            // The buffer of rustls is bounded; what it takes is sent.
            let taken = self.tls.writer().write(&bytes).unwrap_or(0);
            ledger.flow(self.number).sent += taken as u64;
            return false;
        }
        if !self.script.idles && !self.is_tainted {
            self.tls.send_close_notify();
            ledger.flow(self.number).ended = true;
        }
        false
    }

    /// Faults by which a client ends amid its data. Returns whether it is over.
    fn breaks_off(&mut self, net: &mut Inner, ledger: &mut Ledger) -> bool {
        if net.fault(Fault::AlertAmidData) {
            // rustls sends an alert about what it cannot read.
            let mut junk: &[u8] = &[
                23, 3, 3, 0, 32, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
                20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
            ];
            let _ = self.tls.read_tls(&mut junk);
            let _ = self.tls.process_new_packets();
            self.write(net, ledger);
            self.close(net, false);
            return true;
        }
        if net.fault(Fault::ClientTruncated) {
            self.write(net, ledger);
            net.shut_write(self.socket);
            self.close(net, false);
            return true;
        }
        false
    }

    /// Takes what TLS has to send.
    fn collect(&mut self) {
        while self.tls.wants_write() {
            // Writing to memory cannot fail.
            let _ = self.tls.write_tls(&mut self.outbox);
        }
    }

    /// Returns whether the socket is in order.
    fn write(&mut self, net: &mut Inner, ledger: &mut Ledger) -> bool {
        let before = self.outbox.len();
        self.collect();
        if self.hello.is_none() {
            let first: Vec<u8> = self.outbox.iter().copied().collect();
            self.hello = Some(ledger.hellos.add(first, self.listener));
        }
        if self.outbox.len() > before && self.fault_of_records(net, before) {
            ledger.garbled(self.number);
        }
        if self.outbox.is_empty() {
            return true;
        }
        if net.now < self.hold_until {
            return true;
        }
        let mut count = self.outbox.len();
        if net.fault(Fault::RecordCut) {
            count = (self.random.range(1..=9) as usize).min(count);
            self.hold_until = net.now + self.random.range(1..=3_000_000);
            net.wake_actor_at(self.hold_until, self.actor);
        }
        let bytes: Vec<u8> = self.outbox.iter().copied().take(count).collect();
        match net.write(self.socket, &bytes) {
            Ok(count) => {
                self.outbox.drain(..count);
                self.written += count as u64;
                true
            }
            Err(_) => false,
        }
    }

    /// What becomes of the records that were made from `from` in the outbox on. Returns whether
    /// one was changed.
    fn fault_of_records(&mut self, net: &mut Inner, from: usize) -> bool {
        if net.fault(Fault::RecordCorruptedUp) {
            let at = self.random.range(from as u64..=self.outbox.len() as u64 - 1) as usize;
            self.outbox[at] ^= 1 << self.random.below(8);
            self.is_garbled = true;
        }
        if net.fault(Fault::RecordCoalesced) {
            self.hold_until = net.now + self.random.range(100_000..=20_000_000);
            net.wake_actor_at(self.hold_until, self.actor);
        }
        self.is_garbled
    }

    fn reset(&mut self, net: &mut Inner) {
        net.reset_on_close(self.socket);
        self.close(net, false);
    }

    fn close(&mut self, net: &mut Inner, served: bool) {
        net.close(self.socket);
        net.note(format_args!("client {} is done, served: {served}", self.number));
        self.closed_at = net.now;
        self.state = State::Closed { served };
    }
}

/// Why a client cannot go on.
enum Broken {
    Tls,
    Socket,
}
