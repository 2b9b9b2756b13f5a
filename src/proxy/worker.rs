//! A worker: one pinned thread with a core of its own, which accepts and serves.
//!
//! The control thread speaks to it by [`Message`]s; it answers by counters and log records.
//! Phases: running; draining (accepts nothing more, connections end by themselves); cut off (what
//! is left is closed now). The loop ends when nothing is left.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::admission::{Admission, SharedAdmission};
use super::connection::serve;
use super::gate::{Asking, Gate, Pass};
use super::leases::Leases;
use super::upstream::Upstreams;
use crate::config::snapshot::{Listener as ListenerConfig, Snapshot};
use crate::error::{CloseKind, CloseReason};
use crate::log::{ConnectionRecord, LogSender, Record, RequestRecord};
use crate::metrics::counter::WorkerCounters;
use crate::metrics::phases::Phases;
use crate::planted::{Bug, planted};
use crate::rt::core::{Core, CoreOptions};
use crate::rt::driver::Driver;
use crate::rt::inbox::Inbox;
use crate::rt::listen::Listener;
use crate::rt::stream::Stream;
use crate::rt::timer::TICK;
use crate::sys::descriptor::Descriptor;
use crate::trust::store::SessionStore;
use crate::trust::visit::Desk;

/// A connection's number begins with its worker's.
const CONNECTION_COUNT_BITS: u32 = 48;

/// What the control thread tells a worker.
#[derive(Clone, Debug)]
pub enum Message {
    /// New connections see this configuration.
    Publish(Arc<Snapshot>),
    /// Accept nothing more, and end when the last connection has.
    Drain,
    /// End what is left, for this reason.
    CutOff(CloseKind),
    /// The wall clock was set: who is connected is judged again.
    ClockSet,
}

/// What a worker is made of.
#[derive(Debug)]
pub struct Parts {
    /// Its number, from 0.
    pub number: usize,
    /// One for each listener of the snapshot, in its order.
    pub listeners: Vec<Descriptor>,
    /// The configuration to begin with.
    pub snapshot: Arc<Snapshot>,
    /// What all workers share.
    pub admission: Arc<SharedAdmission>,
    /// The sessions of all workers.
    pub sessions: Arc<SessionStore>,
    /// Its counters.
    pub counters: Arc<WorkerCounters>,
    /// How long the parts of handshakes took, of each listener, in the order of the snapshot.
    pub phases: Vec<Arc<Phases>>,
    /// Its log buffer.
    pub log: LogSender,
}

/// A configuration behind a count of this thread's own: the inner one is shared by all workers, who
/// would fight over its cache line with each request.
pub(super) type Published = Rc<Arc<Snapshot>>;

/// See the module's description.
#[derive(Debug)]
pub struct Worker {
    core: Core,
    snapshot: RefCell<Published>,
    admission: Rc<Admission>,
    upstreams: Rc<Upstreams>,
    leases: Rc<Leases>,
    desk: Arc<Desk>,
    gate: Rc<Gate>,
    phases: Vec<Arc<Phases>>,
    log: LogSender,
    number: usize,
    /// Connections that were accepted.
    connections: Cell<u64>,
    draining: Cell<bool>,
    cut_off: Cell<Option<CloseKind>>,
}

/// Runs a worker on the calling thread, over `driver`, until it has drained.
///
/// # Errors
/// Only where the driver is beyond use.
pub fn run(parts: Parts, driver: Driver, inbox: &Inbox<Message>) -> io::Result<()> {
    let worker = Worker::start(parts, driver);
    while !worker.turn(inbox)? {}
    Ok(())
}

impl Worker {
    /// A worker that accepts as soon as it gets its turns.
    pub fn start(parts: Parts, driver: Driver) -> Rc<Self> {
        let options = CoreOptions {
            number: parts.number,
            zero_copy_send: parts.snapshot.ring.zero_copy_send,
            tick: TICK,
        };
        let verdicts_max = parts.snapshot.limits.verdicts_per_worker_max as usize;
        let desk = Desk::new(verdicts_max, parts.sessions, Arc::clone(&parts.counters));
        let gate = Gate::new(parts.admission.seed(), Arc::clone(&parts.counters));
        let descriptors = parts.admission.descriptors();
        let core = Core::new(driver, &options, parts.counters);
        let worker = Rc::new(Self {
            core: core.clone(),
            snapshot: RefCell::new(Rc::new(parts.snapshot)),
            admission: Admission::new(parts.admission),
            upstreams: Rc::new(Upstreams::new(descriptors)),
            leases: Rc::default(),
            desk,
            gate,
            phases: parts.phases,
            log: parts.log,
            number: parts.number,
            connections: Cell::new(0),
            draining: Cell::new(false),
            cut_off: Cell::new(None),
        });
        for (index, socket) in parts.listeners.into_iter().enumerate() {
            let listener = core.listen(socket);
            // Accepting is the first thing that strangers can have done.
            core.spawn_costly(accept(Rc::clone(&worker), index, listener));
        }
        worker
    }

