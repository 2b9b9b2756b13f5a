//! Tests of `control::supervisor`, with workers and rings as they are.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::*;
use crate::config::kit;
use crate::control::kit::configuration;
use crate::control::load::load;

#[test]
fn a_configuration_that_nobody_uses_any_more_is_freed_by_the_control_thread() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a free port").to_string();
    let text = format!("workers = 1\n[log]\ntarget = \"off\"\n{}", kit::but(":8443", &address));
    let (_folder, configured) = configuration("retired", &text);
    let loaded = || load(&configured).expect("the configuration is right").snapshot;
    let mut gateway = Gateway::start(loaded()).expect("it starts");
    let first = Arc::clone(&gateway.snapshot().listeners[0]);
    gateway.publish(loaded());
    // Resolved names bring a new snapshot with the same listeners: nothing is to be freed.
    gateway.publish(Snapshot::clone(gateway.snapshot()));
    assert_eq!(gateway.retired.len(), 1);
    let deadline = Instant::now() + Duration::from_secs(20);
    // The worker lets go of it when it has read the message: ours and the gateway's are left.
    while Arc::strong_count(&first) > 2 {
        assert!(Instant::now() < deadline, "the worker holds it");
        thread::sleep(Duration::from_millis(1));
    }
    gateway.free_retired();
    assert_eq!(gateway.retired.len(), 1, "it is still in use");
    let weak = Arc::downgrade(&first);
    drop(first);
    assert!(weak.upgrade().is_some(), "not where it was used last");
    gateway.free_retired();
    assert!(weak.upgrade().is_none() && gateway.retired.is_empty());
    gateway.drain();
    assert!(gateway.join().is_empty());
}
