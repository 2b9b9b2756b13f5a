//! What a handshake costs the gateway in time, full and resumed, with each cryptography backend.
//!
//! `cargo bench --bench handshake` runs it: TLS 1.3 with what the backend prefers, certificates of
//! both sides of P-256, in memory. Only the server's part is timed. ringfort's listeners give no
//! tickets yet; the server of the resumed row does.

#[path = "memory/mod.rs"]
mod memory;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use memory::{Ends, shake};
use ringfort::tls::provider::provider;
use ringfort::tls::session::{Agreed, Session};
use rustls::crypto::CryptoProvider;

/// A backend's name, and what makes it.
type Backend = (&'static str, fn() -> CryptoProvider);

const BACKENDS: [Backend; 1] = [("aws-lc-rs", || provider(&[], &[]))];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for (backend, provider) in BACKENDS {
        for (kind, is_resumed) in [("full", false), ("resumed", true)] {
            let ends = Ends::new(provider(), is_resumed);
            // Brings the client its ticket.
            handshake(&ends);
            criterion.bench_function(&format!("{kind} handshake, {backend}"), |bencher| {
                bencher.iter_custom(|count| {
                    let mut total = Duration::ZERO;
                    for _ in 0..count {
                        let (agreed, time) = handshake(&ends);
                        assert_eq!(agreed.resumed, is_resumed);
                        total += time;
                    }
                    total
                });
            });
        }
    }
    criterion.final_summary();
}

/// One handshake, and how long the server took for its part.
fn handshake(ends: &Ends) -> (Agreed, Duration) {
    let mut client = ends.client();
    let (mut agreed, mut time) = (None, Duration::ZERO);
    let started = Instant::now();
    let mut session = Session::new(Arc::clone(&ends.server)).expect("a session");
    time += started.elapsed();
    shake(&mut client, |flight, out| {
        let started = Instant::now();
        agreed = session.handshake(flight, out).expect("a good client");
        time += started.elapsed();
    });
    (agreed.expect("a complete handshake"), time)
}
