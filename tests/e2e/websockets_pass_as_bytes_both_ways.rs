//! WebSockets (RFC 6455) pass through: an upgraded connection is bytes in both directions, for as
//! long as its two ends want.

use crate::harness::http::{request, request_with};
use crate::harness::programs::{Server, as_client, content, python_command};
use crate::harness::site::scripted;
use crate::harness::{Gateway, HttpClient, Reply, Setup, Site, Then, pki};

#[track_caller]
fn client(gateway: &Gateway, what: &str) -> String {
    let mut command = python_command("ws_client.py");
    as_client(&mut command, gateway.address(), &pki().client);
    content(command.arg(what))
}

fn gateway_of(server: &Server) -> Gateway {
    Setup::http(server.address).start()
}

#[test]
fn messages_pings_paths_and_subprotocols() {
    let server = Server::python("ws_server.py", &[]);
    let mut gateway = gateway_of(&server);
    client(&gateway, "talk");
    let line = gateway.wait_for("a request", |line| line["event"] == "request");
    assert_eq!((&line["status"], &line["path"]), (&101.into(), &"/chat".into()), "{line}");
    assert!(line["bytes_up"].as_u64() > Some(20_000), "{line}");
    assert!(line["bytes_down"].as_u64() > Some(20_000), "{line}");
    let record = gateway.wait_for_record(|_| true);
    assert_eq!(record["close_reason"], "finished", "{record}");
    gateway.terminate().assert_clean();
}

#[test]
fn messages_of_a_mebibyte() {
    let server = Server::python("ws_server.py", &[]);
    let gateway = gateway_of(&server);
    client(&gateway, "large");
    gateway.terminate().assert_clean();
}

#[test]
fn both_ends_close_by_their_codes() {
    let server = Server::python("ws_server.py", &[]);
    let gateway = gateway_of(&server);
    client(&gateway, "close");
    gateway.terminate().assert_clean();
}

#[test]
fn fifty_at_once() {
    let server = Server::python("ws_server.py", &[]);
    let gateway = gateway_of(&server);
    client(&gateway, "many");
    let stopped = gateway.terminate();
    assert_eq!(stopped.counter("requests"), 50);
    stopped.assert_clean();
}

#[test]
fn a_silent_one_ends_by_the_idle_timeout() {
    let server = Server::python("ws_server.py", &[]);
    let mut gateway = Setup::http(server.address).listener("idle_timeout_ms = 700").start();
    let said = client(&gateway, "linger");
    assert_eq!(said.lines().next(), Some("here"), "{said}");
    assert_eq!(said.lines().nth(1), Some("closed None"), "{said}");
    let record = gateway.wait_for_record(|_| true);
    assert_ne!(record["close_reason"], "finished", "{record}");
    gateway.terminate().assert_nothing_left();
}

#[test]
fn an_upstream_that_does_not_upgrade_is_http_as_before() {
    let site = Site::new(|seen| {
        let asks = !seen.request.values("upgrade").is_empty();
        let said = if asks { "asked to upgrade" } else { "not asked" };
        Reply::text("426 Upgrade Required", said)
    });
    let gateway = Setup::http(site.address()).start();
    assert_eq!(client(&gateway, "refused").trim(), "426");
    let mut client = HttpClient::connect(gateway.address());
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(client.ask("GET", "/", lines).text(), "asked to upgrade");
    // Without Connection it is no request to upgrade (RFC 9110, 7.8).
    assert_eq!(client.ask("GET", "/", "Upgrade: websocket\r\n").text(), "not asked");
    // And the connection goes on.
    client.send(request_with("POST", "/", "", "body"));
    assert_eq!(client.answer("POST").text(), "not asked");
    drop(client);
    gateway.terminate().assert_clean();
}

#[test]
fn bytes_behind_the_upgrade_are_not_lost_on_either_side() {
    let origin = scripted(|wire| {
        wire.head()?;
        // With its answer in one piece.
        wire.try_send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             \r\nfrom the server",
        )?;
        let up = wire.exactly("from the client".len())?;
        wire.try_send(up)
    });
    let gateway = Setup::http(origin.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    client.send(request("GET", "/", lines) + "from the client");
    assert_eq!(client.answer("GET").status(), 101);
    let said = client.exactly("from the server".len() + "from the client".len());
    assert_eq!(said.expect("both"), b"from the serverfrom the client");
    client.assert_ended();
    gateway.terminate().assert_clean();
}

#[test]
fn a_refused_upgrade_smuggles_nothing() {
    // The known attack: a proxy believes that the connection was upgraded, and it was not.
    let site = Site::new(|_| Reply::text("400 Bad Request", "no").then(Then::Keep));
    let gateway = Setup::http(site.address()).start();
    let mut client = HttpClient::connect(gateway.address());
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n";
    client.send(request("GET", "/", lines));
    assert_eq!(client.answer("GET").status(), 400);
    // What follows is a request like any other: checked, and with fields of its own.
    client.send(request("GET", "/next", "X-Forwarded-Client-Cert: forged\r\n"));
    client.answer("GET");
    let next = site.last();
    assert_eq!(next.target(), "/next");
    assert!(next.values("x-forwarded-client-cert").is_empty(), "{next:?}");
    drop(client);
    gateway.terminate().assert_clean();
}
