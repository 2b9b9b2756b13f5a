//! `ringfort probe` tells of servers of several makes what they are known to do.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::process::Command;
use std::sync::Arc;

use ringfort::cli::pki::{Authority, KeyChoice};
use rustls::crypto::aws_lc_rs;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use serde_json::{Value, json};

use crate::harness::pki::{SERVER_NAME, profile, write_root};
use crate::harness::probe::{TlsServer, presenting, probe, probe_any, read_to_end, serve_tls};
use crate::harness::{Origin, Setup, free_address, pki, temp_dir};

fn root() -> String {
    pki().root_file.display().to_string()
}

/// The SHA-256 of a certificate, as openssl has it.
fn fingerprint(file: &std::path::Path) -> String {
    let arguments = ["x509", "-noout", "-fingerprint", "-sha256", "-in"];
    let output = Command::new("openssl").args(arguments).arg(file).output().expect("openssl");
    let text = String::from_utf8(output.stdout).expect("text");
    let (_, hex) = text.trim().split_once('=').expect("a fingerprint");
    hex.replace(':', "").to_lowercase()
}

/// What a client that sees this timeline saw of a kind of message.
fn count(json: &Value, lane: &str, what: &str) -> usize {
    let lines = json["timeline"].as_array().expect("a list");
    lines.iter().filter(|line| line["lane"] == lane && line["what"] == what).count()
}

#[test]
fn what_openssl_agrees_on_is_told_with_its_chain_and_its_resumption() {
    for (version, shown, suite) in [
        ("-tls1_3", "TLS 1.3", "TLS_AES_128_GCM_SHA256"),
        ("-tls1_2", "TLS 1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ] {
        let server = TlsServer::openssl(&[version, "-alpn", "h2,http/1.1", "-groups", "P-256"]);
        let arguments = ["--ca", &root(), "--sni", SERVER_NAME, "--alpn", "spdy,http/1.1"];
        let (probed, json) = probe(server.address, &arguments);
        assert_eq!(probed.status, 0, "{json:#}");
        assert_eq!(
            json["negotiated"],
            json!({"version": shown, "suite": suite, "group": "secp256r1", "alpn": "http/1.1"})
        );
        assert_eq!(json["address"], server.address.to_string());
        assert_eq!(json["verification"], json!({"status": "verified", "reason": null}));
        assert_eq!(json["client_certificate"]["requested"], false, "{json:#}");
        assert_eq!(json["resumption"]["result"], "by_ticket", "{json:#}");
        assert_eq!(json["resumption"]["lifetime_s"], 7200, "{json:#}");
        let chain = &json["chain"];
        assert_eq!(chain["presented"], 2, "{json:#}");
        let [leaf, issuer] = [0, 1].map(|index| &chain["certificates"][index]);
        assert_eq!(leaf["subject"], "CN=gateway");
        assert_eq!(leaf["issuer"], "CN=e2e intermediate");
        assert_eq!(issuer["subject"], "CN=e2e intermediate");
        assert_eq!(issuer["issuer"], "CN=e2e root");
        let names = ["DNS:gateway.test", "DNS:localhost", "IP:127.0.0.1", "IP:::1"];
        assert_eq!(leaf["names"], json!(names));
        assert_eq!((&leaf["key"], &leaf["in_date"]), (&json!("P-256"), &json!(true)));
        // Of ten days, those that are left whole.
        assert_eq!(leaf["days_left"], 9, "{leaf:#}");
        assert_eq!(leaf["sha256"], fingerprint(&pki().server.leaf_file));
        assert_eq!(count(&json, "to_client", "Certificate"), 1);
        assert_eq!(count(&json, "to_server", "Finished"), 1);
        probed.assert_harmless();
    }
}

#[test]
fn each_way_to_resume_is_told_from_the_others() {
    for (arguments, expected) in [
        (&["-tls1_3", "-no_ticket"][..], "by_ticket"),
        (&["-tls1_3", "-num_tickets", "0"], "none_offered"),
        (&["-tls1_2"], "by_ticket"),
        (&["-tls1_2", "-no_ticket"], "by_session_id"),
        (&["-tls1_2", "-no_ticket", "-no_cache"], "none_offered"),
    ] {
        let server = TlsServer::openssl(arguments);
        let (_, json) = probe(server.address, &[]);
        assert_eq!(json["resumption"]["result"], expected, "{arguments:?}: {json:#}");
        let tickets = json["resumption"]["tickets"].as_u64().expect("a number");
        assert_eq!(tickets > 0, expected == "by_ticket", "{arguments:?}: {json:#}");
    }
}

fn rustls_server(roots: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = &pki().server;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("all versions");
    let builder = match roots {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.certificate().clone()).expect("a root");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a root is given"))
        }
    };
    let config = builder.with_single_cert(server.chain.clone(), server.private_key());
    config.expect("the key fits")
}

