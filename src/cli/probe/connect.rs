//! From a host to a connection: the addresses of a name, and the first of them that answers.
//!
//! It knows nothing of what is said on a connection; only that an address to which no TCP
//! connection comes about is no reason not to try the next.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::plan::Target;
use crate::cli::timeline::{
    Cause, Phase, RecordError, RecordOptions, Recorder, Recording, printable,
};
use crate::limits::PROBE_ADDRESSES_MAX;

/// An address to which there was no connection.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Attempt {
    pub(super) address: String,
    pub(super) error: String,
}

/// The addresses of a target, at least one, in the order in which the system gives them.
///
/// # Errors
///
/// What the resolver says, or that it said nothing within `patience`.
pub(super) fn resolve(target: &Target, patience: Duration) -> Result<Vec<SocketAddr>, String> {
    let (name, port) = match target {
        Target::Address(address) => return Ok(vec![*address]),
        Target::Name(name, port) => (name.clone(), *port),
    };
    let (send, receive) = channel();
    let shown = name.clone();
    // getaddrinfo(3) has no deadline: the thread that waits for it may be left behind.
    let look_up = move || {
        let found = (name.as_str(), port).to_socket_addrs();
        let _ = send.send(found.map(|all| all.take(PROBE_ADDRESSES_MAX).collect::<Vec<_>>()));
    };
    thread::Builder::new()
        .name(String::from("resolver"))
        .spawn(look_up)
        .map_err(|error| format!("no thread to look {shown} up: {error}"))?;
    match receive.recv_timeout(patience) {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(format!("{shown} has no address")),
        Ok(Ok(addresses)) => Ok(distinct(addresses)),
        Ok(Err(error)) => Err(format!("{shown} cannot be looked up: {error}")),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(format!("{shown}: the resolver did not answer in time"))
        }
    }
}

fn distinct(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// Records a connection to the first of these addresses that takes one, and tells which did not.
/// Each has its part of the time left until `deadline` to do so.
pub(super) fn first(
    recorder: &Recorder,
    options: &mut RecordOptions<'_>,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> (Vec<Attempt>, Result<Recording, RecordError>) {
    let mut attempts = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        options.address = *address;
        set_times(options, left / others, left);
        let outcome = recorder.record(options);
        match outcome {
            Err(error) if is_unconnected(&error) && others > 1 => attempts.push(Attempt {
                address: address.to_string(),
                error: printable(&error.cause.to_string()),
            }),
            outcome => return (attempts, outcome),
        }
    }
    // Only where there was none; `resolve` gives at least one.
    let source = std::io::Error::from(std::io::ErrorKind::NotFound);
    let cause = Cause::Io { phase: Phase::Connect, source };
    (attempts, Err(RecordError { address: options.address, cause, recording: None }))
}

/// Gives a connection these times: to be established, and for all of it.
pub(super) fn set_times(options: &mut RecordOptions<'_>, connect: Duration, total: Duration) {
    // A socket takes no time at all for an error.
    let least = Duration::from_millis(1);
    options.connect_timeout = connect.max(least);
    options.handshake_timeout = total.max(least);
    options.response_timeout = total.max(least);
    options.total_timeout = total.max(least);
}

/// Whether there was no TCP connection, so that another address may have one.
fn is_unconnected(error: &RecordError) -> bool {
    let phase = match &error.cause {
        Cause::Io { phase, .. } | Cause::Timeout { phase, .. } => *phase,
        _ => return false,
    };
    phase == Phase::Connect
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use rustls::pki_types::ServerName;
    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::cli::timeline::{ResponseEnd, Trust};
    use crate::tls::provider::{Backend, provider};

    fn options() -> RecordOptions<'static> {
        let backend = Backend::preferred().expect("a backend");
        RecordOptions {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            server_name: ServerName::try_from("a.example").expect("a name"),
            trust: Trust::Unverified,
            peer: "server",
            client_cert: None,
            alpn: Vec::new(),
            versions: rustls::ALL_VERSIONS,
            provider: provider(backend, &[], &[]).expect("all that it has").into(),
            connect_timeout: Duration::from_secs(1),
            handshake_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            total_timeout: Duration::from_secs(3),
            request: b"",
            response_end: ResponseEnd::Bytes(0),
            response_bytes_max: 0,
        }
    }

    #[test]
    fn the_next_address_is_tried_where_one_takes_no_connection() {
        // Bound and never listening: nobody else can come to listen there.
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        held.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        let closed = held.local_addr().expect("bound").as_socket().expect("IPv4");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let open = listener.local_addr().expect("bound");
        thread::spawn(move || drop(listener.accept()));

        let mut options = options();
        let recorder = Recorder::new(&options).expect("good options");
        let deadline = Instant::now() + Duration::from_secs(5);
        let (attempts, outcome) = first(&recorder, &mut options, &[closed, open], deadline);
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        assert_eq!(attempts[0].address, closed.to_string());
        let error = outcome.expect_err("it closes at once");
        assert_eq!(error.address, open, "{error}");
        assert!(error.recording.is_some(), "{error}");

        let (attempts, outcome) = first(&recorder, &mut options, &[closed, closed], deadline);
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        assert!(is_unconnected(&outcome.expect_err("nobody listens")));
    }

    #[test]
    fn a_name_has_its_addresses_and_an_unknown_one_an_error() {
        let patience = Duration::from_secs(20);
        let name = |name: &str| Target::Name(name.into(), 7);
        let found = resolve(&name("localhost"), patience).expect("every machine has it");
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 7));
        let error = resolve(&name("no.such.name.invalid"), patience).expect_err("RFC 6761, 6.4");
        assert!(error.contains("no.such.name.invalid"), "{error}");
        let none = resolve(&name("localhost"), Duration::ZERO).expect_err("no time");
        assert!(none.contains("in time"), "{none}");
        let twice = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 1)); 2];
        assert_eq!(distinct(twice).len(), 1);
    }
}
