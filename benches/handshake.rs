//! What a handshake costs the gateway in time, full and resumed, with each crypto backend that is
//! compiled in; and what is made for each connection before it.
//!
//! `cargo bench --bench handshake` runs it: TLS 1.3 with what the backend prefers, certificates of
//! both sides of P-256, in memory. Only the server's part is timed.

#[path = "memory/mod.rs"]
mod memory;

use std::time::{Duration, Instant};

use criterion::Criterion;
use memory::{Ends, Sessions, VERDICTS_MAX, shake};
use ringfort::tls::provider::{Backend, provider};
use ringfort::tls::session::{Agreed, Session};
use ringfort::trust::verdict::VerdictCache;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for &backend in Backend::ALL {
        let name = backend.name();
        for kind in KINDS {
            let provider = provider(backend, &[], &[]).expect("all that there is");
            let ends = Ends::new(provider, kind.sessions);
            // Brings the client its ticket, and the server its verdict.
            handshake(&ends);
            criterion.bench_function(&format!("{}, {name}", kind.name), |bencher| {
                bencher.iter_custom(|count| {
                    let mut total = Duration::ZERO;
                    for _ in 0..count {
                        if kind.is_new {
                            *ends.desk.verdicts() = VerdictCache::new(VERDICTS_MAX);
                        }
                        let (agreed, time) = handshake(&ends);
                        assert_eq!(agreed.resumed, kind.sessions != Sessions::Off);
                        total += time;
                    }
                    total
                });
            });
        }
    }
    let provider = provider(Backend::ALL[0], &[], &[]).expect("all that there is");
    let ends = Ends::new(provider, Sessions::Cache);
    criterion.bench_function("visit and ServerConfig", |bencher| {
        bencher.iter(|| ends.serve(Some("localhost"), &[]));
    });
    criterion.final_summary();
}

struct Kind {
    name: &'static str,
    sessions: Sessions,
    /// Whether the chain was never seen before.
    is_new: bool,
}

const KINDS: [Kind; 4] = [
    Kind { name: "full, chain new", sessions: Sessions::Off, is_new: true },
    Kind { name: "full, chain seen", sessions: Sessions::Off, is_new: false },
    Kind { name: "resumed by cache", sessions: Sessions::Cache, is_new: false },
    Kind { name: "resumed by ticket", sessions: Sessions::Tickets, is_new: false },
];

/// One handshake, and how long the server took for its part.
fn handshake(ends: &Ends) -> (Agreed, Duration) {
    let mut client = ends.client();
    let (mut agreed, mut time) = (None, Duration::ZERO);
    let started = Instant::now();
    let (visit, config) = ends.serve(Some("localhost"), &[]);
    let mut session = Session::new(config).expect("a session");
    time += started.elapsed();
    shake(&mut client, |flight, out| {
        let started = Instant::now();
        agreed = session.handshake(flight, out).expect("a good client");
        if let Some(resumed) = session.resumed() {
            visit.settle(resumed);
        }
        if let Some(agreed) = &agreed {
            visit.finish(agreed.resumed, agreed.peer_certificate.as_ref());
        }
        time += started.elapsed();
    });
    (agreed.expect("a complete handshake"), time)
}
