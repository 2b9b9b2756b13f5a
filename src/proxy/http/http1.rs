//! An HTTP/1.1 connection of a client: one exchange after the other.

use std::future::poll_fn;
use std::task::Poll;

use super::answer::Answer;
use super::client_side::ClientSide;
use super::exchange::{Outcome, Request, exchange, send_answer};
use super::fault::{Fault, Late, SideFault};
use super::http1_client::Http1Client;
use super::logged::Logged;
use super::visitor::Visitor;
use super::watch::Watch;
use crate::error::{CloseKind, CloseReason};
use crate::http1::legible::legible;
use crate::limits::DISCARD_BYTES_MAX;
use crate::rt::buffer::RecvBuf;
use crate::tls::transport::{Chunk, TransportError};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has all that it is due.
    InOrder(CloseReason),
    /// In the middle of something: the client must be able to tell.
    Cut(CloseReason),
}

/// Serves requests until the connection is over.
pub(super) async fn serve(visitor: &Visitor, client: &mut Http1Client) -> End {
    let core = visitor.worker.core();
    let mut watch = Watch::new(core, core.now() + visitor.options().keep_alive_timeout);
    let mut served: u64 = 0;
    loop {
        let next = next_request(visitor, client, &mut watch).await;
        let request = match next {
            Next::Request(request) => request,
            Next::Over(end) => return end,
            Next::Bad(answer, reason) => {
                refuse(visitor, client, answer, &mut watch).await;
                return End::InOrder(reason);
            }
        };
        served += 1;
        if visitor.options().requests_max.is_some_and(|max| served >= max) {
            client.close_after();
        }
        // Boxed: its state is large, and is gone when the connection idles.
        let mut side = ClientSide::Http1(client);
        match Box::pin(exchange(visitor, &mut side, request, &mut watch)).await {
            Outcome::Done => {}
            Outcome::Over(reason) => return End::Cut(reason),
        }
        if client.closes() {
            return End::InOrder(CloseReason::downstream(CloseKind::Finished));
        }
        if !client.reader().is_complete()
            && let Err(reason) = discard(visitor, client, &mut watch).await
        {
            return End::InOrder(reason);
        }
    }
}

enum Next {
    Request(Request),
    /// The connection is over.
    Over(End),
    /// What came is no request: it is answered, and then the connection is over.
    Bad(Answer, CloseReason),
}

async fn next_request(visitor: &Visitor, client: &mut Http1Client, watch: &mut Watch) -> Next {
    let worker = &visitor.worker;
    let core = worker.core();
    let options = visitor.options();
    let until = client.until();
    let idle_until = core.now() + options.keep_alive_timeout;
    // A request that was sent behind the last one is there already.
    let mut began = client.has_begun().then(|| core.now());
    let limits = options.head;
    let head = poll_fn(|cx| {
        if let Poll::Ready(found) = client.poll_head(limits, cx) {
            return Poll::Ready(Some(found));
        }
        if began.is_none() && client.has_begun() {
            began = Some(core.now());
        }
        watch.set(match began {
            Some(began) => began + options.head_timeout,
            None => until.map_or(idle_until, |until| until.min(idle_until)),
        });
        if began.is_none() && worker.is_draining() {
            return Poll::Ready(None);
        }
        watch.poll(cx).map(|()| None)
    })
    .await;
    let in_order = |reason| Next::Over(End::InOrder(reason));
    let is_aged = client.is_aged();
    match head {
        Some(Ok(Some((head, bytes)))) => {
            if is_aged {
                client.close_after();
            }
            Next::Request(Request { head, bytes, began: began.unwrap_or(core.now()) })
        }
        Some(Ok(None)) => in_order(CloseReason::downstream(CloseKind::Finished)),
        // Between two requests nothing can be cut short (RFC 9112, 9.5).
        Some(Err(SideFault::Transport(TransportError::Truncated))) if began.is_none() => {
            in_order(CloseReason::downstream(CloseKind::Finished))
        }
        Some(Err(SideFault::Head(error))) => {
            Next::Bad(Answer::bad_head(error), CloseReason::downstream(CloseKind::BadRequest))
        }
        Some(Err(fault)) => Next::Over(End::Cut(Fault::Client(fault).reason())),
        None if began.is_some() => {
            Next::Bad(Answer::HEAD_LATE, CloseReason::downstream(CloseKind::RequestTimeout))
        }
        None if worker.is_draining() => in_order(CloseReason::internal(CloseKind::Drained)),
        None if is_aged => in_order(CloseReason::internal(CloseKind::AgeMax)),
        None => in_order(CloseReason::internal(CloseKind::IdleTimeout)),
    }
}

/// Answers what is no request.
async fn refuse(visitor: &Visitor, client: &mut Http1Client, answer: Answer, watch: &mut Watch) {
    let core = visitor.worker.core();
    client.close_after();
    // For the line; and of HEAD, RFC 9110, 9.3.2: "The server MUST NOT send content in the
    // response", whatever else is wrong.
    let input = client.reader().input().to_vec();
    let head = legible(&input);
    let bytes = Chunk::Received(RecvBuf::Heap(input), 0);
    let mut side = ClientSide::Http1(client);
    let request = Request { head, bytes, began: core.now() };
    let mut logged = Logged::new(visitor, &side, &request);
    let (head, bytes) = (&request.head, &request.bytes);
    // Whatever it comes to, the connection is over.
    send_answer(visitor, &mut side, head, bytes, answer, watch, &mut logged).await;
    logged.over();
}

/// Throws away what is left of a request's body whose response was complete before it, so that the
/// connection can go on.
///
/// # Errors
/// It is too much, or comes too slowly: the connection is over.
async fn discard(
    visitor: &Visitor,
    client: &mut Http1Client,
    watch: &mut Watch,
) -> Result<(), CloseReason> {
    let core = visitor.worker.core();
    let mut left = DISCARD_BYTES_MAX;
    if client.reader().remaining().is_some_and(|bytes| bytes > left) {
        return Err(CloseReason::downstream(CloseKind::Finished));
    }
    watch.set(core.now() + visitor.options().head_timeout);
    loop {
        let taken = poll_fn(|cx| match client.poll_body(cx) {
            Poll::Pending => watch.poll(cx).map(|()| None),
            ready => ready.map(Some),
        });
        match taken.await {
            Some(Ok(true)) => {
                let bytes = client.reader().data().len();
                left = left.saturating_sub(bytes as u64);
                client.reader().use_data(core, bytes);
                if left == 0 {
                    return Err(CloseReason::downstream(CloseKind::Finished));
                }
            }
            Some(Ok(false)) => return Ok(()),
            Some(Err(fault)) => return Err(Fault::Client(fault).reason()),
            None => return Err(Fault::Late(Late::RequestBody).reason()),
        }
    }
}
