//! One deadline of a connection that moves with every phase, on a timer that rarely does.

use std::task::{Context, Poll};

use crate::planted::{Bug, planted};
use crate::rt::core::{Core, Timer};
use crate::time::Instant;

/// A deadline. Moving it later costs nothing: the timer finds out when it expires.
#[derive(Debug)]
pub(super) struct Watch {
    timer: Timer,
    due: Instant,
}

impl Watch {
    pub(super) fn new(core: &Core, due: Instant) -> Self {
        Self { timer: core.sleep_until(due), due }
    }

    /// Moves the deadline.
    pub(super) fn set(&mut self, due: Instant) {
        self.due = due;
        if due < self.timer.deadline() {
            self.timer.reset(due);
        }
    }

    /// Ready from the deadline on.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if planted(Bug::ForgetWatch) {
            return Poll::Pending;
        }
        while self.timer.poll_expired(cx).is_ready() {
            if self.due <= self.timer.deadline() {
                return Poll::Ready(());
            }
            self.timer.reset(self.due);
        }
        Poll::Pending
    }
}
