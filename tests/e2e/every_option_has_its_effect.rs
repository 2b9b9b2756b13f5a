//! Options that no other file is about: each is seen from outside, or at least relays as before.

use std::process::Command;

use crate::harness::pki::pki;
use crate::harness::{Client, Gateway, Origin, Setup, free_local, temp_dir, wait_until};

/// What `ss` says about the gateway's side of a client's connection.
fn ss(flags: &str, client: &Client) -> String {
    let port = client.local_address().port();
    let output = Command::new("ss")
        .args(["-tn", flags, &format!("dport = :{port}")])
        .output()
        .expect("ss is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn with_listener(lines: &str) -> (Origin, Gateway, Client) {
    let origin = Origin::echo();
    let gateway = Setup::to(origin.address()).listener(lines).start();
    let mut client = Client::connect(gateway.address());
    client.echo(b"hello");
    (origin, gateway, client)
}

#[test]
fn every_flag_of_the_command_line_is_heeded() {
    let origin = Origin::echo();
    let address = free_local();
    let text = |path: &std::path::Path| path.display().to_string();
    let (listen, to) = (address.to_string(), origin.address().to_string());
    let (cert, key, ca) =
        (text(&pki().server.chain_file), text(&pki().server.key_file), text(&pki().root_file));
    let arguments = [
        "--listen",
        &listen,
        "--to",
        &to,
        "--cert",
        &cert,
        "--key",
        &key,
        "--client-ca",
        &ca,
        "--client-auth",
        "require",
        "--allow",
        "dns:client.test",
        "--workers",
        "1",
        "--cpus",
        "1",
        "--log",
        "stderr",
    ];
    let gateway = Gateway::start(&[], &arguments);
    assert_eq!(gateway.address(), address);
    assert_eq!(gateway.start_event()["cpus"], serde_json::json!([1]));
    let mut client = Client::connect(address);
    client.echo(b"hello");
    client.end();
    let other = crate::harness::ClientOptions::with(&pki().client_named("other.test"));
    other.connect(address).expect("valid").read_to_end().expect_err("and not allowed");
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.counter("denied"), 1);
}

#[test]
fn key_log_writes_the_secrets_of_each_connection() {
    let file = temp_dir().join("keys.log");
    let line = format!("key_log = {:?}", file.display().to_string());
    let (_origin, gateway, client) = with_listener(&line);
    client.end();
    gateway.terminate().assert_clean();
    let keys = std::fs::read_to_string(&file).expect("written");
    for label in [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET ",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET ",
        "CLIENT_TRAFFIC_SECRET_0 ",
        "SERVER_TRAFFIC_SECRET_0 ",
    ] {
        assert_eq!(keys.matches(label).count(), 1, "{label} in {keys}");
    }
}

#[test]
fn keepalive_s_arms_the_kernels_timer() {
    let (_origin, gateway, client) = with_listener("keepalive_s = 1234");
    // As soon as all that was sent is acknowledged, which took the timer's place.
    wait_until("the keepalive timer", || ss("-o", &client).contains("timer:(keepalive,20min"));
    client.end();
    gateway.terminate().assert_clean();
    let (_origin, gateway, client) = with_listener("keepalive_s = 0");
    wait_until("no timer", || !ss("-o", &client).contains("timer:"));
    client.end();
    gateway.terminate().assert_clean();
}

#[test]
fn socket_buffers_have_the_configured_size() {
    let lines = "send_buffer_bytes = 50000\nrecv_buffer_bytes = 60000";
    let (_origin, gateway, mut client) = with_listener(lines);
    let said = ss("-m", &client);
    // socket(7): the kernel doubles what was asked for.
    assert!(said.contains("tb100000") && said.contains("rb120000"), "{said}");
    client.echo(&[1; 1_000_000]);
    client.end();
    gateway.terminate().assert_clean();
}

#[test]
fn tcp_user_timeout_ends_a_client_that_acknowledges_nothing() {
    let origin = Origin::source(vec![1; 1024 * 1024], 64);
    let setup = Setup::to(origin.address()).listener("tcp_user_timeout_ms = 700");
    let mut gateway = setup.start();
    // Alive, but its window stays closed: the kernel counts that too (tcp(7)).
    let client = Client::connect(gateway.address());
    let record = gateway.record_of(client.local_address());
    assert_eq!(record["close_source"], "downstream", "{record}");
    // The kernel tells once: the receive, a send, or a send that was half done and only comes out
    // short; the send of the rest finds a broken pipe then. An end it is not.
    let reason = record["close_reason"].as_str().expect("a reason");
    assert!(["io_error", "reset"].contains(&reason), "{record}");
    let total_us = record["total_us"].as_u64().expect("a number");
    assert!((700_000..20_000_000).contains(&total_us), "{record}");
    drop(client);
    gateway.terminate().assert_nothing_left();
}

#[test]
fn special_rings_relay_as_the_usual_one_does() {
    let cases = [
        "entries = 64",
        "sqpoll_idle_ms = 50",
        "zero_copy_send = true",
        "napi_busy_poll_us = 50",
        "recv_buffers = 8",
        "entries = 64\nrecv_buffers = 16\nsqpoll_idle_ms = 10\nzero_copy_send = true",
    ];
    for lines in cases {
        let origin = Origin::echo();
        let setup = Setup::to(origin.address()).table(&format!("[ring]\n{lines}"));
        let gateway = setup.start();
        let mut clients: Vec<_> = (0..20).map(|_| Client::connect(gateway.address())).collect();
        let bytes: Vec<u8> = (0..200_000_u32).map(|index| (index % 241) as u8).collect();
        for client in &mut clients {
            client.echo(&bytes);
        }
        if lines.contains("sqpoll") {
            // The thread of the kernel belongs to the process.
            let pid = gateway.process().pid();
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
            let names =
                tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
            assert!(names.into_iter().any(|name| name.starts_with("iou-sqp")), "no such thread");
        }
        clients.into_iter().for_each(Client::end);
        gateway.terminate().assert_clean();
    }
}

#[test]
fn a_dual_stack_listener_takes_both_families() {
    let origin = Origin::echo();
    let port = free_local().port();
    let at = std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
    let arguments = [
        "--listen".to_string(),
        format!(":{port}"),
        "--to".into(),
        origin.address().to_string(),
        "--cert".into(),
        pki().server.chain_file.display().to_string(),
        "--key".into(),
        pki().server.key_file.display().to_string(),
        "--client-ca".into(),
        pki().root_file.display().to_string(),
    ];
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let gateway = Gateway::start(&[], &words);
    assert_eq!(gateway.address(), at);
    for ip in ["127.0.0.1", "::1"] {
        let address = std::net::SocketAddr::new(ip.parse().expect("an address"), port);
        let mut client = Client::connect(address);
        client.echo(b"hello");
        client.end();
    }
    gateway.terminate().assert_clean();
}
