//! The lists of revocation in force: how long they are good for, and a warning before they are not.
//!
//! It must not know workers; the time is passed in. A list is warned of once when little of its
//! time is left, and once when it is past; the one that follows starts anew.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::config::snapshot::Snapshot;
use crate::limits::CRL_WARNING_S_MAX;
use crate::trust::crl::{IssuerId, RevocationList};
use crate::trust::scope::Scope;

/// The events of lists: of one that has little time left, and of one that is past its time.
pub const EVENTS: [&str; 2] = ["crl_lapses_soon", "crl_stale"];

/// A list in force, as the log shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListState {
    /// The listener, and the server name where it has demands of its own.
    pub scope: String,
    /// Whom the list comes from.
    pub issuer: String,
    /// Certificates that it revokes.
    pub entries: usize,
    /// Seconds until its nextUpdate; negative when that is past.
    pub seconds_left: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Lapsing,
    Stale,
}

/// The lists of a configuration, each as often as a scope has it.
pub fn states(snapshot: &Snapshot, now_unix_s: i64) -> Vec<ListState> {
    lists(snapshot).map(|(scope, list)| state(scope, list, now_unix_s)).collect()
}

fn lists(snapshot: &Snapshot) -> impl Iterator<Item = (&Arc<Scope>, &RevocationList)> {
    let scopes = snapshot.listeners.iter().flat_map(|listener| listener.scopes.all());
    scopes.flat_map(|scope| scope.revocation().lists().map(move |list| (scope, list)))
}

fn state(scope: &Scope, list: &RevocationList, now_unix_s: i64) -> ListState {
    ListState {
        scope: scope.name().to_string(),
        issuer: list.label().to_owned(),
        entries: list.len(),
        seconds_left: list.next_update().saturating_sub(now_unix_s),
    }
}

/// What was warned of already.
#[derive(Debug, Default)]
pub struct ListWatch {
    told: HashMap<(Arc<str>, IssuerId, i64), Stage>,
}

impl ListWatch {
    /// The events to write now: their names and fields.
    pub fn look(&mut self, snapshot: &Snapshot, now_unix_s: i64) -> Vec<(&'static str, Value)> {
        let mut events = Vec::new();
        let mut told = HashMap::new();
        for (scope, list) in lists(snapshot) {
            let key = (Arc::clone(scope.name()), list.issuer(), list.next_update());
            let Some(stage) = stage(list, now_unix_s) else { continue };
            if self.told.get(&key) != Some(&stage) {
                let name = EVENTS[usize::from(stage == Stage::Stale)];
                events.push((name, json!(state(scope, list, now_unix_s))));
            }
            told.insert(key, stage);
        }
        // What is not in force any more is forgotten with this.
        self.told = told;
        events
    }
}

/// A quarter of its time is little, and a day is enough.
fn stage(list: &RevocationList, now_unix_s: i64) -> Option<Stage> {
    let left = list.next_update().saturating_sub(now_unix_s);
    let time = list.next_update().saturating_sub(list.this_update());
    if left <= 0 {
        return Some(Stage::Stale);
    }
    (left < (time / 4).min(CRL_WARNING_S_MAX)).then_some(Stage::Lapsing)
}
