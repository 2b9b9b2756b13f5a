//! CPU time of processes and all their descendants, from `/proc` (proc(5)).
//!
//! Two clocks are read. `task/*/schedstat` has nanoseconds per live thread, and forgets a thread
//! that ends. `stat` has the time of the whole process, ended threads included, and of its
//! children that ended and were waited for (`cutime`, `cstime`), in ticks of 10 ms. A process'
//! time is the sum over its threads as long as `stat` does not know of more than that, by more
//! than its rounding; then it is what `stat` says.
//!
//! Precision: nanoseconds while threads and children live on; 20 ms per process that had threads
//! end, or children. The split into user and kernel is that of the ticks: coarse in short windows.
//!
//! What it cannot see: a process whose parent ended, and one whose parent ignores SIGCHLD, begun
//! and ended between two reads. A read each second sees all that live longer.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::ops::{Add, AddAssign};
use std::path::Path;
use std::time::Duration;

use crate::outcome::CpuTime;

/// Nanoseconds of a tick. USER_HZ is 100 on each 64-bit machine that ringfort runs on.
const TICK_NANOS: u64 = 10_000_000;

/// By how many ticks `stat` may be ahead of the threads though none ended: user and kernel time
/// are each rounded down, now and at the start.
const ROUNDING_TICKS: u64 = 2;

/// Why CPU time cannot be told.
#[derive(Debug)]
pub enum WatchError {
    /// There is no such process, or this user may not see it.
    Missing(u32),
    /// The process was there and has ended: its last CPU time is lost.
    Ended(u32),
    /// `/proc` cannot be read.
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The file is not what proc(5) says.
    Malformed {
        /// Which file.
        path: String,
    },
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(pid) => write!(
                f,
                "there is no process {pid}, or this user may not see it: give the PID of a running \
                 server (`pidof NAME`)"
            ),
            Self::Ended(pid) => {
                write!(f, "process {pid} ended during the run: its CPU time is not known")
            }
            Self::Unreadable { path, error } => write!(
                f,
                "{path} cannot be read: {error}; --watch-pid needs a /proc of this machine"
            ),
            Self::Malformed { path } => {
                write!(f, "{path} is not what proc(5) says: --watch-pid needs Linux' own /proc")
            }
        }
    }
}

impl std::error::Error for WatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Watch {
    roots: Vec<u32>,
    processes: BTreeMap<u32, Process>,
    /// Of processes that ended without a watched parent.
    orphans: Spent,
}

/// CPU time by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spent {
    nanos: u64,
    user_ticks: u64,
    sys_ticks: u64,
}

/// A live process, what it had when it was first seen, and what it spent since.
#[derive(Debug)]
struct Process {
    /// With the PID, what tells it from another one.
    started: u64,
    parent: u32,
    own_first: Spent,
    children_first: Spent,
    /// Nanoseconds of each thread that was ever seen, ended ones included.
    threads: BTreeMap<u64, Thread>,
    /// What children that ended had spent before they were first seen.
    ended_first: Spent,
    /// What children that ended had spent since, as far as it was seen.
    ended_seen: Spent,
    /// All since it was first seen, with its ended children.
    spent: Spent,
}

#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    first: u64,
    last: u64,
}

/// The fields of `/proc/PID/stat` that are of use here.
#[derive(Debug)]
struct Stat {
    parent: u32,
    has_ended: bool,
    own: Spent,
    children: Spent,
    started: u64,
}

impl Watch {
    /// Begins to count the CPU time of `pids` and of all their descendants.
    ///
    /// # Errors
    ///
    /// A process is not there, or `/proc` cannot be read.
    pub fn start(pids: &[u32]) -> Result<Self, WatchError> {
        let mut roots = pids.to_vec();
        roots.sort_unstable();
        roots.dedup();
        let mut watch = Self { roots, processes: BTreeMap::new(), orphans: Spent::default() };
        for &pid in &watch.roots {
            if read_stat(pid)?.is_none_or(|stat| stat.has_ended) {
                return Err(WatchError::Missing(pid));
            }
        }
        watch.look(true)?;
        Ok(watch)
    }

    /// The CPU time since the start.
    ///
    /// # Errors
    ///
    /// A process of those that were asked for has ended, or `/proc` cannot be read.
    pub fn read(&mut self) -> Result<CpuTime, WatchError> {
        self.look(false)?;
        let live = self.processes.values().map(|process| process.spent);
        let spent = live.fold(self.orphans, Add::add);
        let ticks = spent.user_ticks + spent.sys_ticks;
        // Below a tick there is no telling: most of a short time is the user's.
        let sys_share = if ticks == 0 { 0.0 } else { spent.sys_ticks as f64 / ticks as f64 };
        let total = Duration::from_nanos(spent.nanos);
        let sys = total.mul_f64(sys_share).min(total);
        Ok(CpuTime { pids: self.roots.clone(), user: total - sys, sys })
    }

