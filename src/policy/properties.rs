//! What holds for all rules and clients, and the decision beside a model that works on texts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::LazyLock;

use aws_lc_rs::digest::{Context, SHA256};
use proptest::prelude::*;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use super::{Decision, Denial, Explanation, Rules, decide, explain};
use crate::identity::{Identity, Pattern};

/// One client, as the texts that its certificate is made of.
#[derive(Clone, Debug)]
struct Client {
    spiffe: Option<Vec<String>>,
    dns: Vec<Vec<String>>,
    email: Option<(String, String)>,
    ip: Option<[u8; 4]>,
    organization: Vec<String>,
}

impl Client {
    fn identity(&self) -> Identity {
        // One key for all: making keys is most of what these tests cost.
        static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().expect("a key"));
        let mut params = CertificateParams::default();
        let mut sans: Vec<SanType> = Vec::new();
        let ia5 = |text: String| text.try_into().expect("IA5");
        let spiffe = self.spiffe.iter().map(|path| format!("spiffe://t/{}", path.join("/")));
        sans.extend(spiffe.map(|id| SanType::URI(ia5(id))));
        sans.extend(self.dns.iter().map(|labels| SanType::DnsName(ia5(labels.join(".")))));
        let email = self.email.iter().map(|(user, host)| format!("{user}@{host}"));
        sans.extend(email.map(|email| SanType::Rfc822Name(ia5(email))));
        sans.extend(self.ip.map(|octets| SanType::IpAddress(octets.into())));
        params.subject_alt_names = sans;
        params.distinguished_name = DistinguishedName::new();
        for organization in &self.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.clone());
        }
        let certificate = params.self_signed(&*KEY).expect("a certificate");
        Identity::from_der(certificate.der()).expect("an identity")
    }
}

fn client() -> impl Strategy<Value = Client> {
    let names = || prop::collection::vec("[ab]{1,2}", 1..4);
    (
        prop::option::of(names()),
        prop::collection::vec(names(), 0..3),
        prop::option::of(("[ab]", "[ab]{1,2}")),
        prop::option::of([9..11_u8, 0..2, 0..2, 0..2]),
        prop::collection::vec("[ab,+=]{0,2}[ab]", 0..2),
    )
        .prop_map(|(spiffe, dns, email, ip, organization)| Client {
            spiffe,
            dns,
            email,
            ip,
            organization,
        })
}

/// Texts of patterns that often match a [`client`].
fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just("any".to_owned()),
        3 => "spiffe://t(/([ab]{1,2}|\\*)){1,3}",
        2 => "spiffe://t(/([ab]|\\*)){0,2}/\\*\\*",
        3 => "dns:(\\*\\.)?[ab]{1,2}(\\.[ab]{1,2}){0,2}",
        2 => "email:(\\*|[ab])@[ab]{1,2}",
        2 => (8..=32_u8, 9..11_u8, 0..2_u8).prop_map(|(bits, first, second)| {
            let all = u32::from_be_bytes([first, second, 0, 0]);
            let base = all & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            format!("ip:{}/{bits}", IpAddr::from(base.to_be_bytes()))
        }),
        2 => "subject-o:([ab=]|\\\\[,+]){0,2}[ab]",
    ]
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(pattern(), 0..5)
}

/// What docs/configuration.md says that a pattern matches, on the texts that the client is made of.
fn model_matches(text: &str, client: &Client) -> bool {
    let fits = |wanted: &[&str], presented: &[String]| {
        wanted.len() == presented.len()
            && wanted.iter().zip(presented).all(|(wanted, it)| *wanted == "*" || wanted == it)
    };
    if text == "any" {
        return true;
    }
    if let Some(path) = text.strip_prefix("spiffe://t/") {
        let Some(presented) = &client.spiffe else { return false };
        let wanted: Vec<&str> = path.split('/').collect();
        let Some((&"**", above)) = wanted.split_last() else { return fits(&wanted, presented) };
        return presented.len() > above.len() && fits(above, &presented[..above.len()]);
    }
    let (kind, value) = text.split_once(':').expect("a kind");
    match kind {
        "dns" => {
            let wanted: Vec<&str> = value.split('.').collect();
            client.dns.iter().any(|labels| fits(&wanted, labels))
        }
        "email" => client.email.as_ref().is_some_and(|(user, host)| {
            value == format!("*@{host}") || value == format!("{user}@{host}")
        }),
        "ip" => client.ip.is_some_and(|octets| {
            let (base, bits) = value.split_once('/').unwrap_or((value, "32"));
            let base: std::net::Ipv4Addr = base.parse().expect("an address");
            let binary = |octets: [u8; 4]| format!("{:032b}", u32::from_be_bytes(octets));
            let bits: usize = bits.parse().expect("bits");
            binary(octets)[..bits] == binary(base.octets())[..bits]
        }),
        "subject-o" => client.organization.iter().any(|it| *it == value.replace('\\', "")),
        _ => panic!("{text}"),
    }
}

fn model_decides(allow: Option<&[String]>, deny: &[String], client: &Client) -> bool {
    let hit = |texts: &[String]| texts.iter().any(|text| model_matches(text, client));
    !hit(deny) && allow.is_none_or(hit)
}

fn rules(allow: Option<&[String]>, deny: &[String]) -> Rules {
    let parsed = |texts: &[String]| -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    };
    let rules = allow.map_or_else(Rules::unrestricted, |allow| Rules::allow(parsed(allow)));
    rules.and_deny(parsed(deny))
}

