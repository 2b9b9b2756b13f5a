//! The core: one worker's executor, timers, sockets and driver, and the loop that turns them.
//!
//! The handle is passed explicitly and never leaves its thread. One turn of the loop: messages,
//! ready tasks (bounded, the urgent before the costly), timers, starved sockets, one call into the
//! kernel, completions. There are no callbacks inside the completion loop: a completion changes its
//! owner's state and wakes a task.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use super::driver::Driver;
use super::executor::{Class, Executor};
use super::inbox::Inbox;
use super::listen::{Listener, Listening};
use super::op::{Kind, OpSlots};
use super::pace::Pace;
use super::pool::SendPool;
use super::socket::Socket;
use super::stream::{Errno, Stream};
use super::timer::{TimerKey, Wheel};
use crate::limits::TASK_TIME_PER_TURN_US_MAX;
use crate::metrics::counter::WorkerCounters;
use crate::planted::{Bug, planted};
use crate::sys::descriptor::Descriptor;
use crate::sys::ops::{Completion, SendBuf};
use crate::sys::ring::{WAKE_USER_DATA, Wait};
use crate::time::Instant;

/// What a timer does when it expires.
#[derive(Debug)]
pub(super) enum TimerEvent {
    /// Wakes a task.
    Wake(Waker),
    /// Ends the patience with a socket that is being closed.
    CloseDeadline(u32),
    /// Lets a listener try again.
    AcceptRetry(u32),
}

/// All state of the core but its tasks.
#[derive(Debug)]
pub(super) struct State {
    pub(super) driver: Driver,
    pub(super) ops: OpSlots,
    pub(super) sockets: Slab<Socket>,
    pub(super) listeners: Slab<Listening>,
    pub(super) timers: Wheel<TimerEvent>,
    pub(super) starved: VecDeque<u32>,
    pub(super) pool: SendPool,
    pub(super) zero_copy_send: bool,
    /// No socket gets longer than this to be closed.
    pub(super) close_timeout_ms_max: u64,
    pub(super) counters: Arc<WorkerCounters>,
}

#[derive(Debug)]
struct Inner {
    state: RefCell<State>,
    executor: Executor,
    pace: Cell<Pace>,
    now: Cell<Instant>,
    counters: Arc<WorkerCounters>,
}

/// How to make a core.
#[derive(Clone, Copy, Debug)]
pub struct CoreOptions {
    /// Its number, unique on its thread.
    pub number: usize,
    /// Whether large sends are made without a copy.
    pub zero_copy_send: bool,
    /// By how much a timer may be late; at least [`TICK_MIN`](super::timer::TICK_MIN).
    pub tick: Duration,
}

/// The handle of a core.
#[derive(Clone, Debug)]
pub struct Core {
    inner: Rc<Inner>,
}

impl Core {
    /// A core over `driver`.
    pub fn new(driver: Driver, options: &CoreOptions, counters: Arc<WorkerCounters>) -> Self {
        let now = driver.now();
        let state = State {
            driver,
            ops: OpSlots::default(),
            sockets: Slab::new(),
            listeners: Slab::new(),
            timers: Wheel::new(now, options.tick),
            starved: VecDeque::new(),
            pool: SendPool::default(),
            zero_copy_send: options.zero_copy_send,
            close_timeout_ms_max: u64::MAX,
            counters: Arc::clone(&counters),
        };
        let inner = Inner {
            state: RefCell::new(state),
            executor: Executor::new(options.number),
            pace: Cell::new(Pace::new(now)),
            now: Cell::new(now),
            counters,
        };
        Self { inner: Rc::new(inner) }
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.inner.state.borrow_mut()
    }

    /// The time at which this turn of the loop began to run tasks.
    pub fn now(&self) -> Instant {
        self.inner.now.get()
    }

    /// The time right now; for measuring, where [`Core::now`] is too coarse.
    pub fn clock(&self) -> Instant {
        self.state().driver.now()
    }

