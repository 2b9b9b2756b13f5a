//! Swarm faults: a seed first chooses which faults exist in a run and how strong, then when.
//!
//! Most runs have a few kinds of fault and are healthy otherwise: a run in which everything fails
//! gets nowhere ("Swarm Testing", Groce and others, ISSTA 2012).

use super::random::Random;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in reports, and its mark of coverage.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }
        }
    };
}

faults! {
    /// A receive takes less than has arrived.
    RecvPartial = "recv_partial",
    /// A receive fails, and with it the connection.
    RecvFailed = "recv_failed",
    /// A multishot receive ends with data, as when the completion queue is full.
    RecvEnded = "recv_ended",
    /// A receive finds no buffer although some are provided.
    RecvNoBuffers = "recv_no_buffers",
    /// A send takes less than all, in spite of MSG_WAITALL.
    SendPartial = "send_partial",
    /// A send fails, and with it the connection.
    SendFailed = "send_failed",
    /// A send completes only after a very long time, or when it is cancelled.
    SendStalled = "send_stalled",
    /// The notification of a zero-copy send comes late.
    NotificationLate = "notification_late",
    /// connect(2) is refused.
    ConnectRefused = "connect_refused",
    /// A connection is reset as soon as it is established.
    ConnectReset = "connect_reset",
    /// connect(2) gets no answer.
    ConnectSilent = "connect_silent",
    /// connect(2) finds no route.
    ConnectUnreachable = "connect_unreachable",
    /// accept(2) finds no free descriptor.
    AcceptNoFiles = "accept_no_files",
    /// accept(2) reports that the connection is gone.
    AcceptAborted = "accept_aborted",
    /// A multishot accept ends with a connection.
    AcceptEnded = "accept_ended",
    /// socket(2) finds no free descriptor.
    SocketNoFiles = "socket_no_files",
    /// A cancellation takes effect late.
    CancelLate = "cancel_late",
    /// A cancellation is refused with EALREADY, and the operation completes later all the same.
    CancelAlready = "cancel_already",
    /// A cancellation's completion comes before that of its target.
    CancelFirst = "cancel_first",
    /// A completion is delivered late, and after others that came later.
    CompletionLate = "completion_late",
    /// The completion queue is full: the rest comes with the next turn, multishots end.
    CompletionOverflow = "completion_overflow",
    /// close(2) fails; the descriptor is gone all the same.
    CloseFailed = "close_failed",
    /// The wait of the ring ends without a reason (EINTR).
    SpuriousWake = "spurious_wake",
    /// Something takes long between two looks at the clock.
    TaskSlow = "task_slow",
    /// The kernel no longer knows the address of a peer.
    PeerUnknown = "peer_unknown",
    /// Bytes are long on their way.
    LinkSlow = "link_slow",
    /// A connection is reset from outside.
    LinkReset = "link_reset",
    /// The monotonic clock jumps forward, as after a suspended machine.
    ClockJump = "clock_jump",
    /// Wall-clock time jumps, either way.
    WallClockJump = "wall_clock_jump",
    /// A client sends its bytes one by one, or in arbitrary pieces.
    RecordCut = "record_cut",
    /// A client holds records back and sends several in one piece.
    RecordCoalesced = "record_coalesced",
    /// A byte from a client is changed on its way.
    RecordCorruptedUp = "record_corrupted_up",
    /// A byte to a client is changed on its way.
    RecordCorruptedDown = "record_corrupted_down",
    /// A client changes its keys.
    KeyUpdate = "key_update",
    /// A client sends a fatal alert amid data.
    AlertAmidData = "alert_amid_data",
    /// A client's certificate expires while it shakes hands.
    CertificateExpires = "certificate_expires",
    /// A client stops reading.
    ClientStalled = "client_stalled",
    /// A client resets its connection.
    ClientReset = "client_reset",
    /// A client ends without close_notify.
    ClientTruncated = "client_truncated",
    /// An upstream stops listening for a while.
    UpstreamFlap = "upstream_flap",
    /// An upstream resets a connection.
    UpstreamReset = "upstream_reset",
    /// An upstream stops reading.
    UpstreamStalled = "upstream_stalled",
    /// Workers get another configuration.
    ConfigurationChange = "configuration_change",
    /// Workers get other lists of revocation.
    RevocationChange = "revocation_change",
    /// Somebody sends again what another client said first.
    HelloReplayed = "hello_replayed",
    /// A worker drains while clients come.
    WorkerDrain = "worker_drain",
    /// An upstream that speaks HTTP ends a connection on which nothing is asked.
    IdleClose = "idle_close",
    /// An upstream closes, and has not read the request that has come.
    RequestLost = "request_lost",
    /// An upstream answers before it has the whole request.
    ResponseEarly = "response_early",
    /// An upstream begins or continues its response late.
    ResponseSlow = "response_slow",
    /// An upstream answers what is no response.
    ResponseGarbage = "response_garbage",
    /// An upstream sends more than its response.
    ResponseSurplus = "response_surplus",
    /// An upstream ends or resets before, or in the middle of, its response.
    ResponseCut = "response_cut",
}