fn digest(rules: &Rules) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    rules.hash_into(&mut context);
    context.finish().as_ref().to_vec()
}

fn is_allowed(rules: &Rules, identity: &Identity) -> bool {
    decide(rules, Some(identity)) == Decision::Allowed
}

/// `pool` with some of it twice, in another order.
fn shuffled(pool: &[String]) -> impl Strategy<Value = Vec<String>> + use<> {
    let all = pool.to_vec();
    prop::sample::subsequence(all.clone(), 0..=all.len()).prop_flat_map(move |twice| {
        let mut more = all.clone();
        more.extend(twice);
        Just(more).prop_shuffle()
    })
}

proptest! {
    #[test]
    fn the_decision_is_that_of_the_model(
        allow in prop::option::of(patterns()), deny in patterns(), client in client(),
    ) {
        let rules = rules(allow.as_deref(), &deny);
        let expected = model_decides(allow.as_deref(), &deny, &client);
        prop_assert_eq!(is_allowed(&rules, &client.identity()), expected);
    }

    #[test]
    fn deny_wins_and_names_a_pattern_that_matches(
        allow in prop::option::of(patterns()), deny in patterns(), client in client(),
    ) {
        let rules = rules(allow.as_deref(), &deny);
        let identity = client.identity();
        let hits = rules.denied().iter().any(|pattern| pattern.matches(&identity));
        match decide(&rules, Some(&identity)) {
            Decision::Denied(Denial::RuleDenied(pattern)) => {
                prop_assert!(pattern.matches(&identity) && rules.denied().contains(pattern));
            }
            _ => prop_assert!(!hits),
        }
    }

    #[test]
    fn neither_order_nor_repetition_has_a_meaning(
        (allow, deny, more_allow, more_deny) in (patterns(), patterns()).prop_flat_map(|(a, d)| {
            let more = (shuffled(&a), shuffled(&d));
            (Just(a), Just(d), more.0, more.1)
        }),
        client in client(),
    ) {
        let (one, other) = (rules(Some(&allow), &deny), rules(Some(&more_allow), &more_deny));
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(digest(&one), digest(&other));
        let identity = client.identity();
        prop_assert_eq!(decide(&one, Some(&identity)), decide(&other, Some(&identity)));
    }

    #[test]
    fn an_allow_more_never_denies_and_a_deny_more_never_allows(
        allow in patterns(), deny in patterns(), more in pattern(), client in client(),
    ) {
        let identity = client.identity();
        let before = is_allowed(&rules(Some(&allow), &deny), &identity);
        let wider: Vec<String> = allow.iter().cloned().chain([more.clone()]).collect();
        prop_assert!(!before || is_allowed(&rules(Some(&wider), &deny), &identity));
        let stricter: Vec<String> = deny.iter().cloned().chain([more]).collect();
        prop_assert!(before || !is_allowed(&rules(Some(&allow), &stricter), &identity));
        let open = rules(None, &deny);
        prop_assert!(is_allowed(&open, &identity) || !before, "without a list more are allowed");
    }

    #[test]
    fn the_explanation_decides_alike_and_tells_the_truth_about_each_pattern(
        allow in prop::option::of(patterns()), deny in patterns(),
        client in prop::option::of(client()),
    ) {
        let rules = rules(allow.as_deref(), &deny);
        let identity = client.as_ref().map(Client::identity);
        let Explanation { decision, denied, allowed } = explain(&rules, identity.as_ref());
        prop_assert_eq!(decision, decide(&rules, identity.as_ref()));
        let listed: Vec<&Pattern> = denied.iter().map(|(pattern, _)| *pattern).collect();
        prop_assert_eq!(listed, rules.denied().iter().collect::<Vec<_>>());
        prop_assert_eq!(allowed.as_ref().map(Vec::len), rules.allowed().map(<[_]>::len));
        for (pattern, matches) in denied.iter().chain(allowed.iter().flatten()) {
            let text = pattern.to_string();
            let expected = client.as_ref().is_some_and(|it| model_matches(&text, it));
            prop_assert_eq!(*matches, expected, "{}", pattern);
        }
    }

    #[test]
    fn rules_that_differ_have_another_digest(
        allow in prop::option::of(patterns()), deny in patterns(),
        other_allow in prop::option::of(patterns()), other_deny in patterns(),
    ) {
        let set = |texts: &[String]| -> BTreeSet<String> {
            texts.iter().map(|text| text.parse::<Pattern>().expect(text).to_string()).collect()
        };
        let alike = allow.as_deref().map(set) == other_allow.as_deref().map(set)
            && set(&deny) == set(&other_deny);
        let one = rules(allow.as_deref(), &deny);
        let other = rules(other_allow.as_deref(), &other_deny);
        prop_assert_eq!(digest(&one) == digest(&other), alike);
        prop_assert_eq!(one == other, alike);
    }
}

#[test]
fn a_list_that_allows_nobody_is_not_one_that_was_not_given() {
    let texts = ["any".to_owned()];
    let four =
        [rules(None, &[]), rules(Some(&[]), &[]), rules(Some(&texts), &[]), rules(None, &texts)];
    let digests: BTreeSet<_> = four.iter().map(digest).collect();
    assert_eq!(digests.len(), 4, "a pattern that allows is not one that denies");
}
