//! Whatever a server does, `ringfort probe` ends in time, keeps little, says what happened, and
//! prints nothing that could steer a terminal.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};

use crate::harness::pki;
use crate::harness::probe::{Probed, presenting, probe, probe_any, read_to_end, serve, serve_tls};

/// Far longer than any of these takes, and far shorter than a probe that hangs.
const IN_TIME: Duration = Duration::from_secs(20);
/// Much more than any report has.
const REPORT_BYTES_MAX: usize = 512 * 1024;

#[track_caller]
fn failed(address: SocketAddr, arguments: &[&str]) -> Value {
    let (probed, json) = probe(address, arguments);
    assert_eq!((probed.status, &json["result"]), (1, &json!("failed")), "{json:#}");
    assert_bounded(&probed);
    let text = probe_any(&[&[&address.to_string()[..]], arguments].concat());
    assert_eq!(text.status, 1, "{}", text.out);
    assert!(text.out.contains("FAILED: "), "{}", text.out);
    assert_bounded(&text);
    json["failure"].clone()
}

#[track_caller]
fn assert_bounded(probed: &Probed) {
    assert!(probed.took < IN_TIME, "{:?}", probed.took);
    assert!(probed.out.len() < REPORT_BYTES_MAX, "{} bytes", probed.out.len());
    probed.assert_harmless();
}

fn read_hello(socket: &mut TcpStream) {
    let mut header = [0; 5];
    socket.read_exact(&mut header).expect("a ClientHello");
    let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
    socket.read_exact(&mut hello).expect("a ClientHello");
}

fn reset(socket: &TcpStream) {
    SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("a socket");
}

/// A chain as it is, whatever it is.
fn config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> ServerConfig {
    ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("the key fits")
}

fn usual() -> ServerConfig {
    config(pki().server.chain.clone(), pki().server.private_key())
}

