//! How long an exchange may take, and whom it is due to that it took too long.
//!
//! PURE but for the clock's type. Invariant: who is ready is never blamed; a body whose length is
//! known has an average below which it does not fall for ever.

use std::time::Duration;

use super::fault::Late;
use crate::limits::BODY_BYTES_PER_S_MIN;
use crate::route::table::Timeouts;
use crate::time::Instant;

/// The side that a direction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    Client,
    Upstream,
}

/// How an exchange stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Whether a final response has begun.
    pub(super) has_answered: bool,
    /// Both directions are bytes of no message, which may be silent for so long.
    pub(super) tunnel: Option<Duration>,
    /// The side that the body of the request waits for; `None` where no more of it goes up.
    pub(super) up: Option<Waits>,
    /// The side that the response waits for.
    pub(super) down: Waits,
    /// Bytes of the request's body so far.
    pub(super) bytes_up: u64,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Deadlines {
    timeouts: Timeouts,
    /// When the exchange began.
    began: Instant,
    /// When anything moved last.
    progress: Instant,
    /// Whether the length of the request's body is known.
    has_length: bool,
    /// How long the body has waited for the client, but for the present wait.
    waited: Duration,
    /// Since when it does.
    waits_since: Option<Instant>,
    /// When the connection is too old, however far the exchange has come.
    cut_at: Option<Instant>,
}

impl Deadlines {
    pub(super) fn new(
        timeouts: &Timeouts,
        began: Instant,
        now: Instant,
        has_length: bool,
        cut_at: Option<Instant>,
    ) -> Self {
        Self {
            timeouts: *timeouts,
            began,
            progress: now,
            has_length,
            waited: Duration::ZERO,
            waits_since: None,
            cut_at,
        }
    }

    /// How it stands now, and whether anything has moved.
    pub(super) fn note(&mut self, now: Instant, standing: &Standing, has_moved: bool) {
        if has_moved {
            self.progress = now;
        }
        if standing.up == Some(Waits::Client) {
            self.waits_since.get_or_insert(now);
        } else if let Some(since) = self.waits_since.take() {
            self.waited += now - since;
        }
    }

