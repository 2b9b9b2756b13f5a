//! A run: the control thread, which starts the workers, tells them when to count and when to stop,
//! and makes the outcome of what they report. It may block; no worker waits for it.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use ringfort::control::load::raise_fd_limit;
use ringfort::control::placement::{PlacementError, place};
use ringfort::limits::{RECV_BUFFERS_DEFAULT, RING_ENTRIES_DEFAULT};
use ringfort::rt::driver::Driver;
use ringfort::rt::inbox::{Outbox, mailbox};
use ringfort::rt::uring::Uring;
use ringfort::sys::cpu;
use ringfort::sys::ring::{Bell, RingOptions, SetupError};
use ringfort::tls::provider::warm_up;

use crate::cli::CommonArgs;
use crate::collected::{Collected, Second};
use crate::limits::{BUSY_SHARE, GRACE_MS, HOPELESS_MS, RATE_TOLERANCE};
use crate::outcome::{CpuTime, Outcome, Ramp, RampStep};
use crate::plan::{Plan, RampPlan};
use crate::report::progress::{Left, Progress};
use crate::report::rate_per_s;
use crate::tally::{Phase, Tally};
use crate::tls::Identity;
use crate::unmet::{keeps_rate, unmet};
use crate::watch::{Watch, WatchError};
use crate::worker::{self, Message, Report, Shared};

/// How often the control thread looks at signals and the clock.
const TICK: Duration = Duration::from_millis(20);

/// Why a run did not start; the text is for the operator.
#[derive(Debug)]
pub enum StartError {
    /// The workers cannot be placed on CPUs.
    Placement(PlacementError),
    /// A worker could not be pinned to this CPU.
    Pin(usize),
    /// io_uring cannot be used.
    Ring(SetupError),
    /// The crypto backend fails its own start.
    Crypto(rustls::Error),
    /// A thread or a descriptor could not be made.
    Resources(io::Error),
    /// So many descriptors are allowed, and so many are needed.
    Descriptors(u64, u64),
    /// A process cannot be watched.
    Watch(WatchError),
    /// A worker ended before it was ready.
    WorkerLost,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placement(error) => error.fmt(f),
            Self::Pin(cpu) => write!(f, "a worker cannot be pinned to CPU {cpu}: correct --cpus"),
            Self::Ring(error) => error.fmt(f),
            Self::Crypto(error) => write!(f, "the crypto backend does not work: {error}"),
            Self::Resources(error) => write!(f, "a worker cannot be started: {error}"),
            Self::Descriptors(allowed, needed) => write!(
                f,
                "{needed} open files are needed, {allowed} are allowed: raise `ulimit -n`, or \
                 lower --connections"
            ),
            Self::Watch(error) => error.fmt(f),
            Self::WorkerLost => f.write_str("a worker ended before it was ready"),
        }
    }
}

impl std::error::Error for StartError {}

struct Handle {
    thread: JoinHandle<io::Result<()>>,
    outbox: Outbox<Message>,
}

/// The workers, and what they have reported.
struct Run<'p> {
    plan: &'p Plan,
    shared: Arc<Shared>,
    workers: Vec<Handle>,
    /// How long each worker was busy when it last reported.
    busy: Vec<Duration>,
    reports: Receiver<Report>,
    bell: Bell,
    epoch: u32,
    interrupted: &'p AtomicBool,
    progress: Progress,
    /// Why it was given up.
    hopeless: Option<String>,
}

/// How far `Run::collect` goes.
struct Until {
    deadline: Option<Instant>,
    /// What is counted, and not thrown away.
    is_measured: bool,
}

/// Carries a plan out. Ends early where `interrupted` becomes true.
///
/// # Errors
/// [`StartError`]; a run that started has an outcome, however it went.
pub fn run(
    plan: &Plan,
    args: &CommonArgs,
    identities: Vec<Identity>,
    interrupted: &AtomicBool,
) -> Result<Outcome, StartError> {
    require_descriptors(plan.connections)?;
    let cpus = (!args.cpus.is_empty()).then_some(args.cpus.as_slice());
    let cpus =
        place(cpus, args.workers, &cpu::allowed(), cpu::quota()).map_err(StartError::Placement)?;
    let cpus = &cpus[..cpus.len().min(plan.connections)];
    let shared = Arc::new(Shared {
        plan: plan.clone(),
        identities,
        left: AtomicU64::new(plan.count.unwrap_or(u64::MAX)),
        negotiated: OnceLock::new(),
    });
    let mut run = Run::start(plan, shared, cpus, interrupted, args.quiet)?;
    wait_for_second(args.start_at, interrupted);
    let outcome = run.measure(args);
    run.stop();
    outcome
}

