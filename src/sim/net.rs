//! The simulated network and clock: TCP connections in memory, with latency, bandwidth, windows,
//! half-close and reset.
//!
//! It plays the kernel's TCP as far as a program can tell: bytes arrive in order or not at all;
//! closing with bytes unread resets; a reset destroys what was on its way. Descriptors are never
//! used again, so the use of a closed one is always found. It must not know TLS or the gateway.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Arguments;
use std::rc::Rc;

use super::faults::{Fault, Faults};
use super::random::Random;
use super::trace::Trace;

mod tcp;

pub use tcp::{Errno, Read};

/// Who owns a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A worker of the gateway.
    Worker(usize),
    /// A client or an upstream.
    Actor(u32),
}

/// What a socket is for.
#[derive(Debug)]
pub(super) enum Kind {
    /// Not connected yet.
    New,
    /// connect(2) is under way.
    Connecting,
    /// A connection; the other end.
    Connected(i32),
    /// A listener; connections that wait, and how many may.
    Listening { backlog: VecDeque<i32>, backlog_max: usize },
}

/// One socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) owner: Owner,
    pub(super) kind: Kind,
    pub(super) local: String,
    pub(super) remote: String,
    /// Whether somebody holds its descriptor.
    pub(super) open: bool,
    pub(super) inbox: VecDeque<u8>,
    pub(super) window: usize,
    pub(super) fin_arrived: bool,
    /// What the next call that can fail reports, once (`sk_err`).
    pub(super) error: Option<Errno>,
    /// The connection is over, whether or not anybody has been told why.
    pub(super) is_dead: bool,
    pub(super) is_unix: bool,
    /// connect(2) has succeeded.
    pub(super) is_up: bool,
    pub(super) outbox: VecDeque<u8>,
    pub(super) outbox_max: usize,
    pub(super) fin_wanted: bool,
    pub(super) fin_sent: bool,
    pub(super) resets_on_close: bool,
    pub(super) in_flight: usize,
    last_arrival: u64,
    link_free_at: u64,
    link: Link,
}

/// How a connection's bytes travel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    latency_ns: u64,
    jitter_ns: u64,
    ns_per_byte: u64,
    segment_bytes: usize,
}

/// What will happen.
#[derive(Debug)]
pub(super) enum Event {
    Syn { from: i32, tries: u32 },
    Connected { socket: i32, result: Result<i32, Errno> },
    Arrive { from: i32, to: i32, bytes: Vec<u8> },
    Fin { to: i32 },
    Reset { to: i32, errno: Errno },
    Window { of: i32 },
    WakeActor(u32),
    WakeWorker(usize),
}

/// How the network of a run is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The longest latency of a connection, in nanoseconds.
    pub latency_ns_max: u64,
    /// The smallest receive window.
    pub window_min: u64,
    /// The largest receive window.
    pub window_max: u64,
    /// Descriptors that a worker may have open.
    pub worker_files_max: usize,
}

impl Shape {
    /// A network in which everybody gets on.
    pub const GENTLE: Self = Self {
        latency_ns_max: 2_000_000,
        window_min: 60_000,
        window_max: 200_000,
        worker_files_max: usize::MAX,
    };

    /// Whether everybody gets on.
    pub fn is_gentle(&self) -> bool {
        self.latency_ns_max <= Self::GENTLE.latency_ns_max && self.window_min >= 5_000
    }
}

/// All of the network.
#[derive(Debug)]
pub struct Inner {
    /// Nanoseconds since the start.
    pub now: u64,
    /// The faults of this run.
    pub faults: Faults,
    /// What happened.
    pub trace: Trace,
    /// Connections to upstreams that each worker has begun.
    pub upstream_attempts: Vec<u64>,
    /// How many of them failed or were given up.
    pub upstream_failures: Vec<u64>,
    shape: Shape,
    random: Random,
    sequence: u64,
    events: BTreeMap<(u64, u64), Event>,
    sockets: BTreeMap<i32, Socket>,
    next_number: i32,
    changed: Vec<BTreeSet<i32>>,
    woken_workers: BTreeSet<usize>,
    woken_actors: BTreeSet<u32>,
    open_files: Vec<usize>,
    wait_until: Vec<Option<u64>>,
}

/// The handle of the network; one thread.
#[derive(Clone, Debug)]
pub struct Net {
    inner: Rc<RefCell<Inner>>,
}

