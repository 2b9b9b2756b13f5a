//! The names of fields: which class each belongs to. It must not know values.
//!
//! Whatever is neither letter nor digit counts as `-`, and case does not count: servers that hand
//! fields to programs as variables (CGI, WSGI, Rack, PHP) fold `-` and `_`, lighttpd every such
//! byte, so that `X_Forwarded_For` and `X.Forwarded.For` arrive as `X-Forwarded-For` does.
//! Invariant: no spelling of a name that such a server folds has another class.
//!
//! # Identity: never forwarded, on whatever listener
//!
//! What terminators of TLS say of a client's certificate. One with `*` stands for every name that
//! begins so, and for the name without what follows.
//!
//! | names | of |
//! |---|---|
//! | `Client-Cert*` (so `Client-Cert-Chain`) | RFC 9440 |
//! | `X-Forwarded-Client-Cert*` | Envoy, Istio |
//! | `X-Forwarded-Tls-Client-Cert*` | Traefik |
//! | `X-Forwarded-Ssl-Client*` | Apache, HAProxy |
//! | `SSL-*`, `X-SSL-*` (so `[X-]SSL-Client-*`) | nginx, HAProxy, Apache, Tomcat, F5 |
//! | `SSLClient*` | F5 |
//! | `TLS-Client-*`, `X-TLS-Client-*` | Caddy, Kong |
//! | `X-Client-Cert*`, `X-ClientCert*` | Google Cloud, F5, Azure API Management |
//! | `X-Client-DN*`, `X-Client-S-DN*`, `X-Client-I-DN*`, `X-Client-Verify*` | nginx, Puppet |
//! | `X-Client-Subject*`, `X-Client-Issuer*`, `X-Client-Serial*` | nginx |
//! | `X-Client-CN*`, `X-Client-SAN*`, `X-Client-Fingerprint*` | nginx, HAProxy |
//! | `Cert-Chain*` | Keycloak |
//! | `X-Amzn-Mtls-*` | AWS ALB |
//! | `CloudFront-Viewer-Cert-*` | AWS CloudFront |
//! | `X-ARR-ClientCert*`, `X-ARR-SSL` | Azure, IIS |
//! | `Cf-Client-Cert*` | Cloudflare |
//! | `L5d-Client-Id` | Linkerd |
//! | `X-Spiffe-Id` | SPIFFE |
//! | `Proxy-Auth-Cert`, `Proxy-Ssl-Id` | Jetty |
//! | `WL-Proxy-*` | WebLogic |
//! | `$WS*` | WebSphere |
//! | `Ringfort-*` | ringfort |
//!
//! Fields that name a person (`X-Remote-User`, `X-Forwarded-User`, `X-Auth-Request-*`) are not
//! among them: an authenticating proxy that is itself the client may send them. A route removes
//! them where they must not pass.

use super::fields::Class;
use crate::planted::{Bug, planted};

/// A name that begins with one of these claims who the client is.
const IDENTITY_PREFIXES: &[&[u8]] = &[
    b"-ws",
    b"cert-chain",
    b"cf-client-cert",
    b"client-cert",
    b"cloudfront-viewer-cert",
    b"ringfort-",
    b"ssl-",
    b"sslclient",
    b"tls-client-",
    b"wl-proxy-",
    b"x-amzn-mtls-",
    b"x-arr-clientcert",
    b"x-client-cert",
    b"x-client-cn",
    b"x-client-dn",
    b"x-client-fingerprint",
    b"x-client-i-dn",
    b"x-client-issuer",
    b"x-client-s-dn",
    b"x-client-san",
    b"x-client-serial",
    b"x-client-subject",
    b"x-client-verify",
    b"x-clientcert",
    b"x-forwarded-client-cert",
    b"x-forwarded-ssl-client",
    b"x-forwarded-tls-client-cert",
    b"x-ssl-",
    b"x-tls-client-",
];

/// These claim who the client is.
const IDENTITY: &[&[u8]] = &[
    b"l5d-client-id",
    b"proxy-auth-cert",
    b"proxy-ssl-id",
    b"x-arr-ssl",
    b"x-spiffe-id",
    b"x-ssl",
];

