//! Servers that do what they should: what is asked for is made, and counted right.

use crate::kit::{Front, credentials, loadgen, measure, openssl, origin, pki, python, scratch};

#[test]
fn handshakes_are_counted_and_all_are_full_where_none_is_to_be_resumed() {
    let echo = origin("echo");
    let front = Front::of(echo.address);
    let args = "--count 40 --connections 4 --workers 1 --exchange 128 --group X25519";
    let done = measure("handshake", front.address, args, &credentials());
    assert_eq!(done.status, 0, "{done:?}");
    assert_eq!(done.count("operations"), 40);
    assert_eq!((done.count("bytes_sent"), done.count("bytes_received")), (5120, 5120));
    let (handshakes, tls) = (&done.report["handshakes"], &done.report["tls"]);
    assert_eq!((&handshakes["full"], &handshakes["resumed"]), (&40.into(), &0.into()));
    assert_eq!((&tls["version"], &tls["group"]), (&"TLS 1.3".into(), &"x25519".into()));
    for phase in ["connect", "handshake", "first_byte", "total"] {
        assert_eq!(done.report["phases"][phase]["count"], 40, "{phase}");
    }
}

#[test]
fn the_share_that_is_asked_for_resumes_with_a_server_that_gives_tickets() {
    let (cert, key) = (pki().path("server.pem"), pki().path("server.key"));
    for version in ["-tls1_3", "-tls1_2"] {
        let server = openssl(&["-cert", &cert, "-key", &key, version]);
        for (share, least, most) in [("1", 0.9, 1.0), ("0.5", 0.45, 0.55), ("0", 0.0, 0.0)] {
            let args = format!("--count 60 --connections 1 --resume {share}");
            let done = measure("handshake", server.address, &args, &credentials());
            assert_eq!(done.status, 0, "{done:?}");
            let resumed = done.report["handshakes"]["resumed_share"].as_f64().expect("a share");
            assert!((least..=most).contains(&resumed), "{version} {share}: {resumed}");
        }
    }
}

#[test]
fn a_share_that_does_not_resume_fails_the_run() {
    let echo = origin("echo");
    let front = Front::of(echo.address);
    let done = measure(
        "handshake",
        front.address,
        "--count 20 --connections 1 --resume 1",
        &credentials(),
    );
    assert_eq!(done.status, 1, "{done:?}");
    assert!(done.stderr.contains("a resumed share of 1 was asked for, 0.000"), "{done:?}");
}

#[test]
fn requests_are_made_on_kept_connections_in_every_framing() {
    let server = python(&[]);
    for args in ["--path /", "--path /chunked", "--size 10KiB", "--tls 1.2"] {
        let args = format!("{args} --count 30 --connections 2 --workers 1");
        let done = measure("request", server.address, &args, &credentials());
        assert_eq!((done.status, done.count("operations")), (0, 30), "{done:?}");
        assert_eq!(done.report["handshakes"]["full"], 2, "connections are kept: {done:?}");
    }
}

#[test]
fn bytes_are_carried_every_way() {
    for (service, direction, sent, received) in
        [("chargen", "down", 0, 20), ("discard", "up", 20, 0), ("echo", "both", 20, 20)]
    {
        let service = origin(service);
        let front = Front::of(service.address);
        let args = format!("--direction {direction} --size 1MiB --count 20 --connections 2");
        let done = measure("bulk", front.address, &args, &credentials());
        assert_eq!((done.status, done.count("operations")), (0, 20), "{direction}: {done:?}");
        assert_eq!(done.count("bytes_sent"), sent << 20, "{direction}");
        assert!(done.count("bytes_received") >= received << 20, "{direction}: {done:?}");
    }
}

#[test]
fn idle_connections_are_held_and_mixed_load_does_everything() {
    let echo = origin("echo");
    let front = Front::of(echo.address);
    let args = "--connections 200 --duration 1s --source 127.0.0.2-127.0.0.4";
    let done = measure("idle", front.address, args, &credentials());
    assert_eq!((done.status, done.count("operations")), (0, 200), "{done:?}");
    let args = "--proto tcp --size 64 --connections 10 --duration 1s --warmup 0s";
    let done = measure("mixed", front.address, args, &credentials());
    assert_eq!(done.status, 0, "{done:?}");
    assert!(done.report["handshakes"]["full"].as_u64() > Some(10), "handshakes: {done:?}");
}

