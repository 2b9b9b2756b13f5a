//! What /proc says about a process.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A process, by its pid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pid: u32,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid }
    }

    pub(crate) fn pid(self) -> u32 {
        self.pid
    }

    fn file(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    /// Its open file descriptors.
    pub(crate) fn descriptors(self) -> usize {
        std::fs::read_dir(self.file("fd")).expect("the process lives").count()
    }

    /// Its open sockets.
    pub(crate) fn sockets(self) -> usize {
        let descriptors = std::fs::read_dir(self.file("fd")).expect("the process lives");
        let targets =
            descriptors.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    /// Whether a signal has stopped it.
    pub(crate) fn is_stopped(self) -> bool {
        let status = std::fs::read_to_string(self.file("status")).expect("the process lives");
        field(&status, "State:").starts_with('T')
    }

    /// Its resident memory in KiB.
    pub(crate) fn resident_kib(self) -> u64 {
        let status = std::fs::read_to_string(self.file("status")).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// The CPU time that it has used.
    pub(crate) fn cpu_time(self) -> Duration {
        let stat = std::fs::read_to_string(self.file("stat")).expect("the process lives");
        // Behind the name, which may hold anything: utime and stime are the 12th and 13th.
        let fields = stat.rsplit_once(')').expect("a name in brackets").1;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("a number"))
            .sum();
        // sysconf(_SC_CLK_TCK) is 100 on every Linux of today.
        Duration::from_millis(ticks * 10)
    }

    /// The CPUs that each of its threads of this name may run on, as /proc writes them.
    pub(crate) fn cpus_of_threads(self, name: &str) -> Vec<String> {
        let tasks = std::fs::read_dir(self.file("task")).expect("the process lives");
        let statuses = tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
        let mut cpus: Vec<String> = statuses
            .filter(|status| field(status, "Name:").starts_with(name))
            .map(|status| field(&status, "Cpus_allowed_list:").to_string())
            .collect();
        cpus.sort();
        cpus
    }

    /// Sets its soft and hard limit of open descriptors.
    pub(crate) fn limit_descriptors(self, soft: usize, hard: usize) {
        let status = Command::new("prlimit")
            .args(["--pid", &self.pid.to_string(), &format!("--nofile={soft}:{hard}")])
            .status()
            .expect("prlimit is installed");
        assert!(status.success(), "prlimit: {status}");
    }
}

fn field<'s>(status: &'s str, name: &str) -> &'s str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}
