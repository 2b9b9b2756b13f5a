//! Tests of `trust::visit`: what rustls is answered, and what is kept of a handshake.

use std::sync::atomic::{AtomicI64, Ordering};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::limits::SESSION_CACHE_BYTES_MIN;
use crate::policy::Rules;
use crate::trust::kit::{Ca, Demands, NOON, at, patterns, revocation};
use crate::trust::tickets::TicketSecret;

const AGE_MAX_S: u32 = 600;

/// A clock that a test sets, in seconds from noon.
#[derive(Debug, Default)]
struct Clock(AtomicI64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(at(self.0.load(Ordering::SeqCst)))
    }
}

struct Stage {
    ca: Ca,
    clock: Arc<Clock>,
    desk: Arc<Desk>,
    counters: Arc<WorkerCounters>,
    keys: Arc<TicketKeys>,
}

impl Stage {
    fn new() -> Self {
        let counters = WorkerCounters::new();
        let store = Arc::new(SessionStore::new(SESSION_CACHE_BYTES_MIN as usize));
        let secret = TicketSecret::new(&[1; 32]).expect("enough bytes");
        Self {
            ca: Ca::new("root"),
            clock: Arc::default(),
            desk: Desk::new(8, store, Arc::clone(&counters)),
            counters,
            keys: Arc::new(TicketKeys::new(secret, AGE_MAX_S)),
        }
    }

    fn at(&self, seconds: i64) {
        self.clock.0.store(seconds, Ordering::SeqCst);
    }

    fn visit(&self, demands: &Demands, mode: Resumption) -> Arc<Visit> {
        let sessions = SessionRules { mode, age_max_s: AGE_MAX_S, tickets: 1 };
        let time = Arc::clone(&self.clock) as Arc<dyn TimeProvider>;
        let random = default_provider().secure_random;
        Visit::new(demands.scope(), sessions, Arc::clone(&self.desk), time, random)
    }

    fn tickets(&self) -> Resumption {
        Resumption::Tickets(Arc::clone(&self.keys))
    }

    /// The ticket of a client whose full handshake is now.
    fn ticket(&self, demands: &Demands, leaf: &CertificateDer<'_>) -> Option<Vec<u8>> {
        let visit = self.visit(demands, self.tickets());
        visit.verify_client_cert(leaf, &[], self.now()).expect("in order");
        visit.settle(false);
        visit.encrypt(b"rustls' part")
    }

    fn now(&self) -> UnixTime {
        self.clock.current_time().expect("a clock")
    }
}

#[test]
fn a_ticket_resumes_the_client_that_it_was_made_for() {
    let stage = Stage::new();
    let demands = Demands::of(&stage.ca);
    let leaf = stage.ca.client("client.test", 1);
    let ticket = stage.ticket(&demands, &leaf).expect("allowed");
    assert!(!ticket.windows(6).any(|bytes| bytes == b"rustls"), "it is sealed");
    stage.at(100);
    let visit = stage.visit(&demands, stage.tickets());
    assert_eq!(visit.decrypt(&ticket).as_deref(), Some(&b"rustls' part"[..]));
    assert_eq!(visit.declined(), None);
    let admitted = visit.finish(true, Some(&leaf));
    let verdict = admitted.verdict.expect("it has a certificate");
    let identity = verdict.identity.as_ref().expect("readable");
    assert_eq!(&*identity.dns_names()[0], "client.test");
    assert_eq!(admitted.authenticated_unix_s, NOON.cast_signed(), "not when it came back");
    let known = stage.desk.verdicts().get(&verdict.key).expect("kept");
    assert!(Arc::ptr_eq(&known, &verdict), "one verdict for all its connections");
    assert_eq!(stage.counters.snapshot().resumptions, 1);

    // Another gateway, or this one after a while, has no verdict of it.
    *stage.desk.verdicts() = VerdictCache::new(1);
    let visit = stage.visit(&demands, stage.tickets());
    assert!(visit.decrypt(&ticket).is_some());
    let again = visit.finish(true, Some(&leaf)).verdict.expect("it has a certificate");
    assert_eq!((again.key, &again.chain), (verdict.key, &verdict.chain));
    assert_eq!(again.identity.as_ref().map(|it| it.sha256()), Ok(identity.sha256()));
}

#[test]
fn a_renewed_session_keeps_the_time_of_its_full_handshake() {
    let stage = Stage::new();
    let demands = Demands::of(&stage.ca);
    let leaf = stage.ca.client("client.test", 1);
    let mut ticket = stage.ticket(&demands, &leaf).expect("allowed");
    for step in 1..=6 {
        stage.at(step * 100);
        let visit = stage.visit(&demands, stage.tickets());
        assert!(visit.decrypt(&ticket).is_some(), "{step}");
        // TLS 1.2 renews before it is settled, TLS 1.3 afterwards.
        if step % 2 == 0 {
            visit.settle(true);
        }
        ticket = visit.encrypt(b"rustls' part").expect("renewed");
    }
    stage.at(i64::from(AGE_MAX_S) + 1);
    let visit = stage.visit(&demands, stage.tickets());
    assert_eq!(visit.decrypt(&ticket), None);
    assert_eq!(visit.declined(), Some(Declined::Age));
}

