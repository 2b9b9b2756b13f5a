//! The schema of the configuration file, and what serde has to say about a text that breaks it.
//!
//! A [`Model`] has the right shape and nothing more: names are known, types are right, values are
//! whatever the operator wrote, each with the place where it was written. `resolve` decides what
//! they mean, and owns every default and bound. The flags of the command line build the same
//! `Model`, so there is one meaning. PURE: the text is handed in.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{SeqAccess, Visitor, value::StrDeserializer};
use toml::Spanned;

pub use self::http::{Http, Route};
use super::error::{ConfigError, Place, Source, SourceFile, nearest};

mod http;

/// An integer and where it was written. Bounds are `resolve`'s.
pub type Number = Spanned<i64>;
/// A string and where it was written.
pub type Text = Spanned<String>;
/// A list of strings, each with its place.
pub type Texts = Spanned<Vec<Text>>;

/// A configuration as it was written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What the spans point into.
    #[serde(skip)]
    pub source: Source,
    /// The folder that relative paths start from.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Worker threads.
    pub workers: Option<Number>,
    /// CPUs that workers may be pinned to: `"0-3,8"`.
    pub cpus: Option<Text>,
    /// Milliseconds that connections get to end by themselves.
    pub drain_timeout_ms: Option<Number>,
    /// The table `[log]`.
    #[serde(default)]
    pub log: Log,
    /// The table `[admin]`.
    pub admin: Option<Spanned<Admin>>,
    /// The table `[identity]`.
    #[serde(default)]
    pub identity: Identity,
    /// The table `[limits]`.
    #[serde(default)]
    pub limits: Limits,
    /// The table `[ring]`.
    #[serde(default)]
    pub ring: Ring,
    /// The tables `[[listener]]`.
    #[serde(default)]
    pub listener: Vec<Spanned<Listener>>,
    /// The tables `[[upstream]]`.
    #[serde(default)]
    pub upstream: Vec<Spanned<Upstream>>,
}

/// The table `[log]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `"stderr"`, `"off"` or a path.
    pub target: Option<Text>,
}

/// The table `[admin]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where it listens.
    pub address: Option<Text>,
}

/// The table `[identity]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The private key that identities are signed with (PEM).
    pub key: Option<Text>,
    /// Who signs them.
    pub issuer: Option<Text>,
}

/// The table `[limits]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections of the process.
    pub connections_max: Option<Number>,
    /// Connections of one worker.
    pub connections_per_worker_max: Option<Number>,
    /// Connections of one source address.
    pub connections_per_source_max: Option<Number>,
    /// Verdicts on clients' chains that one worker keeps.
    pub verdicts_per_worker_max: Option<Number>,
    /// Bytes of the sessions that are kept for `resumption = "cache"`.
    pub session_cache_bytes: Option<Number>,
    /// Handshakes in progress on one worker.
    pub handshakes_per_worker_max: Option<Number>,
    /// Handshakes in progress of one source address on one worker.
    pub handshakes_per_source_max: Option<Number>,
    /// Milliseconds that a handshake waits for its place.
    pub handshake_queue_ms: Option<Number>,
}

/// The table `[ring]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// Submission queue entries.
    pub entries: Option<Number>,
    /// Receive buffers of one worker.
    pub recv_buffers: Option<Number>,
    /// Milliseconds before the kernel's submission thread sleeps; 0 = no such thread.
    pub sqpoll_idle_ms: Option<Number>,
    /// Microseconds of busy polling of the network card; 0 = none.
    pub napi_busy_poll_us: Option<Number>,
    /// Send without copying.
    pub zero_copy_send: Option<bool>,
}

