//! The crypto backend: which cipher suites, key exchange groups and protocol versions there are,
//! what the configuration calls them, and in which order they are preferred.
//!
//! Everything is aws-lc-rs' through rustls; nothing here implements cryptography. The tables are
//! what the configuration is read by and what messages about it say. The log and the demo show
//! more than is supported here and read `names.rs`; the invariant is that each name that those
//! show for a supported thing is understood by the configuration.

use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, NamedGroup, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion,
};

/// Every cipher suite, most preferred first.
///
/// The AES-128 suites lead: they hash with SHA-256, and a SHA-384 suite costs 26 us more per full
/// handshake. ChaCha20-Poly1305 comes last because the machines this runs on have AES
/// instructions. Names are IANA's, with `TLS_` for both versions.
pub static SUITES: &[(&str, SupportedCipherSuite)] = &[
    ("TLS_AES_128_GCM_SHA256", cipher_suite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", cipher_suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Every key exchange group, most preferred first.
///
/// The hybrid leads: it costs 17 us more and keeps recorded traffic closed to a quantum computer.
/// TLS 1.2 cannot use it (RFC 8446 groups only).
pub static GROUPS: &[(&str, &dyn SupportedKxGroup)] = &[
    ("X25519MLKEM768", kx_group::X25519MLKEM768),
    ("X25519", kx_group::X25519),
    ("secp256r1", kx_group::SECP256R1),
    ("secp384r1", kx_group::SECP384R1),
];

/// Other names that the configuration may use for groups: NIST's for SECG's curves.
static GROUP_ALIASES: &[(&str, &str)] = &[("P-256", "secp256r1"), ("P-384", "secp384r1")];

/// Every protocol version, most preferred first.
pub static VERSIONS: &[(&str, &SupportedProtocolVersion)] = &[("1.3", &TLS13), ("1.2", &TLS12)];

/// Other names that the configuration may use for versions: those of the log.
static VERSION_ALIASES: &[(&str, &str)] = &[("TLS 1.3", "1.3"), ("TLS 1.2", "1.2")];

/// The suite that the configuration calls `name`; case does not count.
pub fn suite_by_name(name: &str) -> Option<SupportedCipherSuite> {
    SUITES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, suite)| *suite)
}

/// The group that the configuration calls `name`, NIST's names included; case does not count.
pub fn group_by_name(name: &str) -> Option<&'static dyn SupportedKxGroup> {
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
    SUITES.iter().find(|(_, known)| known.suite() == suite).map_or("unknown", |(name, _)| *name)
}

/// What the configuration calls a group: the first of its names.
pub fn group_name(group: NamedGroup) -> &'static str {
    GROUPS.iter().find(|(_, known)| known.name() == group).map_or("unknown", |(name, _)| *name)
}

/// What the configuration calls a protocol version: the first of its names.
pub fn version_name(version: ProtocolVersion) -> &'static str {
    VERSIONS.iter().find(|(_, known)| known.version == version).map_or("unknown", |(name, _)| *name)
}

/// A provider of these suites and groups, each most preferred first; empty stands for all.
pub fn provider(
    suites: &[SupportedCipherSuite],
    groups: &[&'static dyn SupportedKxGroup],
) -> CryptoProvider {
    let all_suites = || SUITES.iter().map(|(_, suite)| *suite).collect();
    let all_groups = || GROUPS.iter().map(|(_, group)| *group).collect();
    CryptoProvider {
        cipher_suites: if suites.is_empty() { all_suites() } else { suites.to_vec() },
        kx_groups: if groups.is_empty() { all_groups() } else { groups.to_vec() },
        ..aws_lc_rs::default_provider()
    }
}

/// Makes aws-lc-rs do the work of its first use now, before a client waits for it.
///
/// The first use seeds the generator from CPU jitter, detects the CPU and builds tables: 25 ms
/// measured, once per process. A thread's own generator is another 0.2 ms, so a worker may call
/// this again on its own thread.
///
/// # Errors
///
/// What the backend reports, which means that no handshake would succeed either.
pub fn warm_up() -> Result<(), rustls::Error> {
    let provider = provider(&[], &[]);
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
mod tests {
    use super::*;
    use crate::tls::names;

    #[test]
    fn the_default_prefers_aes_128_and_the_hybrid_group() {
        let provider = provider(&[], &[]);
        assert_eq!(provider.cipher_suites[0].suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(provider.kx_groups[0].name(), NamedGroup::X25519MLKEM768);
        let mut versions: Vec<_> =
            provider.cipher_suites.iter().map(|suite| suite.version().version).collect();
        versions.dedup();
        assert_eq!(versions, [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2]);
    }

    #[test]
    fn the_order_given_is_the_order_kept() {
        let suites = ["TLS_CHACHA20_POLY1305_SHA256", "tls_aes_128_gcm_sha256"]
            .map(|name| suite_by_name(name).expect("a known suite"));
        let groups = ["P-384", "x25519"].map(|name| group_by_name(name).expect("a known group"));
        let provider = provider(&suites, &groups);
        let names: Vec<_> =
            provider.cipher_suites.iter().map(|suite| suite_name(suite.suite())).collect();
        assert_eq!(names, ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]);
        let names: Vec<_> =
            provider.kx_groups.iter().map(|group| group_name(group.name())).collect();
        assert_eq!(names, ["secp384r1", "X25519"]);
    }

    #[test]
    fn every_suite_of_the_backend_has_a_name() {
        for suite in aws_lc_rs::ALL_CIPHER_SUITES {
            assert_ne!(suite_name(suite.suite()), "unknown", "{suite:?}");
        }
        assert_eq!(suite_name(CipherSuite::TLS_NULL_WITH_NULL_NULL), "unknown");
        assert_eq!(group_name(NamedGroup::FFDHE2048), "unknown");
        assert!(suite_by_name("TLS_RSA_WITH_AES_128_CBC_SHA").is_none());
        assert!(group_by_name("brainpoolP256r1").is_none());
        for (alias, name) in GROUP_ALIASES {
            let group = group_by_name(alias).expect("an alias names a known group");
            assert_eq!(group_name(group.name()), *name);
        }
    }

    #[test]
    fn the_configuration_understands_what_the_log_shows() {
        let spellings = |shown: &str| [shown.to_lowercase(), shown.to_uppercase(), shown.into()];
        for (_, suite) in SUITES {
            for spelling in spellings(&names::suite_name(suite.suite().into())) {
                assert_eq!(suite_by_name(&spelling), Some(*suite), "{spelling}");
            }
        }
        for (_, group) in GROUPS {
            for spelling in spellings(&names::group_name(group.name().into())) {
                let found = group_by_name(&spelling).map(SupportedKxGroup::name);
                assert_eq!(found, Some(group.name()), "{spelling}");
            }
        }
        for (name, version) in VERSIONS {
            assert_eq!(version_by_name(name), Some(*version));
            assert_eq!(version_name(version.version), *name);
            for spelling in spellings(&names::version_name(version.version.into())) {
                assert_eq!(version_by_name(&spelling), Some(*version), "{spelling}");
            }
        }
        for other in ["1.1", "TLS 1.1", "TLS", "TLS1.3", "", "SSL 3.0"] {
            assert_eq!(version_by_name(other), None, "{other}");
        }
        assert_eq!(version_name(ProtocolVersion::TLSv1_1), "unknown");
    }

    #[test]
    fn warming_up_works_more_than_once() {
        warm_up().expect("the backend works");
        warm_up().expect("the backend works");
    }
}
