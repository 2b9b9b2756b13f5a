//! Tests of the tables and of every backend that is compiled in.

use super::*;
use crate::tls::names;

fn whole(backend: Backend) -> CryptoProvider {
    provider(backend, &[], &[]).expect("all that there is")
}

#[test]
fn every_backend_prefers_aes_128_and_the_hybrid_group_where_it_has_one() {
    for &backend in Backend::ALL {
        let provider = whole(backend);
        assert_eq!(provider.cipher_suites[0].suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
        let groups: Vec<_> = provider.kx_groups.iter().map(|group| group.name()).collect();
        let known: Vec<_> = GROUPS.iter().map(|(_, group)| *group).collect();
        let ordered: Vec<_> = known.into_iter().filter(|group| groups.contains(group)).collect();
        assert_eq!(groups, ordered, "{backend:?}");
        assert!(groups.contains(&NamedGroup::secp256r1), "{backend:?} has {groups:?}");
        let mut versions: Vec<_> =
            provider.cipher_suites.iter().map(|suite| suite.version().version).collect();
        versions.dedup();
        assert_eq!(versions[0], ProtocolVersion::TLSv1_3, "{backend:?}");
        assert!(versions.len() <= 2, "{backend:?} mixes versions");
        for suite in &provider.cipher_suites {
            assert_eq!(version_of(suite.suite()).version, suite.version().version, "{suite:?}");
        }
    }
}

#[test]
fn the_order_given_is_the_order_kept() {
    let suites = ["TLS_AES_256_GCM_SHA384", "tls_aes_128_gcm_sha256"]
        .map(|name| suite_by_name(name).expect("a known suite"));
    let groups = ["P-384", "secp256r1"].map(|name| group_by_name(name).expect("a known group"));
    for &backend in Backend::ALL {
        let provider = provider(backend, &suites, &groups).expect("all have these");
        let names: Vec<_> =
            provider.cipher_suites.iter().map(|suite| suite_name(suite.suite())).collect();
        assert_eq!(names, ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"]);
        let names: Vec<_> =
            provider.kx_groups.iter().map(|group| group_name(group.name())).collect();
        assert_eq!(names, ["secp384r1", "secp256r1"]);
    }
}

#[test]
fn what_a_backend_lacks_is_named_with_what_it_has() {
    for &backend in Backend::ALL {
        let groups: Vec<_> = backend.groups().iter().map(|group| group.name()).collect();
        for (name, group) in GROUPS {
            let made = provider(backend, &[], &[*group]);
            if groups.contains(group) {
                made.expect("it has it");
                continue;
            }
            let error = made.expect_err("it lacks it").to_string();
            let lacks = format!("{name}, which the crypto backend {} lacks;", backend.name());
            assert!(error.starts_with(&lacks), "{error}");
            let has = groups.iter().map(|group| group_name(*group)).collect::<Vec<_>>().join(", ");
            assert!(error.contains(&format!("expected one of {has};")), "{error}");
        }
        let null = provider(backend, &[CipherSuite::TLS_NULL_WITH_NULL_NULL], &[]);
        let error = null.expect_err("nobody has it");
        assert!(error.expected().contains("TLS_AES_128_GCM_SHA256"), "{error}");
    }
}

#[test]
fn every_name_is_a_backend_or_tells_how_to_get_it() {
    let mut compiled = 0;
    for name in BACKENDS {
        match name.parse::<Backend>() {
            Ok(backend) => {
                assert_eq!(backend.name(), *name);
                assert!(Backend::ALL.contains(&backend));
                compiled += 1;
            }
            Err(BackendError::NotCompiledIn(missing)) => {
                let error = BackendError::NotCompiledIn(missing).to_string();
                assert_eq!(missing, *name);
                assert!(error.starts_with(&format!("the crypto backend {name:?}, which is not")));
                assert!(error.contains(&format!("`{name}`")) || cfg!(feature = "fips"), "{error}");
            }
            Err(other) => panic!("{name}: {other}"),
        }
    }
    assert_eq!(compiled, Backend::ALL.len());
    assert_eq!(Backend::preferred(), Ok(Backend::ALL[0]));
    assert_eq!(
        "boringssl".parse::<Backend>().map_err(|error| error.to_string()),
        Err(String::from(
            "the crypto backend \"boringssl\", which does not exist; expected one of aws-lc-rs, \
             ring, graviola, openssl, rustcrypto, fips; fix: write one of these"
        ))
    );
    assert!("".parse::<Backend>().is_err() && "RING".parse::<Backend>().is_err());
}

#[test]
fn every_suite_and_group_of_the_table_has_one_name() {
    let theirs = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
    assert_eq!(theirs.len(), SUITES.len());
    for suite in theirs {
        assert_ne!(suite_name(suite.suite()), "unknown", "{suite:?}");
    }
    assert_eq!(suite_name(CipherSuite::TLS_NULL_WITH_NULL_NULL), "unknown");
    assert_eq!(group_name(NamedGroup::FFDHE2048), "unknown");
    assert!(suite_by_name("TLS_RSA_WITH_AES_128_CBC_SHA").is_none());
    assert!(group_by_name("brainpoolP256r1").is_none());
    for (alias, name) in GROUP_ALIASES {
        let group = group_by_name(alias).expect("an alias names a known group");
        assert_eq!(group_name(group), *name);
    }
}

#[test]
fn the_configuration_understands_what_the_log_shows() {
    let spellings = |shown: &str| [shown.to_lowercase(), shown.to_uppercase(), shown.into()];
    for (_, suite) in SUITES {
        for spelling in spellings(&names::suite_name((*suite).into())) {
            assert_eq!(suite_by_name(&spelling), Some(*suite), "{spelling}");
        }
    }
    for (_, group) in GROUPS {
        for spelling in spellings(&names::group_name((*group).into())) {
            assert_eq!(group_by_name(&spelling), Some(*group), "{spelling}");
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
    for &backend in Backend::ALL {
        warm_up(&whole(backend)).expect("the backend works");
        warm_up(&whole(backend)).expect("the backend works");
    }
}
