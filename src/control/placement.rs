//! Which CPUs the workers run on.
//!
//! A pure choice over what the process may use: its affinity mask (which a cpuset limits), its
//! cgroup's CPU quota, and what the configuration asks for.

use std::fmt;

use crate::limits::WORKERS_MAX;

/// Why the workers cannot be placed as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacementError {
    /// The configuration names CPUs that the process may not use.
    Forbidden {
        /// Those CPUs.
        cpus: Vec<usize>,
        /// The ones that it may use.
        allowed: Vec<usize>,
    },
    /// The affinity mask cannot be read.
    Unknown,
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden { cpus, allowed } => write!(
                f,
                "cpus names {cpus:?}, which this process may not use; it may use {allowed:?} \
                 (see taskset(1) and the CPU set of the container): correct cpus, or widen the set"
            ),
            Self::Unknown => f.write_str("the CPUs that this process may use cannot be read"),
        }
    }
}

/// The CPU of each worker.
///
/// `asked` are the CPUs that the configuration names, `workers` the number it asks for, `allowed`
/// the CPUs that the process may use, `quota` its CPU time in CPUs. Where nothing is asked for
/// there is one worker per CPU, and no more than the quota pays for.
///
/// # Errors
/// A CPU that the process may not use.
pub fn place(
    asked: Option<&[usize]>,
    workers: Option<usize>,
    allowed: &[usize],
    quota: Option<usize>,
) -> Result<Vec<usize>, PlacementError> {
    let cpus = match asked {
        Some(asked) => {
            let forbidden: Vec<usize> =
                asked.iter().copied().filter(|cpu| !allowed.contains(cpu)).collect();
            if !forbidden.is_empty() {
                let allowed = allowed.to_vec();
                return Err(PlacementError::Forbidden { cpus: forbidden, allowed });
            }
            asked
        }
        None => allowed,
    };
    if cpus.is_empty() {
        return Err(PlacementError::Unknown);
    }
    let default = cpus.len().min(quota.unwrap_or(usize::MAX)).clamp(1, WORKERS_MAX);
    let count = workers.unwrap_or(default);
    Ok(cpus.iter().copied().cycle().take(count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_per_cpu_within_the_quota() {
        assert_eq!(place(None, None, &[0, 1, 5], None), Ok(vec![0, 1, 5]));
        assert_eq!(place(None, None, &[0, 1, 5], Some(2)), Ok(vec![0, 1]));
        assert_eq!(place(Some(&[5]), None, &[0, 1, 5], Some(2)), Ok(vec![5]));
    }

    #[test]
    fn what_is_asked_for_is_given_even_beyond_the_cpus() {
        assert_eq!(place(None, Some(3), &[0, 1], Some(1)), Ok(vec![0, 1, 0]));
    }

    #[test]
    fn a_cpu_outside_the_mask_is_refused_by_name() {
        let refused = place(Some(&[1, 7]), None, &[0, 1], None).expect_err("7 is not allowed");
        assert!(refused.to_string().contains("[7]"), "{refused}");
        assert_eq!(place(None, None, &[], None), Err(PlacementError::Unknown));
    }
}
