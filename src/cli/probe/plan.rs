//! What the arguments of `probe` mean: a plan that can be carried out, or the complaint.
//!
//! It reads the files that they name and connects to nothing.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, SupportedProtocolVersion};

use super::ProbeArgs;
use crate::cli::timeline::{ClientCertificate, RecordOptions, ResponseEnd, Trust};
use crate::limits::{
    ALPN_NAME_BYTES_MAX, PEM_BYTES_MAX, PROBE_ALPN_MAX, PROBE_QUIET_MS, PROBE_RESPONSE_BYTES_MAX,
};
use crate::tls::provider::{Backend, provider};

static ONLY_12: &[&SupportedProtocolVersion] = &[&TLS12];
static ONLY_13: &[&SupportedProtocolVersion] = &[&TLS13];

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An address.
    Address(SocketAddr),
    /// A name to be looked up, and a port.
    Name(String, u16),
}

/// A probe that can begin.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    /// What every connection has in common; address and times are still to be set.
    pub(super) options: RecordOptions<'static>,
    pub(super) timeout: Duration,
}

impl Plan {
    /// # Errors
    ///
    /// What is wrong with which argument, in a sentence.
    pub(super) fn new(args: &ProbeArgs) -> Result<Self, String> {
        let target = Target::parse(&args.target)?;
        let server_name = server_name(&target, args.sni.as_deref())?;
        let timeout = Duration::from_millis(args.timeout_ms);
        let crypto = Backend::preferred().and_then(|backend| provider(backend, &[], &[]));
        let options = RecordOptions {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            server_name,
            trust: trust(args.ca.as_deref())?,
            peer: "server",
            client_cert: client_certificate(args)?,
            alpn: alpn(&args.alpn)?,
            versions: match args.tls.as_deref() {
                Some("1.2") => ONLY_12,
                Some("1.3") => ONLY_13,
                _ => rustls::ALL_VERSIONS,
            },
            provider: Arc::new(crypto.map_err(|error| error.to_string())?),
            connect_timeout: timeout,
            handshake_timeout: timeout,
            response_timeout: timeout,
            total_timeout: timeout,
            request: b"",
            response_end: ResponseEnd::Quiet(Duration::from_millis(PROBE_QUIET_MS)),
            response_bytes_max: PROBE_RESPONSE_BYTES_MAX,
        };
        Ok(Self { target, options, timeout })
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("{text:?} is no HOST:PORT: {why}; such as example.org:443 or [::1]:8443")
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address.port() {
                0 => Err(wrong("port 0 cannot be connected to")),
                _ => Ok(Self::Address(address)),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
        // Not with the sign that a number may have.
        let port = match port.parse::<u16>() {
            Ok(number) if number > 0 && !port.starts_with('+') => number,
            _ => return Err(wrong("a port is a number from 1 to 65535")),
        };
        if host.contains(':') {
            return Err(wrong("an IPv6 address is written in brackets"));
        }
        match host {
            "" => Err(wrong("the host is missing")),
            host => Ok(Self::Name(host.to_owned(), port)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// The name to ask for: `sni`, otherwise the host.
fn server_name(target: &Target, sni: Option<&str>) -> Result<ServerName<'static>, String> {
    let name = match (sni, target) {
        (Some(name), _) if name.parse::<IpAddr>().is_ok() => {
            return Err(format!("--sni {name}: SNI is a DNS name, never an address (RFC 6066, 3)"));
        }
        (Some(name), _) => name,
        (None, Target::Address(address)) => return Ok(address.ip().into()),
        (None, Target::Name(name, _)) => name,
    };
    ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no DNS name"))
}

fn alpn(names: &[String]) -> Result<Vec<Vec<u8>>, String> {
    if names.len() > PROBE_ALPN_MAX {
        return Err(format!("--alpn: {} protocols, at most {PROBE_ALPN_MAX}", names.len()));
    }
    let one = |name: &String| match name.len() {
        1..=ALPN_NAME_BYTES_MAX => Ok(name.as_bytes().to_vec()),
        bytes => Err(format!(
            "--alpn: a protocol of {bytes} bytes; a name has 1 to {ALPN_NAME_BYTES_MAX}"
        )),
    };
    names.iter().map(one).collect()
}

fn trust(ca: Option<&str>) -> Result<Trust, String> {
    let Some(path) = ca else { return Ok(Trust::Unverified) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("{path}: a certificate is no root: {error}"))?;
    }
    Ok(Trust::Judged(Arc::new(roots)))
}

fn client_certificate(args: &ProbeArgs) -> Result<Option<ClientCertificate>, String> {
    let (Some(cert), Some(key)) = (&args.cert, &args.key) else { return Ok(None) };
    let chain = certificates(cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| format!("{key}: expected an unencrypted PEM key: {error}"))?;
    Ok(Some(ClientCertificate { chain, key }))
}

/// The certificates of a file, at least one.
fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(format!("{path}: expected PEM certificates, found none")),
        Err(error) => Err(format!("{path}: no good PEM: {error}")),
    }
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let most = PEM_BYTES_MAX as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| format!("{path} cannot be read: {error}"))?;
    if bytes.len() > PEM_BYTES_MAX {
        return Err(format!("{path} is larger than {PEM_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_a_port() {
        let name = |host: &str, port| Ok(Target::Name(host.into(), port));
        let address = |text: &str| Ok(Target::Address(text.parse().expect("an address")));
        assert_eq!(Target::parse("a.example:443"), name("a.example", 443));
        assert_eq!(Target::parse("127.0.0.1:1"), address("127.0.0.1:1"));
        assert_eq!(Target::parse("[::1]:65535"), address("[::1]:65535"));
        for (wrong, why) in [
            ("a.example", "the port is missing"),
            ("a.example:", "from 1 to 65535"),
            ("a.example:0", "from 1 to 65535"),
            ("a.example:+1", "from 1 to 65535"),
            ("a.example:65536", "from 1 to 65535"),
            ("127.0.0.1:0", "port 0"),
            ("::1:443", "in brackets"),
            ("[::1]", "from 1 to 65535"),
            (":443", "the host is missing"),
        ] {
            let found = Target::parse(wrong).expect_err(wrong);
            assert!(found.contains(why), "{wrong}: {found}");
        }
    }

    #[test]
    fn the_name_asked_for_is_the_host_unless_another_is_given() {
        let host = Target::Name("a.example".into(), 1);
        let address = Target::Address("127.0.0.1:1".parse().expect("an address"));
        let text = |target, sni| server_name(target, sni).map(|name| name.to_str().into_owned());
        assert_eq!(text(&host, None), Ok("a.example".into()));
        assert_eq!(text(&host, Some("b.example")), Ok("b.example".into()));
        assert_eq!(text(&address, None), Ok("127.0.0.1".into()));
        assert_eq!(text(&address, Some("b.example")), Ok("b.example".into()));
        assert!(text(&host, Some("127.0.0.1")).is_err());
        assert!(text(&host, Some("a b")).is_err());
        assert!(text(&host, Some("")).is_err());
    }

    #[test]
    fn protocols_have_a_bounded_name_and_number() {
        let names = |count: usize, bytes| vec!["a".repeat(bytes); count];
        assert_eq!(alpn(&names(1, 2)), Ok(vec![b"aa".to_vec()]));
        assert!(alpn(&names(PROBE_ALPN_MAX, ALPN_NAME_BYTES_MAX)).is_ok());
        assert!(alpn(&names(PROBE_ALPN_MAX + 1, 1)).is_err());
        assert!(alpn(&names(1, ALPN_NAME_BYTES_MAX + 1)).is_err());
        assert!(alpn(&names(1, 0)).is_err());
    }
}
