//! hyper's server over memory: all of its input is there, and what it answers is thrown away.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper::body::{Body, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};

use crate::through::Message;

/// Polls that a conversation may take: few, for all of its input is there.
const POLLS_MAX: usize = 1000;

struct Memory {
    input: Vec<u8>,
    at: usize,
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // The client stays: an end here would be taken for one, even with requests yet unread.
        if self.at == self.input.len() {
            return Poll::Pending;
        }
        let end = self.input.len().min(self.at + buffer.remaining());
        buffer.put_slice(&self.input[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The requests that hyper reads.
pub(crate) fn read(input: &[u8]) -> Vec<Message> {
    let found = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let found = Rc::clone(&found);
        async move {
            let message = message(request).await;
            found.borrow_mut().push(message);
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let memory = Memory { input: input.to_vec(), at: 0 };
    let mut connection = pin!(http1::Builder::new().serve_connection(memory, service));
    let mut context = Context::from_waker(Waker::noop());
    let ended = (0..POLLS_MAX).any(|_| connection.as_mut().poll(&mut context).is_ready());
    assert!(ended, "hyper waits for more than {}", input.escape_ascii());
    found.take()
}

async fn message(request: Request<Incoming>) -> Message {
    let (parts, body) = request.into_parts();
    let mut body = pin!(body);
    let mut data = Vec::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame = frame.expect("a body that hyper can read");
        if let Some(part) = frame.data_ref() {
            data.extend_from_slice(part);
        }
    }
    Message {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        fields: parts.headers.len(),
        body: data,
        is_chunked: false,
    }
}
