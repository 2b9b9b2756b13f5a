//! What the log says of a reload: events and their fields, each list of them bounded.

use std::fmt::Display;

use serde_json::{Value, json};

use super::{Cause, Outcome, Report};
use crate::limits::{CONFIG_ERRORS_MAX, RELOAD_LIST_MAX};

impl Report {
    /// The event's name and fields. `epoch` is of the configuration that is in force now.
    pub fn event(&self, epoch: u64) -> (&'static str, Value) {
        let cause = match self.cause {
            Cause::Files => "files",
            Cause::Signal => "signal",
        };
        let duration_us = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX);
        let mut fields = json!({
            "epoch": epoch,
            "cause": cause,
            "duration_us": duration_us,
            "files": list(self.files.iter().map(|path| path.display()), RELOAD_LIST_MAX),
        });
        let (event, key, value) = match &self.outcome {
            Outcome::New(_, warnings) => ("reload", "warnings", list(warnings, RELOAD_LIST_MAX)),
            Outcome::Same(warnings) => ("reload", "warnings", list(warnings, RELOAD_LIST_MAX)),
            // One more than the bound, which says how many were left out.
            Outcome::Refused(errors) => {
                ("reload_failed", "errors", list(errors, CONFIG_ERRORS_MAX + 1))
            }
        };
        if event == "reload" {
            fields["published"] = matches!(self.outcome, Outcome::New(..)).into();
        }
        fields[key] = value;
        (event, fields)
    }
}

/// The first `most`, and how many more there are.
fn list<T: Display>(items: impl IntoIterator<Item = T>, most: usize) -> Value {
    let mut items = items.into_iter();
    let mut texts: Vec<String> = items.by_ref().take(most).map(|item| item.to_string()).collect();
    let more = items.count();
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_listed_has_a_bound_and_what_is_left_out_is_counted() {
        let report = Report {
            cause: Cause::Files,
            duration: Duration::from_micros(7),
            files: vec!["/a".into(); RELOAD_LIST_MAX + 3],
            outcome: Outcome::Same(Vec::new()),
        };
        let (event, fields) = report.event(4);
        assert_eq!(event, "reload");
        assert_eq!(fields["epoch"], 4);
        assert_eq!(fields["duration_us"], 7);
        assert_eq!(fields["published"], false);
        assert_eq!(fields["files"].as_array().map(Vec::len), Some(RELOAD_LIST_MAX + 1));
        assert_eq!(fields["files"][RELOAD_LIST_MAX], "and 3 more");
    }
}