    /// Looks at every process, parents before their children: a child that ends in between is then
    /// missed once, and not counted twice.
    fn look(&mut self, is_start: bool) -> Result<(), WatchError> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (pid, parent) in parents()? {
            children.entry(parent).or_default().push(pid);
        }
        let mut seen = BTreeMap::new();
        let mut stats = BTreeMap::new();
        let mut queue: Vec<u32> = self.roots.clone();
        // Children of parents that ended are somebody else's now, and still watched.
        queue.extend(self.processes.keys());
        let mut at = 0;
        while let Some(&pid) = queue.get(at) {
            at += 1;
            if seen.contains_key(&pid) {
                continue;
            }
            let Some((process, stat)) = self.look_at(pid, is_start)? else { continue };
            seen.insert(pid, process);
            stats.insert(pid, stat);
            queue.extend(children.get(&pid).into_iter().flatten());
        }
        let ended = std::mem::replace(&mut self.processes, seen);
        self.settle(ended);
        for (pid, process) in &mut self.processes {
            process.count(&stats[pid]);
        }
        match self.roots.iter().find(|pid| !self.processes.contains_key(pid)) {
            Some(pid) => Err(WatchError::Ended(*pid)),
            None => Ok(()),
        }
    }

    /// `None` where the process has ended, and for another one that got its PID.
    fn look_at(&mut self, pid: u32, is_start: bool) -> Result<Option<(Process, Stat)>, WatchError> {
        let Some(stat) = read_stat(pid)? else { return Ok(None) };
        let is_root = self.roots.contains(&pid);
        let is_other = self.processes.get(&pid).is_some_and(|known| known.started != stat.started);
        if is_root && (is_other || stat.has_ended) {
            return Ok(None);
        }
        let known = if is_other { None } else { self.processes.remove(&pid) };
        let is_new = known.is_none();
        let mut process = known.unwrap_or_else(|| Process::new(&stat, is_start));
        process.parent = stat.parent;
        process.look(pid, is_new && is_start)?;
        Ok(Some((process, stat)))
    }

    /// Hands what ended processes spent to their parents, from the leaves up.
    fn settle(&mut self, mut ended: BTreeMap<u32, Process>) {
        while !ended.is_empty() {
            let is_leaf = |pid: &u32| !ended.values().any(|other| other.parent == *pid);
            // A ring of parents cannot be; were there one, it would be broken anywhere.
            let leaf = ended.keys().copied().find(|pid| is_leaf(pid));
            let Some((_, process)) =
                leaf.and_then(|pid| ended.remove_entry(&pid)).or_else(|| ended.pop_first())
            else {
                return;
            };
            let parent = match ended.get_mut(&process.parent) {
                Some(parent) => Some(parent),
                None => self.processes.get_mut(&process.parent),
            };
            match parent {
                Some(parent) => parent.adopt(&process),
                None => self.orphans += process.spent,
            }
        }
    }
}

impl Process {
    /// What is there at the start counts from now on; what comes later counts from its begin.
    fn new(stat: &Stat, is_start: bool) -> Self {
        let first = |spent: Spent| if is_start { spent } else { Spent::default() };
        Self {
            started: stat.started,
            parent: stat.parent,
            own_first: first(stat.own),
            children_first: first(stat.children),
            threads: BTreeMap::new(),
            ended_first: Spent::default(),
            ended_seen: Spent::default(),
            spent: Spent::default(),
        }
    }

    /// Reads the threads.
    fn look(&mut self, pid: u32, is_first: bool) -> Result<(), WatchError> {
        let directory = format!("/proc/{pid}/task");
        let Some(threads) = gone_or(&directory, fs::read_dir(&directory))? else { return Ok(()) };
        for thread in threads.flatten() {
            let path = thread.path();
            let Some(id) = number_of(&path) else { continue };
            let Some(nanos) = schedstat(&path.join("schedstat"))? else { continue };
            let thread = self
                .threads
                .entry(id)
                .or_insert_with(|| Thread { first: if is_first { nanos } else { 0 }, last: nanos });
            thread.last = thread.last.max(nanos);
        }
        Ok(())
    }

    /// Works out what was spent since the process was first seen.
    fn count(&mut self, stat: &Stat) {
        let nanos = self.threads.values().map(|thread| thread.last - thread.first).sum();
        let coarse = stat.own.minus(self.own_first);
        let is_behind = coarse.nanos > nanos + ROUNDING_TICKS * TICK_NANOS;
        let own = Spent { nanos: if is_behind { coarse.nanos } else { nanos }, ..coarse };
        self.spent = own + self.ended(stat.children);
    }

