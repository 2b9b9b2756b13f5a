//! SIGHUP loads at once, whether or not a file changed, and opens the log anew for who rotates it.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::reload::{Folder, another_server, assert_published, next_reload, shown};
use crate::harness::{Client, ClientOptions, Gateway, Origin, Setup, temp_dir, wait_until};

#[test]
fn without_a_change_it_says_so_and_publishes_nothing() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    let mut live = Client::connect(gateway.address());
    live.echo(b"before");
    for _ in 0..2 {
        gateway.signal(Signal::HUP);
        let event = next_reload(&mut gateway);
        assert_eq!(event["event"], "reload", "{event}");
        assert_eq!((&event["published"], &event["epoch"]), (&false.into(), &1.into()), "{event}");
        assert_eq!((&event["cause"], &event["files"]), (&"signal".into(), &Value::Array(vec![])));
    }
    live.echo(b"after");
    live.end();
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.event["reloads"], 0, "{}", stopped.event);
}

#[test]
fn it_does_not_wait_for_the_next_look() {
    let (first, second) = (another_server(), another_server());
    let folder = Folder::with(&first);
    let origin = Origin::echo();
    let mut gateway = folder.setup(&origin).start();
    folder.put_key(&second);
    folder.put_chain(&second);
    gateway.signal(Signal::HUP);
    let event = next_reload(&mut gateway);
    assert_published(&event, 2);
    assert_eq!(event["cause"], "signal", "{event}");
    assert_eq!(shown(gateway.address()), second.chain[0]);
    gateway.terminate().assert_clean();
}

#[test]
fn a_log_that_was_renamed_is_opened_anew() {
    let folder = temp_dir();
    let (log, rotated) = (folder.join("access.log"), folder.join("access.log.1"));
    let origin = Origin::echo();
    let setup = Setup::to(origin.address());
    let setup = setup.table(&format!("[log]\ntarget = {:?}", log.display().to_string()));
    let file = setup.write().display().to_string();
    let gateway = Gateway::spawn(&[], &["--config", &file]);
    let lines = |path: &std::path::Path| -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("whole lines")).collect()
    };
    let has =
        |path: &std::path::Path, event: &str| lines(path).iter().any(|line| line["event"] == event);
    wait_until("the event start", || has(&log, "start"));
    let visit = || {
        let mut client = Client::connect(setup.address);
        client.echo(b"hello");
        client.end();
    };
    visit();
    wait_until("the first record", || has(&log, "connection"));
    std::fs::rename(&log, &rotated).expect("ours");
    gateway.signal(Signal::HUP);
    wait_until("the new file", || has(&log, "reload"));
    visit();
    wait_until("the second record", || has(&log, "connection"));
    gateway.terminate();
    assert!(has(&log, "stop"));
    let events = |path| lines(path).iter().map(|line| line["event"].clone()).collect::<Vec<_>>();
    assert_eq!(events(&rotated), ["start", "connection"]);
    assert_eq!(events(&log), ["reload", "connection", "drain", "stop"]);
}

#[test]
fn it_does_not_end_a_drain() {
    let origin = Origin::echo();
    let mut gateway = Setup::to(origin.address()).start();
    let mut live = Client::connect(gateway.address());
    live.echo(b"before");
    gateway.signal(Signal::TERM);
    gateway.wait_for("the event drain", |line| line["event"] == "drain");
    gateway.signal(Signal::HUP);
    // Long enough for several looks at the signals.
    std::thread::sleep(Duration::from_millis(200));
    live.echo(b"after");
    live.end();
    gateway.wait().assert_clean();
}

/// Reloads that the storm makes.
const RELOADS: u64 = 200;

#[test]
fn two_hundred_reloads_lose_no_connection() {
    let servers = [another_server(), another_server()];
    let folder = Folder::with(&servers[0]);
    let origin = Origin::echo();
    let mut gateway = folder.setup(&origin).start();
    let address = gateway.address();
    let mut live: Vec<Client> = (0..8).map(|_| Client::connect(address)).collect();
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served) = (stop.clone(), served.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let mut client = ClientOptions::default().connect(address).expect("let in");
                    client.send(b"hello");
                    client.read_exact(&mut [0; 5]).expect("an echo");
                    client.end();
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let began = Instant::now();
    for number in 1..=RELOADS {
        let server = &servers[number as usize % 2];
        folder.put_key(server);
        folder.put_chain(server);
        gateway.signal(Signal::HUP);
        let event = next_reload(&mut gateway);
        assert_published(&event, number + 1);
        live[number as usize % 8].echo(&number.to_le_bytes());
    }
    let took = began.elapsed();
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("no connection was lost"));
    live.into_iter().for_each(Client::end);
    assert!(served.load(Ordering::SeqCst) > RELOADS, "there was load");
    assert!(took < Duration::from_secs(100), "{took:?}");
    let stopped = gateway.terminate();
    stopped.assert_clean();
    assert_eq!(stopped.event["reloads"], RELOADS, "{}", stopped.event);
    assert!(stopped.connections().all(|record| record["close_reason"] == "finished"));
}
