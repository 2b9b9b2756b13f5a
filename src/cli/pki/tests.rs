//! The command line end to end, with `openssl` as the independent judge of what it wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Parser;

use super::*;
use crate::identity::Identity;
use crate::tls::provider::{Backend, provider};
use crate::trust::crl::{Issuer, RevocationList, Serial};
use rustls::pki_types::CertificateRevocationListDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    pki: PkiArgs,
}

/// A directory of its own for one test, removed when the test ends well.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringfort-pki-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a fresh directory");
        Self(path)
    }

    /// Runs `ringfort pki` with `line`, which is not `crl`.
    fn pki(&self, line: &str) -> Result<Written, PkiError> {
        match self.parsed(line) {
            PkiCommand::Issue(command) => execute(&command, SystemTime::now()),
            PkiCommand::Crl(_) => panic!("it makes no certificate: {line}"),
        }
    }

    /// Runs `ringfort pki crl` with `line`.
    fn crl(&self, line: &str) -> Result<PathBuf, PkiError> {
        match self.parsed(&format!("crl {line}")) {
            PkiCommand::Crl(args) => args.execute(SystemTime::now()),
            PkiCommand::Issue(_) => panic!("it makes no list: {line}"),
        }
    }

    /// What `line` means, writing here; words with '@' name files here.
    fn parsed(&self, line: &str) -> PkiCommand {
        let here = self.0.to_str().expect("a UTF-8 path");
        let words = line.split_ascii_whitespace().map(|word| match word.strip_prefix('@') {
            Some(file) => format!("{here}/{file}"),
            None => word.to_owned(),
        });
        let words = ["pki".to_owned()].into_iter().chain(words);
        let words = words.chain(["--out".to_owned(), here.to_owned()]);
        Cli::try_parse_from(words).expect("a valid command line").pki.command
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    fn openssl(&self, line: &str) -> String {
        let output = Command::new("openssl")
            .args(line.split_ascii_whitespace())
            .current_dir(&self.0)
            .output()
            .expect("openssl is installed");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "openssl {line}: {text}");
        text
    }

    fn chain(&self, file: &str) -> Vec<CertificateDer<'static>> {
        let text = fs::read(self.0.join(file)).expect("the file");
        let chain: Result<_, _> = CertificateDer::pem_slice_iter(&text).collect();
        chain.expect("PEM")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

const ROOT: &str = "ca --name root";
const ISSUING: &str = "intermediate --name issuing --ca @root.pem --ca-key @root.key";
const BY_ISSUING: &str = "--ca @issuing.pem --ca-key @issuing.key";

#[test]
fn openssl_accepts_root_intermediate_client_and_server_of_each_key_type() {
    for key_type in ["p256", "p384", "ed25519", "rsa"] {
        let scratch = Scratch::new();
        let key = format!("--key-type {key_type}");
        scratch.pki(&format!("{ROOT} {key}")).expect("a root");
        scratch.pki(&format!("{ISSUING} {key}")).expect("an intermediate");
        let id = "spiffe://example.org/client-1";
        let client = format!(
            "client --name client {BY_ISSUING} {key} --spiffe {id} --dns c.test --email a@b.test"
        );
        scratch.pki(&client).expect("a client");
        let server = format!("server --name server {BY_ISSUING} {key} --dns *.test --ip 127.0.0.1");
        scratch.pki(&server).expect("a server");

        for (purpose, name) in [("sslclient", "client"), ("sslserver", "server")] {
            let verify = format!(
                "verify -x509_strict -CAfile root.pem -untrusted {name}.pem -purpose {purpose} \
                 {name}.pem"
            );
            assert!(scratch.openssl(&verify).contains("OK"));
            let of_certificate = scratch.openssl(&format!("x509 -in {name}.pem -noout -pubkey"));
            assert_eq!(scratch.openssl(&format!("pkey -in {name}.key -pubout")), of_certificate);
        }
        let wrong = Command::new("openssl")
            .args("verify -CAfile root.pem -untrusted client.pem -purpose sslserver".split(' '))
            .arg("client.pem")
            .current_dir(&scratch.0)
            .output()
            .expect("openssl is installed");
        assert!(!wrong.status.success(), "a client's certificate must not do for a server");
    }
}

