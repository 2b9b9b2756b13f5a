//! How long a worker is held up while who is connected is judged again.
//!
//! `cargo bench --bench leases` runs it: a gateway with one worker in this process, on the first
//! CPU; its clients and its origin in two more, on the last. All clients are idle but one, the
//! prober, which does round trips all the time. Then a list of revocation that names some of the
//! clients is published, several times over: the longest round trip meanwhile is shown beside that
//! of the same time without a change, and the time until the last of the revoked clients was gone.
//! Last a list of a million others is loaded and published beside the same traffic.
//!
//! A connection takes two descriptors of the gateway: with a file limit of 20,000 it holds 9,500.
//! Wall-clock times of a busy machine hold its scheduler too: compare with the row above.

mod clients;
mod origin;
mod pki;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pki::{GROUPS, Pki};
use ringfort::config::model;
use ringfort::config::snapshot::Snapshot;
use ringfort::control::load::{load_model, raise_fd_limit};
use ringfort::control::supervisor::Gateway;
use ringfort::error::CloseKind;

/// Clients that stay.
const KEPT: usize = 8_500;
/// Clients that one list more revokes.
const REVOKED_EACH: usize = 200;
/// How long the prober looks, with and without a change.
const LOOK: Duration = Duration::from_secs(2);
/// Others that the big list has.
const OTHERS: u64 = 1_000_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, "clients", gateway, folder] => {
            clients::run(gateway.parse().expect("an address"), folder)
        }
        [_, "origin"] => origin::run(),
        _ => measure(),
    }
}

fn measure() {
    let pki = Pki::issue();
    // A file of a million entries takes a moment to sign.
    pki.write_list("others.pem", GROUPS, OTHERS);
    let mut origin = Helper::start(&["origin"]);
    let origin_address = origin.line();
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a free port");
    let mut gateway = {
        pki.write_list("list.pem", 0, 0);
        Gateway::start(snapshot(&pki, address, &origin_address, "list.pem")).expect("it starts")
    };
    let folder = pki.folder.display().to_string();
    let mut clients = Helper::start(&["clients", &address.to_string(), &folder]);
    for group in 0..=GROUPS {
        let count = if group == GROUPS { KEPT } else { REVOKED_EACH };
        assert_eq!(clients.ask(&format!("open {group} {count}")), "done");
    }
    assert_eq!(clients.ask("probe"), "done");
    println!("{} connections, {KEPT} of them to stay", gateway.counters().sockets_live / 2);
    for group in 0..GROUPS {
        look(&mut clients, "no change");
        pki.write_list("list.pem", group + 1, 0);
        let next = snapshot(&pki, address, &origin_address, "list.pem");
        clients.tell(&format!("watch {group}"));
        thread::sleep(Duration::from_millis(50));
        clients.ask("worst");
        let published = Instant::now();
        gateway.publish(next);
        assert_eq!(clients.line(), "gone");
        let gone = published.elapsed();
        look(&mut clients, &format!("{REVOKED_EACH} revoked, gone after {gone:.1?}"));
    }
    look(&mut clients, "no change");
    let began = Instant::now();
    let next = snapshot(&pki, address, &origin_address, "others.pem");
    let loaded = began.elapsed();
    gateway.publish(next);
    look(&mut clients, &format!("a list of {OTHERS} loaded in {loaded:.1?} and published"));
    assert_eq!(clients.ask(&format!("alive {GROUPS}")), KEPT.to_string());
    drop(clients);
    gateway.cut_off(CloseKind::Stopped);
    assert!(gateway.join().is_empty());
}

/// What the prober has seen since it was asked last, after [`LOOK`].
fn look(clients: &mut Helper, what: &str) {
    thread::sleep(LOOK);
    println!("{:<28} {what}", clients.ask("worst"));
}

fn snapshot(pki: &Pki, address: SocketAddr, origin: &str, list: &str) -> Snapshot {
    raise_fd_limit();
    let text = format!(
        "workers = 1\n[log]\ntarget = \"off\"\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"{origin}\"]\n\
         [[listener]]\nname = \"main\"\naddress = \"{address}\"\nupstream = \"origin\"\n\
         client_ca = \"root.pem\"\nclient_crl = \"{list}\"\nallow = [\"any\"]\n\
         [[listener.certificate]]\nchain = \"server.pem\"\nkey = \"server.key\"\n"
    );
    let mut model = model::parse(&text, "leases.toml").expect("a right configuration");
    model.folder.clone_from(&pki.folder);
    load_model(&model).expect("right files").snapshot
}

/// This program in another process, which does what it is told line by line.
struct Helper {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Helper {
    fn start(args: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let input = child.stdin.take();
        Self { child, input, output }
    }

    fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("open until the end");
        writeln!(input, "{line}").expect("it reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it writes");
        assert!(!line.is_empty(), "it has ended");
        line.trim_end().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.line()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
