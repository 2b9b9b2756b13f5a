//! The configuration: any text to a snapshot that keeps its bounds, or to errors that a person can
//! use.
//!
//! An input is the text; what follows a NUL, which no TOML has, is the content of a file that the
//! text may name (`fuzz.pem`). The other files are in memory and sound, or broken in known ways.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ringfort::attest::SigningKey;
use ringfort::config::error::{ConfigError, Place};
use ringfort::config::model::{self, Model};
use ringfort::config::resolve::{Belongs, Context, FileSource, resolve};
use ringfort::config::snapshot::{Cluster, HttpOptions, Listener, Snapshot, Target};
use ringfort::limits::{
    BACKLOG_MAX, CONFIG_BYTES_MAX, CONFIG_ERRORS_MAX, CONNECTIONS_MAX, CPUS_MAX,
    DRAIN_TIMEOUT_MS_MAX, ENDPOINTS_MAX, FDS_PER_CONNECTION, HANDSHAKE_QUEUE_MS_MAX,
    HANDSHAKES_MAX, HEAD_BYTES_MAX, HEAD_BYTES_MIN, HEAD_FIELDS_MAX, LISTENERS_MAX, NAME_BYTES_MAX,
    NAPI_BUSY_POLL_US_MAX, RECV_BUFFERS_MIN, RESOLVE_INTERVAL_MS_MAX, RESOLVE_INTERVAL_MS_MIN,
    RING_ENTRIES_MAX, RING_ENTRIES_MIN, ROUTES_MAX, SESSION_AGE_MAX_S_MAX, SESSION_TICKETS_MAX,
    SETUP_TIMEOUT_MS_MAX, SOCKET_BUFFER_BYTES_MAX, SOCKET_BUFFER_BYTES_MIN, SQPOLL_IDLE_MS_MAX,
    TICKET_SECRET_BYTES_MIN, TIMEOUT_MS_MAX, UNIX_PATH_BYTES_MAX, UPSTREAMS_MAX, WORKERS_MAX,
    WORKERS_MIN,
};
use ringfort::route::path::{EncodedSlashes, normal};
use ringfort::tls::server::{Hooks, KeyLogWriter};
use ringfort::trust::tickets::TicketSecret;
use rustls::KeyLog;

use crate::pki::{NOW_UNIX_S, pki};

const FDS_MAX: u64 = 65_536;
/// Bytes of an error beside the text that it refuses: most are 16 names that would be right.
const ERROR_BYTES_MAX: usize = 2048;
/// Bytes for each byte of a text that is refused: quoted twice, each time with three for one.
const QUOTED_BYTES_PER_BYTE_MAX: usize = 8;
/// Errors that quote the same text.
const REFUSALS_PER_TEXT_MAX: usize = 4;
/// What would show as another text: separators of lines and bidirectional controls.
const MISLEADING: &str = "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\
                          \u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";

/// Errors point into the text, take one line each, and are no more than their bound and no longer
/// than what they quote explains; the same text a line further down has the same errors a line
/// further down; a snapshot keeps every bound that it documents, and comes out again the same.
pub fn config(data: &[u8]) {
    let (text, file) = data.split_at(data.iter().position(|&byte| byte == 0).unwrap_or(data.len()));
    if text.len() >= CONFIG_BYTES_MAX {
        return;
    }
    let text = String::from_utf8_lossy(text);
    let files = Files { file: file.get(1..).unwrap_or_default() };
    let resolved = read(&text, &files);
    match &resolved {
        Ok(snapshot) => check_snapshot(snapshot),
        Err(errors) => check_errors(errors, &text),
    }
    // A byte order mark is one at the beginning only.
    if !text.starts_with('\u{feff}') {
        check_moved(&resolved, &read(&format!("\n{text}"), &files));
    }
}

fn read(text: &str, files: &Files<'_>) -> Result<Snapshot, Vec<ConfigError>> {
    let model: Model = model::parse(text, "r.toml").map_err(|error| vec![error])?;
    let context = Context {
        files,
        now_unix_s: NOW_UNIX_S,
        fds_max: FDS_MAX,
        cpus: 4,
        observer: None,
        ticket_secret: TicketSecret::new(&[0; TICKET_SECRET_BYTES_MIN]).expect("long enough"),
        signing_key: Arc::new(SigningKey::generate()),
    };
    resolve(&model, &context)
}

