//! The two ends of a handshake in memory, both of one backend, through ringfort's own sessions.
//!
//! Chains of two certificates with P-256 keys on both sides, TLS 1.3.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, ExtractedSecrets, NamedGroup, RootCertStore, ServerConfig,
    ServerConnection, SupportedCipherSuite,
};

use super::cases::{Failure, cpu_time};
use crate::cli::pki::{Authority, Issued, KeyChoice, Names, Profile, Validity};
use crate::tls::session::Session;

/// The name of the server.
const SERVER: &str = "localhost";
/// Sessions that either side keeps.
const SESSIONS_MAX: usize = 64;

/// Whose CPU time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Server,
    Both,
}

/// Certificates of both sides.
pub(super) struct Peers {
    roots: Arc<RootCertStore>,
    server: Issued,
    client: Issued,
}

impl Peers {
    pub(super) fn new() -> Result<Self, Failure> {
        let validity = Validity::days(SystemTime::now(), 2)?;
        let profile =
            |name: &str| Profile { common_name: name.to_string(), key: KeyChoice::P256, validity };
        let names = Names { dns: vec![SERVER.to_string()], ..Names::default() };
        let root = Authority::root(&profile("root"))?;
        let issuing = root.intermediate(&profile("issuing"))?;
        let mut roots = RootCertStore::empty();
        roots.add(root.certificate().clone()).map_err(|error| Failure::Keys(error.to_string()))?;
        Ok(Self {
            roots: Arc::new(roots),
            server: issuing.issue_server(&profile("server"), &names)?,
            client: issuing.issue_client(&profile("client"), &names)?,
        })
    }

    /// Both ends over a provider. With X25519, which all but `fips` have.
    pub(super) fn ends(&self, mut provider: CryptoProvider, resumes: bool) -> Result<Ends, String> {
        if provider.kx_groups.iter().any(|group| group.name() == NamedGroup::X25519) {
            provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
        }
        let provider = Arc::new(provider);
        let text = |error: rustls::Error| error.to_string();
        let identity = |issued: &Issued| -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
            (issued.chain.clone(), issued.key.clone_key().into())
        };
        let roots = Arc::clone(&self.roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let (chain, key) = identity(&self.server);
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(text)?
            .with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
            .with_single_cert(chain, key)
            .map_err(text)?;
        server.enable_secret_extraction = true;
        // The gateway sends none unless it resumes.
        server.send_tls13_tickets = usize::from(resumes);
        server.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
        let (chain, key) = identity(&self.client);
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(text)?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(chain, key)
            .map_err(text)?;
        client.enable_secret_extraction = true;
        client.resumption = match resumes {
            true => Resumption::in_memory_sessions(SESSIONS_MAX),
            false => Resumption::disabled(),
        };
        Ok(Ends { server: Arc::new(server), client: Arc::new(client) })
    }
}

/// The configurations of both ends.
pub(super) struct Ends {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Ends {
    /// One handshake; the CPU time of it. What is to be resumed is, for each leaves a ticket.
    pub(super) fn shake_hands(&self, resumed: bool, part: Part) -> Result<Duration, String> {
        let (was_resumed, spent) = self.attempt(part)?;
        if was_resumed == resumed {
            return Ok(spent);
        }
        // The first one has no ticket yet.
        match self.attempt(part)? {
            (was_resumed, spent) if was_resumed == resumed => Ok(spent),
            (true, _) => Err(String::from("a handshake that must be a full one was resumed")),
            (false, _) => Err(String::from("a session was not resumed")),
        }
    }

    fn attempt(&self, part: Part) -> Result<(bool, Duration), String> {
        let began = cpu_time();
        let mut of_server = Duration::ZERO;
        let failed = |error: crate::tls::session::SessionError| error.to_string();
        let name = ServerName::try_from(SERVER).map_err(|error| error.to_string())?;
        let mut client = Session::client(Arc::clone(&self.client), name).map_err(failed)?;
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let mut resumed = client.handshake(&mut [], &mut up).map_err(failed)?.map(|it| it.resumed);
        let before = cpu_time();
        let mut server = Session::new(Arc::clone(&self.server)).map_err(failed)?;
        let mut is_done = server.handshake(&mut up, &mut down).map_err(failed)?.is_some();
        of_server += cpu_time() - before;
        while !is_done || resumed.is_none() {
            if up.is_empty() && down.is_empty() {
                return Err(String::from("the handshake stalls"));
            }
            up.clear();
            if resumed.is_none() {
                let agreed = client.handshake(&mut down, &mut up).map_err(failed)?;
                resumed = agreed.map(|agreed| agreed.resumed);
            }
            down.clear();
            if !is_done {
                let before = cpu_time();
                is_done = server.handshake(&mut up, &mut down).map_err(failed)?.is_some();
                of_server += cpu_time() - before;
            }
        }
        // The ticket, where there is one.
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        client.read(&down, &mut plain, &mut out).map_err(failed)?;
        let spent = match part {
            Part::Server => of_server,
            Part::Both => cpu_time() - began,
        };
        Ok((resumed == Some(true), spent))
    }

    /// Traffic keys of a session that was just agreed on: the server's, then the client's.
    pub(super) fn secrets(
        &self,
    ) -> Result<(SupportedCipherSuite, ExtractedSecrets, ExtractedSecrets), String> {
        let text = |error: rustls::Error| error.to_string();
        let name = ServerName::try_from(SERVER).map_err(|error| error.to_string())?;
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).map_err(text)?;
        let mut server = ServerConnection::new(Arc::clone(&self.server)).map_err(text)?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).map_err(|error| error.to_string())?;
            server.read_tls(&mut wire.as_slice()).map_err(|error| error.to_string())?;
            server.process_new_packets().map_err(text)?;
            wire.clear();
            server.write_tls(&mut wire).map_err(|error| error.to_string())?;
            client.read_tls(&mut wire.as_slice()).map_err(|error| error.to_string())?;
            client.process_new_packets().map_err(text)?;
        }
        let suite = server.negotiated_cipher_suite().ok_or("no suite was agreed on")?;
        let ours = server.dangerous_extract_secrets().map_err(text)?;
        Ok((suite, ours, client.dangerous_extract_secrets().map_err(text)?))
    }
}
