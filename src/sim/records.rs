//! The oracles of the log: what a record says of a connection is what happened to it.

use super::ledger::{ClientFacts, InForce, Ledger};
use super::net::Inner;
use super::pki::{self, Client as Certificate, Verdict};
use super::plan::S;
use crate::error::CloseKind;
use crate::log::ConnectionRecord;

/// Nanoseconds by which a worker may see a configuration later than the ledger, or earlier: a turn.
const TURN_NS: u64 = 20_000_000;

impl Ledger {
    /// The wall clock is `offset_s` ahead of the epoch from `now` on.
    pub fn wall_clock_set(&mut self, now: u64, offset_s: i64) {
        self.wall_offsets.push((now, offset_s));
    }

    /// The earliest time that the wall clock showed between two moments, in seconds since 1970.
    fn wall_min(&self, from: u64, to: u64) -> i64 {
        let shown = |at: u64, offset_s: i64| pki::EPOCH_UNIX_S + (at / S) as i64 + offset_s;
        let before = self.wall_offsets.iter().rev().find(|(at, _)| *at <= from);
        let first = shown(from, before.map_or(0, |(_, offset_s)| *offset_s));
        let within = self.wall_offsets.iter().filter(|(at, _)| (from..=to).contains(at));
        within.map(|(at, offset_s)| shown(*at, *offset_s)).fold(first, i64::min)
    }

    /// What configurations say of a client that were in force between `opened`, when it was
    /// accepted, and the end of its handshake.
    fn verdicts(&self, facts: &ClientFacts, opened: u64, shaken: u64) -> Vec<Verdict> {
        let unix_s = self.wall_min(opened, shaken);
        let until = |index: usize| self.in_force.get(index + 1).map_or(u64::MAX, |(at, _)| *at);
        let possible = self.in_force.iter().enumerate().filter(|(index, (from, _))| {
            *from <= shaken + TURN_NS && until(*index).saturating_add(TURN_NS) >= opened
        });
        possible
            .map(|(_, (_, in_force))| match in_force {
                InForce::Wide => facts.certificate.verdict(unix_s),
                InForce::Narrow => facts.certificate.narrower_verdict(unix_s),
                InForce::OtherTrust => facts.certificate.stranger_verdict(unix_s),
            })
            .collect()
    }

    /// Checks a record against what its client and its upstream know.
    pub fn check_record(&self, net: &mut Inner, record: &ConnectionRecord) {
        let Some(peer) = record.peer.map(|peer| peer.to_string()) else { return };
        let Some(facts) = self.clients.values().find(|facts| facts.source == peer) else {
            return net.violation(format_args!("a record of nobody: {peer}"));
        };
        self.check_decision(net, record, facts);
        self.check_bytes(net, record, facts);
        let identity = record.identity.as_deref();
        if identity.is_some_and(|identity| Some(identity) != facts.identity.as_ref()) {
            net.violation(format_args!("{peer} is logged as {identity:?}"));
        }
    }

    fn check_decision(&self, net: &mut Inner, record: &ConnectionRecord, facts: &ClientFacts) {
        let opened = record.opened.as_nanos();
        let shaken = record.handshake.map_or(net.now, |took| opened + took.as_nanos() as u64);
        let verdicts = self.verdicts(facts, opened, shaken);
        let expires = matches!(facts.certificate, Certificate::ShortLived(_));
        let fits = match record.reason.kind {
            _ if record.upstream.is_some() => verdicts.contains(&Verdict::Allowed),
            // A listener that only asks for certificates lets the rules decide about nobody.
            CloseKind::Denied if facts.certificate == Certificate::Nobody => true,
            CloseKind::Denied => verdicts.contains(&Verdict::Denied),
            // It may have expired since, or its signature been garbled.
            CloseKind::CertificateRefused(_) if expires || facts.is_garbled => true,
            CloseKind::CertificateRefused(refusal) => verdicts.contains(&Verdict::Refused(refusal)),
            _ => true,
        };
        if !fits {
            net.violation(format_args!(
                "{:?} with {:?} ends as {:?}, to the upstream {:?}; it should have been one of \
                 {verdicts:?}",
                record.peer, facts.certificate, record.reason, record.upstream
            ));
        }
    }

    fn check_bytes(&self, net: &mut Inner, record: &ConnectionRecord, facts: &ClientFacts) {
        let client = &facts.flow;
        let upstream = client.peer.and_then(|peer| self.upstreams.get(&peer));
        let down_max = upstream.map_or(u64::MAX, |upstream| upstream.sent);
        let finished = record.reason.kind == CloseKind::Finished;
        let is_whole = !finished
            || client.ended
                && record.bytes_up == client.sent
                && upstream.is_none_or(|upstream| {
                    upstream.sees_no_reset || upstream.ended && record.bytes_down == upstream.sent
                });
        if record.bytes_up > client.sent || record.bytes_down > down_max || !is_whole {
            net.violation(format_args!(
                "{:?} is logged as {:?} with {} bytes up and {} down; it sent {}, ended: {}; its \
                 upstream: {upstream:?}",
                record.peer,
                record.reason,
                record.bytes_up,
                record.bytes_down,
                client.sent,
                client.ended
            ));
        }
    }
}