/// The files that a configuration may name.
struct Files<'a> {
    file: &'a [u8],
}

impl FileSource for Files<'_> {
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, io::Error> {
        let pki = pki();
        let bytes = match path.to_str().unwrap_or_default() {
            "server.pem" => pki.server.chain_pem().into_bytes(),
            "server.key" => pki.server.key_pem().into_bytes(),
            "client.key" => pki.client.key_pem().into_bytes(),
            "expired.pem" => pki.expired.chain_pem().into_bytes(),
            "expired.key" => pki.expired.key_pem().into_bytes(),
            "clients.pem" => pki.roots_pem.clone().into_bytes(),
            "fuzz.pem" => self.file.to_vec(),
            "large.pem" => return Err(io::ErrorKind::FileTooLarge.into()),
            "locked.pem" => return Err(io::ErrorKind::PermissionDenied.into()),
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        assert!(bytes.len() <= bytes_max || path == Path::new("fuzz.pem"));
        Ok(bytes)
    }

    fn list(&self, path: &Path, _: Belongs) -> Result<Option<Vec<PathBuf>>, io::Error> {
        Ok(match path.to_str().unwrap_or_default() {
            "folder" => Some(["clients.pem", "fuzz.pem", "server.key"].map(PathBuf::from).into()),
            "empty" => Some(Vec::new()),
            "crowded" => return Err(io::ErrorKind::FileTooLarge.into()),
            _ => None,
        })
    }

    fn key_log(&self, path: &Path) -> Result<Arc<dyn KeyLog>, io::Error> {
        if path.starts_with("/none") {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(KeyLogWriter::new(io::sink())))
    }
}

fn check_errors(errors: &[ConfigError], text: &str) {
    // The last one counts those beyond the bound.
    assert!((1..=1 + CONFIG_ERRORS_MAX).contains(&errors.len()), "{} errors", errors.len());
    for error in errors {
        let shown = error.to_string();
        let plain = !shown.chars().any(|it| it.is_control() || MISLEADING.contains(it));
        assert!(plain, "an error is one line that no terminal takes for more: {shown:?}");
        let bytes_max = ERROR_BYTES_MAX + QUOTED_BYTES_PER_BYTE_MAX * text.len();
        assert!(shown.len() <= bytes_max, "{} bytes", shown.len());
        for part in [&error.found, &error.expected, &error.fix] {
            assert!(!part.is_empty(), "{error:?}");
        }
        if let Place::Point { file, line, column } = &error.place {
            let lines = text.split('\n').count();
            assert!(file == "r.toml" && (1..=lines).contains(line), "line {line} of {lines}");
            let columns = text.split('\n').nth(line - 1).map_or(0, |line| line.chars().count());
            assert!((1..=columns + 1).contains(column), "column {column} of {columns}: {shown}");
        }
    }
    let total: usize = errors.iter().map(|error| error.to_string().len()).sum();
    let own = (1 + CONFIG_ERRORS_MAX) * ERROR_BYTES_MAX;
    let quoted = REFUSALS_PER_TEXT_MAX * QUOTED_BYTES_PER_BYTE_MAX * text.len();
    assert!(total <= own + quoted, "{total} bytes");
}

/// The second is of the same text behind an empty line.
fn check_moved(
    first: &Result<Snapshot, Vec<ConfigError>>,
    second: &Result<Snapshot, Vec<ConfigError>>,
) {
    match (first, second) {
        // A snapshot has keys and verifiers, which cannot be compared; its text has all the rest.
        (Ok(first), Ok(second)) => {
            let (first, second) = (summary(first), summary(second));
            assert_eq!(first, second);
        }
        (Err(first), Err(second)) => {
            let places = |errors: &[ConfigError]| -> Vec<Place> {
                errors.iter().map(|error| error.place.clone()).collect()
            };
            let moved = |place: &Place| match place {
                Place::Point { file, line, column } => {
                    Place::Point { file: file.clone(), line: line + 1, column: *column }
                }
                other => other.clone(),
            };
            let first: Vec<Place> = places(first).iter().map(moved).collect();
            assert_eq!(first, places(second), "the same errors a line further down");
        }
        _ => panic!("an empty line decides: {first:?}, {second:?}"),
    }
}

