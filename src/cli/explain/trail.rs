//! The steps of one verification, as the verifier told them.

use std::cell::RefCell;

use rustls::pki_types::CertificateDer;

use super::input::Input;
use crate::trust::verdict::{Verdict, judge_witnessed};
use crate::trust::verify::{ClientVerifier, Refused, Step, VerifiedChain};

/// What was told; of several paths the last, which is the one that the outcome is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    /// Certificates presented, and as many would be accepted.
    pub(super) counted: Option<(usize, usize)>,
    /// For each certificate whose key is accepted: whether only because it is an anchor's.
    pub(super) keys: Vec<bool>,
    pub(super) path: Option<Path>,
    /// Of the client, where any is bound to an anchor.
    pub(super) domain: Option<Option<String>>,
    pub(super) chain: Option<VerifiedChain>,
    /// Paths that were found and refused; one through a certificate that the client presents and
    /// the configuration has too is found twice, and counts once.
    pub(super) paths_refused: usize,
    refused: Option<Path>,
}

/// A path from the client to an anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) anchor: String,
    pub(super) bound_to: Option<String>,
    /// The client's own first.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl Trail {
    fn follow(&mut self, step: Step<'_>) {
        match step {
            Step::Counted { certificates, certificates_max } => {
                self.counted = Some((certificates, certificates_max));
            }
            Step::KeyAccepted { is_anchors, .. } => self.keys.push(is_anchors),
            Step::PathFound(found) => {
                self.path = Some(Path {
                    anchor: found.anchor().to_owned(),
                    bound_to: found.bound_to().map(str::to_owned),
                    certificates: found.certificates(),
                });
                self.domain = None;
                self.chain = None;
            }
            Step::DomainAccepted { domain } => self.domain = Some(domain.map(str::to_owned)),
            Step::Described(chain) => self.chain = Some(chain.clone()),
            Step::PathRefused if self.refused == self.path => {}
            Step::PathRefused => {
                self.paths_refused += 1;
                self.refused.clone_from(&self.path);
            }
        }
    }
}

/// Judges the chain as a worker does, and keeps the steps.
pub(super) fn judge(
    input: &Input,
    verifier: &ClientVerifier,
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> (Result<Verdict, Refused>, Trail) {
    let trail = RefCell::new(Trail::default());
    let witness = |step: Step<'_>| trail.borrow_mut().follow(step);
    let (scope, now) = (&input.scope, input.at.unix_time());
    let judged = judge_witnessed(scope, verifier, leaf, intermediates, now, &witness);
    (judged, trail.into_inner())
}
