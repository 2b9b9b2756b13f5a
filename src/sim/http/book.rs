//! The oracles of requests and responses: who asked what, which upstream heard of it how often,
//! and what it answered.
//!
//! Invariant: a request is known by its number, which is in its target and in a field of its own,
//! and its response by the same number; bodies are functions of it.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::message::{Framing, Head};
use crate::config::snapshot::Forwarding;
use crate::sim::demands::Rules;
use crate::sim::hold::TURN_NS;
use crate::sim::ledger::{ClientFacts, Ledger, pattern};
use crate::sim::net::Inner;
use crate::sim::pki::Client as Certificate;
use crate::trust::verify::ClientAuth;

/// The field with a request's number, in requests and in responses.
pub const NUMBER: &str = "x-number";
/// The field with the number of the attempt that a response belongs to.
pub const ATTEMPT: &str = "x-attempt";
/// What a client writes into every field that must not reach an upstream.
pub const FORGED: &str = "forged";
/// What an upstream writes into every response that must not reach a client.
pub const SPOILT: &str = "spoilt";

const REQUEST_BIT: u64 = 1 << 62;
const RESPONSE_BIT: u64 = 1 << 61;

/// `count` bytes of the body of request `number` from `offset` on.
pub fn request_body(number: u64, offset: u64, count: u64) -> Vec<u8> {
    (offset..offset + count).map(|at| pattern(number | REQUEST_BIT, at)).collect()
}

/// `count` bytes of the body of the response to request `number` from `offset` on.
pub fn response_body(number: u64, offset: u64, count: u64) -> Vec<u8> {
    (offset..offset + count).map(|at| pattern(number | RESPONSE_BIT, at)).collect()
}

/// A request as its client makes it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose it is.
    pub client: u64,
    /// Its method.
    pub method: &'static str,
    /// The host that it is for.
    pub host: String,
    /// Whether the host is another than the one that the client asked for in its handshake.
    pub is_elsewhere: bool,
    /// How its body is delimited.
    pub framing: Framing,
    /// Bytes of its body.
    pub body_bytes: u64,
    /// What it is refused by; empty where an upstream may hear of it.
    pub refused_as: &'static [u16],
    /// Whether its body is never whole.
    pub is_cut: bool,
    /// Whether the client may still be sent interim responses, and bodies in chunks.
    pub is_http11: bool,
}

/// What an upstream says to a request.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Bytes of the body, as it goes out.
    pub body_bytes: u64,
    /// Whether all of it was sent, and its end.
    pub is_complete: bool,
    /// Whether its end cannot be told from a cut.
    pub is_vague: bool,
}

/// A request on its way.
#[derive(Debug)]
struct Known {
    asked: Asked,
    /// When the last byte of its head was handed to TLS.
    head_sent: Option<u64>,
    /// Whether all of it was.
    is_sent: bool,
    /// What was said to it, for each time that an upstream heard of it.
    attempts: Vec<Option<Answer>>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Book {
    requests: BTreeMap<u64, Known>,
    next: u64,
    /// Attempts that a request may have.
    pub attempts_max: usize,
    /// What becomes of `X-Forwarded-For`.
    pub x_forwarded: Option<Forwarding>,
    /// Whether upstreams are told of the certificate.
    pub tells_certificate: bool,
    /// Whether bytes may be on their way for longer than deadlines last.
    pub is_slow: bool,
}

impl Book {
    /// The number of the next request.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A client is about to send this request.
    pub fn add(&mut self, number: u64, asked: Asked) {
        let known = Known { asked, head_sent: None, is_sent: false, attempts: Vec::new() };
        self.requests.insert(number, known);
    }

    /// A request that was added.
    pub fn asked(&self, number: u64) -> &Asked {
        &self.requests[&number].asked
    }

    /// The client has handed over the head.
    pub fn head_sent(&mut self, number: u64, now: u64) {
        self.known(number).head_sent.get_or_insert(now);
    }

    /// The client has handed over all of it.
    pub fn sent(&mut self, number: u64) {
        self.known(number).is_sent = true;
    }

    /// An upstream begins to answer.
    pub fn answers(&mut self, number: u64, attempt: usize, answer: Answer) {
        self.known(number).attempts[attempt] = Some(answer);
    }

    /// The last byte, or the end, of an answer was sent.
    pub fn answered(&mut self, number: u64, attempt: usize) {
        if let Some(answer) = &mut self.known(number).attempts[attempt] {
            answer.is_complete = true;
        }
    }

    fn known(&mut self, number: u64) -> &mut Known {
        // invariant: numbers are those of requests that were added.
        self.requests.get_mut(&number).expect("a request that was added")
    }
}

/// The methods that may be sent again (RFC 9110, 9.2.2), of those that clients use here.
pub fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS")
}

/// A request whose head an upstream has read.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Its number.
    pub number: u64,
    /// Which attempt it is, from 0.
    pub attempt: usize,
    /// How its body comes.
    pub framing: Framing,
}

