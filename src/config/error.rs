//! What is wrong with a configuration, told to the person who wrote it.
//!
//! A [`ConfigError`] cannot be made without its four parts: the place, what was found there, what
//! was expected, and what to do. It knows nothing of what the keys mean.

use std::fmt;
use std::fmt::Write as _;
use std::ops::Range;

/// One problem: where, what was found, what was expected, what to do.
///
/// Displays on one line: `FILE:LINE:COLUMN: found; expected ...; fix: ...`. Of what it quotes,
/// control characters, separators of lines and what turns the direction of text are escaped, so
/// that no text can forge another line, command a terminal, or show as another text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the offending text is.
    pub place: Place,
    /// What was found, with the offending text.
    pub found: String,
    /// What would have been right.
    pub expected: String,
    /// What the operator does about it.
    pub fix: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, found, expected, fix } = self;
        write!(OneLine(f), "{place}: {found}; expected {expected}; fix: {fix}")
    }
}

/// Escapes what is not to be shown as it is on its way to a formatter.
struct OneLine<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(misleads) {
            let misleading = part.chars().next_back().filter(|last| misleads(*last));
            let plain = &part[..part.len() - misleading.map_or(0, char::len_utf8)];
            self.0.write_str(plain)?;
            if let Some(misleading) = misleading {
                write!(self.0, "{}", misleading.escape_default())?;
            }
        }
        Ok(())
    }
}

/// Control characters (Cc), the separators of lines and paragraphs (Zl, Zp), and the characters
/// with the property Bidi_Control (Unicode Standard Annex 9, section 2).
fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

impl std::error::Error for ConfigError {}

/// Where a problem is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A point in a file; line and column count from 1, the column in characters.
    Point {
        /// The file as the operator named it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// A file as a whole.
    File(String),
    /// A flag of the command line, or the command line as a whole.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Point { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::File(file) => f.write_str(file),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// The text that a model's spans point into.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file: spans are ranges of its bytes.
    File(SourceFile),
    /// Flags: the start of a span is an index into these names.
    Flags(Vec<&'static str>),
}

/// A file and where its lines begin, which is looked up for every problem.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: String,
    text: String,
    /// Never empty, and ascending: the first line begins at 0.
    line_starts: Vec<usize>,
}

impl SourceFile {
    /// A file as the operator named it, and its text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
        Self { name: name.into(), line_starts: line_starts.collect(), text }
    }

    /// The point of a byte; one within a character is that character's, one beyond the text is its
    /// end.
    fn point(&self, at: usize) -> Place {
        let at = self.text.floor_char_boundary(at);
        let line = self.line_starts.partition_point(|start| *start <= at);
        let line_start = self.line_starts[line - 1];
        let column = self.text[line_start..at].chars().count() + 1;
        Place::Point { file: self.name.clone(), line, column }
    }
}

/// How the command line as a whole is called in messages.
const COMMAND_LINE: &str = "command line";

impl Default for Source {
    fn default() -> Self {
        Self::Flags(vec![COMMAND_LINE])
    }
}

impl Source {
    /// Notes a flag and returns the span that stands for it.
    ///
    /// Spans of a file's text are not made here; on a file this is the start of the text.
    pub fn flag(&mut self, name: &'static str) -> Range<usize> {
        let Self::Flags(names) = self else {
            return 0..0;
        };
        let index = names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        index..index
    }

    /// The place that a span points at.
    pub fn place(&self, span: &Range<usize>) -> Place {
        match self {
            Self::Flags(names) => {
                Place::Flag(names.get(span.start).copied().unwrap_or(COMMAND_LINE))
            }
            Self::File(file) => file.point(span.start),
        }
    }

    /// The place of what is nowhere written.
    pub fn whole(&self) -> Place {
        match self {
            Self::Flags(_) => Place::Flag(COMMAND_LINE),
            Self::File(file) => Place::File(file.name.clone()),
        }
    }
}

/// The candidate nearest to `word`, if one is near enough to be what was meant.
///
/// Case and the choice between `-` and `_` do not count as differences.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let word = fold(word);
    let edits_max = word.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (edits(&word, &fold(candidate)), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn edits(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, r) in right.chars().enumerate() {
            let substituted = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_a_file_becomes_its_line_and_column_in_characters() {
        let text = "a = 1\nb = \"\u{e4}\u{e4}\" # x\n".to_string();
        let x = text.find('x').expect("the text has an x");
        let source = Source::File(SourceFile::new("f.toml", text));
        assert_eq!(source.place(&(0..1)).to_string(), "f.toml:1:1");
        assert_eq!(source.place(&(x..x + 1)).to_string(), "f.toml:2:12");
        let newline = x + 1;
        assert_eq!(source.place(&(newline..newline + 1)).to_string(), "f.toml:2:13");
        // The second byte of a character of two.
        assert_eq!(source.place(&(12..13)).to_string(), "f.toml:2:6");
        assert_eq!(source.place(&(999..1000)).to_string(), "f.toml:3:1");
        assert_eq!(source.whole().to_string(), "f.toml");
        let empty = Source::File(SourceFile::new("f.toml", ""));
        assert_eq!(empty.place(&(0..0)).to_string(), "f.toml:1:1");
    }

    #[test]
    fn a_span_of_the_flags_becomes_the_flag() {
        let mut source = Source::default();
        let listen = source.flag("--listen");
        assert_eq!(source.flag("--listen"), listen);
        assert_eq!(source.place(&listen).to_string(), "--listen");
        assert_eq!(source.place(&(0..0)).to_string(), "command line");
    }

    #[test]
    fn what_is_quoted_cannot_break_the_line_or_command_a_terminal() {
        let error = ConfigError {
            place: Place::File("r.toml".into()),
            found: "unknown key `a\nr.toml:1:1: \u{1b}[2J\u{9b}\t\u{e4}`".into(),
            expected: "b".into(),
            fix: "c".into(),
        };
        assert_eq!(
            error.to_string(),
            "r.toml: unknown key `a\\nr.toml:1:1: \\u{1b}[2J\\u{9b}\\t\u{e4}`; expected b; fix: c"
        );
    }

    #[test]
    fn what_is_quoted_cannot_turn_the_text_around_or_separate_lines() {
        let shown = |found: &str| {
            let error = ConfigError {
                place: Place::File("r.toml".into()),
                found: found.into(),
                expected: "b".into(),
                fix: "c".into(),
            };
            error.to_string()
        };
        let separators = ['\u{2028}', '\u{2029}'];
        let bidi = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        for character in bidi.chain(separators).chain(['\u{61c}', '\u{200e}', '\u{200f}']) {
            let escaped = format!("r.toml: \\u{{{:x}}}a; expected b; fix: c", character as u32);
            assert_eq!(shown(&format!("{character}a")), escaped);
        }
        for plain in ["\u{2027}", "\u{202f}", "\u{2065}", "\u{206a}", "\u{200d}", "\u{5d0}"] {
            assert!(shown(plain).contains(plain), "{plain:?}");
        }
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        let known = ["upstream", "listener", "drain_timeout_ms"];
        assert_eq!(nearest("upstreams", known), Some("upstream"));
        assert_eq!(nearest("drain-timeout-ms", known), Some("drain_timeout_ms"));
        assert_eq!(nearest("colour", known), None);
    }
}
