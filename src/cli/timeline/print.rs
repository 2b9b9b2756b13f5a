//! A timeline as a table for a terminal of 100 columns.
//!
//! Peers' texts are shown, so that whatever could steer a terminal is replaced before it is set.

use std::fmt::Write as _;
use std::io::{IsTerminal, stdout};

use super::record::Direction;
use super::rows::{Lane, Row};

const TIME_COLUMNS: usize = 8;
const BYTES_COLUMNS: usize = 6;
const LANE_COLUMNS: usize = 17;
const WHAT_COLUMNS: usize = 20;
const DETAILS_COLUMNS: usize = 41;
const GAP: &str = "  ";

const _: () = assert!(
    TIME_COLUMNS + BYTES_COLUMNS + LANE_COLUMNS + WHAT_COLUMNS + DETAILS_COLUMNS + 4 * GAP.len()
        == 100
);

const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

/// Whether standard output is a terminal that wants colour: `NO_COLOR` (any value that is not
/// empty) and `TERM=dumb` say no.
pub fn colour_wanted() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|value| value == "dumb");
    !refused && !dumb && stdout().is_terminal()
}

/// The table of these lines, at most 100 columns wide, each line ended by a newline.
pub fn table(rows: &[Row], colour: bool) -> String {
    table_of(rows, colour, "gateway")
}

/// The same where the server is called `peer`, a word of at most 7 letters.
pub fn table_of(rows: &[Row], colour: bool, peer: &str) -> String {
    let mut out = String::new();
    let paint = Paint { colour };
    let head = ["time us", "bytes", "direction", "what", "details"].map(String::from);
    line(&mut out, &head, &[DIM; 5], &paint);
    for row in rows {
        let tint = match row.lane {
            _ if row.alarm => RED,
            Lane::Wire(Direction::ToServer) => CYAN,
            Lane::Wire(Direction::ToClient) => GREEN,
            Lane::Client | Lane::ClientVerifies | Lane::Gateway => YELLOW,
        };
        let tints = [DIM, DIM, tint, if row.alarm { RED } else { "" }, ""];
        let what = wrap(&printable(&row.what), WHAT_COLUMNS);
        let details = wrap(&details(row), DETAILS_COLUMNS);
        let bytes = row.bytes.map(|bytes| bytes.to_string());
        for at in 0..what.len().max(details.len()) {
            let first = |text: String| if at == 0 { text } else { String::new() };
            let cells = [
                first(row.at.as_micros().to_string()),
                first(bytes.clone().unwrap_or_default()),
                first(lane(row.lane, peer)),
                what.get(at).cloned().unwrap_or_default(),
                details.get(at).cloned().unwrap_or_default(),
            ];
            line(&mut out, &cells, &tints, &paint);
        }
    }
    out
}

fn lane(lane: Lane, peer: &str) -> String {
    match lane {
        Lane::Wire(Direction::ToServer) => format!("client -> {peer}"),
        Lane::Wire(Direction::ToClient) => format!("{peer} -> client"),
        Lane::Client => String::from("client"),
        Lane::ClientVerifies => String::from("client verifies"),
        Lane::Gateway => peer.to_owned(),
    }
}

fn details(row: &Row) -> String {
    let mut text = printable(&row.details);
    if let Some(duration) = row.duration {
        let gap = if text.is_empty() { "" } else { "; " };
        let micros = duration.as_micros();
        // Writing to a String cannot fail.
        let _ = write!(text, "{gap}took {micros} us");
    }
    text
}

/// The text without what could steer a terminal: control characters, and those that turn the
/// direction of writing.
pub(in crate::cli) fn printable(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '?' } else { c }).collect()
}

/// Whether a character could steer a terminal.
pub(in crate::cli) fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
    let separates = matches!(c, '\u{2028}'..='\u{2029}');
    turns || separates || c.is_control() || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// Breaks a text into lines of at most `columns`: between clauses (`"; "`) where one does not fit