/// One descriptor a connection, and some to spare.
fn require_descriptors(connections: usize) -> Result<(), StartError> {
    let needed = connections as u64 + 64;
    let allowed = raise_fd_limit();
    if allowed < needed { Err(StartError::Descriptors(allowed, needed)) } else { Ok(()) }
}

fn wait_for_second(unix_seconds: Option<u64>, interrupted: &AtomicBool) {
    let Some(seconds) = unix_seconds else { return };
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    while let Ok(left) = at.duration_since(SystemTime::now())
        && !interrupted.load(Ordering::Relaxed)
    {
        thread::sleep(left.min(TICK));
    }
}

impl<'p> Run<'p> {
    fn start(
        plan: &'p Plan,
        shared: Arc<Shared>,
        cpus: &[usize],
        interrupted: &'p AtomicBool,
        quiet: bool,
    ) -> Result<Self, StartError> {
        let (sender, reports) = channel();
        let mut run = Self {
            plan,
            shared,
            workers: Vec::new(),
            busy: vec![Duration::ZERO; cpus.len()],
            reports,
            bell: Bell::new().map_err(StartError::Ring)?,
            epoch: 0,
            interrupted,
            progress: Progress::new(quiet),
            hopeless: None,
        };
        let works = plan.work_of_connections();
        for (number, &cpu) in cpus.iter().enumerate() {
            // Dealt like cards, so that each worker has something of each.
            let own: Vec<usize> = works.iter().copied().skip(number).step_by(cpus.len()).collect();
            let handle = spawn(number, cpu, own, Arc::clone(&run.shared), sender.clone());
            match handle {
                Ok(handle) => run.workers.push(handle),
                Err(error) => {
                    run.stop();
                    return Err(error);
                }
            }
        }
        Ok(run)
    }

    fn tell(&mut self, message: Message) {
        for worker in &self.workers {
            // Fails where the worker is gone, which `join` reports.
            let _ = worker.outbox.send(message, &mut self.bell);
        }
    }

