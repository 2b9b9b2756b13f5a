//! A connected socket, as a task uses it.
//!
//! Bytes to send are appended to what is pending, and `flush` sends it; bytes received are taken
//! buffer by buffer. Dropping a stream resets the connection; `close` ends it in order, without
//! the task having to wait.

use std::any::Any;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::buffer::RecvBuf;
use super::core::{Core, State};
use super::socket::RecvEnd;
use crate::limits::SEND_PENDING_BYTES_MAX;
use crate::sys::ops::SendBuf;
use crate::time::Instant;

/// An errno of a socket operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Stream {
    core: Core,
    key: u32,
    released: bool,
}

impl Stream {
    pub(super) fn new(core: Core, key: u32) -> Self {
        Self { core, key, released: false }
    }

    /// The time right now: see [`Core::clock`].
    pub fn clock(&self) -> Instant {
        self.core.clock()
    }

    /// Whether the peer has ended its side or reset the connection, and nothing is left to take. It
    /// is known only while receiving is armed.
    pub fn has_ended(&self) -> bool {
        let mut state = self.core.state();
        let socket = state.socket(self.key);
        socket.queue.is_empty() && socket.ended.is_some()
    }

    /// Whether bytes wait to be taken, or receiving has ended. It is known only while receiving is
    /// armed.
    pub fn has_input(&self) -> bool {
        let mut state = self.core.state();
        let socket = state.socket(self.key);
        !socket.queue.is_empty() || socket.ended.is_some()
    }

    /// The same, asked of the kernel too, which is a system call: what has arrived since the last
    /// turn of the loop is known only there.
    pub fn has_news(&self) -> bool {
        if self.has_input() {
            return true;
        }
        let mut state = self.core.state();
        let State { sockets, driver, .. } = &mut *state;
        driver.has_news(sockets[self.key as usize].fd())
    }

