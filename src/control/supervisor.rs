//! Starts the workers, and is their only contact with the rest of the process.
//!
//! The control thread may block; the workers never wait for it. A [`Gateway`] is also how tests
//! and the demo run a whole gateway in their own process.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use super::load::random_seed;
use super::logwriter::LogWriter;
use super::placement::{PlacementError, place};
use crate::config::snapshot::{Listener, Snapshot};
use crate::error::CloseKind;
use crate::log;
use crate::metrics::counter::{CounterSnapshot, WorkerCounters};
use crate::metrics::phases::{PhaseSummaries, Phases, PhasesSnapshot};
use crate::proxy::admission::SharedAdmission;
use crate::proxy::worker::{self, Message, Parts};
use crate::rt::driver::Driver;
use crate::rt::inbox::{Outbox, mailbox};
use crate::rt::uring::Uring;
use crate::sys::descriptor::Descriptor;
use crate::sys::ring::{Bell, SetupError};
use crate::sys::{cpu, ring, sockopt};
use crate::tls::provider::warm_up;
use crate::trust::store::SessionStore;

/// Why the gateway did not start; the text is for the operator.
#[derive(Debug)]
pub enum StartError {
    /// The workers cannot be placed on CPUs.
    Placement(PlacementError),
    /// A worker could not be pinned to this CPU.
    Pin(usize),
    /// io_uring cannot be used.
    Ring(SetupError),
    /// This address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// The crypto backend fails its own start.
    Crypto(rustls::Error),
    /// The log cannot be opened.
    Log(io::Error),
    /// A thread or a descriptor could not be made.
    Resources(io::Error),
    /// A worker ended before it was ready.
    WorkerLost,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placement(error) => error.fmt(f),
            Self::Pin(cpu) => write!(f, "a worker cannot be pinned to CPU {cpu}: correct cpus"),
            Self::Ring(error) => error.fmt(f),
            Self::Listen(address, error) => {
                write!(f, "{address} cannot be listened on: {error}; `ringfort check` tells more")
            }
            Self::Crypto(error) => write!(f, "the crypto backend does not work: {error}"),
            Self::Log(error) => write!(f, "the log cannot be opened: {error}; correct log.target"),
            Self::Resources(error) => write!(f, "a worker cannot be started: {error}"),
            Self::WorkerLost => f.write_str("a worker ended before it was ready"),
        }
    }
}

impl std::error::Error for StartError {}

struct Handle {
    /// `None` once it was joined.
    thread: Option<JoinHandle<io::Result<()>>>,
    outbox: Outbox<Message>,
    counters: Arc<WorkerCounters>,
    /// Of each listener.
    phases: Vec<Arc<Phases>>,
    cpu: usize,
}

impl Handle {
    fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// A gateway that is running.
pub struct Gateway {
    workers: Vec<Handle>,
    receivers: Vec<log::LogReceiver>,
    writer: LogWriter,
    bell: Bell,
    snapshot: Arc<Snapshot>,
    /// Listeners of earlier configurations that something still refers to.
    retired: Vec<Arc<Listener>>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Starts one worker per CPU (or as configured), each with its listeners; all of them accept
    /// when this returns.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(snapshot: Snapshot) -> Result<Self, StartError> {
        let cpus = placement(&snapshot)?;
        let writer = LogWriter::open(&snapshot.log).map_err(StartError::Log)?;
        let bell = Bell::new().map_err(StartError::Ring)?;
        let mut gateway = Self {
            workers: Vec::with_capacity(cpus.len()),
            receivers: Vec::new(),
            writer,
            bell,
            snapshot: Arc::new(snapshot),
            retired: Vec::new(),
        };
        let admission = SharedAdmission::new(random_seed());
        let bytes_max = gateway.snapshot.limits.session_cache_bytes as usize;
        let sessions = Arc::new(SessionStore::new(bytes_max));
        let started = cpus.iter().enumerate().try_for_each(|(number, &cpu)| {
            gateway.start_worker(number, cpu, &admission, &sessions)
        });
        if let Err(error) = started {
            gateway.tell(&Message::CutOff(CloseKind::Stopped));
            gateway.join();
            return Err(error);
        }
        Ok(gateway)
    }

