//! Connections to upstreams carry one request after the other, as long as they may, and a request
//! that meets one that is over loses nothing.

use std::thread;
use std::time::Duration;

use crate::harness::http::{request, request_with};
use crate::harness::{Gateway, HttpClient, Reply, Setup, Site, Then, wait_until};

/// One worker: the pool is each worker's own.
fn setup(site: &Site) -> Setup {
    Setup::http(site.address()).top("workers = 1")
}

fn ended(gateway: Gateway, clients: Vec<HttpClient>) -> u64 {
    drop(clients);
    let stopped = gateway.terminate();
    let reuses = stopped.counter("upstream_reuses");
    stopped.assert_clean();
    reuses
}

#[test]
fn requests_of_different_clients_share_one_connection() {
    let site = Site::ok();
    let gateway = setup(&site).start();
    let mut clients: Vec<_> = (0..4).map(|_| HttpClient::connect(gateway.address())).collect();
    for _ in 0..5 {
        for client in &mut clients {
            assert_eq!(client.get("/").text(), "ok");
        }
    }
    assert_eq!(site.accepted(), 1);
    assert_eq!(ended(gateway, clients), 19);
}

#[test]
fn requests_at_the_same_time_have_connections_of_their_own() {
    let site = Site::new(|_| Reply::ok("ok").after(Duration::from_millis(300)));
    let gateway = setup(&site).start();
    let mut clients: Vec<_> = (0..4).map(|_| HttpClient::connect(gateway.address())).collect();
    for round in 1..=2 {
        for client in &mut clients {
            client.send(request("GET", "/", ""));
        }
        for client in &mut clients {
            assert_eq!(client.answer("GET").text(), "ok");
        }
        assert_eq!(site.accepted(), 4, "round {round}");
    }
    assert_eq!(ended(gateway, clients), 4);
}

#[test]
fn no_more_are_kept_than_may_be() {
    let site = Site::new(|_| Reply::ok("ok").after(Duration::from_millis(300)));
    let gateway = setup(&site).upstream("idle_connections_max = 1").start();
    let mut clients: Vec<_> = (0..3).map(|_| HttpClient::connect(gateway.address())).collect();
    for client in &mut clients {
        client.send(request("GET", "/", ""));
    }
    for client in &mut clients {
        client.answer("GET");
    }
    site.wait_for_ended(2);
    clients[0].get("/");
    assert_eq!((site.accepted(), site.ended()), (3, 2), "the one that was kept served it");
    ended(gateway, clients);
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let site = Site::ok();
    let gateway = setup(&site).upstream("idle_timeout_ms = 200").start();
    let mut client = HttpClient::connect(gateway.address());
    client.get("/");
    site.wait_for_ended(1);
    assert_eq!(client.get("/").text(), "ok", "over another one");
    assert_eq!(site.accepted(), 2);
    ended(gateway, vec![client]);
}

#[test]
fn a_connection_is_closed_after_its_requests() {
    let site = Site::ok();
    let gateway = setup(&site).upstream("requests_max = 3").start();
    let mut client = HttpClient::connect(gateway.address());
    for _ in 0..7 {
        assert_eq!(client.get("/").text(), "ok");
    }
    let places: Vec<_> = site.seen().iter().map(|seen| (seen.connection, seen.nth)).collect();
    assert_eq!(places, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]);
    ended(gateway, vec![client]);
}

#[test]
fn a_connection_that_has_its_age_is_closed() {
    let site = Site::ok();
    let gateway = setup(&site).upstream("connection_age_max_ms = 300").start();
    let mut client = HttpClient::connect(gateway.address());
    // Used all the time, it still ends.
    wait_until("a second connection", || {
        assert_eq!(client.get("/").text(), "ok");
        thread::sleep(Duration::from_millis(20));
        site.accepted() >= 2
    });
    site.wait_for_ended(1);
    let first = site.seen().iter().filter(|seen| seen.connection == 0).count();
    assert!(first > 1, "it was used before");
    ended(gateway, vec![client]);
}

#[test]
fn an_upstream_that_says_close_is_believed() {
    let site = Site::new(|_| {
        let said = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
        // It closes late, so that a gateway that did not listen would use the connection.
        Reply::raw(said)
    });
    let gateway = setup(&site).start();
    let mut client = HttpClient::connect(gateway.address());
    for count in 1..=3 {
        let response = client.get("/");
        assert_eq!(response.text(), "ok");
        // It was said to the gateway, not to the client.
        assert!(response.values("connection").is_empty(), "{response:?}");
        assert_eq!(site.accepted(), count);
    }
    ended(gateway, vec![client]);
}

