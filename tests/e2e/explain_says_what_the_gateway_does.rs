//! `ringfort explain` says of a client what a gateway with the same configuration does with it:
//! the verdict, the code, the detail of the log and the alert that the client sees.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use ringfort::cli::pki::{Authority, Names};
use ringfort::tls::names::alert_name;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::Value;

use crate::harness::pki::{SERVER_NAME, dns, profile, write_root};
use crate::harness::{ClientOptions, Credentials, Gateway, Origin, Setup, pki, temp_dir};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// One client and the configuration that it meets.
struct Case<'a> {
    /// `None`: it has no certificate.
    client: Option<&'a Credentials>,
    server_name: &'a str,
    /// Keys of the listener.
    keys: String,
    /// Tables of the listener.
    tables: String,
    /// `allowed`, a refusal, a denial, or `denied`.
    expected: &'a str,
}

impl<'a> Case<'a> {
    fn of(client: &'a Credentials, expected: &'a str) -> Self {
        let (keys, tables) = (String::new(), String::new());
        Self { client: Some(client), server_name: SERVER_NAME, keys, tables, expected }
    }

    fn none(expected: &'a str) -> Self {
        Self { client: None, ..Self::of(&pki().client, expected) }
    }

    fn keys(self, keys: impl Into<String>) -> Self {
        Self { keys: keys.into(), ..self }
    }

    fn tables(self, tables: impl Into<String>) -> Self {
        Self { tables: tables.into(), ..self }
    }

    fn asking_for(self, server_name: &'a str) -> Self {
        Self { server_name, ..self }
    }

    /// Holds `explain` against a gateway, in both versions of TLS.
    #[track_caller]
    fn check(self) {
        let origin = Origin::echo();
        let setup = Setup::to(origin.address()).listener(&self.keys).more(&self.tables);
        let file = setup.write();
        let mut gateway = Gateway::start(&[], &["--config", &file.display().to_string()]);
        let explained = self.explain(&file);
        let options = match self.client {
            Some(client) => ClientOptions::with(client),
            None => ClientOptions::anonymous(),
        };
        let options = options.server_name(self.server_name).any_server();
        for options in [options.clone().tls13(), options.tls12()] {
            let (record, seen) = self.visit(&mut gateway, &options);
            assert_same(&explained["verdict"], &record);
            assert_eq!(explained["verdict"]["alert"].as_str(), seen, "{explained:#}");
        }
        gateway.terminate().assert_clean();
    }

    /// What the gateway logs, and the alert that the client sees.
    fn visit(
        &self,
        gateway: &mut Gateway,
        options: &ClientOptions,
    ) -> (Value, Option<&'static str>) {
        if self.expected != "allowed" {
            let (peer, alert) = options.refused(gateway.address());
            return (gateway.record_of(peer), alert_name(u8::from(alert)));
        }
        let mut client = options.connect(gateway.address()).expect("it is let in");
        let peer = client.local_address();
        client.echo(b"hello");
        client.end();
        (gateway.record_of(peer), None)
    }

    /// The document of `explain`, of which the code is the expected one.
    #[track_caller]
    fn explain(&self, config: &Path) -> Value {
        let config = config.display().to_string();
        let client = match self.client {
            Some(client) => client.chain_file.display().to_string(),
            None => "--no-certificate".to_owned(),
        };
        let arguments = ["--config", &config, "--server-name", self.server_name, &client];
        let (status, text, _) = explain(&arguments);
        let (json_status, json, _) = explain(&[&arguments[..], &["--json"]].concat());
        let json: Value = serde_json::from_str(&json).expect("JSON");
        let verdict = &json["verdict"];
        assert_eq!(code(verdict), self.expected, "{json:#}");
        assert_eq!(status, i32::from(self.expected != "allowed"), "{text}");
        assert_eq!(json_status, status);
        let said = if status == 0 { "ALLOWED " } else { "REFUSED " };
        assert_eq!(text.lines().filter(|line| line.starts_with(said)).count(), 1, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert_decided_once(&json);
        json
    }
}

/// The code that a verdict comes down to.
fn code(verdict: &Value) -> &str {
    if verdict["allowed"] == true {
        return "allowed";
    }
    let code = verdict["refusal"].as_str().or(verdict["denied"].as_str());
    code.or(verdict["close_reason"].as_str()).expect("a reason")
}

/// The same outcome, by all that the log has of it.
#[track_caller]
fn assert_same(verdict: &Value, record: &Value) {
    if verdict["allowed"] == true {
        assert_eq!(record["close_reason"], "finished", "{verdict:#} {record}");
        return;
    }
    for field in ["close_reason", "refusal"] {
        assert_eq!(verdict[field], record[field], "{field}: {verdict:#} {record}");
    }
    // Of one that has expired it says how many seconds ago.
    let masked = |detail: &Value| -> String {
        let detail = detail.as_str().expect("a detail");
        detail.chars().filter(|c| !c.is_ascii_digit()).collect()
    };
    assert_eq!(masked(&verdict["detail"]), masked(&record["detail"]), "{verdict:#} {record}");
    if let Some(denied) = verdict["denied"].as_str() {
        assert!(record["detail"].as_str().is_some_and(|it| it.starts_with(denied)), "{record}");
    }
    for part in ["cause", "cure"] {
        assert!(verdict["page"][part].as_str().is_some_and(|text| text.len() > 8), "{verdict:#}");
    }
}

/// One check decides a refusal, those before it were made, and none after it was.
#[track_caller]
fn assert_decided_once(json: &Value) {
    let checks = json["checks"].as_array().expect("a list");
    let results: Vec<&str> =
        checks.iter().map(|check| check["result"].as_str().expect("a result")).collect();
    let refused = results.iter().position(|result| *result == "refused");
    assert_eq!(refused.is_none(), json["verdict"]["allowed"] == true, "{json:#}");
    let (made, after) = results.split_at(refused.unwrap_or(results.len()));
    assert!(made.iter().all(|result| matches!(*result, "ok" | "not_asked")), "{json:#}");
    assert!(after.iter().skip(1).all(|result| *result == "not_reached"), "{json:#}");
}

/// Runs `ringfort explain`: its status, what it printed, and its messages.
fn explain(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfort"))
        .arg("explain")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("no signal ends it"), text(output.stdout), text(output.stderr))
}

