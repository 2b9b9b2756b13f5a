//! Decides from one look at the files to the next whether it is time to load.
//!
//! It knows neither what the files hold nor how they are loaded. The invariant: a change is loaded
//! once, when it has been the same for one interval, and never forgotten before it was.

use crate::control::inputs::{Identity, Inputs};
use crate::limits::WATCH_RESTLESS_LOOKS_MAX;

/// The files of the last load, and how they looked since.
#[derive(Debug)]
pub(super) struct Watch {
    read: Inputs,
    /// How they looked last, where that was not as they were read.
    last: Option<Vec<Identity>>,
    /// Looks since they were as they were read.
    restless: u32,
}

impl Watch {
    pub(super) fn new(read: Inputs) -> Self {
        Self { read, last: None, restless: 0 }
    }

    /// Looks at the files. Returns whether to load them now.
    pub(super) fn look(&mut self) -> bool {
        self.judge(self.read.look())
    }

    fn judge(&mut self, now: Vec<Identity>) -> bool {
        if now == self.read.identities() {
            (self.last, self.restless) = (None, 0);
            return false;
        }
        self.restless += 1;
        // Half a change is best not read, but a file that never rests must not hold the others up.
        let is_time = self.last.as_ref() == Some(&now) || self.is_out_of_patience();
        self.last = Some(now);
        is_time
    }

    /// They were loaded. Returns whether they stayed the same meanwhile, or are not waited for any
    /// longer.
    pub(super) fn loaded(&mut self, read: &Inputs) -> bool {
        self.judge_load(read, read.look())
    }

    fn judge_load(&mut self, read: &Inputs, now: Vec<Identity>) -> bool {
        let stayed = now == read.identities();
        let settled = stayed || self.is_out_of_patience();
        self.read = read.clone();
        self.last = (!stayed).then_some(now);
        if settled {
            self.restless = 0;
        }
        settled
    }

    fn is_out_of_patience(&self) -> bool {
        self.restless >= WATCH_RESTLESS_LOOKS_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn other(inode: u64) -> Identity {
        Identity::Other { device: 1, inode }
    }

    fn inputs(inode: u64) -> Inputs {
        let mut inputs = Inputs::default();
        inputs.record(Path::new("/a"), other(inode), None);
        inputs
    }

    fn judge(watch: &mut Watch, inode: u64) -> bool {
        watch.judge(vec![other(inode)])
    }

    #[test]
    fn a_change_is_loaded_once_when_it_has_been_stable_for_one_look() {
        let mut watch = Watch::new(inputs(1));
        assert!(!judge(&mut watch, 1));
        assert!(!judge(&mut watch, 2), "seen for the first time");
        assert!(!judge(&mut watch, 3), "it went on changing");
        assert!(judge(&mut watch, 3));
        assert!(watch.judge_load(&inputs(3), vec![other(3)]));
        assert!(!judge(&mut watch, 3), "loaded once, whatever came of it");
        assert!(!judge(&mut watch, 4));
        assert!(!judge(&mut watch, 3), "as it was read");
        assert!(!judge(&mut watch, 4), "a change begins anew");
        assert!(judge(&mut watch, 4));
    }

    #[test]
    fn a_load_that_fell_into_a_change_is_done_again() {
        let mut watch = Watch::new(inputs(1));
        assert!(!judge(&mut watch, 2));
        assert!(judge(&mut watch, 2));
        assert!(!watch.judge_load(&inputs(2), vec![other(3)]));
        assert!(judge(&mut watch, 3), "stable since the end of the load");
        assert!(watch.judge_load(&inputs(3), vec![other(3)]));
        assert!(!judge(&mut watch, 3));
    }

    #[test]
    fn a_file_that_never_rests_is_loaded_all_the_same() {
        let mut watch = Watch::new(inputs(0));
        let looks = u64::from(WATCH_RESTLESS_LOOKS_MAX);
        assert!((1..looks).all(|inode| !judge(&mut watch, inode)));
        assert!(judge(&mut watch, looks));
        assert!(
            watch.judge_load(&inputs(looks), vec![other(looks + 1)]),
            "and what it found counts"
        );
        assert!(!judge(&mut watch, looks + 2), "patience begins anew");
    }
}