    /// The next received bytes; `None` once the peer has sent FIN.
    ///
    /// Receiving is armed when somebody waits here, and stops when nobody takes what comes.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Result<Option<RecvBuf>, Errno>> {
        let mut state = self.core.state();
        let socket = state.socket(self.key);
        if let Some(buffer) = socket.queue.pop_front() {
            return Poll::Ready(Ok(Some(buffer)));
        }
        match socket.ended {
            Some(RecvEnd::Eof) => return Poll::Ready(Ok(None)),
            Some(RecvEnd::Failed(errno)) => return Poll::Ready(Err(Errno(errno))),
            None => {}
        }
        if socket.queue.capacity() > 0 {
            // An idle connection keeps nothing.
            socket.queue = std::collections::VecDeque::new();
        }
        socket.recv_waker = Some(cx.waker().clone());
        state.arm_receive(self.key);
        Poll::Pending
    }

    /// [`Stream::poll_recv`] as a future.
    ///
    /// # Errors
    /// The errno by which receiving ended, `ECONNRESET` above all.
    pub async fn recv(&self) -> Result<Option<RecvBuf>, Errno> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Ready when the connection has failed, of a peer that has nothing more to say; what it says
    /// all the same is thrown away.
    pub fn poll_failed(&self, cx: &mut Context<'_>) -> Poll<Errno> {
        let mut state = self.core.state();
        let socket = state.socket(self.key);
        socket.queue.clear();
        match socket.ended {
            Some(RecvEnd::Failed(errno)) => Poll::Ready(Errno(errno)),
            Some(RecvEnd::Eof) => Poll::Pending,
            None => {
                socket.recv_waker = Some(cx.waker().clone());
                state.arm_receive(self.key);
                Poll::Pending
            }
        }
    }

    /// Ready when the connection has failed. What was received stays where it is.
    pub fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<Errno> {
        let mut state = self.core.state();
        let socket = state.socket(self.key);
        match socket.ended {
            Some(RecvEnd::Failed(errno)) => return Poll::Ready(Errno(errno)),
            Some(RecvEnd::Eof) => return Poll::Pending,
            None => {}
        }
        socket.recv_waker = Some(cx.waker().clone());
        if socket.queue.is_empty() {
            state.arm_receive(self.key);
        }
        Poll::Pending
    }

    /// Ready while less than [`SEND_PENDING_BYTES_MAX`] waits behind the send in flight.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<(), Errno>> {
        let mut state = self.core.state();
        let socket = state.socket(self.key);
        if let Some(errno) = socket.send_error {
            return Poll::Ready(Err(Errno(errno)));
        }
        if socket.pending.len() < SEND_PENDING_BYTES_MAX {
            return Poll::Ready(Ok(()));
        }
        socket.send_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Lends what is pending, with room for `room` more bytes, to be appended to and given back
    /// by [`Stream::restore_pending`] before anything else is done with the stream.
    pub fn lend_pending(&self, room: usize) -> SendBuf {
        let mut state = self.core.state();
        let mut pending = std::mem::take(&mut state.socket(self.key).pending);
        state.pool.reserve(&mut pending, room);
        pending
    }

    /// Takes back what [`Stream::lend_pending`] lent.
    pub fn restore_pending(&self, pending: SendBuf) {
        let mut state = self.core.state();
        if pending.is_empty() || state.socket(self.key).send_error.is_some() {
            state.pool.put(pending);
        } else {
            state.socket(self.key).pending = pending;
        }
    }

    /// Appends a copy of `bytes` to what is pending.
    pub fn append(&self, bytes: &[u8]) {
        let mut pending = self.lend_pending(bytes.len());
        pending.tail().extend_from_slice(bytes);
        self.restore_pending(pending);
    }

    /// Appends what is left of `buf` to what is pending: without a copy where that is nothing.
    pub fn append_buf(&self, buf: SendBuf) {
        if self.core.state().socket(self.key).pending.is_empty() {
            let old = std::mem::take(&mut self.core.state().socket(self.key).pending);
            self.core.state().pool.put(old);
            self.restore_pending(buf);
        } else {
            self.append(buf.remaining());
            self.core.state().pool.put(buf);
        }
    }

    /// Sends what is pending, behind the send in flight.
    pub fn flush(&self) {
        self.core.state().flush(self.key);
    }

    /// Sends FIN once all that was appended is sent.
    pub fn shut_write(&self) {
        self.core.state().shut_write(self.key);
    }

    /// Ends the connection in order: sends what is pending (within
    /// [`CLOSE_FLUSH_TIMEOUT_MS`](crate::limits::CLOSE_FLUSH_TIMEOUT_MS)), then FIN, waits for the
    /// peer's FIN ([`CLOSE_TIMEOUT_MS`](crate::limits::CLOSE_TIMEOUT_MS)), closes. Nobody has to
    /// wait for it.
    pub fn close(mut self) {
        self.released = true;
        self.core.state().close(self.key);
    }

    /// The peer's address, asked of the kernel; `None` for a Unix socket or where it is gone.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        let mut state = self.core.state();
        let State { sockets, driver, .. } = &mut *state;
        driver.peer_address(sockets[self.key as usize].fd())
    }

    /// Acknowledges what has arrived now: the peer waits for it, and no data will carry it soon.
    pub fn acknowledge_now(&self) {
        let mut state = self.core.state();
        let State { sockets, driver, .. } = &mut *state;
        driver.acknowledge_now(sockets[self.key as usize].fd());
    }

    /// Keeps `guard` until the descriptor is closed, which may be after the task has ended.
    pub fn keep(&self, guard: Rc<dyn Any>) {
        self.core.state().socket(self.key).kept = Some(guard);
    }

    /// Waits until a connection that was started is established.
    pub(super) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<Result<(), Errno>> {
        let mut state = self.core.state();
        let socket = state.socket(self.key);
        match socket.connected {
            Some(result) => Poll::Ready(result.map_err(Errno)),
            None => {
                socket.recv_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.released {
            self.core.state().abort(self.key);
        }
    }
}
