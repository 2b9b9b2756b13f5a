//! The simulation: many seeds, each one run of the whole gateway (docs/simulation.md).

use ringfort::sim::run::run;

#[test]
fn smoke() {
    let from: u64 = std::env::var("FROM").map_or(1, |t| t.parse().unwrap());
    let n: u64 = std::env::var("SEEDS").map_or(20, |t| t.parse().unwrap());
    let mut failed = 0;
    for seed in from..from + n {
        let t = std::time::Instant::now();
        let outcome = run(seed, None, std::env::var("KEEP").map_or(60, |t| t.parse().unwrap()));
        {
            let r = &outcome.report;
            println!(
                "{seed}: {:?} events {} hash {:x} virtual {:?} clients {} served {} steps",
                t.elapsed(),
                r.trace.events(),
                r.trace.hash(),
                r.elapsed,
                r.clients,
                r.served
            );
        }
        if let Some(f) = outcome.describe() {
            println!("{}", f);
            failed += 1;
            if n > 1 && failed > 2 {
                break;
            }
        }
    }
    assert_eq!(failed, 0);
}