    /// What ended children spent. They are in `children` if they were waited for.
    fn ended(&self, children: Spent) -> Spent {
        let waited_for = children.minus(self.children_first).minus(self.ended_first);
        if waited_for.nanos >= self.ended_seen.nanos { waited_for } else { self.ended_seen }
    }

    /// A child ended: its whole life is to come in `children`, what was before the start too.
    fn adopt(&mut self, child: &Self) {
        self.ended_first += child.own_first + child.children_first + child.ended_first;
        self.ended_seen += child.spent;
        // For a parent that ended as well; a live one is counted anew.
        self.spent += child.spent;
    }
}

impl Spent {
    fn of_ticks(user_ticks: u64, sys_ticks: u64) -> Self {
        let nanos = user_ticks.saturating_add(sys_ticks).saturating_mul(TICK_NANOS);
        Self { nanos, user_ticks, sys_ticks }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_sub(other.nanos),
            user_ticks: self.user_ticks.saturating_sub(other.user_ticks),
            sys_ticks: self.sys_ticks.saturating_sub(other.sys_ticks),
        }
    }
}

impl Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_add(other.nanos),
            user_ticks: self.user_ticks.saturating_add(other.user_ticks),
            sys_ticks: self.sys_ticks.saturating_add(other.sys_ticks),
        }
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Stat {
    /// The name in the second field is the process' choice: it may have blanks and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        // The third field (state) is the first here.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |nth: usize| fields.get(nth - 3)?.parse::<i64>().ok();
        let ticks = |nth| Some(number(nth)?.max(0).unsigned_abs());
        let threads = number(20)?;
        Some(Self {
            parent: u32::try_from(number(4)?).ok()?,
            // A leader whose other threads run on is a zombie too.
            has_ended: matches!(*fields.first()?, "Z" | "X") && threads <= 1,
            own: Spent::of_ticks(ticks(14)?, ticks(15)?),
            children: Spent::of_ticks(ticks(16)?, ticks(17)?),
            started: ticks(22)?,
        })
    }
}

fn read_stat(pid: u32) -> Result<Option<Stat>, WatchError> {
    let path = format!("/proc/{pid}/stat");
    let Some(text) = gone_or(&path, fs::read(&path))? else { return Ok(None) };
    match Stat::parse(&String::from_utf8_lossy(&text)) {
        Some(stat) => Ok(Some(stat)),
        None => Err(WatchError::Malformed { path }),
    }
}

/// Every process and its parent.
fn parents() -> Result<Vec<(u32, u32)>, WatchError> {
    let unreadable = |error| WatchError::Unreadable { path: "/proc".to_owned(), error };
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(unreadable)?.flatten() {
        let Some(pid) = number_of(&entry.path()).and_then(|pid| u32::try_from(pid).ok()) else {
            continue;
        };
        if let Some(stat) = read_stat(pid)? {
            found.push((pid, stat.parent));
        }
    }
    Ok(found)
}

/// The first number: nanoseconds on a CPU. Zero where the kernel keeps none.
fn schedstat(path: &Path) -> Result<Option<u64>, WatchError> {
    let path = path.display().to_string();
    let Some(text) = gone_or(&path, fs::read_to_string(&path))? else { return Ok(None) };
    match text.split_ascii_whitespace().next().and_then(|first| first.parse().ok()) {
        Some(nanos) => Ok(Some(nanos)),
        None => Err(WatchError::Malformed { path }),
    }
}

/// Takes what has ended, before the file was opened or after, for nothing.
fn gone_or<T>(path: &str, result: io::Result<T>) -> Result<Option<T>, WatchError> {
    const ESRCH: i32 = 3;
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(ESRCH) => Ok(None),
        Err(error) => Err(WatchError::Unreadable { path: path.to_owned(), error }),
    }
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
    use std::time::Instant;

    use super::*;

    /// A Python that runs a script with `burn(seconds of CPU)`, and `step()` which tells that it
    /// got there and waits for a line.
    struct Python {
        child: Child,
        input: ChildStdin,
        output: BufReader<ChildStdout>,
    }

    const PRELUDE: &str = r#"
import os, sys, threading, time
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(1000): pass
def step():
    print("here", flush=True)
    sys.stdin.readline()
