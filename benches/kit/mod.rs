//! What the benchmark of the whole gateway is made of: certificates, CPU accounting.

pub mod floor;
pub mod floor_mode;
pub mod http;
pub mod load;
pub mod probe;
pub mod subject;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use floor_mode::Mode;
use ringfort::cli::pki::{Authority, Issued, KeyChoice, Names, Profile, Validity};
use ringfort::tls::provider::{Backend, provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Root, intermediate, server and client, all P-256.
pub struct Pki {
    pub folder: PathBuf,
    pub client: Arc<ClientConfig>,
    pub server: Arc<ServerConfig>,
}

impl Pki {
    pub fn issue() -> Self {
        let now = SystemTime::now();
        let profile = |name: &str| Profile {
            common_name: name.into(),
            key: KeyChoice::P256,
            validity: Validity::days(now, 30).expect("30 days"),
        };
        let root = Authority::root(&profile("root")).expect("a root");
        let between = root.intermediate(&profile("intermediate")).expect("an intermediate");
        let names = Names { dns: vec!["localhost".into()], ..Names::default() };
        let server = between.issue_server(&profile("server"), &names).expect("a server");
        let names =
            Names { spiffe: Some("spiffe://bench.example/load".into()), ..Names::default() };
        let client = between.issue_client(&profile("client"), &names).expect("a client");
        let folder = std::env::temp_dir().join(format!("ringfort-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let write = |name: &str, text: String| {
            std::fs::write(folder.join(name), text).expect("a temporary file");
        };
        write("root.pem", root.chain_pem());
        write("server.pem", server.chain_pem());
        write("server.key", server.key_pem());
        let mut roots = RootCertStore::empty();
        roots.add(root.certificate().clone()).expect("a root");
        let roots = Arc::new(roots);
        Self {
            folder,
            client: client_config(&roots, client),
            server: plain_server(&roots, server.chain, PrivateKeyDer::Pkcs8(server.key), Mode::New),
        }
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

fn client_config(roots: &Arc<RootCertStore>, client: Issued) -> Arc<ClientConfig> {
    let suites = [ringfort::tls::provider::suite_by_name("TLS_AES_128_GCM_SHA256").expect("known")];
    let groups = [ringfort::tls::provider::group_by_name("X25519").expect("known")];
    let mut config = ClientConfig::builder_with_provider(Arc::new(
        provider(Backend::ALL[0], &suites, &groups).expect("known"),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .expect("TLS 1.3")
    .with_root_certificates(Arc::clone(roots))
    .with_client_auth_cert(client.chain, PrivateKeyDer::Pkcs8(client.key))
    .expect("certificate and key match");
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// The floor's server in a process of its own reads what [`Pki::issue`] wrote.
pub fn server_config_from(folder: &str, mode: Mode) -> Arc<ServerConfig> {
    let file = |name: &str| Path::new(folder).join(name);
    let certificates = |name: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(file(name)).and_then(Iterator::collect).expect("certificates")
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("root.pem"));
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
    plain_server(&Arc::new(roots), certificates("server.pem"), key, mode)
}

/// What the floor's server uses: plain rustls.
fn plain_server(
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    mode: Mode,
) -> Arc<ServerConfig> {
    let provider = Arc::new(provider(Backend::ALL[0], &[], &[]).expect("all that there is"));
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider))
            .build()
            .expect("a verifier");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(mode.verifier(verifier))
        .with_single_cert(chain, key)
        .expect("certificate and key match");
    mode.set_up(&mut config);
    Arc::new(config)
}

impl Drop for Pki {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).expect("our own folder");
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Half the distance between the lowest and the highest, in percent of the median.
pub fn spread(values: &[f64]) -> f64 {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(0.0, f64::max);
    (highest - lowest) / 2.0 / median(values.to_vec()) * 100.0
}

/// Clients and origin leave the first CPU to the gateway.
pub fn pin_to_last_cpu() {
    let last = *ringfort::sys::cpu::allowed().last().expect("a CPU");
    assert!(ringfort::sys::cpu::pin(last));
}

/// The processor time of all threads of a process and its children, in nanoseconds.
pub fn cpu_ns(pids: &[u32]) -> u64 {
    pids.iter().flat_map(|pid| tasks(Path::new(&format!("/proc/{pid}/task")))).sum()
}

fn tasks(folder: &Path) -> Vec<u64> {
    let tasks = std::fs::read_dir(folder).expect("the process lives");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse().ok())
        .collect()
}

/// `VmRSS` of processes, in bytes.
pub fn resident_bytes(pids: &[u32]) -> u64 {
    let of = |pid: &u32| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
    };
    pids.iter().map(of).sum::<u64>() * 1024
}
