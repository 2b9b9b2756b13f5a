//! Certificates that are the same in every run, and TLS configurations of both ends with them.
//!
//! ```text
//! root ── issuing ── gateway.test                    stranger root ── a client
//!   ├──── every client but these
//!   ├──── issuing ── Client::ViaIntermediate
//!   └──── CHAIN_CERTIFICATES_MAX_DEFAULT authorities, one below the other ── Client::ChainTooLong
//! ```
//!
//! It must not know a clock: what is valid when is relative to [`EPOCH_UNIX_S`]. The invariant: a
//! certificate is a function of its common name and its profile. Its Ed25519 key and its serial
//! number are digests of the name, and Ed25519 signs without random numbers (RFC 8032). So nobody
//! outside a simulation may trust these roots: everyone has their keys.

mod lists;

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber,
};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use time::OffsetDateTime;

pub use lists::Lists;

use super::crypto::Clock;
use crate::error::Refusal;
use crate::limits::CHAIN_CERTIFICATES_MAX_DEFAULT;
use crate::policy::Rules;
use crate::tls::server::{Certificate, ListenerTls, ListenerTlsOptions};
use crate::trust::verify::{Anchors, ClientAuth, ClientVerifier, VerifierOptions};

/// When simulations begin, in seconds since 1970: 2026-01-01T00:00:00Z.
pub const EPOCH_UNIX_S: i64 = 1_767_225_600;
/// First second of what is valid from long ago: a year before the epoch.
pub const VALID_SINCE_UNIX_S: i64 = EPOCH_UNIX_S - YEAR_S;
/// Last second of what is valid for long: 20 years after the epoch.
pub const VALID_UNTIL_UNIX_S: i64 = EPOCH_UNIX_S + 20 * YEAR_S;
/// Last second of [`Client::Expired`]: a day before the epoch.
pub const EXPIRED_AT_UNIX_S: i64 = EPOCH_UNIX_S - DAY_S;
/// First second of [`Client::NotYetValid`]: a year after the epoch.
pub const NOT_YET_VALID_UNTIL_UNIX_S: i64 = EPOCH_UNIX_S + YEAR_S;
/// The name that the gateway's certificate has.
pub const SERVER_NAME: &str = "gateway.test";
/// Another name that it has, of which a listener may have demands of its own.
pub const OTHER_NAME: &str = "other.test";
/// How many clients [`Client::Allowed`] tells apart.
pub const ALLOWED_CLIENTS: usize = 4;

const DAY_S: i64 = 86_400;
const YEAR_S: i64 = 365 * DAY_S;
/// `PrivateKeyInfo` of an Ed25519 key up to its 32 bytes (RFC 8410, 7).
const ED25519_PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// Names of the clients that [`rules`] allow: SPIFFE ID, DNS name.
const ALLOWED_NAMES: [(Option<&str>, Option<&str>); ALLOWED_CLIENTS] = [
    (Some("spiffe://sim.test/client/a"), None),
    (Some("spiffe://sim.test/client/b"), None),
    (None, Some("c.clients.sim.test")),
    (Some("spiffe://sim.test/client/d"), Some("d.clients.sim.test")),
];
/// What every client is called whose certificate is what is wrong with it, not its name.
const GOOD_NAMES: (Option<&str>, Option<&str>) = (Some("spiffe://sim.test/client/other"), None);

/// Who a client is, or pretends to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Client {
    /// Presents no certificate.
    #[default]
    Nobody,
    /// Is allowed. The number, modulo [`ALLOWED_CLIENTS`], says which one it is; [`narrower_rules`]
    /// allow number 0 only.
    Allowed(usize),
    /// Has names that are allowed, and its issuer is not the root itself.
    ViaIntermediate,
    /// Has names that are allowed, until the end of this second since 1970.
    ShortLived(i64),
    /// Is in order, and no rule matches its names.
    Denied,
    /// Has expired at [`EXPIRED_AT_UNIX_S`].
    Expired,
    /// Becomes valid at [`NOT_YET_VALID_UNTIL_UNIX_S`].
    NotYetValid,
    /// Was issued by a root that the gateway does not trust.
    Stranger,
    /// Has a certificate that is for servers only.
    WrongKeyUsage,
    /// Presents one certificate more than a listener accepts by default.
    ChainTooLong,
}