impl Net {
    /// An empty network for `workers` workers.
    pub fn new(
        shape: Shape,
        faults: Faults,
        trace: Trace,
        random: &mut Random,
        workers: usize,
    ) -> Self {
        let inner = Inner {
            now: 1_000_000_000,
            faults,
            trace,
            upstream_attempts: vec![0; workers],
            upstream_failures: vec![0; workers],
            shape,
            random: random.fork("net"),
            sequence: 0,
            events: BTreeMap::new(),
            sockets: BTreeMap::new(),
            next_number: 1000,
            changed: vec![BTreeSet::new(); workers],
            woken_workers: BTreeSet::new(),
            woken_actors: BTreeSet::new(),
            open_files: vec![0; workers],
            wait_until: vec![Some(0); workers],
        };
        Self { inner: Rc::new(RefCell::new(inner)) }
    }

    /// The network itself.
    pub fn borrow(&self) -> RefMut<'_, Inner> {
        self.inner.borrow_mut()
    }
}

impl Inner {
    /// Sockets that are made from now on are shaped so.
    pub fn set_shape(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// Takes note of an event.
    pub fn note(&mut self, what: Arguments<'_>) {
        self.trace.note(self.now, what);
    }

    /// A rule was broken.
    pub fn violation(&mut self, what: Arguments<'_>) {
        self.trace.violation(self.now, what);
    }

    /// Whether `fault` happens now; marks it.
    pub fn fault(&mut self, fault: Fault) -> bool {
        let happens = self.faults.happens(fault);
        if happens {
            self.trace.mark(fault.as_str());
        }
        happens
    }

    /// A number that a fault turns on, of `range`.
    pub fn choose(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.faults.random().range(range)
    }

    pub(super) fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at.max(self.now), self.sequence), event);
    }

    /// Wakes an actor at `at` nanoseconds.
    pub fn wake_actor_at(&mut self, at: u64, actor: u32) {
        self.schedule(at, Event::WakeActor(actor));
    }

    /// Gives a worker a turn at `at` nanoseconds.
    pub fn wake_worker_at(&mut self, at: u64, worker: usize) {
        self.schedule(at, Event::WakeWorker(worker));
    }

    /// When the next event is due.
    pub fn next_event_at(&self) -> Option<u64> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets happen what is due. Returns how many events that were.
    pub fn run_due(&mut self) -> usize {
        let mut count = 0;
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= self.now
        {
            let event = entry.remove();
            self.happen(event);
            count += 1;
        }
        count
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Syn { from, tries } => self.on_syn(from, tries),
            Event::Connected { socket, result } => self.on_connected(socket, result),
            Event::Arrive { from, to, bytes } => self.on_arrive(from, to, bytes),
            Event::Fin { to } => self.on_fin(to),
            Event::Reset { to, errno } => self.on_reset(to, errno),
            Event::Window { of } => self.pump(of),
            Event::WakeActor(actor) => {
                self.woken_actors.insert(actor);
            }
            Event::WakeWorker(worker) => {
                self.woken_workers.insert(worker);
            }
        }
    }

    /// When a worker must have its next turn whatever happens; `None` where it may sleep.
    pub fn wait_until(&self, worker: usize) -> Option<u64> {
        self.wait_until[worker]
    }

    /// Sets [`Inner::wait_until`].
    pub fn set_wait_until(&mut self, worker: usize, at: Option<u64>) {
        self.wait_until[worker] = at;
    }

    /// Actors that have something to do.
    pub fn take_woken_actors(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.woken_actors)
    }

    /// Workers that have something to do.
    pub fn take_woken_workers(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.woken_workers)
    }

    /// Sockets of a worker of which something changed.
    pub fn take_changed(&mut self, worker: usize) -> BTreeSet<i32> {
        std::mem::take(&mut self.changed[worker])
    }

    pub(super) fn touch(&mut self, number: i32) {
        let Some(socket) = self.sockets.get(&number) else { return };
        match socket.owner {
            Owner::Worker(worker) => {
                self.changed[worker].insert(number);
                self.woken_workers.insert(worker);
            }
            Owner::Actor(actor) => {
                self.woken_actors.insert(actor);
            }
        }
    }

    pub(super) fn add_socket(&mut self, owner: Owner, kind: Kind, names: [&str; 2]) -> i32 {
        self.next_number += 1;
        let shape = self.shape;
        let window = self.random.range(shape.window_min..=shape.window_max) as usize;
        let slow = self.fault(Fault::LinkSlow);
        let latency_ns = self.random.range(10_000..=shape.latency_ns_max);
        let link = Link {
            latency_ns: if slow { latency_ns * 20 } else { latency_ns },
            jitter_ns: *self.random.pick(&[0, 1_000, 300_000]),
            ns_per_byte: *self.random.pick(&[0, 1, 8, 100]),
            segment_bytes: *self.random.pick(&[100, 1460, 9000, 65_000]),
        };
        let socket = Socket {
            owner,
            kind,
            local: names[0].into(),
            remote: names[1].into(),
            open: true,
            inbox: VecDeque::new(),
            window,
            fin_arrived: false,
            error: None,
            is_dead: false,
            is_up: false,
            is_unix: names.iter().any(|name| name.starts_with("unix:")),
            outbox: VecDeque::new(),
            outbox_max: *self.random.pick(&[1_000, 16_000, 64_000, 200_000]),
            fin_wanted: false,
            fin_sent: false,
            resets_on_close: false,
            in_flight: 0,
            last_arrival: 0,
            link_free_at: 0,
            link,
        };
        self.sockets.insert(self.next_number, socket);
        if let Owner::Worker(worker) = owner {
            self.open_files[worker] += 1;
        }
        self.next_number
    }

    /// Whether a worker finds no descriptor, for want of one or by `fault`.
    pub fn finds_no_file(&mut self, worker: usize, fault: Fault) -> bool {
        self.is_out_of_files(worker) || self.fault(fault)
    }

    /// Whether a worker has all the descriptors that it may have.
    fn is_out_of_files(&self, worker: usize) -> bool {
        self.open_files[worker] >= self.shape.worker_files_max
    }

    /// Descriptors that a worker has open.
    pub fn open_files(&self, worker: usize) -> usize {
        self.open_files[worker]
    }

    pub(super) fn socket(&mut self, number: i32) -> Option<&mut Socket> {
        self.sockets.get_mut(&number)
    }

    /// Whether a worker holds this descriptor.
    pub fn is_open(&self, number: i32, worker: usize) -> bool {
        self.sockets
            .get(&number)
            .is_some_and(|socket| socket.open && socket.owner == Owner::Worker(worker))
    }

    pub(super) fn file_closed(&mut self, owner: Owner) {
        if let Owner::Worker(worker) = owner {
            self.open_files[worker] -= 1;
        }
    }

    /// When bytes that leave `from` now arrive, in order behind those that left before.
    pub(super) fn arrival(&mut self, from: i32, bytes: usize) -> u64 {
        let now = self.now;
        let jitter_max = self.sockets[&from].link.jitter_ns;
        let jitter = self.random.range(0..=jitter_max);
        // invariant: callers name a socket that exists.
        let socket = self.sockets.get_mut(&from).expect("a socket that exists");
        socket.link_free_at = socket.link_free_at.max(now) + bytes as u64 * socket.link.ns_per_byte;
        let at = socket.link_free_at + socket.link.latency_ns + jitter;
        socket.last_arrival = socket.last_arrival.max(at);
        socket.last_arrival
    }

    /// When a reset that leaves `from` now arrives: behind what left before, or, where a segment
    /// of that is lost, in front of it.
    pub(super) fn reset_arrival(&mut self, from: i32) -> u64 {
        let behind = self.arrival(from, 0);
        let overtakes = self.random.chance(300);
        if overtakes { self.now + self.sockets[&from].link.latency_ns } else { behind }
    }

    pub(super) fn segment_bytes(&self, from: i32) -> usize {
        self.sockets[&from].link.segment_bytes
    }

    /// The listeners of `address`.
    pub(super) fn listeners(&self, address: &str) -> Vec<i32> {
        self.sockets
            .iter()
            .filter(|(_, socket)| {
                matches!(socket.kind, Kind::Listening { .. })
                    && socket.open
                    && socket.local == address
            })
            .map(|(number, _)| *number)
            .collect()
    }

    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        *self.random.pick(items)
    }

    pub(super) fn forget(&mut self, number: i32) {
        self.sockets.remove(&number);
    }

    /// Resets a connection between a worker and an actor, from outside.
    pub fn reset_one(&mut self) {
        let established: Vec<i32> = self
            .sockets
            .iter()
            .filter(|(_, socket)| {
                socket.open
                    && matches!(socket.owner, Owner::Worker(_))
                    && matches!(socket.kind, Kind::Connected(_))
            })
            .map(|(number, _)| *number)
            .collect();
        if established.is_empty() {
            return;
        }
        let number = self.pick(&established);
        self.trace.mark(Fault::LinkReset.as_str());
        self.note(format_args!("#{number} is reset from outside"));
        self.fail(number, Errno::RESET);
    }
}
