//! The rows of docs/refusals.md, which the program carries with it: cause and cure of each code.
//!
//! One page for the reader of the page and the reader of the terminal, so the two cannot differ.
//! `tests/docs.rs` holds its tables against the codes.

use serde::Serialize;

const PAGE: &str = include_str!("../../../docs/refusals.md");

/// What the page says about a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// Why a client gets this code.
    pub(super) cause: &'static str,
    /// What to do about it.
    pub(super) cure: &'static str,
}

/// The row of a refusal.
pub(super) fn refusal(code: &str) -> Option<Row> {
    row("## Why a certificate was refused", code)
}

/// The row of a denial.
pub(super) fn denial(code: &str) -> Option<Row> {
    row("## Why a client was denied", code)
}

/// The row of what ends a connection whose client was let in.
pub(super) fn lapse(code: &str) -> Option<Row> {
    row("## Why a client was put out again", code)
}

fn row(heading: &str, code: &str) -> Option<Row> {
    let (_, section) = PAGE.split_once(heading)?;
    let section = section.split("\n## ").next()?;
    let start = format!("| `{code}` | ");
    let cells = section.lines().find_map(|line| line.strip_prefix(&start))?;
    let mut cells = cells.strip_suffix(" |")?.splitn(3, " | ");
    let (cause, _alert, cure) = (cells.next()?, cells.next()?, cells.next()?);
    Some(Row { cause, cure })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CloseKind, Refusal};
    use crate::policy::Denial;

    #[test]
    fn every_code_has_its_row_and_no_other() {
        for code in Refusal::ALL.map(Refusal::as_str) {
            let row = refusal(code).unwrap_or_else(|| panic!("{code} has no row"));
            assert!(row.cause.len() > 8 && row.cure.len() > 8, "{code}: {row:?}");
        }
        assert!(Denial::CODES.iter().all(|code| denial(code).is_some()));
        assert!(CloseKind::LAPSED.iter().all(|kind| lapse(kind.as_str()).is_some()));
        assert_eq!(refusal("rule_denied"), None);
        assert_eq!(denial("expired"), None);
        assert_eq!(refusal(""), None);
        let row = refusal("expired").expect("a row");
        assert_eq!(row.cause, "a certificate of the chain is past its notAfter");
        assert!(row.cure.starts_with("renew it: "), "{row:?}");
    }
}