/// What a gateway that requires certificates has to make of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It reaches the upstream.
    Allowed,
    /// Its handshake succeeds, and no rule allows it.
    Denied,
    /// Its handshake fails.
    Refused(Refusal),
}

impl Client {
    /// Every one but those of [`Client::ShortLived`].
    pub const LASTING: [Self; 8 + ALLOWED_CLIENTS] = [
        Self::Nobody,
        Self::Allowed(0),
        Self::Allowed(1),
        Self::Allowed(2),
        Self::Allowed(3),
        Self::ViaIntermediate,
        Self::Denied,
        Self::Expired,
        Self::NotYetValid,
        Self::Stranger,
        Self::WrongKeyUsage,
        Self::ChainTooLong,
    ];

    /// What has to become of this client at the time `now_unix_s`, under [`rules`].
    ///
    /// It is told from what the client is, by none of the code that it is the measure of.
    pub fn verdict(self, now_unix_s: i64) -> Verdict {
        // In the order of `trust::verify`: its bounds, then time and purpose of the leaf, then the
        // path to an anchor.
        match self {
            Self::Nobody => return Verdict::Refused(Refusal::CertificateMissing),
            Self::ChainTooLong => return Verdict::Refused(Refusal::ChainTooLong),
            _ => {}
        }
        let (not_before, not_after) = self.validity();
        if now_unix_s < not_before {
            return Verdict::Refused(Refusal::NotYetValid);
        }
        if now_unix_s > not_after {
            return Verdict::Refused(Refusal::Expired);
        }
        match self {
            Self::WrongKeyUsage => Verdict::Refused(Refusal::EkuLacksClientAuth),
            Self::Stranger => Verdict::Refused(Refusal::UnknownAnchor),
            Self::Denied => Verdict::Denied,
            _ => Verdict::Allowed,
        }
    }

    /// The same under [`narrower_rules`].
    pub fn narrower_verdict(self, now_unix_s: i64) -> Verdict {
        match self.verdict(now_unix_s) {
            Verdict::Allowed if !self.is_first() => Verdict::Denied,
            verdict => verdict,
        }
    }

    /// Whether [`narrower_rules`] allow it.
    pub fn is_first(self) -> bool {
        matches!(self, Self::Allowed(number) if number % ALLOWED_CLIENTS == 0)
    }

    /// First and last second of its certificate's validity, in seconds since 1970.
    fn validity(self) -> (i64, i64) {
        match self {
            Self::ShortLived(not_after) => (VALID_SINCE_UNIX_S, bounded(not_after)),
            Self::Expired => (VALID_SINCE_UNIX_S, EXPIRED_AT_UNIX_S),
            Self::NotYetValid => (NOT_YET_VALID_UNTIL_UNIX_S, VALID_UNTIL_UNIX_S),
            _ => (VALID_SINCE_UNIX_S, VALID_UNTIL_UNIX_S),
        }
    }

    /// Last second of its certificate's validity, in seconds since 1970.
    pub fn expires(self) -> i64 {
        self.validity().1
    }

    /// SPIFFE ID and DNS name of its certificate.
    fn names(self) -> (Option<&'static str>, Option<&'static str>) {
        match self {
            Self::Allowed(number) => ALLOWED_NAMES[number % ALLOWED_CLIENTS],
            // What "*.clients.sim.test" must not match.
            Self::Denied => (Some("spiffe://sim.test/intruder"), Some("clients.sim.test")),
            _ => GOOD_NAMES,
        }
    }

    fn common_name(self) -> String {
        match self {
            Self::Allowed(number) => format!("allowed {}", number % ALLOWED_CLIENTS),
            Self::ShortLived(not_after) => format!("short-lived {}", bounded(not_after)),
            other => format!("{other:?}"),
        }
    }
}

/// A certificate with its key.
pub struct Credentials {
    /// The leaf first, then its issuers, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key, in PKCS#8.
    pub key: PrivatePkcs8KeyDer<'static>,
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("certificates", &self.chain.len()).finish()
    }
}

