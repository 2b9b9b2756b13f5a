//! Whoever is slow, or says nothing, is let go in time, and holds up nobody else.

use std::time::{Duration, Instant};

use crate::harness::http::request;
use crate::harness::site::scripted;
use crate::harness::{Gateway, HttpClient, Reply, Setup, Site};

/// Sends these bytes one by one, with pauses, until the gateway has enough; what it says then, and
/// after how long.
fn drip(client: &mut HttpClient, bytes: &[u8], pause: Duration) -> (Option<u16>, Duration) {
    let began = Instant::now();
    client.stream.socket.set_read_timeout(Some(pause)).expect("a socket");
    for byte in bytes.iter().cycle() {
        if client.try_send([*byte]).is_err() {
            break;
        }
        match client.response("GET") {
            Ok(response) => return (Some(response.status()), began.elapsed()),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => break,
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it goes on for ever");
    }
    (None, began.elapsed())
}

fn in_time(took: Duration, timeout_ms: u64) {
    let timeout = Duration::from_millis(timeout_ms);
    assert!(took >= timeout - Duration::from_millis(50), "{took:?}");
    assert!(took < timeout + Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_head_that_drips_gets_408() {
    let site = Site::ok();
    let mut gateway = Setup::http(site.address()).http_keys("head_timeout_ms = 700").start();
    let mut client = HttpClient::connect(gateway.address());
    client.send("GET / HTTP/1.1\r\nHost: gateway.test\r\n");
    let (status, took) = drip(&mut client, b"X-A: b\r\n", Duration::from_millis(20));
    assert_eq!(status, Some(408));
    in_time(took, 700);
    assert_eq!(client.rest(), b"");
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!((&line["status"], &line["answered"]), (&408.into(), &"head_timeout".into()));
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(record["close_reason"], "request_timeout", "{record}");
    assert_eq!(site.accepted(), 0);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn the_second_head_is_bounded_as_the_first() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).http_keys("head_timeout_ms = 700").start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", "/", "") + "G");
    assert_eq!(client.answer("GET").text(), "ok");
    let began = Instant::now();
    assert_eq!(client.answer("GET").status(), 408);
    in_time(began.elapsed() + Duration::from_millis(50), 700);
    assert_eq!(client.rest(), b"");
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_connection_without_a_request_ends_in_order() {
    let site = Site::ok();
    let mut gateway = Setup::http(site.address()).http_keys("keep_alive_timeout_ms = 500").start();
    for requests in [0, 1] {
        let mut client = HttpClient::connect(gateway.address());
        for _ in 0..requests {
            client.get("/");
        }
        let (began, peer) = (Instant::now(), client.stream.local_address());
        client.assert_ended();
        in_time(began.elapsed() + Duration::from_millis(50), 500);
        let record = gateway.record_of(peer);
        assert_eq!(record["close_reason"], "idle_timeout", "{record}");
    }
    gateway.terminate().assert_clean();
}

#[test]
fn a_connection_ends_after_its_requests() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).http_keys("requests_max = 3").start();
    let mut client = HttpClient::connect(gateway.address());
    client.send((0..5).map(|n| request("GET", &format!("/{n}"), "")).collect::<String>());
    for n in 1..=3 {
        let response = client.answer("GET");
        let close = response.value("connection");
        assert_eq!(close, (n == 3).then_some("close"), "{response:?}");
    }
    client.assert_ended();
    assert_eq!(site.seen().len(), 3, "those behind it were not looked at");
    gateway.terminate().assert_clean();
}

#[test]
fn many_slow_clients_hold_up_nobody() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).top("workers = 1").start();
    let mut slow: Vec<_> = (0..200).map(|_| HttpClient::connect(gateway.address())).collect();
    let before = gateway.process().resident_kib();
    for client in &mut slow {
        client.send("POST / HTTP/1.1\r\nHost: gateway.test\r\nX-Long: ");
        client.send("y".repeat(2_000));
    }
    let mut quick = HttpClient::connect(gateway.address());
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(quick.get("/").text(), "ok");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let grown = gateway.process().resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for 200 heads of 2 KiB");
    // They are whole in the end.
    for client in &mut slow {
        client.send("\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.answer("POST").text(), "ok");
    }
    drop((slow, quick));
    gateway.terminate().assert_clean();
}

/// A gateway with one route, which has these keys.
fn with_route(address: impl ToString, keys: &str) -> Gateway {
    let route = format!("name = \"only\"\nupstream = \"app\"\n{keys}");
    Setup::http(address).without_upstream().route(&route).start()
}

#[test]
fn a_body_that_drips_gets_408() {
    let site = Site::ok();
    let mut gateway = with_route(site.address(), "body_timeout_ms = 700");
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("POST", "/", "Content-Length: 100\r\n") + "some");
    let began = Instant::now();
    assert_eq!(client.answer("POST").status(), 408);
    in_time(began.elapsed() + Duration::from_millis(50), 700);
    assert_eq!(client.rest(), b"");
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!((&line["answered"], &line["bytes_up"]), (&"body_timeout".into(), &4.into()));
    assert_eq!(site.seen().len(), 0, "a whole request never came");
    gateway.terminate().assert_nothing_left();
}

