//! The committed counts, and the comparison with them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::profile::Counts;

/// Counts may differ from the baseline's by so much, in percent.
pub const CHANGE_PERCENT_MAX: u64 = 2;

const HEADER: &str = "# Made by scripts/icount --update; see docs/performance.md.\n";

/// What the counts depend on besides the code.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// The first line of `rustc -vV`.
    pub rustc: String,
    /// The target triple.
    pub target: String,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.rustc, self.target)
    }
}

/// The counts of every scenario, and what they were made with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    pub toolchain: Toolchain,
    pub scenario: BTreeMap<String, Counts>,
}

impl Baseline {
    /// Reads what [`Baseline::to_text`] wrote.
    ///
    /// # Errors
    /// Where the text is not that, with the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    pub fn to_text(&self) -> String {
        let body = toml::to_string(self).expect("tables of numbers and text");
        format!("{HEADER}{body}")
    }

    /// What is against the baseline, a line each.
    pub fn complaints(&self, toolchain: &Toolchain, now: &[(&str, Counts)]) -> Vec<String> {
        if *toolchain != self.toolchain {
            return vec![format!(
                "the baseline was made with {}, this is {toolchain}: the counts cannot be compared",
                self.toolchain
            )];
        }
        let mut found = Vec::new();
        for (name, counts) in now {
            let Some(before) = self.scenario.get(*name) else {
                found.push(format!("{name} is not in the baseline"));
                continue;
            };
            for (what, before, now) in measures(before, counts) {
                // In whole numbers: exactly 2 % must pass.
                if now.abs_diff(before) * 100 > before * CHANGE_PERCENT_MAX {
                    let change = change_percent(before, now);
                    found.push(format!(
                        "{name}: {now} {what}, {change:+.1} % of the baseline's {before} \
                         ({CHANGE_PERCENT_MAX} % either way are allowed)"
                    ));
                }
            }
        }
        found
    }
}

fn measures(before: &Counts, now: &Counts) -> [(&'static str, u64, u64); 3] {
    [
        ("instructions", before.instructions, now.instructions),
        ("allocations", before.allocations, now.allocations),
        ("calls into libc", before.libc_calls, now.libc_calls),
    ]
}

/// By how much `now` differs from `before`, in percent of `before`.
pub fn change_percent(before: u64, now: u64) -> f64 {
    if before == now { 0.0 } else { (now as f64 / before as f64 - 1.0) * 100.0 }
}