/// What proxies say of where a request came from and what it was before them: the last lines are
/// of servers that take a path from there, past the route that was chosen by another.
const FORWARDING: &[&[u8]] = &[
    b"cf-connecting-ip",
    b"cf-connecting-ipv6",
    b"client-ip",
    b"fastly-client-ip",
    b"forwarded",
    b"forwarded-for",
    b"front-end-https",
    b"proxy-client-ip",
    b"true-client-ip",
    b"via",
    b"x-client-ip",
    b"x-cluster-client-ip",
    b"x-envoy-external-address",
    b"x-envoy-internal",
    b"x-forwarded",
    b"x-forwarded-by",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-path",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-forwarded-protocol",
    b"x-forwarded-scheme",
    b"x-forwarded-server",
    b"x-forwarded-ssl",
    b"x-forwarded-uri",
    b"x-forwarded-url",
    b"x-original-for",
    b"x-original-forwarded-for",
    b"x-original-host",
    b"x-original-proto",
    b"x-real-ip",
    b"x-real-port",
    b"x-scheme",
    b"x-url-scheme",
    b"x-envoy-original-path",
    b"x-original-uri",
    b"x-original-url",
    b"x-rewrite-url",
];

/// RFC 9110, 7.6.1: "Intermediaries SHOULD also remove or replace fields that are known to require
/// removal before forwarding, whether or not they appear as a connection-option, [...] This
/// includes but is not limited to: Proxy-Connection, Keep-Alive, TE, Transfer-Encoding, Upgrade".
/// HTTP2-Settings belongs to an upgrade to HTTP/2, which RFC 9113 took back. Proxy-Authenticate,
/// Proxy-Authentication-Info and Proxy-Authorization are between a client and its proxy (RFC 9110,
/// 11.7): credentials of that kind are not for the upstream. Trailer is not among them: a trailer
/// section goes on, and RFC 9110, 6.6.2 has the field stay even where the section is lost.
const HOP_BY_HOP: &[&[u8]] = &[
    b"connection",
    b"http2-settings",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"upgrade",
];

/// A field that the codec itself reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// Host.
    Host,
    /// Content-Length.
    ContentLength,
    /// Transfer-Encoding.
    TransferEncoding,
    /// Connection.
    Connection,
    /// Upgrade.
    Upgrade,
    /// Expect.
    Expect,
    /// Content-Length or Transfer-Encoding, but for another byte in place of the hyphen.
    Lookalike,
    /// One that the codec does not read.
    Other(Class),
}

impl Name {
    pub(super) fn class(self) -> Class {
        match self {
            Self::Host | Self::ContentLength | Self::TransferEncoding | Self::Lookalike => {
                Class::Framing
            }
            Self::Connection | Self::Upgrade => Class::HopByHop,
            Self::Expect => Class::EndToEnd,
            Self::Other(Class::Identity) if planted(Bug::KeepIdentityFields) => Class::EndToEnd,
            Self::Other(class) => class,
        }
    }
}

/// Which field it is, by length and first letter before anything is compared.
pub(super) fn name(name: &[u8]) -> Name {
    let Some(first) = name.first().map(u8::to_ascii_lowercase) else {
        return Name::Other(Class::EndToEnd);
    };
    match (first, name.len()) {
        (b'h', 4) if same(name, b"host") => Name::Host,
        (b'c', 14) if same(name, b"content-length") => exact(name, Name::ContentLength),
        (b't', 17) if same(name, b"transfer-encoding") => exact(name, Name::TransferEncoding),
        (b'c', 10) if same(name, b"connection") => Name::Connection,
        (b'u', 7) if same(name, b"upgrade") => Name::Upgrade,
        (b'e', 6) if same(name, b"expect") => Name::Expect,
        _ if may_be_listed(name) => Name::Other(look_up(name)),
        _ => Name::Other(Class::EndToEnd),
    }
}

fn exact(name: &[u8], is: Name) -> Name {
    if name.contains(&b'-') { is } else { Name::Lookalike }
}

/// Bytes at the start of a name by which most names are told from all that are listed.
const START_BYTES: usize = 4;

/// Of each of the first bytes, which values the listed names have there: a bit for the byte's low
/// five bits, in which letters differ but not their case. What counts as `-` is one bit (and `M`).
const STARTS: [[u32; 32]; START_BYTES - 1] = starts();

const fn starts() -> [[u32; 32]; START_BYTES - 1] {
    let tables = [IDENTITY_PREFIXES, IDENTITY, FORWARDING, HOP_BY_HOP];
    let mut starts = [[0; 32]; START_BYTES - 1];
    let mut table = 0;
    while table < tables.len() {
        let mut entry = 0;
        while entry < tables[table].len() {
            let name = tables[table][entry];
            let mut at = 1;
            while at < START_BYTES {
                // What is shorter has nothing there, and so has all that may follow a prefix.
                let bits = if at < name.len() { 1 << low_bits(name[at]) } else { u32::MAX };
                starts[at - 1][low_bits(name[0]) as usize] |= bits;
                at += 1;
            }
            entry += 1;
        }
        table += 1;
    }
    starts
}

const fn low_bits(byte: u8) -> u8 {
    folded(byte) & 0x1f
}