#[test]
fn responses_of_http_1_0_end_their_connection() {
    let site = Site::new(|_| Reply::raw("HTTP/1.0 200 OK\r\n\r\nold").then(Then::Close));
    let gateway = setup(&site).start();
    let mut client = HttpClient::connect(gateway.address());
    for count in 1..=2 {
        let response = client.get("/");
        assert!(response.start.starts_with("HTTP/1.1 200"), "{response:?}");
        assert_eq!(response.text(), "old");
        assert_eq!(site.accepted(), count);
    }
    ended(gateway, vec![client]);
}

/// Closes each connection some time after a response, without saying so before.
fn closing(then: Then) -> Site {
    Site::new(move |_| Reply::ok("ok").then(then))
}

#[test]
fn a_connection_that_the_upstream_has_closed_loses_no_request() {
    for then in [Then::Close, Then::Reset] {
        let site = closing(then);
        let gateway = setup(&site).start();
        let mut client = HttpClient::connect(gateway.address());
        for count in 0..50 {
            // At every distance from the close: before it is seen, in the middle, after it.
            thread::sleep(Duration::from_micros(count * 40));
            assert_eq!(client.get("/").text(), "ok", "request {count} with {then:?}");
        }
        assert_eq!(site.seen().len(), 50, "{then:?}");
        drop(client);
        gateway.terminate().assert_clean();
    }
}

#[test]
fn a_post_that_meets_a_closed_connection_is_done_once_or_not_at_all() {
    let site = closing(Then::Close);
    let gateway = setup(&site).start();
    let mut client = HttpClient::connect(gateway.address());
    let mut done = 0;
    for count in 0..50 {
        thread::sleep(Duration::from_micros(count * 40));
        client.send(request_with("POST", &format!("/{count}"), "", "once"));
        match client.answer("POST").status() {
            200 => done += 1,
            // It may have been on its way when the upstream closed: nobody can know.
            502 => {}
            status => panic!("{status} for {count}"),
        }
    }
    let mut seen: Vec<_> = site.seen().iter().map(|it| it.request.target().to_string()).collect();
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "none twice");
    assert!(all >= done, "{all} were seen and {done} answered");
    // With any time between them the close is seen first, and nothing is lost.
    for count in 0..3 {
        wait_until("the upstream closes", || site.ended() == site.accepted());
        thread::sleep(Duration::from_millis(50));
        client.send(request_with("POST", &format!("/after-{count}"), "", "once"));
        assert_eq!(client.answer("POST").status(), 200);
    }
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn a_reload_that_changes_the_upstream_leaves_its_connections() {
    let (old, new) = (Site::named("old"), Site::named("new"));
    let setup = setup(&old).at(crate::harness::free_local());
    let mut live = crate::harness::live::Live::start(&Setup::http(old.address()).at(setup.address));
    let mut client = HttpClient::connect(live.address());
    assert_eq!(client.get("/").text(), "old");
    live.publish(&Setup::http(new.address()).at(setup.address));
    wait_until("the new upstream", || client.get("/").text() == "new");
    old.wait_for_ended(1);
    drop(client);
}

#[test]
fn a_connection_whose_upstream_was_changed_under_a_request_is_not_kept() {
    let old = Site::new(|_| Reply::ok("old").after(Duration::from_secs(2)));
    let new = Site::named("new");
    let setup = |site: &Site| Setup::http(site.address()).upstream("idle_timeout_ms = 600000");
    let at = crate::harness::free_local();
    let mut live = crate::harness::live::Live::start(&setup(&old).at(at));
    let mut slow = HttpClient::connect(live.address());
    slow.send(request("GET", "/", ""));
    wait_until("the request is there", || old.seen().len() == 1);
    live.publish(&setup(&new).at(at));
    assert_eq!(slow.answer("GET").text(), "old");
    old.wait_for_ended(1);
    drop(slow);
}

#[test]
fn each_waits_for_its_own_time_only() {
    let (long, short) = (Site::named("long"), Site::named("short"));
    let setup = setup(&long).upstream("idle_timeout_ms = 600000").more(&format!(
        "[[upstream]]\nname = \"short\"\nendpoints = [\"{}\"]\nidle_timeout_ms = 300\n",
        short.address()
    ));
    let setup = setup.route("name = \"short\"\npath_prefix = \"/short\"\nupstream = \"short\"");
    let gateway = setup.route("name = \"all\"").start();
    let mut client = HttpClient::connect(gateway.address());
    for (target, text) in [("/", "long"), ("/short", "short")] {
        assert_eq!(client.get(target).text(), text);
        // The connection waits, and who looks after them knows.
        thread::sleep(Duration::from_millis(100));
    }
    short.wait_for_ended(1);
    assert_eq!(long.ended(), 0);
    assert_eq!(ended(gateway, vec![client]), 0);
}
