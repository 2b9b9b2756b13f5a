//! Tests of `sim::crypto`, and the handshakes in memory that those of `sim::pki` run too.

use std::io::{Read, Write};

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};

use super::*;
use crate::metrics::counter::WorkerCounters;
use crate::sim::pki::{self, Client, Pki, Versions, client_config, listener_tls};
use crate::tls::server::ListenerTls;
use crate::tls::session::{Agreed, Session, SessionError};
use crate::trust::scope::{Scope, ScopeOptions};
use crate::trust::store::SessionStore;
use crate::trust::verify::{ClientAuth, ClientVerifier};
use crate::trust::visit::{Desk, Resumption, SessionRules, Visit};

const VERSIONS: [(Versions, ProtocolVersion); 2] =
    [(Versions::Tls13, ProtocolVersion::TLSv1_3), (Versions::Tls12, ProtocolVersion::TLSv1_2)];

/// A gateway's session and rustls' client, and every flight between them.
pub(in crate::sim) struct Pair {
    pub(in crate::sim) server: Session,
    pub(in crate::sim) client: ClientConnection,
    /// Flights of the client.
    pub(in crate::sim) to_server: Vec<Vec<u8>>,
    /// Flights of the gateway.
    pub(in crate::sim) to_client: Vec<Vec<u8>>,
}

impl Pair {
    /// Nobody is asked for a certificate where there is no verifier; no session is resumed.
    pub(in crate::sim) fn new(
        listener: &ListenerTls,
        verifier: Option<Arc<ClientVerifier>>,
        client: &Arc<ClientConfig>,
    ) -> Self {
        let scope = Scope::new(ScopeOptions {
            name: "listener".into(),
            verifier,
            rules: pki::rules(),
            revocation: Arc::default(),
        });
        let sessions = SessionRules { mode: Resumption::Off, age_max_s: 1, tickets: 0 };
        let desk = Desk::new(1, Arc::new(SessionStore::new(0)), WorkerCounters::new());
        let random = listener.provider().secure_random;
        let visit =
            Visit::new(Arc::new(scope), sessions, desk, Arc::clone(listener.time()), random);
        let index = listener.select(Some(pki::SERVER_NAME), &[]);
        let config = listener.config(index, visit.hooks()).expect("a configuration");
        let server = Session::new(Arc::new(config));
        let client = ClientConnection::new(Arc::clone(client), pki::server_name());
        Self {
            server: server.expect("a good configuration"),
            client: client.expect("a good configuration"),
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    fn client_flight(&mut self) -> Vec<u8> {
        let mut flight = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut flight).expect("memory");
        }
        self.to_server.push(flight.clone());
        flight
    }

    fn deliver(&mut self, flight: Vec<u8>) -> Result<(), Error> {
        let mut rest = &flight[..];
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).expect("memory");
            self.client.process_new_packets()?;
        }
        self.to_client.push(flight);
        Ok(())
    }

    /// Runs the handshake until the gateway has judged the client, and answers it.
    pub(in crate::sim) fn shake(&mut self) -> Result<Agreed, SessionError> {
        for _ in 0..10 {
            let mut flight = self.client_flight();
            let mut out = Vec::new();
            let agreed = self.server.handshake(&mut flight, &mut out);
            let delivered = self.deliver(out);
            if let Some(agreed) = agreed? {
                delivered.expect("a good server");
                return Ok(agreed);
            }
            delivered.expect("a good server");
        }
        panic!("the handshake stalls");
    }

    /// Sends `bytes` to the gateway and back, and closes in order.
    fn echo_and_close(&mut self, bytes: &[u8]) {
        self.client.writer().write_all(bytes).expect("memory");
        let flight = self.client_flight();
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        self.server.read(&flight, &mut plain, &mut out).expect("good data");
        assert_eq!(plain, bytes);
        self.server.write(&plain, &mut out).expect("keys");
        self.server.close(&mut out);
        self.deliver(out).expect("good data");
        let mut back = Vec::new();
        self.client.reader().read_to_end(&mut back).expect("close_notify was received");
        assert_eq!(back, bytes);
        self.client.send_close_notify();
        let flight = self.client_flight();
        self.server.read(&flight, &mut Vec::new(), &mut Vec::new()).expect("close_notify");
        assert!(self.server.peer_closed());
    }
}

/// Two connections one after the other, each with data both ways: all that is on the wire.
fn transcript(seed: u64, versions: Versions, suite: Option<SupportedCipherSuite>) -> Vec<Vec<u8>> {
    let mut provider = provider(seed);
    if let Some(suite) = suite {
        Arc::make_mut(&mut provider).cipher_suites = vec![suite];
    }
    let (pki, clock) = (Pki::new(), Clock::new(pki::EPOCH_UNIX_S));
    let listener = listener_tls(&pki, &provider, &clock, versions);
    let verifier = pki::verifier(pki.anchors(), &provider, ClientAuth::Require);
    let mut flights = Vec::new();
    for client in [Client::Allowed(0), Client::ViaIntermediate] {
        let client = client_config(
            &pki,
            client,
            &provider,
            &clock,
            versions,
            rustls::client::Resumption::disabled(),
        );
        let mut pair = Pair::new(&listener, verifier.clone(), &client);
        let agreed = pair.shake().expect("an allowed client");
        assert!(suite.is_none_or(|suite| suite == agreed.suite));
        assert_eq!(agreed.group, Some(NamedGroup::X25519));
        pair.echo_and_close(&[7; 20_000]);
        flights.extend(pair.to_server);
        flights.extend(pair.to_client);
    }
    flights
}

