//! Patterns that match an [`Identity`], as an operator writes them.
//!
//! ```text
//! any                          every verified client
//! spiffe://example.org/a/*/c   '*' is one whole path segment
//! spiffe://example.org/a/**    '**', as the last segment, is one or more segments
//! dns:api.example.org          dns:*.example.org: '*' is exactly one label, the first
//! email:ops@example.org        email:*@example.org
//! ip:192.0.2.7                 ip:2001:db8::/32; an address in the certificate, not the source
//! uri:urn:example:a            exact
//! subject:CN=a,O=b             exact; issuer: likewise (RFC 4514, last RDN first)
//! subject-cn:a                 one attribute of the subject, exact, in whichever RDN; likewise
//!                              subject-o: and subject-ou:
//! serial:0A:1B                 hex, colons allowed
//! sha256:HEX  spki-sha256:HEX  of the certificate, of its public key
//! ```
//!
//! The invariant: a wildcard never crosses the boundary of a path segment, a label or an address.

mod parse;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::dn;
use super::peer::Identity;
use super::spiffe::{self, SpiffeId};

/// One condition on a client's identity. Its [`FromStr`] and [`fmt::Display`] are inverse.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Any,
    Spiffe(SpiffePattern),
    /// `any_label`: `name` is what follows one arbitrary label.
    Dns {
        any_label: bool,
        name: Box<str>,
    },
    /// `local` is `None` for `*`.
    Email {
        local: Option<Box<str>>,
        host: Box<str>,
    },
    Ip {
        network: IpAddr,
        prefix_bits: u8,
    },
    Uri(Box<str>),
    Subject(Box<str>),
    /// `value` is spelt as in [`Identity::subject`].
    SubjectAttribute {
        attribute: Attribute,
        value: Box<str>,
    },
    Issuer(Box<str>),
    Serial(Box<str>),
    Sha256([u8; 32]),
    SpkiSha256([u8; 32]),
}

/// A type of attribute that can be asked for by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Attribute {
    CommonName,
    Organization,
    OrganizationalUnit,
}

impl Attribute {
    /// Its descriptor (RFC 4514, 3), as `dn` writes it.
    const fn descriptor(self) -> &'static str {
        match self {
            Self::CommonName => "CN",
            Self::Organization => "O",
            Self::OrganizationalUnit => "OU",
        }
    }

    /// What a pattern begins with, without the colon.
    const fn prefix(self) -> &'static str {
        match self {
            Self::CommonName => "subject-cn",
            Self::Organization => "subject-o",
            Self::OrganizationalUnit => "subject-ou",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SpiffePattern {
    trust_domain: Box<str>,
    /// `None` is one arbitrary segment.
    segments: Box<[Option<Box<str>>]>,
    /// One or more arbitrary segments follow.
    and_below: bool,
}

/// A text that is no pattern: what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    found: Box<str>,
    expected: String,
}

impl Pattern {
    /// Whether `identity` fulfils this condition.
    pub fn matches(&self, identity: &Identity) -> bool {
        let has = |names: &[Box<str>], wanted: &str| names.iter().any(|name| **name == *wanted);
        match &self.0 {
            Kind::Any => true,
            Kind::Spiffe(pattern) => identity.spiffe_id().is_some_and(|id| pattern.matches(id)),
            Kind::Dns { any_label: false, name } => has(identity.dns_names(), name),
            Kind::Dns { any_label: true, name } => identity
                .dns_names()
                .iter()
                .filter_map(|presented| presented.split_once('.'))
                .any(|(_, rest)| *rest == **name),
            Kind::Email { local, host } => {
                identity.emails().iter().filter_map(|presented| presented.split_once('@')).any(
                    |(user, at)| {
                        *at == **host && local.as_deref().is_none_or(|wanted| *wanted == *user)
                    },
                )
            }
            Kind::Ip { network, prefix_bits } => identity
                .ip_addresses()
                .iter()
                .any(|address| masked(*address, *prefix_bits) == Some(*network)),
            Kind::Uri(uri) => has(identity.uris(), uri),
            Kind::Subject(name) => *identity.subject() == **name,
            Kind::SubjectAttribute { attribute, value } => {
                dn::has_attribute(identity.subject(), attribute.descriptor(), value)
            }
            Kind::Issuer(name) => *identity.issuer() == **name,
            Kind::Serial(serial) => *identity.serial() == **serial,
            Kind::Sha256(hash) => identity.sha256() == hash,
            Kind::SpkiSha256(hash) => identity.spki_sha256() == hash,
        }
    }
}

