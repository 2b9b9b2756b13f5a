//! CPUs: which ones the process may use, how much of them, and pinning a thread to one.

use core_affinity::CoreId;

/// The CPUs that the process may use, in rising order: its affinity mask, which a cpuset limits.
pub fn allowed() -> Vec<usize> {
    let mut cpus: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    cpus
}

/// Pins the calling thread to `cpu`; whether that worked.
pub fn pin(cpu: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: cpu })
}

/// The CPU time quota of the process' cgroup (v2, `cpu.max`), in CPUs, rounded up; `None` where
/// there is no quota.
pub fn quota() -> Option<usize> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut tightest: Option<usize> = None;
    // A quota holds for all groups below, so the tightest of the ancestors counts.
    for ancestor in std::path::Path::new(path).ancestors() {
        let relative = ancestor.strip_prefix("/").unwrap_or(ancestor);
        let file = std::path::Path::new("/sys/fs/cgroup").join(relative).join("cpu.max");
        let here = std::fs::read_to_string(file).ok().and_then(|text| parse_quota(&text));
        tightest = [tightest, here].into_iter().flatten().min();
    }
    tightest
}

/// Parses `cpu.max`: `max PERIOD` or `QUOTA PERIOD`, both in microseconds.
fn parse_quota(text: &str) -> Option<usize> {
    let mut words = text.split_whitespace();
    let quota: usize = words.next()?.parse().ok()?;
    let period: usize = words.next()?.parse().ok()?;
    (period > 0).then(|| quota.div_ceil(period).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_rounded_up_to_whole_cpus_and_max_is_none() {
        assert_eq!(parse_quota("max 100000\n"), None);
        assert_eq!(parse_quota("150000 100000\n"), Some(2));
        assert_eq!(parse_quota("10000 100000"), Some(1));
        assert_eq!(parse_quota("200000 0"), None);
        assert_eq!(parse_quota(""), None);
    }

    #[test]
    fn a_thread_can_be_pinned_to_an_allowed_cpu_and_to_no_other() {
        let first = *allowed().first().expect("one CPU at least");
        std::thread::spawn(move || {
            assert!(pin(first));
            assert_eq!(allowed(), [first]);
        })
        .join()
        .expect("the thread ends");
    }
}
