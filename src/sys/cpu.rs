//! CPUs: which ones the process may use, how much of them, and pinning a thread to one.

use std::path::Path;

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
    let proc_cgroup = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    quota_below(&proc_cgroup, Path::new("/sys/fs/cgroup"))
}

/// The quota of the group that `proc_cgroup` (the text of /proc/PID/cgroup) names, in the tree of
/// groups at `root`.
fn quota_below(proc_cgroup: &str, root: &Path) -> Option<usize> {
    let path = proc_cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut tightest: Option<usize> = None;
    // A quota holds for all groups below, so the tightest of the ancestors counts.
    for ancestor in Path::new(path).ancestors() {
        let relative = ancestor.strip_prefix("/").unwrap_or(ancestor);
        let file = root.join(relative).join("cpu.max");
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
    fn the_tightest_quota_of_a_group_and_its_ancestors_counts() {
        let root = std::env::temp_dir().join(format!("ringfort-cgroup-{}", std::process::id()));
        let write = |group: &str, text: &str| {
            let folder = root.join(group);
            std::fs::create_dir_all(&folder).expect("a temporary folder");
            std::fs::write(folder.join("cpu.max"), text).expect("a temporary file");
        };
        write("a", "400000 100000\n");
        write("a/b", "250000 100000\n");
        write("a/b/c", "max 100000\n");
        write("a/b/c/tight", "100000 100000\n");
        // Of another branch: it must not count.
        write("z", "100000 100000\n");
        let quota = |text: &str| quota_below(text, &root);
        assert_eq!(quota("0::/a\n"), Some(4));
        assert_eq!(quota("0::/a/b\n"), Some(3));
        assert_eq!(quota("0::/a/b/c\n"), Some(3), "the parent's");
        assert_eq!(quota("0::/a/b/c/tight\n"), Some(1));
        assert_eq!(quota("0::/a/gone\n"), Some(4), "a group without the file has its parent's");
        assert_eq!(quota("0::/\n"), None, "the root has no quota");
        assert_eq!(quota("4:cpu:/a\n0::/a/b\n"), Some(3), "version 1 lines beside it");
        assert_eq!(quota("4:cpu:/a\n"), None, "version 1 alone");
        write("", "150000 100000\n");
        assert_eq!(quota("0::/a/b\n"), Some(2), "in a container the root may have one");
        std::fs::remove_dir_all(&root).expect("our own folder");
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