/// On a thread of its own, as simulations are: without a trace of another test's.
fn elsewhere<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(run).join().expect("it does not panic")
}

#[test]
fn a_seed_gives_the_same_bytes_again_in_both_versions_and_directions() {
    for (versions, version) in VERSIONS {
        let of_version = |suite: &&SupportedCipherSuite| suite.version().version == version;
        for suite in SUITES.iter().filter(of_version).map(|suite| Some(*suite)).chain([None]) {
            let first = elsewhere(move || transcript(7, versions, suite));
            let again = elsewhere(move || transcript(7, versions, suite));
            assert_eq!(first, again, "{suite:?}");
            let bytes: usize = first.iter().map(Vec::len).sum();
            assert!(bytes > 80_000, "data both ways on two connections, not {bytes} bytes");
        }
    }
}

#[test]
fn another_seed_gives_other_bytes_of_the_same_lengths() {
    for (versions, _) in VERSIONS {
        let (first, other) = (transcript(7, versions, None), transcript(8, versions, None));
        assert_ne!(first, other);
        let lengths = |flights: &[Vec<u8>]| flights.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&first), lengths(&other));
        // The same connection twice with one seed would be no test of anything.
        let is_hello = |flight: &&Vec<u8>| matches!(flight[..], [22, _, _, _, _, 1, ..]);
        let hellos: Vec<_> = first.iter().filter(is_hello).collect();
        assert_eq!(hellos.len(), 2);
        assert_ne!(hellos[0], hellos[1]);
    }
}

#[test]
fn a_seed_gives_the_same_bytes_in_another_process() {
    const NAME: &str = "sim::crypto::tests::a_seed_gives_the_same_bytes_in_another_process";
    const CHILD: &str = "RINGFORT_TEST_PRINT_DIGEST";
    let flights = transcript(9, Versions::Both, None).concat();
    let digest = format!("{:?}", aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &flights));
    if std::env::var_os(CHILD).is_some() {
        println!("{digest}");
        return;
    }
    let program = std::env::current_exe().expect("this test");
    let child = std::process::Command::new(program)
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("it starts");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(output.lines().any(|line| line.ends_with(&digest)), "{digest} is not in:\n{output}");
}

#[test]
fn keys_do_not_depend_on_how_many_other_numbers_were_drawn() {
    let public_key = |provider: &CryptoProvider| {
        provider.kx_groups[0].start().expect("a seed").pub_key().to_vec()
    };
    let provider = provider(1);
    let first = public_key(&provider);
    seed_thread(1);
    provider.secure_random.fill(&mut [0; 100]).expect("a seed");
    assert_eq!(public_key(&provider), first);
    assert_ne!(public_key(&provider), first);
}

#[test]
fn the_group_agrees_with_the_one_of_the_library() {
    let theirs = rustls::crypto::aws_lc_rs::kx_group::X25519;
    let ours = provider(2).kx_groups[0];
    for (one, other) in [(ours, theirs), (theirs, ours)] {
        let started = one.start().expect("a key");
        let completed = other.start_and_complete(started.pub_key()).expect("a key");
        let secret = started.complete(&completed.pub_key).expect("a secret");
        assert_eq!(secret.secret_bytes(), completed.secret.secret_bytes());
    }
}

#[test]
fn a_key_share_that_is_none_is_refused() {
    let group = provider(2).kx_groups[0];
    // SubjectPublicKeyInfo (RFC 8410, 4) of a good key: sound, but no key share.
    let info = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 3, 0x21, 0];
    let info = [&info[..], group.start().expect("a key").pub_key()].concat();
    // The point zero is of small order: the secret would be zero, whatever the key.
    for share in [&[0; 32][..], &[9; 31], &[9; 33], &info, &[]] {
        let error = group.start_and_complete(share).err();
        assert_eq!(error, Some(PeerMisbehaved::InvalidKeyShare.into()), "{share:?}");
    }
}

#[test]
fn a_thread_without_a_seed_has_no_random_numbers() {
    let provider = provider(3);
    elsewhere(move || {
        assert!(provider.secure_random.fill(&mut [0; 8]).is_err());
        assert_eq!(provider.kx_groups[0].start().err(), Some(Error::FailedToGetRandomBytes));
        seed_thread(3);
        provider.secure_random.fill(&mut [0; 8]).expect("a seed");
    });
}

#[test]
fn keys_that_sign_with_random_numbers_are_refused() {
    let load = |algorithm: &'static rcgen::SignatureAlgorithm| {
        let key = rcgen::KeyPair::generate_for(algorithm).expect("a key").serialize_der();
        provider(4).key_provider.load_private_key(PrivatePkcs8KeyDer::from(key).into())
    };
    assert!(load(&rcgen::PKCS_ED25519).is_ok());
    assert!(load(&rcgen::PKCS_ECDSA_P256_SHA256).is_err());
    assert!(load(&rcgen::PKCS_RSA_SHA256).is_err());
}

#[test]
fn a_clock_is_set_for_all_its_clones_and_has_no_time_before_1970() {
    let clock = Clock::new(5);
    let seen: Arc<dyn TimeProvider> = Arc::new(clock.clone());
    assert_eq!(seen.current_time().map(|now| now.as_secs()), Some(5));
    clock.set(4);
    assert_eq!(seen.current_time().map(|now| now.as_secs()), Some(4));
    clock.set(-1);
    assert_eq!(seen.current_time(), None);
}