#[test]
fn a_session_that_was_offered_and_not_resumed_lends_nothing_to_the_next() {
    let stage = Stage::new();
    let demands = Demands { mode: ClientAuth::Optional, ..Demands::of(&stage.ca) };
    let (old, new) = (stage.ca.client("old.test", 1), stage.ca.client("new.test", 2));
    let ticket = stage.ticket(&demands, &old).expect("allowed");
    stage.at(100);
    let visit = stage.visit(&demands, stage.tickets());
    assert!(visit.decrypt(&ticket).is_some());
    // rustls found another reason to make it a full handshake, with another certificate.
    visit.settle(false);
    visit.verify_client_cert(&new, &[], stage.now()).expect("in order");
    let ticket = visit.encrypt(b"rustls' part").expect("allowed");
    let admitted = visit.finish(false, Some(&new));
    let verdict = admitted.verdict.expect("it has a certificate");
    assert_eq!(&*verdict.identity.as_ref().expect("readable").dns_names()[0], "new.test");
    assert_eq!(admitted.authenticated_unix_s, NOON.cast_signed() + 100);
    let visit = stage.visit(&demands, stage.tickets());
    assert!(visit.decrypt(&ticket).is_some());
    let verdict = visit.finish(true, Some(&new)).verdict.expect("it has a certificate");
    assert_eq!(&*verdict.identity.as_ref().expect("readable").dns_names()[0], "new.test");

    // And without a certificate it is nobody.
    let visit = stage.visit(&demands, stage.tickets());
    assert!(visit.decrypt(&ticket).is_some());
    visit.settle(false);
    assert!(visit.finish(false, None).verdict.is_none());
}

#[test]
fn whom_the_rules_deny_gets_no_session() {
    let stage = Stage::new();
    let leaf = stage.ca.client("client.test", 1);
    let rules = Rules::unrestricted().and_deny(patterns(&["dns:client.test"]));
    let denied = Demands { rules, ..Demands::of(&stage.ca) };
    assert_eq!(stage.ticket(&denied, &leaf), None);
    let visit = stage.visit(&denied, Resumption::Cache);
    visit.verify_client_cert(&leaf, &[], stage.now()).expect("in order");
    visit.settle(false);
    assert!(!visit.put(b"id".to_vec(), b"rustls' part".to_vec()));
    assert_eq!(stage.desk.store.len(), (0, 0));
    // Nor who has no certificate where rules ask for one.
    let rules = Rules::allow(patterns(&["any"]));
    let optional = Demands { mode: ClientAuth::Optional, rules, ..Demands::of(&stage.ca) };
    let visit = stage.visit(&optional, stage.tickets());
    visit.settle(false);
    assert_eq!(visit.encrypt(b"rustls' part"), None);
}

#[test]
fn a_session_that_must_not_be_resumed_is_declined_and_counted() {
    let stage = Stage::new();
    let base = || Demands::of(&stage.ca);
    let leaf = stage.ca.client("client.test", 7);
    let ticket = stage.ticket(&base(), &leaf).expect("allowed");
    let list = stage.ca.list(&[7], -60, 600);
    let rules = Rules::unrestricted().and_deny(patterns(&["dns:client.test"]));
    for demands in [
        Demands { name: "other", ..base() },
        Demands { rules, ..base() },
        Demands { revocation: revocation(&[&list]), ..base() },
    ] {
        let visit = stage.visit(&demands, stage.tickets());
        assert_eq!(visit.decrypt(&ticket), None);
        assert!(matches!(visit.declined(), Some(Declined::Scope | Declined::Lapsed(_))));
        visit.settle(false);
        visit.finish(false, None);
    }
    let mut tampered = ticket.clone();
    tampered[40] ^= 1;
    for unknown in [&tampered[..], &[], &[1; 64 * 1024]] {
        let visit = stage.visit(&base(), stage.tickets());
        assert_eq!(visit.decrypt(unknown), None);
        assert_eq!(visit.declined(), Some(Declined::Unknown));
        visit.finish(false, None);
    }
    let counters = stage.counters.snapshot();
    assert_eq!((counters.resumptions, counters.resumptions_declined), (0, 6));
}

/// A listener that speaks TLS 1.2 alone, and what comes first from a client of TLS 1.3, which has
/// made up a session id (RFC 8446, appendix D.4).
fn greeted_by_tls13(visit: &Arc<Visit>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["server.test".into()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let hooks = visit.hooks();
    let sessions = hooks.sessions.expect("it keeps some");
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS12])
        .expect("a version of the provider")
        .with_client_cert_verifier(hooks.verifier)
        .with_single_cert(vec![certificate], key)
        .expect("a key and its certificate");
    (config.session_storage, config.ticketer) = (sessions.storage, sessions.ticketer);
    let mut server = ServerConnection::new(Arc::new(config)).expect("a server");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("versions of the provider")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "server.test".try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a vector takes all");
    server.read_tls(&mut &hello[..]).expect("all in one");
    server.process_new_packets().expect("they have TLS 1.2 in common");
    assert!(server.wants_write(), "it has answered");
}