#[test]
fn a_chain_has_the_leaf_first_and_no_root() {
    let scratch = Scratch::new();
    scratch.pki(ROOT).expect("a root");
    scratch.pki(ISSUING).expect("an intermediate");
    scratch.pki(&format!("client --name a {BY_ISSUING}")).expect("a client");
    let root = scratch.chain("root.pem");
    let issuing = scratch.chain("issuing.pem");
    let chain = scratch.chain("a.pem");
    assert_eq!((root.len(), issuing.len(), chain.len()), (1, 1, 2));
    assert_eq!(chain[1], issuing[0]);
    assert_ne!(issuing[0], root[0]);

    scratch.pki("client --name b --ca @root.pem --ca-key @root.key").expect("a client");
    assert_eq!(scratch.chain("b.pem").len(), 1);
}

#[test]
fn a_certificate_has_the_names_that_were_asked_for_and_a_serial_of_its_own() {
    let scratch = Scratch::new();
    scratch.pki(ROOT).expect("a root");
    let by_root = "--ca @root.pem --ca-key @root.key";
    let names = "--spiffe spiffe://example.org/a --dns a.test --dns b.test --email o@c.test \
                 --ip ::1 --days 2";
    scratch.pki(&format!("client --name a {by_root} {names}")).expect("a client");
    scratch.pki(&format!("client --name b {by_root}")).expect("a client");
    let read = |file| Identity::from_der(&scratch.chain(file)[0]).expect("an identity");
    let (a, b) = (read("a.pem"), read("b.pem"));
    assert_eq!(a.spiffe_id().map(|id| id.as_str()), Some("spiffe://example.org/a"));
    assert_eq!(a.dns_names(), ["a.test".into(), "b.test".into()]);
    assert_eq!(a.emails(), ["o@c.test".into()]);
    assert_eq!(a.ip_addresses(), [IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])]);
    assert_eq!((a.subject(), a.issuer()), ("CN=a", "CN=root"));
    assert_eq!(a.not_after_unix_s() - a.not_before_unix_s(), 2 * 86_400 + 3600);
    assert_eq!(b.not_after_unix_s() - b.not_before_unix_s(), 90 * 86_400 + 3600);
    assert_eq!((a.serial().len(), b.serial().len()), (32, 32));
    assert_ne!(a.serial(), b.serial());
    let text = scratch.openssl("x509 -in a.pem -noout -text");
    for part in ["CA:FALSE", "Digital Signature", "Authority Key Id", "Subject Key Id"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_key_is_for_its_owner_only_and_nothing_is_replaced_without_force() {
    let scratch = Scratch::new();
    let written = scratch.pki(ROOT).expect("a root");
    let mode = fs::metadata(&written.key).expect("the key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(&written.key).expect("the key");

    let refused = scratch.pki(ROOT).expect_err("the files exist");
    assert!(matches!(&refused, PkiError::Exists(path) if *path == written.certificates));
    assert!(refused.to_string().contains("--force"), "{refused}");
    assert_eq!(fs::read(&written.key).expect("the key"), before);

    scratch.pki(&format!("{ROOT} --force")).expect("a new root");
    assert_ne!(fs::read(&written.key).expect("the key"), before);
    assert_eq!(scratch.names(), ["root.key", "root.pem"], "no temporary files remain");
}

#[test]
fn where_one_file_cannot_be_written_the_other_does_not_remain() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.0.join("root.key")).expect("a directory in the way");
    let refused = scratch.pki(ROOT).expect_err("the name is taken");
    assert!(matches!(refused, PkiError::Exists(_)), "{refused}");
    let refused = scratch.pki(&format!("{ROOT} --force")).expect_err("a directory");
    assert!(matches!(refused, PkiError::NotAFile(_)), "{refused}");
    assert_eq!(scratch.names(), ["root.key"]);

    let refused = output::write_pair(Path::new("/proc/none"), "a", "", "", false);
    assert!(matches!(refused, Err(PkiError::Write { .. })), "{refused:?}");
}

#[test]
fn an_issuer_that_cannot_issue_is_named_with_its_file() {
    let scratch = Scratch::new();
    scratch.pki(ROOT).expect("a root");
    scratch.pki("ca --name other").expect("another root");
    scratch.pki("client --name leaf --ca @root.pem --ca-key @root.key").expect("a client");
    fs::write(scratch.0.join("empty"), "").expect("an empty file");
    let count = scratch.names().len();
    for (issuer, file, expected) in [
        ("--ca @none --ca-key @root.key", "none", "cannot read"),
        ("--ca @empty --ca-key @root.key", "empty", "BEGIN CERTIFICATE"),
        ("--ca @root.pem --ca-key @empty", "empty", "BEGIN PRIVATE KEY"),
        ("--ca @root.pem --ca-key @root.pem", "root.pem", "BEGIN PRIVATE KEY"),
        ("--ca @root.pem --ca-key @other.key", "other.key", "not that of the certificate"),
        ("--ca @leaf.pem --ca-key @leaf.key", "leaf.pem", "not an authority's"),
    ] {
        let error = scratch.pki(&format!("client --name x {issuer}")).expect_err(issuer);
        let text = error.to_string();
        let path = scratch.0.join(file).display().to_string();
        assert!(text.starts_with(&path) && text.contains(expected), "{issuer}: {text}");
    }
    assert_eq!(scratch.names().len(), count, "nothing was written");
}

