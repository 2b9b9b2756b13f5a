//! Servers and arguments that are not as they should be: each has a name and an exit status.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use crate::kit::{
    Done, Front, credentials, done, listener, loadgen, measure, openssl, origin, pki, python,
    scratch,
};

const FEW: &str = "--count 3 --connections 1 --workers 1";

fn fails(done: &Done, error: &str) {
    assert_eq!(done.status, 1, "{done:?}");
    assert_eq!(done.errors(), [error], "{done:?}");
    assert!(done.stderr.contains(error), "{done:?}");
}

#[test]
fn a_server_that_refuses_resets_closes_or_talks_nonsense_is_told_apart() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one");
    fails(&measure("handshake", nobody, FEW, &credentials()), "refused");
    let request = measure("request", nobody, &format!("{FEW} --proto tcp"), &credentials());
    fails(&request, "refused");
    let resets = listener(|socket| {
        let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    });
    fails(&measure("handshake", resets, FEW, &credentials()), "reset");
    let closes = listener(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
    });
    fails(&measure("handshake", closes, FEW, &credentials()), "closed handshake");
    let nonsense = listener(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = socket.read(&mut [0; 4096]);
    });
    fails(&measure("handshake", nonsense, FEW, &credentials()), "tls not what TLS allows here");
}

#[test]
fn a_server_that_stalls_times_out_in_the_phase_in_which_it_does() {
    let (sender, sockets) = std::sync::mpsc::channel();
    let stalls = listener(move |socket| sender.send(socket).expect("the test waits"));
    let done = measure("handshake", stalls, &format!("{FEW} --timeout 200ms"), &credentials());
    fails(&done, "timeout handshake");
    drop(sockets);
    let server = python(&["--stall", "30"]);
    let args = "--count 1 --connections 1 --timeout 500ms";
    fails(&measure("request", server.address, args, &credentials()), "timeout first_byte");
}

#[test]
fn a_certificate_that_is_not_good_is_refused_by_name() {
    let (cert, key) = (pki().path("server.pem"), pki().path("server.key"));
    let good = openssl(&["-cert", &cert, "-key", &key]);
    let other = ["--ca".to_owned(), pki().path("other.pem")];
    let done = measure("handshake", good.address, FEW, &other);
    fails(&done, "certificate of an unknown issuer");
    let args = format!("{FEW} --sni elsewhere.example");
    fails(
        &measure("handshake", good.address, &args, &credentials()),
        "certificate for another name",
    );
    let insecure = measure("handshake", good.address, FEW, &["--insecure".to_owned()]);
    assert_eq!((insecure.status, &insecure.report["insecure"]), (0, &true.into()), "{insecure:?}");
    let (cert, key) = (pki().path("expired.pem"), pki().path("expired.key"));
    let expired = openssl(&["-cert", &cert, "-key", &key]);
    fails(&measure("handshake", expired.address, FEW, &credentials()), "certificate expired");
}

#[test]
fn a_server_of_another_version_or_that_wants_a_certificate_says_so_by_its_alert() {
    let (cert, key, ca) =
        (pki().path("server.pem"), pki().path("server.key"), pki().path("ca.pem"));
    let old = openssl(&["-cert", &cert, "-key", &key, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    fails(&measure("handshake", old.address, FEW, &credentials()), "alert protocol_version");
    let wants = openssl(&["-cert", &cert, "-key", &key, "-CAfile", &ca, "-Verify", "1"]);
    let nobody = ["--ca".to_owned(), ca];
    fails(&measure("handshake", wants.address, FEW, &nobody), "alert certificate_required");
}

#[test]
fn an_answer_that_is_an_error_or_ends_early_is_a_failure() {
    let server = python(&[]);
    let status = measure("request", server.address, &format!("{FEW} --path /500"), &credentials());
    fails(&status, "status 500");
    let cut = measure("request", server.address, &format!("{FEW} --path /cut"), &credentials());
    fails(&cut, "closed total");
    let both = measure("request", server.address, &format!("{FEW} --path /both"), &credentials());
    fails(&both, "answer with a Content-Length and a Transfer-Encoding");
    // It answers with what it was sent, which is not five bytes.
    let args = "--proto http --direction down --size 7 --path / --count 3 --connections 1";
    let short = measure("bulk", server.address, args, &credentials());
    fails(&short, "answer with a shorter body than was asked for");
    let early = format!("{FEW} --path /early --size 8MiB");
    let early = measure("request", server.address, &early, &credentials());
    assert_eq!((early.status, early.count("operations")), (1, 0), "{early:?}");
}

#[test]
fn a_rate_that_cannot_be_made_fails_the_run_and_a_ramp_finds_one_that_can() {
    let echo = origin("echo");
    let front = Front::of(echo.address);
    let args = "--rate 1000000 --duration 1s --warmup 0s --connections 2";
    let done = measure("handshake", front.address, args, &credentials());
    assert_eq!(done.status, 1, "{done:?}");
    assert!(done.stderr.contains("1000000 operations per second were asked for"), "{done:?}");
    let args = "--proto tcp --ramp --rate 50 --step 300ms --latency-bound p90=200ms --warmup 0s";
    let done = measure("request", front.address, args, &credentials());
    assert_eq!(done.status, 0, "{done:?}");
    assert!(done.report["ramp"]["rate_per_s"].as_f64() >= Some(50.0), "{done:?}");
}

#[test]
fn a_run_that_is_interrupted_writes_what_it_has() {
    let echo = origin("echo");
    let front = Front::of(echo.address);
    let report = scratch("interrupted.json");
    let target = format!("localhost:{}", front.address.port());
    let mut child = loadgen(&["request", "--proto", "tcp", "--target", &target, "--json"])
        .arg(&report)
        .args(["--duration", "50s", "--warmup", "0s"])
        .args(credentials())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    front.wait_for_bytes();
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.expect("kill").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let text = std::fs::read_to_string(report).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["interrupted"], true);
    assert!(report["operations"].as_u64() > Some(0), "{text}");
}

#[test]
fn arguments_and_files_that_cannot_be_are_named_before_anything_is_measured() {
    let ca = pki().path("ca.pem");
    let good = ["handshake", "--target", "127.0.0.1:1", "--ca", &ca];
    let run = |more: &[&str]| done(&loadgen(&good).args(more).output().expect("it runs"));
    for (more, status, expected) in [
        (&["--resume", "2"][..], 2, "--resume: found 2, expected 0 to 1"),
        (&["--suite", "TLS_NONE"], 3, "--suite: \"TLS_NONE\""),
        (&["--cert", "missing.pem", "--key", "k"], 3, "missing.pem cannot be read"),
        (&["--cert", &ca, "--key", &ca], 3, "expected an unencrypted PEM key"),
        (&["--json", "/proc/no/file"], 3, "/proc/no/file"),
        (&["--watch-pid", "4194305", "--warmup", "0s"], 3, "4194305"),
        (&["--cpus", "4000"], 3, "4000"),
    ] {
        let done = run(more);
        assert_eq!(done.status, status, "{more:?}: {done:?}");
        assert!(done.stderr.contains(expected), "{more:?}: {}", done.stderr);
    }
}
