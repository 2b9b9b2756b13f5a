//! One handshake, as rustls sees it: is this chain in order, may this session be resumed, what goes
//! into the ticket.
//!
//! A [`Visit`] stands behind the `ServerConfig` of one connection and of no other, so it knows for
//! whom it is asked. Invariants: a session leaves with what it is bound to, and comes back only
//! where [`Binding::check`] agrees; a renewed session keeps the time of its full handshake; whom
//! the rules deny gets no session.

use std::sync::{Arc, Mutex, MutexGuard};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::SecureRandom;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoClientAuth, ProducesTickets, StoresServerSessions};
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::scope::Scope;
use super::session::{Binding, Declined};
use super::store::{SessionStore, Stored};
use super::tickets::TicketKeys;
use super::verdict::{Found, Verdict, VerdictCache, unix_s};
use super::verify::{ClientAuth, ClientVerifier, Refused, SignatureVersion};
use crate::identity::Identity;
use crate::metrics::counter::WorkerCounters;
use crate::planted::{Bug, planted};
use crate::policy::{Decision, decide};
use crate::tls::server::{Hooks, SessionHooks};

/// Whether and how the sessions of a listener are resumed.
#[derive(Clone, Debug)]
pub struct SessionRules {
    /// Where they are kept.
    pub mode: Resumption,
    /// Seconds after its full handshake for which a session may be resumed.
    pub age_max_s: u32,
    /// Tickets that a client gets for each handshake of TLS 1.3.
    pub tickets: usize,
}

/// Where sessions are kept.
#[derive(Clone, Debug)]
pub enum Resumption {
    /// Nowhere: every handshake is a full one.
    Off,
    /// Here, in the store that all workers share.
    Cache,
    /// With the client, in a sealed ticket.
    Tickets(Arc<TicketKeys>),
}

/// What one worker keeps for all its handshakes.
#[derive(Debug)]
pub struct Desk {
    /// Locked for one verification; the worker is the only one that takes it.
    verdicts: Mutex<VerdictCache>,
    store: Arc<SessionStore>,
    counters: Arc<WorkerCounters>,
}

impl Desk {
    /// A desk with so many verdicts at the most, and the store of all workers.
    pub fn new(
        verdicts_max: usize,
        store: Arc<SessionStore>,
        counters: Arc<WorkerCounters>,
    ) -> Arc<Self> {
        let verdicts = Mutex::new(VerdictCache::new(verdicts_max));
        Arc::new(Self { verdicts, store, counters })
    }

    /// The verdicts.
    pub fn verdicts(&self) -> MutexGuard<'_, VerdictCache> {
        lock(&self.verdicts)
    }
}

/// A chain that was refused.
#[derive(Clone, Debug)]
pub struct RefusedChain {
    /// As it was presented, the leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Why.
    pub refused: Refused,
}

/// Who was let in by the handshake.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The client; `None`: it has no certificate.
    pub verdict: Option<Arc<Verdict>>,
    /// When it was authenticated by a full handshake, in seconds since 1970.
    pub authenticated_unix_s: i64,
}

#[derive(Debug, Default)]
struct State {
    /// What the session that rustls got last is bound to.
    offered: Option<Binding>,
    /// Whether rustls resumed it, once that is settled.
    resumed: Option<bool>,
    verdict: Option<Arc<Verdict>>,
    declined: Option<Declined>,
    refused: Option<RefusedChain>,
}

/// See the module's description.
#[derive(Debug)]
pub struct Visit {
    scope: Arc<Scope>,
    sessions: SessionRules,
    desk: Arc<Desk>,
    time: Arc<dyn TimeProvider>,
    random: &'static dyn SecureRandom,
    state: Mutex<State>,
}

impl Visit {
    /// A handshake that has not begun.
    pub fn new(
        scope: Arc<Scope>,
        sessions: SessionRules,
        desk: Arc<Desk>,
        time: Arc<dyn TimeProvider>,
        random: &'static dyn SecureRandom,
    ) -> Arc<Self> {
        Arc::new(Self { scope, sessions, desk, time, random, state: Mutex::default() })
    }