impl Ledger {
    /// Whether the route of HTTP lets a client pass: under any, and under every configuration that
    /// was in force between two moments.
    pub fn route_allows(&self, facts: &ClientFacts, from: u64, to: u64) -> (bool, bool) {
        let (from, to) = (from.saturating_sub(TURN_NS), to + TURN_NS);
        let during = |since: u64| {
            let ends = self.in_force.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]);
            let spans = self.in_force.iter().zip(ends);
            spans.filter(move |((begin, _), end)| *begin <= to && *end >= since)
        };
        // What is not asked for is none.
        let was_unasked = during(facts.since.saturating_sub(TURN_NS)).any(|((_, it), _)| {
            it.demand(facts.listener, facts.is_other_name).auth == ClientAuth::Off
        });
        let mut is_let = (false, true);
        for ((_, in_force), _) in during(from) {
            let own = allows(in_force.route, facts.certificate);
            let nobody = was_unasked && allows(in_force.route, Certificate::Nobody);
            let surely = own && (!was_unasked || allows(in_force.route, Certificate::Nobody));
            is_let = (is_let.0 || own || nobody, is_let.1 && surely);
        }
        is_let
    }

    /// An upstream has read the head of a request: is it one that a client has sent, as it was
    /// sent, and may it be here?
    pub fn heard(&mut self, net: &mut Inner, head: &Head) -> Option<Heard> {
        let number = head.value(NUMBER).and_then(|it| it.parse::<u64>().ok());
        let number = number.filter(|it| self.requests.requests.contains_key(it));
        let Some(number) = number else {
            net.violation(format_args!("an upstream hears of a request of nobody: {head:?}"));
            return None;
        };
        if let Some(wrong) = self.wrong_with(net.now, number, head) {
            net.violation(format_args!("request {number} reaches an upstream: {wrong}: {head:?}"));
            return None;
        }
        let known = self.requests.known(number);
        // invariant: `wrong_with` has looked at the framing.
        let framing = head.framing().expect("a framing");
        known.attempts.push(None);
        Some(Heard { number, attempt: known.attempts.len() - 1, framing })
    }

    fn wrong_with(&self, now: u64, number: u64, head: &Head) -> Option<String> {
        let known = &self.requests.requests[&number];
        let asked = &known.asked;
        let facts = &self.clients[&asked.client];
        let Some(head_sent) = known.head_sent else {
            return Some("before its head was sent".into());
        };
        if !asked.refused_as.is_empty() {
            return Some(format!("it should have been refused as {:?}", asked.refused_as));
        }
        let earlier = known.attempts.len();
        if earlier > 0 && !is_idempotent(asked.method) {
            return Some(format!("{} a second time", asked.method));
        }
        if earlier >= self.requests.attempts_max {
            return Some(format!("after {earlier} times"));
        }
        if !self.verdicts(facts, facts.since, now).contains(&crate::sim::pki::Verdict::Allowed) {
            return Some(format!("its client has {:?}", facts.certificate));
        }
        if !self.route_allows(facts, head_sent, now).0 {
            return Some(format!("its route does not allow {:?}", facts.certificate));
        }
        if asked.is_elsewhere && self.is_always_apart(facts, head_sent, now) {
            return Some("it is for another trust scope than its connection".into());
        }
        self.differs(asked, facts, number, head)
    }

    fn is_always_apart(&self, facts: &ClientFacts, from: u64, to: u64) -> bool {
        let (from, to) = (from.saturating_sub(TURN_NS), to + TURN_NS);
        let ends = self.in_force.iter().skip(1).map(|(at, _)| *at).chain([u64::MAX]);
        let mut spans = self.in_force.iter().zip(ends);
        spans.all(|((begin, it), end)| {
            *begin > to || end < from || it.other_name[facts.listener].is_some()
        })
    }

    /// What of a head is not what its client sent.
    fn differs(
        &self,
        asked: &Asked,
        facts: &ClientFacts,
        number: u64,
        head: &Head,
    ) -> Option<String> {
        let start = format!("{} /r/{number} HTTP/1.1", asked.method);
        if head.start != start {
            return Some(format!("not as {start}"));
        }
        if head.value("host") != Some(&asked.host) {
            return Some(format!("not for {}", asked.host));
        }
        let framing = head.framing();
        if framing.as_ref() != Ok(&asked.framing) {
            return Some(format!("its body comes by {framing:?}, not {:?}", asked.framing));
        }
        let is_forged = |(name, value): &&(String, String)| {
            value.contains(FORGED) || name.contains(FORGED) || name == "keep-alive" || name == "te"
        };
        if let Some(field) = head.fields.iter().find(is_forged) {
            return Some(format!("with {field:?}"));
        }
        if self.requests.x_forwarded == Some(Forwarding::Set) {
            let ip = facts.source.split(':').next().unwrap_or_default();
            let told = head.value("x-forwarded-for");
            if told != Some(ip) && told != Some("unknown") {
                return Some(format!("as of {told:?}, and it is of {ip}"));
            }
        }
        self.wrongly_told(facts, head)
    }

    /// What an upstream is told of the client is so.
    fn wrongly_told(&self, facts: &ClientFacts, head: &Head) -> Option<String> {
        let told: Vec<&str> = head.values("client-cert").collect();
        let is_known = |value: &str| {
            let encoded = value.strip_prefix(':')?.strip_suffix(':')?;
            let der = STANDARD.decode(encoded).ok()?;
            let sha256: [u8; 32] = digest(&SHA256, &der).as_ref().try_into().ok()?;
            let certificate = self.certificates.get(&sha256)?;
            (*certificate == facts.certificate).then_some(())
        };
        match told.as_slice() {
            [] => None,
            [value] if self.requests.tells_certificate && is_known(value).is_some() => None,
            _ => Some(format!("as a request of {told:?}; its client has {:?}", facts.certificate)),
        }
    }

    /// An upstream has read a piece of a request's body.
    pub fn heard_body(&mut self, net: &mut Inner, number: u64, offset: u64, data: &[u8]) {
        let asked = &self.requests.known(number).asked;
        let bytes = asked.body_bytes;
        if data != request_body(number, offset, data.len() as u64) {
            net.violation(format_args!(
                "what an upstream reads from {offset} on is not the body of request {number}"
            ));
        } else if offset + data.len() as u64 > bytes {
            net.violation(format_args!("the body of request {number} is longer than {bytes}"));
        }
    }

    /// An upstream has read the end of a request.
    pub fn heard_all(&mut self, net: &mut Inner, number: u64, bytes: u64, trailers: &[String]) {
        let known = self.requests.known(number);
        let is_forged = trailers.iter().any(|line| line.contains(FORGED));
        let is_whole = known.is_sent && !known.asked.is_cut && known.asked.body_bytes == bytes;
        if !is_whole || is_forged {
            net.violation(format_args!(
                "an upstream has all of request {number}, {bytes} bytes and {trailers:?}; its \
                 client has sent: {known:?}"
            ));
        }
    }
}

