//! HTTP inside a client's connection: from the first request to the last.
//!
//! [`exchange`] is the story of one request, top to bottom. Invariant: each request is judged by the
//! configuration that is in force when its head is there, whenever its connection was made.

mod answer;
mod client_side;
mod exchange;
mod fault;
mod http1;
mod http1_client;
mod http1_upstream;
mod reader;
mod request;
mod run;
mod upstream_side;
mod visitor;
mod watch;

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use self::http1_client::Http1Client;
use self::visitor::Visitor;
use super::leases::Lease;
use super::worker::Worker;
use crate::attest::Told;
use crate::error::{CloseKind, CloseReason};
use crate::log::ConnectionRecord;
use crate::time::Instant;
use crate::tls::stream::TlsStream;
use crate::tls::transport::Transport;

/// Serves the requests of a client that was let in, until the connection is over.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    listener: usize,
    stream: TlsStream,
    told: Told,
    until: Option<Instant>,
    lease: &Lease,
    record: &mut ConnectionRecord,
) -> CloseReason {
    let visitor = Visitor::new(worker, listener, record, told);
    let mut client = Http1Client::new(worker.core(), Transport::Tls(Box::new(stream)));
    let reason = {
        let mut serving = std::pin::pin!(http1::serve(&visitor, &mut client, until));
        poll_fn(|cx| match worker.cut_off().or_else(|| lease.ended(cx)) {
            Some(reason) => Poll::Ready(reason),
            None => serving.as_mut().poll(cx),
        })
        .await
    };
    (record.bytes_up, record.bytes_down) = visitor.bytes.get();
    match reason.kind {
        // In order: the client has all that it is due.
        CloseKind::Finished
        | CloseKind::Drained
        | CloseKind::IdleTimeout
        | CloseKind::AgeMax
        | CloseKind::BadRequest
        | CloseKind::RequestTimeout => client.close(),
        kind => client.abort(kind),
    }
    reason
}
