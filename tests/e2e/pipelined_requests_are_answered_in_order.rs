//! Requests that are sent without waiting are answered one after the other, each by its own
//! response.

use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use crate::harness::http::{request, request_with};
use crate::harness::{HttpClient, Reply, Setup, Site};

const REQUESTS: usize = 10_000;

#[test]
fn ten_thousand_requests_of_one_connection() {
    let site = Site::new(|seen| Reply::ok(&seen.request.target()[1..]));
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    // What is sent does not wait for what is read: more is under way than sockets hold.
    let all: String = (0..REQUESTS).map(|n| request("GET", &format!("/{n}"), "")).collect();
    client.pipeline(all.as_bytes());
    for n in 0..REQUESTS {
        let response = client.answer("GET");
        assert_eq!(response.text(), n.to_string());
    }
    drop(client);
    let seen = site.seen();
    assert_eq!(seen.len(), REQUESTS);
    for (n, seen) in seen.iter().enumerate() {
        assert_eq!(seen.request.target(), format!("/{n}"));
    }
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("requests"), REQUESTS as u64);
    stopped.assert_clean();
}

#[test]
fn bodies_and_methods_stay_with_their_request() {
    let site =
        Site::new(|seen| Reply::ok(&format!("{} {}", seen.request.method(), seen.request.text())));
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    let chunked = |body: &str| {
        let head = request("POST", "/", "Transfer-Encoding: chunked\r\n");
        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    };
    let mut all = String::new();
    for n in 0..100 {
        all += &request_with("PUT", "/", "", &format!("put {n}"));
        all += &chunked(&format!("post {n}"));
        all += &request("HEAD", "/", "");
        all += &request("GET", "/", "");
    }
    // An empty line behind a request is not one (RFC 9112, 2.2).
    client.send(all + "\r\n" + &request("DELETE", "/", "Connection: close\r\n"));
    for n in 0..100 {
        assert_eq!(client.answer("PUT").text(), format!("PUT put {n}"));
        assert_eq!(client.answer("POST").text(), format!("POST post {n}"));
        assert_eq!(client.answer("HEAD").text(), "");
        assert_eq!(client.answer("GET").text(), "GET ");
    }
    assert_eq!(client.answer("DELETE").text(), "DELETE ");
    client.assert_ended();
    gateway.terminate().assert_clean();
}

#[test]
fn what_follows_the_last_request_is_not_served() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    let last = request("GET", "/last", "Connection: close\r\n");
    client.send(last + &request("GET", "/beyond", ""));
    assert_eq!(client.answer("GET").text(), "ok");
    client.assert_ended();
    assert_eq!(site.only().target(), "/last");
    gateway.terminate().assert_clean();
}

#[test]
fn many_clients_pipeline_at_once() {
    let site = Site::new(|seen| Reply::ok(&seen.request.target()[1..]));
    let gateway = Setup::http(site.address()).start();
    let address = gateway.address();
    let clients: Vec<_> = (0..16)
        .map(|who| {
            thread::spawn(move || {
                let mut client = HttpClient::connect(address);
                let targets: Vec<_> = (0..50).map(|n| format!("/{who}-{n}")).collect();
                client.send(targets.iter().map(|it| request("GET", it, "")).collect::<String>());
                for target in targets {
                    assert_eq!(client.answer("GET").text(), &target[1..]);
                }
                client.stream.finish();
                assert_eq!(client.rest(), b"");
                let _ = client.stream.socket.shutdown(Shutdown::Both);
            })
        })
        .collect();
    for client in clients {
        client.join().expect("each gets its own responses");
    }
    gateway.terminate().assert_clean();
}

/// One that answers a head whose body it has not asked for, nor reads.
fn refusing() -> crate::harness::Origin {
    crate::harness::site::scripted(|wire| {
        while wire.head()?.is_some() {
            // What is sent without waiting for 100 is on its way meanwhile.
            thread::sleep(Duration::from_millis(300));
            wire.try_send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")?;
        }
        Ok(())
    })
}

#[test]
fn a_final_answer_without_100_ends_the_connection_for_what_follows_may_be_either() {
    let site = refusing();
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("POST", "/", "Expect: 100-continue\r\nContent-Length: 44\r\n"));
    let answer = client.answer("POST");
    assert_eq!((answer.status(), answer.value("connection")), (401, Some("close")));
    client.assert_ended();
    // Of ringfort's own too.
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("POST", "/..", "Expect: 100-continue\r\nContent-Length: 44\r\n"));
    let answer = client.answer("POST");
    assert_eq!((answer.status(), answer.value("connection")), (400, Some("close")));
    client.assert_ended();
    gateway.terminate().assert_clean();
}

#[test]
fn an_upstream_that_answers_without_100_is_not_given_another_request_behind_the_body() {
    let site = refusing();
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    let lines = "Expect: 100-continue\r\nContent-Length: 28\r\n";
    // It does not wait; what it sends would be the upstream's next request.
    client.send(request("POST", "/", lines) + "GET /x HTTP/1.1\r\nHost: y\r\n\r\n");
    assert_eq!(client.answer("POST").status(), 401);
    let mut client = HttpClient::connect(gateway.address());
    assert_eq!(client.get("/next").status(), 401);
    assert_eq!(site.accepted(), 2, "the first connection is not used again");
    drop(client);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn nothing_but_100_may_be_expected() {
    let site = Site::ok();
    let gateway = Setup::http(site.address()).start();
    for value in ["200-ok", "100-continue, magic", "100-continue=1"] {
        let mut client = HttpClient::connect(gateway.address());
        let answer = client.ask("POST", "/", &format!("Expect: {value}\r\nContent-Length: 4\r\n"));
        assert_eq!(answer.status(), 417, "{value}");
        client.assert_ended();
    }
    assert_eq!(site.accepted(), 0);
    gateway.terminate().assert_clean();
}
