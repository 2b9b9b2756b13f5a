//! The latency of a cache line between the first and the last CPU: this VM's regimes differ by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The argument that makes this program print the latency, and nothing else.
pub const PRINT: &str = "--print-latency";

const ROUND_TRIPS: u64 = 100_000;

/// Nanoseconds for a cache line to go from one CPU to the other.
pub fn cache_line_ns() -> u64 {
    let turn = AtomicU64::new(0);
    let cpus = ringfort::sys::cpu::allowed();
    let (first, last) = (cpus[0], cpus[cpus.len() - 1]);
    if first == last {
        return 0;
    }
    let player = |cpu: usize, own: u64| {
        assert!(ringfort::sys::cpu::pin(cpu));
        for round in 0..ROUND_TRIPS {
            while turn.load(Ordering::Acquire) != 2 * round + own {
                std::hint::spin_loop();
            }
            turn.store(2 * round + own + 1, Ordering::Release);
        }
    };
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| player(first, 0));
        scope.spawn(|| player(last, 1));
    });
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX) / (2 * ROUND_TRIPS)
}
