//! What `bench crypto` measures of a backend: key exchanges, signatures, records, handshakes.
//!
//! Each operation goes through what the gateway itself uses: rustls' tables of the backend, and
//! ringfort's record layer and sessions. A case that a backend lacks says so and has no number.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use rcgen::{KeyPair, PublicKeyData, RsaKeySize};
use rustix::time::{ClockId, clock_gettime};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{CipherSuite, NamedGroup, SignatureScheme};

use super::handshake::{Ends, Part, Peers};
use crate::cli::pki::IssueError;
use crate::tls::provider::{Backend, BackendError, provider};
use crate::tls::record::{ContentType, PLAINTEXT_BYTES_MAX, ReadKeys, WriteKeys};

/// Bytes that are signed, about what a CertificateVerify covers (RFC 8446, 4.4.3).
const MESSAGE: [u8; 130] = [0x20; 130];
/// Records that are sealed at once for the measurement of opening them.
const RECORDS_AT_ONCE: u32 = 32;
/// Records of one key: well below where AES-GCM ends.
const RECORDS_MAX: u64 = 1 << 23;

const GROUPS: [(&str, NamedGroup); 4] = [
    ("X25519", NamedGroup::X25519),
    ("P-256", NamedGroup::secp256r1),
    ("P-384", NamedGroup::secp384r1),
    ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
];
const SUITES: [(&str, CipherSuite); 3] = [
    ("AES-128-GCM", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("AES-256-GCM", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("ChaCha20-Poly1305", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
];
const SIZES: [(&str, usize); 3] =
    [("64 B", 64), ("1,400 B", 1400), ("16 KiB", PLAINTEXT_BYTES_MAX)];

/// Carries an operation out so many times; returns the CPU time of that.
pub(super) type Operation = Box<dyn FnMut(u32) -> Result<Duration, String>>;

/// One row: an operation of each backend, or why it has none.
pub(super) struct Case {
    pub(super) section: &'static str,
    pub(super) name: String,
    pub(super) operations: Vec<Result<Operation, String>>,
}

/// Why nothing could be measured, or not on.
#[derive(Debug)]
pub(super) enum Failure {
    /// Signals cannot be caught.
    Signals(io::Error),
    /// No backend runs here.
    NoBackend,
    /// Keys or certificates could not be made.
    Keys(String),
    /// What a backend claims to have does not work.
    Broken { backend: &'static str, what: String, reason: String },
    /// A file cannot be written.
    Create { path: PathBuf, source: io::Error },
    /// The output does not take what there is to say.
    Output(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signals(error) => write!(f, "signals cannot be caught: {error}"),
            Self::NoBackend => f.write_str("no backend that is compiled in runs on this machine"),
            Self::Keys(reason) => write!(f, "the keys of the benchmark cannot be made: {reason}"),
            Self::Broken { backend, what, reason } => {
                write!(f, "{backend}: {what} does not work: {reason}")
            }
            Self::Create { path, source } => write!(
                f,
                "--json {}: {source}; expected a file that can be written; fix: choose another",
                path.display()
            ),
            Self::Output(error) => write!(f, "the figures cannot be written: {error}"),
        }
    }
}

impl From<IssueError> for Failure {
    fn from(error: IssueError) -> Self {
        Self::Keys(error.to_string())
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Self::Keys(error.to_string())
    }
}

/// The CPU time of this thread.
pub(super) fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn timed<E: ToString>(
    count: u32,
    mut operation: impl FnMut() -> Result<(), E>,
) -> Result<Duration, String> {
    let before = cpu_time();
    for _ in 0..count {
        operation().map_err(|error| error.to_string())?;
    }
    Ok(cpu_time() - before)
}

/// A key to sign with.
struct Key {
    name: &'static str,
    scheme: SignatureScheme,
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

/// What all backends are given alike.
pub(super) struct Kit {
    keys: Vec<Key>,
    peers: Peers,
}

impl Kit {
    /// Makes keys and certificates, in about a second: RSA takes its time.
    pub(super) fn new() -> Result<Self, Failure> {
        use SignatureScheme as Scheme;
        let failed = |error: rcgen::Error| Failure::Keys(error.to_string());
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).map_err(failed);
        let ed25519 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
            .map_err(|error| Failure::Keys(error.to_string()))?;
        let ed25519 = PrivatePkcs8KeyDer::from(ed25519.as_ref());
        let ed25519 = KeyPair::from_pkcs8_der_and_sign_algo(&ed25519, &rcgen::PKCS_ED25519);
        let p256 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).map_err(failed)?;
        let keys = [
            ("ECDSA P-256", Scheme::ECDSA_NISTP256_SHA256, p256),
            ("ECDSA P-384", Scheme::ECDSA_NISTP384_SHA384, p384),
            ("Ed25519", Scheme::ED25519, ed25519.map_err(failed)?),
            ("RSA-2048 PSS", Scheme::RSA_PSS_SHA256, rsa(RsaKeySize::_2048)?),
            ("RSA-3072 PSS", Scheme::RSA_PSS_SHA256, rsa(RsaKeySize::_3072)?),
        ];
        let keys = keys.map(|(name, scheme, key)| Key {
            name,
            scheme,
            pkcs8: key.serialize_der(),
            public: key.der_bytes().to_vec(),
        });
        Ok(Self { keys: keys.into(), peers: Peers::new()? })
    }
}

/// Every case, for these backends.
pub(super) fn cases(kit: &Kit, backends: &[Backend]) -> Result<Vec<Case>, Failure> {
    let providers = backends
        .iter()
        .map(|backend| provider(*backend, &[], &[]))
        .collect::<Result<Vec<_>, _>>()?;
    let case =
        |section, name: &str, make: &dyn Fn(&CryptoProvider) -> Result<Operation, String>| {
            let operations = providers.iter().map(make).collect();
            Case { section, name: name.to_string(), operations }
        };
    let mut cases = Vec::new();
    for (name, group) in GROUPS {
        cases.push(case("key exchange, both sides", name, &|it| exchange(it, group)));
    }
    for key in &kit.keys {
        cases.push(case("sign", key.name, &|it| sign(it, key)));
    }
    for key in &kit.keys {
        cases.push(case("verify", key.name, &|it| verify(it, key)));
    }
    for (section, make) in [("seal a record", seal as MakeRecords), ("open a record", open)] {
        for (suite_name, suite) in SUITES {
            for (size_name, bytes) in SIZES {
                let name = format!("{suite_name} {size_name}");
                cases.push(case(section, &name, &|it| make(&kit.peers, it, suite, bytes)));
            }
        }
    }
    for (section, resumed) in [("full mTLS handshake", false), ("resumed mTLS handshake", true)] {
        for (name, part) in [("server", Part::Server), ("both sides", Part::Both)] {
            cases.push(case(section, name, &|it| handshakes(&kit.peers, it, resumed, part)));
        }
    }
    Ok(cases)
}

type MakeRecords = fn(&Peers, &CryptoProvider, CipherSuite, usize) -> Result<Operation, String>;

fn lacks() -> String {
    String::from("lacks it")
}

fn exchange(provider: &CryptoProvider, group: NamedGroup) -> Result<Operation, String> {
    let group: &'static dyn SupportedKxGroup =
        *provider.kx_groups.iter().find(|it| it.name() == group).ok_or_else(lacks)?;
    Ok(Box::new(move |count| {
        timed(count, || {
            let client = group.start()?;
            let server = group.start_and_complete(client.pub_key())?;
            client.complete(&server.pub_key).map(drop)
        })
    }))
}

fn signer(provider: &CryptoProvider, key: &Key) -> Result<Box<dyn rustls::sign::Signer>, String> {
    let pkcs8 = PrivateKeyDer::Pkcs8(key.pkcs8.clone().into());
    let loaded = provider.key_provider.load_private_key(pkcs8).map_err(|_| lacks())?;
    loaded.choose_scheme(&[key.scheme]).ok_or_else(lacks)
}

fn sign(provider: &CryptoProvider, key: &Key) -> Result<Operation, String> {
    let signer = signer(provider, key)?;
    Ok(Box::new(move |count| timed(count, || signer.sign(&MESSAGE).map(drop))))
}

fn verify(provider: &CryptoProvider, key: &Key) -> Result<Operation, String> {
    let signature = signer(provider, key)?.sign(&MESSAGE).map_err(|error| error.to_string())?;
    let known = provider.signature_verification_algorithms.mapping.iter();
    let mut of_scheme = known.filter(|(scheme, _)| *scheme == key.scheme).flat_map(|(_, it)| *it);
    let public = key.public.clone();
    // A scheme of ECDSA maps to an algorithm for each curve.
    let fits = |it: &&&dyn rustls::pki_types::SignatureVerificationAlgorithm| {
        it.verify_signature(&public, &MESSAGE, &signature).is_ok()
    };
    let algorithm = *of_scheme.find(fits).ok_or_else(lacks)?;
    Ok(Box::new(move |count| {
        timed(count, || {
            algorithm
                .verify_signature(&public, &MESSAGE, &signature)
                .map_err(|_| "it refuses its own signature")
        })
    }))
}

/// New keys for each time that is measured: none comes near its end.
fn keys(ends: &Ends) -> Result<(WriteKeys, ReadKeys), String> {
    let (suite, ours, theirs) = ends.secrets()?;
    let write = WriteKeys::new(suite, ours.tx, RECORDS_MAX).ok_or_else(lacks)?;
    let read = ReadKeys::new(suite, theirs.rx, RECORDS_MAX).ok_or_else(lacks)?;
    Ok((write, read))
}

fn ends(peers: &Peers, provider: &CryptoProvider, suite: CipherSuite) -> Result<Ends, String> {
    let mut provider = provider.clone();
    provider.cipher_suites.retain(|it| it.suite() == suite);
    if provider.cipher_suites.is_empty() {
        return Err(lacks());
    }
    peers.ends(provider, false)
}

fn seal(
    peers: &Peers,
    provider: &CryptoProvider,
    suite: CipherSuite,
    bytes: usize,
) -> Result<Operation, String> {
    let ends = ends(peers, provider, suite)?;
    let (content, mut out) = (vec![0x5a; bytes], Vec::new());
    Ok(Box::new(move |count| {
        let (mut write, _) = keys(&ends)?;
        timed(count, || {
            out.clear();
            write.seal(ContentType::Data, &content, &mut out).map_err(|error| format!("{error:?}"))
        })
    }))
}

fn open(
    peers: &Peers,
    provider: &CryptoProvider,
    suite: CipherSuite,
    bytes: usize,
) -> Result<Operation, String> {
    let ends = ends(peers, provider, suite)?;
    let (content, mut out) = (vec![0x5a; bytes], Vec::new());
    Ok(Box::new(move |count| {
        let (mut write, mut read) = keys(&ends)?;
        let (mut left, mut spent) = (count, Duration::ZERO);
        while left > 0 {
            let now = left.min(RECORDS_AT_ONCE);
            let mut records = vec![Vec::new(); now as usize];
            for record in &mut records {
                let sealed = write.seal(ContentType::Data, &content, record);
                sealed.map_err(|error| format!("{error:?}"))?;
            }
            let mut records = records.iter();
            spent += timed(now, || {
                out.clear();
                let record = records.next().map_or(&[][..], Vec::as_slice);
                read.open(record, &mut out).map(drop).map_err(|error| format!("{error:?}"))
            })?;
            left -= now;
        }
        Ok(spent)
    }))
}

fn handshakes(
    peers: &Peers,
    provider: &CryptoProvider,
    resumed: bool,
    part: Part,
) -> Result<Operation, String> {
    let ends = peers.ends(provider.clone(), resumed)?;
    Ok(Box::new(move |count| {
        let mut spent = Duration::ZERO;
        for _ in 0..count {
            spent += ends.shake_hands(resumed, part)?;
        }
        Ok(spent)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_works_or_says_that_the_backend_lacks_it() {
        let kit = Kit::new().expect("keys");
        let mut table = cases(&kit, Backend::ALL).expect("cases");
        assert_eq!(table.len(), 4 + 5 + 5 + 18 + 4);
        for case in &mut table {
            assert_eq!(case.operations.len(), Backend::ALL.len());
            for (operation, backend) in case.operations.iter_mut().zip(Backend::ALL) {
                match operation {
                    Ok(operation) => {
                        let spent = operation(3).expect("it works");
                        assert!(spent > Duration::ZERO, "{backend:?}: {}", case.name);
                    }
                    Err(lack) => {
                        assert_eq!(*lack, lacks(), "{backend:?}: {} {}", case.section, case.name);
                        assert_ne!(backend.name(), "aws-lc-rs", "{}", case.name);
                    }
                }
            }
        }
    }
}
