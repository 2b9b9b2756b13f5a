//! Signals, deadlines, timeouts, CPUs, and a log that cannot be written.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::origin::reset;
use crate::harness::{Client, ClientOptions, Gateway, Origin, Setup, raw, temp_dir, wait_until};

#[test]
fn sigterm_and_sigint_let_connections_end_by_themselves() {
    for signal in [Signal::TERM, Signal::INT] {
        let origin = Origin::echo();
        let mut gateway = Setup::to(origin.address()).start();
        let mut active = Client::connect(gateway.address());
        let mut idle = Client::connect(gateway.address());
        active.echo(b"before");
        idle.echo(b"before");
        gateway.signal(signal);
        let drain = gateway.wait_for("the event drain", |line| line["event"] == "drain");
        assert_eq!(drain["connections"], 2, "{drain}");
        assert_eq!(drain["timeout_ms"], 30_000, "{drain}");
        // The port is closed to newcomers; those who are in go on.
        wait_until("the port to close", || {
            ClientOptions::default().connect(gateway.address()).is_err()
        });
        active.echo(&[5; 500_000]);
        active.end();
        idle.end();
        gateway.wait().assert_clean();
    }
}

#[test]
fn what_is_left_at_the_deadline_is_cut_off() {
    let origin = Origin::echo();
    let gateway = Setup::to(origin.address()).top("drain_timeout_ms = 500").start();
    let mut client = Client::connect(gateway.address());
    client.echo(b"hello");
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    let error = client.read_to_end().expect_err("no close_notify: it is cut");
    assert!(
        matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
        "{error:?}"
    );
    assert!(began.elapsed() >= Duration::from_millis(490), "{:?}", began.elapsed());
    drop(client);
    let stopped = gateway.wait();
    assert_eq!(stopped.status, Some(3), "{}", stopped.event);
    assert_eq!(stopped.event["ended"], "deadline_cut");
    let record = stopped.connections().next().expect("one connection");
    assert_eq!(record["close_reason"], "drain_deadline", "{record}");
    assert_eq!(record["close_source"], "internal", "{record}");
    assert!(!origin.next_served().orderly, "the upstream must not take it for an end");
    stopped.assert_nothing_left();
}

#[test]
fn a_second_signal_stops_at_once() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    let mut client = Client::connect(gateway.address());
    client.echo(b"hello");
    let mut silent = raw::connect(gateway.address());
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    gateway.wait_for("the event drain", |line| line["event"] == "drain");
    gateway.signal(Signal::TERM);
    client.read_to_end().expect_err("no close_notify: it is cut");
    let _ = silent.read(&mut [0; 1]);
    drop((client, silent));
    let stopped = gateway.wait();
    assert_eq!(stopped.status, Some(4), "{}", stopped.event);
    assert_eq!(stopped.event["ended"], "stopped");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(stopped.connections().all(|record| record["close_reason"] == "stopped"));
    assert_eq!(stopped.connections().count(), 2);
    stopped.assert_nothing_left();
}

#[test]
fn under_load_a_drain_loses_no_connection_that_was_established() {
    let origin = Origin::echo();
    let gateway = Setup::to(origin.address()).start();
    let address = gateway.address();
    let (stop, served, lost) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (stop, served, lost) = (stop.clone(), served.clone(), lost.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    // Refused at connect(2) is what a drain is; whatever was connected counts.
                    let Ok(mut client) = ClientOptions::default().open(address) else { return };
                    let echoed = client.shake_hands().and_then(|()| {
                        client.try_send(b"hello")?;
                        let mut answer = [0; 5];
                        client.read_exact(&mut answer)
                    });
                    match echoed {
                        Ok(()) => served.fetch_add(1, Ordering::SeqCst),
                        Err(error) => {
                            eprintln!("lost: {error:?}");
                            lost.fetch_add(1, Ordering::SeqCst)
                        }
                    };
                    client.finish();
                    let _ = client.read_to_end();
                }
            })
        })
        .collect();
    wait_until("load", || served.load(Ordering::SeqCst) > 400);
    gateway.signal(Signal::TERM);
    let stopped = gateway.wait();
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    stopped.assert_clean();
    // The kernel resets what is still in its three-way handshake when the last listener closes;
    // such a client has a connection and the gateway never saw it.
    let lost = lost.load(Ordering::SeqCst);
    assert!(lost <= 1, "{lost} of {} connections were lost", served.load(Ordering::SeqCst));
    let unfinished =
        stopped.connections().filter(|record| record["close_reason"] != "finished").count();
    assert_eq!(unfinished, 0);
}