/// Declares a table that has the keys which say who may connect, besides its own.
///
/// A listener has them, and each of its server names may have some of its own.
macro_rules! with_client_keys {
    (
        $(#[$about:meta])*
        pub struct $table:ident { $($(#[$doc:meta])* pub $key:ident: $kind:ty,)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $table {
            $($(#[$doc])* pub $key: $kind,)*
            /// `"require"`, `"optional"` or `"off"`.
            pub client_auth: Option<Text>,
            /// Root bundles of the clients: files, or directories of them.
            pub client_ca: Option<Spanned<OneOrMore>>,
            /// Intermediates that clients need not present: files, or directories of them.
            pub client_intermediates: Option<Spanned<OneOrMore>>,
            /// Whether clients are told the names of the roots.
            pub send_client_ca_names: Option<bool>,
            /// Patterns of the identities that may pass.
            pub allow: Option<Texts>,
            /// Patterns of the identities that may not pass, whatever `allow` says.
            pub deny: Option<Texts>,
            /// Certificates that a client may present.
            pub chain_certificates_max: Option<Number>,
            /// Kinds of keys that a client's certificate may hold.
            pub client_key_types: Option<Texts>,
            /// Bits of the shortest RSA key of a client.
            pub client_rsa_bits_min: Option<Number>,
            /// Signature schemes that a client may use, in its chain and itself.
            pub client_signature_schemes: Option<Texts>,
            /// Lists of revocation: files, or directories of them.
            pub client_crl: Option<Spanned<OneOrMore>>,
            /// `"leaf"` or `"chain"`.
            pub crl_check: Option<Text>,
            /// `"reject"` or `"accept"`.
            pub crl_missing: Option<Text>,
            /// `"reject"`, `"grace 24h"` or `"accept"`.
            pub crl_stale: Option<Text>,
            /// The tables `[[listener.trust_domain]]`.
            #[serde(default)]
            pub trust_domain: Vec<Spanned<TrustDomain>>,
        }

        impl $table {
            /// The keys that say who may connect.
            pub fn client_keys(&self) -> ClientKeys {
                ClientKeys {
                    client_auth: self.client_auth.clone(),
                    client_ca: self.client_ca.clone(),
                    client_intermediates: self.client_intermediates.clone(),
                    send_client_ca_names: self.send_client_ca_names,
                    allow: self.allow.clone(),
                    deny: self.deny.clone(),
                    chain_certificates_max: self.chain_certificates_max.clone(),
                    client_key_types: self.client_key_types.clone(),
                    client_rsa_bits_min: self.client_rsa_bits_min.clone(),
                    client_signature_schemes: self.client_signature_schemes.clone(),
                    client_crl: self.client_crl.clone(),
                    crl_check: self.crl_check.clone(),
                    crl_missing: self.crl_missing.clone(),
                    crl_stale: self.crl_stale.clone(),
                    trust_domain: self.trust_domain.clone(),
                }
            }
        }
    };
}

with_client_keys! {
    /// The keys that say who may connect, whichever table they were written in.
    pub struct ClientKeys {}
}

impl ClientKeys {
    /// These keys, and those of `base` where they are silent.
    #[must_use]
    pub fn or(self, base: &Self) -> Self {
        let base = base.clone();
        let trust_domain =
            if self.trust_domain.is_empty() { base.trust_domain } else { self.trust_domain };
        Self {
            client_auth: self.client_auth.or(base.client_auth),
            client_ca: self.client_ca.or(base.client_ca),
            client_intermediates: self.client_intermediates.or(base.client_intermediates),
            send_client_ca_names: self.send_client_ca_names.or(base.send_client_ca_names),
            allow: self.allow.or(base.allow),
            deny: self.deny.or(base.deny),
            chain_certificates_max: self.chain_certificates_max.or(base.chain_certificates_max),
            client_key_types: self.client_key_types.or(base.client_key_types),
            client_rsa_bits_min: self.client_rsa_bits_min.or(base.client_rsa_bits_min),
            client_signature_schemes: self
                .client_signature_schemes
                .or(base.client_signature_schemes),
            client_crl: self.client_crl.or(base.client_crl),
            crl_check: self.crl_check.or(base.crl_check),
            crl_missing: self.crl_missing.or(base.crl_missing),
            crl_stale: self.crl_stale.or(base.crl_stale),
            trust_domain,
        }
    }
}

with_client_keys! {
    /// One table `[[listener.server_name]]`: what it says holds for clients that ask for one of
    /// `names`, and what it does not say is as the listener has it.
    pub struct ServerName {
        /// DNS names, of which some may be `*.example.org`.
        pub names: Option<Texts>,
    }
}

with_client_keys! {
    /// One table `[[listener]]`.
    pub struct Listener {
        /// Its name in logs and metrics.
        pub name: Option<Text>,
        /// `"127.0.0.1:8443"`, `"[::1]:8443"` or `":8443"`.
        pub address: Option<Text>,
        /// What is spoken inside TLS.
        pub protocol: Option<Text>,
        /// The name of the upstream.
        pub upstream: Option<Text>,
        /// The table `[listener.http]`.
        pub http: Option<Spanned<Http>>,
        /// The tables `[[listener.route]]`.
        #[serde(default)]
        pub route: Vec<Spanned<Route>>,
        /// `"cache"`, `"tickets"` or `"off"`.
        pub resumption: Option<Text>,
        /// Seconds for which a session may be resumed, from its full handshake.
        pub session_age_max_s: Option<Number>,
        /// Tickets for each handshake.
        pub session_tickets: Option<Number>,
        /// The file with the secret that ticket keys are derived from.
        pub ticket_secret: Option<Text>,
        /// `"at_once"` or `"drain 30s"`.
        pub lapsed_connections: Option<Text>,
        /// The crypto backend.
        pub crypto: Option<Text>,
        /// `"1.3"` and `"1.2"`.
        pub tls_versions: Option<Texts>,
        /// Cipher suites, most preferred first.
        pub suites: Option<Texts>,
        /// Key exchange groups, most preferred first.
        pub groups: Option<Texts>,
        /// Application protocols, most preferred first.
        pub alpn: Option<Texts>,
        /// The file that TLS secrets are appended to.
        pub key_log: Option<Text>,
        /// Milliseconds within which a handshake must be complete.
        pub handshake_timeout_ms: Option<Number>,
        /// Milliseconds without a byte after which a connection is closed.
        pub idle_timeout_ms: Option<Number>,
        /// Milliseconds that a connection may live; 0 = no bound.
        pub connection_age_max_ms: Option<Number>,
        /// Milliseconds that sent data may stay unacknowledged; 0 = the kernel's bound.
        pub tcp_user_timeout_ms: Option<Number>,
        /// Seconds of silence before the kernel probes the peer; 0 = no probes.
        pub keepalive_s: Option<Number>,
        /// Bytes of the socket's send buffer.
        pub send_buffer_bytes: Option<Number>,
        /// Bytes of the socket's receive buffer.
        pub recv_buffer_bytes: Option<Number>,
        /// Connections that wait to be accepted.
        pub backlog: Option<Number>,
        /// The tables `[[listener.certificate]]`.
        #[serde(default)]
        pub certificate: Vec<Spanned<Certificate>>,
        /// The tables `[[listener.server_name]]`.
        #[serde(default)]
        pub server_name: Vec<Spanned<ServerName>>,
    }
}

/// One table `[[listener.trust_domain]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustDomain {
    /// The SPIFFE trust domain: `"example.org"`.
    pub name: Option<Text>,
    /// Roots that vouch for it and for nobody else: files, or directories of them.
    pub client_ca: Option<Spanned<OneOrMore>>,
}

/// One table `[[listener.certificate]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file: the server's certificate, then its intermediates.
    pub chain: Option<Text>,
    /// PEM file: the private key.
    pub key: Option<Text>,
}

/// One table `[[upstream]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its name.
    pub name: Option<Text>,
    /// `"127.0.0.1:9000"`, `"[::1]:9000"`, `"unix:/run/app.sock"`, `"app.internal:9000"`.
    pub endpoints: Option<Texts>,
    /// `"round_robin"` or `"least_connections"`.
    pub balance: Option<Text>,
    /// Milliseconds within which a connection must be established.
    pub connect_timeout_ms: Option<Number>,
    /// Milliseconds between two resolutions of the names.
    pub resolve_interval_ms: Option<Number>,
    /// `"http1"` or `"http2"`.
    pub protocol: Option<Text>,
    /// Whether it is spoken to in TLS.
    pub tls: Option<Spanned<bool>>,
    /// Roots that its certificate may come from: files, or directories of them.
    pub tls_ca: Option<Spanned<OneOrMore>>,
    /// The name that its certificate must have.
    pub tls_server_name: Option<Text>,
    /// PEM file: the certificate that it is presented, then its intermediates.
    pub tls_chain: Option<Text>,
    /// PEM file: the private key of that certificate.
    pub tls_key: Option<Text>,
    /// The crypto backend.
    pub tls_crypto: Option<Text>,
    /// Connections without a request that a worker keeps for each endpoint; 0 = none.
    pub idle_connections_max: Option<Number>,
    /// Milliseconds for which such a connection is kept.
    pub idle_timeout_ms: Option<Number>,
    /// Requests of one connection; 0 = no bound.
    pub requests_max: Option<Number>,
    /// Milliseconds that a connection may live; 0 = no bound.
    pub connection_age_max_ms: Option<Number>,
}

/// A string, or a list of strings.
#[derive(Clone, Debug)]
pub enum OneOrMore {
    /// `key = "value"`; the enclosing span is its place.
    One(String),
    /// `key = ["value", "value"]`.
    More(Vec<Text>),
}

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMoreVisitor;

        impl<'de> Visitor<'de> for OneOrMoreVisitor {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OneOrMore, E> {
                String::deserialize(StrDeserializer::new(text)).map(OneOrMore::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMore, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMore::More(texts))
            }
        }

        deserializer.deserialize_any(OneOrMoreVisitor)
    }
}

