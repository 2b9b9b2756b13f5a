//! How an upstream is told who the client is.
//!
//! PURE. It must not know requests, sockets or the clock: the time is handed in. Invariant: it
//! tells only of identities that were verified, each in the one way that the format has for it.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use crate::identity::Identity;

/// What upstreams of a listener are told.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// `Client-Cert` (RFC 9440).
    pub client_cert: bool,
    /// `Client-Cert-Chain` (RFC 9440).
    pub client_cert_chain: bool,
    /// `X-Forwarded-Client-Cert`, as Envoy writes it.
    pub xfcc: bool,
    /// A signed identity.
    pub token: Option<Arc<Signer>>,
}

/// Signs identities.
#[derive(Debug)]
pub struct Signer {}

/// What one connection's upstreams are told; kept as long as the connection.
#[derive(Debug, Default)]
pub struct Told {
    /// Whole field lines that are the same for every request.
    pub lines: Box<[u8]>,
}

impl Telling {
    /// Whether the certificates of the client are needed.
    pub fn needs_chain(&self) -> bool {
        self.client_cert || self.client_cert_chain || self.xfcc
    }

    /// What a connection's upstreams are told. `chain` begins with the client's own certificate and
    /// is empty where it presented none.
    pub fn tell(&self, identity: Option<&Identity>, chain: &[CertificateDer<'_>]) -> Told {
        let _ = (identity, chain);
        unimplemented!()
    }
}

impl Told {
    /// The line with the signed identity for a request of this route, where there is to be one. It
    /// is made anew when the last one is about to run out.
    pub fn token_line(
        &mut self,
        telling: &Telling,
        identity: Option<&Identity>,
        route: &Arc<str>,
        connection: u64,
        now_unix_s: i64,
    ) -> Option<Arc<[u8]>> {
        let _ = (telling, identity, route, connection, now_unix_s);
        unimplemented!()
    }
}