#[test]
fn a_server_that_says_nothing_or_little_is_left_in_time() {
    let silent = serve(read_to_end);
    let failure = failed(silent, &["--timeout-ms", "300"]);
    assert_eq!(failure["kind"], "timeout", "{failure:#}");

    // One byte of a record each time, so that something always comes.
    let slow = serve(|mut socket| {
        let bytes = [&[22, 3, 3, 64, 0][..], &[0; 4096]].concat();
        for byte in bytes {
            if socket.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let failure = failed(slow, &["--timeout-ms", "300"]);
    assert_eq!(failure["kind"], "timeout", "{failure:#}");
}

#[test]
fn what_is_not_tls_is_named() {
    for (answer, kind, said) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "not_tls", "plain HTTP"),
        (b"<!DOCTYPE HTML>", "not_tls", "plain HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not_tls", "SSH"),
        (b"\x1b[2J\x1b]0;owned\x07", "not_tls", "does not answer in TLS"),
        (&[0xff; 4096], "not_tls", "does not answer in TLS"),
        // A ServerHello of random bytes.
        (&[22, 3, 3, 0, 8, 2, 0, 0, 4, 9, 9, 9, 9], "tls", "not well-formed"),
        // Application data before any key.
        (&[23, 3, 3, 0, 3, 1, 2, 3], "tls", ""),
    ] {
        let address = serve(move |mut socket| {
            read_hello(&mut socket);
            let _ = socket.write_all(answer);
            read_to_end(socket);
        });
        let failure = failed(address, &[]);
        assert_eq!(failure["kind"], kind, "{failure:#}");
        assert!(failure["text"].as_str().expect("text").contains(said), "{failure:#}");
    }
}

#[test]
fn a_close_a_reset_and_a_port_where_nobody_listens_are_told_apart() {
    let closes = serve(|mut socket| read_hello(&mut socket));
    let failure = failed(closes, &[]);
    assert_eq!((&failure["kind"], &failure["phase"]), (&json!("closed"), &json!("handshake")));

    let resets = serve(|mut socket| {
        read_hello(&mut socket);
        reset(&socket);
    });
    let failure = failed(resets, &[]);
    assert_eq!((&failure["kind"], &failure["phase"]), (&json!("io"), &json!("handshake")));

    // Bound and never listening: nobody else can come to listen there.
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    held.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    let nobody = held.local_addr().expect("bound").as_socket().expect("IPv4");
    let failure = failed(nobody, &[]);
    assert_eq!((&failure["kind"], &failure["phase"]), (&json!("connect"), &json!("connect")));
    assert!(failure["text"].as_str().expect("text").contains(&nobody.to_string()));

    let probed = probe_any(&["no.such.name.invalid:443", "--json"]);
    assert_eq!((probed.status, &probed.json()["failure"]["kind"]), (1, &json!("resolve")));
}

#[test]
fn an_alert_of_any_number_is_a_refusal() {
    for number in [40_u8, 70, 112, 255] {
        let address = serve(move |mut socket| {
            read_hello(&mut socket);
            let _ = socket.write_all(&[21, 3, 3, 0, 2, 2, number]);
            read_to_end(socket);
        });
        let (probed, json) = probe(address, &[]);
        assert_eq!(probed.status, 1, "{json:#}");
        assert_eq!(json["result"], "refused", "{json:#}");
        assert_eq!(json["failure"]["alert"]["number"], number, "{json:#}");
        assert_eq!(json["failure"]["alert"]["name"].is_null(), number == 255, "{json:#}");
    }
}

#[test]
fn a_server_that_ends_after_the_client_s_finished_has_let_it_in_or_not() {
    let demanding = || {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(pki().roots());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let verifier = verifier.allow_unauthenticated().build().expect("a root is given");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_single_cert(pki().server.chain.clone(), pki().server.private_key())
            .expect("the key fits");
        config.send_tls13_tickets = 0;
        config
    };
    type Stream = StreamOwned<ServerConnection, TcpStream>;
    let reset_at_once = |stream: Stream| reset(&stream.sock);
    let close_at_once = |stream: Stream| drop(stream);
    let answer_and_close = |mut stream: Stream| {
        let _ = stream.write_all(b"welcome");
        let _ = stream.flush();
        let _ = stream.sock.shutdown(std::net::Shutdown::Write);
        read_to_end(stream.sock);
    };
    let notify = |mut stream: Stream| {
        stream.conn.send_close_notify();
        let _ = stream.flush();
        read_to_end(stream.sock);
    };
    // Whoever asked for a certificate and then ends without a word may have refused.
    let failure = failed(serve_tls(demanding, reset_at_once), &[]);
    assert_eq!((&failure["kind"], &failure["phase"]), (&json!("io"), &json!("after_handshake")));
    let failure = failed(serve_tls(demanding, close_at_once), &[]);
    assert_eq!(failure["phase"], "after_handshake", "{failure:#}");
    for address in [
        serve_tls(demanding, answer_and_close),
        serve_tls(demanding, notify),
        serve_tls(usual, close_at_once),
        serve_tls(usual, notify),
    ] {
        let (probed, json) = probe(address, &[]);
        assert_eq!(probed.status, 0, "{json:#}");
        assert!(json["note"].is_string(), "{json:#}");
    }
}

#[test]
fn endless_tickets_and_endless_data_are_cut_off() {
    let tickets = serve_tls(
        || {
            let mut config = usual();
            config.ticketer = aws_lc_rs::Ticketer::new().expect("random numbers");
            config.send_tls13_tickets = 20_000;
            config
        },
        read_to_end,
    );
    let (probed, json) = probe(tickets, &[]);
    assert_eq!(
        json["note"].as_str().map(|note| note.contains("did not stop")),
        Some(true),
        "{json:#}"
    );
    assert!(json["timeline_cut"].as_u64().expect("a number") > 100, "{json:#}");
    assert_eq!(json["timeline"].as_array().map(Vec::len), Some(64));
    assert_bounded(&probed);

    let data = serve_tls(usual, |mut stream| while stream.write_all(&[b'x'; 16_384]).is_ok() {});
    let (probed, json) = probe(data, &[]);
    assert_eq!(json["note"].as_str().map(|note| note.contains("unasked")), Some(true), "{json:#}");
    assert_bounded(&probed);

    // A trickle without an end.
    let trickle = serve_tls(usual, |mut stream| {
        while stream.write_all(b"x").and_then(|()| stream.flush()).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let (probed, json) = probe(trickle, &["--timeout-ms", "1500"]);
    assert_eq!(json["result"], "done", "{json:#}");
    assert_bounded(&probed);
}

#[test]
fn the_time_given_is_for_all_of_it_together() {
    // A handshake that takes most of the time, and then a trickle without an end.
    let slow = serve_tls(
        || {
            std::thread::sleep(Duration::from_millis(2500));
            usual()
        },
        |mut stream| {
            while stream.write_all(b"x").and_then(|()| stream.flush()).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        },
    );
    let (probed, json) = probe(slow, &["--timeout-ms", "3000"]);
    assert_eq!(json["result"], "done", "{json:#}");
    // Each step on its own would have let it have 5.5 s.
    assert!(probed.took < Duration::from_millis(4500), "{:?}", probed.took);
}

fn self_signed(common_name: &str, names: usize) -> (CertificateDer<'static>, KeyPair) {
    let names: Vec<String> = (0..names).map(|index| format!("{index}.many.test")).collect();
    let mut params = CertificateParams::new(names).expect("DNS names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    let key = KeyPair::generate().expect("a key");
    (params.self_signed(&key).expect("self-signed").der().clone(), key)
}

#[test]
fn long_chains_and_long_lists_of_names_are_cut_and_counted() {
    let (leaf, key) = self_signed("many", 500);
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS #8");
    let (other, _) = self_signed("other", 0);
    let mut chain = vec![leaf];
    chain.resize(40, other);
    let served = config(chain.clone(), key.clone_key());
    let (probed, json) = probe(serve_tls(move || served.clone(), read_to_end), &[]);
    assert_eq!(json["chain"]["presented"], 40, "{json:#}");
    assert_eq!(json["chain"]["certificates"].as_array().map(Vec::len), Some(16));
    let leaf = &json["chain"]["certificates"][0];
    assert_eq!(
        (leaf["names"].as_array().map(Vec::len), &leaf["names_cut"]),
        (Some(64), &json!(true))
    );
    assert_bounded(&probed);

    // More than a handshake message may have.
    chain.resize(400, chain[1].clone());
    let served = config(chain, key);
    let failure = failed(serve_tls(move || served.clone(), read_to_end), &[]);
    assert_eq!(failure["phase"], "handshake", "{failure:#}");
}

/// What clears a screen, in seven bits and in eight, sets a title, and turns the direction of
/// writing.
const STEERING: &str = "evil\u{1b}[2J\u{9b}2J\u{1b}]0;owned\u{7}\u{202e}gnp\u{2066}\n\rroot";

#[test]
fn names_that_could_steer_a_terminal_do_not() {
    let (leaf, key) = self_signed(STEERING, 1);
    let mut roots = RootCertStore::empty();
    roots.add(leaf.clone()).expect("a root");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS #8");
    let served = move || {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(roots.clone());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the default versions")
            .with_client_cert_verifier(verifier.build().expect("a root is given"))
            .with_single_cert(vec![leaf.clone()], key.clone_key())
            .expect("the key fits")
    };
    let address = serve_tls(served, read_to_end);
    let root = pki().root_file.display().to_string();
    let presented = presenting(&pki().client);
    let presented = presented.each_ref().map(String::as_str);
    for arguments in [&["--ca", &root][..], &[], &presented] {
        let (probed, json) = probe(address, arguments);
        assert_bounded(&probed);
        // The document has the name as it is.
        let subject = json["chain"]["certificates"][0]["subject"].as_str().expect("a name");
        assert!(subject.contains("\u{9b}2J") && subject.contains('\u{202e}'), "{subject:?}");
        let authority = json["client_certificate"]["authorities"][0].as_str().expect("a name");
        assert!(authority.contains("\u{1b}[2J"), "{authority:?}");
        let text = probe_any(&[&[&address.to_string()[..]], arguments].concat());
        assert_bounded(&text);
        assert!(text.out.contains("evil?[2J?2J"), "{}", text.out);
    }
}
