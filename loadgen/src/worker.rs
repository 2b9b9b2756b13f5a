//! A worker: one pinned thread whose connections make the load, and count it.
//!
//! The control thread tells it when counting begins, at which rate, and when to stop; it reports a
//! tally every [`REPORT_MS`]. Nothing is shared with other workers but the number of operations
//! that are left of `--count`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use ringfort::metrics::counter::WorkerCounters;
use ringfort::rt::core::{Core, CoreOptions};
use ringfort::rt::driver::Driver;
use ringfort::rt::inbox::Inbox;
use ringfort::rt::timer::TICK_MIN;
use ringfort::time::Instant;
use ringfort::tls::names::{group_name, suite_name, version_name};
use ringfort::tls::session::Agreed;
use rustls::ClientConfig;

use crate::cli::Direction;
use crate::client::{Answer, Client};
use crate::http::response::Response;
use crate::limits::{GRACE_MS, OPENING_MAX, REPORT_MS, RETRY_MS};
use crate::multiplex::{self, Streams};
use crate::outcome::Negotiated;
use crate::pace::{Pace, Share};
use crate::plan::{Plan, Work};
use crate::tally::{Failure, Phase, Tally};
use crate::tls::Identity;

/// What the control thread tells a worker.
#[derive(Clone, Copy, Debug)]
pub enum Message {
    /// A new epoch begins: what is counted from now on is reported under its number.
    Begin {
        /// Its number.
        epoch: u32,
        /// A new rate of this worker; `None` keeps what there is.
        rate_per_s: Option<f64>,
        /// Whether operations count towards `--count`.
        is_counted: bool,
    },
    /// Begin nothing more, and end.
    Stop,
}

/// What a worker has counted in an epoch since its last report.
#[derive(Debug)]
pub struct Report {
    /// The worker's number.
    pub worker: usize,
    /// The epoch.
    pub epoch: u32,
    /// How long its thread has run, or waited for its CPU, since it began.
    pub busy: Duration,
    /// Whether a message of the control thread made it: then nothing of what was counted before
    /// the message is still to come.
    pub is_answer: bool,
    /// What was counted.
    pub tally: Tally,
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// What to do.
    pub plan: Plan,
    /// The clients.
    pub identities: Vec<Identity>,
    /// Operations that are left of `--count`.
    pub left: AtomicU64,
    /// What the first handshake agreed on.
    pub negotiated: OnceLock<Negotiated>,
}

/// See the module's description.
pub struct Worker {
    number: usize,
    core: Core,
    shared: Arc<Shared>,
    reports: Sender<Report>,
    tally: RefCell<Tally>,
    epoch: Cell<u32>,
    is_counted: Cell<bool>,
    pace: RefCell<Option<Pace>>,
    /// Counts the changes of the rate: slots of an earlier one are given back.
    paces: Cell<u64>,
    share: RefCell<Share>,
    stopped_at: Cell<Option<Instant>>,
    /// Connections that have not ended.
    live: Cell<usize>,
    opening: Cell<usize>,
    waiting_to_open: RefCell<VecDeque<Waker>>,
    identity: Cell<usize>,
    source: Cell<usize>,
    plain: Cell<Vec<u8>>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("live", &self.live).finish_non_exhaustive()
    }
}

/// Runs worker `number` on the calling thread until its connections have ended. `works` are those
/// of its connections, by index into the plan's.
///
/// # Errors
/// Only where the driver is beyond use.
pub fn run(
    number: usize,
    works: &[usize],
    shared: Arc<Shared>,
    reports: Sender<Report>,
    driver: Driver,
    inbox: &Inbox<Message>,
) -> io::Result<()> {
    let options = CoreOptions { number, zero_copy_send: false, tick: TICK_MIN };
    let core = Core::new(driver, &options, WorkerCounters::new());
    let worker = Rc::new(Worker {
        number,
        core: core.clone(),
        shared,
        reports,
        tally: RefCell::default(),
        epoch: Cell::new(0),
        is_counted: Cell::new(false),
        pace: RefCell::default(),
        paces: Cell::new(0),
        share: RefCell::default(),
        stopped_at: Cell::new(None),
        live: Cell::new(works.len()),
        opening: Cell::new(0),
        waiting_to_open: RefCell::default(),
        // So that workers do not use the same identities in step.
        identity: Cell::new(number * 7919),
        source: Cell::new(number),
        plain: Cell::default(),
    });
    let works = works.to_vec();
    let mut begun = false;
    let handle = |message| {
        worker.handle(message);
        if !std::mem::replace(&mut begun, true) {
            core.spawn(report(Rc::clone(&worker)));
            works.iter().for_each(|&work| core.spawn(connection(Rc::clone(&worker), work)));
        }
    };
    core.run(inbox, handle, || worker.is_finished())?;
    worker.send_report(false);
    Ok(())
}