/// The certificates of a simulation. Made once in a process; a clone refers to the same.
#[derive(Clone)]
pub struct Pki(Arc<Material>);

struct Material {
    root: Authority,
    issuing: Authority,
    stranger: Authority,
    anchors: Arc<RootCertStore>,
    stranger_anchors: Arc<RootCertStore>,
    server: Credentials,
    /// Those of [`Client::LASTING`], in its order; `None` for who has none.
    clients: Vec<Option<Credentials>>,
}

impl Pki {
    /// The certificates.
    pub fn new() -> Self {
        static MADE: OnceLock<Pki> = OnceLock::new();
        MADE.get_or_init(|| Self(Arc::new(Material::new()))).clone()
    }

    /// The root, which clients and gateway trust.
    pub fn anchors(&self) -> &Arc<RootCertStore> {
        &self.0.anchors
    }

    /// The root of [`Client::Stranger`], for a gateway that trusts no other.
    pub fn stranger_anchors(&self) -> &Arc<RootCertStore> {
        &self.0.stranger_anchors
    }

    /// Both roots.
    pub fn both_anchors(&self) -> RootCertStore {
        let mut both = RootCertStore::clone(self.anchors());
        both.roots.extend_from_slice(&self.stranger_anchors().roots);
        both
    }

    /// The gateway's certificate.
    pub fn server(&self) -> &Credentials {
        &self.0.server
    }

    /// A client's certificate; `None` for [`Client::Nobody`].
    pub fn client(&self, client: Client) -> Option<Credentials> {
        let client = match client {
            Client::ShortLived(not_after) => return Some(self.short_lived(not_after)),
            Client::Allowed(number) => Client::Allowed(number % ALLOWED_CLIENTS),
            other => other,
        };
        let position = Client::LASTING.iter().position(|known| *known == client)?;
        self.0.clients[position].clone()
    }

    /// The certificate of a client that is allowed until the end of the second `not_after_unix_s`,
    /// but not before [`VALID_SINCE_UNIX_S`] nor after [`VALID_UNTIL_UNIX_S`], to which it is
    /// bounded. It is signed at each call.
    pub fn short_lived(&self, not_after_unix_s: i64) -> Credentials {
        self.0.root.issue_client(Client::ShortLived(not_after_unix_s))
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pki")
    }
}

impl Material {
    fn new() -> Self {
        let root = Authority::root("root");
        let anchors_of = |root: &Authority| {
            let mut anchors = RootCertStore::empty();
            // invariant: what `Authority` makes is a certificate of an authority
            anchors.add(root.certificate.clone()).expect("a root is an anchor");
            Arc::new(anchors)
        };
        let issuing = root.below("issuing");
        let stranger = Authority::root("stranger root");
        let deepest = (0..CHAIN_CERTIFICATES_MAX_DEFAULT)
            .map(|depth| format!("authority {depth}"))
            .fold(None, |above: Option<Authority>, name| {
                Some(above.as_ref().unwrap_or(&root).below(&name))
            });
        let deepest = deepest.as_ref().unwrap_or(&root);
        let issuer = |client| match client {
            Client::Nobody => None,
            Client::ViaIntermediate => Some(&issuing),
            Client::Stranger => Some(&stranger),
            Client::ChainTooLong => Some(deepest),
            _ => Some(&root),
        };
        let clients = Client::LASTING.map(|client| Some(issuer(client)?.issue_client(client)));
        let server = issuing.issue_server();
        let (anchors, stranger_anchors) = (anchors_of(&root), anchors_of(&stranger));
        let clients = clients.into();
        Self { root, issuing, stranger, anchors, stranger_anchors, server, clients }
    }
}

/// A certification authority with its key.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// What its certificates are presented with: itself and those above it, without the root.
    presented: Vec<CertificateDer<'static>>,
}

impl Authority {
    fn root(name: &str) -> Self {
        let key = key_of(name);
        let params = authority_params(name);
        // invariant: key and parameters are this file's own, and none that rcgen refuses
        let certificate = params.self_signed(&key).expect("a root can be made").der().clone();
        Self { issuer: Issuer::new(params, key), certificate, presented: Vec::new() }
    }

