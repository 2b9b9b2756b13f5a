//! The admin listener: the public keys of signed identities, and whether the gateway takes
//! connections.
//!
//! On a thread of its own, with sockets of its own, which no worker knows: whatever happens here,
//! the data plane goes on. It tells nothing that is secret, and takes no orders. Invariant: whoever
//! connects has a bounded time for one request, of few others at a time, and who asks nothing keeps
//! nobody out.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

use crate::attest::KeyRing;
use crate::config::error::{ConfigError, Place};
use crate::config::snapshot::Snapshot;
use crate::limits::{
    ACCEPT_RETRY_MS, ADMIN_CONNECTIONS_MAX, ADMIN_FIELDS_MAX, ADMIN_HEAD_BYTES_MAX,
    ADMIN_HEAD_TIMEOUT_MS, ADMIN_KEYS_AGE_S, ADMIN_TIMEOUT_MS,
};

/// Where the public keys are (RFC 8615).
const KEYS: &str = "/.well-known/jwks.json";

/// Where a load balancer asks whether to send connections here.
const HEALTH: &str = "/healthz";

/// See the module's description. Dropping it ends the thread and closes its sockets.
#[derive(Debug)]
pub struct Admin {
    state: Arc<State>,
    _running: oneshot::Sender<Infallible>,
}

#[derive(Debug, Default)]
struct State {
    keys: Mutex<KeyRing>,
    draining: AtomicBool,
}

/// Listens on the address of `snapshot`, where it has one.
///
/// # Errors
/// The address is taken, is not this machine's, or needs a privilege.
pub fn bind(snapshot: &Snapshot) -> Result<Option<TcpListener>, ConfigError> {
    let Some(address) = snapshot.admin else {
        return Ok(None);
    };
    TcpListener::bind(address).map(Some).map_err(|error| {
        let (expected, fix) = super::load::unbindable(&error);
        ConfigError {
            place: Place::File("admin".to_string()),
            found: format!("{address} cannot be bound: {error}"),
            expected: expected.to_string(),
            fix: fix.to_string(),
        }
    })
}

impl Admin {
    /// Starts the thread, with the keys of `snapshot`.
    ///
    /// # Errors
    /// What starting a thread, or watching the socket, reports.
    pub fn start(listener: TcpListener, snapshot: &Snapshot) -> io::Result<Self> {
        let state = Arc::new(State::default());
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (running, ended) = oneshot::channel::<Infallible>();
        let serving = Arc::clone(&state);
        thread::Builder::new().name("admin".into()).spawn(move || {
            runtime.spawn(serve(listener, serving));
            // Returns when the sender is gone; what runs then goes with the runtime.
            let _ = runtime.block_on(ended);
        })?;
        let admin = Self { state, _running: running };
        admin.publish(snapshot);
        Ok(admin)
    }

    /// Publishes the keys of a configuration. To be called before it is in force.
    pub fn publish(&self, snapshot: &Snapshot) {
        self.state.with_keys(|keys| keys.publish(snapshot.signer.key(), now_unix_s()));
    }

    /// The gateway takes no more connections.
    pub fn drain(&self) {
        self.state.draining.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn with_keys<T>(&self, look: impl FnOnce(&mut KeyRing) -> T) -> T {
        match self.keys.lock() {
            Ok(mut keys) => look(&mut keys),
            Err(poisoned) => look(&mut poisoned.into_inner()),
        }
    }
}

fn now_unix_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// A connection that is open.
struct Open {
    task: AbortHandle,
    /// Whether its request is there, and only the answer is to be sent.
    has_asked: Arc<AtomicBool>,
}

async fn serve(listener: tokio::net::TcpListener, state: Arc<State>) {
    // Those that are open, the oldest first.
    let (mut tasks, mut all) = (JoinSet::new(), Vec::new());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                make_room(&mut tasks, &mut all).await;
                let (state, has_asked) = (Arc::clone(&state), Arc::<AtomicBool>::default());
                let asks = Arc::clone(&has_asked);
                let task = tasks.spawn(async move {
                    let whole = Duration::from_millis(ADMIN_TIMEOUT_MS);
                    // Whoever is too slow, or breaks the protocol, is of no interest to anybody.
                    let _ = tokio::time::timeout(whole, connection(stream, state, &asks)).await;
                });
                all.push(Open { task, has_asked });
            }
            // No descriptor, or a connection that is gone already: others may come.
            Err(_) => tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await,
        }
    }
}