#[test]
fn an_authority_of_another_tool_is_used_with_its_own_key_identifier_and_limits() {
    let scratch = Scratch::new();
    scratch.openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout x.key -out x.pem \
         -subj /O=Example/CN=x -days 2 -addext basicConstraints=critical,CA:TRUE,pathlen:0",
    );
    scratch.pki("client --name leaf --ca @x.pem --ca-key @x.key").expect("a client");
    let verify = "verify -x509_strict -CAfile x.pem -purpose sslclient leaf.pem";
    // The authority of `req` has no key usage, which is what -x509_strict objects to.
    assert!(scratch.openssl(&verify.replace("-x509_strict ", "")).contains("OK"));
    let below = "intermediate --name below --ca @x.pem --ca-key @x.key";
    let refused = scratch.pki(below).expect_err("its path length is 0");
    assert!(refused.to_string().contains("path length"), "{refused}");

    scratch.openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout y.key -out y.pem \
         -subj /OU=a/OU=b -days 2",
    );
    let refused = scratch.pki("client --name z --ca @y.pem --ca-key @y.key");
    let refused = refused.expect_err("two OUs cannot be copied").to_string();
    assert!(refused.contains("each type of value once"), "{refused}");
}

#[test]
fn what_cannot_be_issued_says_what_was_found_and_expected() {
    let scratch = Scratch::new();
    scratch.pki(ROOT).expect("a root");
    let by_root = "--ca @root.pem --ca-key @root.key";
    for (line, expected) in [
        ("ca --name ../root", "\"../root\""),
        ("ca --name .root", "\".root\""),
        ("ca --name a --days 0", "1 to 36500"),
        ("ca --name a --days 36501", "1 to 36500"),
        (&format!("ca --name {}", "a".repeat(65)), "1 to 64"),
        (&format!("client --name a {by_root} --spiffe spiffe://x"), "spiffe://example.org"),
        (&format!("client --name a {by_root} --dns a..b"), "\"a..b\""),
        (&format!("client --name a {by_root} --email nobody"), "\"nobody\""),
    ] {
        let error = scratch.pki(line).expect_err(line).to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
    assert_eq!(scratch.names(), ["root.key", "root.pem"]);
    let no_name = ["pki", "server", "--name", "a", "--ca", "b", "--ca-key", "c"];
    assert!(Cli::try_parse_from(no_name).is_err(), "a server needs a name");
}

#[test]
fn the_names_that_are_shown_are_those_of_openssl() {
    let scratch = Scratch::new();
    scratch.openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout n.key -out n.pem \
         -utf8 -multivalue-rdn -days 2 \
         -subj /C=DE/DC=a/O=M\u{fc}ller,\u{a0}#1/OU=<x>+UID=7/emailAddress=a@b.test/CN=#\\\\;\"",
    );
    let shown = scratch.openssl("x509 -in n.pem -noout -subject -nameopt RFC2253");
    let shown = shown.trim_end().strip_prefix("subject=").expect("a subject");
    let identity = Identity::from_der(&scratch.chain("n.pem")[0]).expect("an identity");
    assert_eq!(identity.subject(), shown);
    let pattern: crate::identity::Pattern = format!("subject:{shown}").parse().expect("a pattern");
    assert!(pattern.matches(&identity));
}

const BY_ROOT: &str = "--ca @root.pem --ca-key @root.key";