/// Parses the text of a configuration file.
///
/// `file_name` is how messages call the file. The folder for relative paths stays empty: who read
/// the file knows it and sets [`Model::folder`].
///
/// # Errors
///
/// The first place where the text is not TOML, names an unknown key, or has a value of the wrong
/// type.
pub fn parse(text: &str, file_name: &str) -> Result<Model, ConfigError> {
    let source = Source::File(SourceFile::new(file_name, text));
    match toml::from_str::<Model>(text) {
        Ok(model) => Ok(Model { source, ..model }),
        Err(error) => Err(explain(&error, text, &source)),
    }
}

/// Turns what the TOML parser or serde reports into found, expected, fix.
fn explain(error: &toml::de::Error, text: &str, source: &Source) -> ConfigError {
    let span = error.span().unwrap_or(0..0);
    let place = source.place(&span);
    let message = error.message();
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (field, known) = rest.split_once('`').unwrap_or((rest, ""));
        return unknown_key(place, field, known);
    }
    let line = text.lines().nth(line_of(&place) - 1).unwrap_or("").trim();
    let (found, expected) = match message.split_once(", expected ") {
        // `[listener]` where only `[[listener]]` is a table of a list.
        Some((_, "a sequence")) if line.starts_with('[') => {
            return ConfigError {
                place,
                found: format!("one table where a list of tables stands, `{line}`"),
                expected: format!("`[{line}]`"),
                fix: "double the brackets".into(),
            };
        }
        Some((found, expected)) => (found, plain_type(expected)),
        None if message == "duplicate key" => (message, "each key once".to_string()),
        None => (message, "a configuration in TOML 1.0".to_string()),
    };
    ConfigError {
        place,
        found: format!("{} in `{line}`", found.lines().collect::<Vec<_>>().join(", ")),
        expected,
        fix: "correct this line (text stands in quotes); docs/configuration.md lists every key \
              and its type"
            .into(),
    }
}

fn unknown_key(place: Place, field: &str, known: &str) -> ConfigError {
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let fix = match nearest(field, known.iter().copied()) {
        Some(near) => format!("write `{near}`, or remove the key"),
        None => "remove the key".to_string(),
    };
    ConfigError {
        place,
        found: format!("unknown key `{field}`"),
        expected: format!("one of {}", known.join(", ")),
        fix,
    }
}

/// Rust's type names mean nothing to who writes TOML.
fn plain_type(expected: &str) -> String {
    match expected {
        "i64" => "an integer".to_string(),
        "a sequence" => "a list: [\"...\", \"...\"]".to_string(),
        "a boolean" => "true or false".to_string(),
        other => match other.strip_prefix("struct ") {
            Some(table) => format!("a table of the keys of {}", table.to_ascii_lowercase()),
            None => other.lines().collect::<Vec<_>>().join(", "),
        },
    }
}

fn line_of(place: &Place) -> usize {
    match place {
        Place::Point { line, .. } => *line,
        Place::File(_) | Place::Flag(_) => 1,
    }
}

#[cfg(test)]
mod tests;