def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid
"#;

    impl Python {
        fn run(script: &str) -> Self {
            let mut child = Command::new("python3")
                .args(["-c", &format!("{PRELUDE}\n{script}")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("python3");
            let input = child.stdin.take().expect("a pipe");
            let output = BufReader::new(child.stdout.take().expect("a pipe"));
            Self { child, input, output }
        }

        /// Waits until the script is at its next step.
        fn reach(&mut self) {
            let mut line = String::new();
            self.output.read_line(&mut line).expect("a line");
            assert_eq!(line, "here\n", "the script ended early");
        }

        fn go_on(&mut self) {
            self.input.write_all(b"\n").expect("a line");
        }

        /// Watches from the first step to the second.
        fn spent(mut self) -> Duration {
            self.reach();
            let mut watch = Watch::start(&[self.child.id()]).expect("it lives");
            self.go_on();
            self.reach();
            watch.read().expect("it lives").total()
        }
    }

    impl Drop for Python {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn assert_near(spent: Duration, expected_ms: u64) {
        let expected = Duration::from_millis(expected_ms);
        let error = spent.abs_diff(expected);
        // Ticks, and what Python itself takes between its steps.
        assert!(error < Duration::from_millis(60), "{spent:?} instead of {expected:?}");
    }

    #[test]
    fn a_busy_process_costs_what_it_burns_since_the_start() {
        assert_near(Python::run("burn(0.2)\nstep()\nburn(0.3)\nstep()").spent(), 300);
    }

    #[test]
    fn threads_that_live_and_that_ended_count() {
        let script = "
step()
threads = [threading.Thread(target=burn, args=(0.1,)) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
threading.Thread(target=lambda: (burn(0.1), print('here', flush=True), time.sleep(60))).start()
sys.stdin.readline()";
        assert_near(Python::run(script).spent(), 400);
    }

    #[test]
    fn children_that_live_and_that_ended_count_from_the_start_on() {
        let script = "
before = child(lambda: (burn(0.2), time.sleep(0.5), burn(0.1)))
time.sleep(0.35)
step()
os.waitpid(before, 0)
os.waitpid(child(lambda: os.waitpid(child(lambda: burn(0.1)), 0)), 0)
child(lambda: (burn(0.1), print('here', flush=True), time.sleep(60)))
sys.stdin.readline()";
        assert_near(Python::run(script).spent(), 300);
    }

    #[test]
    fn a_child_that_nobody_waits_for_counts_as_it_was_last_seen() {
        let script = "
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
r, w = os.pipe()
child(lambda: (os.close(w), burn(0.2), print('here', flush=True), os.read(r, 1)))
sys.stdin.readline()
os.close(w)
time.sleep(0.2)
step()";
        let mut python = Python::run(&format!("step()\n{script}"));
        python.reach();
        let mut watch = Watch::start(&[python.child.id()]).expect("it lives");
        python.go_on();
        python.reach();
        assert_near(watch.read().expect("it lives").total(), 200);
        python.go_on();
        python.reach();
        assert_near(watch.read().expect("it lives").total(), 200);
        assert_near(watch.read().expect("it lives").total(), 200);
    }

    #[test]
    fn kernel_time_is_told_from_the_users() {
        let script = "
step()
end = time.thread_time() + 0.3
file = os.open('/dev/zero', os.O_RDONLY)
while time.thread_time() < end: os.read(file, 1 << 24)
step()";
        let mut python = Python::run(script);
        python.reach();
        let mut watch = Watch::start(&[python.child.id()]).expect("it lives");
        python.go_on();
        python.reach();
        let cpu = watch.read().expect("it lives");
        assert!(cpu.sys > cpu.user, "{cpu:?}");
        assert_eq!(cpu.pids, [python.child.id()]);
    }

    #[test]
    fn this_process_can_watch_itself() {
        let mut watch = Watch::start(&[std::process::id()]).expect("it lives");
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(50) {}
        let first = watch.read().expect("it lives").total();
        assert!(first > Duration::from_millis(5), "{first:?}");
        assert!(watch.read().expect("it lives").total() >= first);
    }

    #[test]
    fn a_process_that_is_not_there_or_ends_is_an_error() {
        let mut python = Python::run("step()");
        python.reach();
        let pid = python.child.id();
        let mut watch = Watch::start(&[pid, pid]).expect("it lives");
        python.go_on();
        python.child.wait().expect("it ends");
        let error = watch.read().expect_err("it ended").to_string();
        assert_eq!(error, format!("process {pid} ended during the run: its CPU time is not known"));
        let error = Watch::start(&[pid]).expect_err("it ended").to_string();
        assert!(error.starts_with(&format!("there is no process {pid}, ")), "{error}");
    }

    #[test]
    fn a_process_may_have_any_name() {
        let numbers = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 1 19 20 21 22";
        let stat = Stat::parse(&format!("7 (a) Z 9) (b) {numbers}")).expect("fields");
        assert_eq!((stat.parent, stat.has_ended), (1, false));
        assert_eq!(stat.own, Spent::of_ticks(11, 12));
        assert_eq!(stat.children, Spent::of_ticks(13, 14));
        assert_eq!(stat.started, 19);
        assert!(Stat::parse("").is_none() && Stat::parse("7 (a) S 1 2").is_none());
    }
}
