//! Who asks: what all exchanges of one connection have in common.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::client_side::ClientSide;
use super::exchange::Request;
use crate::attest::{Purpose, Telling, Told, subject};
use crate::config::snapshot::{HttpOptions, Listener};
use crate::error::{CloseKind, CloseReason};
use crate::http1::fields::Span;
use crate::identity::Identity;
use crate::limits::LOGGED_TEXT_BYTES_MAX;
use crate::log::RequestRecord;
#[cfg(feature = "sim")]
use crate::planted::{Bug, planted};
use crate::proxy::descriptors::Claim;
use crate::proxy::worker::{Published, Worker};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) worker: Rc<Worker>,
    /// Index of the listener.
    pub(super) listener: usize,
    /// The connection's number.
    pub(super) connection: u64,
    pub(super) peer: Option<SocketAddr>,
    /// The name that the client asked for in its ClientHello.
    pub(super) server_name: Option<Box<str>>,
    pub(super) identity: Option<Arc<Identity>>,
    told: RefCell<Told>,
    identity_key: OnceCell<[u8; 32]>,
    forwarded_for: OnceCell<Box<[u8]>>,
    /// Requests that are in progress.
    exchanges: Cell<u32>,
    /// Plaintext bytes of its requests and responses, bodies only.
    pub(super) bytes: Cell<(u64, u64)>,
    /// Why its connection ends, once that is known.
    ends_by: Cell<Option<CloseReason>>,
    /// For a deliberate bug.
    #[cfg(feature = "sim")]
    start: OnceCell<Published>,
}

/// What its line begins with that says where a request comes from.
pub(super) const FORWARDED_FOR: &str = "X-Forwarded-For: ";

/// The options of a listener, of the configuration that was in force at some moment. Its count is
/// the worker's own: that of the configuration would be fought over by all workers.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) snapshot: Published,
    listener: usize,
}

impl InForce {
    pub(super) fn listener(&self) -> &Listener {
        &self.snapshot.listeners[self.listener]
    }
}

impl Deref for InForce {
    type Target = HttpOptions;

    fn deref(&self) -> &HttpOptions {
        // invariant: a reload keeps the protocol of a listener.
        self.listener().http.as_ref().expect("a listener that speaks HTTP")
    }
}

/// See [`Visitor::enter`].
#[derive(Debug)]
pub(super) struct InProgress<'a>(&'a Visitor);

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.0.exchanges.set(self.0.exchanges.get() - 1);
    }
}

impl Visitor {
    pub(super) fn new(
        worker: &Rc<Worker>,
        listener: usize,
        record: &crate::log::ConnectionRecord,
        told: Told,
    ) -> Self {
        Self {
            worker: Rc::clone(worker),
            listener,
            connection: record.id,
            peer: record.peer,
            server_name: record.server_name.clone(),
            identity: record.identity.clone(),
            told: RefCell::new(told),
            identity_key: OnceCell::new(),
            forwarded_for: OnceCell::new(),
            exchanges: Cell::default(),
            bytes: Cell::default(),
            ends_by: Cell::new(None),
            #[cfg(feature = "sim")]
            start: OnceCell::new(),
        }
    }

