//! Requests of HTTP/2: many at a time on each connection, by the `h2` crate.
//!
//! One task drives the connection, and one each of its lanes: a lane makes one request after the
//! other. Invariant: a request that the server says it has not processed (RFC 9113, 6.8) is made
//! again on the next connection, with its time still counted from its first start; every other one
//! that is not answered as it should be is a failure.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use ringfort::time::Instant;

use crate::client::FILLER;
use crate::http::request::Request2;
use crate::http::verdict::Verdict;
use crate::limits::{
    BARREN_MAX, CONNECTION_WINDOW_BYTES, GRACE_MS, HEAD_BYTES_MAX, STREAM_PIECE_BYTES,
    STREAM_WINDOW_BYTES,
};
use crate::tally::{Failure, Phase};
use crate::wire::{Told, Wire};
use crate::worker::Worker;

/// What each connection does.
#[derive(Clone, Debug)]
pub struct Streams {
    /// The request.
    pub request: Request2,
    /// How many at a time.
    pub lanes: usize,
}

/// What the lanes of one connection share with the task that drives it.
struct Shared {
    told: Rc<Told>,
    /// Lanes that have not ended.
    live: Cell<usize>,
    /// Whoever waits for the last of them.
    driver: RefCell<Option<Waker>>,
    /// Whether the connection has ended, and in order.
    ended: Cell<Option<bool>>,
    /// Requests that were answered on this connection.
    answered: Cell<u64>,
    /// Whether requests may be carried to another connection.
    may_carry: bool,
    /// The intended starts of requests that are to be made again.
    carried: RefCell<Vec<Instant>>,
    is_limit_known: Cell<bool>,
}

/// Why a request has no good answer.
enum Lost {
    /// The server has not processed it, and takes no more on this connection (RFC 9113, 6.8).
    Unprocessed,
    /// It failed; the connection may carry others.
    Request(Failure),
    /// The connection failed.
    Connection(Failure),
}

/// Requests on one connection, which is opened again where it ends.
pub async fn keep(worker: &Rc<Worker>, streams: &Rc<Streams>) {
    let (mut carried, mut barren) = (Vec::new(), 0);
    while !worker.is_stopped() {
        let (send, connection, told) = match connect(worker).await {
            Ok(connected) => connected,
            Err(failure) if carried.pop().is_some() || worker.take_turn() => {
                // It counts as the operation that it was opened for.
                worker.failed(failure).await;
                continue;
            }
            Err(_) => return,
        };
        let shared = Rc::new(Shared {
            told,
            live: Cell::new(streams.lanes),
            driver: RefCell::default(),
            ended: Cell::default(),
            answered: Cell::default(),
            may_carry: barren < BARREN_MAX,
            carried: RefCell::new(carried),
            is_limit_known: Cell::default(),
        });
        for _ in 0..streams.lanes {
            let (worker, streams) = (Rc::clone(worker), Rc::clone(streams));
            let (shared, send) = (Rc::clone(&shared), send.clone());
            let core = worker.core().clone();
            core.spawn(async move { lane(&worker, &streams, &shared, send).await });
        }
        // The lanes have the others: with the last of them the connection ends.
        drop(send);
        drive(worker, connection, &shared).await;
        carried = shared.carried.take();
        barren = if shared.answered.get() == 0 { barren + 1 } else { 0 };
        if carried.is_empty() && !worker.has_more() {
            return;
        }
    }
}

type Connected = (SendRequest<Bytes>, Connection<Wire>, Rc<Told>);

/// Opens a connection and sends what HTTP/2 begins with (RFC 9113, 3.4).
async fn connect(worker: &Rc<Worker>) -> Result<Connected, Failure> {
    let transport = worker.open().await?.into_transport();
    let core = worker.core();
    let (wire, told) = Wire::new(core.clone(), transport);
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .enable_push(false);
    let deadline = core.clock() + worker.plan().timeout;
    match core.timeout_at(deadline, builder.handshake(wire)).await {
        Ok(Ok((send, connection))) => Ok((send, connection, told)),
        Ok(Err(error)) => Err(failure_of(&error, &told, Phase::Total)),
        Err(_) => Err(Failure::Timeout(Phase::Total)),
    }
}

