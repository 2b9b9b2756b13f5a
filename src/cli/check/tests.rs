//! Tests of `check`: what it prints and what it returns.

use std::net::TcpListener;
use std::path::PathBuf;

use super::*;
use crate::config::kit;

struct Outcome {
    ok: bool,
    out: String,
    err: String,
}

fn check(name: &str, text: &str, running: bool) -> Outcome {
    let folder = std::env::temp_dir().join(format!("ringfort-check-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder of temporary files takes folders");
    for (path, bytes) in kit::files().0 {
        std::fs::write(folder.join(path), bytes).expect("the folder takes files");
    }
    let config: PathBuf = folder.join("r.toml");
    std::fs::write(&config, text).expect("the folder takes files");
    let run = RunArgs { config: Some(config), ..RunArgs::default() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let ok = report(&CheckArgs { run, running }, &mut out, &mut err).expect("memory takes all");
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    let text = |bytes| String::from_utf8(bytes).expect("messages are text");
    Outcome { ok, out: text(out), err: text(err) }
}

/// A listener that holds a port of loopback, and the configuration for the same address.
fn held() -> (TcpListener, String) {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("it is bound").to_string();
    (holder, kit::but(":8443", &address))
}

#[test]
fn a_right_configuration_is_one_line_on_standard_output() {
    let (holder, text) = held();
    let address = holder.local_addr().expect("it is bound");
    drop(holder);
    let text = text + "[limits]\nconnections_max = 10\n";
    let Outcome { ok, out, err } = check("right", &text, false);
    assert!(ok, "{err}");
    let summary =
        format!("ok: main {address} -> app; upstreams 1, endpoints 1, connections_max 10\n");
    assert_eq!(out, summary);
    assert!(err.lines().all(|line| line.starts_with("warning: ")), "{err}");
}

#[test]
fn every_problem_is_one_line_on_standard_error() {
    let text = kit::but("#", "keepalive_s = -1").replace("server.key", "other.key");
    let Outcome { ok, out, err } = check("wrong", &text, false);
    assert!(!ok);
    assert_eq!(out, "");
    assert_eq!(err.lines().count(), 2, "{err}");
    assert!(err.lines().all(|line| line.contains("; expected ") && line.contains("; fix: ")));
}

#[test]
fn an_address_in_use_is_refused_unless_the_gateway_runs() {
    let (_holder, text) = held();
    let Outcome { ok, out, err } = check("held", &text, false);
    assert!(!ok && out.is_empty());
    assert!(err.contains("cannot be bound: Address already in use"), "{err}");
    assert!(check("running", &text, true).ok);
}

#[test]
fn a_log_that_cannot_be_written_is_refused() {
    let text = kit::RIGHT.to_string() + "[log]\ntarget = \"/none/such/folder.log\"\n";
    let Outcome { ok, err, .. } = check("log", &text, true);
    assert!(!ok);
    assert!(err.contains("/none/such/folder.log: the log cannot be written"), "{err}");
}

#[test]
fn routes_are_listed_in_the_order_in_which_they_are_tried() {
    let (_holder, text) = held();
    let text = text.replace('#', "protocol = \"http\"")
        + "[[listener.route]]\nname = \"api\"\nhost = [\"a.test\"]\npath_prefix = \"/v1\"\n";
    let Outcome { ok, out, err } = check("routes", &text, true);
    assert!(ok, "{err}");
    let routes: Vec<&str> = out.lines().skip(1).collect();
    let expected =
        ["route main/api: host a.test, path /v1/* -> app", "route main/default: everything -> app"];
    assert_eq!(routes, expected);
}
