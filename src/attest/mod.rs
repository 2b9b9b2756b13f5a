//! How an upstream is told who the client is.
//!
//! PURE. It must not know requests, sockets or the clock: the time is handed in. Invariant: it
//! tells only of identities that were verified, each in the one way that the format has for it.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

use crate::identity::Identity;

mod client_cert;
#[cfg(test)]
pub(crate) mod kit;
mod signer;
mod token;
mod xfcc;

pub use signer::{KeyRing, NoSigningKey, Signer, SigningKey};

use token::Tokens;
pub use token::{Purpose, subject};

/// What upstreams of a listener are told.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// `Client-Cert` (RFC 9440).
    pub client_cert: bool,
    /// `Client-Cert-Chain` (RFC 9440), and so `Client-Cert`: "Client-Cert-Chain MUST NOT appear
    /// unless Client-Cert is also present" (2.3).
    pub client_cert_chain: bool,
    /// `X-Forwarded-Client-Cert`, as Envoy writes it.
    pub xfcc: bool,
    /// A signed identity.
    pub token: Option<Arc<Signer>>,
}

/// The certificates of a handshake.
#[derive(Debug, Default)]
pub struct Certificates {
    /// What the client presented, its own first, of a resumed session too; empty where it
    /// presented none, or nothing is told of them.
    pub chain: Vec<CertificateDer<'static>>,
    /// The URI in the certificate that the server presented.
    pub by: Option<Arc<str>>,
}

/// What one connection's upstreams are told; kept as long as the connection.
#[derive(Debug, Default)]
pub struct Told {
    /// Whole field lines that are the same for every request: names in lower case, CR LF behind
    /// each. Every byte of them is printable ASCII otherwise.
    pub lines: Box<[u8]>,
    /// Lines that are missing for being longer than
    /// [`TOLD_LINE_BYTES_MAX`](crate::limits::TOLD_LINE_BYTES_MAX).
    pub left_out: u32,
    tokens: Tokens,
}

impl Telling {
    /// Whether the certificates of the client are needed.
    pub fn needs_chain(&self) -> bool {
        self.client_cert || self.client_cert_chain
    }

    /// What a connection's upstreams are told: nothing of who has no identity.
    ///
    /// The chain is told as it was presented. Whoever reads `Client-Cert-Chain` must not take all
    /// that it finds there for verified: a client may present more than leads to an anchor.
    pub fn tell(&self, identity: Option<&Identity>, certificates: &Certificates) -> Told {
        let Certificates { chain, by } = certificates;
        let Some(identity) = identity else {
            return Told::default();
        };
        let mut lines = Vec::new();
        let mut left_out = 0;
        let mut count = |result: Result<(), client_cert::TooLong>| {
            left_out += u32::from(result.is_err());
            result.is_ok()
        };
        if let Some((leaf, intermediates)) = chain.split_first()
            && self.needs_chain()
            // Whatever went wrong before: the names and the certificate are of one client.
            && digest(&SHA256, leaf).as_ref() == identity.sha256()
            && count(client_cert::append_leaf(leaf, &mut lines))
            && self.client_cert_chain
        {
            let intermediates = intermediates.iter().map(|it| it.as_ref());
            count(client_cert::append_chain(intermediates, &mut lines));
        }
        if self.xfcc {
            count(xfcc::append(identity, by.as_deref(), &mut lines));
        }
        Told { lines: lines.into_boxed_slice(), left_out, tokens: Tokens::default() }
    }
}

impl Told {
    /// The line `ringfort-identity: ...` for a request of this route to this upstream, where there
    /// is to be one: whole, with its CR LF. It is made anew at half of its life; the few that were
    /// used last are kept.
    ///
    /// `None` where no identity is signed, where the client has none, and where signing fails: the
    /// upstream refuses such a request, for it is told of nobody.
    pub fn token_line(
        &mut self,
        telling: &Telling,
        identity: Option<&Identity>,
        purpose: Purpose<'_>,
        now_unix_s: i64,
    ) -> Option<Arc<[u8]>> {
        let (signer, identity) = (telling.token.as_ref()?, identity?);
        self.tokens.line(signer, identity, purpose, now_unix_s)
    }
}

#[cfg(test)]
mod tests;