/// The key that names a list of the intermediate: of these, made so long ago, for so many days.
fn list(revoked: &[CertificateDer<'_>], age: Duration, days: u32) -> String {
    let made = SystemTime::now() - age;
    let list = pki().intermediate.revocation_list(revoked, made, days).expect("a list");
    let path: PathBuf = temp_dir().join("list.crl");
    std::fs::write(&path, list).expect("a temporary file");
    format!(
        "client_crl = {:?}\nclient_intermediates = {:?}\ncrl_check = \"leaf\"\n",
        path.display().to_string(),
        pki().client.issuers_file.display().to_string()
    )
}

fn spiffe(authority: &Authority, id: &str) -> Credentials {
    let names = Names { spiffe: Some(id.into()), ..Names::default() };
    authority.issue_client(&profile("workload"), &names).expect("a client").into()
}

#[test]
fn a_client_that_is_in_order() {
    Case::of(&pki().client, "allowed").check();
    Case::of(&pki().client, "allowed").keys(r#"allow = ["dns:client.test"]"#).check();
}

#[test]
fn a_client_whose_time_has_passed_or_not_come() {
    Case::of(&pki().client_valid(-600, -60), "expired").check();
    Case::of(&pki().client_valid(3600, 7200), "not_yet_valid").check();
}

#[test]
fn a_client_that_no_anchor_vouches_for() {
    let other = Authority::root(&profile("another root")).expect("a root");
    let client = other.issue_client(&profile("client"), &dns("client.test")).expect("a client");
    Case::of(&client.into(), "unknown_anchor").check();
    let forger = Authority::root(&profile("e2e root")).expect("a root");
    let client = forger.issue_client(&profile("client"), &dns("client.test")).expect("a client");
    Case::of(&client.into(), "bad_signature").check();
}

#[test]
fn a_client_for_another_purpose_and_a_chain_beyond_its_bound() {
    Case::of(&pki().server, "eku_lacks_client_auth").check();
    Case::of(&pki().client, "chain_too_long").keys("chain_certificates_max = 1").check();
    Case::of(&pki().client, "key_type_refused").keys(r#"client_key_types = ["rsa"]"#).check();
}

#[test]
fn a_client_that_was_revoked_or_whose_list_is_stale_or_missing() {
    let client = &pki().client;
    Case::of(client, "revoked").keys(list(&client.chain[..1], DAY, 7)).check();
    Case::of(client, "crl_stale").keys(list(&[], 3 * DAY, 1)).check();
    let grace = list(&[], 3 * DAY, 1) + "crl_stale = \"grace 7d\"";
    Case::of(client, "allowed").keys(grace).check();
    // The intermediate's own list is the root's, and there is none.
    let whole = list(&[], DAY, 7).replace("leaf", "chain");
    Case::of(client, "crl_missing").keys(whole.clone()).check();
    Case::of(client, "allowed").keys(whole + "crl_missing = \"accept\"").check();
}

#[test]
fn a_client_that_the_rules_deny() {
    let client = &pki().client;
    Case::of(client, "rule_denied").keys(r#"deny = ["dns:no.test", "dns:client.test"]"#).check();
    Case::of(client, "no_rule_matches").keys(r#"allow = ["dns:other.test"]"#).check();
}

#[test]
fn a_client_of_a_trust_domain_that_another_root_vouches_for() {
    let bound = Authority::root(&profile("bound root")).expect("a root");
    let tables = format!(
        "[[listener.trust_domain]]\nname = \"bound.test\"\nclient_ca = {:?}\n",
        write_root(&bound).display().to_string()
    );
    let id = "spiffe://bound.test/workload";
    Case::of(&spiffe(&bound, id), "allowed").tables(&tables).check();
    let client = spiffe(&pki().intermediate, id);
    Case::of(&client, "trust_domain_mismatch").tables(&tables).check();
    let client = spiffe(&bound, "spiffe://free.test/workload");
    Case::of(&client, "trust_domain_mismatch").tables(&tables).check();
}

/// A client with this name, of a root of its own, and the key that makes it an anchor.
fn named(common_name: &str, dns_name: &str) -> (Credentials, String) {
    let key = || rcgen::KeyPair::generate().expect("a key");
    let mut root = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    root.distinguished_name.push(rcgen::DnType::CommonName, "root of bad names");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_key = key();
    let root_pem = root.self_signed(&root_key).expect("a root").pem();
    let path = temp_dir().join("root.pem");
    std::fs::write(&path, root_pem).expect("a temporary file");
    let mut leaf = rcgen::CertificateParams::default();
    leaf.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let name = rcgen::SanType::DnsName(dns_name.try_into().expect("an IA5String"));
    leaf.subject_alt_names = vec![name];
    let leaf_key = key();
    let issuer = rcgen::Issuer::from_params(&root, &root_key);
    let leaf = leaf.signed_by(&leaf_key, &issuer).expect("a leaf").der().clone();
    let key = PrivatePkcs8KeyDer::from(leaf_key.serialize_der());
    let tables = format!(
        "[[listener.server_name]]\nnames = [\"names.test\"]\nclient_ca = {:?}\n",
        path.display().to_string()
    );
    (Credentials::new(vec![leaf], key), tables)
}

#[test]
fn a_client_whose_names_cannot_be_read() {
    let (client, tables) = named("client", "a..test");
    Case::of(&client, "denied").tables(tables).asking_for("names.test").check();
}

#[test]
fn names_that_would_steer_a_terminal_are_shown_harmlessly() {
    let (client, tables) = named("\u{1b}[2J\u{202e}\nREFUSED", "\u{1b}[2Jx\nALLOWED");
    let config = Setup::to("127.0.0.1:1").more(&tables).write().display().to_string();
    let chain = client.chain_file.display().to_string();
    let arguments = ["--config", &config, "--server-name", "names.test", &chain];
    for arguments in [arguments.to_vec(), [&arguments[..], &["--json"]].concat()] {
        let (status, out, err) = explain(&arguments);
        assert_eq!((status, err.as_str()), (1, ""), "{out}");
        assert!(out.contains("REFUSED") || out.contains("\"denied\""), "{out}");
        assert!(out.chars().all(|c| c == '\n' || matches!(c, ' '..='~')), "{out:?}");
        assert!(!out.lines().any(|line| line.starts_with("ALLOWED")), "{out}");
    }
}

#[test]
fn a_server_name_with_demands_of_its_own() {
    let tables = "[[listener.server_name]]\nnames = [\"strict.test\", \"*.strict.test\"]\n\
                  allow = [\"dns:admin.test\"]\n";
    let client = &pki().client;
    for (name, expected) in [
        ("strict.test", "no_rule_matches"),
        ("A.Strict.Test", "no_rule_matches"),
        ("a.b.strict.test", "allowed"),
        (SERVER_NAME, "allowed"),
    ] {
        Case::of(client, expected).tables(tables).asking_for(name).check();
    }
}

#[test]
fn a_client_without_a_certificate() {
    Case::none("certificate_missing").check();
    Case::none("allowed").keys("client_auth = \"optional\"").check();
    let rules = "client_auth = \"optional\"\nallow = [\"any\"]";
    Case::none("no_certificate").keys(rules).check();
}

#[test]
fn what_cannot_be_judged_is_a_message_and_status_two() {
    let config = Setup::to("127.0.0.1:1").write().display().to_string();
    let chain = pki().client.chain_file.display().to_string();
    let key = pki().client.key_file.display().to_string();
    let folder = temp_dir();
    let der = folder.join("client.der");
    std::fs::write(&der, &pki().client.chain[0]).expect("a temporary file");
    let der = der.display().to_string();
    let no_config = folder.join("none.toml").display().to_string();
    for (arguments, said) in [
        (vec!["--config", &config, &der], "openssl x509 -inform der"),
        (vec!["--config", &config, &key], "only PRIVATE KEY"),
        (vec!["--config", &config, "/nonexistent"], "cannot be read"),
        (vec!["--config", &config, "-"], "is empty"),
        (vec!["--config", &config, "--listener", "mian", &chain], "did you mean main"),
        (vec!["--config", &config, "--server-name", "a b", &chain], "no DNS name"),
        (vec!["--config", &config, "--at", "noon", &chain], "RFC 3339"),
        (vec!["--config", &no_config, &chain], "none.toml"),
        (vec!["--config", &config], "<CLIENT>"),
        (vec![&chain], "--config"),
    ] {
        let (status, out, err) = explain(&arguments);
        assert_eq!((status, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
}
