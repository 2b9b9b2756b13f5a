//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::cases::Case;
use crate::tls::provider::Backend;

/// Columns of a backend's cell.
const CELL_COLUMNS: usize = 21;
/// Columns of an operation's name.
const NAME_COLUMNS: usize = 27;

/// The figures of one operation of one backend.
#[derive(Clone, Debug, Default)]
struct Cell {
    lacks: Option<String>,
    /// Nanoseconds per operation, one for each round.
    samples: Vec<f64>,
}

impl Cell {
    /// The samples from the least to the most.
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(sorted[middle]),
            _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        }
    }

    /// Half of the distance between the first and the third quartile, as a share of the median.
    fn spread(&self) -> Option<f64> {
        let (sorted, median) = (self.sorted(), self.median()?);
        let last = sorted.len() - 1;
        Some((sorted[last - last / 4] - sorted[last / 4]) / 2.0 / median)
    }
}

struct Row {
    section: &'static str,
    name: String,
    cells: Vec<Cell>,
}

/// All figures.
pub(super) struct Report {
    backends: Vec<Backend>,
    rows: Vec<Row>,
    rounds: u32,
}

impl Report {
    pub(super) fn new(table: &[Case], backends: Vec<Backend>) -> Self {
        let rows = table.iter().map(|case| Row {
            section: case.section,
            name: case.name.clone(),
            cells: case
                .operations
                .iter()
                .map(|it| Cell { lacks: it.as_ref().err().cloned(), samples: Vec::new() })
                .collect(),
        });
        Self { rows: rows.collect(), backends, rounds: 0 }
    }

    pub(super) fn backend(&self, column: usize) -> &'static str {
        self.backends[column].name()
    }

    /// Notes one round of one operation.
    pub(super) fn add(&mut self, (row, column): (usize, usize), spent: Duration, count: u32) {
        let ns = spent.as_secs_f64() * 1e9 / f64::from(count);
        self.rows[row].cells[column].samples.push(ns);
    }

    /// Notes that a round is complete.
    pub(super) fn end_round(&mut self) {
        self.rounds += 1;
    }

    /// The column that the others are compared with: aws-lc-rs', where it was measured.
    fn yardstick(&self) -> Option<usize> {
        self.backends.iter().position(|backend| backend.name() == "aws-lc-rs")
    }

    fn ratio(&self, row: &Row, column: usize) -> Option<f64> {
        Some(row.cells[column].median()? / row.cells[self.yardstick()?].median()?)
    }

    /// The table: median, spread, and the ratio to aws-lc-rs.
    pub(super) fn table(&self) -> String {
        let mut out = format!("{:NAME_COLUMNS$}", "CPU time per operation");
        for backend in &self.backends {
            let _ = write!(out, "{:>CELL_COLUMNS$}", backend.name());
        }
        let mut section = "";
        for row in &self.rows {
            if row.section != section {
                section = row.section;
                let _ = write!(out, "\n{section}\n");
            }
            let _ = write!(out, "  {:width$}", row.name, width = NAME_COLUMNS - 2);
            for (column, cell) in row.cells.iter().enumerate() {
                let _ = write!(out, "{:>CELL_COLUMNS$}", self.text(row, column, cell));
            }
            out.push('\n');
        }
        let _ = write!(
            out,
            "\nMedian of {} rounds, half the distance between the quartiles{}.\n",
            self.rounds,
            if self.yardstick().is_some() { ", ratio to aws-lc-rs" } else { "" }
        );
        out
    }

    fn text(&self, row: &Row, column: usize, cell: &Cell) -> String {
        if let Some(lacks) = &cell.lacks {
            return lacks.clone();
        }
        let (Some(median), Some(spread)) = (cell.median(), cell.spread()) else {
            return String::from("not measured");
        };
        let time = match median {
            ns if ns < 1e3 => format!("{ns:.0} ns"),
            ns if ns < 1e6 => format!("{:.1} us", ns / 1e3),
            ns => format!("{:.2} ms", ns / 1e6),
        };
        let mut text = format!("{time} ±{:.0}%", spread * 100.0);
        if self.yardstick() != Some(column)
            && let Some(ratio) = self.ratio(row, column)
        {
            let _ = write!(text, " {ratio:.2}x");
        }
        text
    }

    /// One object with everything.
    pub(super) fn json(&self, seconds: u64, interrupted: bool) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|row| self.row_json(row)).collect();
        let backends: Vec<_> = self.backends.iter().map(|backend| backend.name()).collect();
        json!({
            "ringfort_bench": env!("CARGO_PKG_VERSION"),
            "what": "crypto",
            "cpu": processor(),
            "clock": "CLOCK_THREAD_CPUTIME_ID",
            "seconds": seconds,
            "rounds": self.rounds,
            "interrupted": interrupted,
            "backends": backends,
            "rows": rows,
        })
    }

    fn row_json(&self, row: &Row) -> Value {
        let cells = row.cells.iter().enumerate().map(|(column, cell)| {
            let value = match &cell.lacks {
                Some(lacks) => json!({ "lacks": lacks }),
                None => json!({
                    "median_ns": cell.median(),
                    "min_ns": cell.sorted().first(),
                    "max_ns": cell.sorted().last(),
                    "spread": cell.spread(),
                    "ratio": self.ratio(row, column),
                    "samples_ns": cell.samples,
                }),
            };
            (self.backend(column).to_string(), value)
        });
        let cells: serde_json::Map<_, _> = cells.collect();
        json!({ "section": row.section, "operation": row.name, "backends": cells })
    }
}

/// What /proc/cpuinfo calls the processor; null where it does not.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(samples: &[f64]) -> Report {
        let cell = Cell { lacks: None, samples: samples.to_vec() };
        let lacking = Cell { lacks: Some("lacks it".into()), samples: Vec::new() };
        let row = |cells| Row { section: "sign", name: "x".into(), cells };
        let rows = vec![row(vec![cell]), row(vec![lacking])];
        Report { backends: vec![Backend::ALL[0]], rows, rounds: 3 }
    }

    #[test]
    fn a_cell_has_median_and_spread_or_says_what_it_lacks() {
        let table = report(&[900.0, 1000.0, 1100.0, 1050.0, 5000.0]).table();
        assert!(table.contains(" 1.1 us ±2%") || table.contains(" 1.1 us ±5%"), "{table}");
        assert!(table.contains("lacks it"), "{table}");
        assert!(report(&[]).table().contains("not measured"));
        assert!(report(&[99.6]).table().contains(" 100 ns ±0%"));
        assert!(report(&[2.5e6, 2.5e6]).table().contains(" 2.50 ms ±0%"));
    }

    #[test]
    fn the_json_has_what_the_table_has() {
        let value = report(&[10.0, 30.0, 20.0]).json(7, true);
        let name = Backend::ALL[0].name();
        let cell = &value["rows"][0]["backends"][name];
        assert_eq!((cell["median_ns"].as_f64(), cell["max_ns"].as_f64()), (Some(20.0), Some(30.0)));
        assert_eq!(value["rows"][1]["backends"][name]["lacks"], "lacks it");
        assert_eq!((&value["rounds"], &value["interrupted"]), (&json!(3), &json!(true)));
    }
}
