//! An HTTP/2 connection of a client: an exchange for each stream, each in a task of its own.
//!
//! Invariant: the tasks of the streams end with the connection; none of them goes on for a client
//! that is not there, or may not be any more.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

use h2::RecvStream;
use slab::Slab;

use super::answer::Answer;
use super::client_side::ClientSide;
use super::exchange::{Outcome, Request, exchange, send_answer};
use super::http2_client::Http2Client;
use super::logged::Logged;
use super::visitor::Visitor;
use super::watch::Watch;
use crate::error::{CloseKind, CloseReason};
use crate::http1::request::RequestHead;
use crate::http2::end::End;
use crate::http2::head;
use crate::http2::server::{Next, SendResponse, Server};
use crate::rt::buffer::RecvBuf;
use crate::tls::transport::{Chunk, TransportError};

/// The tasks of a connection's streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    has_ended: Cell<bool>,
    wakers: RefCell<Slab<Waker>>,
    /// Of who waits for the last of them to be gone.
    waiting: RefCell<Option<Waker>>,
}

impl Streams {
    /// Ends all of them; ready when none is left.
    pub(super) async fn end(&self) {
        self.has_ended.set(true);
        for (_, waker) in &*self.wakers.borrow() {
            waker.wake_by_ref();
        }
        poll_fn(|cx| {
            if self.is_empty() {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Whether none is under way.
    fn is_empty(&self) -> bool {
        self.wakers.borrow().is_empty()
    }

    /// Runs `stream` until the connection has ended.
    async fn run(self: Rc<Self>, stream: impl Future<Output = ()>) {
        let mut key = None;
        self.until_end(stream, &mut key).await;
        if let Some(key) = key {
            self.wakers.borrow_mut().remove(key);
        }
        if self.is_empty()
            && let Some(waiting) = self.waiting.borrow_mut().take()
        {
            waiting.wake();
        }
    }

    async fn until_end(&self, stream: impl Future<Output = ()>, key: &mut Option<usize>) {
        let mut stream = std::pin::pin!(stream);
        poll_fn(|cx| {
            if self.has_ended.get() {
                return Poll::Ready(());
            }
            // The waker of a task stays the same.
            key.get_or_insert_with(|| self.wakers.borrow_mut().insert(cx.waker().clone()));
            stream.as_mut().poll(cx)
        })
        .await;
    }
}

/// Serves streams until the connection is over; the end, with what there is to say of it.
pub(super) async fn serve(
    visitor: &Rc<Visitor>,
    server: &mut Server,
    streams: &Rc<Streams>,
) -> (CloseReason, Option<End>) {
    let worker = &visitor.worker;
    let (mut served, mut is_drained): (u64, bool) = (0, false);
    loop {
        let next = poll_fn(|cx| {
            if worker.is_draining() && !std::mem::replace(&mut is_drained, true) {
                server.drain();
            }
            server.poll_next(cx)
        });
        match next.await {
            Next::Stream(request, respond) => {
                served += 1;
                let serving = stream(Rc::clone(visitor), request, respond);
                worker.core().spawn(Rc::clone(streams).run(serving));
                if visitor.options().requests_max.is_some_and(|max| served >= max) {
                    server.drain();
                }
            }
            Next::End(End::Finished) if is_drained => {
                return (CloseReason::internal(CloseKind::Drained), None);
            }
            // Between two requests nothing can be cut short.
            Next::End(End::Transport(TransportError::Truncated)) if streams.is_empty() => {
                return (CloseReason::downstream(CloseKind::Finished), None);
            }
            Next::End(end) => {
                let kind = end.close_kind();
                let reason = if end.is_internal() {
                    CloseReason::internal(kind)
                } else {
                    CloseReason::downstream(kind)
                };
                return (reason, Some(end));
            }
        }
    }
}

/// One stream: a request and its response.
async fn stream(visitor: Rc<Visitor>, request: http::Request<RecvStream>, respond: SendResponse) {
    let core = visitor.worker.core();
    let (parts, body) = request.into_parts();
    let is_end = body.is_end_stream();
    let rendered = head::request(&parts, is_end, visitor.options().head);
    let rendered = rendered.map_err(|refused| (refused, head::legible(&parts)));
    drop(parts);
    let mut client = Http2Client::new(core, body, respond);
    let mut side = ClientSide::Http2(&mut client);
    let mut watch = Watch::new(core, core.now() + visitor.options().head_timeout);
    let began = core.now();
    let outcome = match rendered {
        Ok(rendered) => {
            let bytes = Chunk::Received(RecvBuf::Heap(rendered.bytes), 0);
            let request = Request { head: rendered.head, bytes, began };
            exchange(&visitor, &mut side, request, &mut watch).await
        }
        Err((refused, legible)) => refuse(&visitor, &mut side, refused, legible, &mut watch).await,
    };
    if let Outcome::Over(_) = outcome {
        client.abort();
    }
}

/// Answers what is no request.
async fn refuse(
    visitor: &Visitor,
    side: &mut ClientSide<'_>,
    refused: head::Refused,
    legible: (RequestHead, Vec<u8>),
    watch: &mut Watch,
) -> Outcome {
    let core = visitor.worker.core();
    let (head, bytes) = legible;
    let bytes = Chunk::Received(RecvBuf::Heap(bytes), 0);
    let request = Request { head, bytes, began: core.now() };
    let mut logged = Logged::new(visitor, side, &request);
    let answer = Answer::refused(refused.status(), refused.as_str());
    let (head, bytes) = (&request.head, &request.bytes);
    let outcome = send_answer(visitor, side, head, bytes, answer, watch, &mut logged).await;
    logged.over();
    outcome
}
