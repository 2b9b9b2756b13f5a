//! The line of a request, and what is counted of it.
//!
//! Invariant: a request that was begun is counted, and has its line, however it ends: also where
//! its task is dropped under it, because its connection is over or was cut off.

use super::client_side::ClientSide;
use super::exchange::Request;
use super::run::Seen;
use super::visitor::Visitor;
use crate::log::RequestRecord;
use crate::time::Instant;

/// See the module's description. The line is written when this is dropped.
#[derive(Debug)]
pub(super) struct Logged<'a> {
    visitor: &'a Visitor,
    /// `None` where requests are not logged.
    record: Option<Box<RequestRecord>>,
    is_over: bool,
}

impl<'a> Logged<'a> {
    /// Of a request that begins.
    pub(super) fn new(visitor: &'a Visitor, client: &ClientSide<'_>, request: &Request) -> Self {
        let worker = &visitor.worker;
        worker.core().counters().requests.increment();
        let record = worker.logs_requests().then(|| visitor.record(client, request));
        Self { visitor, record, is_over: false }
    }

    /// What the line is to say.
    pub(super) fn record(&mut self) -> Option<&mut RequestRecord> {
        self.record.as_deref_mut()
    }

    /// An attempt, which began at `began`, has come so far and no further.
    pub(super) fn attempted(&mut self, seen: &Seen, began: Instant) {
        self.visitor.count(seen.bytes_up, seen.bytes_down);
        if let Some(record) = &mut self.record {
            record.status = seen.status;
            record.upstream_time = seen.head_at.map(|at| at - began);
            record.bytes_up += seen.bytes_up;
            record.bytes_down += seen.bytes_down;
        }
    }

    /// The exchange has come to its end, be it a bad one.
    pub(super) fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Logged<'_> {
    fn drop(&mut self) {
        let worker = &self.visitor.worker;
        if !self.is_over {
            worker.core().counters().responses_aborted.increment();
        }
        let Some(mut record) = self.record.take() else { return };
        if !self.is_over {
            record.failure.get_or_insert(self.visitor.ended_by());
        }
        record.ended = worker.core().clock();
        worker.log_request(record);
    }
}
