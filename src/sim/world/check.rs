//! The oracles of the gateway's own state: what it holds, and what it counts.

use std::rc::Rc;
use std::time::Duration;

use rustls::AlertDescription;

use super::{Report, SOURCES, Slot, World, source};
use crate::limits::{RECV_QUEUE_BUFFERS_MAX, SEND_PENDING_BYTES_MAX};
use crate::metrics::counter::CounterSnapshot;
use crate::proxy::worker::Worker;
use crate::rt::audit::Audit;
use crate::sim::client::{Client, State};
use crate::sim::net::Inner;
use crate::sim::pki::Verdict;
use crate::sim::plan::Plan;
use crate::trust::store::SessionStore;

/// Buffers that may come while a receive is being stopped: the kernel fills up to 32 in one go.
const LATE_BUFFERS_MAX: usize = 2 * 32;

/// A client that comes less than this before a drain may find the listener closed.
const IN_TIME_NS: u64 = 100_000_000;

/// Clients that come when nothing is wrong any more are done within this.
const PROBE_NS_MAX: u64 = 4_000_000_000;

/// What one connection may hold, at every moment.
pub(super) fn memory(net: &mut Inner, number: usize, worker: &Rc<Worker>, plan: &Plan) {
    let (audit, _) = worker.audit();
    let queued_max = RECV_QUEUE_BUFFERS_MAX + LATE_BUFFERS_MAX;
    // What is pending is below the bound before one more receive buffer is encrypted behind it; and
    // what is left of a short send may be in front of that.
    let pending_max = 2 * (SEND_PENDING_BYTES_MAX + 2 * plan.recv_buffer_bytes + 8 * 1024);
    if audit.queued_buffers_max > queued_max || audit.pending_bytes_max > pending_max {
        net.violation(format_args!("worker {number}: a connection holds too much: {audit:?}"));
    }
}

/// No upstream is connected to before its client was authenticated and authorised, and to another
/// endpoint only once.
pub(super) fn attempts(net: &mut Inner, number: usize, counted: &CounterSnapshot) {
    let (attempts, failures) = (net.upstream_attempts[number], net.upstream_failures[number]);
    // Of HTTP each request may have a connection of its own, and each time that it is sent again.
    let requests = counted.requests + counted.requests_retried;
    let authorised = counted.handshakes_done - counted.denied + requests;
    if attempts > authorised + failures.min(authorised) {
        net.violation(format_args!(
            "worker {number}: {attempts} connections to upstreams, {failures} of them failed, for \
             {authorised} clients that were authorised"
        ));
    }
}

/// A task that neither accepts nor looks after leases has one client and, with an upstream's lease,
/// what it connects to; and each client that was let in and is still there has a lease.
pub(super) fn leases(
    net: &mut Inner,
    number: usize,
    worker: &Rc<Worker>,
    counted: &CounterSnapshot,
) {
    let (audit, [_, upstreams, clients, sweepers, pooled, keepers]) = worker.audit();
    let connections = audit.tasks - audit.listeners_owned - sweepers - keepers;
    if audit.sockets_owned != connections + upstreams + pooled {
        net.violation(format_args!(
            "worker {number}: {connections} connections with {upstreams} leases own {} sockets",
            audit.sockets_owned
        ));
    }
    let ended_early = counted.refused_limit + counted.handshakes_failed;
    let authorised = counted.handshakes_done + ended_early - counted.connections_closed;
    if clients as u64 != authorised {
        net.violation(format_args!(
            "worker {number}: {authorised} clients are let in, and {clients} have leases"
        ));
    }
    if sweepers == 0 && clients > 0 {
        net.violation(format_args!("worker {number}: nobody looks after {clients} leases"));
    }
}

/// What a worker that has drained has left, and what it has counted.
pub(super) fn drained(net: &mut Inner, number: usize, worker: &Rc<Worker>, slot: &Slot) {
    let (audit, counts) = worker.audit();
    if audit != Audit::default() || counts != [0; 6] {
        net.violation(format_args!(
            "worker {number} has drained and holds {audit:?}, places and leases: {counts:?}"
        ));
    }
    let counted = slot.counters.snapshot();
    for (mark, count) in [
        ("session_resumed", counted.resumptions),
        ("session_declined", counted.resumptions_declined),
        ("verdict_known", counted.verdict_hits),
    ] {
        if count > 0 {
            net.trace.mark(mark);
        }
    }
    let ended = [
        ("closed", counted.connections_closed),
        ("logged", slot.records + counted.log_lost),
        (
            "refused or shaken hands with",
            counted.refused_limit + counted.handshakes_done + counted.handshakes_failed,
        ),
    ];
    for (what, count) in ended {
        if count != counted.accepted {
            net.violation(format_args!(
                "worker {number} accepted {} connections, and {what} {count}",
                counted.accepted
            ));
        }
    }
    if (counted.handshakes_live, counted.handshakes_waiting) != (0, 0) {
        net.violation(format_args!("worker {number} has drained amid handshakes: {counted:?}"));
    }
    if counted.sockets_live != 0 {
        net.violation(format_args!("worker {number} counts {} sockets", counted.sockets_live));
    }
}

