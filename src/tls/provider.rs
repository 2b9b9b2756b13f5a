//! The crypto backends: which are compiled in, which cipher suites, key exchange groups and
//! protocol versions each has, what the configuration calls them, and in which order they are
//! preferred.
//!
//! Nothing here implements cryptography. The tables are what the configuration is read by and what
//! messages about it say. The log and the demo show more than is supported here and read
//! `names.rs`; the invariant is that each name that those show for a supported thing is understood
//! by the configuration. A [`Backend`] that is not compiled in cannot exist, and all that a
//! provider does is its one backend's.

use std::fmt;
use std::str::FromStr;

use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, NamedGroup, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion,
};

#[cfg(not(any(
    feature = "aws-lc-rs",
    feature = "ring",
    feature = "graviola",
    feature = "openssl",
    feature = "rustcrypto",
    feature = "fips"
)))]
compile_error!(
    "no crypto backend: enable at least one of the features aws-lc-rs (the default), ring, \
     graviola, openssl, rustcrypto, fips"
);

/// Every backend that there is, by its name, which is also its cargo feature's.
pub static BACKENDS: &[&str] = &["aws-lc-rs", "ring", "graviola", "openssl", "rustcrypto", "fips"];

/// A crypto backend that is compiled in; all of TLS is done by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// aws-lc-rs: AWS-LC, in C and assembly.
    ///
    /// In a build with `fips` there is none: the library is its validated form then.
    #[cfg(all(feature = "aws-lc-rs", not(feature = "fips")))]
    AwsLcRs,
    /// AWS-LC's validated module, with approved suites and groups only.
    #[cfg(feature = "fips")]
    Fips,
    /// ring: BoringSSL's assembly, and Rust.
    #[cfg(feature = "ring")]
    Ring,
    /// Graviola: verified assembly, and Rust.
    #[cfg(feature = "graviola")]
    Graviola,
    /// The system's OpenSSL.
    #[cfg(feature = "openssl")]
    OpenSsl,
    /// RustCrypto: Rust alone. For comparison, not for service.
    #[cfg(feature = "rustcrypto")]
    RustCrypto,
}

impl Backend {
    /// All that are compiled in, most preferred first.
    pub const ALL: &'static [Self] = &[
        #[cfg(all(feature = "aws-lc-rs", not(feature = "fips")))]
        Self::AwsLcRs,
        #[cfg(feature = "fips")]
        Self::Fips,
        #[cfg(feature = "ring")]
        Self::Ring,
        #[cfg(feature = "graviola")]
        Self::Graviola,
        #[cfg(feature = "openssl")]
        Self::OpenSsl,
        #[cfg(feature = "rustcrypto")]
        Self::RustCrypto,
    ];

    /// Its name in the configuration, and its cargo feature's.
    pub const fn name(self) -> &'static str {
        match self {
            #[cfg(all(feature = "aws-lc-rs", not(feature = "fips")))]
            Self::AwsLcRs => "aws-lc-rs",
            #[cfg(feature = "fips")]
            Self::Fips => "fips",
            #[cfg(feature = "ring")]
            Self::Ring => "ring",
            #[cfg(feature = "graviola")]
            Self::Graviola => "graviola",
            #[cfg(feature = "openssl")]
            Self::OpenSsl => "openssl",
            #[cfg(feature = "rustcrypto")]
            Self::RustCrypto => "rustcrypto",
        }
    }

    /// The backend that runs where none is named.
    ///
    /// # Errors
    ///
    /// [`BackendError::Processor`].
    pub fn preferred() -> Result<Self, BackendError> {
        Self::ALL[0].runs_here()
    }

    /// Its suites of [`SUITES`], most preferred first.
    pub fn suites(self) -> Vec<SupportedCipherSuite> {
        self.whole().cipher_suites
    }

    /// Its groups of [`GROUPS`], most preferred first.
    pub fn groups(self) -> Vec<&'static dyn SupportedKxGroup> {
        self.whole().kx_groups
    }

    /// All that it has and the configuration has a name for, in the order of preference.
    fn whole(self) -> CryptoProvider {
        let theirs = match self {
            #[cfg(all(feature = "aws-lc-rs", not(feature = "fips")))]
            Self::AwsLcRs => rustls::crypto::aws_lc_rs::default_provider(),
            #[cfg(feature = "fips")]
            Self::Fips => rustls::crypto::default_fips_provider(),
            #[cfg(feature = "ring")]
            Self::Ring => rustls::crypto::ring::default_provider(),
            #[cfg(feature = "graviola")]
            Self::Graviola => rustls_graviola::default_provider(),
            #[cfg(feature = "openssl")]
            Self::OpenSsl => rustls_openssl::default_provider(),
            #[cfg(feature = "rustcrypto")]
            Self::RustCrypto => rustls_rustcrypto::provider(),
        };
        let suite = |id| theirs.cipher_suites.iter().find(|suite| suite.suite() == id).copied();
        let group = |id| theirs.kx_groups.iter().find(|group| group.name() == id).copied();
        CryptoProvider {
            cipher_suites: SUITES.iter().filter_map(|(_, id)| suite(*id)).collect(),
            kx_groups: GROUPS.iter().filter_map(|(_, id)| group(*id)).collect(),
            ..theirs
        }
    }

    /// Graviola panics on a processor that lacks what its code is written for.
    fn runs_here(self) -> Result<Self, BackendError> {
        #[cfg(feature = "graviola")]
        if self == Self::Graviola && !graviola_runs_here() {
            return Err(BackendError::Processor);
        }
        Ok(self)
    }
}

