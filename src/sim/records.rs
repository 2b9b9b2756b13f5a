//! The oracles of the log: what a record says of a connection is what happened to it.

use super::ledger::{ClientFacts, Ledger};
use super::net::Inner;
use super::pki::{Client as Certificate, Verdict};
use crate::error::{CloseKind, Refusal};
use crate::limits::REFUSAL_TTL_S;
use crate::log::{ConnectionRecord, RequestRecord};

impl Ledger {
    /// Checks a record against what its client and its upstream know.
    pub fn check_record(&self, net: &mut Inner, record: &ConnectionRecord) {
        let Some(peer) = record.peer.map(|peer| peer.to_string()) else { return };
        let Some(facts) = self.clients.values().find(|facts| facts.source == peer) else {
            return net.violation(format_args!("a record of nobody: {peer}"));
        };
        self.check_decision(net, record, facts);
        self.check_lapse(net, record, facts);
        self.check_bytes(net, record, facts);
        let identity = record.identity.as_deref();
        if identity.is_some_and(|identity| Some(identity) != facts.identity.as_ref()) {
            net.violation(format_args!("{peer} is logged as {identity:?}"));
        }
    }

    /// Checks the record of a request.
    pub fn check_request_record(&self, net: &mut Inner, record: &RequestRecord) {
        net.note(format_args!(
            "logged: {} {} as {} {:?} {:?}, {} retries, {} up, {} down",
            record.method,
            record.path,
            record.status,
            record.answered,
            record.failure,
            record.retries,
            record.bytes_up,
            record.bytes_down
        ));
        if let Some(code) = record.answered {
            net.trace.mark(code);
        }
        let peer = record.peer.map(|peer| peer.to_string());
        let facts = self.clients.values().find(|it| Some(&it.source) == peer.as_ref());
        if peer.is_some() && !facts.is_some_and(|it| it.is_http) {
            net.violation(format_args!("a request of nobody is logged: {record:?}"));
        }
    }

    fn check_decision(&self, net: &mut Inner, record: &ConnectionRecord, facts: &ClientFacts) {
        let opened = record.opened.as_nanos();
        let shaken = record.handshake.map_or(net.now, |took| opened + took.as_nanos() as u64);
        let verdicts = self.verdicts(facts, opened, shaken);
        let is_allowed = verdicts.contains(&Verdict::Allowed);
        let resumed = record.negotiated.as_ref().is_some_and(|negotiated| negotiated.resumed);
        let fits = match record.reason.kind {
            _ if record.upstream.is_some() => is_allowed,
            // Its signature may have been garbled.
            CloseKind::CertificateRefused(_) if facts.is_garbled => true,
            CloseKind::CertificateRefused(refusal) => {
                // A refusal is kept for a while.
                let since = opened.saturating_sub(REFUSAL_TTL_S * super::plan::S);
                self.verdicts(facts, since, shaken).contains(&Verdict::Refused(refusal))
            }
            CloseKind::Denied => verdicts.contains(&Verdict::Denied),
            // The handshake is complete: nobody gets there whose certificate is not in order, and
            // by resuming nobody whom the rules deny.
            _ if record.handshake.is_some() && !facts.is_garbled => {
                is_allowed || verdicts.contains(&Verdict::Denied)
            }
            _ => true,
        };
        let resumes_rightly = !resumed || record.handshake.is_none() || is_allowed;
        if !fits || !resumes_rightly {
            net.violation(format_args!(
                "{:?} with {:?}, resumed: {resumed}, ends as {:?}, to the upstream {:?}; it should \
                 have been one of {verdicts:?}",
                record.peer, facts.certificate, record.reason, record.upstream
            ));
        }
    }

    /// Nobody is put out again but for what is so.
    fn check_lapse(&self, net: &mut Inner, record: &ConnectionRecord, facts: &ClientFacts) {
        use Verdict::{Denied, Refused};
        let is_cause = |verdict: &Verdict| match record.reason.kind {
            // Of two causes a lease tells that of the lists, a handshake that of the anchor.
            CloseKind::Revoked | CloseKind::RevocationUnknown
                if *verdict == Refused(Refusal::UnknownAnchor) =>
            {
                true
            }
            CloseKind::Revoked => *verdict == Refused(Refusal::Revoked),
            CloseKind::CertificateExpired => *verdict == Refused(Refusal::Expired),
            CloseKind::RevocationUnknown => {
                matches!(verdict, Refused(Refusal::CrlStale | Refusal::CrlMissing))
            }
            CloseKind::NoLongerAllowed => matches!(
                verdict,
                Denied | Refused(Refusal::UnknownAnchor | Refusal::CertificateMissing)
            ),
            _ => true,
        };
        let verdicts = self.verdicts(facts, record.opened.as_nanos(), net.now);
        // A certificate that was not asked for is none.
        let was_unasked = || {
            let nobody = ClientFacts { certificate: Certificate::Nobody, ..facts.clone() };
            record.identity.is_none()
                && self.verdicts(&nobody, record.opened.as_nanos(), net.now).iter().any(is_cause)
        };
        if !verdicts.iter().any(is_cause) && !was_unasked() {
            net.violation(format_args!(
                "{:?} with {:?} was put out as {:?}; it should have been one of {verdicts:?}",
                record.peer, facts.certificate, record.reason
            ));
        }
    }

    fn check_bytes(&self, net: &mut Inner, record: &ConnectionRecord, facts: &ClientFacts) {
        let client = &facts.flow;
        if facts.is_http {
            // Of bodies only.
            if record.bytes_up > client.sent {
                net.violation(format_args!(
                    "{:?} is logged with {} bytes up, and sent {}",
                    record.peer, record.bytes_up, client.sent
                ));
            }
            return;
        }
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
