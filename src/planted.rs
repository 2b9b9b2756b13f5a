//! Deliberate bugs, for the simulation to prove that it finds such (`docs/simulation.md`).
//!
//! A leaf. Without the feature `sim` a bug is never planted, at compile time; with it a thread
//! plants one at a time, and none by default. Each is a mistake that somebody has made, or nearly.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// A deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// Every bug.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name on the command line and in `docs/simulation.md`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }
        }
    };
}

bugs! {
    /// A receive that found no buffer is armed again at once.
    RearmWithoutBuffer = "rearm_without_buffer",
    /// A slot is freed when its operation is cancelled instead of when it has ended.
    FreeSlotOnCancel = "free_slot_on_cancel",
    /// close(2) does not wait for the operations of the socket.
    CloseUnderReceive = "close_under_receive",
    /// The rest of a short send is taken for sent.
    ForgetShortSend = "forget_short_send",
    /// A socket that is being closed may take as long as its peer likes.
    CloseWithoutDeadline = "close_without_deadline",
    /// Accepting does not go on after descriptors ran out.
    PauseForever = "pause_forever",
    /// A buffer of a socket that is being closed does not go home.
    LeakBuffer = "leak_buffer",
    /// A timer outlives its owner.
    LeakTimer = "leak_timer",
    /// The receive queue of a socket has no bound.
    UnboundedQueue = "unbounded_queue",
    /// FIN is believed even where a send was told of a reset, or was short because of one.
    BelieveFin = "believe_fin",
    /// The upstream is connected to before the client is authorised.
    AuthoriseAfterConnect = "authorise_after_connect",
    /// The end of one direction is taken for the end of both.
    ForgetHalfClose = "forget_half_close",
    /// FIN without close_notify is forwarded as an orderly end.
    ForwardTruncation = "forward_truncation",
    /// What came in one flight with the end of the handshake is not forwarded.
    ForgetEarlyData = "forget_early_data",
    /// Nothing waits until the client can be written to.
    IgnoreBackPressure = "ignore_back_pressure",
    /// A connection that was refused is not counted as closed.
    ForgetToCount = "forget_to_count",
    /// The place of a connection is not given back.
    LeakPlace = "leak_place",
    /// A session is resumed whatever it is bound to.
    ResumeUnbound = "resume_unbound",
    /// A session is resumed without a look at the lists of revocation.
    ResumeRevoked = "resume_revoked",
    /// A ticket that the gateway keeps is good more than once.
    TicketTwice = "ticket_twice",
    /// Who is connected is not judged again by a new configuration.
    ForgetLeases = "forget_leases",
    /// Who is connected is not judged again when the wall clock is set.
    ForgetClock = "forget_clock",
    /// A verdict is kept for every scope.
    VerdictOfAnyScope = "verdict_of_any_scope",
    /// A verdict is good after its chain has expired.
    VerdictForever = "verdict_forever",
    /// A request is sent again whatever its method is, and whatever of it was given away.
    RetryWhatever = "retry_whatever",
    /// A request is sent again after a part of its body was given away.
    RetryWithoutBody = "retry_without_body",
    /// Requests are judged by the configuration that their connection began with.
    RouteOfTheStart = "route_of_the_start",
    /// Fields that claim who the client is are forwarded.
    KeepIdentityFields = "keep_identity_fields",
    /// Connections that wait are kept while the gateway drains.
    KeepPool = "keep_pool",
    /// The deadlines of a request are forgotten.
    ForgetWatch = "forget_watch",
    /// A response that was cut is completed.
    CompleteCutResponse = "complete_cut_response",
    /// A request is forwarded whatever trust scope its host belongs to.
    ForgetMisdirected = "forget_misdirected",
}

/// Whether `bug` is planted on this thread.
#[cfg(not(feature = "sim"))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "sim")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants `bug` on this thread, instead of what was planted before.
#[cfg(feature = "sim")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether `bug` is planted on this thread.
#[cfg(feature = "sim")]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
