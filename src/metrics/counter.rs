//! Counters of one worker: written by its thread alone, read by any.
//!
//! It must not know who counts or who reads. The invariant: each cell has one writing thread, so a
//! count is a plain load and store; two writers would lose counts, though nothing worse.

use std::ops::{Add, AddAssign};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A number that only grows, from 0; it wraps after 2^64.
///
/// One thread writes. A reader sees some value that was current, never a torn one; two cells read
/// one after the other may be from different moments.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one. For the writing thread only.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `count`. For the writing thread only.
    pub fn add(&self, count: u64) {
        store(&self.0, load(&self.0).wrapping_add(count));
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        load(&self.0)
    }
}

/// A number of things that are there now. One thread writes, as with [`Counter`].
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more is there. For the writing thread only.
    pub fn increment(&self) {
        store(&self.0, load(&self.0).saturating_add(1));
    }

    /// One is gone. For the writing thread only. It stays at 0 where there was none.
    pub fn decrement(&self) {
        debug_assert!(load(&self.0) > 0, "more went than came");
        store(&self.0, load(&self.0).saturating_sub(1));
    }

    /// So many are there. For the writing thread only.
    pub fn set(&self, value: u64) {
        store(&self.0, value);
    }

    /// How many are there.
    pub fn get(&self) -> u64 {
        load(&self.0)
    }
}

// With one writer no lock prefix is needed, and nothing is published through these cells: relaxed.
fn load(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}

fn store(cell: &AtomicU64, value: u64) {
    cell.store(value, Ordering::Relaxed);
}