/// Whether `name`, which is not empty, begins as something that is listed does.
fn may_be_listed(name: &[u8]) -> bool {
    let first = low_bits(name[0]) as usize;
    name.iter().skip(1).zip(&STARTS).all(|(&byte, bits)| bits[first] & (1 << low_bits(byte)) != 0)
}

fn look_up(name: &[u8]) -> Class {
    // The third letter tells most names apart: `X-` begins many, and the rest differs in the first.
    let third = name.get(2).map(|&byte| folded(byte));
    let is_near = |entry: &&&[u8]| entry.get(2).copied() == third;
    let is_same = |entries: &[&[u8]]| entries.iter().filter(is_near).any(|entry| same(name, entry));
    let begins = IDENTITY_PREFIXES.iter().filter(is_near).any(|entry| {
        name.get(..entry.len()).is_some_and(|start| same(start, entry))
            // `x-amzn-mtls-` without its hyphen too.
            || entry.strip_suffix(b"-").is_some_and(|entry| same(name, entry))
    });
    if begins || is_same(IDENTITY) {
        Class::Identity
    } else if is_same(FORWARDING) {
        Class::Forwarding
    } else if is_same(HOP_BY_HOP) {
        Class::HopByHop
    } else {
        Class::EndToEnd
    }
}

/// As the names of the tables are written: in lower case, with hyphens.
pub(super) const fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// Whether `name` is `entry` (in lower case, with hyphens), but for what is folded.
fn same(name: &[u8], entry: &[u8]) -> bool {
    name.len() == entry.len()
        && name.iter().zip(entry).all(|(&byte, &expected)| folded(byte) == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> [(&'static [&'static [u8]], Class); 4] {
        [
            (IDENTITY_PREFIXES, Class::Identity),
            (IDENTITY, Class::Identity),
            (FORWARDING, Class::Forwarding),
            (HOP_BY_HOP, Class::HopByHop),
        ]
    }

    #[test]
    fn each_name_of_the_tables_is_found_however_it_is_spelt() {
        for (entries, class) in tables() {
            for entry in entries {
                let upper = entry.to_ascii_uppercase();
                let with = |other: u8| -> Vec<u8> {
                    entry.iter().map(|&byte| if byte == b'-' { other } else { byte }).collect()
                };
                let others = b"!#$%&'*+.^_`|~".iter().map(|&byte| with(byte));
                for spelling in [entry.to_vec(), upper].into_iter().chain(others) {
                    let text = String::from_utf8_lossy(&spelling);
                    assert_eq!(name(&spelling).class(), class, "{text}");
                }
            }
        }
        for prefix in IDENTITY_PREFIXES {
            let longer = [prefix, &b"-Issuer_DN"[..]].concat();
            assert_eq!(name(&longer).class(), Class::Identity);
            let without = prefix.strip_suffix(b"-").unwrap_or(prefix);
            assert_eq!(name(without).class(), Class::Identity);
        }
    }

    #[test]
    fn names_that_only_resemble_those_of_the_tables_go_on() {
        let names: &[&[u8]] = &[
            b"",
            b"X",
            b"X-",
            b"x-s",
            b"Accept",
            b"Authorization",
            b"Cookie",
            b"Content-Type",
            b"Client-Ceramics",
            b"Hosts",
            b"X-Request-Id",
            b"X-Forwarded-User",
            b"Trailer",
            b"Sslx",
            b"X-SSLX",
            b"X-Client-Id",
            b"X-Amzn-Trace-Id",
            b"Expect",
            b"Ringforts",
            b"Proxy",
            b"Viaduct",
            b"Upgrade-Insecure-Requests",
            b"Tea",
            b"Content-Encoding",
        ];
        for each in names {
            let text = String::from_utf8_lossy(each);
            assert_eq!(name(each).class(), Class::EndToEnd, "{text}");
        }
    }

    #[test]
    fn what_the_codec_reads_is_told_from_what_resembles_it() {
        assert_eq!(name(b"HOST"), Name::Host);
        assert_eq!(name(b"content-Length"), Name::ContentLength);
        assert_eq!(name(b"Content_Length"), Name::Lookalike);
        assert_eq!(name(b"Transfer-encoding"), Name::TransferEncoding);
        assert_eq!(name(b"TRANSFER_ENCODING"), Name::Lookalike);
        assert_eq!(name(b"Content.Length"), Name::Lookalike);
        assert_eq!(name(b"transfer~encoding"), Name::Lookalike);
        assert_eq!(name(b"Connection"), Name::Connection);
        assert_eq!(name(b"UPGRADE"), Name::Upgrade);
        assert_eq!(name(b"Expect"), Name::Expect);
    }
}