    /// The counters of this core.
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.inner.counters
    }

    /// Starts a task that somebody waits for.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.spawn_as(Class::Urgent, future);
    }

    /// Starts a task that strangers cause and that may be long: it has the time that urgent ones
    /// leave, or else a share. [`Core::make_urgent`] ends that.
    pub fn spawn_costly(&self, future: impl Future<Output = ()> + 'static) {
        self.spawn_as(Class::Costly, future);
    }

    fn spawn_as(&self, class: Class, future: impl Future<Output = ()> + 'static) {
        self.inner.executor.spawn(class, future);
        self.inner.counters.tasks_live.increment();
    }

    /// The task that calls this is urgent from now on.
    pub fn make_urgent(&self) {
        self.inner.executor.reclassify(Class::Urgent);
    }

    /// Whether costly tasks get no more than their share while urgent ones run now and then, even
    /// where these leave time: what they cost is lost anyway.
    pub fn hold_costly(&self, holding: bool) {
        self.update_pace(|pace| pace.hold(holding));
    }

    /// The wait of the last turn is over, on a simulated driver: what came meanwhile is there
    /// before the next turn begins.
    #[cfg(feature = "sim")]
    pub fn wake(&self) {
        self.state().driver.wake();
        self.dispatch_completions();
    }

    /// Tasks that have not ended.
    #[cfg(feature = "sim")]
    pub(super) fn tasks(&self) -> usize {
        self.inner.executor.tasks()
    }

    /// Makes every task ready; for changes that concern all of them.
    pub fn wake_all(&self) {
        self.inner.executor.wake_all();
    }

    /// Shortens the time that sockets get to be closed in order, from now on.
    pub fn hurry_closing(&self) {
        self.state().hurry_closing();
    }

    /// Whether any task, socket or operation is left.
    pub fn is_idle(&self) -> bool {
        let state = self.state();
        self.inner.executor.tasks() == 0 && state.sockets.is_empty() && state.ops.in_flight() == 0
    }

    /// Empty storage for so many bytes, of the pool that sends are made from.
    pub fn storage(&self, bytes: usize) -> SendBuf {
        let mut storage = SendBuf::default();
        self.state().pool.reserve(&mut storage, bytes);
        storage
    }

    /// Takes storage back; its content is gone.
    pub fn reuse(&self, storage: SendBuf) {
        self.state().pool.put(storage);
    }

    /// Takes over a listening socket.
    pub fn listen(&self, socket: impl Into<Descriptor>) -> Listener {
        let key = self.state().add_listener(socket.into());
        Listener::new(self.clone(), key)
    }

    /// Connects to `address`, from the address `source` where one is given. Dropping the future
    /// gives the attempt up.
    ///
    /// # Errors
    /// The errno of socket(2), bind(2) or connect(2).
    pub async fn connect(
        &self,
        address: socket2::SockAddr,
        source: Option<IpAddr>,
    ) -> Result<Stream, Errno> {
        let stream = {
            let mut state = self.state();
            let socket = state
                .driver
                .connecting(&address, source)
                .map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))?;
            // AF_UNIX lacks SOCK_SUPPORT_ZC: SEND_ZC fails there with EOPNOTSUPP.
            let key = state.add_socket(socket, !address.is_unix());
            state.start_connect(key, address);
            Stream::new(self.clone(), key)
        };
        std::future::poll_fn(|cx| stream.poll_connected(cx)).await?;
        Ok(stream)
    }

    /// A future that is ready at `deadline`.
    pub fn sleep_until(&self, deadline: Instant) -> Timer {
        Timer { core: self.clone(), deadline, key: None }
    }

    /// `future`, unless `deadline` comes first.
    ///
    /// # Errors
    /// [`Elapsed`] at the deadline.
    pub async fn timeout_at<F: Future>(
        &self,
        deadline: Instant,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let mut future = std::pin::pin!(future);
        let mut timer = self.sleep_until(deadline);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            timer.poll_expired(cx).map(|()| Err(Elapsed))
        })
        .await
    }

    /// Runs until `handle` or a task has made `finished` true. Messages go to `handle`.
    ///
    /// # Errors
    /// Only where the driver is beyond use.
    pub fn run<M>(
        &self,
        inbox: &Inbox<M>,
        mut handle: impl FnMut(M),
        mut finished: impl FnMut() -> bool,
    ) -> io::Result<()> {
        while !self.turn(inbox, &mut handle, &mut finished)? {}
        Ok(())
    }

    /// One turn of the loop of [`Core::run`]. Returns whether it was the last.
    ///
    /// # Errors
    /// As [`Core::run`].
    pub fn turn<M>(
        &self,
        inbox: &Inbox<M>,
        mut handle: impl FnMut(M),
        mut finished: impl FnMut() -> bool,
    ) -> io::Result<bool> {
        while let Some(message) = inbox.next() {
            handle(message);
        }
        self.run_tasks();
        self.expire_timers();
        let is_feeding = self.state().feed_starved();
        if finished() {
            return Ok(true);
        }
        let wait = if is_feeding || self.inner.executor.has_ready(Class::Urgent) {
            Wait::No
        } else {
            self.sleep_time()
        };
        let wait = if wait == Wait::No || inbox.prepare_sleep() { wait } else { Wait::No };
        let turned = self.state().driver.turn(wait);
        inbox.awake();
        turned?;
        self.dispatch_completions();
        Ok(false)
    }

    /// A turn is bounded in time, not in tasks: one may cost a microsecond or a handshake, and
    /// what waits for the next turn waits for all of them.
    fn run_tasks(&self) {
        let started = self.clock();
        self.inner.now.set(started);
        let executor = &self.inner.executor;
        let enough = Duration::from_micros(TASK_TIME_PER_TURN_US_MAX);
        let with_urgent = executor.run(Class::Urgent, || self.clock() - started >= enough);
        if executor.has_ready(Class::Costly) {
            self.run_costly(with_urgent);
        } else if with_urgent {
            self.update_pace(|pace| pace.ran_urgent(started));
        }
        self.inner.counters.tasks_live.set(executor.tasks() as u64);
    }

    fn run_costly(&self, with_urgent: bool) {
        let began = self.clock();
        let enough = self.update_pace(|pace| pace.allowance(began, with_urgent));
        if !enough.is_zero() {
            let mut ran = Duration::ZERO;
            self.inner.executor.run(Class::Costly, || {
                ran = self.clock() - began;
                ran >= enough
            });
            self.update_pace(|pace| pace.spend(ran));
        }
    }

    fn update_pace<R>(&self, update: impl FnOnce(&mut Pace) -> R) -> R {
        let mut pace = self.inner.pace.get();
        let result = update(&mut pace);
        self.inner.pace.set(pace);
        result
    }

    fn sleep_time(&self) -> Wait {
        let has_costly = self.inner.executor.has_ready(Class::Costly);
        let state = self.state();
        let deadline = state.timers.next_deadline();
        if deadline.is_none() && !has_costly {
            return Wait::Forever;
        }
        let now = state.driver.now();
        let until_deadline = deadline.map(|deadline| deadline - now);
        let until_costly = has_costly.then(|| self.inner.pace.get().wait(now));
        match until_deadline.into_iter().chain(until_costly).min() {
            Some(time) if time.is_zero() && has_costly => Wait::No,
            Some(time) => Wait::AtMost(time),
            None => Wait::Forever,
        }
    }

    fn expire_timers(&self) {
        let now = self.now();
        let mut state = self.state();
        while let Some(event) = state.timers.expire(now) {
            match event {
                TimerEvent::Wake(waker) => waker.wake(),
                TimerEvent::CloseDeadline(key) => state.on_close_deadline(key),
                TimerEvent::AcceptRetry(key) => state.on_accept_retry(key),
            }
        }
    }

    fn dispatch_completions(&self) {
        let mut state = self.state();
        let mut completions = 0;
        while let Some(completion) = state.driver.next_completion() {
            completions += 1;
            state.dispatch(completion);
        }
        let (enters, overflows) = state.driver.enters_and_overflows();
        let counters = &self.inner.counters;
        counters.turns.increment();
        counters.completions.add(completions);
        counters.enters.add(enters - counters.enters.get());
        counters.cq_overflows.add(u64::from(overflows) - counters.cq_overflows.get());
    }
}

