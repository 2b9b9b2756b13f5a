//! Tests of the reload thread's decisions, on real files and without the thread.

use super::*;
use crate::config::kit;
use crate::control::kit::{Folder, configuration};
use crate::control::load::load;

fn started(name: &str) -> (Folder, Thread) {
    let (folder, configuration) = configuration(name, kit::RIGHT);
    let loaded = load(&configuration).expect("the configuration is right");
    let in_force = InForce { snapshot: Arc::new(loaded.snapshot), inputs: loaded.inputs.clone() };
    let watch = Watch::new(loaded.inputs);
    (folder, Thread { configuration, in_force, watch, refused: false })
}

fn outcome(report: Option<Report>) -> Outcome {
    report.expect("there is something to tell").outcome
}

#[test]
fn bytes_that_are_the_same_are_told_only_to_who_asked() {
    let (folder, mut thread) = started("same");
    folder.write("r.toml", kit::RIGHT);
    assert!(thread.load(Cause::Files).is_none());
    assert!(outcome(thread.load(Cause::Signal)).is_same());
    folder.write("r.toml", kit::but("#", "idle_timeout_ms = 7"));
    let Outcome::New(snapshot, _) = outcome(thread.load(Cause::Files)) else {
        panic!("it is new");
    };
    assert_eq!(snapshot.listeners[0].idle_timeout, Duration::from_millis(7));
    assert!(thread.load(Cause::Files).is_none(), "it is in force now");
}

#[test]
fn what_is_refused_is_told_and_that_it_is_right_again_too() {
    let (folder, mut thread) = started("again-right");
    folder.write("r.toml", kit::but("main", ""));
    assert!(outcome(thread.load(Cause::Files)).is_refused());
    folder.write("r.toml", kit::but(":8443", ":8444"));
    let Outcome::Refused(errors) = outcome(thread.load(Cause::Files)) else {
        panic!("an address takes a restart");
    };
    assert!(errors[0].to_string().contains("address of listener"), "{errors:?}");
    folder.write("r.toml", kit::RIGHT);
    assert!(outcome(thread.load(Cause::Files)).is_same());
    assert!(thread.load(Cause::Files).is_none());
}

#[test]
fn the_limits_follow_the_file_limit_of_the_process() {
    let (_folder, mut thread) = started("limits");
    let mut before = Snapshot::clone(&thread.in_force.snapshot);
    before.limits.connections_max -= 1;
    thread.in_force.snapshot = Arc::new(before);
    assert!(matches!(outcome(thread.load(Cause::Signal)), Outcome::New(..)));
}

#[test]
fn a_load_that_a_change_fell_into_is_not_told_unless_it_was_asked_for() {
    let (folder, mut thread) = started("under");
    let load_and_change = |thread: &mut Thread, cause, after: &str| {
        let attempt = load_again(&thread.configuration, &[]);
        folder.write("r.toml", after);
        thread.take(cause, Instant::now(), attempt)
    };
    let broken = kit::but("main", "");
    let changed = kit::but("#", "idle_timeout_ms = 7");
    folder.write("r.toml", &broken);
    assert!(load_and_change(&mut thread, Cause::Files, &changed).is_none(), "an error");
    assert!(load_and_change(&mut thread, Cause::Files, &broken).is_none(), "a configuration");
    let asked = load_and_change(&mut thread, Cause::Signal, &changed);
    assert!(outcome(asked).is_refused(), "who asked gets an answer");
    assert!(thread.watch.look(), "and the change is loaded at the next look");
    assert!(matches!(outcome(thread.load(Cause::Files)), Outcome::New(..)));
}
