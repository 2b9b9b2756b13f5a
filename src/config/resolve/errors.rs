//! The problems of one configuration, of which a bounded number is kept.
//!
//! It knows nothing of what the keys mean. A file of a million wrong entries costs a million
//! checks, and the memory and the time to report of [`CONFIG_ERRORS_MAX`].

use std::ops::Range;

use crate::config::error::{ConfigError, Place, Source};
use crate::limits::CONFIG_ERRORS_MAX;

/// Problems as they are found.
pub(super) struct Errors<'a> {
    source: &'a Source,
    kept: Vec<ConfigError>,
    /// Those beyond the bound.
    more: usize,
}

impl<'a> Errors<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, kept: Vec::new(), more: 0 }
    }

    /// Whether further problems are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= CONFIG_ERRORS_MAX
    }

    /// Counts a problem that is not kept: who knows that there is no room need not describe it.
    pub(super) fn leave_out(&mut self) {
        self.more += 1;
    }

    pub(super) fn refuse(&mut self, span: &Range<usize>, found: &str, expected: &str, fix: &str) {
        self.add(|source| source.place(span), found, expected, fix);
    }

    /// Refuses what has no place because it is nowhere written.
    pub(super) fn refuse_absent(&mut self, found: &str, expected: &str, fix: &str) {
        self.add(Source::whole, found, expected, fix);
    }

    fn add(
        &mut self,
        place: impl FnOnce(&Source) -> Place,
        found: &str,
        expected: &str,
        fix: &str,
    ) {
        if self.is_full() {
            return self.leave_out();
        }
        let (found, expected, fix) = (found.to_string(), expected.to_string(), fix.to_string());
        self.kept.push(ConfigError { place: place(self.source), found, expected, fix });
    }

    /// What was kept, in the order of the file, and last how many were not; empty where nothing was
    /// wrong.
    pub(super) fn into_sorted(self) -> Vec<ConfigError> {
        let mut errors = self.kept;
        errors.sort_by_key(|error| match &error.place {
            Place::Point { line, column, .. } => (*line, *column),
            Place::File(_) | Place::Flag(_) => (0, 0),
        });
        if self.more > 0 {
            errors.push(ConfigError {
                place: self.source.whole(),
                found: format!("and {} more, which are not listed", self.more),
                expected: "none".to_string(),
                fix: "correct those that are, then run `ringfort check` again".to_string(),
            });
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::SourceFile;

    fn errors_of(count: usize) -> Vec<String> {
        let source = Source::File(SourceFile::new("r.toml", "\n".repeat(count)));
        let mut errors = Errors::new(&source);
        for at in (0..count).rev() {
            errors.refuse(&(at..at + 1), "a", "b", "c");
        }
        errors.into_sorted().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn as_many_as_there_is_room_for_are_listed_in_the_order_of_the_file() {
        assert_eq!(errors_of(0), [""; 0]);
        let errors = errors_of(CONFIG_ERRORS_MAX);
        assert_eq!(errors.len(), CONFIG_ERRORS_MAX);
        assert_eq!(errors[0], "r.toml:1:1: a; expected b; fix: c");
        assert!(errors[CONFIG_ERRORS_MAX - 1].starts_with(&format!("r.toml:{CONFIG_ERRORS_MAX}:")));
    }

    #[test]
    fn the_others_are_counted_in_a_last_one() {
        let errors = errors_of(CONFIG_ERRORS_MAX + 7);
        assert_eq!(errors.len(), CONFIG_ERRORS_MAX + 1);
        assert_eq!(
            errors[CONFIG_ERRORS_MAX],
            "r.toml: and 7 more, which are not listed; expected none; \
             fix: correct those that are, then run `ringfort check` again"
        );
    }
}
