//! An upstream's side of HTTP: a server that reads by the letter, and answers as faults have it.

use super::answer::{Answering, answer};
use super::book::Heard;
use super::message::{self, Body};
use crate::sim::faults::Fault;
use crate::sim::ledger::Ledger;
use crate::sim::net::{Inner, Read};
use crate::sim::plan::{MS, S};
use crate::sim::random::Random;

/// Bytes that it reads at a time.
const READ_BYTES: usize = 20_000;
/// Nanoseconds after which the end of a connection is known to the other side, however slow the
/// way is; the first byte of a request that was on its way may come as late.
const KNOWN_AFTER_NS: u64 = 4 * S;
/// Milliseconds after a response at which a connection that waits is closed, at most.
const IDLE_MS_MAX: u64 = 5_000;

/// A request that comes.
#[derive(Debug)]
struct Request {
    heard: Heard,
    body: Body,
    bytes: u64,
}

/// A connection of the gateway.
#[derive(Debug)]
pub struct Connection {
    actor: u32,
    socket: i32,
    is_unix: bool,
    bytes_max: u64,
    random: Random,
    inbox: Vec<u8>,
    request: Option<Request>,
    answering: Option<Answering>,
    is_stalled: bool,
    has_ended: bool,
    closes_at: Option<u64>,
    /// When it ended its side while nothing was asked.
    closed_at: Option<u64>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Closed,
    Reset,
}

impl Connection {
    /// One that was accepted, of the server `actor`; its bodies have at most `bytes_max` bytes.
    pub fn new(
        actor: u32,
        socket: i32,
        is_unix: bool,
        bytes_max: u64,
        random: &mut Random,
    ) -> Self {
        Self {
            actor,
            socket,
            is_unix,
            bytes_max,
            random: random.fork("http"),
            inbox: Vec::new(),
            request: None,
            answering: None,
            is_stalled: false,
            has_ended: false,
            closes_at: None,
            closed_at: None,
        }
    }

    /// Goes on. Returns whether it is still open.
    pub fn serve(&mut self, net: &mut Inner, ledger: &mut Ledger) -> bool {
        let fate = self.go_on(net, ledger);
        if fate == Fate::Reset {
            net.reset_on_close(self.socket);
        }
        if fate != Fate::Open {
            net.close(self.socket);
        }
        fate == Fate::Open
    }

    fn go_on(&mut self, net: &mut Inner, ledger: &mut Ledger) -> Fate {
        if net.fault(Fault::UpstreamReset) {
            return Fate::Reset;
        }
        let is_fresh = self.request.is_none() && self.inbox.is_empty();
        if is_fresh && net.readable(self.socket) > 0 && net.fault(Fault::RequestLost) {
            net.note(format_args!("#{} is closed before its request is read", self.socket));
            return *self.random.pick(&[Fate::Reset, Fate::Closed]);
        }
        self.is_stalled |= net.fault(Fault::UpstreamStalled);
        let reads = !self.is_stalled || !net.faults.is_active();
        loop {
            let read = if reads { self.read(net) } else { Ok(false) };
            let Ok(read) = read else { return Fate::Closed };
            if self.closed_at.is_some() {
                if self.has_ended || !self.inbox.is_empty() {
                    self.check_known(net, ledger);
                    return Fate::Closed;
                }
                return Fate::Open;
            }
            if !self.parse(net, ledger) {
                return Fate::Closed;
            }
            let fate = self.write(net, ledger);
            if fate != Fate::Open {
                return fate;
            }
            if !read {
                break;
            }
        }
        let is_idle = self.answering.is_none() && self.is_whole();
        if self.has_ended && (is_idle || self.answering.is_none()) {
            return Fate::Closed;
        }
        if is_idle && self.inbox.is_empty() && self.closes_at.is_some_and(|at| at <= net.now) {
            self.closes_at = None;
            if net.faults.is_active() {
                return self.close_idle(net);
            }
        }
        Fate::Open
    }

    /// Ends a connection on which nothing is asked: it then waits for the gateway to see that.
    fn close_idle(&mut self, net: &mut Inner) -> Fate {
        net.note(format_args!("#{} ends while nothing is asked", self.socket));
        if self.random.chance(300) {
            return Fate::Reset;
        }
        net.shut_write(self.socket);
        self.closed_at = Some(net.now);
        Fate::Open
    }

    /// A request comes over a connection that has ended: it must have been on its way.
    fn check_known(&self, net: &mut Inner, ledger: &Ledger) {
        let Some(closed_at) = self.closed_at.filter(|_| !self.inbox.is_empty()) else { return };
        let jumped = ledger.jumped_at.is_some_and(|at| at >= closed_at);
        if net.now > closed_at + KNOWN_AFTER_NS && !jumped {
            net.violation(format_args!(
                "#{} had ended for {} ms, and is asked",
                self.socket,
                (net.now - closed_at) / MS
            ));
        }
    }