    fn below(&self, name: &str) -> Self {
        let key = key_of(name);
        let mut params = authority_params(name);
        params.use_authority_key_identifier_extension = true;
        let certificate = self.sign(&params, &key);
        let mut presented = vec![certificate.clone()];
        presented.extend_from_slice(&self.presented);
        Self { issuer: Issuer::new(params, key), certificate, presented }
    }

    fn issue_server(&self) -> Credentials {
        let mut params = params(SERVER_NAME, (VALID_SINCE_UNIX_S, VALID_UNTIL_UNIX_S));
        params.subject_alt_names = sans((None, Some(SERVER_NAME)));
        params.subject_alt_names.extend(sans((None, Some(OTHER_NAME))));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(SERVER_NAME, params)
    }

    fn issue_client(&self, client: Client) -> Credentials {
        let name = client.common_name();
        let mut params = params(&name, client.validity());
        params.subject_alt_names = sans(client.names());
        params.extended_key_usages = vec![match client {
            Client::WrongKeyUsage => ExtendedKeyUsagePurpose::ServerAuth,
            _ => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        self.issue(&name, params)
    }

    fn issue(&self, name: &str, mut params: CertificateParams) -> Credentials {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let mut chain = vec![self.sign(&params, &key_of(name))];
        chain.extend_from_slice(&self.presented);
        Credentials { chain, key: pkcs8_of(name) }
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
        // invariant: keys and parameters are this file's own, and none that rcgen refuses
        let signed = params.signed_by(key, &self.issuer).expect("a certificate can be signed");
        signed.der().clone()
    }
}

/// The certificate's digest of everything: its key and its serial number come from it.
fn digest_of(purpose: &str, name: &str) -> [u8; 32] {
    let digest = digest(&SHA256, format!("ringfort simulation: {purpose} of {name}").as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

fn pkcs8_of(name: &str) -> PrivatePkcs8KeyDer<'static> {
    let mut der = ED25519_PKCS8_PREFIX.to_vec();
    // Any 32 bytes are a key (RFC 8032, 5.1.5).
    der.extend_from_slice(&digest_of("key", name));
    PrivatePkcs8KeyDer::from(der)
}

fn key_of(name: &str) -> KeyPair {
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8_of(name), &PKCS_ED25519);
    // invariant: the prefix and any 32 bytes are an Ed25519 key
    key.expect("an Ed25519 key")
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name, (VALID_SINCE_UNIX_S, VALID_UNTIL_UNIX_S));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(name: &str, (not_before, not_after): (i64, i64)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = moment(not_before);
    params.not_after = moment(not_after);
    params.serial_number = Some(SerialNumber::from_slice(&serial_of(name)));
    params
}

/// RFC 5280, 4.1.2.2: positive, and without a zero byte in front.
fn serial_of(name: &str) -> Vec<u8> {
    let [first, rest @ ..] = digest_of("serial number", name);
    [&[first & 0x7f | 0x40], &rest[..7]].concat()
}

fn moment(unix_s: i64) -> OffsetDateTime {
    // invariant: all come from between VALID_SINCE_UNIX_S and VALID_UNTIL_UNIX_S
    OffsetDateTime::from_unix_timestamp(unix_s).expect("it is on the calendar")
}

fn bounded(unix_s: i64) -> i64 {
    unix_s.clamp(VALID_SINCE_UNIX_S, VALID_UNTIL_UNIX_S)
}

fn sans((spiffe, dns): (Option<&str>, Option<&str>)) -> Vec<SanType> {
    // invariant: the names are this file's own, and ASCII
    let ia5 = |name: &str| name.try_into().expect("it is ASCII");
    let spiffe = spiffe.map(|id| SanType::URI(ia5(id)));
    let dns = dns.map(|name| SanType::DnsName(ia5(name)));
    spiffe.into_iter().chain(dns).collect()
}

/// Which protocol versions an end offers or accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Versions {
    /// TLS 1.3 only.
    Tls13,
    /// TLS 1.2 only.
    Tls12,
    /// TLS 1.3, and TLS 1.2 where that is not possible.
    Both,
}

impl Versions {
    fn list(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls13 => vec![&TLS13],
            Self::Tls12 => vec![&TLS12],
            Self::Both => vec![&TLS13, &TLS12],
        }
    }
}