/// whole, then between words, and inside a longer word best after a `_`. At least one line.
pub(in crate::cli) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line: Vec<char> = Vec::new();
    let clauses =
        text.split_inclusive("; ").map(|clause| clause.strip_suffix(' ').unwrap_or(clause));
    for clause in clauses {
        let mut room = clause.chars().count();
        for word in clause.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            room = room.max(word.len());
            if line.len() + 1 + room > columns && !line.is_empty() {
                lines.push(line.iter().collect());
                line.clear();
            }
            // Once the clause has its place, each of its words looks for its own.
            room = 0;
            if !line.is_empty() {
                line.push(' ');
            }
            while word.len() > columns {
                let underscore = word[..columns].iter().rposition(|c| *c == '_');
                let rest = word.split_off(underscore.map_or(columns, |at| at + 1));
                lines.push(word.iter().collect());
                word = rest;
            }
            line.append(&mut word);
        }
    }
    lines.push(line.iter().collect());
    lines
}

/// Adds one line of the table, without trailing blanks.
fn line(out: &mut String, cells: &[String; 5], tints: &[&str; 5], paint: &Paint) {
    let [time, bytes, lane, what, details] = cells;
    let set = [
        format!("{time:>TIME_COLUMNS$}"),
        format!("{bytes:>BYTES_COLUMNS$}"),
        format!("{lane:<LANE_COLUMNS$}"),
        format!("{what:<WHAT_COLUMNS$}"),
        details.clone(),
    ];
    let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
    for (index, (cell, tint)) in set.iter().zip(tints).enumerate().take(last + 1) {
        let cell = if index == last { cell.trim_end() } else { cell };
        out.push_str(if index == 0 { "" } else { GAP });
        paint.cell(out, cell, tint);
    }
    out.push('\n');
}

/// Colours, or none.
struct Paint {
    colour: bool,
}

impl Paint {
    fn cell(&self, out: &mut String, cell: &str, tint: &str) {
        if !self.colour || tint.is_empty() || cell.trim().is_empty() {
            return out.push_str(cell);
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "\x1b[{tint}m{cell}\x1b[0m");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn row(what: &str, details: &str) -> Row {
        Row {
            at: Duration::from_micros(1234),
            bytes: Some(517),
            lane: Lane::Wire(Direction::ToServer),
            what: what.to_owned(),
            details: details.to_owned(),
            duration: None,
            alarm: false,
        }
    }

    #[test]
    fn a_row_is_set_in_its_columns_and_wrapped_below_itself() {
        let details = "SNI gateway.example; ALPN none; versions TLSv1.3, TLSv1.2";
        let table = table(&[row("ClientHello", details)], false);
        let expected = [
            " time us   bytes  direction          what                  details",
            "    1234     517  client -> gateway  ClientHello           \
             SNI gateway.example; ALPN none;",
            "                                                           \
             versions TLSv1.3, TLSv1.2",
            "",
        ];
        assert_eq!(table, expected.join("\n"));
    }

    #[test]
    fn a_duration_follows_the_details() {
        let mut verified = row("certificate chain", "good");
        verified.duration = Some(Duration::from_micros(187));
        assert!(table(&[verified], false).contains("good; took 187 us\n"));
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let rows = [row("ClientHello", "SNI gateway.example")];
        let mut plain = table(&rows, true);
        assert_ne!(plain, table(&rows, false));
        for code in ["0", DIM, CYAN] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(plain, table(&rows, false));
    }

    #[test]
    fn a_peer_s_text_cannot_steer_the_terminal() {
        let table = table(&[row("Certificate", "CN=\x1b[2J\u{202e}\nevil")], false);
        assert!(table.contains("CN=?[2J??evil"));
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_100_columns_and_no_word_is_lost(
            what in "\\PC{0,60}",
            details in "[a-z_; ]{0,300}|[a-z_]{0,99}",
        ) {
            let table = table(&[row(&what, &details)], false);
            prop_assert!(table.lines().all(|line| line.chars().count() <= 100));
            let lines = wrap(&details, DETAILS_COLUMNS);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= DETAILS_COLUMNS));
            let letters = |text: &str| text.replace(' ', "");
            prop_assert_eq!(letters(&lines.concat()), letters(&details));
        }
    }
}
