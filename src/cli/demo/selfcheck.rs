//! The demo's self-check: a request that must be served, and a client that must be refused, both
//! recorded, shown, and compared with what the gateway says in its own log.
//!
//! It reports what it found, never what should have been.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{CipherSuite, NamedGroup, RootCertStore, SupportedProtocolVersion};

use super::connections::{Connection, FINISHED, LogReader};
use super::error::DemoError;
use super::journal::Journal;
use super::origin::{GREETING, Origin};
use super::{CLIENT_SPIFFE, SERVER_NAME, Stage, interrupted};
use crate::cli::timeline::{
    Cause, ClientCertificate, Lane, RecordError, RecordOptions, Recording, ResponseEnd, Row, Trust,
    colour_wanted, printable, record, table,
};
use crate::control::supervisor::Gateway;
use crate::error::Refusal;
use crate::tls::names::alert_name;
use crate::tls::provider::{Backend, provider};

/// Most time for each step of a recording, and for its line in the log.
const PATIENCE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(5);
/// The alert certificate_required (RFC 8446, 6).
const CERTIFICATE_REQUIRED: u8 = 116;
const RESPONSE_BYTES_MAX: usize = 4096;
/// Columns of a verdict's label.
const LABEL_COLUMNS: usize = 4;
const SCHEMES_SHOWN: usize = 2;

/// What the demo's client offers: enough to leave the gateway a choice, and short enough to read.
const SUITES_OFFERED: [CipherSuite; 2] =
    [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256];
static VERSIONS_OFFERED: &[&SupportedProtocolVersion] = &[&TLS13];
const GROUPS_OFFERED: [NamedGroup; 3] =
    [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1];

/// What the self-check works with.
pub(super) struct SelfCheck<'a> {
    pub(super) address: SocketAddr,
    pub(super) stage: &'a Stage,
    pub(super) origin: &'a Origin,
    pub(super) journal: &'a Journal,
    pub(super) is_ending: &'a AtomicBool,
}

impl SelfCheck<'_> {
    /// Makes both connections and shows them.
    ///
    /// # Errors
    ///
    /// [`DemoError::Check`] with all that was not as it must be.
    pub(super) fn run(
        &self,
        gateway: &mut Gateway,
        log: &mut LogReader,
        out: &mut dyn Write,
    ) -> Result<(), DemoError> {
        let mut verdicts = Verdicts { out, problems: Vec::new() };
        self.served(&mut verdicts, gateway, log)?;
        interrupted(self.is_ending)?;
        verdicts
            .say("\nThe same without a certificate, from where the client is asked for one:\n\n")?;
        self.refused(&mut verdicts, gateway, log)?;
        interrupted(self.is_ending)?;
        if verdicts.problems.is_empty() { Ok(()) } else { Err(DemoError::Check(verdicts.problems)) }
    }

    /// A request with the client's certificate, message by message.
    fn served(
        &self,
        verdicts: &mut Verdicts<'_>,
        gateway: &mut Gateway,
        log: &mut LogReader,
    ) -> Result<(), DemoError> {
        let outcome = self.record(Some(ClientCertificate {
            chain: self.stage.client.chain.clone(),
            key: PrivateKeyDer::Pkcs8(self.stage.client.key.clone_key()),
        }));
        let connection = self.logged(gateway, log)?;
        let account = self.journal.take();
        if let Some(recording) = recording_of(&outcome) {
            let mut rows = recording.timeline(&account.events);
            rows.iter_mut().for_each(shorten);
            let [up, down] = recording.summary();
            verdicts.say(&format!("{}\n{up}\n{down}\n\n", table(&rows, colour_wanted())))?;
        }
        verdicts.judge(answered(&outcome))?;
        verdicts.judge(match (account.events.len(), account.refusals) {
            (2, 0) => Ok(String::from("the gateway verified the chain and the signature")),
            (all, refused) => Err(format!(
                "the gateway checked {all} things of the client and refused {refused} of them; \
                 expected 2, its chain and its signature, and no refusal"
            )),
        })?;
        verdicts.judge(match connection {
            Some(log) if log.spiffe() == Some(CLIENT_SPIFFE) && log.reason() == FINISHED => {
                Ok(format!("in the gateway's log: {CLIENT_SPIFFE}, {FINISHED}"))
            }
            other => Err(format!(
                "the gateway's log has {}; expected {CLIENT_SPIFFE}, {FINISHED}",
                described(other.as_ref())
            )),
        })
    }

    /// A request without a certificate: how it is refused.
    fn refused(
        &self,
        verdicts: &mut Verdicts<'_>,
        gateway: &mut Gateway,
        log: &mut LogReader,
    ) -> Result<(), DemoError> {
        let outcome = self.record(None);
        let connection = self.logged(gateway, log)?;
        if let Some(recording) = recording_of(&outcome) {
            let rows = recording.timeline(&self.journal.take().events);
            let is_asked = |row: &Row| row.lane == Lane::Client && row.what == "certificate asked";
            let from = rows.iter().position(is_asked).unwrap_or(0);
            let is_new = |row: &Row| row.lane != Lane::ClientVerifies;
            let rows: Vec<Row> = rows.into_iter().skip(from).filter(is_new).collect();
            verdicts.say(&format!("{}\n", table(&rows, colour_wanted())))?;
        }
        verdicts.judge(match outcome {
            Err(RecordError { cause: Cause::Refused { alert, .. }, .. })
                if alert == CERTIFICATE_REQUIRED =>
            {
                let name = alert_name(alert).unwrap_or("unknown");
                Ok(format!("refused with the alert {name} ({alert})"))
            }
            Err(other) => {
                Err(format!("expected the alert certificate_required, found: {}", other.cause))
            }
            Ok(_) => Err(String::from("a client without a certificate was served")),
        })?;
        let missing = Refusal::CertificateMissing.as_str();
        verdicts.judge(match connection {
            Some(log) if log.reason() == missing => {
                Ok(format!("in the gateway's log: certificate_refused, {missing}"))
            }
            other => Err(format!(
                "the gateway's log has {}; expected the refusal {missing}",
                described(other.as_ref())
            )),
        })?;
        verdicts.judge(match self.origin.accepted() {
            1 => Ok(String::from("the service behind the gateway was never connected to")),
            other => Err(format!(
                "the service behind the gateway saw {other} connections; expected that of the \
                 client with a certificate and no other"
            )),
        })
    }

    fn record(&self, client_cert: Option<ClientCertificate>) -> Result<Recording, RecordError> {
        let mut roots = RootCertStore::empty();
        let failed = |error| RecordError {
            address: self.address,
            cause: Cause::Options(error),
            recording: None,
        };
        roots.add(self.stage.root.certificate().clone()).map_err(failed)?;
        let provider = Backend::preferred().and_then(|backend| provider(backend, &[], &[]));
        let mut provider =
            provider.map_err(|error| failed(rustls::Error::General(error.to_string())))?;
        provider.cipher_suites.retain(|suite| SUITES_OFFERED.contains(&suite.suite()));
        provider.kx_groups.retain(|group| GROUPS_OFFERED.contains(&group.name()));
        let name = ServerName::try_from(SERVER_NAME);
        let server_name = name.unwrap_or_else(|_| self.address.ip().into());
        let host = self.address;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        record(&RecordOptions {
            address: self.address,
            server_name,
            trust: Trust::Required(Arc::new(roots)),
            peer: "gateway",
            client_cert,
            alpn: Vec::new(),
            versions: VERSIONS_OFFERED,
            provider: Arc::new(provider),
            connect_timeout: PATIENCE,
            handshake_timeout: PATIENCE,
            response_timeout: PATIENCE,
            total_timeout: 3 * PATIENCE,
            request: request.as_bytes(),
            response_end: ResponseEnd::Close,
            response_bytes_max: RESPONSE_BYTES_MAX,
        })
    }

    /// The log's line of the connection that was just made; `None` where there is none in time.
    fn logged(
        &self,
        gateway: &mut Gateway,
        log: &mut LogReader,
    ) -> Result<Option<Connection>, DemoError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            gateway.write_log();
            let (connections, _) = log.read().map_err(DemoError::Log)?;
            let found = connections.into_iter().next();
            if found.is_some() || Instant::now() >= deadline {
                return Ok(found);
            }
            interrupted(self.is_ending)?;
            thread::sleep(TICK);
        }
    }
}

