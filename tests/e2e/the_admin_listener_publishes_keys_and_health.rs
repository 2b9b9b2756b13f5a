//! The admin listener: the key set of signed identities, health, and what it does with others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::reload::{assert_failed, assert_published, next_reload, put, start};
use crate::harness::{Client, Origin, PATIENCE, Setup, free_local, temp_dir, wait_until};

/// Runs curl; its standard output.
fn curl(arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments);
    let output = curl.output().expect("curl is installed");
    assert!(output.status.success(), "curl {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

/// The `x` of each key, the newest first.
fn keys(address: SocketAddr) -> Vec<String> {
    let set = curl(&[&url(address, "/.well-known/jwks.json")]);
    let set: Value = serde_json::from_str(&set).expect("JSON");
    let keys = set["keys"].as_array().expect("a list");
    for key in keys {
        assert_eq!((&key["kty"], &key["crv"]), (&"OKP".into(), &"Ed25519".into()));
        assert_eq!((&key["alg"], &key["use"]), (&"EdDSA".into(), &"sig".into()));
        assert!(key["d"].is_null(), "the private key: {set}");
    }
    keys.iter().map(|key| key["x"].as_str().expect("a key").to_owned()).collect()
}

/// Makes a key by OpenSSL; its public part, as a key set has it.
fn make_key(file: &Path) -> String {
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("it is installed");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let file = file.display().to_string();
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &file]);
    let spki = openssl(&["pkey", "-in", &file, "-pubout", "-outform", "DER"]);
    base64url(&spki[spki.len() - 32..])
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn with_admin(origin: &Origin, address: SocketAddr) -> Setup {
    Setup::to(origin.address()).table(&format!("[admin]\naddress = \"{address}\""))
}

#[test]
fn the_key_of_a_file_is_published_and_stays_when_another_takes_its_place() {
    let origin = Origin::echo();
    let (address, folder) = (free_local(), temp_dir());
    let (key, new) = (folder.join("identity.key"), folder.join("new.key"));
    let (first, second) = (make_key(&key), make_key(&new));
    let table = format!("[identity]\nkey = {:?}", key.display().to_string());
    let (mut gateway, _) = start(&with_admin(&origin, address).table(&table));
    assert_eq!(keys(address), std::slice::from_ref(&first));
    put(&new, &key);
    assert_published(&next_reload(&mut gateway), 2);
    assert_eq!(keys(address), [second, first]);
}

#[test]
fn requests_are_answered_by_path_and_method() {
    let origin = Origin::echo();
    let address = free_local();
    let _gateway = with_admin(&origin, address).start();
    assert_eq!(keys(address).len(), 1, "a key of the process");
    let head = curl(&["--head", &url(address, "/.well-known/jwks.json")]).to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    for field in ["content-type: application/jwk-set+json", "cache-control: public, max-age=300"] {
        assert!(head.contains(field), "{head}");
    }
    assert_eq!(curl(&[&url(address, "/healthz")]), "ok\n");
    let not_found = curl(&["--include", &url(address, "/metrics")]);
    assert!(not_found.starts_with("HTTP/1.1 404"), "{not_found}");
    let refused = curl(&["--include", "--data", "x", &url(address, "/healthz")]).to_lowercase();
    assert!(
        refused.starts_with("http/1.1 405") && refused.contains("allow: get, head"),
        "{refused}"
    );
}

#[test]
fn it_says_that_the_gateway_drains() {
    let origin = Origin::echo();
    let address = free_local();
    let mut gateway = with_admin(&origin, address).start();
    let mut client = Client::connect(gateway.address());
    client.echo(b"before");
    gateway.signal(Signal::TERM);
    wait_until("503", || {
        curl(&["--include", &url(address, "/healthz")]).starts_with("HTTP/1.1 503")
    });
    client.echo(b"while it drains");
    assert_eq!(keys(address).len(), 1);
    client.end();
    gateway.wait_for("the end", |line| line["event"] == "stop");
}

#[test]
fn slow_clients_keep_nobody_out() {
    let origin = Origin::echo();
    let address = free_local();
    let gateway = with_admin(&origin, address).start();
    let mut slow: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("it listens");
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ").expect("room");
            stream
        })
        .collect();
    let mut client = Client::connect(gateway.address());
    client.echo(b"as if nothing were");
    client.end();
    let began = Instant::now();
    assert_eq!(curl(&[&url(address, "/healthz")]), "ok\n");
    // A head may take 2 s: nobody has waited for that of another.
    assert!(began.elapsed() < Duration::from_millis(1900), "{:?}", began.elapsed());
    for stream in &mut slow {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        // Closed, with or without an answer; a reset is as good.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let mut large = TcpStream::connect(address).expect("it listens");
    let head = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    // It may be refused, and the connection reset, before all of it is sent.
    let _ = large.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = large.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"), "{answer:?}");
}

#[test]
fn an_address_that_is_taken_is_refused_at_start_and_another_one_at_a_reload() {
    let origin = Origin::echo();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    let said = with_admin(&origin, address).refused();
    let expected = format!("{address} cannot be bound");
    assert!(said.contains(&expected) && said.contains("ss -ltnp"), "{said}");
    drop(taken);

    let (first, second) = (free_local(), free_local());
    let setup = with_admin(&origin, first);
    let (mut gateway, file) = start(&setup);
    with_admin(&origin, second).at(setup.address).write_to(&file);
    let event = next_reload(&mut gateway);
    assert_failed(&event, 1, &format!("admin.address is {second} now"));
    assert_eq!(curl(&[&url(first, "/healthz")]), "ok\n");
}