impl SpiffePattern {
    fn matches(&self, id: &SpiffeId) -> bool {
        if *id.trust_domain() != *self.trust_domain {
            return false;
        }
        let mut presented = id.path().split('/');
        for wanted in &self.segments {
            let Some(segment) = presented.next() else {
                return false;
            };
            if wanted.as_deref().is_some_and(|wanted| wanted != segment) {
                return false;
            }
        }
        presented.next().is_some() == self.and_below
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let kind = match text.split_once(':') {
            None if text == "any" => Ok(Kind::Any),
            Some(("spiffe", _)) => parse::spiffe(text),
            Some(("dns", name)) => parse::dns(name),
            Some(("email", address)) => parse::email(address),
            Some(("ip", network)) => parse::ip(network),
            Some(("uri", uri)) => parse::uri(uri),
            Some(("subject", name)) => parse::dn(name, "subject").map(Kind::Subject),
            Some(("subject-cn", name)) => parse::attribute(name, Attribute::CommonName),
            Some(("subject-o", name)) => parse::attribute(name, Attribute::Organization),
            Some(("subject-ou", name)) => parse::attribute(name, Attribute::OrganizationalUnit),
            Some(("issuer", name)) => parse::dn(name, "issuer").map(Kind::Issuer),
            Some(("serial", hex)) => parse::serial(hex),
            Some(("sha256", hex)) => parse::hash(hex, "sha256").map(Kind::Sha256),
            Some(("spki-sha256", hex)) => parse::hash(hex, "spki-sha256").map(Kind::SpkiSha256),
            _ => Err("expected 'any', 'spiffe://...', or one of 'dns:', 'email:', 'ip:', 'uri:', \
                      'subject:', 'subject-cn:', 'subject-o:', 'subject-ou:', 'issuer:', \
                      'serial:', 'sha256:' and 'spki-sha256:' with a value, such as \
                      dns:api.example.org"
                .to_owned()),
        };
        kind.map(Self).map_err(|expected| PatternError { found: text.into(), expected })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Any => f.write_str("any"),
            Kind::Spiffe(pattern) => pattern.fmt(f),
            Kind::Dns { any_label, name } => {
                let wildcard = if *any_label { "*." } else { "" };
                write!(f, "dns:{wildcard}{name}")
            }
            Kind::Email { local, host } => {
                write!(f, "email:{}@{host}", local.as_deref().unwrap_or("*"))
            }
            Kind::Ip { network, prefix_bits } if *prefix_bits == address_bits(*network) => {
                write!(f, "ip:{network}")
            }
            Kind::Ip { network, prefix_bits } => write!(f, "ip:{network}/{prefix_bits}"),
            Kind::Uri(uri) => write!(f, "uri:{uri}"),
            Kind::Subject(name) => write!(f, "subject:{name}"),
            Kind::SubjectAttribute { attribute, value } => {
                write!(f, "{}:{value}", attribute.prefix())
            }
            Kind::Issuer(name) => write!(f, "issuer:{name}"),
            Kind::Serial(serial) => write!(f, "serial:{serial}"),
            Kind::Sha256(hash) => write!(f, "sha256:{}", Hex(hash)),
            Kind::SpkiSha256(hash) => write!(f, "spki-sha256:{}", Hex(hash)),
        }
    }
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", spiffe::PREFIX, self.trust_domain)?;
        for segment in &self.segments {
            write!(f, "/{}", segment.as_deref().unwrap_or("*"))?;
        }
        f.write_str(if self.and_below { "/**" } else { "" })
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found the pattern {:?}; {}", self.found, self.expected)
    }
}

