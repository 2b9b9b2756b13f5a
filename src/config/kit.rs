//! What the tests of the configuration share: certificates, files in memory, a configuration that
//! is right.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, date_time_ymd,
};
use rustls::KeyLog;

use super::model;
use super::resolve::{Belongs, Context, FileSource, resolve};
use super::snapshot::Snapshot;
use crate::tls::server::KeyLogWriter;

/// 2026-01-02 00:00 UTC.
pub(crate) const NOW_UNIX_S: i64 = 1_767_312_000;

/// A configuration of 12 lines that is right; line 9 is free for what a test adds.
pub(crate) const RIGHT: &str = "[[upstream]]
name = \"app\"
endpoints = [\"127.0.0.1:9000\"]
[[listener]]
name = \"main\"
address = \":8443\"
upstream = \"app\"
client_ca = \"clients.pem\"
#
[[listener.certificate]]
chain = \"server.pem\"
key = \"server.key\"
";

/// Files by their path as the configuration writes it.
pub(crate) struct MemoryFiles(pub(crate) HashMap<PathBuf, Vec<u8>>);

impl FileSource for MemoryFiles {
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, io::Error> {
        let bytes = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        if bytes.len() > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.clone())
    }

    fn list(&self, path: &Path, belongs: Belongs) -> Result<Option<Vec<PathBuf>>, io::Error> {
        if path.starts_with("/crowded") {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let is_in = |file: &&PathBuf| file.parent() == Some(path);
        let mut files: Vec<_> = self.0.keys().filter(is_in).cloned().collect();
        files.sort();
        let is_folder = !files.is_empty();
        files.retain(|file| belongs(file));
        Ok(is_folder.then_some(files))
    }

    fn key_log(&self, path: &Path) -> Result<Arc<dyn KeyLog>, io::Error> {
        if path.starts_with("/none") {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(KeyLogWriter::new(io::sink())))
    }
}

/// A server certificate and its key in PEM, valid in these years.
pub(crate) fn server(name: &str, years: std::ops::Range<i32>) -> (String, String) {
    let authority = authority();
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_string()]).expect("a DNS name");
    params.not_before = date_time_ymd(years.start, 1, 1);
    params.not_after = date_time_ymd(years.end, 1, 1);
    let issuer = Issuer::from_params(&authority.0, &authority.1);
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// The parameters and the key of the one authority, and its certificate in PEM.
fn authority() -> &'static (CertificateParams, KeyPair, String) {
    static AUTHORITY: OnceLock<(CertificateParams, KeyPair, String)> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        (params, key, pem)
    })
}

/// A list of revocation of the one authority in PEM, which revokes nobody, valid between two times
/// in seconds from [`NOW_UNIX_S`].
pub(crate) fn revocation_list(from_s: i64, until_s: i64) -> String {
    let at = |seconds: i64| {
        let date = time::OffsetDateTime::from_unix_timestamp(NOW_UNIX_S + seconds);
        date.expect("on the calendar")
    };
    let (params, key, _) = authority();
    let list = CertificateRevocationListParams {
        this_update: at(from_s),
        next_update: at(until_s),
        crl_number: 1_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&Issuer::from_params(params, key)).expect("a list");
    list.pem().expect("PEM")
}

/// The files that [`RIGHT`] and the reference's example name, and broken ones.
pub(crate) fn files() -> MemoryFiles {
    let (chain, key) = server("gateway.example.org", 2020..2036);
    let (_, other_key) = server("other.example.org", 2020..2036);
    let (expired, expired_key) = server("gateway.example.org", 2020..2025);
    let (early, early_key) = server("gateway.example.org", 2030..2036);
    let clients = authority().2.clone();
    let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n\
                     -----END ENCRYPTED PRIVATE KEY-----\n";
    let files: [(&str, Vec<u8>); 17] = [
        ("server.pem", chain.clone().into()),
        ("server.key", key.clone().into()),
        ("other.key", other_key.clone().into()),
        ("expired.pem", expired.into()),
        ("expired.key", expired_key.into()),
        ("early.pem", early.into()),
        ("early.key", early_key.into()),
        ("clients.pem", clients.clone().into()),
        ("partners.pem", clients.into()),
        ("broken.pem", broken.into()),
        ("cut.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n".into()),
        ("encrypted.key", encrypted.into()),
        ("two.key", (key + &other_key).into()),
        ("long.pem", chain.repeat(17).into()),
        ("empty.pem", Vec::new()),
        ("text.pem", b"hello\n".to_vec()),
        ("binary.pem", vec![0x30, 0x82, 1, 2]),
    ];
    MemoryFiles(files.into_iter().map(|(path, bytes)| (path.into(), bytes)).collect())
}

/// Parses and resolves; problems as the operator sees them.
pub(crate) fn resolved(text: &str) -> Result<Snapshot, Vec<String>> {
    resolved_with(text, &files(), 65_536)
}

/// The same with these files and this file limit.
pub(crate) fn resolved_with(
    text: &str,
    files: &MemoryFiles,
    fds_max: u64,
) -> Result<Snapshot, Vec<String>> {
    let model = model::parse(text, "r.toml").map_err(|error| vec![error.to_string()])?;
    let context = Context {
        files,
        now_unix_s: NOW_UNIX_S,
        fds_max,
        cpus: 0,
        observer: None,
        ticket_secret: ticket_secret(),
        signing_key: signing_key(),
    };
    resolve(&model, &context).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// [`RIGHT`] with one text replaced, which must be in it once.
pub(crate) fn but(from: &str, to: &str) -> String {
    assert_eq!(RIGHT.matches(from).count(), 1, "{from:?}");
    RIGHT.replace(from, to)
}

/// A secret that everybody knows.
pub fn ticket_secret() -> crate::trust::tickets::TicketSecret {
    // invariant: 32 bytes are enough
    crate::trust::tickets::TicketSecret::new(&[7; 32]).expect("enough bytes")
}

/// The key of the process.
pub fn signing_key() -> std::sync::Arc<crate::attest::SigningKey> {
    static KEY: std::sync::LazyLock<std::sync::Arc<crate::attest::SigningKey>> =
        std::sync::LazyLock::new(|| std::sync::Arc::new(crate::attest::SigningKey::generate()));
    std::sync::Arc::clone(&KEY)
}