/// What `graviola::low` asserts on its first use.
#[cfg(feature = "graviola")]
fn graviola_runs_here() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq")
        && std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("adx")
        && std::arch::is_x86_feature_detected!("avx")
        && std::arch::is_x86_feature_detected!("avx2");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("neon")
        && std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
        && std::arch::is_aarch64_feature_detected!("sha2");
}

/// Why a backend, or something of it, cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendError {
    /// No backend has this name.
    Unknown(String),
    /// The backend of this name exists and is not compiled in.
    NotCompiledIn(&'static str),
    /// Graviola does not run on this processor.
    Processor,
    /// The backend lacks this suite.
    Suite(Backend, CipherSuite),
    /// The backend lacks this group.
    Group(Backend, NamedGroup),
}

impl BackendError {
    /// What was found.
    pub fn found(&self) -> String {
        match self {
            Self::Unknown(name) => format!("the crypto backend {name:?}, which does not exist"),
            Self::NotCompiledIn(name) => {
                format!("the crypto backend {name:?}, which is not compiled in")
            }
            Self::Processor => {
                String::from("the crypto backend \"graviola\", which this processor cannot run")
            }
            Self::Suite(backend, suite) => {
                format!("{}, which the crypto backend {} lacks", suite_name(*suite), backend.name())
            }
            Self::Group(backend, group) => {
                format!("{}, which the crypto backend {} lacks", group_name(*group), backend.name())
            }
        }
    }

    /// What would have been right.
    pub fn expected(&self) -> String {
        let list = |names: Vec<&str>| format!("one of {}", names.join(", "));
        match self {
            Self::Unknown(_) => list(BACKENDS.to_vec()),
            Self::NotCompiledIn(_) => list(Backend::ALL.iter().map(|it| it.name()).collect()),
            Self::Processor if cfg!(target_arch = "x86_64") => {
                String::from("a processor with adx, aes, avx, avx2, bmi1 and pclmulqdq")
            }
            Self::Processor => String::from("a processor with aes, neon, pmull and sha2"),
            Self::Suite(backend, _) => {
                list(backend.suites().iter().map(|suite| suite_name(suite.suite())).collect())
            }
            Self::Group(backend, _) => {
                list(backend.groups().iter().map(|group| group_name(group.name())).collect())
            }
        }
    }

    /// What to do.
    pub fn fix(&self) -> String {
        match self {
            Self::Unknown(_) => String::from("write one of these"),
            // One library in two forms: a program has one of them.
            Self::NotCompiledIn("aws-lc-rs") if cfg!(feature = "fips") => String::from(
                "write \"fips\", which is the same library in its validated form, or build \
                 without the feature `fips`",
            ),
            Self::NotCompiledIn(name) => format!(
                "write one of these, or build with the cargo feature `{name}`: \
                 `cargo build --release --features {name}`"
            ),
            Self::Processor => String::from("choose another backend"),
            Self::Suite(..) | Self::Group(..) => {
                String::from("choose among these, or another backend")
            }
        }
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected {}; fix: {}", self.found(), self.expected(), self.fix())
    }
}

impl std::error::Error for BackendError {}

impl FromStr for Backend {
    type Err = BackendError;

    fn from_str(name: &str) -> Result<Self, BackendError> {
        let known = BACKENDS.iter().find(|known| **known == name);
        let known = known.ok_or_else(|| BackendError::Unknown(name.to_string()))?;
        let backend = Self::ALL.iter().find(|backend| backend.name() == *known);
        backend.ok_or(BackendError::NotCompiledIn(known))?.runs_here()
    }
}