    /// One turn of its loop. Returns whether it has drained, and this was the last.
    ///
    /// # Errors
    /// As [`run`].
    pub fn turn(&self, inbox: &Inbox<Message>) -> io::Result<bool> {
        let drained = || self.draining.get() && self.core.is_idle();
        self.core.turn(inbox, |message| self.handle(message), drained)
    }

    /// The core.
    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    /// The upstreams' endpoints as this worker sees them.
    pub(super) fn upstreams(&self) -> &Rc<Upstreams> {
        &self.upstreams
    }

    /// The configuration in force.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&**self.snapshot.borrow())
    }

    /// The same for a moment: without touching what all workers share.
    pub(super) fn published(&self) -> Published {
        Rc::clone(&self.snapshot.borrow())
    }

    /// Whether connections are to end by themselves.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Seconds since 1970, by the clock of a listener; 0 where there is none.
    pub(super) fn unix_s(&self, listener: usize) -> i64 {
        let time = Arc::clone(self.snapshot.borrow().listeners[listener].tls.time());
        time.current_time().map_or(0, crate::trust::verdict::unix_s)
    }

    /// Whether requests are logged.
    pub(super) fn logs_requests(&self) -> bool {
        self.log.is_on()
    }

    /// A request has its response, or will have none.
    pub(super) fn log_request(&self, record: Box<RequestRecord>) {
        self.log.send(Record::Request(record));
    }

    /// The clients that are connected.
    pub(super) fn leases(&self) -> &Rc<Leases> {
        &self.leases
    }

    /// What it keeps for all its handshakes.
    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Asks for a handshake; `None` where there are too many already.
    pub(super) fn arrive(&self, who: Asking) -> Option<Pass> {
        self.gate.arrive(self.core.now(), who, &self.snapshot.borrow().limits)
    }

    /// How long a handshake may wait for its turn.
    pub(super) fn handshake_queue(&self) -> Duration {
        self.snapshot.borrow().limits.handshake_queue
    }

    /// A connection got in, or failed to.
    pub(super) fn settle(&self, record: &ConnectionRecord, is_good: bool) {
        let source = record.peer.map(|peer| peer.ip());
        let is_flood = self.gate.settle(self.core.now(), source, is_good);
        self.core.hold_costly(is_flood);
    }

    /// Why connections must end now, where they must.
    pub(super) fn cut_off(&self) -> Option<CloseReason> {
        self.cut_off.get().map(CloseReason::internal)
    }

    /// `future`, unless connections must end.
    pub(super) async fn unless_cut_off<F: Future>(
        &self,
        future: F,
    ) -> Result<F::Output, CloseReason> {
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| match self.cut_off() {
            Some(reason) => Poll::Ready(Err(reason)),
            None => future.as_mut().poll(cx).map(Ok),
        })
        .await
    }

    /// See [`Core::wake`].
    #[cfg(feature = "sim")]
    pub fn wake(&self) {
        self.core.wake();
    }

    /// What this worker holds now: of its core, and places, upstreams' leases and clients' leases,
    /// and whether (1) or not (0) a task looks after these; connections to upstreams that wait, and
    /// whether a task looks after them.
    #[cfg(feature = "sim")]
    pub fn audit(&self) -> (crate::rt::audit::Audit, [usize; 6]) {
        let pool = self.upstreams.pool();
        let pooled = [pool.len(), usize::from(pool.is_kept())];
        let leases = [self.leases.len(), usize::from(self.leases.is_swept())];
        let [clients, sweepers] = leases;
        let [waiting, keepers] = pooled;
        let (places, upstreams) = (self.admission.places(), self.upstreams.leases());
        (self.core.audit(), [places, upstreams, clients, sweepers, waiting, keepers])
    }

    /// Lets somebody in without a connection.
    ///
    /// # Errors
    /// As [`Leases::grant`].
    #[cfg(feature = "sim")]
    pub fn hold(
        self: &Rc<Self>,
        holder: super::leases::Holder,
    ) -> Result<super::leases::Lease, CloseReason> {
        self.leases.grant(self, holder).map_err(|(reason, _)| reason)
    }

    /// How many leases were judged in passes, and the most of them in one go.
    #[cfg(feature = "sim")]
    pub fn judged(&self) -> (usize, usize) {
        self.leases.judged()
    }

    /// Who is let in.
    #[cfg(feature = "sim")]
    pub fn held(&self) -> Vec<super::leases::Held> {
        self.leases.holders()
    }

    /// A connection has ended.
    pub(super) fn closed(&self, record: Box<ConnectionRecord>) {
        self.core.counters().connections_closed.increment();
        self.log.send(Record::Connection(record));
    }

    fn handle(&self, message: Message) {
        match message {
            Message::Publish(snapshot) => return self.publish(snapshot),
            Message::ClockSet if planted(Bug::ForgetClock) => return,
            Message::ClockSet => {
                // A refusal is kept for a while of the clock that was.
                self.desk.verdicts().forget_refusals();
                return self.leases.recheck();
            }
            Message::Drain => {
                self.draining.set(true);
                self.upstreams.close();
            }
            Message::CutOff(kind) => {
                self.draining.set(true);
                self.upstreams.close();
                self.cut_off.set(Some(kind));
                self.core.hurry_closing();
            }
        }
        self.core.wake_all();
    }

    /// New handshakes see `snapshot` from now on, and who is connected is judged by it. What else a
    /// connection got from its listener it keeps.
    fn publish(&self, snapshot: Arc<Snapshot>) {
        self.upstreams.retain(&snapshot.clusters);
        let before = self.snapshot.replace(Rc::new(Arc::clone(&snapshot)));
        // Where only addresses of upstreams have changed the listeners are the same ones.
        let same =
            |(before, now): (&Arc<ListenerConfig>, &Arc<ListenerConfig>)| Arc::ptr_eq(before, now);
        if !before.listeners.iter().zip(&snapshot.listeners).all(same) {
            // Verdicts stay: what decided about them is a part of what they are found by.
            if !planted(Bug::ForgetLeases) {
                self.leases.recheck();
            }
        }
    }

    /// How many more connections it may take, and how many a listener may have waiting.
    fn room(&self, index: usize) -> (u32, u32) {
        let snapshot = self.snapshot.borrow();
        let room = self.admission.room(&snapshot.limits);
        (room, snapshot.listeners[index].socket.backlog)
    }

    /// The number of a new connection: the worker's, and one that counts up.
    fn next_id(&self) -> u64 {
        let count = self.connections.get() + 1;
        self.connections.set(count);
        (self.number as u64) << CONNECTION_COUNT_BITS | count
    }

    fn admit(self: &Rc<Self>, index: usize, stream: Stream) {
        let counters = self.core.counters();
        counters.accepted.increment();
        let snapshot = self.snapshot.borrow();
        let listener = Arc::clone(&snapshot.listeners[index]);
        let peer = stream.peer_address();
        let mut record = Box::new(ConnectionRecord::new(self.core.now(), &listener.name, peer));
        record.id = self.next_id();
        match self.admission.admit(peer.map(|peer| peer.ip()), &snapshot.limits) {
            Some(place) => {
                if planted(Bug::LeakPlace) {
                    std::mem::forget(Rc::clone(&place));
                }
                stream.keep(place);
                let phases = Arc::clone(&self.phases[index]);
                self.core.spawn_costly(serve(Rc::clone(self), index, stream, record, phases));
            }
            None => {
                counters.refused_limit.increment();
                record.reason = CloseReason::downstream(CloseKind::SourceLimit);
                if !planted(Bug::ForgetToCount) {
                    self.closed(record);
                }
            }
        }
    }
}

/// Accepts until the worker drains, and then what is left in the backlog.
async fn accept(worker: Rc<Worker>, index: usize, listener: Listener) {
    let core = worker.core.clone();
    while !worker.draining.get() {
        let (room, backlog) = worker.room(index);
        if room == 0 {
            listener.pause();
            worker.admission.changed(&core).await;
            continue;
        }
        // A multishot accept takes all that is in the backlog, so it needs the room for that.
        let multishot = room >= backlog;
        let next = poll_fn(|cx| {
            if worker.draining.get() {
                return Poll::Ready(None);
            }
            listener.poll_accept(cx, multishot).map(Some)
        });
        if let Some(stream) = next.await {
            worker.admit(index, stream);
        }
    }
    // Closing a listener resets what waits in its backlog; those clients came in time.
    while let Some(stream) = poll_fn(|cx| listener.poll_backlog(cx, worker.room(index).0 > 0)).await
    {
        worker.admit(index, stream);
    }
}