    /// Begins an epoch.
    fn begin(&mut self, rate_per_s: Option<f64>, is_counted: bool) {
        self.epoch += 1;
        let rate_per_s = rate_per_s.map(|rate| rate / self.workers.len() as f64);
        self.tell(Message::Begin { epoch: self.epoch, rate_per_s, is_counted });
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn are_workers_done(&self) -> bool {
        self.workers.iter().all(|worker| worker.thread.is_finished())
    }

    /// Warmup, then what is measured.
    fn measure(&mut self, args: &CommonArgs) -> Result<Outcome, StartError> {
        let plan = self.plan;
        if !plan.warmup.is_zero() {
            self.begin(plan.rate_per_s, false);
            let deadline = Some(Instant::now() + plan.warmup);
            self.collect(&Until { deadline, is_measured: false });
        }
        let mut server = match args.watch_pid.as_slice() {
            [] => None,
            pids => Some(Watch::start(pids).map_err(StartError::Watch)?),
        };
        let mut own = Watch::start(&[std::process::id()]).map_err(StartError::Watch)?;
        let busy_before = self.busy.clone();
        let started = SystemTime::now();
        let (collected, ramp) = match (&plan.ramp, self.hopeless.is_some()) {
            (Some(ramp), false) => {
                let (collected, ramp) = self.ramp(ramp);
                (collected, Some(ramp))
            }
            _ => {
                self.begin(if plan.warmup.is_zero() { plan.rate_per_s } else { None }, true);
                let deadline = plan.duration.map(|duration| Instant::now() + duration);
                (self.collect(&Until { deadline, is_measured: true }), None)
            }
        };
        let busy_share = busy_before.iter().zip(&self.busy).map(|(before, after)| {
            after.saturating_sub(*before).as_secs_f64() / collected.length.as_secs_f64().max(1e-9)
        });
        let busy_share = busy_share.fold(0.0, f64::max).min(1.0);
        let mut failures = Vec::new();
        let mut cpu = |watch: &mut Watch| match watch.read() {
            Ok(time) => Some(time),
            Err(error) => {
                failures.push(error.to_string());
                None
            }
        };
        let server_cpu = server.as_mut().and_then(&mut cpu);
        let generator_cpu = cpu(&mut own);
        let mut outcome =
            self.outcome(args, started, collected, ramp, (server_cpu, generator_cpu), busy_share);
        failures.extend(self.hopeless.clone());
        failures.extend(unmet(self.plan, &outcome));
        outcome.failures = failures;
        Ok(outcome)
    }

    /// Takes reports until the deadline, a signal, or the end of all workers.
    fn collect(&mut self, until: &Until) -> Collected {
        let begun = Instant::now();
        let mut collected = Collected::default();
        let mut second = Second::new(begun);
        loop {
            match self.reports.recv_timeout(TICK) {
                Ok(report) => self.take(&report, &mut second),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            let is_over = until.deadline.is_some_and(|deadline| now >= deadline)
                || self.is_interrupted()
                || self.are_workers_done();
            if is_over || now - second.begun >= second.length {
                self.show(&second, until, &collected, now);
                second.close(&mut collected, begun, now);
                self.hopeless = hopeless(&collected.total, now - begun);
            }
            if is_over || self.hopeless.is_some() {
                break;
            }
        }
        let end = Instant::now();
        if until.is_measured {
            self.stop_counting(&mut second);
        }
        second.close(&mut collected, begun, end);
        self.progress.clear();
        collected
    }

    fn take(&mut self, report: &Report, second: &mut Second) {
        self.busy[report.worker] = report.busy;
        // What is of an epoch that is over does not count.
        if report.epoch == self.epoch {
            second.tally.add(&report.tally);
        }
    }

    /// Ends the epoch, and takes what each worker counted in it up to now.
    fn stop_counting(&mut self, second: &mut Second) {
        if self.plan.ramp.is_none() {
            self.tell(Message::Stop);
        } else {
            self.tell(Message::Begin { epoch: self.epoch, rate_per_s: None, is_counted: false });
        }
        let is_live = |worker: &&Handle| !worker.thread.is_finished();
        let mut awaited = self.workers.iter().filter(is_live).count();
        let patience = Instant::now() + Duration::from_millis(GRACE_MS);
        while awaited > 0 && !self.are_workers_done() && Instant::now() < patience {
            if let Ok(report) = self.reports.recv_timeout(TICK) {
                awaited -= usize::from(report.is_answer && report.epoch == self.epoch);
                self.take(&report, second);
            }
        }
        while let Ok(report) = self.reports.try_recv() {
            self.take(&report, second);
        }
    }

    fn show(&self, second: &Second, until: &Until, collected: &Collected, now: Instant) {
        let left = match (until.deadline, self.plan.count) {
            (Some(deadline), _) if !until.is_measured => Left::Warmup(deadline - now),
            (Some(deadline), _) => Left::Time(deadline.saturating_duration_since(now)),
            (None, Some(count)) => {
                let done = collected.total.operations + second.tally.operations;
                Left::Operations(count.saturating_sub(done))
            }
            (None, None) => return,
        };
        self.progress.show(&second.tally, now - second.begun, left);
    }

    /// Doubles the rate until the bound is broken, then halves the gap.
    fn ramp(&mut self, plan: &RampPlan) -> (Collected, Ramp) {
        let mut all = Collected::default();
        let mut steps: Vec<RampStep> = Vec::new();
        let (mut kept, mut broken): (Option<f64>, Option<f64>) = (None, None);
        let mut rate = self.plan.rate_per_s.unwrap_or(1.0);
        while !self.is_interrupted() && self.hopeless.is_none() && steps.len() < RAMP_STEPS_MAX {
            // The first third of a step is for the change to settle.
            self.begin(Some(rate), false);
            let deadline = Some(Instant::now() + plan.step / 3);
            self.collect(&Until { deadline, is_measured: false });
            self.begin(None, false);
            let deadline = Some(Instant::now() + plan.step);
            let part = self.collect(&Until { deadline, is_measured: true });
            let made = rate_per_s(&part.total, part.length);
            let total = part.total.phase(Phase::Total);
            let latency = Duration::from_nanos(total.value_at_percentile(plan.percentile));
            let failed = part.total.failed();
            let keeps = keeps_rate(rate, self.plan.schedule, &part.total, part.length);
            let is_kept = failed == 0 && latency <= plan.latency_max && keeps;
            steps.push(RampStep {
                rate_per_s: rate,
                made_per_s: made,
                latency,
                failed,
                kept: is_kept,
            });
            *if is_kept { &mut kept } else { &mut broken } = Some(rate);
            all.append(part);
            rate = match (kept, broken) {
                (Some(low), Some(high)) if high / low < 1.0 + RATE_TOLERANCE => break,
                (Some(low), Some(high)) => f64::midpoint(low, high),
                (Some(low), None) => low * 2.0,
                (None, Some(high)) if high < 1.0 => break,
                (None, _) => rate / 2.0,
            };
        }
        let ramp = Ramp {
            percentile: plan.percentile,
            latency_max: plan.latency_max,
            steps,
            rate_per_s: kept,
        };
        (all, ramp)
    }

    fn outcome(
        &self,
        args: &CommonArgs,
        started: SystemTime,
        collected: Collected,
        ramp: Option<Ramp>,
        (server_cpu, generator_cpu): (Option<CpuTime>, Option<CpuTime>),
        busy_share: f64,
    ) -> Outcome {
        let plan = self.plan;
        let bottleneck = (busy_share >= BUSY_SHARE).then(|| {
            format!(
                "a worker ran, or waited for its CPU, {:.0} % of the time: give it more CPUs, or \
                 spread the load over machines",
                busy_share * 100.0
            )
        });
        Outcome {
            mode: plan.mode.to_owned(),
            target: plan.target.clone(),
            started,
            command: std::env::args().collect(),
            insecure: args.insecure,
            interrupted: self.is_interrupted(),
            duration: collected.length,
            workers: self.workers.len(),
            connections: plan.connections,
            rate_asked_per_s: if ramp.is_some() { None } else { plan.rate_per_s },
            protocol: plan.application.name().map(str::to_owned),
            streams: plan.streams,
            resume_asked: (plan.mode == "handshake").then_some(plan.resume),
            negotiated: self.shared.negotiated.get().cloned(),
            total: collected.total,
            series: collected.series,
            server_cpu,
            generator_cpu,
            busy_share,
            bottleneck,
            ramp,
            failures: Vec::new(),
        }
    }

    fn stop(&mut self) {
        self.tell(Message::Stop);
        let patience = Instant::now() + Duration::from_millis(2 * GRACE_MS);
        while !self.are_workers_done() && Instant::now() < patience {
            thread::sleep(TICK);
        }
    }
}

/// Rates that a ramp tries at most.
const RAMP_STEPS_MAX: usize = 40;

/// Nothing but failures for a while: the rest would be no better.
fn hopeless(total: &Tally, time: Duration) -> Option<String> {
    let is_hopeless = time >= Duration::from_millis(HOPELESS_MS)
        && total.failed() > 0
        && total.operations == 0
        && total.full + total.resumed == 0;
    is_hopeless.then(|| format!("given up: nothing succeeded in {:.0} s", time.as_secs_f64()))
}

type Ready = Result<Outbox<Message>, StartError>;

fn spawn(
    number: usize,
    cpu: usize,
    works: Vec<usize>,
    shared: Arc<Shared>,
    reports: Sender<Report>,
) -> Result<Handle, StartError> {
    let (tell, ready) = sync_channel::<Ready>(1);
    let thread = thread::Builder::new()
        .name(format!("load-{number}"))
        .spawn(move || {
            let prepared = prepare(cpu, &shared.identities).and_then(|uring| {
                let descriptor = uring.descriptor().map_err(StartError::Resources)?;
                Ok((uring, mailbox(descriptor)))
            });
            match prepared {
                Ok((uring, (inbox, outbox))) => {
                    // The control thread waits for this.
                    let _ = tell.send(Ok(outbox));
                    worker::run(number, &works, shared, reports, Driver::Uring(uring), &inbox)
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                    Ok(())
                }
            }
        })
        .map_err(StartError::Resources)?;
    let outbox = ready.recv().map_err(|_| StartError::WorkerLost)??;
    Ok(Handle { thread, outbox })
}

/// What must happen on the worker's own thread.
fn prepare(cpu: usize, identities: &[Identity]) -> Result<Uring, StartError> {
    if !cpu::pin(cpu) {
        return Err(StartError::Pin(cpu));
    }
    // All of them have one provider.
    if let Some(identity) = identities.first() {
        warm_up(identity.full.crypto_provider()).map_err(StartError::Crypto)?;
    }
    Uring::new(&RingOptions {
        entries: RING_ENTRIES_DEFAULT,
        recv_buffers: RECV_BUFFERS_DEFAULT,
        sqpoll_idle_ms: 0,
        napi_busy_poll_us: 0,
        zero_copy_send: false,
    })
    .map_err(StartError::Ring)
}
