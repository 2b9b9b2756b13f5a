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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::kit::{self, NOW_UNIX_S};

    /// A configuration with a list that is valid between two times in seconds from now; `more`
    /// follows its listener.
    fn snapshot(from_s: i64, until_s: i64, more: &str) -> Snapshot {
        let mut files = kit::files();
        files.0.insert("clients.crl".into(), kit::revocation_list(from_s, until_s).into());
        let text = kit::but("#", "client_crl = \"clients.crl\"") + more;
        kit::resolved_with(&text, &files, 65_536).expect("the configuration is right")
    }

    /// The names of the events, so many seconds from now, and whose they are.
    fn look(watch: &mut ListWatch, snapshot: &Snapshot, at_s: i64) -> Vec<(&'static str, String)> {
        let events = watch.look(snapshot, NOW_UNIX_S + at_s);
        let told = events.into_iter().map(|(name, fields)| {
            let scope = fields["scope"].as_str().expect("a text").to_owned();
            assert!(fields["seconds_left"].is_i64(), "{fields}");
            (name, scope)
        });
        told.collect()
    }

    fn soon(scope: &str) -> (&'static str, String) {
        ("crl_lapses_soon", scope.into())
    }

    fn stale(scope: &str) -> (&'static str, String) {
        ("crl_stale", scope.into())
    }

    #[test]
    fn a_list_is_warned_of_once_before_it_lapses_and_once_after() {
        let (mut watch, snapshot) = (ListWatch::default(), snapshot(0, 4000, ""));
        let mut look = |at_s| look(&mut watch, &snapshot, at_s);
        assert_eq!(look(0), []);
        assert_eq!(look(3000), [], "a quarter of its time is left");
        assert_eq!(look(3001), [soon("main")]);
        assert_eq!(look(3002), []);
        assert_eq!(look(3999), []);
        assert_eq!(look(4000), [stale("main")]);
        assert_eq!(look(4001), []);
        assert_eq!(look(1_000_000), []);
    }

    #[test]
    fn of_a_list_for_months_a_day_is_little() {
        let (day, months) = (86_400, 90 * 86_400);
        let (mut watch, snapshot) = (ListWatch::default(), snapshot(0, months, ""));
        assert_eq!(look(&mut watch, &snapshot, months - day), []);
        assert_eq!(look(&mut watch, &snapshot, months - day + 1), [soon("main")]);
    }

    #[test]
    fn a_table_of_three_server_names_is_warned_of_as_one() {
        let table = "[[listener.server_name]]\n\
                     names = [\"a.example.org\", \"b.example.org\", \"c.example.org\"]\n\
                     deny = [\"dns:a.test\"]\n";
        let (mut watch, snapshot) = (ListWatch::default(), snapshot(0, 4000, table));
        let mut told = look(&mut watch, &snapshot, 3500);
        told.sort();
        assert_eq!(told, [soon("main"), soon("main/a.example.org")]);
        let states = states(&snapshot, NOW_UNIX_S + 3500);
        assert_eq!(states.len(), 2, "{states:?}");
        assert!(states.iter().all(|it| (it.entries, it.seconds_left) == (0, 500)), "{states:?}");
    }

    #[test]
    fn a_list_that_follows_starts_anew() {
        let mut watch = ListWatch::default();
        let first = snapshot(0, 4000, "");
        assert_eq!(look(&mut watch, &first, 3500), [soon("main")]);
        let second = snapshot(3500, 5000, "");
        assert_eq!(look(&mut watch, &second, 3500), [], "it has its time before it");
        assert_eq!(look(&mut watch, &second, 4900), [soon("main")]);
        // One that has little time left already is another one too.
        let third = snapshot(3500, 5100, "");
        assert_eq!(look(&mut watch, &third, 4901), [soon("main")]);
        assert_eq!(look(&mut watch, &third, 4902), []);
        // And one that comes back is as if it had never been.
        assert_eq!(look(&mut watch, &second, 4903), [soon("main")]);
    }
}