#[test]
fn a_session_id_that_a_client_has_made_up_is_no_session_where_there_are_tickets() {
    let stage = Stage::new();
    let demands = Demands::of(&stage.ca);
    let visit = stage.visit(&demands, stage.tickets());
    greeted_by_tls13(&visit);
    assert_eq!(visit.declined(), None);
    visit.settle(false);
    visit.finish(false, None);
    assert_eq!(stage.counters.snapshot().resumptions_declined, 0);
    // rustls does ask, and a store can say no more than that it has no such session.
    let visit = stage.visit(&demands, Resumption::Cache);
    greeted_by_tls13(&visit);
    assert_eq!(visit.declined(), Some(Declined::Unknown));
}

#[test]
fn a_session_of_the_store_is_bound_as_a_ticket_is() {
    let stage = Stage::new();
    let base = || Demands::of(&stage.ca);
    let leaf = stage.ca.client("client.test", 7);
    let visit = stage.visit(&base(), Resumption::Cache);
    visit.verify_client_cert(&leaf, &[], stage.now()).expect("in order");
    visit.settle(false);
    for id in [b"a", b"b", b"c"] {
        assert!(visit.put(id.to_vec(), b"rustls' part".to_vec()));
    }
    let visit = |demands: &Demands| stage.visit(demands, Resumption::Cache);
    assert_eq!(visit(&base()).get(b"a").as_deref(), Some(&b"rustls' part"[..]));
    assert_eq!(
        visit(&base()).get(b"a").as_deref(),
        Some(&b"rustls' part"[..]),
        "as often as it is"
    );
    assert_eq!(visit(&base()).take(b"b").as_deref(), Some(&b"rustls' part"[..]));
    let used = visit(&base());
    assert_eq!(used.take(b"b"), None, "once");
    assert_eq!(used.declined(), Some(Declined::Unknown));
    let other = visit(&Demands { name: "other", ..base() });
    assert_eq!(other.get(b"a"), None);
    assert_eq!(other.declined(), Some(Declined::Scope));
    assert_eq!(other.take(b"c"), None);
    stage.at(i64::from(AGE_MAX_S) + 1);
    let late = visit(&base());
    assert_eq!(late.get(b"a"), None);
    assert_eq!(late.declined(), Some(Declined::Age));
}

#[test]
fn each_mode_keeps_sessions_where_it_says() {
    let stage = Stage::new();
    let demands = Demands::of(&stage.ca);
    assert!(stage.visit(&demands, Resumption::Off).hooks().sessions.is_none());
    for (mode, cache, tickets) in [(Resumption::Cache, true, false), (stage.tickets(), false, true)]
    {
        let sessions = stage.visit(&demands, mode).hooks().sessions.expect("it keeps some");
        assert_eq!((sessions.storage.can_cache(), sessions.ticketer.enabled()), (cache, tickets));
        assert_eq!(sessions.ticketer.lifetime(), AGE_MAX_S);
        assert_eq!(sessions.tickets, 1);
        if cache {
            assert_eq!(sessions.ticketer.encrypt(b"rustls' part"), None);
            assert_eq!(sessions.ticketer.decrypt(b"a ticket"), None);
        }
    }
}

#[test]
fn a_chain_that_is_refused_is_there_for_the_log() {
    let stage = Stage::new();
    let leaf = Ca::new("other").client("client.test", 1);
    let visit = stage.visit(&Demands::of(&stage.ca), stage.tickets());
    let more = [stage.ca.certificate.clone()];
    let error = visit.verify_client_cert(&leaf, &more, stage.now()).expect_err("unknown");
    let refused = visit.take_refused().expect("it is kept");
    assert_eq!(refused.chain, [leaf, stage.ca.certificate.clone()]);
    assert_eq!(*refused.refused.error(), error);
    assert!(visit.take_refused().is_none(), "once");
}

#[test]
fn without_a_clock_no_session_is_resumed() {
    #[derive(Debug)]
    struct Broken;
    impl TimeProvider for Broken {
        fn current_time(&self) -> Option<UnixTime> {
            None
        }
    }
    let stage = Stage::new();
    let demands = Demands::of(&stage.ca);
    let leaf = stage.ca.client("client.test", 1);
    let visit = stage.visit(&demands, Resumption::Cache);
    visit.verify_client_cert(&leaf, &[], stage.now()).expect("in order");
    visit.settle(false);
    assert!(visit.put(b"id".to_vec(), b"rustls' part".to_vec()));
    let sessions = SessionRules { mode: Resumption::Cache, age_max_s: AGE_MAX_S, tickets: 1 };
    let random = default_provider().secure_random;
    let desk = Arc::clone(&stage.desk);
    let visit = Visit::new(demands.scope(), sessions, desk, Arc::new(Broken), random);
    assert_eq!(visit.take(b"id"), None);
    assert_eq!(visit.declined(), Some(Declined::Age));
}