/// Drives the connection until all of its lanes have ended, and then to its own end.
async fn drive(worker: &Rc<Worker>, connection: Connection<Wire>, shared: &Shared) {
    let mut connection = pin!(connection);
    let mut poll_connection = |cx: &mut std::task::Context<'_>| {
        if shared.ended.get().is_none()
            && let Poll::Ready(result) = connection.as_mut().poll(cx)
        {
            shared.ended.set(Some(result.is_ok()));
        }
        worker.tally(|tally| {
            tally.bytes_sent += shared.told.sent.take();
            tally.bytes_received += shared.told.received.take();
        });
    };
    poll_fn(|cx| {
        poll_connection(cx);
        *shared.driver.borrow_mut() = Some(cx.waker().clone());
        if shared.live.get() == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    let ending = poll_fn(|cx| {
        poll_connection(cx);
        if shared.ended.get().is_some() { Poll::Ready(()) } else { Poll::Pending }
    });
    let patience = worker.core().clock() + Duration::from_millis(GRACE_MS);
    // A server that does not end its side is left: dropping the connection resets it.
    let _ = worker.core().timeout_at(patience, ending).await;
}

/// One request after the other.
async fn lane(
    worker: &Rc<Worker>,
    streams: &Streams,
    shared: &Shared,
    mut send: SendRequest<Bytes>,
) {
    loop {
        let again = shared.carried.borrow_mut().pop();
        let begun = match again {
            Some(begun) => begun,
            None => match worker.next_operation().await {
                Some(begun) => begun,
                None => break,
            },
        };
        match request(worker, streams, shared, &mut send).await {
            Ok(()) => worker.ended(begun, Ok(())).await,
            Err(Lost::Request(failure)) => worker.ended(begun, Err(failure)).await,
            Err(Lost::Connection(failure)) => {
                worker.ended(begun, Err(failure)).await;
                break;
            }
            Err(Lost::Unprocessed) => {
                shared.carried.borrow_mut().push(begun);
                break;
            }
        }
    }
    drop(send);
    shared.live.set(shared.live.get() - 1);
    if let Some(driver) = shared.driver.borrow_mut().take() {
        driver.wake();
    }
}

/// One request, within its time.
async fn request(
    worker: &Rc<Worker>,
    streams: &Streams,
    shared: &Shared,
    send: &mut SendRequest<Bytes>,
) -> Result<(), Lost> {
    let begun = worker.core().clock();
    let first_byte = Cell::new(None);
    let mut verdict = Verdict::new(streams.request.expected);
    let exchanging = exchange(worker, &streams.request, send, &mut verdict, &first_byte);
    let result = worker.core().timeout_at(begun + worker.plan().timeout, exchanging).await;
    let first: Option<Instant> = first_byte.get();
    if let Some(first) = first {
        worker.tally(|tally| tally.record(Phase::FirstByte, first - begun));
    }
    let phase = if first.is_some() { Phase::Total } else { Phase::FirstByte };
    match result {
        Err(_) => Err(Lost::Request(Failure::Timeout(phase))),
        Ok(Err(Stopped::Failed(failure))) => Err(Lost::Request(failure)),
        Ok(Err(Stopped::Http2(error))) => Err(lost(&error, shared, phase)),
        Ok(Ok(())) => {
            worker.tally(|tally| tally.requests += 1);
            shared.answered.set(shared.answered.get() + 1);
            look_at_limit(worker, streams, shared, send);
            verdict.end().map_err(Lost::Request)
        }
    }
}

/// With the first answer the server's settings have come. Fewer streams than asked for would be
/// another load than the report says.
fn look_at_limit(
    worker: &Rc<Worker>,
    streams: &Streams,
    shared: &Shared,
    send: &SendRequest<Bytes>,
) {
    if !shared.is_limit_known.replace(true) && send.current_max_send_streams() < streams.lanes {
        worker.tally(|tally| tally.fail(Failure::Http2("allows fewer streams than asked for")));
    }
}

/// What stops an exchange.
enum Stopped {
    Failed(Failure),
    Http2(h2::Error),
}

impl From<h2::Error> for Stopped {
    fn from(error: h2::Error) -> Self {
        Self::Http2(error)
    }
}

/// Sends the request and takes the answer, which may come meanwhile.
async fn exchange(
    worker: &Rc<Worker>,
    request: &Request2,
    send: &mut SendRequest<Bytes>,
    verdict: &mut Verdict,
    first_byte: &Cell<Option<Instant>>,
) -> Result<(), Stopped> {
    poll_fn(|cx| send.poll_ready(cx)).await?;
    let has_body = request.body_bytes > 0;
    let (response, stream) = send.send_request(request.head.clone(), !has_body)?;
    let answering = answer(worker, response, verdict, first_byte);
    if !has_body {
        return answering.await.map(|_| ());
    }
    let (mut answering, mut sending) = (pin!(answering), pin!(send_body(stream, request)));
    let (mut answered, mut sent) = (None, None);
    poll_fn(|cx| {
        if sent.is_none()
            && let Poll::Ready(result) = sending.as_mut().poll(cx)
        {
            sent = Some(result);
        }
        if answered.is_none()
            && let Poll::Ready(result) = answering.as_mut().poll(cx)
        {
            answered = Some(result);
        }
        match (answered.take(), &mut sent) {
            // An error may come before all was sent, and then the rest is of no use.
            (Some(Ok(false)), _) | (Some(Ok(true)), Some(Ok(()))) => Poll::Ready(Ok(())),
            (Some(Err(error)), _) => Poll::Ready(Err(error)),
            (Some(Ok(true)), Some(Err(_))) => Poll::Ready(Err(Stopped::Failed(Failure::Answer(
                "before the whole request was sent",
            )))),
            (still, _) => {
                answered = still;
                Poll::Pending
            }
        }
    })
    .await
}

async fn send_body(mut stream: SendStream<Bytes>, request: &Request2) -> Result<(), h2::Error> {
    let mut left = request.body_bytes;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(STREAM_PIECE_BYTES);
        stream.reserve_capacity(wanted);
        let room = poll_fn(|cx| {
            Poll::Ready(match ready!(stream.poll_capacity(cx)) {
                Some(room) => room,
                // The stream is closed, and the answer says why.
                None => Err(Reason::STREAM_CLOSED.into()),
            })
        });
        let piece = room.await?.min(wanted);
        left -= piece as u64;
        stream.send_data(Bytes::from_static(&FILLER[..piece]), left == 0)?;
    }
    Ok(())
}

