//! The oracles of trust over time: what was demanded when, who may still be connected, and which
//! session may be resumed.
//!
//! A gateway sees a change a little later than the ledger, so all is asked of a span of time.
//! Invariant: a span is never too short, so what is a violation here is one.

use super::demands::Demand;
use super::ledger::{ClientFacts, Ledger};
use super::net::Inner;
use super::pki::{self, Client as Certificate, Verdict};
use super::plan::{MS, Plan, S, Sessions};
use crate::error::Refusal;
use crate::limits::{CRL_FUTURE_S_MAX, LEASE_SWEEP_MS_MAX, SESSION_SKEW_S_MAX};
use crate::proxy::leases::Held;

/// Nanoseconds by which a worker may see a change later than the ledger, or earlier: a turn.
pub(super) const TURN_NS: u64 = 20 * MS;
/// Nanoseconds that tasks may take in all, where they are slow, until all leases are judged.
const SLOW_NS: u64 = 500 * MS;

impl Ledger {
    /// The wall clock is `offset_s` ahead of the epoch from `now` on.
    pub fn wall_clock_set(&mut self, now: u64, offset_s: i64) {
        self.wall_offsets.push((now, offset_s));
    }

    /// The earliest and the latest time that the wall clock showed between two moments, in seconds
    /// since 1970.
    fn wall(&self, from: u64, to: u64) -> (i64, i64) {
        let shown = |at: u64, offset_s: i64| pki::EPOCH_UNIX_S + (at / S) as i64 + offset_s;
        let begins = [(0, 0)].into_iter().chain(self.wall_offsets.iter().copied());
        let ends = self.wall_offsets.iter().map(|(at, _)| *at).chain([u64::MAX]);
        let spans = begins.zip(ends).filter(|((begin, _), end)| *begin <= to && *end >= from);
        let shown = spans.map(|((begin, offset_s), end)| {
            (shown(begin.max(from), offset_s), shown(end.min(to), offset_s))
        });
        let nothing = (i64::MAX, i64::MIN);
        shown.fold(nothing, |(min, max), (first, last)| (min.min(first), max.max(last)))
    }

    /// What was demanded of who asks a listener between two moments.
    fn demands(&self, facts: &ClientFacts, from: u64, to: u64) -> Vec<(Demand, usize)> {
        let until = |index: usize| self.in_force.get(index + 1).map_or(u64::MAX, |(at, _)| *at);
        let in_force = self.in_force.iter().enumerate();
        in_force
            .filter(|(index, (begin, _))| *begin <= to && until(*index) >= from)
            .map(|(index, (_, in_force))| {
                (in_force.demand(facts.listener, facts.is_other_name), index)
            })
            .collect()
    }

    /// What the gateway may have to make of a client between two moments, give or take a turn.
    pub fn verdicts(&self, facts: &ClientFacts, from: u64, to: u64) -> Vec<Verdict> {
        self.verdicts_at(facts, from.saturating_sub(TURN_NS), to + TURN_NS)
    }

    fn verdicts_at(&self, facts: &ClientFacts, from: u64, to: u64) -> Vec<Verdict> {
        let (earliest, latest) = self.wall(from, to);
        let mut verdicts = Vec::new();
        for (demand, index) in self.demands(facts, from, to) {
            let lists = self.in_force[index].1.lists.as_deref();
            // What time changes: a list begins or is too old, or the certificate expires.
            let edges = lists.map(|it| [it.this_update - CRL_FUTURE_S_MAX, it.next_update]);
            let edges = edges.into_iter().flatten().chain([facts.certificate.expires()]);
            let edges = edges.flat_map(|edge| [edge, edge + 1]);
            let within = edges.filter(|edge| (earliest..=latest).contains(edge));
            for wall in within.chain([earliest, latest]) {
                let verdict = demand.verdict(facts.certificate, lists, wall);
                if !verdicts.contains(&verdict) {
                    verdicts.push(verdict);
                }
            }
        }
        verdicts
    }

