//! The keys of a listener that say who its clients are: roots, verifier, rules.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use toml::Spanned;

use super::{Complaint, Resolver, bounds};
use crate::config::model::{self, ClientKeys, Texts};
use crate::config::snapshot::Scopes;
use crate::identity::{KeyType, Pattern, check_dns_name};
use crate::limits::{
    ALLOW_PATTERNS_MAX, DENY_PATTERNS_MAX, ROUTE_PATTERNS_MAX, SERVER_NAME_TABLES_MAX,
    SERVER_NAMES_MAX,
};
use crate::policy::Rules;
use crate::tls::names::scheme_name;
use crate::tls::server_name::NameMap;
use crate::trust::scope::{Scope, ScopeOptions};
use crate::trust::verify::{ClientAuth, ClientVerifier, KeyRules, VerifierError, VerifierOptions};

/// What `client_auth` may be.
const CLIENT_AUTHS: &[(&str, ClientAuth)] = &[
    ("require", ClientAuth::Require),
    ("optional", ClientAuth::Optional),
    ("off", ClientAuth::Off),
];

/// What tells `allow` and `deny` apart while they are read.
pub(super) struct PatternList {
    key: &'static str,
    count_max: usize,
    /// What an empty list does.
    empty: &'static str,
    empty_fix: &'static str,
}

const ALLOW: PatternList = PatternList {
    key: "allow",
    count_max: ALLOW_PATTERNS_MAX,
    empty: "admits nobody",
    empty_fix: "add one, such as \"dns:client.example.org\"; remove `allow` to admit every \
                verified client",
};

const DENY: PatternList = PatternList {
    key: "deny",
    count_max: DENY_PATTERNS_MAX,
    empty: "denies nobody",
    empty_fix: "add one, such as \"dns:client.example.org\", or remove `deny`",
};

/// Of a route: whose requests it takes.
pub(super) const IDENTITY: PatternList = PatternList {
    key: "identity",
    count_max: ROUTE_PATTERNS_MAX,
    empty: "takes nobody's requests",
    empty_fix: "add one, such as \"dns:client.example.org\", or remove `identity`",
};

