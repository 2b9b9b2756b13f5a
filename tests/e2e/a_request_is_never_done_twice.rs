//! An upstream that fails, in whatever phase of a request, does no request twice that must not be,
//! and a client gets the response of its request, an answer of the gateway's own, or an end that it
//! can tell from a complete response.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::http::{request, request_with};
use crate::harness::origin::{Hanging, Origin, Refusing, reset};
use crate::harness::site::scripted;
use crate::harness::{Gateway, HttpClient, Reply, Setup, Site, Then, wait_until};

/// What a request came to: the status, or that no complete response came.
fn outcome(client: &mut HttpClient, method: &str) -> Result<u16, ()> {
    client.response(method).map(|response| response.status()).map_err(|_| ())
}

/// An upstream that counts requests and does `what` to each connection upon its first one.
fn failing(what: fn(std::net::TcpStream)) -> (Origin, Arc<AtomicU64>) {
    let count = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&count);
    let origin = scripted(move |wire| {
        if wire.head()?.is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
            what(wire.stream.try_clone()?);
        }
        Ok(())
    });
    (origin, count)
}

fn fin(stream: std::net::TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

fn start(endpoints: &[std::net::SocketAddr]) -> Gateway {
    Setup::http_to_all(endpoints).top("workers = 1").start()
}

#[test]
fn after_the_head_a_post_is_not_sent_again_and_a_get_is_within_bounds() {
    for what in [fin as fn(_), reset] {
        let (origin, count) = failing(what);
        let mut gateway = start(&[origin.address()]);
        let mut client = HttpClient::connect(gateway.address());
        client.send(request_with("POST", "/", "", "body"));
        assert_eq!(outcome(&mut client, "POST"), Ok(502));
        assert_eq!(count.load(Ordering::SeqCst), 1, "POST");
        let line = gateway.wait_for("a request", |line| line["event"] == "request");
        assert_eq!((&line["retries"], &line["status"]), (&0.into(), &502.into()), "{line}");
        client.send(request("PATCH", "/", ""));
        assert_eq!(outcome(&mut client, "PATCH"), Ok(502));
        assert_eq!(count.load(Ordering::SeqCst), 2, "PATCH without a body");
        client.send(request("GET", "/", ""));
        assert_eq!(outcome(&mut client, "GET"), Ok(502));
        let line = gateway.wait_for("a request", |line| line["method"] == "GET");
        let sent = count.load(Ordering::SeqCst) - 2;
        assert_eq!(line["retries"], sent - 1, "{line}");
        assert!((1..=4).contains(&sent), "{sent} times");
        drop(client);
        gateway.terminate().assert_nothing_left();
    }
}

#[test]
fn a_get_goes_to_another_endpoint_where_one_fails() {
    let (bad, count) = failing(reset);
    let good = Site::ok();
    let gateway = Setup::http_to_all([bad.address(), good.address()])
        .top("workers = 1")
        .without_upstream()
        .route("name = \"only\"\nupstream = \"app\"\nretry_budget_percent = 100")
        .start();
    let mut client = HttpClient::connect(gateway.address());
    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert!(count.load(Ordering::SeqCst) > 0, "both had their turn");
    // A POST that meets the bad one has failed, and the good one has not seen it.
    let before = good.seen().len();
    let mut statuses = Vec::new();
    for n in 0..4 {
        client.send(request_with("POST", &format!("/{n}"), "", "body"));
        statuses.push(outcome(&mut client, "POST").expect("an answer"));
    }
    let done = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(good.seen().len() - before, done, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 4 - done, "{statuses:?}");
    drop(client);
    let stopped = gateway.terminate();
    assert!(stopped.counter("requests_retried") > 0, "{}", stopped.event);
    stopped.assert_nothing_left();
}

#[test]
fn retries_are_a_part_of_the_requests_and_no_more() {
    const REQUESTS: u64 = 200;
    let (bad, count) = failing(reset);
    let gateway = start(&[bad.address()]);
    let mut client = HttpClient::connect(gateway.address());
    let began = Instant::now();
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/").status(), 502);
    }
    let retries = count.load(Ordering::SeqCst) - REQUESTS;
    // A fifth, three to begin with, and three each second.
    let granted = 3 * (began.elapsed().as_millis() as u64).div_ceil(1000);
    let most = REQUESTS / 5 + 3 + granted;
    assert!((1..=most).contains(&retries), "{retries} of {most}");
    drop(client);
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("requests_retried"), retries);
    stopped.assert_nothing_left();
}