impl State {
    fn dispatch(&mut self, completion: Completion) {
        if completion.user_data == WAKE_USER_DATA {
            return;
        }
        let (kind, owner) = self.ops.complete(completion.user_data, completion.more);
        match kind {
            Kind::Accept => self.on_accept(owner, completion),
            Kind::Receive => self.on_receive(owner, completion),
            Kind::Send => self.on_send(owner, completion),
            Kind::Connect => self.on_connect(owner, &completion),
            Kind::Close => self.on_close(owner),
            Kind::Cancel => {}
        }
    }
}

/// The deadline came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// A deadline that a task waits for. It can be moved; dropping it disarms it.
#[derive(Debug)]
pub struct Timer {
    core: Core,
    deadline: Instant,
    key: Option<TimerKey>,
}

impl Timer {
    /// Ready from the deadline on.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.core.now() >= self.deadline {
            return Poll::Ready(());
        }
        if self.key.is_none() {
            let event = TimerEvent::Wake(cx.waker().clone());
            self.key = Some(self.core.state().timers.insert(self.deadline, event));
        }
        Poll::Pending
    }

    /// When it is ready.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves the deadline.
    pub fn reset(&mut self, deadline: Instant) {
        self.disarm();
        self.deadline = deadline;
    }

    fn disarm(&mut self) {
        if let Some(key) = self.key.take() {
            self.core.state().timers.cancel(key);
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_expired(cx)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if !planted(Bug::LeakTimer) {
            self.disarm();
        }
    }
}
