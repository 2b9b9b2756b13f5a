//! How long the parts of a handshake took, of one listener on one worker.
//!
//! Written by the worker's thread alone, read by any. It must not know what happens in a phase.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::histogram::{Histogram, HistogramSnapshot, Summary};

/// Declares the phases once: their names in the log, and where each is kept.
macro_rules! phases {
    ($($(#[$doc:meta])* $phase:ident $name:ident,)*) => {
        /// A part of a handshake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Phase {
            $($(#[$doc])* $phase,)*
        }

        impl Phase {
            const COUNT: usize = [$(Self::$phase),*].len();
        }

        /// The figures of every phase.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct PhaseSummaries {
            $($(#[$doc])* pub $name: Summary,)*
        }

        impl PhasesSnapshot {
            /// The figures of every phase.
            pub fn summaries(&self) -> PhaseSummaries {
                PhaseSummaries { $($name: self.0[Phase::$phase as usize].summary(),)* }
            }
        }
    };
}

phases! {
    /// From accept to a complete ClientHello: what the client and the network take.
    HelloWait hello_wait,
    /// From there until the handshake may begin: see `[limits]`.
    Queue queue,
    /// Making the server's flight: key exchange and signature, above all.
    ServerFlight server_flight,
    /// From the server's flight to the client's: a round trip, and the client's signature.
    ClientFlightWait client_flight_wait,
    /// Checking the client's flight: its chain, its proof of the key, its Finished.
    ChainVerification chain_verification,
    /// Who it is and whether it may: reading the certificate's names, and the rules.
    Policy policy,
}

/// The histograms of one listener on one worker.
#[derive(Debug, Default)]
pub struct Phases([Histogram; Phase::COUNT]);

/// Their values at about one moment, or the sum over workers.
#[derive(Clone, Debug, Default)]
pub struct PhasesSnapshot([HistogramSnapshot; Phase::COUNT]);

impl Phases {
    /// Nothing was recorded.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Records how long a phase took. For the worker's thread only.
    pub fn record(&self, phase: Phase, time: Duration) {
        self.0[phase as usize].record(time);
    }

    /// Adds what was recorded so far to `sum`.
    pub fn add_to(&self, sum: &mut PhasesSnapshot) {
        for (sum, histogram) in sum.0.iter_mut().zip(&self.0) {
            *sum += &histogram.snapshot();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_is_recorded_under_its_name_and_workers_add_up() {
        let workers = [Phases::default(), Phases::default()];
        workers[0].record(Phase::HelloWait, Duration::from_micros(3));
        workers[0].record(Phase::Policy, Duration::from_micros(5));
        workers[1].record(Phase::Policy, Duration::from_micros(7));
        let mut sum = PhasesSnapshot::default();
        workers.iter().for_each(|worker| worker.add_to(&mut sum));
        let json = serde_json::to_value(sum.summaries()).expect("plain numbers");
        assert_eq!(json["hello_wait"]["count"], 1);
        assert_eq!(json["hello_wait"]["max_us"], 3);
        assert_eq!(json["policy"]["count"], 2);
        assert_eq!(json["policy"]["sum_us"], 12);
        assert_eq!(json["server_flight"]["count"], 0);
        assert_eq!(json.as_object().map(serde_json::Map::len), Some(Phase::COUNT));
    }
}