#[test]
fn openssl_accepts_a_list_of_each_key_type_and_refuses_what_it_revokes() {
    for key_type in ["p256", "p384", "ed25519", "rsa"] {
        let scratch = Scratch::new();
        scratch.pki(&format!("{ROOT} --key-type {key_type}")).expect("a root");
        for name in ["a", "b", "c"] {
            scratch.pki(&format!("client --name {name} {BY_ROOT}")).expect("a client");
        }
        let line = format!("--name root {BY_ROOT} --revoke @a.pem @b.pem --revoke @a.pem");
        let path = scratch.crl(&line).expect("a list");
        assert_eq!(path, scratch.0.join("root.crl"));
        let verified = scratch.openssl("crl -in root.crl -CAfile root.pem -verify -noout");
        assert!(verified.contains("verify OK"), "{verified}");

        let verify = "verify -x509_strict -crl_check -CAfile root.pem -CRLfile root.crl";
        assert!(scratch.openssl(&format!("{verify} c.pem")).contains("OK"));
        for name in ["a.pem", "b.pem"] {
            let output = Command::new("openssl")
                .args(verify.split(' '))
                .arg(name)
                .current_dir(&scratch.0)
                .output()
                .expect("openssl is installed");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && text.contains("certificate revoked"), "{text}");
        }
    }
}

#[test]
fn a_list_is_read_back_by_the_gateway() {
    let scratch = Scratch::new();
    scratch.pki(ROOT).expect("a root");
    scratch.pki(&format!("client --name a {BY_ROOT}")).expect("a client");
    let read = |line: &str| {
        scratch.crl(&format!("--name root {BY_ROOT} --force {line}")).expect("a list");
        let list = CertificateRevocationListDer::from_pem_file(scratch.0.join("root.crl"));
        let issuer = Issuer::from_der(&scratch.chain("root.pem")[0]).expect("an authority");
        let algorithms = provider(Backend::ALL[0], &[], &[]).expect("a backend");
        let algorithms = &algorithms.signature_verification_algorithms;
        RevocationList::parse(&list.expect("PEM"), &[issuer], algorithms).expect("a good list")
    };
    let (empty, full) = (read("--days 2"), read("--revoke @a.pem"));
    assert!(empty.is_empty() && full.is_newer_than(&empty), "{empty:?} {full:?}");
    assert_eq!(empty.next_update() - empty.this_update(), 2 * 86_400);
    assert_eq!(full.next_update() - full.this_update(), 7 * 86_400);
    let chain = scratch.chain("a.pem");
    let (_, leaf) = X509Certificate::from_der(&chain[0]).expect("a certificate");
    let serial = Serial::from_der_integer_content(leaf.raw_serial()).expect("a serial number");
    assert_eq!(full.revoked_at(&serial), Some(full.this_update()));
}

#[test]
fn a_list_that_cannot_be_made_says_which_file_is_at_fault_and_writes_none() {
    let scratch = Scratch::new();
    scratch.pki(ROOT).expect("a root");
    scratch.pki("ca --name other").expect("another root");
    scratch.pki("client --name b --ca @other.pem --ca-key @other.key").expect("its client");
    // Of the same name as the root, and another key.
    let twin = Scratch::new();
    twin.pki(ROOT).expect("a root");
    twin.pki(&format!("client --name twin {BY_ROOT}")).expect("its client");
    fs::copy(twin.0.join("twin.pem"), scratch.0.join("twin.pem")).expect("a copy");
    fs::write(scratch.0.join("empty"), "").expect("an empty file");
    scratch.openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout x.key -out x.pem \
         -subj /CN=x -days 2 -addext keyUsage=critical,keyCertSign",
    );
    let names = scratch.names();
    for (line, file, expected) in [
        (format!("{BY_ROOT} --revoke @b.pem"), "b.pem", "not one that this authority issued"),
        (format!("{BY_ROOT} --revoke @twin.pem"), "twin.pem", "not one that this authority"),
        (format!("{BY_ROOT} --revoke @empty"), "empty", "BEGIN CERTIFICATE"),
        (format!("{BY_ROOT} --revoke @none"), "none", "cannot read"),
        ("--ca @x.pem --ca-key @x.key".to_owned(), "x.pem", "cRLSign"),
    ] {
        let text = scratch.crl(&format!("--name list {line}")).expect_err(&line).to_string();
        let path = scratch.0.join(file).display().to_string();
        assert!(text.starts_with(&path) && text.contains(expected), "{line}: {text}");
    }
    for (line, expected) in [("--name a --days 0", "1 to 36500"), ("--name ../a", "\"../a\"")] {
        let text = scratch.crl(&format!("{line} {BY_ROOT}")).expect_err(line).to_string();
        assert!(text.contains(expected), "{line}: {text}");
    }
    assert_eq!(scratch.names(), names, "nothing was written");
    scratch.crl(&format!("--name a {BY_ROOT}")).expect("a list");
    let again = scratch.crl(&format!("--name a {BY_ROOT}")).expect_err("it exists");
    assert!(matches!(again, PkiError::Exists(_)), "{again}");
}