    fn is_whole(&self) -> bool {
        self.request.as_ref().is_none_or(|it| it.body.is_complete())
    }

    /// Returns whether there was something.
    fn read(&mut self, net: &mut Inner) -> Result<bool, ()> {
        match net.read(self.socket, &mut self.inbox, READ_BYTES) {
            Read::Bytes(_) => Ok(true),
            Read::Nothing => Ok(false),
            Read::End => Ok(!std::mem::replace(&mut self.has_ended, true)),
            Read::Failed(_) => Err(()),
        }
    }

    /// Returns whether what came can be read.
    fn parse(&mut self, net: &mut Inner, ledger: &mut Ledger) -> bool {
        while !self.inbox.is_empty() {
            let is_taken = match &mut self.request {
                Some(request) if !request.body.is_complete() => {
                    take_body(request, &mut self.inbox, net, ledger)
                }
                Some(Request { heard, .. }) if self.answering.is_some() => {
                    Err(format!("more comes before the response to {} is sent", heard.number))
                }
                _ => match message::head(&self.inbox) {
                    Ok(None) => return true,
                    Ok(Some(head)) => {
                        self.inbox.drain(..head.bytes);
                        let Some(heard) = ledger.heard(net, &head) else { return false };
                        net.note(format_args!("#{} hears of {heard:?}", self.socket));
                        self.begin(net, ledger, heard, &head);
                        Ok(())
                    }
                    Err(wrong) => Err(wrong),
                },
            };
            if let Err(wrong) = is_taken {
                net.violation(format_args!(
                    "#{}: an upstream cannot read what comes: {wrong}: {:?}",
                    self.socket,
                    String::from_utf8_lossy(&self.inbox[..self.inbox.len().min(200)])
                ));
                return false;
            }
        }
        true
    }

    fn begin(&mut self, net: &mut Inner, ledger: &mut Ledger, heard: Heard, head: &message::Head) {
        let body = Body::new(heard.framing);
        if body.is_complete() {
            ledger.heard_all(net, heard.number, 0, &[]);
        }
        self.closes_at = None;
        self.request = Some(Request { heard, body, bytes: 0 });
        let expects = head.value("expect").is_some();
        let method = head.start.split(' ').next().unwrap_or_default();
        let limits = (self.bytes_max, self.is_unix);
        let answering = answer(net, &mut self.random, heard, method, expects, limits);
        ledger.requests.answers(heard.number, heard.attempt, answering.promised());
        self.answering = Some(answering);
    }

    fn write(&mut self, net: &mut Inner, ledger: &mut Ledger) -> Fate {
        let is_whole = self.is_whole();
        let Some(answering) = &mut self.answering else { return Fate::Open };
        loop {
            let is_calm = !net.faults.is_active();
            if let Some(at) = answering.waits_until(net.now).filter(|_| !is_calm) {
                net.wake_actor_at(at, self.actor);
                return Fate::Open;
            }
            let bytes = answering.next(is_whole);
            if bytes.is_empty() {
                break;
            }
            match net.write(self.socket, bytes) {
                Ok(0) => return Fate::Open,
                Ok(count) => {
                    answering.sent(count);
                    if let Some(Request { heard, .. }) = &self.request
                        && answering.is_whole()
                    {
                        ledger.requests.answered(heard.number, heard.attempt);
                    }
                }
                Err(_) => return Fate::Closed,
            }
        }
        if let Some(resets) = answering.is_cut() {
            net.note(format_args!("#{} is cut amid its response", self.socket));
            return if resets { Fate::Reset } else { Fate::Closed };
        }
        if !answering.is_done() {
            return Fate::Open;
        }
        let (closes, is_sound) = (answering.closes, answering.is_sound);
        if let Some(Request { heard, .. }) = &self.request
            && is_sound
        {
            ledger.requests.answered(heard.number, heard.attempt);
        }
        self.answering = None;
        if closes {
            return Fate::Closed;
        }
        if net.fault(Fault::IdleClose) {
            let at = net.now + self.random.below(IDLE_MS_MAX) * MS;
            self.closes_at = Some(at);
            net.wake_actor_at(at, self.actor);
        }
        Fate::Open
    }
}

fn take_body(
    request: &mut Request,
    inbox: &mut Vec<u8>,
    net: &mut Inner,
    ledger: &mut Ledger,
) -> Result<(), String> {
    let mut data = Vec::new();
    let read = request.body.read(inbox, &mut data)?;
    inbox.drain(..read);
    let number = request.heard.number;
    ledger.heard_body(net, number, request.bytes, &data);
    request.bytes += data.len() as u64;
    if request.body.is_complete() {
        ledger.heard_all(net, number, request.bytes, &request.body.trailers);
    }
    Ok(())
}
