//! What one client or upstream does is no trouble to others: their responses, their connections,
//! the gateway's memory and its log.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::harness::frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, origin};
use crate::harness::http::{request, request_with};
use crate::harness::programs::Nginx;
use crate::harness::site::scripted;
use crate::harness::{ClientOptions, Gateway, HttpClient, Reply, Setup, Site, pki, wait_until};

/// `:status` of the static table (RFC 7541, A).
const STATUS_204: u8 = 0x89;
const STATUS_304: u8 = 0x8b;

/// A client that has room for little, and so soon makes others wait.
fn small(gateway: &Gateway) -> HttpClient {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket");
    socket.connect(&gateway.address().into()).expect("it listens");
    let mut client = ClientOptions::with(&pki().client).over(socket.into());
    client.shake_hands().expect("it is let in");
    HttpClient::new(client)
}

/// Reads a request of HTTP/1.1 and answers nothing until the gateway is gone.
fn silent(head: &'static str) -> crate::harness::Origin {
    scripted(move |wire| {
        if wire.request()?.is_some() {
            wire.try_send(head)?;
            wire.rest();
        }
        Ok(())
    })
}

#[test]
fn data_behind_a_response_that_has_none_reaches_nobody() {
    const NEXT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEVIL!";
    for (status, number) in [(STATUS_204, 204), (STATUS_304, 304)] {
        let upstream = origin(move |peer| {
            while let Some(frame) = peer.receive() {
                if frame.kind == HEADERS {
                    peer.send(HEADERS, END_HEADERS, frame.stream, &[status]);
                    peer.send(DATA, END_STREAM, frame.stream, NEXT);
                }
            }
            Ok(())
        });
        let gateway = Setup::http(upstream.address()).upstream("protocol = \"http2\"").start();
        let mut client = HttpClient::connect(gateway.address());
        for _ in 0..3 {
            assert_eq!(client.get("/").status(), number);
        }
        client.send(request("GET", "/", "Connection: close\r\n"));
        assert_eq!(client.answer("GET").status(), number);
        client.assert_ended();
        gateway.terminate().assert_clean();
    }
}

#[test]
fn clients_that_do_not_read_leave_an_upstream_to_others() {
    let nginx = Nginx::start_http2();
    nginx.file("large", &vec![b'x'; 30_000_000]);
    nginx.file("small", &vec![b'y'; 100_000]);
    let setup = Setup::http(nginx.address).upstream("protocol = \"http2\"");
    let gateway = setup.top("workers = 1").start();
    let slow: Vec<HttpClient> = (0..8)
        .map(|_| {
            let mut client = small(&gateway);
            client.send(request("GET", "/large", ""));
            client.stream.receive(1);
            client
        })
        .collect();
    // Until what they are sent waits everywhere on its way.
    std::thread::sleep(Duration::from_secs(2));
    let mut client = HttpClient::connect(gateway.address());
    client.stream.socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    assert_eq!(client.get("/small").body.len(), 100_000);
    drop((slow, client));
    gateway.terminate().assert_nothing_left();
}

#[test]
fn streams_that_an_upstream_resets_do_not_end_those_of_others() {
    let upstream = origin(|peer| {
        let slow = peer.receive_kind(HEADERS).stream;
        for _ in 0..300 {
            let stream = peer.receive_kind(HEADERS).stream;
            peer.send(HEADERS, END_HEADERS | END_STREAM, stream, &[STATUS_204]);
            // NO_ERROR: the rest of the request is not needed (RFC 9113, 8.1).
            peer.send(RST_STREAM, 0, stream, &[0; 4]);
        }
        peer.send(HEADERS, END_HEADERS | END_STREAM, slow, &[STATUS_204]);
        while peer.receive().is_some() {}
        Ok(())
    });
    let setup = Setup::http(upstream.address()).upstream("protocol = \"http2\"");
    let gateway = setup.top("workers = 1").start();
    let mut slow = HttpClient::connect(gateway.address());
    // The connection is there, and has a stream that waits.
    slow.send(request("GET", "/slow", ""));
    std::thread::sleep(Duration::from_millis(300));
    let mut client = HttpClient::connect(gateway.address());
    for _ in 0..300 {
        assert_eq!(client.get("/").status(), 204);
    }
    assert_eq!(slow.answer("GET").status(), 204);
    assert_eq!(upstream.accepted(), 1);
    drop((slow, client));
    gateway.terminate().assert_clean();
}