/// Of the upstreams that speak HTTP: only in runs in which there are some.
const OF_HTTP: &[Fault] = &[
    Fault::IdleClose,
    Fault::RequestLost,
    Fault::ResponseEarly,
    Fault::ResponseSlow,
    Fault::ResponseGarbage,
    Fault::ResponseSurplus,
    Fault::ResponseCut,
];

/// Nothing breaks by these: only who may pass changes.
const CHANGES: &[Fault] = &[
    Fault::ConfigurationChange,
    Fault::RevocationChange,
    Fault::WallClockJump,
    Fault::CertificateExpires,
    Fault::HelloReplayed,
];

/// The faults in play.
#[derive(Debug)]
pub struct Faults {
    per_mille: Vec<u32>,
    random: Random,
    active: bool,
}

impl Faults {
    /// Chooses which faults exist and how strong they are. `has_http` says whether there are
    /// upstreams that speak it.
    pub fn swarm(random: &mut Random, has_http: bool) -> Self {
        let mut random = random.fork("what fails");
        // One run in twelve is healthy.
        let density = *random.pick(&[0, 60, 60, 150, 150, 150, 300, 300, 300, 500, 500, 800]);
        // And in some nothing breaks, but who may pass may change.
        let breaks = random.chance(850);
        // Of their own, so that nothing else depends on whether there are such.
        let mut of_http = random.clone().fork("http");
        let per_mille = Fault::ALL
            .iter()
            .map(|fault| {
                let is_of_http = OF_HTTP.contains(fault);
                let random = if is_of_http { &mut of_http } else { &mut random };
                // A request is one chance only, where others have thousands.
                let strength = match is_of_http {
                    true => *random.pick(&[50, 100, 100, 200, 500]),
                    false => *random.pick(&[3, 10, 10, 30, 30, 100, 300]),
                };
                let is_change = CHANGES.contains(fault);
                let density = match (breaks, is_change) {
                    _ if is_of_http && !has_http => 0,
                    (true, _) if is_of_http && density > 0 => 300,
                    (true, _) => density,
                    (false, true) => 600,
                    (false, false) => 0,
                };
                if random.chance(density) { strength } else { 0 }
            })
            .collect();
        Self { per_mille, random, active: true }
    }

    /// Whether `fault` exists in this run, be it now or before faults stopped.
    pub fn in_play(&self, fault: Fault) -> bool {
        self.per_mille[fault as usize] > 0
    }

    /// Whether none exists.
    pub fn is_healthy(&self) -> bool {
        self.per_mille.iter().all(|&strength| strength == 0)
    }

    /// Whether one exists by which more changes than who may pass.
    pub fn break_things(&self) -> bool {
        Fault::ALL.iter().any(|fault| self.in_play(*fault) && !CHANGES.contains(fault))
    }

    /// Whether `fault` happens now.
    pub fn happens(&mut self, fault: Fault) -> bool {
        let per_mille = self.per_mille[fault as usize];
        self.active && per_mille > 0 && self.random.chance(per_mille)
    }

    /// Whether faults happen.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Nothing fails from now on.
    pub fn stop(&mut self) {
        self.active = false;
    }

    /// The faults in play with their strength, for a report.
    pub fn describe(&self) -> String {
        let in_play: Vec<String> = Fault::ALL
            .iter()
            .filter(|fault| self.in_play(**fault))
            .map(|fault| format!("{}={}", fault.as_str(), self.per_mille[*fault as usize]))
            .collect();
        if in_play.is_empty() { "none".into() } else { in_play.join(" ") }
    }

    /// For choices of how a fault turns out.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}