    /// What comes first, and when; `None` where nothing is due.
    pub(super) fn next(&self, standing: &Standing) -> Option<(Instant, Late)> {
        let whole = self.timeouts.total.filter(|_| standing.tunnel.is_none());
        let whole = whole.map(|total| (self.began + total, Late::Total));
        let aged = self.cut_at.map(|at| (at, Late::Age));
        let all = [self.of_stage(standing), self.of_average(standing), whole, aged];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn of_stage(&self, standing: &Standing) -> Option<(Instant, Late)> {
        let Timeouts { first_byte, body, stream, .. } = self.timeouts;
        let (wait, late) = match standing {
            Standing { tunnel: Some(idle), .. } => (Some(*idle), Late::Idle),
            Standing { has_answered: true, down: Waits::Client, .. } => (stream, Late::NotTaken),
            Standing { has_answered: true, .. } => (stream, Late::ResponseBody),
            Standing { up: None, .. } => (first_byte, Late::FirstByte),
            Standing { up: Some(side), .. } => {
                let wait = if self.has_length { Some(body) } else { stream };
                let late = match side {
                    Waits::Client => Late::RequestBody,
                    Waits::Upstream => Late::UpstreamStalled,
                };
                (wait, late)
            }
        };
        wait.map(|wait| (self.progress + wait, late))
    }

    /// A body whose length is known may wait for the client for the time of one pause, and for as
    /// long as the bytes that came take at the least pace.
    fn of_average(&self, standing: &Standing) -> Option<(Instant, Late)> {
        let since = self.waits_since.filter(|_| self.has_length && standing.tunnel.is_none())?;
        let granted = Duration::from_secs(standing.bytes_up / BODY_BYTES_PER_S_MIN);
        let left = (self.timeouts.body + granted).saturating_sub(self.waited);
        Some((since + left, Late::RequestBody))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;
    const BOTH_WAIT: Standing = Standing {
        has_answered: false,
        tunnel: None,
        up: Some(Waits::Client),
        down: Waits::Upstream,
        bytes_up: 0,
    };

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + S(seconds)
    }

    fn deadlines(has_length: bool) -> Deadlines {
        let timeouts =
            Timeouts { first_byte: Some(S(30)), body: S(60), stream: Some(S(300)), total: None };
        Deadlines::new(&timeouts, at(0), at(0), has_length, None)
    }

    #[test]
    fn the_side_that_is_not_ready_is_blamed() {
        let all = |has_length, standing| deadlines(has_length).next(&standing);
        let upstream = Standing { up: Some(Waits::Upstream), ..BOTH_WAIT };
        assert_eq!(all(true, BOTH_WAIT), Some((at(60), Late::RequestBody)));
        assert_eq!(all(true, upstream), Some((at(60), Late::UpstreamStalled)));
        assert_eq!(all(false, BOTH_WAIT), Some((at(300), Late::RequestBody)));
        assert_eq!(all(false, upstream), Some((at(300), Late::UpstreamStalled)));
        let sent = Standing { up: None, ..BOTH_WAIT };
        assert_eq!(all(true, sent), Some((at(30), Late::FirstByte)));
        let answered = Standing { has_answered: true, ..sent };
        assert_eq!(all(true, answered), Some((at(300), Late::ResponseBody)));
        let not_taken = Standing { down: Waits::Client, ..answered };
        assert_eq!(all(true, not_taken), Some((at(300), Late::NotTaken)));
        let tunnel = Standing { tunnel: Some(S(7)), ..answered };
        assert_eq!(all(true, tunnel), Some((at(7), Late::Idle)));
    }

    #[test]
    fn what_has_no_bound_is_never_due() {
        let timeouts = Timeouts { first_byte: None, body: S(60), stream: None, total: None };
        let without = Deadlines::new(&timeouts, at(0), at(0), false, None);
        for standing in [
            BOTH_WAIT,
            Standing { up: None, ..BOTH_WAIT },
            Standing { up: None, has_answered: true, ..BOTH_WAIT },
        ] {
            assert_eq!(without.next(&standing), None);
        }
        let aged = Deadlines { cut_at: Some(at(9)), ..without };
        let tunnel = Standing { tunnel: Some(S(7000)), ..BOTH_WAIT };
        assert_eq!(aged.next(&tunnel), Some((at(9), Late::Age)));
        let total = Timeouts { total: Some(S(5)), ..timeouts };
        let total = Deadlines::new(&total, at(0), at(2), false, Some(at(9)));
        assert_eq!(total.next(&BOTH_WAIT), Some((at(5), Late::Total)));
        assert_eq!(total.next(&tunnel), Some((at(9), Late::Age)), "a tunnel is no exchange");
    }

    #[test]
    fn a_body_with_a_length_that_drips_is_over_soon_and_one_that_flows_is_not() {
        let over = |bytes_per_minute: u64, minutes: u64| {
            let mut body = deadlines(true);
            let mut standing = BOTH_WAIT;
            body.note(at(0), &standing, false);
            for minute in 1..=minutes {
                let now = at(minute * 59);
                if body.next(&standing).is_some_and(|(due, _)| due <= now) {
                    return Some(minute);
                }
                standing.bytes_up += bytes_per_minute;
                body.note(now, &standing, true);
            }
            None
        };
        assert_eq!(over(1, 10), Some(2));
        assert_eq!(over(BODY_BYTES_PER_S_MIN * 59, 1000), None);
    }

    #[test]
    fn time_that_the_upstream_took_is_not_the_clients() {
        let mut body = deadlines(true);
        let stalled = Standing { up: Some(Waits::Upstream), ..BOTH_WAIT };
        for round in 0..100 {
            body.note(at(round * 50), &stalled, true);
            body.note(at(round * 50 + 49), &BOTH_WAIT, true);
        }
        assert_eq!(body.waited, S(99));
        let standing = Standing { bytes_up: BODY_BYTES_PER_S_MIN * 100, ..BOTH_WAIT };
        assert_eq!(body.next(&standing), Some((at(99 * 50 + 49 + 60), Late::RequestBody)));
    }
}
