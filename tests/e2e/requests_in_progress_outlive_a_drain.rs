//! A gateway that drains completes the requests that it has and takes no others on their
//! connections; a client that may not stay is cut off in the middle of its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::chaos::{Ca, file};
use crate::harness::http::{request, request_with};
use crate::harness::live::Live;
use crate::harness::site::scripted;
use crate::harness::{ClientOptions, Gateway, HttpClient, Reply, Setup, Site, pki, wait_until};

/// An upstream that answers `/slow` only once it may.
fn waiting() -> (Site, Arc<AtomicBool>) {
    let may = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&may);
    let site = Site::new(move |seen| {
        while seen.request.target() == "/slow" && !asked.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Reply::ok(seen.request.target())
    });
    (site, may)
}

fn drain(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    gateway.wait_for("the event drain", |line| line["event"] == "drain");
}

#[test]
fn requests_in_progress_are_answered_and_then_the_connection_closes() {
    let (site, may) = waiting();
    let mut gateway = Setup::http(site.address()).start();
    let mut busy: Vec<_> = (0..8).map(|_| HttpClient::connect(gateway.address())).collect();
    for client in &mut busy {
        client.get("/fast");
        client.send(request("GET", "/slow", ""));
    }
    let mut idle = HttpClient::connect(gateway.address());
    idle.get("/fast");
    let mut silent = HttpClient::connect(gateway.address());
    wait_until("all are there", || site.seen().len() == 17);
    drain(&mut gateway);
    // Those that have no request end at once, in order.
    assert_eq!(idle.rest(), b"");
    assert_eq!(silent.rest(), b"");
    may.store(true, Ordering::SeqCst);
    for mut client in busy {
        let response = client.answer("GET");
        assert_eq!(response.text(), "/slow");
        assert_eq!(response.value("connection"), Some("close"), "{response:?}");
        client.assert_ended();
    }
    let began = Instant::now();
    gateway.wait().assert_clean();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_body_that_is_under_way_is_completed() {
    let origin = scripted(|wire| {
        let Some(mut head) = wire.head()? else { return Ok(()) };
        wire.request_body(&mut head)?;
        let length = head.body.len();
        wire.try_send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"))?;
        wire.try_send(&head.body)
    });
    let mut gateway = Setup::http(origin.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("POST", "/", "Content-Length: 600000\r\n"));
    client.send(vec![b'a'; 300_000]);
    wait_until("half of it is there", || origin.accepted() == 1);
    drain(&mut gateway);
    client.send(vec![b'a'; 300_000]);
    let response = client.answer("POST");
    assert_eq!(response.body.len(), 600_000);
    assert_eq!(response.value("connection"), Some("close"));
    client.assert_ended();
    gateway.wait().assert_clean();
}

#[test]
fn under_load_a_drain_loses_no_request() {
    let site = Site::new(|seen| Reply::ok(seen.request.text()));
    let mut gateway = Setup::http(site.address()).start();
    let address = gateway.address();
    let answered = Arc::<AtomicU64>::default();
    let threads: Vec<_> = (0..8)
        .map(|who| {
            let answered = Arc::clone(&answered);
            std::thread::spawn(move || {
                let mut lost = 0;
                'connections: while let Ok(client) =
                    ClientOptions::default().alpn(&["http/1.1"]).connect(address)
                {
                    let mut client = crate::harness::http::Wire::new(client);
                    for n in 0.. {
                        let body = format!("{who}-{n}");
                        let sent = client.try_send(request_with("PUT", "/", "", &body));
                        let Ok(response) = client.response("PUT") else {
                            // The connection may end between two requests, with close_notify: then
                            // the request was not looked at. In the middle of one it may not.
                            lost += u64::from(sent.is_ok() && !client.rest().is_empty());
                            continue 'connections;
                        };
                        assert_eq!(response.text(), body);
                        answered.fetch_add(1, Ordering::SeqCst);
                        if response.value("connection") == Some("close") {
                            continue 'connections;
                        }
                    }
                }
                lost
            })
        })
        .collect();
    wait_until("some load", || answered.load(Ordering::SeqCst) > 200);
    drain(&mut gateway);
    let lost: u64 = threads.into_iter().map(|thread| thread.join().expect("its answers")).sum();
    assert_eq!(lost, 0);
    let stopped = gateway.wait();
    let seen = site.seen().len() as u64;
    assert_eq!(seen, answered.load(Ordering::SeqCst), "whatever reached the upstream was answered");
    assert_eq!(stopped.counter("responses_aborted"), 0, "{}", stopped.event);
    stopped.assert_clean();
}

#[test]
fn what_is_left_at_the_deadline_is_cut() {
    let (site, may) = waiting();
    let mut gateway = Setup::http(site.address()).top("drain_timeout_ms = 500").start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", "/slow", ""));
    wait_until("it is there", || site.seen().len() == 1);
    drain(&mut gateway);
    assert!(client.response("GET").is_err(), "nothing that could be taken for a response");
    drop(client);
    let stopped = gateway.wait();
    may.store(true, Ordering::SeqCst);
    assert_eq!(stopped.event["ended"], "deadline_cut", "{}", stopped.event);
    stopped.assert_nothing_left();
}

#[test]
fn a_revoked_client_is_cut_off_in_the_middle_of_its_requests() {
    let root = Ca::root("http root", |_| {});
    let credentials =
        |serial: u64| root.client(|params| params.serial_number = Some(serial.into()));
    let (site, may) = waiting();
    let crl = |serials: &[u64]| {
        format!("client_crl = {:?}", file("root.crl", root.crl(serials, -60, 600)))
    };
    let setup = Setup::http(site.address()).client_ca(Some(&root.file()));
    let (before, after) = (setup.clone().listener(&crl(&[])), setup.clone().listener(&crl(&[7])));
    let mut live = Live::start(&before);
    let connect = |live: &Live, serial| {
        let options = ClientOptions::with(&credentials(serial));
        HttpClient::connect_with(&options, live.address())
    };
    let (mut revoked, mut other) = (connect(&live, 7), connect(&live, 8));
    for client in [&mut revoked, &mut other] {
        assert_eq!(client.get("/fast").text(), "/fast");
        client.send(request("GET", "/slow", ""));
    }
    let peer = revoked.stream.local_address();
    wait_until("both are there", || site.seen().len() == 4);
    let at = live.publish(&after);
    let error = revoked.response("GET").expect_err("it is cut off");
    let alert = crate::harness::client::alert_of(&error);
    assert_eq!(alert, Some(rustls::AlertDescription::CertificateRevoked), "{error:?}");
    assert!(at.elapsed() < Duration::from_secs(2), "{:?}", at.elapsed());
    let record = live.record_of(peer);
    assert_eq!(record["close_reason"], "revoked", "{record}");
    may.store(true, Ordering::SeqCst);
    assert_eq!(other.answer("GET").text(), "/slow", "nobody else notices");
    assert_eq!(other.get("/fast").text(), "/fast");
    drop((revoked, other));
}

#[test]
fn a_client_whose_certificate_expires_is_cut_off_between_its_requests() {
    let site = Site::ok();
    let mut gateway = Setup::http(site.address()).start();
    let options = ClientOptions::with(&pki().client_valid(-600, 3));
    let mut client = HttpClient::connect_with(&options, gateway.address());
    let (peer, began) = (client.stream.local_address(), Instant::now());
    // Busy all the time.
    let error = loop {
        if let Err(error) = client.try_send(request("GET", "/", "")) {
            break error;
        }
        match client.response("GET") {
            Ok(response) => assert_eq!(response.text(), "ok"),
            Err(error) => break error,
        }
        std::thread::sleep(Duration::from_millis(10));
        assert!(began.elapsed() < Duration::from_secs(20), "it may stay");
    };
    assert!(began.elapsed() > Duration::from_secs(1), "{error:?} after {:?}", began.elapsed());
    let record = gateway.record_of(peer);
    assert_eq!(record["close_reason"], "certificate_expired", "{record}");
    gateway.terminate().assert_nothing_left();
}

#[test]
fn answers_of_the_gateways_own_announce_the_end_too() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    assert_eq!(client.get("/").text(), "ok");
    client.send("GET /.. HTTP/1.1\r\n");
    std::thread::sleep(Duration::from_millis(200));
    gateway.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    client.send("Host: gateway.test\r\n\r\n");
    let answer = client.answer("GET");
    assert_eq!((answer.status(), answer.value("connection")), (400, Some("close")));
    client.assert_ended();
    gateway.wait().assert_clean();
}