/// Declares the cells and their snapshot once, so that no field can be in one and not the other.
macro_rules! worker_counters {
    ($($(#[$doc:meta])* $name:ident: $kind:ident,)*) => {
        /// Everything that one worker counts.
        ///
        /// Two cache lines of alignment, because adjacent lines are fetched in pairs: what another
        /// worker writes never takes this one's line away.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct WorkerCounters {
            $($(#[$doc])* pub $name: $kind,)*
        }

        /// The values of one worker's cells, or the sum over workers, at about one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct CounterSnapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl WorkerCounters {
            /// Reads every cell. The values may be some nanoseconds apart from each other.
            pub fn snapshot(&self) -> CounterSnapshot {
                CounterSnapshot { $($name: self.$name.get(),)* }
            }
        }

        impl AddAssign for CounterSnapshot {
            fn add_assign(&mut self, other: Self) {
                $(self.$name = self.$name.wrapping_add(other.$name);)*
            }
        }
    };
}

worker_counters! {
    /// Connections accepted, those refused by a limit included.
    accepted: Counter,
    /// Connections closed right after accept: their source had all that it may have.
    refused_limit: Counter,
    /// TLS handshakes with clients that were completed, resumed ones included.
    handshakes_done: Counter,
    /// TLS handshakes with clients that failed, by timeout or a close in the middle too.
    handshakes_failed: Counter,
    /// Of the handshakes that were completed, those that resumed a session.
    resumptions: Counter,
    /// Sessions that clients offered and that were declined: a full handshake followed.
    resumptions_declined: Counter,
    /// Chains whose verdict was known.
    verdict_hits: Counter,
    /// Chains that were verified.
    verdict_misses: Counter,
    /// TLS handshakes that were refused because too many were in progress; they failed, too.
    handshakes_refused: Counter,
    /// Connections whose client the rules did not allow.
    denied: Counter,
    /// Accepted connections that have ended, for whatever reason.
    connections_closed: Counter,
    /// Upstream connections established.
    upstream_connects: Counter,
    /// Attempts at an upstream connection that failed or took too long.
    upstream_connect_failures: Counter,
    /// Requests for which no upstream connection was made, since there are as many as may be.
    upstream_connections_refused: Counter,
    /// Requests that were sent on an upstream connection that had carried others before.
    upstream_reuses: Counter,
    /// Requests of HTTP, of which a head was complete or an answer was made.
    requests: Counter,
    /// Of these, those that ringfort answered by itself.
    requests_answered: Counter,
    /// Responses to clients whose status was 2xx.
    responses_2xx: Counter,
    /// Responses to clients whose status was 3xx.
    responses_3xx: Counter,
    /// Responses to clients whose status was 4xx.
    responses_4xx: Counter,
    /// Responses to clients whose status was 5xx.
    responses_5xx: Counter,
    /// Requests that ringfort answered by itself with 400: malformed.
    answered_400: Counter,
    /// Requests that ringfort answered by itself with 403: the route's rules.
    answered_403: Counter,
    /// Requests that ringfort answered by itself with 404: no route.
    answered_404: Counter,
    /// Requests that ringfort answered by itself with 405: the method is none for a gateway.
    answered_405: Counter,
    /// Requests that ringfort answered by itself with 408: the head or the body came too slowly.
    answered_408: Counter,
    /// Requests that ringfort answered by itself with 413: the body is too large.
    answered_413: Counter,
    /// Requests that ringfort answered by itself with 414: the target is too long.
    answered_414: Counter,
    /// Requests that ringfort answered by itself with 417: an expectation that nobody can meet.
    answered_417: Counter,
    /// Requests that ringfort answered by itself with 421: another trust scope.
    answered_421: Counter,
    /// Requests that ringfort answered by itself with 429: too many requests.
    answered_429: Counter,
    /// Requests that ringfort answered by itself with 431: the head is too large.
    answered_431: Counter,
    /// Requests that ringfort answered by itself with 501: what is not implemented.
    answered_501: Counter,
    /// Requests that ringfort answered by itself with 502: the upstream failed.
    answered_502: Counter,
    /// Requests that ringfort answered by itself with 503: no endpoint or connection.
    answered_503: Counter,
    /// Requests that ringfort answered by itself with 504: the upstream was too slow.
    answered_504: Counter,
    /// Requests that ringfort answered by itself with 505: another version.
    answered_505: Counter,
    /// Streams of HTTP/2 that were answered (431) or reset before they were requests: more fields
    /// than may be, malformed, or too many at a time.
    http2_requests_refused: Counter,
    /// Requests that were sent once more, because the first attempt got no answer.
    requests_retried: Counter,
    /// Responses whose end was never sent, for one of the two sides failed.
    responses_aborted: Counter,
    /// Lines about who the client is that upstreams are not told, for being too long.
    identity_left_out: Counter,
    /// Plaintext bytes relayed from upstreams to clients.
    bytes_down: Counter,
    /// Plaintext bytes relayed from clients to upstreams.
    bytes_up: Counter,
    /// Bytes that the kernel took from all sends.
    bytes_sent: Counter,
    /// Calls of `io_uring_enter(2)`.
    enters: Counter,
    /// Turns of the worker's loop.
    turns: Counter,
    /// Completions taken from the ring.
    completions: Counter,
    /// Receives that ended with ENOBUFS because the buffer ring was empty.
    recv_starved: Counter,
    /// Times that accepting paused for want of descriptors or memory.
    accept_paused: Counter,
    /// Completions that the kernel dropped because it had no room to keep them; must stay 0.
    cq_overflows: Counter,
    /// Log records dropped because the worker's log buffer was full.
    log_lost: Counter,
    /// Handshakes in progress now, from a complete ClientHello on.
    handshakes_live: Gauge,
    /// Handshakes that wait now until they may begin.
    handshakes_waiting: Gauge,
    /// Tasks alive now.
    tasks_live: Gauge,
    /// Sockets of clients and upstreams that are not closed yet.
    sockets_live: Gauge,
}

impl WorkerCounters {
    /// What counts responses of this status, be they an upstream's or not.
    pub fn responses(&self, status: u16) -> Option<&Counter> {
        match status {
            200..300 => Some(&self.responses_2xx),
            300..400 => Some(&self.responses_3xx),
            400..500 => Some(&self.responses_4xx),
            500..600 => Some(&self.responses_5xx),
            _ => None,
        }
    }

    /// What counts answers of ringfort's own of this status.
    pub fn answered(&self, status: u16) -> Option<&Counter> {
        Some(match status {
            400 => &self.answered_400,
            403 => &self.answered_403,
            404 => &self.answered_404,
            405 => &self.answered_405,
            408 => &self.answered_408,
            413 => &self.answered_413,
            414 => &self.answered_414,
            417 => &self.answered_417,
            421 => &self.answered_421,
            429 => &self.answered_429,
            431 => &self.answered_431,
            501 => &self.answered_501,
            502 => &self.answered_502,
            503 => &self.answered_503,
            504 => &self.answered_504,
            505 => &self.answered_505,
            _ => return None,
        })
    }

    /// Cells at 0: one handle for the worker that writes, clones for those who read.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }
}

impl Add for CounterSnapshot {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl std::iter::Sum for CounterSnapshot {
    fn sum<I: Iterator<Item = Self>>(snapshots: I) -> Self {
        snapshots.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_reader_on_another_thread_sees_counts_grow_to_the_total() {
        let counters = WorkerCounters::new();
        let writer = Arc::clone(&counters);
        let worker = thread::spawn(move || {
            for _ in 0..200_000 {
                writer.bytes_up.add(3);
            }
        });
        let mut last = 0;
        while !worker.is_finished() {
            let seen = counters.bytes_up.get();
            assert!(seen >= last && seen.is_multiple_of(3));
            last = seen;
        }
        worker.join().expect("the writer does not panic");
        assert_eq!(counters.snapshot().bytes_up, 600_000);
    }

    #[test]
    fn a_gauge_goes_up_and_down() {
        let gauge = Gauge::default();
        gauge.increment();
        gauge.increment();
        gauge.decrement();
        assert_eq!(gauge.get(), 1);
        gauge.set(40);
        assert_eq!(gauge.get(), 40);
    }

    #[test]
    fn each_status_has_its_counter() {
        let counters = WorkerCounters::default();
        for status in 0..1000 {
            counters.responses(status).into_iter().for_each(Counter::increment);
            counters.answered(status).into_iter().for_each(Counter::increment);
        }
        let json = serde_json::to_value(counters.snapshot()).expect("plain numbers");
        let named = json.as_object().expect("an object").iter();
        let counted: Vec<_> = named.filter(|(_, value)| **value != 0).collect();
        assert_eq!(counted.len(), 4 + 16);
        for (name, count) in counted {
            let expected = if name.starts_with("responses_") { 100 } else { 1 };
            assert_eq!(*count, expected, "{name}");
        }
        counters.answered(404).expect("its counter").increment();
        assert_eq!(counters.snapshot().answered_404, 2);
    }

    #[test]
    fn a_snapshot_has_every_cell_under_its_name_and_survives_json() {
        let counters = WorkerCounters::default();
        counters.accepted.add(7);
        counters.log_lost.increment();
        counters.sockets_live.set(9);
        let snapshot = counters.snapshot();
        let json = serde_json::to_value(snapshot).expect("plain numbers");
        assert_eq!(json["accepted"], 7);
        assert_eq!(json["log_lost"], 1);
        assert_eq!(json["sockets_live"], 9);
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(55));
        let back: CounterSnapshot = serde_json::from_value(json).expect("the same fields");
        assert_eq!(back, snapshot);
    }

    #[test]
    fn snapshots_of_workers_add_up() {
        let one = CounterSnapshot { accepted: 1, turns: 2, ..Default::default() };
        let two = CounterSnapshot { accepted: 10, tasks_live: 5, ..Default::default() };
        let sum: CounterSnapshot = [one, two].into_iter().sum();
        let expected =
            CounterSnapshot { accepted: 11, turns: 2, tasks_live: 5, ..Default::default() };
        assert_eq!(sum, expected);
    }

    #[test]
    fn cells_of_two_workers_never_share_a_line() {
        assert_eq!(align_of::<WorkerCounters>(), 128);
    }
}