#[test]
fn tickets_that_a_server_forgets_are_declined() {
    for version in ["1.2", "1.3"] {
        // Each connection has keys of its own for tickets.
        let address = serve_tls(
            || {
                let mut config = rustls_server(None);
                config.ticketer = aws_lc_rs::Ticketer::new().expect("random numbers");
                config
            },
            read_to_end,
        );
        let (_, json) = probe(address, &["--tls", version]);
        assert_eq!(json["negotiated"]["version"], format!("TLS {version}"));
        assert_eq!(json["resumption"]["result"], "declined", "{version}: {json:#}");
    }
}

#[test]
fn a_server_that_requires_a_certificate_names_its_authorities_and_refuses_without() {
    for (version, alert, phase) in
        [("-tls1_3", 116, "after_handshake"), ("-tls1_2", 40, "handshake")]
    {
        let server = TlsServer::openssl(&[version, "-Verify", "3", "-verify_return_error"]);
        let (probed, json) = probe(server.address, &[]);
        assert_eq!(probed.status, 1);
        assert_eq!(json["result"], "refused", "{json:#}");
        assert_eq!(json["failure"]["alert"]["number"], alert, "{json:#}");
        assert_eq!(json["failure"]["phase"], phase, "{json:#}");
        let meaning = json["failure"]["alert"]["meaning"].as_str().expect("a text");
        assert!(meaning.contains("client certificate"), "{meaning}");
        let asked = &json["client_certificate"];
        assert_eq!(asked["requested"], true, "{json:#}");
        assert_eq!(asked["authorities"], json!(["CN=e2e root"]), "{json:#}");
        assert_eq!((&asked["given"], &asked["presented"]), (&json!(false), &json!(false)));
        // What came before the refusal is told all the same.
        assert_eq!(json["chain"]["presented"], 2, "{json:#}");
        assert_eq!(json["resumption"]["result"], "not_tried", "{json:#}");

        let presenting = presenting(&pki().client);
        let (probed, json) = probe(server.address, &presenting.each_ref().map(String::as_str));
        assert_eq!(probed.status, 0, "{json:#}");
        assert_eq!(json["client_certificate"]["presented"], true, "{json:#}");
        assert_eq!(json["resumption"]["result"], "by_ticket", "{json:#}");
    }
}

#[test]
fn a_certificate_that_is_only_asked_for_is_no_reason_to_refuse() {
    let server = TlsServer::openssl(&["-tls1_3", "-verify", "3"]);
    let (probed, json) = probe(server.address, &[]);
    assert_eq!(probed.status, 0, "{json:#}");
    assert_eq!(json["client_certificate"]["requested"], true, "{json:#}");
}

#[test]
fn a_chain_that_does_not_verify_is_told_and_the_probe_goes_on() {
    let server = TlsServer::openssl(&[]);
    let other = Authority::root(&profile("another root")).expect("a root");
    let other = write_root(&other).display().to_string();
    let root = root();
    for (arguments, status, reason) in [
        (&["--ca", &root, "--sni", "other.test"][..], "failed", "name"),
        (&["--ca", &other], "failed", "UnknownIssuer"),
        (&[], "not_verified", "--ca"),
    ] {
        let (probed, json) = probe(server.address, arguments);
        assert_eq!(probed.status, 0, "{json:#}");
        assert_eq!(json["verification"]["status"], status, "{json:#}");
        let why = json["verification"]["reason"].as_str().expect("a reason");
        assert!(why.contains(reason), "{why}");
        assert_eq!(json["chain"]["presented"], 2, "{json:#}");
    }
}

#[test]
fn a_certificate_that_has_ended_is_told_with_its_date() {
    let expired = pki().client_valid(-3 * 86_400, -86_400 - 3_600);
    let address = serve_tls(
        move || {
            let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .expect("the default versions")
                .with_no_client_auth();
            let key = expired.private_key();
            config.with_single_cert(expired.chain.clone(), key).expect("the key fits")
        },
        read_to_end,
    );
    let (_, json) = probe(address, &["--ca", &root()]);
    let leaf = &json["chain"]["certificates"][0];
    assert_eq!((&leaf["days_left"], &leaf["in_date"]), (&json!(-2), &json!(false)), "{json:#}");
    assert_eq!(json["verification"]["status"], "failed", "{json:#}");
    let text = probe_any(&[&address.to_string()]).out;
    assert!(text.contains("EXPIRED"), "{text}");
}

