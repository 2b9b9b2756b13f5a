//! SIGUSR1 writes counters and the phases of handshakes to the log, and changes nothing else.

use rustix::process::Signal;

use crate::harness::{Client, ClientOptions, Origin, Setup, pki};

#[test]
fn counters_and_phases_are_told_while_the_gateway_runs() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(gateway.address())).collect();
    clients.iter_mut().for_each(|client| client.echo(b"hello"));
    gateway.signal(Signal::USR1);
    let stats = gateway.wait_for("the event stats", |line| line["event"] == "stats");
    assert_eq!(stats["connections"], 3, "{stats}");
    assert_eq!(stats["counters"]["handshakes_done"], 3, "{stats}");
    assert_eq!(stats["counters"]["bytes_up"], 15, "{stats}");
    assert_eq!(stats["counters"]["handshakes_live"], 0, "{stats}");
    let phases = stats["handshake_phases"]["main"].as_object().expect("the listener's");
    assert_eq!(phases.len(), 6);
    for (name, phase) in phases {
        let figure = |key: &str| phase[key].as_u64().unwrap_or_else(|| panic!("{name}: {phase}"));
        // Nobody had to wait for its turn.
        assert_eq!(figure("count"), if name == "queue" { 0 } else { 3 }, "{name}: {phase}");
        let figures = ["p50_us", "p90_us", "p99_us", "max_us"].map(figure);
        assert!(figures.is_sorted(), "{name}: {phase}");
        assert!(figure("sum_us") <= 3 * figure("max_us"), "{name}: {phase}");
    }
    // They are parts of the handshake, so none is longer than all of it.
    for name in ["server_flight", "client_flight_wait", "chain_verification"] {
        assert!(phases[name]["sum_us"].as_u64() > Some(0), "{name}: {stats}");
    }
    clients.iter_mut().for_each(|client| client.echo(b"still here"));
    gateway.signal(Signal::USR1);
    let again = gateway
        .wait_for("another event", |line| line["event"] == "stats" && line["seen"].is_null());
    assert_eq!(again["counters"]["bytes_up"], 45, "{again}");
    clients.into_iter().for_each(Client::end);
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.event["handshake_phases"]["main"]["policy"]["count"], 3);
    assert_eq!(stopped.event["ended"], "drained");
}

#[test]
fn a_refused_client_is_counted_as_far_as_it_came() {
    let origin = Origin::echo();
    let gateway = Setup::to(origin.address()).start();
    ClientOptions::with(&pki().client_valid(3600, 7200)).refused(gateway.address());
    let stopped = gateway.terminate();
    let phases = &stopped.event["handshake_phases"]["main"];
    for (name, count) in [("hello_wait", 1), ("chain_verification", 1), ("policy", 0)] {
        assert_eq!(phases[name]["count"], count, "{name}: {phases}");
    }
}