#[test]
fn where_no_connection_is_made_every_method_is_safe_to_try_elsewhere() {
    let (refusing, good) = (Refusing::new(), Site::ok());
    let gateway = start(&[refusing.address, good.address()]);
    let mut client = HttpClient::connect(gateway.address());
    for n in 0..4 {
        client.send(request_with("POST", &format!("/{n}"), "", "body"));
        assert_eq!(outcome(&mut client, "POST"), Ok(200), "nothing had been sent");
    }
    assert_eq!(good.seen().len(), 4);
    drop(client);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn in_the_middle_of_a_response_the_client_sees_that_it_is_cut() {
    let cut = [
        ("length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial"),
        ("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n"),
    ];
    for (framing, partial) in cut {
        for then in [Then::Close, Then::Reset] {
            let site = Site::new(move |_| {
                // Seen before the end of the connection, or it could count as none.
                Reply::raw(partial).then(then)
            });
            let mut gateway = start(&[site.address()]);
            let mut client = HttpClient::connect(gateway.address());
            client.send(request("GET", "/", ""));
            if then == Then::Close {
                let head = client.head().expect("a head").expect("a head");
                assert_eq!(head.status(), 200);
            }
            let error = client.response("GET").err();
            assert!(error.is_some() || then == Then::Reset, "{framing} {then:?}");
            drop(client);
            let line = gateway.wait_for("a request", |line| line["event"] == "request");
            if then == Then::Close {
                assert_eq!(line["failure_source"], "upstream", "{line}");
                assert_eq!(site.seen().len(), 1, "a response had begun: {line}");
            }
            gateway.terminate().assert_nothing_left();
        }
    }
}

#[test]
fn a_head_that_does_not_end_is_no_response() {
    for partial in ["HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1", "H"] {
        let site = Site::new(move |_| Reply::raw(partial).then(Then::Close));
        let gateway = start(&[site.address()]);
        let mut client = HttpClient::connect(gateway.address());
        client.send(request("GET", "/", ""));
        assert_eq!(outcome(&mut client, "GET"), Ok(502), "{partial}");
        // It had begun: whether the request was done nobody knows, and GET may be sent again only
        // before a byte of a response.
        assert_eq!(site.seen().len(), 1, "{partial}");
        assert_eq!(outcome_of_get(&mut client), Ok(502), "the client may go on");
        drop(client);
        gateway.terminate().assert_nothing_left();
    }
}

fn outcome_of_get(client: &mut HttpClient) -> Result<u16, ()> {
    client.send(request("GET", "/", ""));
    outcome(client, "GET")
}

#[test]
fn an_upstream_killed_while_it_idles_is_replaced() {
    let first = Site::new(|_| Reply::ok("ok").then(Then::Reset));
    let gateway = start(&[first.address()]);
    let mut client = HttpClient::connect(gateway.address());
    for count in 1..=5 {
        assert_eq!(client.get("/").text(), "ok");
        first.wait_for_ended(count);
        // PUT is idempotent, its body small and sent at once: at worst it is sent twice.
        std::thread::sleep(Duration::from_millis(20));
    }
    client.send(request_with("POST", "/", "", "once"));
    assert_eq!(outcome(&mut client, "POST"), Ok(200), "the reset was seen before");
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn a_client_that_goes_away_ends_its_request_at_the_upstream() {
    let gone = Arc::<AtomicU64>::default();
    let seen = Arc::clone(&gone);
    let origin = scripted(move |wire| {
        wire.head()?;
        // What comes next is the end of the connection.
        wire.rest();
        seen.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let mut gateway = start(&[origin.address()]);
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", "/slow", ""));
    wait_until("the upstream has it", || origin.accepted() == 1);
    reset(client.stream.socket.try_clone().expect("a socket"));
    drop(client);
    wait_until("the upstream hears of it", || gone.load(Ordering::SeqCst) == 1);
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(record["close_source"], "downstream", "{record}");
    gateway.terminate().assert_nothing_left();
}

#[test]
fn upstreams_that_cannot_be_reached_have_their_answers() {
    let (refusing, hanging) = (Refusing::new(), Hanging::new());
    for (address, status, answered) in
        [(refusing.address, 502, "connect_refused"), (hanging.address, 504, "connect_timeout")]
    {
        let mut gateway =
            Setup::http(address).upstream("connect_timeout_ms = 300").top("workers = 1").start();
        let mut client = HttpClient::connect(gateway.address());
        for _ in 0..2 {
            client.send(request_with("POST", "/x", "", "body"));
            assert_eq!(outcome(&mut client, "POST"), Ok(status));
            let line = gateway
                .wait_for("a request", |line| line["event"] == "request" && line["seen"].is_null());
            assert_eq!(line["answered"], answered, "{line}");
            assert_eq!(line["status"], status, "{line}");
            assert_eq!(line["path"], "/x", "{line}");
        }
        drop(client);
        gateway.terminate().assert_nothing_left();
    }
}
