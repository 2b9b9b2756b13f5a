//! Throw-away certificates, made once per run: a root, an intermediate below it, leaves.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use ringfort::cli::pki::{Authority, Issued, KeyChoice, Names, Profile, Validity};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::temp_dir;

/// The name of the server certificate.
pub(crate) const SERVER_NAME: &str = "gateway.test";
/// The DNS name of the usual client.
pub(crate) const CLIENT_NAME: &str = "client.test";

/// A certificate chain and a key, in memory and as files.
pub(crate) struct Credentials {
    /// Leaf first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivatePkcs8KeyDer<'static>,
    /// The whole chain, PEM.
    pub(crate) chain_file: PathBuf,
    /// The leaf alone, PEM.
    pub(crate) leaf_file: PathBuf,
    /// The chain without the leaf, PEM.
    pub(crate) issuers_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Credentials {
    /// Writes a chain and a key to files of their own.
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivatePkcs8KeyDer<'static>,
    ) -> Self {
        let dir = temp_dir();
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).expect("a temporary file");
            path
        };
        Self {
            chain_file: write("chain.pem", pem("CERTIFICATE", &chain)),
            leaf_file: write("leaf.pem", pem("CERTIFICATE", &chain[..1])),
            issuers_file: write("issuers.pem", pem("CERTIFICATE", &chain[1..])),
            key_file: {
                let path = write("key.pem", pem("PRIVATE KEY", &[key.secret_pkcs8_der()]));
                let mode = std::fs::Permissions::from_mode(0o600);
                std::fs::set_permissions(&path, mode).expect("ours");
                path
            },
            chain,
            key,
        }
    }

    /// The key, as rustls wants it.
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

impl From<Issued> for Credentials {
    fn from(issued: Issued) -> Self {
        Self::new(issued.chain, issued.key)
    }
}

/// DER as PEM.
pub(crate) fn pem(label: &str, ders: &[impl AsRef<[u8]>]) -> String {
    ders.iter()
        .map(|der| {
            let base64 = base64(der.as_ref());
            let lines: Vec<_> = base64
                .as_bytes()
                .chunks(64)
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
        })
        .collect()
}

/// Base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= group.len() { ALPHABET[index] as char } else { '=' });
        }
    }
    text
}

/// The authorities and the usual certificates.
pub(crate) struct Pki {
    pub(crate) root: Authority,
    pub(crate) intermediate: Authority,
    /// The root's certificate, PEM.
    pub(crate) root_file: PathBuf,
    /// P-256, [`SERVER_NAME`] and 127.0.0.1, localhost, ::1.
    pub(crate) server: Credentials,
    /// P-256, [`CLIENT_NAME`].
    pub(crate) client: Credentials,
}

/// The certificates of this run.
pub(crate) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let root = Authority::root(&profile("e2e root")).expect("a root");
        let intermediate =
            root.intermediate(&profile("e2e intermediate")).expect("an intermediate");
        let root_file = write_root(&root);
        let names = Names {
            dns: vec![SERVER_NAME.into(), "localhost".into()],
            ip_addresses: vec![
                "127.0.0.1".parse().expect("an address"),
                "::1".parse().expect("an address"),
            ],
            ..Names::default()
        };
        let server = intermediate.issue_server(&profile("gateway"), &names).expect("a server");
        let client =
            intermediate.issue_client(&profile("client"), &dns(CLIENT_NAME)).expect("a client");
        Pki { root, intermediate, root_file, server: server.into(), client: client.into() }
    })
}

impl Pki {
    /// A client of the intermediate with this DNS name.
    pub(crate) fn client_named(&self, name: &str) -> Credentials {
        self.intermediate.issue_client(&profile(name), &dns(name)).expect("a client").into()
    }

    /// A client whose key is of this kind.
    pub(crate) fn client_with_key(&self, key: KeyChoice) -> Credentials {
        let profile = Profile { key, ..profile("client") };
        self.intermediate.issue_client(&profile, &dns(CLIENT_NAME)).expect("a client").into()
    }

    /// A client that is valid between two times, in seconds from now.
    pub(crate) fn client_valid(&self, from_s: i64, until_s: i64) -> Credentials {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let now = i64::try_from(now.as_secs()).expect("before 2^63");
        let validity = Validity::between(now + from_s, now + until_s).expect("on the calendar");
        let profile = Profile { validity, ..profile("client") };
        // Of the root: the intermediate began to be valid an hour ago.
        self.root.issue_client(&profile, &dns(CLIENT_NAME)).expect("a client").into()
    }

    /// A server of the intermediate with this DNS name.
    pub(crate) fn server_named(&self, name: &str, key: KeyChoice) -> Credentials {
        let profile = Profile { key, ..profile(name) };
        self.intermediate.issue_server(&profile, &dns(name)).expect("a server").into()
    }

    /// What the clients trust.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(&self.root_file).expect("written before");
        roots.add(root).expect("a root");
        roots
    }
}

/// Writes an authority's own certificate to a file.
pub(crate) fn write_root(authority: &Authority) -> PathBuf {
    let path = temp_dir().join("root.pem");
    write(&path, &pem("CERTIFICATE", &[authority.certificate()]));
    path
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a temporary file");
}

/// P-256, valid for ten days.
pub(crate) fn profile(common_name: &str) -> Profile {
    let validity = Validity::days(SystemTime::now(), 10).expect("ten days");
    Profile { common_name: common_name.into(), key: KeyChoice::P256, validity }
}

/// One DNS name.
pub(crate) fn dns(name: &str) -> Names {
    Names { dns: vec![name.into()], ..Names::default() }
}
