//! The world of a run: workers, clients and upstreams in one thread, and who has the next turn.
//!
//! Time moves only when nobody has anything to do, and a little with each look at the clock.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::client::Client;
use super::crypto::{self, Clock};
use super::driver::Sim;
use super::faults::{Fault, Faults};
use super::http::plan::HttpPlan;
use super::ledger::Ledger;
use super::net::{Inner, Net, Owner, Shape};
use super::pki::{self, Pki};
use super::plan::{Action, MS, Plan, S};
use super::random::Random;
use super::trace::Trace;
use super::upstream::Upstream;
use crate::config::snapshot::Snapshot;
use crate::error::CloseKind;
use crate::limits::{CLOSE_FLUSH_TIMEOUT_MS, CLOSE_TIMEOUT_MS, EXIT_TIMEOUT_MS};
use crate::log::{self, LogReceiver, Record};
use crate::metrics::counter::WorkerCounters;
use crate::metrics::phases::Phases;
use crate::proxy::admission::SharedAdmission;
use crate::proxy::worker::{Message, Parts, Worker};
use crate::rt::driver::Driver;
use crate::rt::inbox::{self, Inbox, Sender};
use crate::trust::store::SessionStore;

mod arrivals;
mod check;
mod configuration;
pub mod crowd;

use configuration::{Configurations, Published};

/// Turns of the whole world after which a run is taken for one without an end.
const STEPS_MAX: u64 = 3_000_000;
/// Turns in a row that a worker may have while nothing else happens.
const IDLE_TURNS_MAX: u64 = 5_000;
/// Addresses that clients come from, numbered from 1.
const SOURCES: u8 = 5;

/// One worker of the gateway.
struct Slot {
    worker: Option<Rc<Worker>>,
    inbox: Inbox<Message>,
    sender: Sender<Message>,
    counters: Arc<WorkerCounters>,
    log: LogReceiver,
    records: u64,
    draining: bool,
    idle_turns: u64,
}

/// See the module's description.
pub struct World {
    net: Net,
    plan: Plan,
    /// What is still to happen, in order.
    actions: VecDeque<(u64, Action)>,
    random: Random,
    clock: Clock,
    wall_offset_s: i64,
    pki: Pki,
    provider: Arc<rustls::crypto::CryptoProvider>,
    configurations: Configurations,
    slots: Vec<Slot>,
    admission: Arc<SharedAdmission>,
    sessions: Arc<SessionStore>,
    /// Clients that keep their sessions, by certificate and versions.
    visitors: BTreeMap<String, Arc<ClientConfig>>,
    ledger: Ledger,
    clients: BTreeMap<u32, Client>,
    upstreams: BTreeMap<u32, Upstream>,
    probes: Vec<u32>,
    /// There are no limits any more, so that probes have room.
    is_roomy: bool,
    next_actor: u32,
    steps: u64,
    /// When it was told to drain.
    drains_at: Option<u64>,
    /// When the gateway must have drained.
    drained_by: Option<u64>,
}

/// What became of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// What happened.
    pub trace: Trace,
    /// The faults that were in play.
    pub faults: String,
    /// Virtual time that passed.
    pub elapsed: Duration,
    /// Clients that came.
    pub clients: usize,
    /// Clients that were served to the end.
    pub served: usize,
}