impl std::error::Error for PatternError {}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn address_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `address` with everything after the first `prefix_bits` bits zero; `None` where it has fewer.
fn masked(address: IpAddr, prefix_bits: u8) -> Option<IpAddr> {
    let host_bits = u32::from(address_bits(address).checked_sub(prefix_bits)?);
    Some(match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
            IpAddr::from((v4.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            IpAddr::from((v6.to_bits() & mask).to_be_bytes())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    fn with_names(sans: Vec<SanType>) -> Identity {
        // One key for all: making keys is most of what these tests cost.
        static KEY: std::sync::LazyLock<KeyPair> =
            std::sync::LazyLock::new(|| KeyPair::generate().expect("a key"));
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc");
        params.distinguished_name.push(DnType::CommonName, "api");
        params.serial_number = Some(vec![0x0a, 0x1b].into());
        let certificate = params.self_signed(&*KEY).expect("a certificate");
        Identity::from_der(certificate.der()).expect("an identity")
    }

    fn with_spiffe(id: &str) -> Identity {
        with_names(vec![SanType::URI(id.try_into().expect("IA5"))])
    }

    fn with_dns(name: &str) -> Identity {
        with_names(vec![SanType::DnsName(name.try_into().expect("IA5"))])
    }

    #[test]
    fn any_matches_every_certificate() {
        assert!(pattern("any").matches(&with_names(Vec::new())));
    }

    #[test]
    fn a_spiffe_wildcard_is_whole_segments_only() {
        let id = with_spiffe("spiffe://example.org/ns/a/sa/b");
        for yes in ["ns/a/sa/b", "ns/*/sa/*", "*/*/*/*", "**", "ns/**", "ns/a/sa/**", "*/a/**"] {
            assert!(pattern(&format!("spiffe://example.org/{yes}")).matches(&id), "{yes}");
        }
        for no in ["ns/a/sa", "ns/a/sa/b/c", "*", "ns/*", "*/*/*", "ns/a/sa/b/**", "NS/a/sa/b"] {
            assert!(!pattern(&format!("spiffe://example.org/{no}")).matches(&id), "{no}");
        }
        assert!(!pattern("spiffe://example.org.evil/**").matches(&id));
        assert!(!pattern("spiffe://example/**").matches(&id));
        assert!(!pattern("spiffe://example.org/**").matches(&with_dns("example.org")));
    }

    #[test]
    fn a_dns_wildcard_is_exactly_one_label() {
        assert!(pattern("dns:API.example.org").matches(&with_dns("api.Example.org")));
        let wildcard = pattern("dns:*.example.org");
        assert!(wildcard.matches(&with_dns("api.example.org")));
        for no in ["example.org", "a.b.example.org", "xexample.org", "api.example.org.evil"] {
            assert!(!wildcard.matches(&with_dns(no)), "{no}");
        }
        assert!(!pattern("dns:api.example.org").matches(&with_dns("*.example.org")));
    }

    #[test]
    fn mail_addresses_match_by_user_and_host() {
        let name = "Ops@example.org".try_into().expect("IA5");
        let identity = with_names(vec![SanType::Rfc822Name(name)]);
        assert!(pattern("email:Ops@EXAMPLE.org").matches(&identity));
        assert!(pattern("email:*@example.org").matches(&identity));
        for no in ["email:ops@example.org", "email:*@org", "email:*@a.example.org"] {
            assert!(!pattern(no).matches(&identity), "{no}");
        }
    }

    #[test]
    fn addresses_match_within_their_network_and_family() {
        let identity = with_names(vec![SanType::IpAddress(IpAddr::from([10, 1, 2, 3]))]);
        for yes in ["ip:10.1.2.3", "ip:10.1.2.3/32", "ip:10.0.0.0/8", "ip:0.0.0.0/0"] {
            assert!(pattern(yes).matches(&identity), "{yes}");
        }
        for no in ["ip:10.1.2.4", "ip:11.0.0.0/8", "ip:::/0", "ip:::ffff:10.1.2.3"] {
            assert!(!pattern(no).matches(&identity), "{no}");
        }
    }

    #[test]
    fn the_exact_kinds_match_the_whole_value_only() {
        let identity = with_names(vec![SanType::URI("urn:example:a".try_into().expect("IA5"))]);
        let sha256 = Hex(identity.sha256()).to_string();
        let spki = Hex(identity.spki_sha256()).to_string().to_uppercase();
        for yes in [
            "uri:urn:example:a",
            "subject:CN=api,O=Example\\, Inc",
            "issuer:cn=api,o=Example\\2C Inc",
            "subject-cn:api",
            "subject-o:Example\\, Inc",
            "subject-o:Ex\\61mple\\2C Inc",
            "serial:0A:1b",
            "serial:000a1b",
            &format!("sha256:{sha256}"),
            &format!("spki-sha256:{spki}"),
        ] {
            assert!(pattern(yes).matches(&identity), "{yes}");
        }
        for no in [
            "uri:urn:example:ab",
            "subject:CN=api",
            "subject-cn:ap",
            "subject-cn:API",
            "subject-o:api",
            "subject-o:Example",
            "subject-ou:api",
            "issuer:O=Example\\, Inc,CN=api",
            "serial:0a1b00",
            &format!("spki-sha256:{sha256}"),
        ] {
            assert!(!pattern(no).matches(&identity), "{no}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_what_was_found_and_expected() {
        for (bad, expected) in [
            ("", "dns:api.example.org"),
            ("ANY", "dns:api.example.org"),
            ("api.example.org", "dns:api.example.org"),
            ("spiffe:spiffe://example.org/a", "spiffe://example.org/ns/*/sa/api"),
            ("spiffe://*/a", "trust domain"),
            ("spiffe://example.org", "no path"),
            ("spiffe://example.org/", "segment"),
            ("spiffe://example.org//**", "segment"),
            ("spiffe://example.org/a**", "segment"),
            ("spiffe://example.org/a*", "segment"),
            ("spiffe://example.org/**/a", "segment"),
            ("dns:*", "dns:*.example.org"),
            ("dns:a.*.org", "dns:*.example.org"),
            ("dns:*.*.org", "dns:*.example.org"),
            ("dns:a*.org", "dns:*.example.org"),
            ("email:example.org", "email:ops@example.org"),
            ("email:o*@example.org", "email:ops@example.org"),
            ("email:ops@*.org", "email:ops@example.org"),
            ("ip:10.0.0.1/8", "ip:10.0.0.0/8"),
            ("ip:10.0.0.0/33", "0 to 32"),
            ("ip:10.0.0.0/08", "0 to 32"),
            ("ip:host", "ip:192.0.2.7"),
            ("uri:spiffe://example.org/a", "without the prefix"),
            ("uri:none", "uri:urn:example"),
            ("subject:", "subject:CN=api"),
            ("issuer:CN=a, O=b", "issuer:CN=api"),
            ("subject-cn:", "subject-cn:api"),
            ("subject-o:Example, Inc", "subject-o:Example\\, Inc"),
            ("subject-ou:#0C0161", "subject-ou:Payments"),
            ("subject-c:DE", "dns:api.example.org"),
            ("serial:", "serial:0a1b"),
            ("serial:abc", "serial:0a1b"),
            ("sha256:00", "64 hex digits"),
        ] {
            let error = bad.parse::<Pattern>().expect_err(bad).to_string();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }

    /// Texts that are patterns, most of them with wildcards.
    fn pattern_text() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("any".to_owned()),
            "spiffe://[a-z.]{1,8}(/([a-z_.-]{3}|\\*)){1,4}(/\\*\\*)?",
            "dns:(\\*\\.)?[a-zA-Z_-]{1,8}(\\.[a-z0-9]{1,4}){0,3}",
            "email:(\\*|[a-zA-Z.]{1,6})@[a-zA-Z]{1,5}\\.org",
            any::<[u8; 4]>().prop_map(|octets| format!("ip:{}", IpAddr::from(octets))),
            (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(octets, prefix_bits)| {
                let network = masked(IpAddr::from(octets), prefix_bits).expect("128 bits");
                format!("ip:{network}/{prefix_bits}")
            }),
            "uri:[a-z]{1,3}:[a-z0-9:/?%]{0,10}",
            "subject-(cn|o|ou):[a-zA-Z\u{e0}-\u{ff}]([a-z #=\u{e0}-\u{ff}]|\\\\[,+#;]){0,6}[a-z]",
            "(subject|issuer):CN=[a-z\u{e0}-\u{ff}]{1,8}(,O=[a-z]{1,5}){0,2}",
            "serial:([0-9a-fA-F]{2}){1,20}",
            "(spki-)?sha256:[0-9a-fA-F]{64}",
        ]
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(text in pattern_text()) {
            let parsed: Pattern = text.parse().expect("the generator makes patterns");
            let shown = parsed.to_string();
            prop_assert_eq!(shown.parse::<Pattern>(), Ok(parsed));
        }

        #[test]
        fn arbitrary_text_never_panics(
            text in "\\PC{0,30}|(ip|dns|serial|spiffe|email):\\PC{0,30}"
        ) {
            if let Ok(parsed) = text.parse::<Pattern>() {
                let shown = parsed.to_string();
                prop_assert_eq!(shown.parse::<Pattern>(), Ok(parsed));
            }
        }

        #[test]
        fn a_wildcard_never_crosses_a_segment(
            wanted in proptest::collection::vec(prop_oneof![Just("*"), Just("a"), Just("b")], 0..4),
            and_below: bool,
            path in proptest::collection::vec("[ab]{1,2}", 1..6),
        ) {
            prop_assume!(and_below || !wanted.is_empty());
            let below = and_below.then_some("**");
            let segments: Vec<&str> = wanted.iter().copied().chain(below).collect();
            let pattern = pattern(&format!("spiffe://t/{}", segments.join("/")));
            let id = SpiffeId::parse(&format!("spiffe://t/{}", path.join("/"))).expect("an ID");
            let Kind::Spiffe(matcher) = &pattern.0 else { unreachable!() };
            let lengths_fit = match and_below {
                true => path.len() > wanted.len(),
                false => path.len() == wanted.len(),
            };
            let each_fits = wanted.iter().zip(&path).all(|(w, p)| *w == "*" || w == p);
            prop_assert_eq!(matcher.matches(&id), lengths_fit && each_fits);
        }

        #[test]
        fn a_wildcard_never_crosses_a_label(
            labels in proptest::collection::vec("[ab]{1,2}", 1..5)
        ) {
            let identity = with_dns(&labels.join("."));
            let expected = labels.len() == 3 && labels[1..] == ["a", "b"];
            prop_assert_eq!(pattern("dns:*.a.b").matches(&identity), expected);
        }
    }
}
