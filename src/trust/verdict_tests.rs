//! Tests of `trust::verdict`: what is remembered, for whom, and what is looked at anyway.

use std::collections::HashSet;

use super::*;
use crate::error::Refusal;
use crate::policy::Rules;
use crate::trust::kit::{Ca, Count, Demands, HALF, at, patterns, revocation};
use crate::trust::verify::ClientAuth;

struct Stage {
    ca: Ca,
    count: Arc<Count>,
    cache: VerdictCache,
}

impl Stage {
    fn new() -> Self {
        let (ca, count) = (Ca::new("root"), Arc::default());
        Self { ca, count, cache: VerdictCache::new(8) }
    }

    fn demands(&self) -> Demands {
        Demands { observer: Some(Arc::clone(&self.count)), ..Demands::of(&self.ca) }
    }

    /// The refusal, if any, whether it was known, and how many paths were built for it.
    fn judge(
        &mut self,
        demands: &Demands,
        leaf: &CertificateDer<'_>,
        seconds: i64,
    ) -> (Result<Arc<Verdict>, Refusal>, Found, usize) {
        let before = self.count.get();
        let scope = demands.scope();
        let verifier = scope.verifier().expect("clients are asked");
        let (judged, found) = self.cache.judge(&scope, verifier, leaf, &[], at(seconds));
        let judged = judged.map_err(|refused| refused.refusal);
        (judged, found, self.count.get() - before)
    }

    #[track_caller]
    fn expect(
        &mut self,
        demands: &Demands,
        leaf: &CertificateDer<'_>,
        seconds: i64,
        expected: (Option<Refusal>, Found),
    ) {
        let (judged, found, verified) = self.judge(demands, leaf, seconds);
        assert_eq!((judged.err(), found), expected);
        let paths = if found == Found::Hit { 0 } else { 1 };
        assert_eq!(verified, paths, "only a miss builds a path");
    }
}

#[test]
fn a_client_that_was_seen_costs_no_verification() {
    let mut stage = Stage::new();
    let (leaf, demands) = (stage.ca.client("a.test", 1), stage.demands());
    stage.expect(&demands, &leaf, 0, (None, Found::Miss));
    stage.expect(&demands, &leaf, 1, (None, Found::Hit));
    let (verdict, ..) = stage.judge(&demands, &leaf, 2);
    let verdict = verdict.expect("in order");
    let identity = verdict.identity.as_ref().expect("it has one");
    assert_eq!(identity.dns_names().iter().map(|name| &**name).collect::<Vec<_>>(), ["a.test"]);
    assert!(Arc::ptr_eq(&stage.cache.get(&verdict.key).expect("kept"), &verdict));
    stage.expect(&demands, &stage.ca.client("b.test", 2), 2, (None, Found::Miss));
    stage.cache = VerdictCache::new(4);
    assert_eq!(stage.cache.len(), (0, 0));
    stage.expect(&demands, &leaf, 3, (None, Found::Miss));
}

#[test]
fn other_intermediates_are_another_chain() {
    let mut stage = Stage::new();
    let (leaf, demands) = (stage.ca.client("a.test", 1), stage.demands());
    stage.expect(&demands, &leaf, 0, (None, Found::Miss));
    let scope = demands.scope();
    let verifier = scope.verifier().expect("clients are asked");
    let more = [stage.ca.certificate.clone()];
    let (judged, found) = stage.cache.judge(&scope, verifier, &leaf, &more, at(0));
    assert!(judged.is_ok());
    assert_eq!(found, Found::Miss);
}

#[test]
fn a_verdict_serves_every_scope_that_trusts_alike_and_no_other() {
    let mut stage = Stage::new();
    let leaf = stage.ca.client("a.test", 1);
    stage.expect(&stage.demands(), &leaf, 0, (None, Found::Miss));
    let rules = Rules::allow(patterns(&["dns:b.test"]));
    let alike = [
        Demands { name: "other", ..stage.demands() },
        Demands { mode: ClientAuth::Optional, ..stage.demands() },
        Demands { rules, ..stage.demands() },
    ];
    for demands in alike {
        stage.expect(&demands, &leaf, 0, (None, Found::Hit));
    }
    let other = Ca::new("other");
    let narrow = Demands { options: |it| it.chain_certificates_max = 1, ..stage.demands() };
    stage.expect(&narrow, &leaf, 0, (None, Found::Miss));
    let observer = Some(Arc::clone(&stage.count));
    let stranger = Demands { observer, ..Demands::of(&other) };
    stage.expect(&stranger, &leaf, 0, (Some(Refusal::UnknownAnchor), Found::Miss));
    stage.expect(&stage.demands(), &leaf, 0, (None, Found::Hit));
}

