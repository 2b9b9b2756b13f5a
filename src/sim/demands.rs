//! What the gateway demands while a configuration is in force, and what it then has to make of
//! whom: the measure that its decisions are held to.
//!
//! It must not use the code that it is the measure of: no verifier, no rules, no list is asked.
//! Invariant: the answer depends on the configuration, the client and the wall clock only, so never
//! on sessions, caches or what came before.

use std::sync::Arc;

use super::pki::{Client, Lists, Verdict};
use crate::error::Refusal;
use crate::limits::CRL_FUTURE_S_MAX;
use crate::trust::verify::ClientAuth;

/// Listeners of the gateway.
pub const LISTENERS: usize = 2;

/// Whom a listener trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The root of nearly all clients.
    Own,
    /// The root of [`Client::Stranger`].
    Strangers,
    /// Both.
    Both,
}

/// Who may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Whoever is authenticated.
    Open,
    /// Whom [`super::pki::rules`] allow.
    Wide,
    /// Whom [`super::pki::narrower_rules`] allow.
    Narrow,
}

/// What one listener, or one server name of it, demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Whether a certificate is asked for; where it is off, the rest does not matter.
    pub auth: ClientAuth,
    /// See [`Roots`].
    pub roots: Roots,
    /// See [`Rules`].
    pub rules: Rules,
}

impl Demand {
    /// What most listeners demand.
    pub fn wide(auth: ClientAuth) -> Self {
        Self { auth, roots: Roots::Own, rules: Rules::Wide }
    }

    /// What a listener with this demand, and these lists, has to make of a client.
    pub fn verdict(self, client: Client, lists: Option<&Lists>, now_unix_s: i64) -> Verdict {
        let required = match (self.auth, client) {
            (ClientAuth::Off, _) => return Verdict::Allowed,
            (auth, Client::Nobody) => auth == ClientAuth::Require,
            _ => false,
        };
        if required {
            return Verdict::Refused(Refusal::CertificateMissing);
        }
        if client != Client::Nobody {
            let refusal = self.chain_refusal(client, now_unix_s);
            let refusal = refusal.or_else(|| list_refusal(client, lists?, now_unix_s));
            if let Some(refusal) = refusal {
                return Verdict::Refused(refusal);
            }
        }
        let is_allowed = match self.rules {
            Rules::Open => true,
            Rules::Wide => !matches!(client, Client::Denied | Client::Nobody),
            Rules::Narrow => client.is_first(),
        };
        if is_allowed { Verdict::Allowed } else { Verdict::Denied }
    }

    fn chain_refusal(self, client: Client, now_unix_s: i64) -> Option<Refusal> {
        match (client, self.roots, client.verdict(now_unix_s)) {
            (Client::Stranger, Roots::Strangers | Roots::Both, _) => None,
            (_, _, Verdict::Refused(refusal)) => Some(refusal),
            (_, Roots::Strangers, _) => Some(Refusal::UnknownAnchor),
            _ => None,
        }
    }
}

/// What lists say of a client, each authority's of those below it, the leaf first.
fn list_refusal(client: Client, lists: &Lists, now_unix_s: i64) -> Option<Refusal> {
    let is_below_issuing = client == Client::ViaIntermediate;
    if is_below_issuing && lists.lacks_issuing {
        return Some(Refusal::CrlMissing);
    }
    if lists.revoked.contains(&client) {
        return Some(Refusal::Revoked);
    }
    if now_unix_s < lists.this_update - CRL_FUTURE_S_MAX {
        return Some(Refusal::CrlMissing);
    }
    (now_unix_s >= lists.next_update).then_some(Refusal::CrlStale)
}

/// A configuration, as far as it decides about clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Of each listener.
    pub listeners: [Demand; LISTENERS],
    /// Of who asks a listener for [`super::pki::OTHER_NAME`], where that has demands of its own.
    pub other_name: [Option<Demand>; LISTENERS],
    /// The lists of revocation; `None`: nothing is looked up.
    pub lists: Option<Arc<Lists>>,
    /// Whom the route of the listener that speaks HTTP allows, of those that are connected.
    pub route: Rules,
    /// No endpoint of an upstream has an address.
    pub is_nowhere: bool,
}

impl InForce {
    /// What everybody's certificates are made for: one listener demands one, the other asks for it.
    pub fn wide() -> Self {
        Self {
            listeners: [ClientAuth::Require, ClientAuth::Optional].map(Demand::wide),
            other_name: [None; LISTENERS],
            lists: None,
            route: Rules::Open,
            is_nowhere: false,
        }
    }

    /// What is demanded of who asks this listener for this name.
    pub fn demand(&self, listener: usize, is_other_name: bool) -> Demand {
        let own = self.other_name[listener].filter(|_| is_other_name);
        own.unwrap_or(self.listeners[listener])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::pki::EPOCH_UNIX_S;

    fn lists(revoked: &[Client]) -> Lists {
        Lists {
            number: 1,
            this_update: EPOCH_UNIX_S,
            next_update: EPOCH_UNIX_S + 10,
            revoked: revoked.to_vec(),
            lacks_issuing: false,
        }
    }

    #[test]
    fn a_list_refuses_from_its_next_update_on_and_before_it_began() {
        let (wide, list) = (Demand::wide(ClientAuth::Require), lists(&[]));
        let at = |now| wide.verdict(Client::Allowed(0), Some(&list), EPOCH_UNIX_S + now);
        assert_eq!(at(9), Verdict::Allowed);
        assert_eq!(at(10), Verdict::Refused(Refusal::CrlStale));
        assert_eq!(at(-CRL_FUTURE_S_MAX), Verdict::Allowed);
        assert_eq!(at(-CRL_FUTURE_S_MAX - 1), Verdict::Refused(Refusal::CrlMissing));
        let list = lists(&[Client::Allowed(0)]);
        let revoked = wide.verdict(Client::Allowed(0), Some(&list), EPOCH_UNIX_S + 99);
        assert_eq!(revoked, Verdict::Refused(Refusal::Revoked));
    }

    #[test]
    fn nobody_is_asked_for_what_a_listener_does_not_ask_for() {
        let off = Demand::wide(ClientAuth::Off);
        for client in Client::LASTING {
            let verdict = off.verdict(client, Some(&lists(&[client])), EPOCH_UNIX_S);
            assert_eq!(verdict, Verdict::Allowed, "{client:?}");
        }
    }
}