#[test]
fn idle_connections_end_and_busy_ones_do_not() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).listener("idle_timeout_ms = 600");
    let mut gateway = setup.start();
    let mut busy = Client::connect(gateway.address());
    let mut idle = Client::connect(gateway.address());
    let (busy_peer, idle_peer) = (busy.local_address(), idle.local_address());
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1800) {
        busy.echo(b"tick");
        std::thread::sleep(Duration::from_millis(50));
    }
    idle.read_to_end().expect_err("no close_notify: it was cut");
    let record = gateway.record_of(idle_peer);
    assert_eq!(record["close_reason"], "idle_timeout", "{record}");
    let total_us = record["total_us"].as_u64().expect("a number");
    assert!((590_000..1_800_000).contains(&total_us), "{record}");
    drop(idle);
    busy.end();
    assert_eq!(gateway.record_of(busy_peer)["close_reason"], "finished");
    gateway.terminate().assert_clean();
}

#[test]
fn a_connection_grows_no_older_than_configured() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).listener("connection_age_max_ms = 700");
    let mut gateway = setup.start();
    let mut client = Client::connect(gateway.address());
    let peer = client.local_address();
    let began = Instant::now();
    while client.try_send(b"tick").is_ok() && client.read_exact(&mut [0; 4]).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "it goes on for ever");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() >= Duration::from_millis(650), "{:?}", began.elapsed());
    drop(client);
    let record = gateway.record_of(peer);
    assert_eq!(record["close_reason"], "age_max", "{record}");
    gateway.terminate().assert_clean();
}

#[test]
fn a_full_disk_loses_log_lines_and_nothing_else() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).table("[log]\ntarget = \"/dev/full\"");
    let file = setup.write();
    let gateway = Gateway::spawn(&[], &["--config", &file.display().to_string()]);
    wait_until("the gateway", || TcpStream::connect(setup.address).is_ok());
    for _ in 0..10 {
        let mut client = Client::connect(setup.address);
        client.echo(b"hello");
        client.end();
    }
    let stopped = gateway.terminate();
    assert_eq!(stopped.status, Some(0));
    assert!(stopped.records.is_empty(), "the log went elsewhere: {:?}", stopped.records);
}

#[test]
fn lost_log_lines_are_counted_and_told_when_writing_works_again() {
    // A pipe fails while nobody reads it, and works again when somebody does.
    let pipe = temp_dir().join("log");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("coreutils are installed");
    assert!(made.success());
    let origin = Origin::echo();
    let target = format!("[log]\ntarget = {:?}", pipe.display().to_string());
    let setup = Setup::to(origin.address()).table(&target);
    let file = setup.write();
    let gateway = Gateway::spawn(&[], &["--config", &file.display().to_string()]);
    let open = || BufReader::new(std::fs::File::open(&pipe).expect("the pipe"));
    let next = |reader: &mut BufReader<std::fs::File>| -> serde_json::Value {
        let mut line = String::new();
        reader.read_line(&mut line).expect("text");
        serde_json::from_str(&line).expect("JSON")
    };
    let mut reader = open();
    assert_eq!(next(&mut reader)["event"], "start");
    drop(reader);
    let served = || {
        let mut client = Client::connect(setup.address);
        client.echo(b"hello");
        client.end();
    };
    for _ in 0..10 {
        served();
    }
    // Much longer than the log is written at; nothing shows that it failed until it works again.
    std::thread::sleep(Duration::from_millis(700));
    let mut reader = open();
    served();
    let told = next(&mut reader);
    assert_eq!(told["event"], "log_lost", "{told}");
    assert_eq!(told["lines"], 10, "{told}");
    assert_eq!(next(&mut reader)["event"], "connection");
    gateway.signal(Signal::TERM);
    let events: Vec<_> = std::iter::from_fn(|| {
        let event = next(&mut reader);
        (event["event"] != "stop").then_some(event.clone()).or_else(|| {
            assert_eq!(event["log_lines_lost"], 10, "{event}");
            None
        })
    })
    .collect();
    assert_eq!(events.len(), 1, "the event drain, and no more: {events:?}");
    assert_eq!(gateway.wait().status, Some(0));
}