#[test]
fn a_request_under_way_has_its_line_when_its_client_goes() {
    let site = silent("");
    let mut gateway = Setup::http(site.address()).start();
    let mut client = Frames::client(&gateway, &[]);
    client.ask(1, "POST", "/paid", false);
    client.send(DATA, END_STREAM, 1, b"amount=1");
    wait_until("the upstream has it", || site.received() == 0 && site.accepted() == 1);
    std::thread::sleep(Duration::from_millis(500));
    drop(client);
    let line = gateway.wait_for("its line", |line| line["event"] == "request");
    assert_eq!((&line["path"], &line["status"]), (&"/paid".into(), &0.into()), "{line}");
    assert!(!line["failure"].is_null(), "{line}");
    assert_eq!(line["bytes_up"], 8, "{line}");
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(record["bytes_up"], 8, "{record}");
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("responses_aborted"), 1);
    stopped.assert_clean();
}

#[test]
fn a_request_under_way_has_its_line_when_a_drain_comes_to_its_end() {
    let site = silent("");
    let setup = Setup::http(site.address()).top("drain_timeout_ms = 500");
    let gateway = setup.start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request_with("POST", "/paid", "", "amount=1"));
    std::thread::sleep(Duration::from_millis(500));
    let stopped = gateway.terminate();
    let lines: Vec<_> = stopped.records.iter().filter(|line| line["event"] == "request").collect();
    assert_eq!(lines.len(), 1, "{:?}", stopped.records);
    assert_eq!(lines[0]["path"], "/paid", "{}", lines[0]);
    assert_eq!(lines[0]["bytes_up"], 8, "{}", lines[0]);
    assert!(!lines[0]["failure"].is_null(), "{}", lines[0]);
    assert_eq!(stopped.counter("responses_aborted"), 1);
    let record = stopped.connections().next().expect("one");
    assert_eq!(record["bytes_up"], 8, "{record}");
}