#[test]
fn the_gateway_itself_is_told_as_its_log_has_it() {
    let origin = Origin::echo();
    let denied = pki().client_named("other.test");
    let setup = Setup::to(origin.address()).listener("allow = [\"dns:client.test\"]");
    let mut gateway = setup.start();
    let presenting = [presenting(&pki().client), presenting(&denied)];
    let [good, denied] = presenting.each_ref().map(|options| options.each_ref());
    let good = good.map(String::as_str);
    let denied = denied.map(String::as_str);
    for version in ["1.3", "1.2"] {
        let (probed, json) =
            probe(gateway.address(), &[&good[..], &["--tls", version, "--ca", &root()]].concat());
        assert_eq!(probed.status, 0, "{json:#}");
        assert_eq!(json["verification"]["status"], "verified", "{json:#}");
        assert_eq!(json["negotiated"]["version"], format!("TLS {version}"));
        let record = gateway.wait_for_record(|record| record["close_reason"] == "finished");
        assert_eq!(record["suite"], json["negotiated"]["suite"], "{record:#}");
        assert_eq!(record["group"], json["negotiated"]["group"], "{record:#}");

        let (probed, json) = probe(gateway.address(), &[&denied[..], &["--tls", version]].concat());
        assert_eq!((probed.status, &json["result"]), (1, &json!("refused")), "{json:#}");
        assert_eq!(json["failure"]["phase"], "after_handshake", "{json:#}");
        assert_eq!(json["failure"]["alert"]["name"], "access_denied", "{json:#}");
        gateway.wait_for_record(|record| record["close_reason"] == "denied");
    }
    let (probed, json) = probe(gateway.address(), &[]);
    assert_eq!(probed.status, 1);
    assert_eq!(json["failure"]["alert"]["name"], "certificate_required", "{json:#}");
    gateway.terminate().assert_clean();
}

#[test]
fn python_s_tls_is_told_with_and_without_certificates() {
    let server = TlsServer::python("none", &["http/1.1"]);
    let (_, json) = probe(server.address, &["--ca", &root(), "--alpn", "h2,http/1.1"]);
    assert_eq!(json["negotiated"]["alpn"], "http/1.1", "{json:#}");
    assert_eq!(json["verification"]["status"], "verified", "{json:#}");
    assert_eq!(json["client_certificate"]["requested"], false, "{json:#}");
    assert_eq!(json["resumption"]["result"], "by_ticket", "{json:#}");

    let server = TlsServer::python("required", &[]);
    let (_, json) = probe(server.address, &[]);
    assert_eq!(json["failure"]["alert"]["name"], "certificate_required", "{json:#}");
    let presenting = presenting(&pki().client);
    let (_, json) = probe(server.address, &presenting.each_ref().map(String::as_str));
    assert_eq!(json["result"], "done", "{json:#}");
}