fn recording_of(outcome: &Result<Recording, RecordError>) -> Option<&Recording> {
    match outcome {
        Ok(recording) => Some(recording),
        Err(error) => error.recording.as_deref(),
    }
}

/// Whether the service's answer came, and what it was.
fn answered(outcome: &Result<Recording, RecordError>) -> Result<String, String> {
    let recording = outcome.as_ref().map_err(|error| format!("no answer: {error}"))?;
    let response = String::from_utf8_lossy(recording.response());
    let status = printable(response.lines().next().unwrap_or("nothing"));
    let greets = response.lines().any(|line| line == GREETING);
    if status.starts_with("HTTP/1.1 200 ") && greets {
        Ok(format!("the service answered: {status}, \"{GREETING}\""))
    } else {
        Err(format!("the service answered {status:?}; expected HTTP/1.1 200 and \"{GREETING}\""))
    }
}

/// A gateway accepts more signature schemes than anybody likes to read.
fn shorten(row: &mut Row) {
    let Some((start, schemes)) = row.details.split_once("; schemes ") else { return };
    let schemes: Vec<&str> = schemes.split(", ").collect();
    if let Some((shown, more)) = schemes.split_at_checked(SCHEMES_SHOWN)
        && more.len() > 1
    {
        let (shown, more) = (shown.join(", "), more.len());
        row.details = format!("{start}; schemes {shown} and {more} more");
    }
}

fn described(connection: Option<&Connection>) -> String {
    match connection {
        Some(connection) => format!("\"{}\"", connection.line()),
        None => String::from("no line of the connection"),
    }
}

/// What was found so far, and where it is shown.
struct Verdicts<'a> {
    out: &'a mut dyn Write,
    problems: Vec<String>,
}

impl Verdicts<'_> {
    fn say(&mut self, text: &str) -> Result<(), DemoError> {
        let said = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        said.map_err(DemoError::Output)
    }

    /// Shows one finding, and keeps it where it is a problem.
    fn judge(&mut self, finding: Result<String, String>) -> Result<(), DemoError> {
        let (label, text) = match &finding {
            Ok(text) => ("ok", text),
            Err(text) => ("FAIL", text),
        };
        self.say(&format!("{label:<LABEL_COLUMNS$}  {text}\n"))?;
        self.problems.extend(finding.err());
        Ok(())
    }
}