impl Worker {
    /// The core.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// What to do.
    pub fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// Counts something.
    pub fn tally(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.tally.borrow_mut());
    }

    /// Storage for plaintext, until it is restored.
    pub fn lend_plain(&self) -> Vec<u8> {
        self.plain.take()
    }

    /// Takes the storage back.
    pub fn restore_plain(&self, storage: Vec<u8>) {
        self.plain.set(storage);
    }

    /// The configuration of the client whose turn it is.
    pub fn next_config(&self, resume: bool) -> &Arc<ClientConfig> {
        let turn = self.identity.replace(self.identity.get().wrapping_add(1));
        let identity = &self.shared.identities[turn % self.shared.identities.len()];
        if resume { &identity.resuming } else { &identity.full }
    }

    /// The address to connect from.
    pub fn next_source(&self) -> Option<IpAddr> {
        let sources = &self.plan().sources;
        let turn = self.source.replace(self.source.get().wrapping_add(1));
        (!sources.is_empty()).then(|| sources[turn % sources.len()])
    }

    /// Remembers what the first handshake agreed on.
    pub fn agreed(&self, agreed: &Agreed) {
        self.shared.negotiated.get_or_init(|| Negotiated {
            version: version_name(agreed.version.into()).into_owned(),
            suite: suite_name(agreed.suite.suite().into()).into_owned(),
            group: agreed.group.map(|group| group_name(group.into()).into_owned()),
            alpn: agreed.alpn.as_deref().map(|name| String::from_utf8_lossy(name).into_owned()),
        });
    }

    fn handle(&self, message: Message) {
        match message {
            Message::Begin { epoch, rate_per_s, is_counted } => {
                self.send_report(true);
                self.epoch.set(epoch);
                self.is_counted.set(is_counted);
                if let Some(rate) = rate_per_s {
                    let (schedule, now) = (self.plan().schedule, self.core.clock());
                    *self.pace.borrow_mut() =
                        Some(Pace::new(rate, schedule, now, self.number as u64));
                    self.paces.set(self.paces.get() + 1);
                }
            }
            Message::Stop => {
                if self.stopped_at.get().is_none() {
                    self.send_report(true);
                    self.stopped_at.set(Some(self.core.clock()));
                    self.core.hurry_closing();
                }
            }
        }
        self.core.wake_all();
    }

    fn is_finished(&self) -> bool {
        let grace = Duration::from_millis(GRACE_MS);
        let is_over = |stopped| self.core.clock() - stopped >= grace;
        (self.live.get() == 0 && self.core.is_idle()) || self.stopped_at.get().is_some_and(is_over)
    }

    /// Whether it begins nothing more.
    pub fn is_stopped(&self) -> bool {
        self.stopped_at.get().is_some()
    }

    fn send_report(&self, is_answer: bool) {
        let tally = self.tally.take();
        // What ends after the stop is not of the measured time.
        if !self.is_stopped() {
            let (worker, epoch) = (self.number, self.epoch.get());
            // The control thread is there until all workers have ended.
            let _ = self.reports.send(Report { worker, epoch, busy: busy(), is_answer, tally });
        }
    }

    /// `future`, unless the worker is to stop.
    async fn unless_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| {
            if self.is_stopped() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// Whether operations are left to be made.
    pub fn has_more(&self) -> bool {
        let is_counted = self.is_counted.get() && self.plan().count.is_some();
        !self.is_stopped() && (!is_counted || self.shared.left.load(Ordering::Relaxed) > 0)
    }

    /// Takes one of the operations of `--count`; whether one was left.
    pub fn take_turn(&self) -> bool {
        let take = |left: u64| left.checked_sub(1);
        !self.is_counted.get()
            || self.plan().count.is_none()
            || self.shared.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// When the next operation begins, or should have begun: it is time now. `None` where there
    /// is to be none.
    pub async fn next_operation(&self) -> Option<Instant> {
        if self.is_stopped() || !self.take_turn() {
            return None;
        }
        loop {
            let pace = self.paces.get();
            let slot = self.pace.borrow_mut().as_mut().map(Pace::take);
            let Some(slot) = slot else { return Some(self.core.clock()) };
            let mut timer = self.core.sleep_until(slot);
            let is_due = self.unless_stopped(poll_fn(|cx| {
                if self.paces.get() != pace {
                    return Poll::Ready(false);
                }
                timer.poll_expired(cx).map(|()| true)
            }));
            if is_due.await? {
                let late = self.core.clock() - slot;
                self.tally(|tally| tally.record_late(late));
                return Some(slot);
            }
        }
    }

    /// An operation has ended.
    pub async fn ended(&self, begun: Instant, result: Result<(), Failure>) {
        match result {
            Ok(()) => {
                let time = self.core.clock() - begun;
                self.tally(|tally| {
                    tally.operations += 1;
                    tally.record(Phase::Total, time);
                });
            }
            Err(failure) => self.failed(failure).await,
        }
    }

    /// Counts a failure, and waits: what failed now would fail again at once.
    pub async fn failed(&self, failure: Failure) {
        self.tally(|tally| tally.fail(failure));
        let retry = self.core.clock() + Duration::from_millis(RETRY_MS);
        self.unless_stopped(self.core.sleep_until(retry)).await;
    }

    /// Opens a connection, not too many at a time.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(self: &Rc<Self>) -> Result<Client, Failure> {
        poll_fn(|cx| {
            if self.opening.get() < OPENING_MAX {
                return Poll::Ready(());
            }
            self.waiting_to_open.borrow_mut().push_back(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.opening.set(self.opening.get() + 1);
        let opened = Client::open(self, false).await;
        self.opening.set(self.opening.get() - 1);
        if let Some(next) = self.waiting_to_open.borrow_mut().pop_front() {
            next.wake();
        }
        opened
    }
}

/// How long the calling thread has run, or waited for a CPU: schedstat of /proc (proc(5)).
fn busy() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let numbers = text.split_whitespace().take(2).filter_map(|number| number.parse::<u64>().ok());
    Duration::from_nanos(numbers.sum())
}

/// Reports until all connections have ended.
async fn report(worker: Rc<Worker>) {
    while worker.live.get() > 0 {
        let next = worker.core.clock() + Duration::from_millis(REPORT_MS);
        if worker.unless_stopped(worker.core.sleep_until(next)).await.is_none() {
            return;
        }
        worker.send_report(false);
    }
}

/// What one connection's task does until there is nothing more to do.
async fn connection(worker: Rc<Worker>, work: usize) {
    let plan = &Arc::clone(&worker.shared).plan;
    match &plan.works[work].0 {
        Work::Handshake { exchange_bytes } => {
            while let Some(begun) = worker.next_operation().await {
                let result = handshake(&worker, *exchange_bytes).await;
                worker.ended(begun, result).await;
            }
        }
        Work::Idle => hold(&worker).await,
        Work::Http2(streams) => multiplex::keep(&worker, &Rc::new(Streams::clone(streams))).await,
        kept => keep(&worker, kept).await,
    }
    worker.live.set(worker.live.get() - 1);
}

/// One operation of `handshake`.
async fn handshake(worker: &Rc<Worker>, exchange_bytes: usize) -> Result<(), Failure> {
    let resume = worker.share.borrow_mut().take(worker.plan().resume);
    let mut client = Client::open(worker, resume).await?;
    if exchange_bytes == 0 {
        return client.finish().await;
    }
    let bytes = exchange_bytes as u64;
    client.exchange(&[], bytes, &mut Answer::Echo(bytes)).await?;
    client.close();
    Ok(())
}

/// Operations on one connection, which is opened again where it ends.
async fn keep(worker: &Rc<Worker>, work: &Work) {
    while !worker.is_stopped() {
        let mut client = match worker.open().await {
            Ok(client) => client,
            // It counts as the operation that it was opened for: a server that is gone must not
            // make a run without end.
            Err(failure) if worker.take_turn() => {
                worker.failed(failure).await;
                continue;
            }
            Err(_) => return,
        };
        loop {
            let Some(begun) = worker.next_operation().await else {
                if matches!(work, Work::Bulk { direction: Direction::Up, .. }) {
                    // What was sent has arrived when the server ends too; if it does not, the
                    // run is over all the same.
                    let _ = client.finish().await;
                } else {
                    client.close();
                }
                return;
            };
            let result = operate(&mut client, work).await;
            let is_open = matches!(result, Ok(true));
            worker.ended(begun, result.map(|_| ())).await;
            if !is_open {
                break;
            }
        }
    }
}

/// One operation; returns whether the connection may carry another one.
async fn operate(client: &mut Client, work: &Work) -> Result<bool, Failure> {
    match work {
        Work::Http(request) => {
            let mut answer = Answer::Http(Response::new(request.expected));
            client.exchange(&request.head, request.body_bytes, &mut answer).await?;
            let Answer::Http(response) = answer else { return Ok(false) };
            client.count_request();
            response.verdict()?;
            Ok(response.keeps_alive)
        }
        Work::Echo { bytes } => {
            let bytes = *bytes as u64;
            client.exchange(&[], bytes, &mut Answer::Echo(bytes)).await?;
            Ok(true)
        }
        Work::Bulk { direction, bytes } => {
            let (sent, mut answer) = match direction {
                Direction::Down => (0, Answer::Bytes(*bytes)),
                Direction::Up => (*bytes, Answer::Nothing),
                Direction::Both => (*bytes, Answer::Echo(*bytes)),
            };
            client.exchange(&[], sent, &mut answer).await?;
            Ok(true)
        }
        Work::Handshake { .. } | Work::Idle | Work::Http2(_) => Ok(false),
    }
}

/// Opens a connection and holds it; where the server ends it, that is a failure, and another one
/// is opened.
async fn hold(worker: &Rc<Worker>) {
    while let Some(begun) = worker.next_operation().await {
        let mut client = match worker.open().await {
            Ok(client) => client,
            Err(failure) => {
                worker.failed(failure).await;
                continue;
            }
        };
        worker.ended(begun, Ok(())).await;
        match worker.unless_stopped(client.ended()).await {
            None => return client.close(),
            Some(ended) => {
                let failure = ended.err().unwrap_or(Failure::Closed(Phase::Total));
                worker.failed(failure).await;
            }
        }
    }
}
