//! HTTP inside a client's connection: from the first request to the last.
//!
//! [`exchange`] is the story of one request, top to bottom. Invariant: each request is judged by
//! the configuration that is in force when its head is there, whenever its connection was made.

mod answer;
mod client_side;
mod deadlines;
mod exchange;
mod fault;
mod http1;
mod http1_client;
mod http1_upstream;
mod http2;
mod http2_client;
mod http2_upstream;
mod logged;
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
use crate::error::CloseReason;
use crate::http2::end::End;
use crate::http2::server::{Lifetime, Server};
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
    let transport = Transport::Tls(Box::new(stream));
    // RFC 9113, 3.2: "h2" of ALPN is HTTP/2 over TLS.
    if record.alpn.as_deref() == Some(b"h2") {
        return serve_http2(visitor, transport, until, lease, record).await;
    }
    let mut client = Http1Client::new(worker.core(), transport, until);
    let end = {
        let mut serving = std::pin::pin!(http1::serve(&visitor, &mut client));
        poll_fn(|cx| match worker.cut_off().or_else(|| lease.ended(cx)) {
            Some(reason) => {
                visitor.ends_by(reason);
                Poll::Ready(http1::End::Cut(reason))
            }
            None => serving.as_mut().poll(cx),
        })
        .await
    };
    (record.bytes_up, record.bytes_down) = visitor.bytes.get();
    match end {
        http1::End::InOrder(reason) => {
            client.close();
            reason
        }
        http1::End::Cut(reason) => {
            client.abort(reason.kind);
            reason
        }
    }
}

async fn serve_http2(
    visitor: Visitor,
    transport: Transport,
    until: Option<Instant>,
    lease: &Lease,
    record: &mut ConnectionRecord,
) -> CloseReason {
    let visitor = Rc::new(visitor);
    let worker = &visitor.worker;
    let mut server = {
        let options = visitor.options();
        let lifetime = Lifetime { idle_timeout: options.keep_alive_timeout, age_at: until };
        Server::new(worker.core(), transport, &options.http2, lifetime)
    };
    let streams = Rc::new(http2::Streams::default());
    let ended = {
        let mut serving = std::pin::pin!(http2::serve(&visitor, &mut server, &streams));
        poll_fn(|cx| match worker.cut_off().or_else(|| lease.ended(cx)) {
            Some(reason) => Poll::Ready(Err(reason)),
            None => serving.as_mut().poll(cx).map(Ok),
        })
        .await
    };
    visitor.ends_by(match &ended {
        Ok((reason, _)) | Err(reason) => *reason,
    });
    let reason = match ended {
        Ok((reason, end)) => {
            if let Some(end) = end.filter(|end| !matches!(end, End::Finished)) {
                record.set_detail(end);
            }
            reason
        }
        Err(reason) => {
            server.cut_off(reason.kind);
            reason
        }
    };
    // What they have relayed belongs to the connection's line.
    streams.end().await;
    (record.bytes_up, record.bytes_down) = visitor.bytes.get();
    reason
}
