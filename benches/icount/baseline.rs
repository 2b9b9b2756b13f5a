//! The committed counts, and the comparison with them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::profile::Counts;

/// Counts may differ from the baseline's by so much, in percent.
pub const CHANGE_PERCENT_MAX: f64 = 2.0;

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
                let change = change_percent(before, now);
                if change.abs() > CHANGE_PERCENT_MAX {
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
        ("copies", before.copies, now.copies),
    ]
}

/// By how much `now` differs from `before`, in percent of `before`.
pub fn change_percent(before: u64, now: u64) -> f64 {
    if before == now { 0.0 } else { (now as f64 / before as f64 - 1.0) * 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(rustc: &str) -> Toolchain {
        Toolchain { rustc: rustc.into(), target: "x86_64-unknown-linux-gnu".into() }
    }

    fn baseline() -> Baseline {
        let counts = Counts { instructions: 1000, allocations: 10, copies: 0 };
        let scenario = BTreeMap::from([("relay".to_owned(), counts)]);
        Baseline { toolchain: toolchain("rustc 1.95.0"), scenario }
    }

    fn complaints(instructions: u64, allocations: u64, copies: u64) -> Vec<String> {
        let now = Counts { instructions, allocations, copies };
        baseline().complaints(&toolchain("rustc 1.95.0"), &[("relay", now)])
    }

    #[test]
    fn two_percent_either_way_pass_and_more_does_not() {
        assert!(complaints(1000, 10, 0).is_empty());
        assert!(complaints(1020, 10, 0).is_empty());
        assert!(complaints(980, 10, 0).is_empty());
        assert_eq!(
            complaints(1021, 10, 0),
            ["relay: 1021 instructions, +2.1 % of the baseline's 1000 (2 % either way are allowed)"]
        );
        assert!(complaints(979, 10, 0)[0].starts_with("relay: 979 instructions, -2.1 %"));
        assert!(complaints(1000, 11, 0)[0].starts_with("relay: 11 allocations, +10.0 %"));
        assert!(complaints(1000, 10, 1)[0].starts_with("relay: 1 copies, +inf %"));
    }

    #[test]
    fn another_compiler_and_an_unknown_scenario_are_no_pass() {
        let now = [("other", Counts::default())];
        let same = baseline().complaints(&toolchain("rustc 1.95.0"), &now);
        assert_eq!(same, ["other is not in the baseline"]);
        let other = baseline().complaints(&toolchain("rustc 1.96.0"), &now);
        assert_eq!(other.len(), 1);
        assert!(other[0].contains("rustc 1.95.0 for") && other[0].contains("rustc 1.96.0 for"));
    }

    #[test]
    fn what_is_written_is_read_back_and_other_text_is_refused_with_its_line() {
        let text = baseline().to_text();
        assert!(text.starts_with('#'));
        assert_eq!(Baseline::parse(&text), Ok(baseline()));
        let bad = text.replace("allocations = 10", "allocations = -1");
        assert!(Baseline::parse(&bad).expect_err("a count").contains("line "));
        assert!(Baseline::parse(&text.replace("copies", "copied")).is_err());
    }
}