    fn start_worker(
        &mut self,
        number: usize,
        cpu: usize,
        admission: &Arc<SharedAdmission>,
        sessions: &Arc<SessionStore>,
    ) -> Result<(), StartError> {
        let listeners = self.listen()?;
        let counters = WorkerCounters::new();
        let phases: Vec<_> = listeners.iter().map(|_| Phases::new()).collect();
        let log = if self.writer.is_on() {
            let (sender, receiver) = log::channel(&counters);
            self.receivers.push(receiver);
            sender
        } else {
            log::disabled(&counters)
        };
        let parts = Parts {
            number,
            listeners,
            snapshot: Arc::clone(&self.snapshot),
            admission: Arc::clone(admission),
            sessions: Arc::clone(sessions),
            counters: Arc::clone(&counters),
            phases: phases.clone(),
            log,
        };
        let (thread, ready) = spawn(parts, cpu).map_err(StartError::Resources)?;
        match ready.recv() {
            Ok(Ok(outbox)) => {
                self.workers.push(Handle { thread: Some(thread), outbox, counters, phases, cpu });
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartError::WorkerLost),
        }
    }

    /// One socket per listener, for one worker.
    fn listen(&self) -> Result<Vec<Descriptor>, StartError> {
        let listen = |listener: &Arc<Listener>| {
            sockopt::listen(listener.address, &socket_options(listener))
                .map(Descriptor::from)
                .map_err(|error| StartError::Listen(listener.address, error))
        };
        self.snapshot.listeners.iter().map(listen).collect()
    }

    /// The addresses that it listens on, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.snapshot.listeners.iter().map(|listener| listener.address).collect()
    }

    /// The CPU of each worker.
    pub fn cpus(&self) -> Vec<usize> {
        self.workers.iter().map(|worker| worker.cpu).collect()
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The sum of all workers' counters.
    pub fn counters(&self) -> CounterSnapshot {
        self.workers.iter().map(|worker| worker.counters.snapshot()).sum()
    }

    /// How long the parts of handshakes took, of each listener by its name, over all workers.
    pub fn phases(&self) -> Vec<(Arc<str>, PhaseSummaries)> {
        let of = |(index, listener): (usize, &Arc<Listener>)| {
            let mut sum = PhasesSnapshot::default();
            for phases in self.workers.iter().filter_map(|worker| worker.phases.get(index)) {
                phases.add_to(&mut sum);
            }
            (Arc::clone(&listener.name), sum.summaries())
        };
        self.snapshot.listeners.iter().enumerate().map(of).collect()
    }

    /// New connections see `snapshot`; those that live keep theirs.
    ///
    /// Its listeners are those that the gateway was started with, in the same order, whatever they
    /// do now: workers know them by their place.
    pub fn publish(&mut self, snapshot: Snapshot) {
        let names = |snapshot: &Snapshot| {
            snapshot.listeners.iter().map(|it| Arc::clone(&it.name)).collect::<Vec<_>>()
        };
        debug_assert_eq!(names(&self.snapshot), names(&snapshot));
        let before = std::mem::replace(&mut self.snapshot, Arc::new(snapshot));
        let now = &self.snapshot.listeners;
        let is_gone = |old: &&Arc<Listener>| !now.iter().any(|new| Arc::ptr_eq(old, new));
        self.retired.extend(before.listeners.iter().filter(is_gone).cloned());
        self.tell(&Message::Publish(Arc::clone(&self.snapshot)));
    }

    /// Frees what earlier configurations had and nobody uses any more.
    ///
    /// Here, so that no worker does it at the end of some connection: to free large roots takes
    /// longer than a worker may stand still.
    pub fn free_retired(&mut self) {
        // Nobody makes a second one of the last, so what is free stays free.
        self.retired.retain(|listener| Arc::strong_count(listener) > 1);
    }

    /// The wall clock was set: who is connected is judged again.
    pub fn clock_was_set(&mut self) {
        self.tell(&Message::ClockSet);
    }

    /// Accepts nothing more; connections end by themselves.
    pub fn drain(&mut self) {
        self.tell(&Message::Drain);
    }

    /// Ends what is left.
    pub fn cut_off(&mut self, reason: CloseKind) {
        self.tell(&Message::CutOff(reason));
    }

    fn tell(&mut self, message: &Message) {
        for worker in &self.workers {
            // Fails where the worker is gone, which `join` reports, or where the kernel has no
            // memory to ring it; the message is read at its next turn all the same.
            let _ = worker.outbox.send(message.clone(), &mut self.bell);
        }
    }

    /// Whether all workers have ended.
    pub fn is_finished(&self) -> bool {
        self.workers.iter().all(Handle::is_finished)
    }

    /// Whether a worker has ended; before a drain that is a failure.
    pub fn has_lost_worker(&self) -> bool {
        self.workers.iter().any(Handle::is_finished)
    }

    /// Writes the log records that wait.
    pub fn write_log(&mut self) {
        self.writer.drain(&self.receivers, Uring::clock());
    }

    /// The log, for events of the gateway itself.
    pub fn log(&mut self) -> &mut LogWriter {
        &mut self.writer
    }

    /// Opens the log's file anew, for whoever rotates it by renaming.
    ///
    /// # Errors
    /// As [`LogWriter::reopen`].
    pub fn reopen_log(&mut self) -> io::Result<()> {
        let target = self.snapshot.log.clone();
        self.writer.reopen(&target)
    }

    /// Waits until all workers have ended; returns the errors of those that failed.
    pub fn join(&mut self) -> Vec<io::Error> {
        self.reap(|_| true)
    }

    /// The errors of the workers that have ended, each told once.
    pub fn failures(&mut self) -> Vec<io::Error> {
        self.reap(Handle::is_finished)
    }

    fn reap(&mut self, which: impl Fn(&Handle) -> bool) -> Vec<io::Error> {
        let mut errors = Vec::new();
        for worker in self.workers.iter_mut().filter(|worker| which(worker)) {
            match worker.thread.take().map(JoinHandle::join) {
                Some(Ok(Ok(()))) | None => {}
                Some(Ok(Err(error))) => errors.push(error),
                Some(Err(_)) => errors.push(io::Error::other("it panicked")),
            }
        }
        self.write_log();
        errors
    }
}