    /// What rustls asks this visit.
    pub fn hooks(self: &Arc<Self>) -> Hooks {
        let verifier: Arc<dyn ClientCertVerifier> = match self.scope.verifier() {
            Some(_) => Arc::clone(self) as Arc<dyn ClientCertVerifier>,
            None => Arc::new(NoClientAuth),
        };
        let sessions = !matches!(self.sessions.mode, Resumption::Off);
        let sessions = sessions.then(|| SessionHooks {
            storage: Arc::clone(self) as Arc<dyn StoresServerSessions>,
            ticketer: Arc::clone(self) as Arc<dyn ProducesTickets>,
            tickets: self.sessions.tickets,
        });
        Hooks { verifier, sessions }
    }

    /// rustls has settled whether the session that was offered is resumed.
    pub fn settle(&self, resumed: bool) {
        lock(&self.state).resumed = Some(resumed);
    }

    /// Why a session that the client offered was not resumed.
    pub fn declined(&self) -> Option<Declined> {
        lock(&self.state).declined
    }

    /// The chain that was refused, where one was.
    pub fn take_refused(&self) -> Option<RefusedChain> {
        lock(&self.state).refused.take()
    }

    /// Who was let in. `leaf` is the client's own certificate as rustls has it.
    pub fn finish(&self, resumed: bool, leaf: Option<&CertificateDer<'_>>) -> Admitted {
        let mut state = lock(&self.state);
        let counters = &self.desk.counters;
        if resumed {
            counters.resumptions.increment();
        } else if state.declined.is_some() {
            counters.resumptions_declined.increment();
        }
        if !resumed {
            let authenticated_unix_s = unix_s(self.now());
            return Admitted { verdict: state.verdict.take(), authenticated_unix_s };
        }
        // invariant: rustls resumes only what it got from here.
        let Some(binding) = state.offered.take() else {
            return Admitted { verdict: None, authenticated_unix_s: unix_s(self.now()) };
        };
        let verdict = binding.client.zip(leaf).map(|(client, leaf)| {
            let known = self.desk.verdicts().get(&client.verdict);
            known.filter(|known| known.chain == client.chain).unwrap_or_else(|| {
                Arc::new(Verdict {
                    key: client.verdict,
                    chain: client.chain,
                    bounds: *self.scope.bounds(),
                    identity: Identity::from_der(leaf).map(Arc::new),
                })
            })
        });
        Admitted { verdict, authenticated_unix_s: binding.authenticated_unix_s }
    }

    fn now(&self) -> UnixTime {
        // Without a clock nothing is valid: the end of time is after every notAfter.
        let end = || UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::MAX >> 1));
        self.time.current_time().unwrap_or_else(end)
    }

    /// What a session of this handshake is bound to; `None`: it must not leave.
    fn binding(&self) -> Option<Binding> {
        let state = lock(&self.state);
        // Before it is settled: TLS 1.2 renews the ticket in the flight that resumes.
        if state.resumed.unwrap_or(state.offered.is_some()) {
            return state.offered.clone();
        }
        let client = match &state.verdict {
            Some(verdict) => Some((verdict, verdict.identity.as_deref().ok()?)),
            None => None,
        };
        let identity = client.map(|(_, identity)| identity);
        if decide(self.scope.rules(), identity) != Decision::Allowed {
            return None;
        }
        Some(Binding {
            scope: *self.scope.hash(),
            authenticated_unix_s: unix_s(self.now()),
            client: client.map(|(verdict, _)| verdict.bound()),
        })
    }

    /// Whether rustls may have a session.
    fn admit(&self, binding: Binding) -> bool {
        let checked = binding.check(&self.scope, self.sessions.age_max_s, self.now());
        let mut state = lock(&self.state);
        match checked {
            Ok(()) => {
                state.offered = Some(binding);
                true
            }
            Err(_) if planted(Bug::ResumeUnbound) => {
                state.offered = Some(binding);
                true
            }
            Err(declined) => {
                state.declined = Some(declined);
                false
            }
        }
    }

    fn unknown(&self) {
        lock(&self.state).declined.get_or_insert(Declined::Unknown);
    }

    fn verify(
        &self,
        verifier: &ClientVerifier,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let judged = self.desk.verdicts().judge(&self.scope, verifier, leaf, intermediates, now);
        match judged.1 {
            Found::Hit => self.desk.counters.verdict_hits.increment(),
            Found::Miss => self.desk.counters.verdict_misses.increment(),
        }
        let mut state = lock(&self.state);
        match judged.0 {
            Ok(verdict) => {
                state.verdict = Some(verdict);
                Ok(())
            }
            Err(refused) => {
                let error = refused.error().clone();
                let chain = [leaf].into_iter().chain(intermediates);
                let chain = chain.map(|it| it.clone().into_owned()).collect();
                state.refused = Some(RefusedChain { chain, refused });
                Err(error)
            }
        }
    }
}