#[test]
fn expiry_and_new_lists_end_a_verdict_that_is_kept() {
    let mut stage = Stage::new();
    let (leaf, demands) = (stage.ca.client("a.test", 7), stage.demands());
    let half = HALF.cast_signed();
    stage.expect(&demands, &leaf, 0, (None, Found::Miss));
    stage.expect(&demands, &leaf, half, (None, Found::Hit));
    stage.expect(&demands, &leaf, half + 1, (Some(Refusal::Expired), Found::Miss));
    let again = stage.judge(&demands, &leaf, 0);
    assert!(again.0.is_err() || again.1 == Found::Miss, "the verdict is not kept any more");

    let mut stage = Stage::new();
    let (leaf, demands) = (stage.ca.client("a.test", 7), stage.demands());
    stage.expect(&demands, &leaf, 0, (None, Found::Miss));
    let with = |stage: &Stage, serials: &[u64], until: i64| {
        let list = stage.ca.list(serials, -60, until);
        Demands { revocation: revocation(&[&list]), ..stage.demands() }
    };
    let clean = with(&stage, &[8], 600);
    stage.expect(&clean, &leaf, 0, (None, Found::Hit));
    let stale = with(&stage, &[], 10);
    stage.expect(&stale, &leaf, 9, (None, Found::Hit));
    stage.expect(&stale, &leaf, 10, (Some(Refusal::CrlStale), Found::Miss));
    stage.expect(&clean, &leaf, 20, (None, Found::Miss));
    let revoked = with(&stage, &[7], 600);
    stage.expect(&revoked, &leaf, 20, (Some(Refusal::Revoked), Found::Miss));
}

#[test]
fn a_refusal_is_kept_for_its_time_only() {
    let mut stage = Stage::new();
    let other = Ca::new("other");
    let (leaf, demands) = (other.client("a.test", 1), stage.demands());
    let ttl = i64::try_from(REFUSAL_TTL_S).expect("small");
    let unknown = Some(Refusal::UnknownAnchor);
    stage.expect(&demands, &leaf, 0, (unknown, Found::Miss));
    stage.expect(&demands, &leaf, ttl - 1, (unknown, Found::Hit));
    stage.expect(&demands, &leaf, ttl, (unknown, Found::Miss));
    // Where the clock is set back it must not stay for as long.
    stage.expect(&demands, &leaf, -3600, (unknown, Found::Miss));
}

#[test]
fn what_is_kept_is_bounded() {
    let mut stage = Stage::new();
    let demands = stage.demands();
    let leaves: Vec<_> = (1..=9).map(|serial| stage.ca.client("a.test", serial)).collect();
    for leaf in &leaves {
        stage.expect(&demands, leaf, 0, (None, Found::Miss));
        assert!(stage.cache.len().0 <= 8);
    }
    // The one that was seen longest ago had to go.
    stage.expect(&demands, &leaves[8], 0, (None, Found::Hit));
    stage.expect(&demands, &leaves[0], 0, (None, Found::Miss));
    for number in 0..REFUSALS_MAX + 10 {
        let garbage = CertificateDer::from(number.to_be_bytes().to_vec());
        let (judged, ..) = stage.judge(&demands, &garbage, 0);
        assert_eq!(judged.err(), Some(Refusal::Malformed));
    }
    assert_eq!(stage.cache.len(), (8, REFUSALS_MAX), "refusals drive out no verdict");
}

#[test]
fn the_second_until_which_a_chain_is_in_order_is_the_last_one() {
    let ca = Ca::new("root");
    let leaf = ca.client("a.test", 1);
    let base = || Demands::of(&ca);
    let list = ca.list(&[], -60, 600);
    let scope = base().scope();
    let verifier = scope.verifier().expect("clients are asked");
    let chain = judge(&scope, verifier, &leaf, &[], at(0)).expect("in order").chain;
    let listed = Demands { revocation: revocation(&[&list]), ..base() }.scope();
    for (scope, name) in [(scope, "notAfter"), (listed, "nextUpdate")] {
        let until = check_now(&scope, &chain, at(0)).expect("in order");
        let second = |unix_s: i64| {
            let unix_s = u64::try_from(unix_s).expect("after 1970");
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(unix_s))
        };
        assert_eq!(check_now(&scope, &chain, second(until)), Ok(until), "{name}");
        assert!(check_now(&scope, &chain, second(until + 1)).is_err(), "{name}");
    }
}

#[test]
fn keys_of_different_chains_differ_even_where_their_bytes_run_together() {
    let scope = Demands::of(&Ca::new("root")).scope();
    let der = |bytes: &[u8]| CertificateDer::from(bytes.to_vec());
    let chains = [
        (der(b"ab"), vec![der(b"c")]),
        (der(b"a"), vec![der(b"bc")]),
        (der(b"abc"), vec![]),
        (der(b"abc"), vec![der(b"")]),
        (der(b"a"), vec![der(b"b"), der(b"c")]),
    ];
    let keys: HashSet<Hash> =
        chains.iter().map(|(leaf, rest)| key_of(&scope, leaf, rest)).collect();
    assert_eq!(keys.len(), chains.len());
}
