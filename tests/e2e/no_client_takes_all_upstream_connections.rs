//! Connections to upstreams are bounded together, and one client's requests leave some to others.

use std::time::{Duration, Instant};

use crate::harness::http::request;
use crate::harness::programs::{bounded, content};
use crate::harness::{HttpClient, Reply, Setup, Site};

/// A gateway with one worker for so many clients, who present nothing.
fn setup(address: std::net::SocketAddr, connections_max: u32) -> Setup {
    Setup::http(address)
        .top("workers = 1")
        .table(&format!("[limits]\nconnections_max = {connections_max}"))
        .listener("client_auth = \"off\"")
        .client_ca(None)
}

#[test]
fn a_hundred_slow_streams_leave_room_for_others() {
    let site = Site::new(|seen| match seen.request.target() {
        "/slow" => Reply::ok("late").after(Duration::from_secs(3)),
        _ => Reply::ok("ok"),
    });
    let mut gateway = setup(site.address(), 20).start();
    let url = format!("https://127.0.0.1:{}/slow", gateway.address().port());
    let load = std::thread::spawn(move || {
        let mut command = bounded("h2load");
        command.args(["--requests=100", "--clients=1", "--max-concurrent-streams=100", &url]);
        content(&mut command)
    });
    let refused = gateway.wait_for("a refused request", |line| line["status"] == 503);
    assert_eq!(refused["answered"], "upstream_connections", "{refused}");
    assert_eq!(refused["failure"], "upstream_connections", "{refused}");
    assert_eq!(refused["failure_source"], "internal", "{refused}");
    let began = Instant::now();
    let mut others: Vec<_> = (0..5).map(|_| HttpClient::connect(gateway.address())).collect();
    for other in &mut others {
        assert_eq!(other.get("/").text(), "ok");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let said = load.join().expect("h2load");
    assert!(said.contains("status codes: 15 2xx, 0 3xx, 0 4xx, 85 5xx"), "{said}");
    drop(others);
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("upstream_connections_refused"), 85);
    assert!(site.accepted() <= 20, "{}", site.accepted());
    stopped.assert_nothing_left();
}

#[test]
fn one_that_waits_makes_room() {
    let (first, second) = (Site::named("first"), Site::named("second"));
    let upstream =
        format!("[[upstream]]\nname = \"second\"\nendpoints = [\"{}\"]\n", second.address());
    let gateway = setup(first.address(), 1)
        .route("name = \"second\"\npath = \"/second\"\nupstream = \"second\"")
        .more(&upstream)
        .start();
    let mut client = HttpClient::connect(gateway.address());
    for _ in 0..3 {
        client.send(request("GET", "/", ""));
        assert_eq!(client.answer("GET").status(), 200);
        assert_eq!(client.get("/second").status(), 200);
    }
    assert_eq!((first.accepted(), second.accepted()), (3, 3));
    drop(client);
    gateway.terminate().assert_nothing_left();
}