/// Waits until one more may be open. Who has been silent for longest goes: the one that comes may
/// be a load balancer, which must not wait for those that say nothing.
async fn make_room(tasks: &mut JoinSet<()>, all: &mut Vec<Open>) {
    while tasks.try_join_next().is_some() {}
    while tasks.len() >= ADMIN_CONNECTIONS_MAX {
        let is_silent = |it: &Open| !it.task.is_finished() && !it.has_asked.load(Ordering::Relaxed);
        if let Some(silent) = all.iter().find(|it| is_silent(it)) {
            silent.task.abort();
        }
        // Its socket is closed when the task is gone.
        tasks.join_next().await;
    }
    all.retain(|it| !it.task.is_finished());
}

async fn connection(
    stream: TcpStream,
    state: Arc<State>,
    has_asked: &AtomicBool,
) -> Result<(), hyper::Error> {
    let answered = service_fn(|request: Request<hyper::body::Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let response = respond(&state, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(ADMIN_HEAD_BYTES_MAX)
        .max_headers(ADMIN_FIELDS_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(ADMIN_HEAD_TIMEOUT_MS))
        .serve_connection(TokioIo::new(stream), answered)
        .await
}

fn respond(state: &State, method: &Method, path: &str) -> Response<String> {
    if !matches!(path, KEYS | HEALTH) {
        return response(StatusCode::NOT_FOUND, "text/plain", "not found\n".into());
    }
    // RFC 9110, 15.5.6: "The origin server MUST generate an Allow header field in a 405 response
    // containing a list of the target resource's currently supported methods."
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused =
            response(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET and HEAD\n".into());
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    if path == KEYS {
        let keys = state.with_keys(|keys| keys.to_json(now_unix_s()));
        // RFC 7517, 8.5.2.
        let mut found = response(StatusCode::OK, "application/jwk-set+json", keys);
        if let Ok(value) = HeaderValue::try_from(format!("public, max-age={ADMIN_KEYS_AGE_S}")) {
            found.headers_mut().insert(CACHE_CONTROL, value);
        }
        return found;
    }
    match state.draining.load(Ordering::Relaxed) {
        false => response(StatusCode::OK, "text/plain", "ok\n".into()),
        true => response(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "draining\n".into()),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::SigningKey;

    fn body(response: &Response<String>) -> (u16, &str) {
        (response.status().as_u16(), response.body())
    }

    #[test]
    fn each_path_and_method_has_its_answer() {
        let state = State::default();
        let key = Arc::new(SigningKey::generate());
        state.with_keys(|keys| keys.publish(&key, now_unix_s()));
        let found = respond(&state, &Method::GET, KEYS);
        assert!(found.body().contains(key.id()), "{found:?}");
        assert_eq!(found.headers()[CONTENT_TYPE], "application/jwk-set+json");
        assert_eq!(found.headers()[CACHE_CONTROL], "public, max-age=300");
        assert_eq!(body(&respond(&state, &Method::GET, HEALTH)), (200, "ok\n"));
        let refused = respond(&state, &Method::POST, KEYS);
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()[ALLOW]),
            (405, &"GET, HEAD".parse().expect("a value"))
        );
        for path in ["/", "/healthz/", "/.well-known/jwks.json/x", "*"] {
            assert_eq!(respond(&state, &Method::GET, path).status(), 404, "{path}");
        }
        state.draining.store(true, Ordering::Relaxed);
        assert_eq!(body(&respond(&state, &Method::GET, HEALTH)), (503, "draining\n"));
        assert_eq!(respond(&state, &Method::GET, KEYS).status(), 200, "requests are still served");
    }
}