/// Whether a route with these rules is open to a client.
fn allows(rules: Rules, certificate: Certificate) -> bool {
    match rules {
        Rules::Open => true,
        Rules::Wide => !matches!(certificate, Certificate::Denied | Certificate::Nobody),
        Rules::Narrow => certificate.is_first(),
    }
}

/// Whose a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// An upstream's, which has heard of the request for this time.
    Upstream(usize),
    /// The gateway's own.
    Gateway,
}

impl Ledger {
    /// The client has read the head of a final response to its request `number`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn answered_with(
        &self,
        net: &Inner,
        number: u64,
        status: u16,
        head: &Head,
    ) -> Result<Author, String> {
        let known = &self.requests.requests[&number];
        let is_spoilt = |(name, value): &(String, String)| {
            name.contains(SPOILT) || value.contains(SPOILT) || value.contains(FORGED)
        };
        if let Some(field) = head.fields.iter().find(|field| is_spoilt(field)) {
            return Err(format!("with {field:?}"));
        }
        let Some(echoed) = head.value(NUMBER) else {
            return self.own_answer(net, known, status).map(|()| Author::Gateway);
        };
        let attempt = head.value(ATTEMPT).and_then(|it| it.parse::<usize>().ok());
        if echoed != number.to_string() {
            return Err(format!("which belongs to request {echoed}"));
        }
        let answer = attempt.and_then(|it| known.attempts.get(it).copied().flatten());
        match (answer, attempt) {
            (Some(answer), Some(attempt)) if status < 200 || answer.status == status => {
                Ok(Author::Upstream(attempt))
            }
            _ => Err(format!("and its upstream says {answer:?}")),
        }
    }

    /// What the gateway answers by itself has a reason.
    fn own_answer(&self, net: &Inner, known: &Known, status: u16) -> Result<(), String> {
        let asked = &known.asked;
        let facts = &self.clients[&asked.client];
        let since = known.head_sent.unwrap_or(net.now);
        let has_reason = match status {
            403 => !self.route_allows(facts, since, net.now).1,
            421 => asked.is_elsewhere,
            _ if (net.faults.break_things() || self.requests.is_slow)
                && matches!(status, 408 | 502..=504) =>
            {
                true
            }
            502..=504 => self.was_nowhere(since.min(facts.since), net.now),
            400 | 408 | 413 if asked.is_cut => true,
            other => asked.refused_as.contains(&other),
        };
        let asked = || format!("by the gateway, for no reason: {asked:?}");
        if has_reason { Ok(()) } else { Err(asked()) }
    }

    /// The client has read the end of the response, and `bytes` of its body.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn answered_all(&self, number: u64, author: Author, bytes: u64) -> Result<(), String> {
        let known = &self.requests.requests[&number];
        let Author::Upstream(attempt) = author else { return Ok(()) };
        let answer = known.attempts.get(attempt).copied().flatten();
        match answer {
            Some(answer) if answer.is_vague => Ok(()),
            Some(answer) if answer.is_complete && answer.body_bytes == bytes => Ok(()),
            answer => Err(format!("is complete with {bytes} bytes; its upstream: {answer:?}")),
        }
    }
}