#[test]
fn a_refusal_is_named_with_what_it_means() {
    let mut config = rustls_server(None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let address = serve_tls(move || config.clone(), read_to_end);
    let (_, json) = probe(address, &["--alpn", "http/1.1"]);
    assert_eq!(json["failure"]["alert"]["name"], "no_application_protocol", "{json:#}");
    let other = Authority::root(&profile("another root")).expect("a root");
    let address = serve_tls(move || rustls_server(Some(&other)), read_to_end);
    let presenting = presenting(&pki().client);
    let (_, json) = probe(address, &presenting.each_ref().map(String::as_str));
    assert_eq!(json["failure"]["alert"]["name"], "unknown_ca", "{json:#}");
    assert_eq!(json["client_certificate"]["authorities"], json!(["CN=another root"]));
}

#[test]
fn a_key_that_the_server_takes_no_signature_of_is_not_presented() {
    let server = TlsServer::openssl(&["-Verify", "3", "-client_sigalgs", "RSA-PSS+SHA256"]);
    let client = pki().client_with_key(KeyChoice::P256);
    let presenting = presenting(&client);
    let (_, json) = probe(server.address, &presenting.each_ref().map(String::as_str));
    let asked = &json["client_certificate"];
    assert_eq!((&asked["given"], &asked["presented"]), (&json!(true), &json!(false)), "{json:#}");
    assert_eq!(json["failure"]["alert"]["name"], "certificate_required", "{json:#}");
}

#[test]
fn names_and_addresses_of_both_families_are_connected_to() {
    let origin = Origin::echo();
    let gateway = Setup::to(origin.address()).at(free_address(Ipv6Addr::LOCALHOST.into())).start();
    let presenting = presenting(&pki().client);
    let (_, json) = probe(gateway.address(), &presenting.each_ref().map(String::as_str));
    assert_eq!(json["result"], "done", "{json:#}");
    assert_eq!((&json["sni_sent"], &json["server_name"]), (&json!(false), &json!("::1")));

    let server = TlsServer::openssl(&[]);
    let target = format!("localhost:{}", server.address.port());
    let text = probe_any(&[&target, "--ca", &root()]);
    assert_eq!(text.status, 0, "{}", text.out);
    for line in
        ["result              handshake done", "SNI                 localhost", "verified, for loc"]
    {
        assert!(text.out.contains(line), "{line}: {}", text.out);
    }
    assert!(text.out.contains("server -> client   ServerHello"), "{}", text.out);
    assert!(text.out.lines().all(|line| line.chars().count() <= 100), "{}", text.out);
    text.assert_harmless();
}

#[test]
fn arguments_that_are_wrong_are_a_status_of_their_own() {
    let client = &pki().client;
    let [cert, key] = [&client.chain_file, &client.key_file].map(|path| path.display().to_string());
    let other_key = pki().server.key_file.display().to_string();
    let target = "127.0.0.1:1";
    for (arguments, said) in [
        (&[][..], "HOST:PORT"),
        (&["localhost"], "the port is missing"),
        (&["::1:443"], "in brackets"),
        (&[target, "--tls", "1.1"], "1.2"),
        (&[target, "--timeout-ms", "0"], "timeout-ms"),
        (&[target, "--cert", &cert], "--key"),
        (&[target, "--cert", &cert, "--key", &cert], "key"),
        (&[target, "--cert", &cert, "--key", &other_key], "key"),
        (&[target, "--cert", "/nowhere", "--key", &key], "/nowhere"),
        (&[target, "--ca", &key], "found none"),
        (&[target, "--sni", "127.0.0.1"], "SNI"),
        (&[target, "--alpn", "h2,,h3"], "--alpn"),
    ] {
        let probed = probe_any(arguments);
        assert_eq!(probed.status, 2, "{arguments:?}: {}{}", probed.out, probed.err);
        assert!(probed.err.contains(said), "{arguments:?}: {}", probed.err);
        assert_eq!(probed.out, "", "{arguments:?}");
    }
}

#[test]
fn a_key_too_weak_to_verify_a_signature_with_is_not_taken_for_a_bad_chain() {
    let dir = temp_dir();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.join(name).display().to_string());
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak"])
        .args(["-out", &cert, "-keyout", &key])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    let arguments = ["-cert", &cert, "-key", &key, "-cipher", "ALL:@SECLEVEL=0"];
    let server = TlsServer::openssl_of(&arguments);
    let (_, json) = probe(server.address, &[]);
    let said = json["failure"]["text"].as_str().expect("a text");
    assert!(said.contains("signature"), "{said}");
    assert_eq!(json["chain"]["certificates"][0]["key"], "RSA 1024", "{json:#}");
}

/// The paths of all fields of a document, as docs/probe.md writes them.
fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if prefix.is_empty() { "" } else { "." };
                paths(value, &format!("{prefix}{dot}{name}"), found);
            }
        }
        Value::Array(values) if values.iter().all(Value::is_object) && !values.is_empty() => {
            values.iter().for_each(|value| paths(value, &format!("{prefix}[]"), found));
        }
        _ => {
            found.insert(prefix.to_owned());
        }
    }
}

#[test]
fn the_page_explains_every_field_of_the_document_and_no_other() {
    let server = TlsServer::openssl(&["-Verify", "3", "-verify_return_error"]);
    let (_, json) = probe(server.address, &[]);
    let mut written = BTreeSet::new();
    paths(&json, "", &mut written);
    // An address that takes no connection is not to be had by a name everywhere.
    assert!(written.remove("attempts"), "{json:#}");
    written.extend(["attempts[].address", "attempts[].error"].map(String::from));
    written.insert("failure".into());
    written.insert("failure.alert".into());

    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/probe.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let (_, section) = page.split_once("## The document").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let listed: BTreeSet<String> = cells
        .flat_map(|cell| cell.split('`').step_by(2).collect::<Vec<_>>())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, written);
}
