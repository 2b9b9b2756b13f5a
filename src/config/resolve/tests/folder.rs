//! `client_ca` as a folder.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, SignatureScheme};

use super::refusal;
use crate::config::kit::{self, but, files, resolved_with};
use crate::tls::provider::{Backend, provider};

/// A folder `roots` with these files.
fn folder(names: &[(&str, &str)]) -> kit::MemoryFiles {
    let mut files = files();
    for (name, of) in names {
        let bytes = files.0[Path::new(of)].clone();
        files.0.insert(Path::new("roots").join(name), bytes);
    }
    files
}

/// Counts the names of authorities that a server sends.
#[derive(Debug, Default)]
struct Hints(AtomicUsize);

impl ResolvesClientCert for Hints {
    fn resolve(&self, names: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(names.len(), Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The number of roots of the listener whose `client_ca` is the folder, as a client is told.
fn roots(files: &kit::MemoryFiles) -> Result<usize, Vec<String>> {
    let snapshot = resolved_with(&but("clients.pem", "roots"), files, 65_536)?;
    let server = snapshot.listeners[0].tls.select(Some("gateway.example.org"), &[]);
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
    let hints = Arc::new(Hints::default());
    let mut anchors = RootCertStore::empty();
    let anchor = CertificateDer::from_pem_slice(&files.0[Path::new("clients.pem")]);
    anchors.add(anchor.expect("PEM")).expect("a root");
    let backend = provider(Backend::ALL[0], &[], &[]).expect("all that there is");
    let config = ClientConfig::builder_with_provider(Arc::new(backend))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(anchors)
        .with_client_cert_resolver(Arc::clone(&hints) as Arc<dyn ResolvesClientCert>);
    let name = "gateway.example.org".try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut wire = Vec::new();
    client.write_tls(&mut wire).expect("memory takes all");
    server.read_tls(&mut wire.as_slice()).expect("memory gives all");
    server.process_new_packets().expect("the client is in order");
    let mut wire = Vec::new();
    server.write_tls(&mut wire).expect("memory takes all");
    client.read_tls(&mut wire.as_slice()).expect("memory gives all");
    client.process_new_packets().expect("the server is in order");
    Ok(hints.0.load(Ordering::Relaxed))
}

#[test]
fn a_folder_of_roots_is_read_by_the_names_of_its_files_and_each_root_once() {
    let names = ["a.pem", "b.CRT", "c.cer", "0a1b2c3d.0", "0a1b2c3d.12"];
    for name in names {
        assert_eq!(roots(&folder(&[(name, "clients.pem")])), Ok(1), "{name}");
    }
    let same = names.map(|name| (name, "clients.pem"));
    assert_eq!(roots(&folder(&same)), Ok(1));
    assert_eq!(roots(&folder(&[("a.pem", "clients.pem"), ("b.pem", "server.pem")])), Ok(2));
    // A list of revoked certificates, a text, a name too short.
    let others = ["0a1b2c3d.r0", "README", "a.key", "0a1b2c3d.", "0a1b2c.0", "pem"];
    let mut with_others = others.map(|name| (name, "text.pem")).to_vec();
    with_others.push(("a.pem", "clients.pem"));
    assert_eq!(roots(&folder(&with_others)), Ok(1));
}

#[test]
fn a_folder_of_roots_that_is_not_one_says_which_file_is_wrong() {
    let refused = |files: &[_]| roots(&folder(files)).expect_err("it must be refused");
    let errors = refused(&[("a.pem", "clients.pem"), ("b.pem", "text.pem"), ("c.pem", "cut.pem")]);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with(
            "r.toml:8:13: client_ca = \"roots\" has \"roots/b.pem\", which holds no PEM section;"
        ),
        "{errors:?}"
    );
    let errors = refused(&[("README", "text.pem")]);
    assert!(errors[0].contains("is a folder without such files; expected a folder with *.pem"));
    let crowded = refusal(&but("clients.pem", "/crowded"));
    assert!(crowded.contains("too many files; expected at most 4096"), "{crowded}");
}