    /// A request is in progress until what this returns is dropped.
    pub(super) fn enter(&self) -> InProgress<'_> {
        self.exchanges.set(self.exchanges.get() + 1);
        InProgress(self)
    }

    /// What a new connection to an upstream is for.
    pub(super) fn claim(&self) -> Claim {
        if self.exchanges.get() > 1 { Claim::Further } else { Claim::First }
    }

    /// What upstreams are told of the client.
    pub(super) fn told(&self) -> Ref<'_, Told> {
        self.told.borrow()
    }

    /// So many bytes of bodies were relayed.
    pub(super) fn count(&self, up: u64, down: u64) {
        let (up_before, down_before) = self.bytes.get();
        self.bytes.set((up_before + up, down_before + down));
    }

    /// The connection ends for this reason, whatever is under way.
    pub(super) fn ends_by(&self, reason: CloseReason) {
        self.ends_by.set(Some(reason));
    }

    /// Why what is under way has no end: the connection is gone.
    pub(super) fn ended_by(&self) -> CloseReason {
        // A client that ends in order has not waited for its response all the same.
        let reason = self.ends_by.get().filter(|reason| reason.kind != CloseKind::Finished);
        reason.unwrap_or(CloseReason::downstream(CloseKind::Reset))
    }

    /// The options of the listener that are in force.
    pub(super) fn options(&self) -> InForce {
        let snapshot = self.worker.published();
        #[cfg(feature = "sim")]
        let snapshot = match planted(Bug::RouteOfTheStart) {
            true => Rc::clone(self.start.get_or_init(|| snapshot)),
            false => snapshot,
        };
        InForce { snapshot, listener: self.listener }
    }

    /// How long a connection may be silent that is no longer HTTP.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.worker.published().listeners[self.listener].idle_timeout
    }

    /// What is known of a request when its head is there.
    pub(super) fn record(&self, client: &ClientSide<'_>, request: &Request) -> Box<RequestRecord> {
        let text = |span: Span| {
            let bytes = span.of(&request.bytes);
            let shown = &bytes[..bytes.len().min(LOGGED_TEXT_BYTES_MAX)];
            String::from_utf8_lossy(shown).into_owned().into_boxed_str()
        };
        let head = &request.head;
        let path = text(head.path);
        Box::new(RequestRecord {
            began: request.began,
            ended: request.began,
            connection: self.connection,
            listener: Arc::clone(&self.worker.published().listeners[self.listener].name),
            peer: self.peer,
            identity: self.identity.clone(),
            protocol: client.protocol(head),
            method: text(head.method),
            authority: text(head.authority),
            // A query may hold secrets.
            path: path.split_once('?').map_or(path.clone(), |(path, _)| path.into()),
            status: 0,
            route: None,
            upstream: None,
            upstream_time: None,
            retries: 0,
            bytes_up: 0,
            bytes_down: 0,
            answered: None,
            failure: None,
            detail: None,
        })
    }

    /// The line with the signed identity, where there is to be one.
    pub(super) fn token_line(
        &self,
        telling: &Telling,
        listener: &Arc<str>,
        route: &Arc<str>,
        upstream: &Arc<str>,
    ) -> Option<Arc<[u8]>> {
        telling.token.as_ref()?;
        let now_unix_s = self.worker.unix_s(self.listener);
        let identity = self.identity.as_deref();
        let purpose = Purpose { listener, route, upstream, connection: self.connection };
        self.told.borrow_mut().token_line(telling, identity, purpose, now_unix_s)
    }

    /// By what its requests are counted: who it is, or where it comes from.
    pub(super) fn identity_key(&self) -> [u8; 32] {
        let Some(identity) = &self.identity else { return self.source_key() };
        let of_identity = || {
            let snapshot = self.worker.published();
            let scopes = &snapshot.listeners[self.listener].scopes;
            key_of_identity(identity, scopes.select(self.server_name.as_deref()).trust())
        };
        *self.identity_key.get_or_init(of_identity)
    }

    /// By what the requests of its source are counted: the address, of IPv6 the network of 64 bits
    /// that one site has at least.
    pub(super) fn source_key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        match self.peer.map(|peer| peer.ip().to_canonical()) {
            Some(IpAddr::V4(ip)) => key[..4].copy_from_slice(&ip.octets()),
            Some(IpAddr::V6(ip)) => {
                key[..8].copy_from_slice(&ip.octets()[..8]);
                key[31] = 6;
            }
            None => {}
        }
        key
    }

    /// Where it comes from, as whole field lines.
    pub(super) fn forwarded_for(&self) -> &[u8] {
        self.forwarded_for.get_or_init(|| {
            let ip = self.peer.map(|peer| peer.ip().to_canonical().to_string());
            let ip = ip.as_deref().unwrap_or("unknown");
            format!("{FORWARDED_FOR}{ip}\r\nX-Forwarded-Proto: https\r\n").into_bytes().into()
        })
    }

    /// The host of a request that names none (HTTP/1.0).
    pub(super) fn fallback_host(&self) -> &[u8] {
        self.server_name.as_deref().map_or(b"localhost", str::as_bytes)
    }
}

/// Who it is that `trust` (of a scope) vouches for: its first name with the kind of it, or its
/// certificate where it has none. A certificate that was renewed is the same client; a name of
/// another kind, or one that other anchors vouch for, is another.
fn key_of_identity(identity: &Identity, trust: &[u8; 32]) -> [u8; 32] {
    let text = [&trust[..], subject(identity).as_bytes()].concat();
    let hash = digest(&SHA256, &text);
    // invariant: SHA-256 has 32 bytes.
    hash.as_ref().try_into().expect("32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::kit::{Names, identity};

    #[test]
    fn a_rate_is_of_a_name_of_one_kind_that_one_trust_vouches_for() {
        let none = Names { common_name: "", uris: &[], dns: &[] };
        let key = |names: &Names<'_>, trust: u8| key_of_identity(&identity(names), &[trust; 32]);
        let dns = Names { dns: &["a.test"], ..none };
        assert_eq!(key(&dns, 1), key(&dns, 1), "a certificate that was renewed");
        let keys = [
            key(&dns, 1),
            key(&dns, 2),
            key(&Names { common_name: "a.test", ..none }, 1),
            key(&Names { uris: &["urn:a.test"], ..none }, 1),
            // Nothing but a certificate: each is another client.
            key(&none, 1),
            key(&none, 1),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
