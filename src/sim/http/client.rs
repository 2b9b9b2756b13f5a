//! A client's side of HTTP: sends its script, and holds each response against its request.

use std::collections::VecDeque;

use super::book::{Author, NUMBER, response_body};
use super::message::{self, Body, Framing, Head};
use super::script::{Script, Sending, Stop};
use crate::sim::ledger::Ledger;
use crate::sim::net::Inner;

/// What a client can do next.
#[derive(Debug)]
pub enum Next<'a> {
    /// Send more.
    Send(&'a [u8]),
    /// Wait, at most until this time in nanoseconds, where there is one.
    Wait(Option<u64>),
    /// End in order.
    End,
    /// End its connection without saying so.
    Cut,
}

/// A request of which the first byte was sent, and whose response is not complete.
#[derive(Debug)]
struct Waiting {
    number: u64,
    is_head: bool,
    is_http11: bool,
}

/// A response of which the head is there.
#[derive(Debug)]
struct Response {
    number: u64,
    author: Author,
    body: Body,
    bytes: u64,
    closes: bool,
}

/// See the module's description.
#[derive(Debug)]
pub struct HttpClient {
    client: u64,
    requests: VecDeque<Sending>,
    current: Option<(Sending, usize)>,
    pipelines: bool,
    half_closes: bool,
    is_sound: bool,
    idles: bool,
    waiting: VecDeque<Waiting>,
    inbox: Vec<u8>,
    response: Option<Response>,
    /// The upstream of the request that is being sent wants its body, or has answered it.
    goes_on: bool,
    /// No request is answered any more.
    is_over: bool,
    /// The gateway has said so.
    is_announced: bool,
    not_before: u64,
    refused: usize,
}

impl HttpClient {
    /// Client number `client`; `idles` says that it never ends by itself.
    pub fn new(client: u64, script: Script, idles: bool) -> Self {
        let Script { requests, pipelines, half_closes, is_sound } = script;
        Self {
            client,
            requests: requests.into(),
            current: None,
            pipelines,
            half_closes,
            is_sound,
            idles,
            waiting: VecDeque::new(),
            inbox: Vec::new(),
            response: None,
            goes_on: false,
            is_over: false,
            is_announced: false,
            not_before: 0,
            refused: 0,
        }
    }

    /// Whether it does what a client should.
    pub fn is_sound(&self) -> bool {
        self.is_sound
    }

    /// Whether an upstream has answered all that it asked, or all until the gateway said that this
    /// is the last.
    pub fn is_served(&self) -> bool {
        self.refused == 0 && (self.waiting.is_empty() || self.is_announced)
    }