#[test]
fn minted_identities_differ_and_are_let_in() {
    let echo = origin("echo");
    let front = Front::of(echo.address);
    let (ca, key) = (pki().path("ca.pem"), pki().path("ca.key"));
    let args = ["--ca", &ca, "--identities", "5", "--identity-ca", &ca, "--identity-ca-key", &key];
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let done = measure("handshake", front.address, "--count 20", &args);
    assert_eq!((done.status, done.count("operations")), (0, 20), "{done:?}");
}

#[test]
fn latency_counts_from_the_intended_start_so_a_stall_is_seen_by_all_that_wait() {
    let server = python(&["--stall", "1"]);
    let args = "--rate 50 --count 50 --connections 1 --workers 1";
    let done = measure("request", server.address, args, &credentials());
    let (total, first) = (&done.report["phases"]["total"], &done.report["phases"]["first_byte"]);
    // One request stalled for a second; 49 were due meanwhile. Each took no time by itself.
    let median = |phase: &serde_json::Value| phase["p50_us"].as_f64().expect("a percentile");
    assert!(median(total) > 200_000.0, "{done:?}");
    assert!(median(first) < 100_000.0, "{done:?}");
}

#[test]
fn the_cpu_of_a_watched_process_is_told_per_operation() {
    let echo = origin("echo");
    let front = Front::of(echo.address);
    let args = format!("--proto tcp --duration 1s --watch-pid {}", echo.pid());
    let done = measure("request", front.address, &args, &credentials());
    let cost = done.report["server_cpu"]["cpu_us_per_op"].as_f64().expect("a cost");
    assert!(cost > 0.0 && cost < 10_000.0, "{done:?}");
}

#[test]
fn logs_of_two_runs_merge_into_one_report() {
    let echo = origin("echo");
    let front = Front::of(echo.address);
    let logs = [scratch("one.hdr"), scratch("two.hdr")];
    for log in &logs {
        let args = format!("--count 15 --hdr {}", log.display());
        assert_eq!(measure("handshake", front.address, &args, &credentials()).status, 0);
    }
    let [one, two] = logs.map(|log| log.display().to_string());
    let output = loadgen(&["merge", &one, &two, "--json", "-"]).output().expect("it runs");
    let merged = crate::kit::done(&output);
    assert_eq!((merged.status, merged.count("operations")), (0, 30), "{merged:?}");
    assert_eq!(merged.report["phases"]["total"]["count"], 30);
}

#[test]
fn bodies_of_http_are_carried_both_ways() {
    let server = python(&[]);
    // A body of the echo that was not zeros, or shorter, would fail.
    let args = "--proto http --direction both --size 64KiB --count 6 --connections 2";
    let done = measure("bulk", server.address, args, &credentials());
    assert_eq!((done.status, done.count("operations")), (0, 6), "{done:?}");
    assert!(done.count("bytes_sent") > 6 << 16 && done.count("bytes_received") > 6 << 16);
    assert_eq!((done.count("requests"), done.count("streams")), (6, 1));
    assert_eq!(done.report["protocol"], "HTTP/1.1");
}

#[test]
fn what_is_offered_is_what_is_asked_for_and_secrets_are_logged_on_demand() {
    let (cert, key) = (pki().path("server.pem"), pki().path("server.key"));
    let server = openssl(&["-cert", &cert, "-key", &key, "-alpn", "other,http/1.1"]);
    let log = scratch("secrets.log");
    let args = format!(
        "--count 2 --connections 1 --tls 1.3 --suite TLS_CHACHA20_POLY1305_SHA256 \
         --group secp384r1 --alpn http/1.1 --key-log {}",
        log.display()
    );
    let done = measure("handshake", server.address, &args, &credentials());
    assert_eq!(done.status, 0, "{done:?}");
    let tls = &done.report["tls"];
    assert_eq!(tls["suite"], "TLS_CHACHA20_POLY1305_SHA256");
    assert_eq!((&tls["group"], &tls["alpn"]), (&"secp384r1".into(), &"http/1.1".into()));
    let secrets = std::fs::read_to_string(log).expect("a key log");
    assert_eq!(secrets.matches("CLIENT_TRAFFIC_SECRET_0 ").count(), 2, "{secrets}");
}
