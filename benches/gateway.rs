//! What the gateway costs: CPU time per full handshake, per round trip, per request of HTTP and per
//! byte, and memory per idle connection, beside the floors and nginx in the same run.
//!
//! `cargo bench --bench gateway` runs it; words behind `--` choose: `http` is all of HTTP. The
//! gateway has one worker on the first CPU; clients and origin share the last one, so wall-clock
//! figures mean nothing. Cost is the time that the kernel's scheduler charged to the threads of the
//! serving process (`/proc/PID/task/*/schedstat`). Rounds of all subjects are interleaved and the
//! median is shown, because the machine's state drifts.

mod kit;

use kit::floor_mode::Mode;
use kit::load::{self, Load};
use kit::subject::{Nginx, Ringfort, Subject};
use kit::{Pki, floor, median, probe};

const ROUNDS: usize = 5;
const HANDSHAKES: u64 = 500;
const BULK_BYTES: u64 = 512 * 1024 * 1024;
const IDLE_CONNECTIONS: u64 = 4000;
const MIB: u64 = 1024 * 1024;
const LOADS: [Load; 11] = [
    Load::Handshake(HANDSHAKES),
    Load::RoundTrip { connections: 64, count: 100_000 },
    Load::Down { connections: 1, bytes: BULK_BYTES },
    Load::Down { connections: 8, bytes: BULK_BYTES },
    Load::Up { connections: 1, bytes: BULK_BYTES },
    Load::Up { connections: 8, bytes: BULK_BYTES },
    Load::Request { connections: 64, count: 100_000 },
    Load::Bodies { connections: 8, body: MIB, bytes: BULK_BYTES, up: false },
    Load::Bodies { connections: 8, body: MIB, bytes: BULK_BYTES, up: true },
    Load::Bodies { connections: 2, body: 64 * MIB, bytes: BULK_BYTES, up: false },
    Load::Bodies { connections: 2, body: 64 * MIB, bytes: BULK_BYTES, up: true },
];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, floor::SERVE, address, folder, mode, upstream @ ..] if upstream.len() <= 1 => {
            let mode = Mode::of(mode).expect("one of new, seen, cache, tickets");
            return floor::serve(address, folder, mode, upstream.first().copied());
        }
        [_, probe::PRINT] => return println!("{}", probe::cache_line_ns()),
        _ => {}
    }
    let only: Vec<&String> = args[1..].iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |what: &str| only.is_empty() || only.iter().any(|name| what.contains(*name));
    let pki = Pki::issue();
    println!("latency of a cache line between the CPUs: {} ns", probe::cache_line_ns());
    kit::pin_to_last_cpu();
    println!("a full handshake of rustls in memory: {:.1} us", floor::handshake_us(&pki));
    let origin = load::Origin::start();
    let floor = floor::Blocking::start(&pki);
    let ringfort = Ringfort::start(&pki, &origin);
    let nginx = Nginx::start(&pki, &origin);
    for load in LOADS.iter().filter(|load| !load.is_http() && is_wanted(&load.to_string())) {
        let subjects: &[&dyn Subject] = match load {
            Load::Handshake(_) => &[&floor, &ringfort, &nginx],
            _ => &[&ringfort, &nginx],
        };
        compare(load, subjects, &origin, &pki);
    }
    if is_wanted("idle connections") {
        for subject in [&ringfort as &dyn Subject, &nginx] {
            let before = subject.resident_bytes();
            let held = load::hold(subject.address(), &pki, IDLE_CONNECTIONS);
            let each = (subject.resident_bytes() - before) / IDLE_CONNECTIONS;
            println!("{:<32} {:<10} {each} B resident each", "idle connections", subject.name());
            drop(held);
        }
    }
    println!("ringfort's own counters: {}", ringfort.stop());
    let http: Vec<&Load> =
        LOADS.iter().filter(|load| load.is_http() && is_wanted(&load.to_string())).collect();
    if !http.is_empty() {
        compare_http(&http, &origin, &pki);
    }
}

/// In HTTP, with the relay of bytes as the floor.
fn compare_http(loads: &[&Load], origin: &load::Origin, pki: &Pki) {
    let ringfort = Ringfort::start_http(pki, origin);
    let relay = Ringfort::start_relay(pki, origin);
    let nginx = Nginx::start_http(pki, origin);
    for load in loads {
        compare(load, &[&relay, &ringfort, &nginx], origin, pki);
    }
    relay.end();
    ringfort.end();
}

fn compare(load: &Load, subjects: &[&dyn Subject], origin: &load::Origin, pki: &Pki) {
    let mut costs = vec![Vec::new(); subjects.len()];
    for _ in 0..ROUNDS {
        for (subject, costs) in subjects.iter().zip(&mut costs) {
            let before = subject.cpu_ns();
            let operations = load.run(subject.address(), origin, pki);
            costs.push((subject.cpu_ns() - before) as f64 / operations as f64);
        }
    }
    for (subject, costs) in subjects.iter().zip(costs) {
        let spread = kit::spread(&costs);
        println!("{load:<32} {:<10} {} +-{spread:.0} %", subject.name(), load.show(median(costs)));
    }
}