    /// What it can do now.
    pub fn next(&mut self, now: u64) -> Next<'_> {
        if self.current.is_none() && !self.is_over {
            match self.requests.front() {
                Some(_) if !self.pipelines && !self.waiting.is_empty() => return Next::Wait(None),
                Some(next) => {
                    let at = self.not_before.max(now);
                    let at = if self.not_before == 0 { now + next.pause_ns } else { at };
                    self.not_before = at;
                    if at > now {
                        return Next::Wait(Some(at));
                    }
                    self.not_before = 0;
                    self.goes_on = false;
                    self.current = self.requests.pop_front().map(|next| (next, 0));
                }
                None => {}
            }
        }
        let Some((sending, at)) = &self.current else {
            let is_answered = self.waiting.is_empty() || self.half_closes || self.is_over;
            let ends = is_answered && !self.idles || self.is_over;
            return if ends { Next::End } else { Next::Wait(None) };
        };
        match sending.stops {
            Some((stop, how)) if *at == stop => match how {
                Stop::Cut => Next::Cut,
                Stop::End => Next::End,
                Stop::Silence => Next::Wait(None),
            },
            _ if self.is_over && *at == 0 => Next::End,
            stops => {
                let waits = sending.expects && !self.goes_on;
                let end = if waits { sending.head_end } else { sending.bytes.len() };
                let end = stops.map_or(end, |(stop, _)| end.min(stop));
                if *at == end { Next::Wait(None) } else { Next::Send(&sending.bytes[*at..end]) }
            }
        }
    }

    /// `count` bytes of what was to be sent are with TLS.
    pub fn sent(&mut self, ledger: &mut Ledger, now: u64, count: usize) {
        let Some((sending, at)) = &mut self.current else { return };
        if *at == 0 && count > 0 {
            let Sending { number, is_head, is_http11, .. } = *sending;
            self.waiting.push_back(Waiting { number, is_head, is_http11 });
        }
        *at += count;
        if *at >= sending.head_end {
            ledger.requests.head_sent(sending.number, now);
        }
        if *at == sending.bytes.len() {
            ledger.requests.sent(sending.number);
            self.current = None;
        }
    }

    /// Bytes of the gateway.
    pub fn received(&mut self, net: &mut Inner, ledger: &Ledger, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        if let Err(wrong) = self.read(net, ledger) {
            net.violation(format_args!("client {}: {wrong}", self.client));
        }
    }

    fn read(&mut self, net: &mut Inner, ledger: &Ledger) -> Result<(), String> {
        loop {
            if let Some(response) = &mut self.response {
                let number = response.number;
                let mut data = Vec::new();
                let read = response.body.read(&self.inbox, &mut data);
                let read = read.map_err(|wrong| format!("response to {number}: {wrong}"))?;
                self.inbox.drain(..read);
                let is_own = response.author == Author::Gateway;
                let count = data.len() as u64;
                if !is_own && data != response_body(number, response.bytes, count) {
                    return Err(format!("what comes is not the body of the response to {number}"));
                }
                response.bytes += count;
                if !response.body.is_complete() {
                    return Ok(());
                }
                self.complete(net, ledger)?;
            }
            let Some(head) = message::head(&self.inbox)? else { return Ok(()) };
            self.inbox.drain(..head.bytes);
            self.begin(net, ledger, &head)?;
        }
    }

    fn begin(&mut self, net: &mut Inner, ledger: &Ledger, head: &Head) -> Result<(), String> {
        let status = head.start.strip_prefix("HTTP/1.1 ").and_then(|it| it.get(..3));
        let status = status.and_then(|it| it.parse::<u16>().ok());
        let status = status.ok_or_else(|| format!("no status line: {head:?}"))?;
        let Some(Waiting { number, is_head, is_http11 }) = self.waiting.front() else {
            return Err(format!("a response to nothing: {head:?}"));
        };
        let (number, is_http11) = (*number, *is_http11);
        net.note(format_args!("client {}: {} to request {number}", self.client, head.start));
        let wrong = |wrong: String| format!("the response to request {number}: {wrong}: {head:?}");
        if status < 200 {
            let is_own = head.value(NUMBER).is_none_or(|it| it == number.to_string());
            if !is_own || !is_http11 || status == 101 {
                return Err(wrong("none that it may be sent".into()));
            }
            self.goes_on = true;
            return Ok(());
        }
        let author = ledger.answered_with(net, number, status, head).map_err(wrong)?;
        let has_no_body = *is_head || status == 204 || status == 304;
        let framing = match head.framing().map_err(wrong)? {
            _ if has_no_body => Framing::None,
            Framing::None => Framing::UntilClose,
            framing => framing,
        };
        // RFC 9112, 6.1 and 9.8: chunks are of HTTP/1.1, where no end needs to be taken on trust.
        let unfit = if is_http11 { Framing::UntilClose } else { Framing::Chunked };
        if framing == unfit {
            return Err(wrong(format!("its body comes by {framing:?}")));
        }
        let closes = head.values("connection").any(|it| it == "close");
        self.goes_on = true;
        let body = Body::new(framing);
        let is_complete = body.is_complete();
        self.response = Some(Response { number, author, body, bytes: 0, closes });
        if is_complete { self.complete(net, ledger) } else { Ok(()) }
    }

    fn complete(&mut self, net: &mut Inner, ledger: &Ledger) -> Result<(), String> {
        let Some(response) = self.response.take() else { return Ok(()) };
        let Response { number, author, bytes, closes, body } = response;
        net.note(format_args!("client {}: all of the response to {number}", self.client));
        if body.trailers.iter().any(|line| line.contains(super::book::SPOILT)) {
            return Err(format!("the response to {number} has the trailers {:?}", body.trailers));
        }
        ledger
            .answered_all(number, author, bytes)
            .map_err(|wrong| format!("the response to request {number} {wrong}"))?;
        self.waiting.pop_front();
        let asked = ledger.requests.asked(number);
        let is_sound = asked.refused_as.is_empty() && !asked.is_elsewhere;
        if author == Author::Gateway && is_sound {
            self.refused += 1;
        }
        self.is_over |= closes;
        self.is_announced |= closes;
        Ok(())
    }

    /// The gateway has ended in order: nothing of a response is missing.
    pub fn ended(&mut self, net: &mut Inner, ledger: &Ledger) {
        self.is_over = true;
        if self.response.as_ref().is_some_and(|it| it.body.is_until_close())
            && let Err(wrong) = self.complete(net, ledger)
        {
            net.violation(format_args!("client {}: {wrong}", self.client));
        }
        if self.response.is_some() || !self.inbox.is_empty() {
            net.violation(format_args!(
                "client {} saw an orderly end amid a response: {:?}, {} bytes",
                self.client,
                self.response,
                self.inbox.len()
            ));
        }
    }
}
