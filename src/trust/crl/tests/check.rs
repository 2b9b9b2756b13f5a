//! What a set of lists says of a path, and until when.

use std::sync::Arc;
use std::time::Duration;

use super::kit::*;
use crate::error::Refusal;
use crate::limits::CRL_FUTURE_S_MAX;
use crate::trust::crl::{CrlCheck, Missing, Revocation, RevocationList, Revoked, Scope, Stale};

/// Within the period of every list here.
const NOW: i64 = THIS_UPDATE + 1_000;

fn strict(lists: impl IntoIterator<Item = Arc<RevocationList>>) -> Revocation {
    Revocation::new(lists, CrlCheck::Chain, Missing::Reject, Stale::Reject)
}

fn numbered(number: u8) -> impl FnOnce(&mut Raw) {
    move |raw| raw.extensions = vec![extension(20, false, &tlv(2, &[number]))]
}

#[test]
fn nothing_is_checked_unless_it_is_on_and_then_even_without_a_list() {
    let ca = Ca::new("a");
    let off = Revocation::default();
    assert_eq!(off.check(&[ca.link(7)], NOW), Ok(None));
    assert_eq!(off.lists().count(), 0);
    let none = strict([]);
    assert_eq!(none.check(&[ca.link(7)], NOW), Err(Revoked::Missing { position: 0 }));
}

#[test]
fn a_revoked_certificate_is_told_from_others_at_its_place() {
    let (root, issuing) = (Ca::new("root"), Ca::new("issuing"));
    let lists = [root.shared(&[5], |_| {}), issuing.shared(&[7], |_| {})];
    let chain = strict(lists.clone());
    let path = |leaf, authority| [issuing.link(leaf), root.link(authority)];
    assert_eq!(chain.check(&path(8, 6), NOW), Ok(Some(NEXT_UPDATE)));
    let revoked = |position| Err(Revoked::Revoked { position, when: REVOKED });
    assert_eq!(chain.check(&path(7, 6), NOW), revoked(0));
    assert_eq!(chain.check(&path(8, 5), NOW), revoked(1));
    // The number of another authority.
    assert_eq!(chain.check(&path(5, 7), NOW), Ok(Some(NEXT_UPDATE)));
    assert_eq!(chain.lists().count(), 2);

    let leaf = Revocation::new(lists, CrlCheck::Leaf, Missing::Reject, Stale::Reject);
    assert_eq!(leaf.check(&path(7, 6), NOW), revoked(0));
    assert_eq!(leaf.check(&path(8, 5), NOW), Ok(Some(NEXT_UPDATE)));
}

#[test]
fn each_certificate_is_told_with_its_list_and_the_answer_that_the_path_gets() {
    let (root, issuing) = (Ca::new("root"), Ca::new("issuing"));
    let lists = [root.shared(&[5], |_| {}), issuing.shared(&[7], |_| {})];
    let chain = strict(lists.clone());
    let links = [issuing.link(7), root.link(6), Ca::new("other").link(1)];
    let told: Vec<_> = chain.consult(&links, NOW).collect();
    let issuers: Vec<_> = told.iter().map(|it| it.list.map(|list| list.issuer())).collect();
    assert_eq!(issuers, [Some(links[0].issuer), Some(links[1].issuer), None]);
    let answers: Vec<_> = told.iter().map(|it| it.answer).collect();
    let revoked = Err(Revoked::Revoked { position: 0, when: REVOKED });
    let missing = Err(Revoked::Missing { position: 2 });
    assert_eq!(answers, [revoked, Ok(Some(NEXT_UPDATE)), missing]);
    assert_eq!(chain.check(&links, NOW), revoked);
    assert_eq!(chain.check(&links[1..2], NOW), Ok(Some(NEXT_UPDATE)));

    let leaf = Revocation::new(lists, CrlCheck::Leaf, Missing::Reject, Stale::Reject);
    assert_eq!(leaf.consult(&links, NOW).count(), 1);
    let off = Revocation::default();
    assert_eq!((off.is_on(), off.consult(&links, NOW).count()), (false, 0));
}

#[test]
fn an_issuer_without_a_list_is_refused_or_passes_as_it_was_said() {
    let (with, without) = (Ca::new("a"), Ca::new("b"));
    let list = with.shared(&[7], |_| {});
    let missing = Err(Revoked::Missing { position: 0 });
    assert_eq!(strict([list.clone()]).check(&[without.link(7)], NOW), missing);
    // The same name, another key: another issuer.
    assert_eq!(strict([list.clone()]).check(&[Ca::new("a").link(8)], NOW), missing);

    let lenient = Revocation::new([list], CrlCheck::Chain, Missing::Accept, Stale::Reject);
    assert_eq!(lenient.check(&[without.link(7)], NOW), Ok(None));
    assert_eq!(lenient.check(&[without.link(7), with.link(8)], NOW), Ok(Some(NEXT_UPDATE)));
    assert!(lenient.check(&[without.link(7), with.link(7)], NOW).is_err());
}

