//! Per-core counters: written by one thread with plain loads and stores, read by any.
//!
//! A leaf: every room may import it, it imports nothing. Invariant: each counter has one writer,
//! so no lock prefix is paid; a reader may see values of different moments.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`. For the owning thread only.
    pub fn add(&self, amount: u64) {
        self.0.store(self.get().wrapping_add(amount), Ordering::Relaxed);
    }

    /// Subtracts `amount`, of a gauge. For the owning thread only.
    pub fn sub(&self, amount: u64) {
        self.0.store(self.get().wrapping_sub(amount), Ordering::Relaxed);
    }

    /// Replaces the value. For the owning thread only.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! worker_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one worker, on cache lines of their own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct WorkerCounters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        /// The values of [`WorkerCounters`] at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct WorkerSnapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl WorkerCounters {
            /// Reads all counters.
            pub fn snapshot(&self) -> WorkerSnapshot {
                WorkerSnapshot { $($name: self.$name.get(),)* }
            }
        }

        impl std::ops::Add for WorkerSnapshot {
            type Output = Self;

            /// The sum of two workers.
            fn add(self, other: Self) -> Self {
                Self { $($name: self.$name.wrapping_add(other.$name),)* }
            }
        }
    };
}

worker_counters! {
    /// Connections accepted.
    accepted,
    /// Connections closed at once because a limit was reached.
    refused_limit,
    /// Handshakes that were completed.
    handshakes_done,
    /// Handshakes that were not.
    handshakes_failed,
    /// Connections whose client the rules did not allow.
    denied,
    /// Connections that ended, for whatever reason.
    connections_closed,
    /// Upstream connections established.
    upstream_connects,
    /// Attempts at an upstream connection that failed.
    upstream_connect_failures,
    /// Plaintext bytes relayed from clients to upstreams.
    bytes_up,
    /// Plaintext bytes relayed from upstreams to clients.
    bytes_down,
    /// Bytes handed to the kernel by all sends.
    bytes_sent,
    /// Calls of io_uring_enter(2).
    enters,
    /// Turns of the worker's loop.
    turns,
    /// Completions seen.
    completions,
    /// Receives that ended for want of a buffer (`ENOBUFS`).
    recv_starved,
    /// Times that accepting paused for want of descriptors or memory.
    accept_paused,
    /// Completions lost; must stay 0.
    cq_overflows,
    /// Log records lost because the log could not keep up.
    log_lost,
    /// Gauge: tasks that have not ended.
    tasks_live,
    /// Gauge: sockets that are not closed yet.
    sockets_live,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_every_counter_under_its_name() {
        let counters = WorkerCounters::default();
        counters.accepted.add(3);
        counters.sockets_live.add(2);
        counters.sockets_live.sub(1);
        let twice = counters.snapshot() + counters.snapshot();
        let json = serde_json::to_value(twice).expect("plain numbers");
        assert_eq!((&json["accepted"], &json["sockets_live"]), (&6.into(), &2.into()));
    }
}