/// Whether workers could start: their CPUs, and an io_uring as configured.
///
/// # Errors
/// What [`Gateway::start`] would say.
pub fn preflight(snapshot: &Snapshot) -> Result<(), StartError> {
    let cpus = placement(snapshot)?;
    let snapshot = snapshot.clone();
    // On a thread of its own, for it is pinned.
    let probe =
        thread::spawn(move || cpus.iter().try_for_each(|&cpu| prepare(&snapshot, cpu).map(drop)));
    probe.join().unwrap_or(Err(StartError::WorkerLost))
}

fn placement(snapshot: &Snapshot) -> Result<Vec<usize>, StartError> {
    place(snapshot.cpus.as_deref(), snapshot.workers, &cpu::allowed(), cpu::quota())
        .map_err(StartError::Placement)
}

type Ready = Result<Outbox<Message>, StartError>;

fn spawn(parts: Parts, cpu: usize) -> io::Result<(JoinHandle<io::Result<()>>, Receiver<Ready>)> {
    let (tell, ready) = sync_channel(1);
    let thread =
        thread::Builder::new().name(format!("worker-{}", parts.number)).spawn(move || {
            let (driver, inbox) = match prepare(&parts.snapshot, cpu) {
                Ok((driver, inbox, outbox)) => {
                    // The supervisor waits for this, or is gone with the process.
                    let _ = tell.send(Ok(outbox));
                    (driver, inbox)
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                    return Ok(());
                }
            };
            worker::run(parts, driver, &inbox)
        })?;
    Ok((thread, ready))
}

type Prepared = (Driver, crate::rt::inbox::Inbox<Message>, Outbox<Message>);

/// What must happen on the worker's own thread: pinning, the ring, which has one issuer, and the
/// first use of each crypto backend, which takes milliseconds per thread.
fn prepare(snapshot: &Snapshot, cpu: usize) -> Result<Prepared, StartError> {
    if !cpu::pin(cpu) {
        return Err(StartError::Pin(cpu));
    }
    for listener in &snapshot.listeners {
        warm_up(listener.tls.provider()).map_err(StartError::Crypto)?;
    }
    let options = &snapshot.ring;
    let uring = Uring::new(&ring::RingOptions {
        entries: options.entries,
        recv_buffers: options.recv_buffers,
        sqpoll_idle_ms: options.sqpoll_idle_ms,
        napi_busy_poll_us: options.napi_busy_poll_us,
        zero_copy_send: options.zero_copy_send,
    })
    .map_err(StartError::Ring)?;
    let (inbox, outbox) = mailbox(uring.descriptor().map_err(StartError::Resources)?);
    Ok((Driver::Uring(uring), inbox, outbox))
}

fn socket_options(listener: &Listener) -> sockopt::SocketOptions {
    let options = &listener.socket;
    sockopt::SocketOptions {
        dual_stack: options.dual_stack,
        backlog: options.backlog,
        keepalive: options.keepalive,
        user_timeout: options.user_timeout,
        send_buffer_bytes: options.send_buffer_bytes,
        recv_buffer_bytes: options.recv_buffer_bytes,
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