impl ClientCertVerifier for Visit {
    fn offer_client_auth(&self) -> bool {
        self.scope.client_auth() != ClientAuth::Off
    }

    fn client_auth_mandatory(&self) -> bool {
        self.scope.client_auth() == ClientAuth::Require
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.scope.verifier().map_or(&[], |verifier| verifier.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verifier = self.scope.verifier().ok_or(Error::UnsupportedNameType)?;
        self.verify(verifier, end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = self.scope.verifier().ok_or(Error::UnsupportedNameType)?;
        verifier.verify_signature(SignatureVersion::Tls12, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = self.scope.verifier().ok_or(Error::UnsupportedNameType)?;
        verifier.verify_signature(SignatureVersion::Tls13, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.scope.verifier().map_or_else(Vec::new, |verifier| verifier.schemes().to_vec())
    }
}

impl StoresServerSessions for Visit {
    fn put(&self, id: Vec<u8>, value: Vec<u8>) -> bool {
        let stored = self.binding().map(|binding| Stored { binding, value });
        stored.is_some_and(|stored| self.desk.store.put(id, stored))
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        // rustls asks for whatever id a client sends, which may be that of no session.
        if !self.can_cache() {
            return None;
        }
        let Some(stored) = self.desk.store.get(id) else {
            self.unknown();
            return None;
        };
        self.admit(stored.binding).then_some(stored.value)
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        let taken = match planted(Bug::TicketTwice) {
            true => self.desk.store.get(id),
            false => self.desk.store.take(id),
        };
        let Some(stored) = taken else {
            self.unknown();
            return None;
        };
        self.admit(stored.binding).then_some(stored.value)
    }

    fn can_cache(&self) -> bool {
        matches!(self.sessions.mode, Resumption::Cache)
    }
}

impl ProducesTickets for Visit {
    fn enabled(&self) -> bool {
        matches!(self.sessions.mode, Resumption::Tickets(_))
    }

    fn lifetime(&self) -> u32 {
        self.sessions.age_max_s
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let Resumption::Tickets(keys) = &self.sessions.mode else {
            return None;
        };
        let mut session = Vec::with_capacity(plain.len() + 256);
        self.binding()?.encode(&mut session);
        session.extend_from_slice(plain);
        let mut nonce = [0; 12];
        self.random.fill(&mut nonce).ok()?;
        keys.seal(&session, self.now().as_secs(), nonce)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let Resumption::Tickets(keys) = &self.sessions.mode else {
            return None;
        };
        let session = keys.open(cipher, self.now().as_secs());
        let Some((binding, value)) = session.as_deref().and_then(Binding::decode) else {
            self.unknown();
            return None;
        };
        self.admit(binding).then(|| value.to_vec())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

#[cfg(test)]
#[path = "visit_tests.rs"]
mod tests;
