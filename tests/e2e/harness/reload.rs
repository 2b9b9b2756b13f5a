//! Files that change under a gateway, and what its log says of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringfort::cli::pki::KeyChoice;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use super::pki::{Credentials, SERVER_NAME, pki};
use super::{Client, Gateway, Origin, Setup, temp_dir};

/// A folder with a server's chain and key that a test changes.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn with(server: &Credentials) -> Self {
        let folder = Self(temp_dir());
        folder.put_chain(server);
        folder.put_key(server);
        folder
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.0.join("tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.join("tls.key")
    }

    pub(crate) fn put_chain(&self, server: &Credentials) {
        put(&server.chain_file, &self.chain());
    }

    pub(crate) fn put_key(&self, server: &Credentials) {
        put(&server.key_file, &self.key());
    }

    /// A gateway with these files, and whatever else a test wants.
    pub(crate) fn setup(&self, origin: &Origin) -> Setup {
        Setup::to(origin.address()).certificate_files(&self.chain(), &self.key())
    }
}

/// Replaces a file as careful programs do: by renaming.
pub(crate) fn put(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    std::fs::copy(from, &new).expect("a temporary file");
    std::fs::rename(&new, to).expect("ours");
}

/// Another certificate for the usual name.
pub(crate) fn another_server() -> Credentials {
    pki().server_named(SERVER_NAME, KeyChoice::P256)
}

/// A gateway and its configuration file.
pub(crate) fn start(setup: &Setup) -> (Gateway, PathBuf) {
    let file = setup.write();
    (Gateway::start(&[], &["--config", &file.display().to_string()]), file)
}

/// The certificate that a newcomer is shown.
pub(crate) fn shown(address: SocketAddr) -> CertificateDer<'static> {
    let mut client = Client::connect(address);
    client.echo(b"who are you");
    let chain = client.tls.peer_certificates().expect("the handshake is complete");
    let leaf = chain[0].clone().into_owned();
    client.end();
    leaf
}

fn is_reload(line: &Value) -> bool {
    line["event"] == "reload" || line["event"] == "reload_failed"
}

/// The next reload, of whatever outcome.
pub(crate) fn next_reload(gateway: &mut Gateway) -> Value {
    gateway.wait_for("a reload", |line| is_reload(line) && line["seen"].is_null())
}

/// Reloads that were not asked for yet.
pub(crate) fn unseen_reloads(gateway: &mut Gateway) -> Vec<Value> {
    let lines = gateway.lines_so_far().iter();
    lines.filter(|line| is_reload(line) && line["seen"].is_null()).cloned().collect()
}

#[track_caller]
pub(crate) fn assert_published(event: &Value, epoch: u64) {
    assert_eq!(event["event"], "reload", "{event}");
    assert_eq!(event["published"], true, "{event}");
    assert_eq!(event["epoch"], epoch, "{event}");
}

/// Asserts that it was refused for `error`, and what is in force.
#[track_caller]
pub(crate) fn assert_failed(event: &Value, epoch: u64, error: &str) {
    assert_eq!(event["event"], "reload_failed", "{event}");
    assert_eq!(event["epoch"], epoch, "{event}");
    let errors = event["errors"].as_array().expect("a list");
    let says_so = |text: &Value| text.as_str().is_some_and(|text| text.contains(error));
    assert!(errors.iter().any(says_so), "no {error:?} in {event}");
}

/// The files that an event lists.
pub(crate) fn files(event: &Value) -> Vec<PathBuf> {
    let files = event["files"].as_array().expect("a list");
    files.iter().map(|file| file.as_str().expect("a path").into()).collect()
}
