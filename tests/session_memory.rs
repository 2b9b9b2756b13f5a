//! Heap of what the gateway keeps of clients that are gone, counted: a session in the store, and
//! the verdict on a chain.

#[path = "../benches/memory/mod.rs"]
mod memory;

use std::alloc::System;

use memory::{Ends, Sessions, VERDICTS_MAX, shake};
use ringfort::tls::provider::{Backend, provider};
use ringfort::tls::session::Session;
use ringfort::trust::verdict::VerdictCache;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// More than the shards of the store, so that each has its table.
const SESSIONS: usize = 1_000;
const SESSION_BYTES_MAX: usize = 3 * 1024;
/// What docs/configuration.md says of a verdict.
const VERDICT_BYTES_MAX: usize = 1_300;

#[test]
fn a_session_takes_no_more_than_it_is_counted_as_and_a_verdict_what_the_manual_says() {
    let provider = provider(Backend::ALL[0], &[], &[]).expect("all that there is");
    let ends = Ends::new(provider, Sessions::Cache);
    (0..SESSIONS).for_each(|_| visit(&ends));
    let (count, counted) = ends.store.len();
    assert_eq!(count, SESSIONS);
    let before = live_bytes();
    (0..SESSIONS).for_each(|_| visit(&ends));
    let each = (live_bytes() - before) / SESSIONS;
    println!("a session: {each} bytes, counted as {}", counted / SESSIONS);
    assert!(each > 500, "{each} bytes cannot be all");
    assert!(each <= counted / SESSIONS, "{each} bytes are counted as {}", counted / SESSIONS);
    assert!(counted / SESSIONS <= SESSION_BYTES_MAX, "{} bytes", counted / SESSIONS);
    let before = live_bytes();
    // One that is empty takes its place.
    *ends.desk.verdicts() = VerdictCache::new(VERDICTS_MAX);
    let verdict = before - live_bytes();
    println!("a verdict: {verdict} bytes");
    assert!((300..=VERDICT_BYTES_MAX).contains(&verdict), "{verdict} bytes");
}

/// A full handshake of a client that does not come back.
fn visit(ends: &Ends) {
    let mut client = ends.forgetful_client();
    let (visit, config) = ends.serve(Some("localhost"), &[]);
    let mut session = Session::new(config).expect("a session");
    shake(&mut client, |flight, out| {
        let agreed = session.handshake(flight, out).expect("a good client");
        assert!(agreed.is_none_or(|agreed| !agreed.resumed));
        if let Some(resumed) = session.resumed() {
            visit.settle(resumed);
        }
    });
}

fn live_bytes() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}
