//! One authority and what it issued, made once per process: the files of a configuration.

use std::sync::OnceLock;

use ringfort::cli::pki::{Authority, Issued, KeyChoice, Names, Profile, Validity};

/// 2026-01-02 00:00 UTC, the time of a configuration.
pub(crate) const NOW_UNIX_S: i64 = 1_767_312_000;
const YEAR_S: i64 = 31_557_600;

/// An authority, a server, a client, and a server that was valid once.
pub(crate) struct Pki {
    pub(crate) roots_pem: String,
    pub(crate) server: Issued,
    pub(crate) client: Issued,
    pub(crate) expired: Issued,
}

pub(crate) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let profile = |name: &str, first: i64, last: i64| Profile {
            common_name: name.into(),
            key: KeyChoice::Ed25519,
            validity: Validity::between(NOW_UNIX_S + first * YEAR_S, NOW_UNIX_S + last * YEAR_S)
                .expect("years of this century"),
        };
        let names = Names { dns: vec!["localhost".into()], ..Names::default() };
        let spiffe = Some("spiffe://example.org/client".into());
        let client_names = Names { spiffe, ..names.clone() };
        let root = Authority::root(&profile("root", -5, 40)).expect("a root");
        let server = |first, last| root.issue_server(&profile("server", first, last), &names);
        let client = root.issue_client(&profile("client", -5, 30), &client_names);
        Pki {
            roots_pem: root.chain_pem(),
            server: server(-5, 30).expect("a server"),
            client: client.expect("a client"),
            expired: server(-5, -1).expect("a server"),
        }
    })
}