    /// Whether some configuration between two moments had no address of an upstream.
    pub fn was_nowhere(&self, from: u64, to: u64) -> bool {
        let until = |index: usize| self.in_force.get(index + 1).map_or(u64::MAX, |(at, _)| *at);
        let mut in_force = self.in_force.iter().enumerate();
        in_force.any(|(index, (at, it))| it.is_nowhere && *at <= to && until(index) >= from)
    }

    /// Whoever is connected was allowed to be, until not longer ago than it takes to end it.
    pub fn check_held(&self, net: &mut Inner, plan: &Plan, number: usize, held: &[Held]) {
        let sweep = LEASE_SWEEP_MS_MAX * MS + SLOW_NS;
        let longest = sweep + plan.lapse_drain.as_nanos() as u64;
        let jumped = self.jumped_at.is_some_and(|at| net.now < at + longest);
        if jumped || net.now < longest {
            return;
        }
        for Held { listener, server_name, certificate, term } in held {
            let certificate = certificate.and_then(|it| self.certificates.get(&it).copied());
            let facts = ClientFacts {
                certificate: certificate.unwrap_or(Certificate::Nobody),
                listener: *listener,
                is_other_name: server_name.as_deref() == Some(pki::OTHER_NAME),
                ..ClientFacts::default()
            };
            let now = net.now;
            let since = |span: u64| self.verdicts_at(&facts, now - span, now);
            let is_revoked =
                since(sweep).iter().all(|it| *it == Verdict::Refused(Refusal::Revoked));
            if is_revoked || !since(longest).contains(&Verdict::Allowed) {
                net.violation(format_args!(
                    "worker {number}: {:?} is still connected to listener {listener} as {:?}, and \
                     was for {} ms one of {:?}; the lease says {term}",
                    facts.certificate,
                    server_name,
                    longest / MS,
                    since(longest)
                ));
            }
        }
    }

    /// A client has completed its handshake. Where it resumed a session, there was a full handshake
    /// of the same client, under the same demands, not too long ago.
    pub fn shaken(&mut self, net: &mut Inner, plan: &Plan, client: u64, resumed: bool) {
        let now = net.now;
        if let Some(facts) = self.clients.get_mut(&client) {
            facts.shaken = Some((now, resumed));
        }
        let facts = &self.clients[&client];
        if !resumed || facts.is_garbled {
            return;
        }
        let sessions = plan.sessions[facts.listener];
        let is_origin = |other: &ClientFacts| self.is_origin(other, facts, plan, sessions, now);
        if !self.clients.values().any(is_origin) {
            net.violation(format_args!(
                "client {client} with {:?} resumes a session that listener {} ({sessions:?}) has \
                 not authenticated, or not lately",
                facts.certificate, facts.listener
            ));
        }
    }

    /// Whether `facts` may resume now what was authenticated when `other` shook hands.
    fn is_origin(
        &self,
        other: &ClientFacts,
        facts: &ClientFacts,
        plan: &Plan,
        sessions: Sessions,
        now: u64,
    ) -> bool {
        let same = other.certificate == facts.certificate
            && other.listener == facts.listener
            && other.is_other_name == facts.is_other_name;
        let (Some((_, false)), Some(age_max_s), true) = (other.shaken, sessions.age_max_s(), same)
        else {
            return false;
        };
        // The gateway may have been done before the client, or after it.
        let longest = plan.handshake_timeout.as_nanos() as u64 + S;
        let (from, mut to) = (other.since, now.min(other.since + longest));
        // What came while the clock jumped is seen with the deadline that has passed, and first.
        if self.jumped_at.is_some_and(|at| at >= from) {
            to = now;
        }
        let (earliest, latest) = self.wall(from, to);
        let (now_earliest, now_latest) = self.wall(facts.since, now);
        let ages = now_earliest - latest..=now_latest - earliest;
        let is_fresh = *ages.start() <= i64::from(age_max_s) && *ages.end() >= -SESSION_SKEW_S_MAX;
        let demanded = self.demands(other, from, to);
        let demands = self.demands(facts, facts.since.saturating_sub(TURN_NS), now);
        is_fresh && demands.iter().any(|(now, _)| demanded.iter().any(|(then, _)| now == then))
    }
}