#[test]
fn a_stale_list_says_who_was_revoked_and_no_longer_who_was_not() {
    let ca = Ca::new("a");
    let list = ca.shared(&[7], |_| {});
    let with = |stale| Revocation::new([list.clone()], CrlCheck::Chain, Missing::Reject, stale);
    let stale = Err(Revoked::Stale { position: 0, since: NEXT_UPDATE });
    let good = [ca.link(8)];
    for (policy, ends) in [
        (Stale::Reject, Some(NEXT_UPDATE)),
        (Stale::Grace(Duration::from_secs(60)), Some(NEXT_UPDATE + 60)),
        (Stale::Accept, None),
        (Stale::Grace(Duration::MAX), Some(i64::MAX)),
    ] {
        let revocation = with(policy);
        assert_eq!(revocation.check(&good, NOW), Ok(ends), "{policy:?}");
        let Some(ends) = ends.filter(|ends| *ends != i64::MAX) else {
            assert_eq!(revocation.check(&good, i64::MAX - 1), Ok(ends));
            continue;
        };
        assert_eq!(revocation.check(&good, ends - 1), Ok(Some(ends)));
        assert_eq!(revocation.check(&good, ends), stale);
        let revoked = revocation.check(&[ca.link(7)], ends + 1).map_err(Revoked::refusal);
        assert_eq!(revoked, Err(Refusal::Revoked));
    }
    assert_eq!(stale.map_err(|error: Revoked| error.refusal()), {
        Err::<Option<i64>, _>(Refusal::CrlStale)
    });
}

#[test]
fn a_list_that_has_not_begun_says_only_who_was_revoked() {
    let ca = Ca::new("a");
    let list = ca.shared(&[7], |_| {});
    let begins = THIS_UPDATE - CRL_FUTURE_S_MAX;
    let rejects = strict([list.clone()]);
    assert_eq!(rejects.check(&[ca.link(8)], begins), Ok(Some(NEXT_UPDATE)));
    let early = rejects.check(&[ca.link(8)], begins - 1);
    assert_eq!(early, Err(Revoked::Missing { position: 0 }));
    assert!(matches!(
        rejects.check(&[ca.link(7)], begins - 1),
        Err(Revoked::Revoked { position: 0, .. })
    ));
    let accepts = Revocation::new([list], CrlCheck::Chain, Missing::Accept, Stale::Reject);
    assert_eq!(accepts.check(&[ca.link(8)], begins - 1), Ok(Some(begins)));
}

#[test]
fn the_newest_list_of_an_issuer_rules_in_whatever_order_they_come() {
    let ca = Ca::new("a");
    let first = ca.shared(&[1], numbered(9));
    let later = ca.shared(&[2], |raw| {
        numbered(1)(raw);
        raw.this_update = time("260101000001Z");
    });
    let same_date = ca.shared(&[3], numbered(10));
    let is_revoked =
        |revocation: &Revocation, serial| revocation.check(&[ca.link(serial)], NOW).is_err();
    for lists in [[&first, &later], [&later, &first]] {
        let revocation = strict(lists.map(Arc::clone));
        assert!(is_revoked(&revocation, 2) && !is_revoked(&revocation, 1));
        assert_eq!(revocation.lists().count(), 1);
    }
    for lists in [[&first, &same_date], [&same_date, &first]] {
        let revocation = strict(lists.map(Arc::clone));
        assert!(is_revoked(&revocation, 3) && !is_revoked(&revocation, 1));
    }
    assert!(!first.is_newer_than(&first));
}

#[test]
fn a_list_of_users_or_authorities_speaks_of_these_only() {
    let ca = Ca::new("a");
    let limited = |tag| {
        move |raw: &mut Raw| {
            raw.extensions.push(distribution_point(&tlv(tag, &[0xff])));
        }
    };
    let users = ca.shared(&[7], limited(0x81));
    let authorities = ca.shared(&[5], limited(0x82));
    let path = [ca.link(8), ca.link(6)];
    let missing = |position| Err(Revoked::Missing { position });
    assert_eq!(strict([users.clone()]).check(&path, NOW), missing(1));
    assert_eq!(strict([authorities.clone()]).check(&path, NOW), missing(0));
    let leaf = Revocation::new([users.clone()], CrlCheck::Leaf, Missing::Reject, Stale::Reject);
    assert_eq!(leaf.check(&path, NOW), Ok(Some(NEXT_UPDATE)));

    let both = strict([users.clone(), authorities.clone()]);
    assert_eq!(both.check(&path, NOW), Ok(Some(NEXT_UPDATE)));
    assert!(both.check(&[ca.link(7), ca.link(6)], NOW).is_err());
    assert!(both.check(&[ca.link(8), ca.link(5)], NOW).is_err());
    assert_eq!(both.lists().count(), 2);

    // A newer one of users leaves what an older one of all says of authorities.
    let all = ca.shared(&[5], |raw| raw.this_update = time("251231000000Z"));
    let mixed = strict([users, all]);
    assert!(mixed.check(&[ca.link(7)], NOW).is_err());
    assert!(mixed.check(&[ca.link(5), ca.link(6)], NOW).is_ok());
    assert!(mixed.check(&[ca.link(8), ca.link(5)], NOW).is_err());
    let scopes: Vec<_> = mixed.lists().map(RevocationList::scope).collect();
    assert_eq!(scopes, [Scope::Users, Scope::Everything]);
}