/// The TLS of a listener of the gateway.
///
/// `provider` is that of [`super::crypto::provider`].
pub fn listener_tls(
    pki: &Pki,
    provider: &Arc<CryptoProvider>,
    clock: &Clock,
    versions: Versions,
) -> ListenerTls {
    let Credentials { chain, key } = pki.server().clone();
    let certificate = Certificate::new(chain, PrivateKeyDer::from(key), provider);
    let options = ListenerTlsOptions {
        provider: Arc::clone(provider),
        versions: versions.list(),
        alpn: Vec::new(),
        key_log: None,
        time: Some(Arc::new(clock.clone())),
    };
    // invariant: chain and key are of one certificate of this file, and Ed25519
    let certificates = [certificate.expect("the server's certificate is in order")];
    // invariant: the provider has suites of both versions
    ListenerTls::new(&certificates, options).expect("a suite for each version")
}

/// The verifier of a listener that trusts `anchors`, with the default bounds of the configuration;
/// `None` where clients are not asked for a certificate.
pub fn verifier(
    anchors: &RootCertStore,
    provider: &Arc<CryptoProvider>,
    auth: ClientAuth,
) -> Option<Arc<ClientVerifier>> {
    if auth == ClientAuth::Off {
        return None;
    }
    let options = VerifierOptions::new(Anchors::new(anchors), auth, Arc::clone(provider));
    // invariant: there is an anchor, and client authentication is on
    Some(Arc::new(ClientVerifier::new(options).expect("a verifier")))
}

/// The configuration of rustls' own client, which trusts the root and keeps sessions as it is told.
///
/// `provider` is that of [`super::crypto::provider`].
pub fn client_config(
    pki: &Pki,
    client: Client,
    provider: &Arc<CryptoProvider>,
    clock: &Clock,
    versions: Versions,
    resumption: Resumption,
) -> Arc<ClientConfig> {
    let time = Arc::new(clock.clone());
    let builder = ClientConfig::builder_with_details(Arc::clone(provider), time)
        .with_protocol_versions(&versions.list())
        // invariant: the provider has suites of both versions
        .expect("a suite for each version")
        .with_root_certificates(Arc::clone(pki.anchors()));
    let mut config = match pki.client(client) {
        None => builder.with_no_client_auth(),
        Some(Credentials { chain, key }) => {
            let config = builder.with_client_auth_cert(chain, PrivateKeyDer::from(key));
            // invariant: chain and key are of one certificate of this file, and Ed25519
            config.expect("the client's certificate is in order")
        }
    };
    config.resumption = resumption;
    Arc::new(config)
}

/// The name that a client asks the gateway for.
pub fn server_name() -> ServerName<'static> {
    // invariant: SERVER_NAME is a DNS name
    ServerName::try_from(SERVER_NAME).expect("a DNS name")
}

/// The other name that a client may ask the gateway for.
pub fn other_server_name() -> ServerName<'static> {
    // invariant: OTHER_NAME is a DNS name
    ServerName::try_from(OTHER_NAME).expect("a DNS name")
}

/// Rules that allow whom [`Client::verdict`] does.
pub fn rules() -> Rules {
    allow(&["spiffe://sim.test/client/*", "dns:*.clients.sim.test"])
}

/// Rules that allow `Client::Allowed(0)` and nobody else, for a change of configuration.
pub fn narrower_rules() -> Rules {
    allow(&["spiffe://sim.test/client/a"])
}

fn allow(patterns: &[&str]) -> Rules {
    // invariant: the patterns are this file's own, and its tests parse them
    Rules::allow(patterns.iter().map(|text| text.parse().expect("a pattern")).collect())
}

#[cfg(test)]
#[path = "pki_tests.rs"]
mod tests;