fn summary(snapshot: &Snapshot) -> String {
    let listeners: Vec<String> = snapshot
        .listeners
        .iter()
        .map(|it| {
            // Its hash stands for mode, anchors, bounds and rules.
            let hash = it.scopes.default.hash();
            format!("{} {} {:?} {hash:?} {}", it.name, it.address, it.socket, it.cluster)
        })
        .collect();
    format!("{:?} {:?} {:?} {listeners:?}", snapshot.clusters, snapshot.limits, snapshot.ring)
}

fn check_snapshot(snapshot: &Snapshot) {
    assert!(snapshot.workers.is_none_or(|count| (WORKERS_MIN..=WORKERS_MAX).contains(&count)));
    if let Some(cpus) = &snapshot.cpus {
        assert!(!cpus.is_empty() && cpus.is_sorted_by(|a, b| a < b), "{cpus:?}");
        assert!(cpus.iter().all(|cpu| *cpu < CPUS_MAX));
        assert!(snapshot.workers.is_none_or(|count| count <= cpus.len()));
    }
    assert!(snapshot.drain_timeout <= Duration::from_millis(DRAIN_TIMEOUT_MS_MAX));
    let limits = &snapshot.limits;
    assert!((1..=CONNECTIONS_MAX).contains(&limits.connections_max));
    assert!(u64::from(limits.connections_max) * FDS_PER_CONNECTION <= FDS_MAX);
    assert!((1..=limits.connections_max).contains(&limits.connections_per_worker_max));
    let per_source = limits.connections_per_source_max;
    assert!(per_source.is_none_or(|most| (1..=limits.connections_max).contains(&most)));
    let per_worker = limits.handshakes_per_worker_max;
    assert!((1..=HANDSHAKES_MAX).contains(&per_worker));
    assert!((1..=per_worker).contains(&limits.handshakes_per_source_max));
    assert!(limits.handshake_queue <= Duration::from_millis(HANDSHAKE_QUEUE_MS_MAX));
    let ring = &snapshot.ring;
    assert!((RING_ENTRIES_MIN..=RING_ENTRIES_MAX).contains(&ring.entries));
    assert!(ring.recv_buffers.is_power_of_two() && ring.recv_buffers >= RECV_BUFFERS_MIN);
    assert!(ring.sqpoll_idle_ms <= SQPOLL_IDLE_MS_MAX);
    assert!(ring.napi_busy_poll_us <= NAPI_BUSY_POLL_US_MAX);

    let (listeners, clusters) = (&snapshot.listeners, &snapshot.clusters);
    assert!((1..=LISTENERS_MAX).contains(&listeners.len()));
    assert!((1..=UPSTREAMS_MAX).contains(&clusters.len()));
    let names: HashSet<_> = listeners.iter().map(|listener| &listener.name).collect();
    let addresses: HashSet<_> = listeners.iter().map(|listener| listener.address).collect();
    assert!(names.len() == listeners.len() && addresses.len() == listeners.len(), "each its own");
    let names: HashSet<_> = clusters.iter().map(|cluster| &cluster.name).collect();
    assert_eq!(names.len(), clusters.len(), "each its own name");
    listeners.iter().for_each(|listener| check_listener(listener, clusters.len()));
    clusters.iter().for_each(|cluster| check_cluster(cluster));
}

fn check_name(name: &str) {
    assert!((1..=NAME_BYTES_MAX).contains(&name.len()), "{name:?}");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    assert!(name.bytes().all(plain), "{name:?}");
}

fn within(duration: Duration, least_ms: u64, most_ms: u64) -> bool {
    (Duration::from_millis(least_ms)..=Duration::from_millis(most_ms)).contains(&duration)
}