#[test]
fn interim_responses_come_to_an_end() {
    let site = Site::new(|_| {
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
        Reply::raw(hint.repeat(17) + "HTTP/1.1 204 No Content\r\n\r\n")
    });
    let mut gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", "/", ""));
    for _ in 0..16 {
        let head = client.head().expect("a head").expect("of an interim response");
        assert_eq!(head.status(), 103);
    }
    assert_eq!(client.answer("GET").status(), 502);
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!(line["answered"], "bad_response", "{line}");
    assert_eq!(line["detail"], "more than 16 interim responses", "{line}");
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn what_waits_for_a_window_has_a_deadline() {
    let site = Site::new(|_| Reply::ok(&"y".repeat(10_000)));
    let setup = Setup::http(site.address()).route("name = \"all\"\nbody_timeout_ms = 700");
    let mut gateway = setup.start();
    // SETTINGS_INITIAL_WINDOW_SIZE = 1
    let mut client = Frames::client(&gateway, &[0, 4, 0, 0, 0, 1]);
    client.ask(1, "GET", "/", true);
    assert_eq!(client.receive_kind(DATA).payload, b"y");
    assert_eq!(client.receive_kind(RST_STREAM).stream, 1);
    let line = gateway.wait_for("its line", |line| line["event"] == "request");
    assert_eq!((&line["status"], &line["bytes_down"]), (&200.into(), &1.into()), "{line}");
    assert!(!line["failure"].is_null(), "{line}");
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn a_body_comes_whole_through_a_window_that_opens_slowly() {
    let body: Arc<str> = "abcdefghijklmnopqrstuvwxyz0123".repeat(100).into();
    let sent = Arc::clone(&body);
    let site = Site::new(move |_| Reply::ok(&sent));
    let gateway = Setup::http(site.address()).start();
    // SETTINGS_INITIAL_WINDOW_SIZE = 1
    let mut client = Frames::client(&gateway, &[0, 4, 0, 0, 0, 1]);
    client.ask(1, "GET", "/", true);
    let (mut came, mut is_end) = (Vec::new(), false);
    while !is_end {
        let data = client.receive_kind(DATA);
        is_end = data.flags & END_STREAM != 0;
        came.extend_from_slice(&data.payload);
        // WINDOW_UPDATE of 300 bytes for the stream
        client.send(8, 0, 1, &[0, 0, 1, 44]);
    }
    assert!(came == body.as_bytes(), "{} bytes came", came.len());
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn a_client_that_does_not_wait_any_more_is_noticed_while_a_response_is_silent() {
    const EVENTS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let (ended, has_ended) = channel();
    let ended = Mutex::new(ended);
    let site = scripted(move |wire| {
        if wire.request()?.is_some() {
            wire.try_send(EVENTS)?;
            wire.rest();
            let _ = ended.lock().expect("no panic").send(());
        }
        Ok(())
    });
    let gateway = Setup::http(site.address()).start();
    let mut client = Frames::client(&gateway, &[]);
    client.ask(1, "GET", "/events", true);
    assert_eq!(client.receive_kind(DATA).payload, b"hello");
    // CANCEL
    client.send(RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    has_ended.recv_timeout(Duration::from_secs(20)).expect("the upstream is told");
    drop(client);
    // By HTTP/1.1 it can only end its connection.
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", "/events", ""));
    client.head().expect("a head").expect("of a response");
    socket2::SockRef::from(&client.stream.socket)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
    drop(client);
    has_ended.recv_timeout(Duration::from_secs(20)).expect("the upstream is told");
    gateway.terminate().assert_clean();
}

#[test]
fn slow_readers_of_chunks_leave_buffers_to_others() {
    let site = scripted(|wire| {
        while let Some(request) = wire.request()? {
            if request.target() == "/small" {
                wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
                continue;
            }
            wire.try_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let piece = format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(64);
            loop {
                wire.try_send(&piece)?;
            }
        }
        Ok(())
    });
    let setup = Setup::http(site.address()).top("workers = 1");
    let gateway = setup.more("[ring]\nrecv_buffers = 32\n").start();
    let slow: Vec<HttpClient> = (0..48)
        .map(|_| {
            let mut client = small(&gateway);
            client.send(request("GET", "/large", ""));
            client
        })
        .collect();
    std::thread::sleep(Duration::from_secs(3));
    let mut client = HttpClient::connect(gateway.address());
    client.stream.socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    assert_eq!(client.get("/small").text(), "ok");
    drop((slow, client));
    gateway.terminate().assert_nothing_left();
}

#[test]
fn a_tunnel_ends_with_its_upstream() {
    let site = scripted(|wire| {
        if wire.request()?.is_some() {
            wire.try_send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhi",
            )?;
        }
        Ok(())
    });
    let mut gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    client.send(request("GET", "/", "Connection: upgrade\r\nUpgrade: x\r\n"));
    assert_eq!(client.head().expect("a head").expect("of a response").status(), 101);
    assert_eq!(client.exactly(2).expect("what it says"), b"hi");
    wait_until("the tunnel ends", || client.try_send("into the void").is_err());
    let line = gateway.wait_for("its line", |line| line["event"] == "request");
    assert!(!line["failure"].is_null(), "{line}");
    gateway.terminate().assert_nothing_left();
}

#[test]
fn requests_that_come_at_once_share_the_connection_that_the_first_makes() {
    let upstream = origin(|peer| {
        while let Some(frame) = peer.receive() {
            if frame.kind == HEADERS {
                peer.send(HEADERS, END_HEADERS | END_STREAM, frame.stream, &[STATUS_204]);
            }
        }
        Ok(())
    });
    let setup = Setup::http(upstream.address()).upstream("protocol = \"http2\"");
    let gateway = setup.top("workers = 1").start();
    let mut client = Frames::client(&gateway, &[]);
    for index in 0..50 {
        client.ask(2 * index + 1, "GET", "/", true);
    }
    for _ in 0..50 {
        client.receive_kind(HEADERS);
    }
    assert_eq!(upstream.accepted(), 1);
    drop(client);
    gateway.terminate().assert_clean();
}
