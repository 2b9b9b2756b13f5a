//! Tests of the reload thread's decisions, on real files and without the thread.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

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
fn a_load_that_files_changed_under_is_not_told_unless_it_was_asked_for() {
    let (folder, mut thread) = started("under");
    let mut file = std::fs::OpenOptions::new().append(true).open(folder.0.join("clients.pem"));
    let file = file.as_mut().expect("ours");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Text between certificates means nothing (RFC 7468, section 2).
                file.write_all(b"#\n").expect("ours");
            }
        });
        let (mut kept, mut told) = (0, 0);
        // Long after the first few the file is large, and still within its bound.
        for _ in 0..8 {
            thread.watch.look();
            match thread.load(Cause::Files) {
                None => kept += 1,
                Some(_) => told += 1,
            }
        }
        let asked = thread.load(Cause::Signal);
        stop.store(true, Ordering::Relaxed);
        assert!(kept > told, "{kept} kept, {told} told");
        assert!(asked.is_some());
    });
    thread.load(Cause::Files);
    assert!(thread.load(Cause::Files).is_none(), "it is in force and rests");
}