#[test]
fn an_upstream_that_says_nothing_gets_504() {
    let site = Site::new(|_| Reply::ok("late").after(Duration::from_secs(3)));
    let mut gateway = with_route(site.address(), "first_byte_timeout_ms = 400");
    let mut client = HttpClient::connect(gateway.address());
    let began = Instant::now();
    client.send(request("POST", "/", "Content-Length: 4\r\n") + "body");
    assert_eq!(client.answer("POST").status(), 504);
    in_time(began.elapsed(), 400);
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!(line["answered"], "first_byte_timeout", "{line}");
    assert_eq!((&line["route"], &line["status"]), (&"only".into(), &504.into()), "{line}");
    // The late response belongs to no other request.
    let mut other = HttpClient::connect(gateway.address());
    other.send(request("GET", "/other", ""));
    assert_eq!(other.answer("GET").status(), 504);
    assert_eq!(site.accepted() as usize, site.seen().len(), "each on a connection of its own");
    drop((client, other));
    gateway.terminate().assert_nothing_left();
}

#[test]
fn an_exchange_that_takes_too_long_in_all_ends() {
    // It always makes progress.
    let origin = scripted(|wire| {
        wire.head()?;
        wire.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            wire.try_send("1\r\nx\r\n")?;
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let mut gateway = with_route(origin.address(), "total_timeout_ms = 600");
    let mut client = HttpClient::connect(gateway.address());
    let began = Instant::now();
    client.send(request("GET", "/", ""));
    assert!(client.response("GET").is_err(), "its end never comes");
    in_time(began.elapsed(), 600);
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!(line["failure"], "response_timeout", "{line}");
    drop(client);
    gateway.terminate().assert_nothing_left();
    // Before a response it is an answer.
    let site = Site::new(|_| Reply::ok("late").after(Duration::from_secs(3)));
    let mut gateway = with_route(site.address(), "total_timeout_ms = 400");
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", "/", ""));
    assert_eq!(client.answer("GET").status(), 504);
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!(line["answered"], "total_timeout", "{line}");
    drop(client);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_response_that_stops_is_cut() {
    let origin = scripted(|wire| {
        wire.head()?;
        wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")?;
        wire.rest();
        Ok(())
    });
    let mut gateway = with_route(origin.address(), "stream_timeout_ms = 500");
    let mut client = HttpClient::connect(gateway.address());
    let began = Instant::now();
    client.send(request("GET", "/", ""));
    assert!(client.response("GET").is_err(), "its end never comes");
    in_time(began.elapsed(), 500);
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!((&line["status"], &line["bytes_down"]), (&200.into(), &4.into()), "{line}");
    assert_eq!(line["failure"], "response_timeout", "{line}");
    drop(client);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_client_that_does_not_read_holds_little_and_is_cut() {
    let origin = scripted(|wire| {
        wire.head()?;
        wire.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let piece = "x".repeat(0x10000);
        loop {
            wire.try_send(format!("10000\r\n{piece}\r\n"))?;
        }
    });
    let mut gateway = with_route(origin.address(), "stream_timeout_ms = 800");
    let before = gateway.process().resident_kib();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", "/", ""));
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!(line["failure"], "response_not_taken", "{line}");
    assert_eq!(line["failure_source"], "downstream", "{line}");
    let grown = gateway.process().resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB for a client that reads nothing");
    drop(client);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn an_upstream_that_takes_no_body_is_blamed_for_it() {
    let origin = scripted(|wire| {
        wire.head()?;
        std::thread::sleep(Duration::from_secs(4));
        Ok(())
    });
    let mut gateway = with_route(origin.address(), "body_timeout_ms = 700");
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("POST", "/", "Content-Length: 100000000\r\n"));
    let piece = [b'x'; 0x10000];
    client.stream.socket.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket");
    while client.try_send(piece).is_ok() {}
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!((&line["status"], &line["answered"]), (&504.into(), &"upstream_stalled".into()));
    assert_eq!(line["failure"], "upstream_stalled", "{line}");
    assert_eq!(line["failure_source"], "upstream", "{line}");
    drop(client);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_quiet_stream_is_left_alone_and_so_is_a_late_answer_where_nothing_bounds_them() {
    let origin = scripted(|wire| {
        wire.head()?;
        std::thread::sleep(Duration::from_millis(900));
        wire.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")?;
        std::thread::sleep(Duration::from_millis(900));
        wire.try_send("1\r\nb\r\n0\r\n\r\n")
    });
    let keys = "first_byte_timeout_ms = 0\nbody_timeout_ms = 300\nstream_timeout_ms = 0";
    let gateway = with_route(origin.address(), keys);
    let mut client = HttpClient::connect(gateway.address());
    // Its own body is quiet, too, and has no length.
    client.send(request("POST", "/", "Transfer-Encoding: chunked\r\n") + "1\r\nx\r\n");
    assert_eq!(client.answer("POST").text(), "ab");
    drop(client);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_connection_that_becomes_too_old_amid_an_exchange_completes_it_and_says_that_it_ends() {
    let site = Site::new(|_| Reply::ok("late").after(Duration::from_millis(1_200)));
    let mut gateway = Setup::http(site.address()).listener("connection_age_max_ms = 600").start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", "/", ""));
    let response = client.answer("GET");
    assert_eq!((response.text(), response.value("connection")), ("late", Some("close")));
    client.assert_ended();
    gateway.wait_for_record(|_| true);
    gateway.terminate().assert_clean();
}