/// The sessions of all workers stay within their bound.
pub(super) fn sessions(net: &mut Inner, store: &SessionStore, plan: &Plan) {
    let (count, bytes) = store.len();
    if bytes > plan.session_cache_bytes as usize {
        net.violation(format_args!("{count} sessions have {bytes} bytes: too many"));
    }
}

/// A client that must not pass, in a world in which nothing breaks, was told so.
fn check_refused(net: &mut Inner, client: &Client, verdicts: &[Verdict]) {
    let is_told = match verdicts {
        [Verdict::Denied] => client.alert() == Some(AlertDescription::AccessDenied),
        _ if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Refused(_))) => {
            client.alert().is_some()
        }
        // It may have been judged before things changed, or after.
        _ => true,
    };
    if !is_told {
        net.violation(format_args!(
            "client {} got the alert {:?}; it was {verdicts:?}",
            client.number,
            client.alert()
        ));
    }
}

impl World {
    /// Nobody gets more places than the limits have, of all workers, of one, or of a source; nor
    /// more handshakes.
    ///
    /// Each listener may go beyond the first two by one: what was accepted when the last place was
    /// taken waits, and gets its place when one is free or, with a drain, at once.
    pub(super) fn check_places(&self, number: usize, worker: &Rc<Worker>) {
        if self.is_roomy {
            return;
        }
        let listeners = self.configurations.listener_addresses().len();
        let places = |worker: &Rc<Worker>| worker.audit().1[0];
        let of_worker = places(worker);
        let in_all: usize = self.slots.iter().filter_map(|it| it.worker.as_ref()).map(places).sum();
        let worker_max = self.plan.connections_per_worker_max as usize + listeners;
        let all_max = self.plan.connections_max as usize + listeners * self.plan.workers;
        let mut net = self.net.borrow();
        if of_worker > worker_max || in_all > all_max {
            net.violation(format_args!(
                "worker {number} has {of_worker} connections, all have {in_all}; {worker_max} and \
                 {all_max} are allowed"
            ));
        }
        let handshakes = self.slots[number].counters.handshakes_live.get();
        if handshakes > u64::from(self.plan.handshakes_max) {
            net.violation(format_args!("worker {number} has {handshakes} handshakes in progress"));
        }
        let Some(source_max) = self.plan.connections_per_source_max else { return };
        for source in (1..=SOURCES).map(source) {
            let places = self.admission.places_of(source.into());
            if places > source_max {
                net.violation(format_args!(
                    "{source} has {places} connections, and {source_max} are allowed"
                ));
            }
        }
    }

    /// Once all workers have drained, nobody has a place any more.
    pub(super) fn check_all_given_back(&self) {
        if self.slots.iter().all(|slot| slot.worker.is_none()) && !self.admission.is_empty() {
            let mut net = self.net.borrow();
            net.violation(format_args!("places are taken, and nobody is left"));
        }
    }

    /// Whether all were served that should have been.
    pub(super) fn check_served(&self) {
        let mut net = self.net.borrow();
        let healthy = !net.faults.break_things() && self.plan.shape.is_gentle();
        for (actor, client) in &self.clients {
            let state = client.state();
            let was_served = state == State::Closed { served: true };
            let facts = &self.ledger.clients[&client.number];
            // Between two requests a connection is ended by a drain, whatever is on its way.
            let latest = facts.since.max(if facts.is_http { client.closed_at() } else { 0 });
            let in_time = self.drains_at.is_none_or(|at| latest + IN_TIME_NS < at);
            let is_asked = healthy && in_time && self.plan.has_room() && client.is_good();
            let is_probe = self.probes.contains(actor);
            let is_closed = matches!(state, State::Closed { .. });
            let until = if is_closed { client.closed_at() } else { net.now };
            let verdicts = self.ledger.verdicts(facts, facts.since, until);
            // Who idles may be put out by the end.
            if is_asked && is_closed {
                check_refused(&mut net, client, &verdicts);
            }
            if is_probe && client.closed_at() > facts.since + PROBE_NS_MAX {
                net.violation(format_args!("client {} was served late", client.number));
            }
            let is_allowed =
                verdicts == [Verdict::Allowed] && !self.ledger.was_nowhere(facts.since, until);
            let is_allowed = is_allowed
                && (!facts.is_http || self.ledger.route_allows(facts, facts.since, until).1);
            if (is_probe || is_asked && is_allowed) && !was_served && !client.idles() {
                net.violation(format_args!(
                    "client {}, with which nothing was wrong, is {state:?}",
                    client.number
                ));
            }
        }
    }

    /// What became of it.
    pub fn report(&self) -> Report {
        let mut net = self.net.borrow();
        let served = State::Closed { served: true };
        Report {
            elapsed: Duration::from_nanos(net.now),
            faults: net.faults.describe(),
            clients: self.clients.len(),
            served: self.clients.values().filter(|client| client.state() == served).count(),
            trace: std::mem::take(&mut net.trace),
        }
    }
}
