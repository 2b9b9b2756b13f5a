//! How a client sends its requests.

use std::io::Write as _;

use super::{Client, OUTBOX_BYTES};
use crate::sim::faults::Fault;
use crate::sim::http::client::{HttpClient, Next};
use crate::sim::ledger::Ledger;
use crate::sim::net::Inner;

impl Client {
    /// Goes on with what `http` has to say. Returns whether the client is over.
    pub(super) fn send_http(
        &mut self,
        net: &mut Inner,
        ledger: &mut Ledger,
        http: &mut HttpClient,
    ) -> bool {
        while !self.tls.is_handshaking() && self.outbox.len() <= OUTBOX_BYTES {
            if ledger.flow(self.number).ended {
                return false;
            }
            if self.breaks_off(net, ledger) {
                return true;
            }
            if net.fault(Fault::KeyUpdate) {
                // TLS 1.2 has no such thing, and says so.
                let _ = self.tls.refresh_traffic_keys();
            }
            match http.next(net.now) {
                Next::Send(bytes) => {
                    // The buffer of rustls is bounded; what it takes is sent.
                    let taken = self.tls.writer().write(bytes).unwrap_or(0);
                    ledger.flow(self.number).sent += taken as u64;
                    http.sent(ledger, net.now, taken);
                    self.collect();
                    if taken == 0 {
                        return false;
                    }
                }
                Next::Wait(until) => {
                    if let Some(until) = until {
                        net.wake_actor_at(until, self.actor);
                    }
                    return false;
                }
                Next::End if self.is_tainted => return false,
                Next::End => {
                    self.tls.send_close_notify();
                    ledger.flow(self.number).ended = true;
                }
                Next::Cut => {
                    self.write(net, ledger);
                    net.shut_write(self.socket);
                    self.close(net, false);
                    return true;
                }
            }
        }
        false
    }
}
