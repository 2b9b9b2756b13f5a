//! Upstreams that speak HTTP/1.1 and remember what they were asked.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http::{Message, Wire};
use super::origin::{Origin, reset};
use super::wait_until;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The number of its connection, from 0.
    pub(crate) connection: u64,
    /// Its number on the connection, from 0.
    pub(crate) nth: u64,
    pub(crate) request: Message,
}

/// What becomes of a connection after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It stays for the next request.
    Keep,
    /// It ends with FIN.
    Close,
    /// It ends with RST.
    Reset,
}

/// What a site says to a request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    then: Then,
    wait: Duration,
}

impl Reply {
    /// These bytes; the connection stays.
    pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self { bytes: bytes.as_ref().to_vec(), then: Then::Keep, wait: Duration::ZERO }
    }

    /// A response with a body of known length.
    pub(crate) fn text(status: &str, body: &str) -> Self {
        let length = body.len();
        Self::raw(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"))
    }

    /// 200 with this body.
    pub(crate) fn ok(body: &str) -> Self {
        Self::text("200 OK", body)
    }

    /// What becomes of the connection then.
    pub(crate) fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }

    /// Waits before it replies.
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

/// An origin of HTTP/1.1 in this process.
pub(crate) struct Site {
    origin: Origin,
    seen: Arc<Mutex<Vec<Seen>>>,
    ended: Arc<AtomicU64>,
}

impl Site {
    /// One that replies as `reply` says.
    pub(crate) fn new(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (connections, ended) = (AtomicU64::new(0), Arc::<AtomicU64>::default());
        let (remembered, count) = (Arc::clone(&seen), Arc::clone(&ended));
        let origin = Origin::new(move |stream, tally| {
            let connection = connections.fetch_add(1, Ordering::SeqCst);
            let mut wire = Wire::new(tally.counting(stream));
            let served = serve(&mut wire, connection, &remembered, &reply);
            count.fetch_add(1, Ordering::SeqCst);
            match served? {
                Then::Reset => reset(wire.stream.into_inner()),
                Then::Keep | Then::Close => {}
            }
            Ok(())
        });
        Self { origin, seen, ended }
    }

    /// One that says its name to every request.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::new(move |_| Reply::ok(name))
    }

    /// One that says `ok`.
    pub(crate) fn ok() -> Self {
        Self::named("ok")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.origin.accepted()
    }

    /// Connections that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Bytes that came, over all connections.
    pub(crate) fn received(&self) -> u64 {
        self.origin.received()
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panics while it holds this").clone()
    }

    /// The only request so far.
    #[track_caller]
    pub(crate) fn only(&self) -> Message {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.remove(0).request
    }

    /// The last request so far.
    #[track_caller]
    pub(crate) fn last(&self) -> Message {
        self.seen().pop().expect("a request").request
    }

    /// Waits until so many connections have ended.
    #[track_caller]
    pub(crate) fn wait_for_ended(&self, count: u64) {
        wait_until("connections to the upstream end", || self.ended() >= count);
    }
}

fn serve(
    wire: &mut Wire<super::origin::Counting<'_>>,
    connection: u64,
    remembered: &Mutex<Vec<Seen>>,
    reply: &dyn Fn(&Seen) -> Reply,
) -> io::Result<Then> {
    for nth in 0.. {
        let Some(request) = wire.request()? else { break };
        let seen = Seen { connection, nth, request };
        remembered.lock().expect("no test panics while it holds this").push(seen.clone());
        let reply = reply(&seen);
        std::thread::sleep(reply.wait);
        wire.try_send(&reply.bytes)?;
        if reply.then != Then::Keep {
            return Ok(reply.then);
        }
    }
    Ok(Then::Close)
}

/// An origin that answers heads by these bytes while bodies are still coming, in a way of its own:
/// `serve` has the connection.
pub(crate) fn scripted(
    serve: impl Fn(&mut Wire<TcpStream>) -> io::Result<()> + Send + Sync + 'static,
) -> Origin {
    Origin::new(move |stream, _| serve(&mut Wire::new(stream)))
}
