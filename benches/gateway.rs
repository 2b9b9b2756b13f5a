//! What the gateway costs: CPU time per full handshake, per round trip and per byte, and memory
//! per idle connection, beside the floors and nginx in the same run.
//!
//! `cargo bench --bench gateway` runs it. The gateway has one worker on the first CPU; clients and
//! origin share the last one, so wall-clock figures mean nothing. Cost is the time that the
//! kernel's scheduler charged to the threads of the serving process (`/proc/PID/task/*/schedstat`).
//! Rounds of all subjects are interleaved and the median is shown, because the machine's state
//! drifts.

mod kit;

use kit::load::{self, Load};
use kit::subject::{Nginx, Ringfort, Subject};
use kit::{Pki, floor, median, probe};

const ROUNDS: usize = 5;
const HANDSHAKES: u64 = 500;
const ROUND_TRIPS: u64 = 100_000;
const BULK_BYTES: u64 = 512 * 1024 * 1024;
const IDLE_CONNECTIONS: u64 = 1000;

fn main() {
    let pki = Pki::issue();
    let latency_ns = probe::cache_line_ns();
    kit::pin_to_last_cpu();
    let origin = load::Origin::start();
    let mut subjects: Vec<Box<dyn Subject>> =
        vec![Box::new(Ringfort::start(&pki, &origin)), Box::new(Nginx::start(&pki, &origin))];
    let loads = [
        Load::Handshake(HANDSHAKES),
        Load::RoundTrip { connections: 64, count: ROUND_TRIPS },
        Load::Down { connections: 1, bytes: BULK_BYTES },
        Load::Down { connections: 8, bytes: BULK_BYTES },
        Load::Up { connections: 1, bytes: BULK_BYTES },
        Load::Up { connections: 8, bytes: BULK_BYTES },
    ];
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("latency between the CPUs: {} ns, at the start", latency_ns);
    println!(
        "floor, a full handshake of rustls without sockets: {:.1} us",
        floor::handshake_us(&pki)
    );
    for load in &loads {
        if !only.is_empty() && !only.iter().any(|name| load.to_string().contains(name.as_str())) {
            continue;
        }
        let mut costs = vec![Vec::new(); subjects.len()];
        for _ in 0..ROUNDS {
            for (subject, costs) in subjects.iter_mut().zip(&mut costs) {
                let before = subject.cpu_ns();
                let operations = load.run(subject.address(), &origin, &pki);
                costs.push((subject.cpu_ns() - before) as f64 / operations as f64);
            }
        }
        for (subject, costs) in subjects.iter().zip(costs) {
            println!("{load:<32} {:<10} {}", subject.name(), load.show(median(costs)));
        }
    }
    if only.is_empty() {
        for subject in &mut subjects {
            let before = subject.resident_bytes();
            let held = load::hold(subject.address(), &pki, IDLE_CONNECTIONS);
            let each = (subject.resident_bytes() - before) / IDLE_CONNECTIONS;
            println!("{:<32} {:<10} {each} B resident each", "idle connections", subject.name());
            drop(held);
        }
    }
}