fn check_listener(listener: &Listener, clusters: usize) {
    check_name(&listener.name);
    assert_ne!(listener.address.port(), 0);
    assert!(listener.cluster < clusters);
    if let Some(http) = &listener.http {
        check_http(http, clusters);
    }
    assert!(within(listener.handshake_timeout, 1, SETUP_TIMEOUT_MS_MAX));
    assert!(within(listener.idle_timeout, 1, TIMEOUT_MS_MAX));
    assert!(listener.connection_age_max.is_none_or(|age| within(age, 1, TIMEOUT_MS_MAX)));
    let socket = &listener.socket;
    assert!((1..=BACKLOG_MAX).contains(&socket.backlog));
    let buffer = SOCKET_BUFFER_BYTES_MIN..=SOCKET_BUFFER_BYTES_MAX;
    assert!(socket.send_buffer_bytes.is_none_or(|bytes| buffer.contains(&bytes)));
    assert!(socket.recv_buffer_bytes.is_none_or(|bytes| buffer.contains(&bytes)));
    assert!(socket.keepalive.is_none_or(|silence| silence.as_secs() > 0));
    assert!(listener.tls.config(0, Hooks::none()).is_ok(), "a certificate");
    assert!((1..=SESSION_AGE_MAX_S_MAX).contains(&listener.sessions.age_max_s));
    assert!(listener.sessions.tickets <= SESSION_TICKETS_MAX as usize);
}

fn check_http(http: &HttpOptions, clusters: usize) {
    assert!((HEAD_BYTES_MIN..=HEAD_BYTES_MAX).contains(&http.head.bytes_max));
    assert!((1..=HEAD_FIELDS_MAX).contains(&http.head.fields_max));
    assert!(within(http.head_timeout, 1, SETUP_TIMEOUT_MS_MAX));
    assert!(within(http.keep_alive_timeout, 1, TIMEOUT_MS_MAX));
    let routes = http.routes.routes();
    assert!((1..=ROUTES_MAX + 1).contains(&routes.len()));
    let names: HashSet<_> = routes.iter().map(|route| &route.name).collect();
    assert_eq!(names.len(), routes.len(), "each its own name");
    for route in routes {
        check_name(&route.name);
        assert!(route.cluster < clusters);
        assert!((HEAD_BYTES_MIN..=http.head.bytes_max).contains(&route.request_head_bytes_max));
        let first_byte = route.timeouts.first_byte;
        assert!(first_byte.is_none_or(|it| within(it, 1, TIMEOUT_MS_MAX)));
        assert!(within(route.timeouts.body, 1, TIMEOUT_MS_MAX));
        for changes in [&route.request_fields, &route.response_fields] {
            // Whole lines, each a name, a colon and a value, and nothing that ends a line early.
            let text = std::str::from_utf8(&changes.lines).expect("the configuration is text");
            let lines = text.split_terminator("\r\n");
            assert!(text.is_empty() || text.ends_with("\r\n"), "{text:?}");
            for line in lines {
                let (name, value) = line.split_once(": ").expect("a colon");
                assert!(!name.is_empty() && !name.contains(' '), "{line:?}");
                let is_plain = |byte: u8| !byte.is_ascii_control() || byte == b'\t';
                assert!(value.bytes().all(is_plain), "{line:?}");
            }
        }
        if let Some(rewrite) = &route.rewrite {
            let normal = |path: &str| {
                normal(path.as_bytes(), EncodedSlashes::Kept)
                    .is_ok_and(|normal| *normal == *path.as_bytes())
            };
            assert!(normal(&rewrite.from) && normal(&rewrite.to), "{rewrite:?}");
        }
    }
}

fn check_cluster(cluster: &Cluster) {
    check_name(&cluster.name);
    assert!((1..=ENDPOINTS_MAX).contains(&cluster.targets.len()));
    assert!(cluster.endpoints.len() <= cluster.targets.len());
    assert!(within(cluster.connect_timeout, 1, SETUP_TIMEOUT_MS_MAX));
    let interval = cluster.resolve_interval;
    assert!(within(interval, RESOLVE_INTERVAL_MS_MIN, RESOLVE_INTERVAL_MS_MAX));
    for target in &cluster.targets {
        match target {
            Target::Socket(address) => assert_ne!(address.port(), 0),
            Target::Unix(path) => {
                let bytes = path.as_os_str().as_encoded_bytes();
                assert!((1..=UNIX_PATH_BYTES_MAX).contains(&bytes.len()) && !bytes.contains(&0));
            }
            Target::Name { host, port } => {
                assert!(*port != 0 && !host.is_empty() && *host == host.to_ascii_lowercase());
            }
        }
    }
}
