//! The signed identity of a client: a JWT (RFC 7519) as a compact JWS (RFC 7515), by EdDSA
//! (RFC 8037), and those that a connection keeps.
//!
//! A token is for one upstream and one route, names the certificate by its thumbprint, and is good
//! for a minute: what an upstream, or a log, gives away is soon worth nothing, and never anything
//! at another upstream.

use std::fmt::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::signer::Signer;
use crate::identity::Identity;
use crate::limits::{TOKEN_NAME_BYTES_MAX, TOKEN_S, TOKENS_PER_CONNECTION_MAX};

/// The name of the field.
const NAME: &str = "ringfort-identity: ";

/// What a token is for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// The listener, which says by whose rules and anchors the client was let in.
    pub listener: &'a Arc<str>,
    /// The route of the request.
    pub route: &'a Arc<str>,
    /// The upstream, which is the audience.
    pub upstream: &'a Arc<str>,
    /// The number of the client's connection.
    pub connection: u64,
}

#[derive(Debug)]
struct Token {
    /// A new key, or another issuer, is used for the next request already.
    signer: Arc<Signer>,
    route: Arc<str>,
    upstream: Arc<str>,
    issued_unix_s: i64,
    line: Arc<[u8]>,
}

/// The tokens of a connection, the one that was used last first; bounded.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<Token>);

impl Tokens {
    /// The line for a request; `None` where the signature fails.
    pub(super) fn line(
        &mut self,
        signer: &Arc<Signer>,
        identity: &Identity,
        purpose: Purpose<'_>,
        now_unix_s: i64,
    ) -> Option<Arc<[u8]>> {
        let is_for = |it: &Token| {
            it.route == *purpose.route
                && it.upstream == *purpose.upstream
                && it.signer.is_same(signer)
        };
        if let Some(index) = self.0.iter().position(is_for) {
            self.0[..=index].rotate_right(1);
            let age_s = now_unix_s.saturating_sub(self.0[0].issued_unix_s);
            // At half its life it is replaced, and where the clock was set back.
            if (0..TOKEN_S / 2).contains(&age_s) {
                return Some(Arc::clone(&self.0[0].line));
            }
            self.0.remove(0);
        }
        let token = sign(signer, identity, purpose, now_unix_s)?;
        let line: Arc<[u8]> = Arc::from(format!("{NAME}{token}\r\n").into_bytes());
        self.0.truncate(TOKENS_PER_CONNECTION_MAX - 1);
        let kept = Token {
            signer: Arc::clone(signer),
            route: Arc::clone(purpose.route),
            upstream: Arc::clone(purpose.upstream),
            issued_unix_s: now_unix_s,
            line: Arc::clone(&line),
        };
        self.0.insert(0, kept);
        Some(line)
    }
}

/// Makes a token (RFC 7515, 3.1: header, payload and signature in base64url between dots).
fn sign(
    signer: &Signer,
    identity: &Identity,
    purpose: Purpose<'_>,
    now_unix_s: i64,
) -> Option<String> {
    let claims = json!({
        "iss": &*signer.issuer,
        "sub": subject(identity),
        "aud": &**purpose.upstream,
        "iat": now_unix_s,
        // Nobody vouches for the client beyond its certificate.
        "exp": now_unix_s.saturating_add(TOKEN_S).min(identity.not_after_unix_s()),
        // RFC 8705, 3.1: the SHA-256 of the certificate's DER, in base64url.
        "cnf": { "x5t#S256": URL_SAFE_NO_PAD.encode(identity.sha256()) },
        // Two authorities may give the same name to different clients.
        "certificate_issuer": bounded_issuer(identity),
        "listener": &**purpose.listener,
        "route": &**purpose.route,
        "connection": purpose.connection.to_string(),
    });
    let mut token = signer.header.to_string();
    URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
    let signature = signer.key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Some(token)
}

/// The name of who issued the client's certificate, as it is shown; what is longer than
/// `TOKEN_NAME_BYTES_MAX` is left out, as no part of a name may pass for all of it.
fn bounded_issuer(identity: &Identity) -> Option<&str> {
    Some(identity.issuer()).filter(|name| name.len() <= TOKEN_NAME_BYTES_MAX)
}

/// The `sub` of a client: its SPIFFE ID, otherwise its first name with the kind before it.
///
/// Every kind but the SPIFFE ID has its own prefix, so no name can be taken for one of another
/// kind. RFC 7519, 2: "any value containing a ":" character MUST be a URI", so what no URI may have
/// is percent-encoded. What is longer than `TOKEN_NAME_BYTES_MAX` is named by its certificate.
pub fn subject(identity: &Identity) -> String {
    let names =
        [("dns", identity.dns_names()), ("email", identity.emails()), ("uri", identity.uris())];
    let first = names.iter().find_map(|(kind, names)| Some((*kind, names.first()?)));
    let name = match (identity.spiffe_id(), first, identity.ip_addresses().first()) {
        (Some(id), ..) => id.as_str().to_owned(),
        // RFC 3986 was kept when it was read.
        (None, Some(("uri", name)), _) => format!("uri:{name}"),
        (None, Some((kind, name)), _) => encoded(kind, name),
        (None, None, Some(address)) => format!("ip:{address}"),
        (None, None, None) => encoded("subject", identity.subject()),
    };
    if name == "subject:" || name.len() > TOKEN_NAME_BYTES_MAX {
        let mut name = "sha256:".to_owned();
        for byte in identity.sha256() {
            // Writing to a string does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        return name;
    }
    name
}

/// `kind:name`, percent-encoded as RFC 3986, 2.1 has it.
fn encoded(kind: &str, name: &str) -> String {
    let mut out = format!("{kind}:");
    for byte in name.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b'=' | b',' | b'+' | b'@' | b':' | b'*' => {
                out.push(char::from(byte));
            }
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