/// Takes the answer; returns whether it is a success.
async fn answer(
    worker: &Rc<Worker>,
    response: ResponseFuture,
    verdict: &mut Verdict,
    first_byte: &Cell<Option<Instant>>,
) -> Result<bool, Stopped> {
    let (head, mut body) = response.await?.into_parts();
    first_byte.set(Some(worker.core().clock()));
    verdict.status = head.status.as_u16();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        verdict.feed(&piece).map_err(Stopped::Failed)?;
    }
    body.trailers().await?;
    Ok(verdict.is_success())
}

fn lost(error: &h2::Error, shared: &Shared, phase: Phase) -> Lost {
    let is_unprocessed =
        error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
    if shared.may_carry && (is_unprocessed || shared.ended.get() == Some(true)) {
        return Lost::Unprocessed;
    }
    let failure = failure_of(error, &shared.told, phase);
    if error.is_reset() { Lost::Request(failure) } else { Lost::Connection(failure) }
}

fn failure_of(error: &h2::Error, told: &Told, phase: Phase) -> Failure {
    if let Some(failure) = told.failure.get() {
        return failure;
    }
    let name = error.reason().map_or("closed", reason_name);
    match (error.is_remote(), error.is_reset(), error.is_go_away()) {
        (true, true, _) => Failure::StreamReset(name),
        (true, _, true) => Failure::GoAway(name),
        _ if error.is_io() || error.reason().is_none() => Failure::Closed(phase),
        _ => Failure::Http2(name),
    }
}

/// RFC 9113, 7. What a server makes up is one name, so that it cannot make the table grow.
fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::NO_ERROR => "no_error",
        Reason::PROTOCOL_ERROR => "protocol_error",
        Reason::INTERNAL_ERROR => "internal_error",
        Reason::FLOW_CONTROL_ERROR => "flow_control_error",
        Reason::SETTINGS_TIMEOUT => "settings_timeout",
        Reason::STREAM_CLOSED => "stream_closed",
        Reason::FRAME_SIZE_ERROR => "frame_size_error",
        Reason::REFUSED_STREAM => "refused_stream",
        Reason::CANCEL => "cancel",
        Reason::COMPRESSION_ERROR => "compression_error",
        Reason::CONNECT_ERROR => "connect_error",
        Reason::ENHANCE_YOUR_CALM => "enhance_your_calm",
        Reason::INADEQUATE_SECURITY => "inadequate_security",
        Reason::HTTP_1_1_REQUIRED => "http_1_1_required",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_http2_has_a_name_and_what_is_made_up_has_one_together() {
        let names: std::collections::BTreeSet<_> =
            (0..14).map(|code| reason_name(Reason::from(code))).collect();
        assert_eq!((names.len(), names.contains("unknown")), (14, false));
        assert_eq!(reason_name(Reason::from(0xdead)), "unknown");
        let told = Told::default();
        let error = h2::Error::from(Reason::ENHANCE_YOUR_CALM);
        assert_eq!(failure_of(&error, &told, Phase::Total), Failure::Http2("enhance_your_calm"));
        told.failure.set(Some(Failure::Reset));
        assert_eq!(failure_of(&error, &told, Phase::Total), Failure::Reset);
    }
}