impl World {
    /// The world of `seed`, about to begin.
    ///
    /// Its trace keeps the text of the last `events_kept` events.
    pub fn new(seed: u64, events_kept: usize) -> Self {
        let mut random = Random::new(seed);
        let provider = crypto::provider(random.next_u64());
        // Of its own, so that runs without HTTP are what they are.
        let http = HttpPlan::any(&mut random.clone().fork("HTTP"));
        let faults = Faults::swarm(&mut random, http.is_some());
        let mut plan = Plan::new(&mut random, &faults, http);
        let trace = Trace::keeping(events_kept);
        let net = Net::new(plan.shape, faults, trace, &mut random, plan.workers);
        let clock = Clock::new(pki::EPOCH_UNIX_S);
        let pki = Pki::new();
        let configurations = Configurations::new(&plan, &pki, &provider, &clock);
        let mut world = Self {
            net,
            actions: std::mem::take(&mut plan.actions).into(),
            clock,
            wall_offset_s: 0,
            pki,
            provider,
            configurations,
            slots: Vec::new(),
            admission: SharedAdmission::new([random.next_u64(), random.next_u64()]),
            sessions: Arc::new(SessionStore::new(plan.session_cache_bytes as usize)),
            visitors: BTreeMap::new(),
            ledger: Ledger::default(),
            clients: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            probes: Vec::new(),
            is_roomy: false,
            next_actor: 0,
            steps: 0,
            drains_at: None,
            drained_by: None,
            plan,
            random,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let net = self.net.clone();
        for address in self.configurations.upstream_addresses() {
            self.next_actor += 1;
            let mut upstream =
                Upstream::new(self.next_actor, &address, self.plan.bytes_max, &mut self.random);
            // With the others up nobody may notice: a connection gets a second try.
            let is_down = self.plan.first_upstream_is_down && self.plan.upstreams > 1;
            let is_up = !is_down || !self.upstreams.is_empty();
            if is_http(&self.plan, self.upstreams.len()) {
                upstream.speak_http();
            }
            upstream.set_up(&mut net.borrow(), is_up);
            self.upstreams.insert(self.next_actor, upstream);
        }
        if let Some(http) = &self.plan.http {
            let book = &mut self.ledger.requests;
            book.attempts_max = 2 + http.retries_max as usize;
            book.x_forwarded = Some(http.x_forwarded);
            book.tells_certificate = http.client_cert;
            book.is_slow = !self.plan.shape.is_gentle();
        }
        let (snapshot, in_force) = self.configurations.current();
        self.ledger.in_force.push((0, in_force));
        for number in 0..self.plan.workers {
            self.start_worker(number, &snapshot);
        }
    }

    fn start_worker(&mut self, number: usize, snapshot: &Arc<Snapshot>) {
        let backlog = self.plan.backlog as usize;
        let listeners = snapshot
            .listeners
            .iter()
            .map(|listener| {
                let address = listener.address.to_string();
                let socket = self.net.borrow().listen(&address, Owner::Worker(number), backlog);
                crate::sys::descriptor::Descriptor::simulated(socket)
            })
            .collect();
        let counters = WorkerCounters::new();
        let (sender, receiver) = log::channel(&counters);
        let parts = Parts {
            number,
            listeners,
            snapshot: Arc::clone(snapshot),
            admission: Arc::clone(&self.admission),
            sessions: Arc::clone(&self.sessions),
            counters: Arc::clone(&counters),
            phases: snapshot.listeners.iter().map(|_| Phases::new()).collect(),
            log: sender,
        };
        let (buffers, bytes) = (self.plan.recv_buffers, self.plan.recv_buffer_bytes);
        // invariant: a few pages.
        let sim = Sim::new(self.net.clone(), number, buffers, bytes).expect("memory");
        let worker = Worker::start(parts, Driver::Sim(Box::new(sim)));
        let (inbox, sender) = inbox::queue();
        self.slots.push(Slot {
            worker: Some(worker),
            inbox,
            sender,
            counters,
            log: receiver,
            records: 0,
            draining: false,
            idle_turns: 0,
        });
    }

    /// Runs to the end.
    ///
    /// # Panics
    /// Where the gateway does.
    pub fn run(&mut self) {
        loop {
            self.steps += 1;
            let happened = self.net.borrow().run_due();
            if happened > 0 {
                self.slots.iter_mut().for_each(|slot| slot.idle_turns = 0);
            }
            let now = self.net.borrow().now;
            self.set_wall_clock(now);
            if let Some((_, action)) = self.actions.pop_front_if(|(at, _)| *at <= now) {
                self.act(action);
                continue;
            }
            if self.is_over() {
                break;
            }
            if self.give_turns() {
                continue;
            }
            if !self.advance() {
                break;
            }
        }
        self.check_served();
        self.check_all_given_back();
    }

    fn set_wall_clock(&mut self, now: u64) {
        let unix_s = pki::EPOCH_UNIX_S + (now / S) as i64 + self.wall_offset_s;
        self.clock.set(unix_s);
    }

    fn is_over(&self) -> bool {
        let mut net = self.net.borrow();
        if self.steps > STEPS_MAX {
            net.violation(format_args!("no end after {STEPS_MAX} steps"));
        }
        if let Some(by) = self.drained_by
            && net.now > by
            && self.slots.iter().any(|slot| slot.worker.is_some())
        {
            let left = self.left();
            net.violation(format_args!("the gateway has not drained in time: {left}"));
        }
        net.trace.is_violated() || self.slots.iter().all(|slot| slot.worker.is_none())
    }

    /// Lets workers and actors go on that can. Returns whether there was one.
    fn give_turns(&mut self) -> bool {
        let (mut workers, mut actors) = {
            let mut net = self.net.borrow();
            let now = net.now;
            let woken = net.take_woken_workers();
            let is_due = |number: &usize| {
                woken.contains(number) || net.wait_until(*number).is_some_and(|at| at <= now)
            };
            let workers: Vec<usize> = (0..self.slots.len()).filter(is_due).collect();
            let actors: Vec<u32> = net.take_woken_actors().into_iter().collect();
            (workers, actors)
        };
        workers.retain(|number| self.slots[*number].worker.is_some());
        self.random.shuffle(&mut workers);
        self.random.shuffle(&mut actors);
        let any = !workers.is_empty() || !actors.is_empty();
        workers.into_iter().for_each(|number| self.turn(number));
        actors.into_iter().for_each(|actor| self.step(actor));
        any
    }

    fn turn(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        let Some(worker) = slot.worker.clone() else { return };
        let completions = slot.counters.completions.get();
        worker.wake();
        // invariant: the simulated driver is never beyond use.
        let drained = worker.turn(&slot.inbox).expect("the driver works");
        let idle = slot.counters.completions.get() == completions;
        slot.idle_turns = if idle { slot.idle_turns + 1 } else { 0 };
        if !idle {
            // A wait that completions have ended is followed by the next turn.
            let mut net = self.net.borrow();
            let now = net.now;
            net.wake_worker_at(now, number);
        }
        if slot.idle_turns > IDLE_TURNS_MAX {
            let mut net = self.net.borrow();
            net.violation(format_args!("worker {number} turns without anything to do"));
        }
        self.read_log(number);
        let counted = self.slots[number].counters.snapshot();
        check::attempts(&mut self.net.borrow(), number, &counted);
        check::memory(&mut self.net.borrow(), number, &worker, &self.plan);
        check::leases(&mut self.net.borrow(), number, &worker, &counted);
        check::sessions(&mut self.net.borrow(), &self.sessions, &self.plan);
        self.ledger.check_held(&mut self.net.borrow(), &self.plan, number, &worker.held());
        self.check_places(number, &worker);
        if drained {
            self.end_worker(number, worker);
        }
    }

    fn end_worker(&mut self, number: usize, worker: Rc<Worker>) {
        let slot = &mut self.slots[number];
        slot.worker = None;
        check::drained(&mut self.net.borrow(), number, &worker, slot);
        drop(worker);
        let mut net = self.net.borrow();
        close_dropped(&mut net, number);
        let files = net.open_files(number);
        if files > 0 {
            net.violation(format_args!("worker {number} has left {files} descriptors open"));
        }
    }

    fn read_log(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        let mut net = self.net.borrow();
        while let Some(record) = slot.log.next() {
            let record = match record {
                Record::Connection(record) => record,
                Record::Request(record) => {
                    self.ledger.check_request_record(&mut net, &record);
                    continue;
                }
            };
            slot.records += 1;
            net.trace.mark(record.reason.kind.as_str());
            self.ledger.check_record(&mut net, &record);
            net.note(format_args!(
                "w{number} closed {:?}: {:?} {}",
                record.peer,
                record.reason,
                record.detail.as_deref().unwrap_or_default()
            ));
        }
    }

    fn step(&mut self, actor: u32) {
        let mut net = self.net.borrow();
        if let Some(client) = self.clients.get_mut(&actor) {
            client.step(&mut net, &mut self.ledger, &self.plan);
        } else if let Some(upstream) = self.upstreams.get_mut(&actor) {
            upstream.step(&mut net, &mut self.ledger);
        }
    }

    /// Moves time to what comes next. Returns whether there is anything.
    fn advance(&mut self) -> bool {
        let next_action = self.actions.front().map(|(at, _)| *at);
        let mut net = self.net.borrow();
        let waits = (0..self.slots.len())
            .filter(|number| self.slots[*number].worker.is_some())
            .filter_map(|number| net.wait_until(number));
        let next = waits.chain(net.next_event_at()).chain(next_action).min();
        match next {
            Some(at) => {
                net.now = net.now.max(at);
                true
            }
            None => {
                let left = self.left();
                net.violation(format_args!("nothing will ever happen again: {left}"));
                false
            }
        }
    }

    /// What the workers hold that have not drained.
    fn left(&self) -> String {
        let workers = self.slots.iter().enumerate();
        let left = workers.filter_map(|(number, slot)| {
            let (audit, counts) = slot.worker.as_ref()?.audit();
            Some(format!("worker {number}: {audit:?}, places and leases {counts:?}"))
        });
        left.collect::<Vec<_>>().join("; ")
    }

    fn post(&mut self, number: usize, message: Message) {
        // The core is between two turns: it is woken whatever it has announced.
        let _ = self.slots[number].sender.post(message);
        let mut net = self.net.borrow();
        let now = net.now;
        net.wake_worker_at(now, number);
    }

    fn post_all(&mut self, message: &Message) {
        (0..self.slots.len()).for_each(|number| self.post(number, message.clone()));
    }

    fn act(&mut self, action: Action) {
        self.net.borrow().note(format_args!("{action:?}"));
        let net = self.net.clone();
        match action {
            Action::Connect => drop(self.connect(false)),
            Action::Publish => {
                self.mark(Fault::ConfigurationChange);
                let published = self.configurations.another(&mut self.random);
                self.publish(published);
            }
            Action::PublishLists => {
                self.mark(Fault::RevocationChange);
                let now = self.clock.unix_s();
                let published = self.configurations.relist(&mut self.random, now);
                self.publish(published);
            }
            Action::Flap => {
                self.mark(Fault::UpstreamFlap);
                let actors: Vec<u32> = self.upstreams.keys().copied().collect();
                let actor = *self.random.pick(&actors);
                let up = self.random.chance(500);
                if let Some(upstream) = self.upstreams.get_mut(&actor) {
                    upstream.set_up(&mut net.borrow(), up);
                }
            }
            Action::Reset => net.borrow().reset_one(),
            Action::JumpClock => {
                self.mark(Fault::ClockJump);
                let jump = self.random.range(MS..=100 * S);
                net.borrow().now += jump;
                self.ledger.jumped_at = Some(net.borrow().now);
                // What is to come keeps its distance, so that nothing happens at once.
                self.actions.iter_mut().for_each(|(at, _)| *at += jump);
                self.drained_by = self.drained_by.map(|by| by + jump);
            }
            Action::JumpWallClock => {
                self.mark(Fault::WallClockJump);
                self.wall_offset_s += self.random.range(0..=1_200) as i64 - 600;
                let now = net.borrow().now;
                self.ledger.wall_clock_set(now, self.wall_offset_s);
                self.set_wall_clock(now);
                self.post_all(&Message::ClockSet);
            }
            Action::DrainOne => {
                self.mark(Fault::WorkerDrain);
                let number = self.random.below(self.slots.len() as u64) as usize;
                self.slots[number].draining = true;
                self.post(number, Message::Drain);
            }
            Action::Probe => self.probe(),
            Action::Drain => self.drain(),
            Action::CutOff => {
                let stopped = self.random.chance(300);
                let kind = if stopped { CloseKind::Stopped } else { CloseKind::DrainDeadline };
                self.post_all(&Message::CutOff(kind));
                // The time that the supervisor gives them.
                self.drained_by = Some(net.borrow().now + EXIT_TIMEOUT_MS * MS);
            }
        }
    }

    fn publish(&mut self, (snapshot, in_force): Published) {
        let now = self.net.borrow().now;
        self.net.borrow().note(format_args!("{in_force:?}"));
        self.ledger.in_force.push((now, in_force));
        self.post_all(&Message::Publish(snapshot));
    }

    fn mark(&self, fault: Fault) {
        self.net.borrow().trace.mark(fault.as_str());
    }

    /// Faults stop; whoever is stuck goes on.
    fn calm(&mut self) {
        let mut net = self.net.borrow();
        net.faults.stop();
        net.set_shape(Shape::GENTLE);
        let now = net.now;
        (0..self.slots.len()).for_each(|number| net.wake_worker_at(now, number));
        let actors = self.clients.keys().chain(self.upstreams.keys());
        actors.for_each(|actor| net.wake_actor_at(now, *actor));
        self.upstreams.values_mut().for_each(|upstream| upstream.set_up(&mut net, true));
    }

    /// The gateway must serve clients that nothing is wrong with, whatever it went through.
    fn probe(&mut self) {
        self.calm();
        let published = self.configurations.roomy();
        self.publish(published);
        self.is_roomy = true;
        if self.slots.iter().any(|slot| !slot.draining) {
            self.probes = (0..3).map(|_| self.connect(true)).collect();
        }
    }

    fn drain(&mut self) {
        if !self.actions.iter().any(|(_, action)| *action == Action::CutOff) {
            self.calm();
        }
        for slot in &mut self.slots {
            slot.draining = true;
        }
        self.post_all(&Message::Drain);
        let plan = &self.plan;
        let longest = [
            plan.handshake_timeout,
            2 * plan.connect_timeout,
            plan.idle_timeout,
            Duration::from_millis(CLOSE_FLUSH_TIMEOUT_MS + CLOSE_TIMEOUT_MS),
        ];
        let exchange = plan.http.as_ref().map(HttpPlan::exchange_max).unwrap_or_default();
        // Each may begin when the one before is over; and bytes may be on their way for a while.
        let bound = longest.iter().sum::<Duration>() + exchange + Duration::from_secs(120);
        let now = self.net.borrow().now;
        self.drains_at = Some(now);
        self.drained_by = Some(now + bound.as_nanos() as u64);
    }
}

/// Whether the upstream at this place speaks HTTP: those that do are behind the others.
fn is_http(plan: &Plan, index: usize) -> bool {
    plan.http.is_some() && index >= plan.upstreams
}

/// The address of source number `host`.
fn source(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, host)
}

/// Sockets that a worker closed by dropping their descriptors, when it has no turn any more.
fn close_dropped(net: &mut Inner, number: usize) {
    // The list is asked while the network is borrowed.
    let dropped = crate::sys::descriptor::dropped(|it| net.is_open(it, number));
    dropped.into_iter().for_each(|it| net.close(it));
}