impl Resolver<'_> {
    /// What the listener demands of its clients, by the server name that they ask for.
    ///
    /// `None` where roots are missing or broken, which was refused where it was found.
    pub(super) fn scopes(
        &mut self,
        written: &Spanned<model::Listener>,
        name: &str,
        provider: &Arc<CryptoProvider>,
    ) -> Option<Scopes> {
        let base = written.get_ref().client_keys();
        let default = self.scope(&base, &base, written.span(), name.into(), provider);
        let tables = &written.get_ref().server_name;
        if tables.len() > SERVER_NAME_TABLES_MAX {
            let found = format!("a listener has {} tables [[listener.server_name]]", tables.len());
            let expected = format!("at most {SERVER_NAME_TABLES_MAX}");
            self.refuse(&written.span(), &found, &expected, "join them");
        }
        let mut by_name: NameMap<Option<Arc<Scope>>> = NameMap::default();
        let mut complete = true;
        for table in tables.iter().take(SERVER_NAME_TABLES_MAX) {
            let names = self.server_names(table);
            let own = table.get_ref().client_keys();
            let keys = own.clone().or(&base);
            // One name is enough to tell its tables apart.
            let label = format!("{name}/{}", names.first().map_or("", String::as_str));
            let Some(scope) = self.scope(&keys, &own, table.span(), label.into(), provider) else {
                complete = false;
                continue;
            };
            let scope = Arc::new(scope);
            for name in names {
                if by_name.entry(&name).replace(Arc::clone(&scope)).is_some() {
                    self.refuse(
                        &table.span(),
                        &format!("the server name {name} has two tables"),
                        "each name in one table [[listener.server_name]]",
                        "remove it from one of them",
                    );
                }
            }
        }
        Some(Scopes { default: Arc::new(default?), by_name }).filter(|_| complete)
    }

    /// `own` are the keys that were written here; `keys` has those that are inherited too.
    fn scope(
        &mut self,
        keys: &ClientKeys,
        own: &ClientKeys,
        table: Range<usize>,
        name: Arc<str>,
        provider: &Arc<CryptoProvider>,
    ) -> Option<Scope> {
        let mode = self.choice(
            keys.client_auth.as_ref(),
            "client_auth",
            CLIENT_AUTHS,
            ClientAuth::Require,
        );
        let rules = self.rules(keys);
        if matches!(mode, ClientAuth::Off) {
            self.refuse_client_keys(own);
            let (rules, revocation) = (Rules::unrestricted(), Arc::default());
            return Some(Scope::new(ScopeOptions { name, verifier: None, rules, revocation }));
        }
        let key_rules = self.key_rules(keys);
        let chain_max =
            self.count(keys.chain_certificates_max.as_ref(), &bounds::CHAIN_CERTIFICATES_MAX);
        let schemes = self.schemes(keys, provider);
        let roots = self.roots(keys, table.clone());
        let intermediates = self.intermediates(keys);
        let ((anchors, roots), intermediates) = (roots?, intermediates?);
        let authorities: Vec<_> = roots.iter().chain(&intermediates).collect();
        let revocation = self.revocation(keys, &table, &authorities, provider)?;
        let options = VerifierOptions {
            anchors,
            intermediates,
            mode,
            chain_certificates_max: chain_max as usize,
            keys: key_rules,
            schemes,
            send_names: keys.send_client_ca_names.unwrap_or(true),
            provider: Arc::clone(provider),
        };
        let verifier = Some(self.verifier(&table, ClientVerifier::new(options))?);
        Some(Scope::new(ScopeOptions { name, verifier, rules, revocation }))
    }

    /// What is said about clients' certificates where none is asked for has no effect, and who
    /// wrote it believes that it has.
    fn refuse_client_keys(&mut self, keys: &ClientKeys) {
        let written: [(&str, Option<Range<usize>>); 13] = [
            ("client_ca", keys.client_ca.as_ref().map(Spanned::span)),
            ("allow", keys.allow.as_ref().map(Spanned::span)),
            ("deny", keys.deny.as_ref().map(Spanned::span)),
            ("chain_certificates_max", keys.chain_certificates_max.as_ref().map(Spanned::span)),
            ("client_key_types", keys.client_key_types.as_ref().map(Spanned::span)),
            ("client_rsa_bits_min", keys.client_rsa_bits_min.as_ref().map(Spanned::span)),
            ("client_intermediates", keys.client_intermediates.as_ref().map(Spanned::span)),
            ("client_signature_schemes", keys.client_signature_schemes.as_ref().map(Spanned::span)),
            ("client_crl", keys.client_crl.as_ref().map(Spanned::span)),
            ("crl_check", keys.crl_check.as_ref().map(Spanned::span)),
            ("crl_missing", keys.crl_missing.as_ref().map(Spanned::span)),
            ("crl_stale", keys.crl_stale.as_ref().map(Spanned::span)),
            ("trust_domain", keys.trust_domain.first().map(Spanned::span)),
        ];
        for (key, span) in written {
            if let Some(span) = span {
                self.refuse(
                    &span,
                    &format!("{key} is set, and client_auth = \"off\" asks for no certificate"),
                    "it only with \"require\" or \"optional\"",
                    &format!("remove `{key}`, or set `client_auth = \"require\"`"),
                );
            }
        }
    }

    pub(super) fn rules(&mut self, keys: &ClientKeys) -> Rules {
        let rules = match &keys.allow {
            None => Rules::unrestricted(),
            Some(allow) => Rules::allow(self.patterns(allow, &ALLOW)),
        };
        match &keys.deny {
            None => rules,
            Some(deny) => rules.and_deny(self.patterns(deny, &DENY)),
        }
    }

    pub(super) fn patterns(&mut self, list: &Texts, about: &PatternList) -> Vec<Pattern> {
        let PatternList { key, count_max, .. } = *about;
        let texts = list.get_ref();
        if texts.is_empty() {
            let found = format!("{key} is an empty list, which {}", about.empty);
            self.refuse(&list.span(), &found, "at least one pattern", about.empty_fix);
        }
        if texts.len() > count_max {
            let found = format!("{key} lists {} patterns", texts.len());
            let expected = format!("at most {count_max}");
            self.refuse(&list.span(), &found, &expected, "use patterns with a wildcard");
        }
        self.refuse_duplicates(key, texts.iter());
        let mut patterns = Vec::with_capacity(texts.len());
        for text in texts {
            match text.get_ref().parse::<Pattern>() {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => {
                    let complaint = Complaint::new(
                        format!("is not a pattern: {error}"),
                        "a pattern of docs/configuration.md, such as \"dns:client.example.org\" \
                         or \"spiffe://example.org/ns/*/client\"",
                        "correct it",
                    );
                    self.complain(key, text, complaint);
                }
            }
        }
        patterns
    }

    fn key_rules(&mut self, keys: &ClientKeys) -> KeyRules {
        let names = KeyType::ALL.iter().map(|key_type| key_type.as_str());
        let parse = |text: &str| text.parse::<KeyType>().ok().map(|kind| (kind.as_str(), kind));
        let types = self
            .known_list(keys.client_key_types.as_ref(), "client_key_types", names, parse)
            .unwrap_or_else(|| KeyType::ALL.to_vec());
        let rsa_bits_min =
            self.count(keys.client_rsa_bits_min.as_ref(), &bounds::CLIENT_RSA_BITS_MIN);
        if let Some(bits) = &keys.client_rsa_bits_min
            && !types.contains(&KeyType::Rsa)
        {
            self.refuse(
                &bits.span(),
                &format!("client_rsa_bits_min = {rsa_bits_min}, and client_key_types lacks rsa"),
                "it only where RSA keys are accepted",
                "remove it, or add \"rsa\" to `client_key_types`",
            );
        }
        KeyRules { types, rsa_bits_min }
    }

    /// `None`: all that the backend verifies.
    fn schemes(
        &mut self,
        keys: &ClientKeys,
        provider: &CryptoProvider,
    ) -> Option<Vec<SignatureScheme>> {
        let known = provider.signature_verification_algorithms.supported_schemes();
        // Only what has a name in IANA's registry can be written.
        let named: Vec<(&'static str, SignatureScheme)> = known
            .iter()
            .filter_map(|scheme| match scheme_name((*scheme).into()) {
                Cow::Borrowed(name) => Some((name, *scheme)),
                Cow::Owned(_) => None,
            })
            .collect();
        let parse = |text: &str| named.iter().find(|(name, _)| *name == text).copied();
        self.known_list(
            keys.client_signature_schemes.as_ref(),
            "client_signature_schemes",
            named.iter().map(|(name, _)| *name),
            parse,
        )
    }

    fn verifier(
        &mut self,
        table: &Range<usize>,
        built: Result<ClientVerifier, VerifierError>,
    ) -> Option<Arc<ClientVerifier>> {
        match (built, &self.context.observer) {
            (Ok(verifier), Some(observer)) => {
                Some(Arc::new(verifier.observed(Arc::clone(observer))))
            }
            (Ok(verifier), None) => Some(Arc::new(verifier)),
            (Err(error), _) => {
                self.refuse(
                    table,
                    &format!("no verifier of clients can be built: {error}"),
                    "roots and bounds with which a client can be verified",
                    "correct `client_ca` and the `client_` keys of this listener",
                );
                None
            }
        }
    }

    fn server_names(&mut self, table: &Spanned<model::ServerName>) -> Vec<String> {
        let Some(names) = &table.get_ref().names else {
            self.refuse(
                &table.span(),
                "[[listener.server_name]] has no key `names`",
                "the server names that it speaks of",
                "add `names = [\"api.example.org\"]`",
            );
            return Vec::new();
        };
        self.refuse_empty_list(names, "names");
        self.refuse_duplicates("names", names.get_ref().iter());
        if names.get_ref().len() > SERVER_NAMES_MAX {
            let found = format!("names lists {} server names", names.get_ref().len());
            let expected = format!("at most {SERVER_NAMES_MAX}");
            self.refuse(&names.span(), &found, &expected, "use names with a wildcard");
        }
        for text in names.get_ref() {
            let name = text.get_ref();
            if check_dns_name(name.strip_prefix("*.").unwrap_or(name), false).is_err() {
                self.refuse(
                    &text.span(),
                    &format!("names has {name:?}, which is no DNS name"),
                    "a DNS name; the first label may be `*`",
                    "correct it, such as \"api.example.org\" or \"*.example.org\"",
                );
            }
        }
        names.get_ref().iter().map(|text| text.get_ref().to_ascii_lowercase()).collect()
    }
}