#[test]
fn a_log_that_nobody_reads_delays_no_signal_however_fast_lines_come() {
    const CLIENTS: usize = 4;
    let setup = Setup::to("127.0.0.1:1").top("workers = 1");
    let file = setup.write();
    let (mut gateway, _unread) = Gateway::spawn_unread(&["--config", &file.display().to_string()]);
    wait_until("the gateway", || TcpStream::connect(setup.address).is_ok());
    let lines = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, lines) = (setup.address, Arc::clone(&lines));
            std::thread::spawn(move || {
                // Until the port is closed. A reset leaves no port of ours in TIME_WAIT.
                while let Ok(stream) = TcpStream::connect(address) {
                    reset(stream);
                    lines.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    // Many times what a pipe holds.
    wait_until("lines", || lines.load(Ordering::SeqCst) > 30000);
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    wait_until("the end", || gateway.status_if_ended().is_some());
    let took = began.elapsed();
    assert_eq!(gateway.status_if_ended(), Some(0));
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert!(took < Duration::from_secs(5), "{took:?} from SIGTERM to the end");
}

#[test]
fn a_log_file_has_every_event_of_a_life() {
    let origin = Origin::echo();
    let log = temp_dir().join("access.log");
    let setup = Setup::to(origin.address())
        .table(&format!("[log]\ntarget = {:?}", log.display().to_string()));
    let file = setup.write();
    let gateway = Gateway::spawn(&[], &["--config", &file.display().to_string()]);
    wait_until("the gateway", || log.exists() && TcpStream::connect(setup.address).is_ok());
    let mut client = Client::connect(setup.address);
    client.echo(b"hello");
    client.end();
    assert_eq!(gateway.terminate().status, Some(0));
    let text = std::fs::read_to_string(&log).expect("written");
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events[0]["event"], "start");
    let stop = events.last().expect("lines");
    assert_eq!(stop["event"], "stop");
    assert_eq!(stop["log_lines_lost"], 0);
    assert!(events.iter().any(|event| event["close_reason"] == "finished"));
}

#[test]
fn a_log_that_is_off_says_nothing() {
    let origin = Origin::echo();
    let setup = Setup::to(origin.address()).table("[log]\ntarget = \"off\"");
    let file = setup.write();
    let gateway = Gateway::spawn(&[], &["--config", &file.display().to_string()]);
    wait_until("the gateway", || TcpStream::connect(setup.address).is_ok());
    Client::connect(setup.address).echo(b"hello");
    let stopped = gateway.terminate();
    assert_eq!((stopped.status, stopped.records.len()), (Some(0), 0));
}

#[test]
fn a_cpu_that_may_not_be_used_is_refused_in_one_sentence() {
    let said = Setup::to("127.0.0.1:1").top("cpus = \"63\"").refused();
    assert!(said.contains("63"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn workers_stay_on_the_cpus_they_are_given() {
    let origin = Origin::echo();
    let one = Setup::to(origin.address()).under(&["taskset", "-c", "1"]).start();
    assert_eq!(one.start_event()["cpus"], serde_json::json!([1]));
    assert_eq!(one.process().cpus_of_threads("worker-"), ["1"]);
    let two = Setup::to(origin.address()).top("workers = 2\ncpus = \"0-1\"").start();
    assert_eq!(two.process().cpus_of_threads("worker-"), ["0", "1"]);
    let last = Setup::to(origin.address()).top("workers = 1\ncpus = \"1\"").start();
    assert_eq!(last.process().cpus_of_threads("worker-"), ["1"]);
    for gateway in [one, two, last] {
        let mut client = Client::connect(gateway.address());
        client.echo(b"hello");
        client.end();
        gateway.terminate().assert_clean();
    }
}

#[test]
fn a_taken_address_is_refused() {
    let origin = Origin::echo();
    let first = Setup::to(origin.address()).start();
    let said = Setup::to(origin.address()).at(first.address()).refused();
    assert!(said.contains(&first.address().to_string()), "{said}");
    first.terminate().assert_clean();
}