/// Every cipher suite, most preferred first.
///
/// The AES-128 suites lead: they hash with SHA-256, and a SHA-384 suite costs 26 us more per full
/// handshake. ChaCha20-Poly1305 comes last because the machines this runs on have AES
/// instructions. Names are IANA's, with `TLS_` for both versions.
pub static SUITES: &[(&str, CipherSuite)] = &[
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Every key exchange group, most preferred first.
///
/// The hybrid leads: it costs 17 us more and keeps recorded traffic closed to a quantum computer.
/// TLS 1.2 cannot use it (RFC 8446 groups only).
pub static GROUPS: &[(&str, NamedGroup)] = &[
    ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
    ("X25519", NamedGroup::X25519),
    ("secp256r1", NamedGroup::secp256r1),
    ("secp384r1", NamedGroup::secp384r1),
];

/// Other names that the configuration may use for groups: NIST's for SECG's curves.
static GROUP_ALIASES: &[(&str, &str)] = &[("P-256", "secp256r1"), ("P-384", "secp384r1")];

/// Every protocol version, most preferred first.
pub static VERSIONS: &[(&str, &SupportedProtocolVersion)] = &[("1.3", &TLS13), ("1.2", &TLS12)];

/// Other names that the configuration may use for versions: those of the log.
static VERSION_ALIASES: &[(&str, &str)] = &[("TLS 1.3", "1.3"), ("TLS 1.2", "1.2")];

/// The suite that the configuration calls `name`; case does not count.
pub fn suite_by_name(name: &str) -> Option<CipherSuite> {
    SUITES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, suite)| *suite)
}

/// The group that the configuration calls `name`, NIST's names included; case does not count.
pub fn group_by_name(name: &str) -> Option<NamedGroup> {
    let name = without_alias(GROUP_ALIASES, name);
    GROUPS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, group)| *group)
}

/// The version that the configuration calls `name`, the log's names included; case does not count.
pub fn version_by_name(name: &str) -> Option<&'static SupportedProtocolVersion> {
    let name = without_alias(VERSION_ALIASES, name);
    VERSIONS.iter().find(|(known, _)| *known == name).map(|(_, version)| *version)
}

fn without_alias<'n>(aliases: &[(&str, &'n str)], name: &'n str) -> &'n str {
    let alias = aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
    alias.map_or(name, |(_, name)| *name)
}

/// What the configuration calls a suite.
pub fn suite_name(suite: CipherSuite) -> &'static str {
    SUITES.iter().find(|(_, known)| *known == suite).map_or("unknown", |(name, _)| *name)
}

/// What the configuration calls a group: the first of its names.
pub fn group_name(group: NamedGroup) -> &'static str {
    GROUPS.iter().find(|(_, known)| *known == group).map_or("unknown", |(name, _)| *name)
}

/// What the configuration calls a protocol version: the first of its names.
pub fn version_name(version: ProtocolVersion) -> &'static str {
    VERSIONS.iter().find(|(_, known)| known.version == version).map_or("unknown", |(name, _)| *name)
}

/// The version that a suite is of.
pub fn version_of(suite: CipherSuite) -> &'static SupportedProtocolVersion {
    // RFC 8446, B.4: the suites of TLS 1.3 are 0x13xx.
    if u16::from(suite) >> 8 == 0x13 { &TLS13 } else { &TLS12 }
}

/// A provider of these suites and groups of a backend, each most preferred first; empty stands for
/// all that it has.
///
/// # Errors
///
/// The first suite or group that the backend lacks.
pub fn provider(
    backend: Backend,
    suites: &[CipherSuite],
    groups: &[NamedGroup],
) -> Result<CryptoProvider, BackendError> {
    let mut provider = backend.whole();
    if !suites.is_empty() {
        let find = |id: &CipherSuite| {
            let found = provider.cipher_suites.iter().find(|suite| suite.suite() == *id);
            found.copied().ok_or(BackendError::Suite(backend, *id))
        };
        provider.cipher_suites = suites.iter().map(find).collect::<Result<_, _>>()?;
    }
    if !groups.is_empty() {
        let find = |id: &NamedGroup| {
            let found = provider.kx_groups.iter().find(|group| group.name() == *id);
            found.copied().ok_or(BackendError::Group(backend, *id))
        };
        provider.kx_groups = groups.iter().map(find).collect::<Result<_, _>>()?;
    }
    Ok(provider)
}

/// Makes a backend do the work of its first use now, before a client waits for it.
///
/// aws-lc-rs seeds its generator from CPU jitter, detects the CPU and builds tables: 25 ms
/// measured, once per process. A thread's own generator is another 0.2 ms, so a worker may call
/// this again on its own thread.
///
/// # Errors
///
/// What the backend reports, which means that no handshake would succeed either.
pub fn warm_up(provider: &CryptoProvider) -> Result<(), rustls::Error> {
    let mut random = [0; 32];
    provider.secure_random.fill(&mut random)?;
    for group in &provider.kx_groups {
        let client = group.start()?;
        let server = group.start_and_complete(client.pub_key())?;
        client.complete(&server.pub_key)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
