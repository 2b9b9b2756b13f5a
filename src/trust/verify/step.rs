//! What verification comes upon on its way, for whoever tells it step by step.
//!
//! It must not decide anything. Invariant: a step is told by the code that decides it, where it
//! does, so what is told cannot differ from what is decided.

use std::fmt;

use rustls::pki_types::CertificateDer;
use webpki::VerifiedPath;

use super::{Anchors, VerifiedChain};

/// Who is told the steps of one verification, in their order.
pub type Witness<'a> = &'a dyn Fn(Step<'_>);

/// A witness who does not listen.
pub fn nobody(_: Step<'_>) {}

/// One step of a verification that was passed, or that a path was given up.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// So many certificates are not too many.
    Counted {
        /// Certificates that were presented.
        certificates: usize,
        /// As many would be accepted.
        certificates_max: usize,
    },
    /// A presented certificate is X.509, and its key is accepted.
    KeyAccepted {
        /// Which one; 0 is the client's own.
        position: usize,
        /// Whether it is accepted only because an anchor has the same key.
        is_anchors: bool,
    },
    /// Signatures, dates, purposes and constraints are in order from the client to an anchor.
    PathFound(FoundPath<'a>),
    /// The anchor of the path may vouch for the client.
    DomainAccepted {
        /// The client's SPIFFE trust domain, where any is bound to an anchor.
        domain: Option<&'a str>,
    },
    /// What there is to know of the path; the check of the caller is next.
    Described(&'a VerifiedChain),
    /// The path that was found is refused all the same; another may be found.
    PathRefused,
}

/// A path from a client to an anchor.
#[derive(Clone, Copy)]
pub struct FoundPath<'a> {
    path: &'a VerifiedPath<'a>,
    anchors: &'a Anchors,
    index: Option<usize>,
}

impl<'a> FoundPath<'a> {
    pub(super) fn new(
        path: &'a VerifiedPath<'a>,
        anchors: &'a Anchors,
        index: Option<usize>,
    ) -> Self {
        Self { path, anchors, index }
    }

    /// Its certificates, the client's own first; the anchor is none.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let leaf: &webpki::Cert<'_> = self.path.end_entity();
        let all = [leaf].into_iter().chain(self.path.intermediate_certificates());
        all.map(|certificate| certificate.der().into_owned()).collect()
    }

    /// The subject of the anchor as an RFC 4514 string.
    pub fn anchor(&self) -> &'a str {
        self.index.map_or("an anchor", |index| &self.anchors.labels[index])
    }

    /// The SPIFFE trust domain that the anchor is bound to.
    pub fn bound_to(&self) -> Option<&'a str> {
        self.index.and_then(|index| self.anchors.domains[index].as_deref())
    }
}

impl fmt::Debug for FoundPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoundPath").field("anchor", &self.anchor()).finish_non_exhaustive()
    }
}
