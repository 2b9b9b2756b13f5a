//! Tests of `sim::pki`: what a gateway makes of each client, by handshakes in memory.

use super::*;
use crate::identity::Identity;
use crate::policy::{Decision, Denial, decide};
use crate::sim::crypto::provider;
use crate::sim::crypto::tests::Pair;
use crate::trust::verify::{any_path, refusal_of};

/// What a listener with these rules really makes of a client.
fn observed(client: Client, versions: Versions, now_unix_s: i64, rules: &Rules) -> Verdict {
    let (pki, provider, clock) = (Pki::new(), provider(1), Clock::new(EPOCH_UNIX_S));
    let listener = listener_tls(&pki, &provider, &clock, versions);
    let verifier = verifier(pki.anchors(), &provider, ClientAuth::Require);
    let config = client_config(
        &pki,
        client,
        &provider,
        &clock,
        versions,
        rustls::client::Resumption::disabled(),
    );
    let mut pair = Pair::new(&listener, verifier, &config);
    clock.set(now_unix_s);
    let agreed = match pair.shake() {
        Ok(agreed) => agreed,
        Err(error) => {
            let refusal = error.tls().and_then(refusal_of);
            return Verdict::Refused(refusal.unwrap_or_else(|| panic!("{client:?}: {error}")));
        }
    };
    let leaf = agreed.peer_certificate.expect("a certificate is required");
    let identity = Identity::from_der(&leaf).expect("names that can be read");
    match decide(rules, Some(&identity)) {
        Decision::Allowed => Verdict::Allowed,
        Decision::Denied(Denial::NoRuleMatches) => Verdict::Denied,
        Decision::Denied(denial) => panic!("{client:?}: {denial}"),
    }
}

#[test]
fn every_client_is_what_it_says_at_the_epoch() {
    use Verdict::{Allowed, Denied, Refused};
    let expected = [
        (Client::Nobody, Refused(Refusal::CertificateMissing)),
        (Client::Allowed(0), Allowed),
        (Client::Allowed(1), Allowed),
        (Client::Allowed(2), Allowed),
        (Client::Allowed(3), Allowed),
        (Client::ViaIntermediate, Allowed),
        (Client::Denied, Denied),
        (Client::Expired, Refused(Refusal::Expired)),
        (Client::NotYetValid, Refused(Refusal::NotYetValid)),
        (Client::Stranger, Refused(Refusal::UnknownAnchor)),
        (Client::WrongKeyUsage, Refused(Refusal::EkuLacksClientAuth)),
        (Client::ChainTooLong, Refused(Refusal::ChainTooLong)),
    ];
    assert_eq!(expected.map(|(client, _)| client), Client::LASTING, "none is left out");
    for (client, expected) in expected {
        assert_eq!(client.verdict(EPOCH_UNIX_S), expected, "{client:?}");
        for versions in [Versions::Tls13, Versions::Tls12, Versions::Both] {
            let observed = observed(client, versions, EPOCH_UNIX_S, &rules());
            assert_eq!(observed, expected, "{client:?} {versions:?}");
        }
    }
}

#[test]
fn a_verdict_is_right_at_the_seconds_where_it_changes_and_under_both_rules() {
    let edges = [
        VALID_SINCE_UNIX_S,
        EXPIRED_AT_UNIX_S,
        EPOCH_UNIX_S + 60,
        NOT_YET_VALID_UNTIL_UNIX_S,
        VALID_UNTIL_UNIX_S,
    ];
    let short_lived = [Client::ShortLived(EPOCH_UNIX_S + 60)];
    for now in edges.into_iter().flat_map(|edge| [edge - 1, edge, edge + 1]) {
        for client in Client::LASTING.into_iter().chain(short_lived) {
            // A gateway whose own certificate is not valid is refused by its clients.
            if !(VALID_SINCE_UNIX_S..=VALID_UNTIL_UNIX_S).contains(&now) {
                continue;
            }
            let wide = observed(client, Versions::Tls13, now, &rules());
            assert_eq!(wide, client.verdict(now), "{client:?} at {now}");
            let narrow = observed(client, Versions::Tls13, now, &narrower_rules());
            assert_eq!(narrow, client.narrower_verdict(now), "{client:?} at {now}");
        }
    }
}

#[test]
fn a_short_lived_client_is_refused_from_the_second_after_its_last() {
    let last = EPOCH_UNIX_S + 3600;
    let client = Client::ShortLived(last);
    for versions in [Versions::Tls13, Versions::Tls12] {
        assert_eq!(observed(client, versions, last, &rules()), Verdict::Allowed);
        let expired = Verdict::Refused(Refusal::Expired);
        assert_eq!(observed(client, versions, last + 1, &rules()), expired);
    }
    // Out of bounds it is bounded, not a panic.
    for (asked, last) in [(i64::MIN, VALID_SINCE_UNIX_S), (i64::MAX, VALID_UNTIL_UNIX_S)] {
        let chain = Pki::new().short_lived(asked).chain;
        assert_eq!(chain, Pki::new().short_lived(last).chain);
        let refused = Verdict::Refused(Refusal::Expired);
        assert_eq!(Client::ShortLived(asked).verdict(last), Verdict::Allowed);
        assert_eq!(Client::ShortLived(asked).verdict(last + 1), refused);
    }
}

#[test]
fn only_the_first_client_is_allowed_by_the_narrower_rules() {
    for client in Client::LASTING {
        let allowed = client.narrower_verdict(EPOCH_UNIX_S) == Verdict::Allowed;
        assert_eq!(allowed, client == Client::Allowed(0), "{client:?}");
    }
}

#[test]
fn clients_without_a_certificate_pass_where_it_is_optional_or_off() {
    let (pki, provider, clock) = (Pki::new(), provider(1), Clock::new(EPOCH_UNIX_S));
    for auth in [ClientAuth::Optional, ClientAuth::Off] {
        for versions in [Versions::Tls13, Versions::Tls12] {
            let listener = listener_tls(&pki, &provider, &clock, versions);
            for (client, shown) in [(Client::Nobody, false), (Client::Allowed(1), true)] {
                let config = client_config(
                    &pki,
                    client,
                    &provider,
                    &clock,
                    versions,
                    rustls::client::Resumption::disabled(),
                );
                let verifier = verifier(pki.anchors(), &provider, auth);
                let mut pair = Pair::new(&listener, verifier, &config);
                let agreed = pair.shake().expect("it passes");
                let expected = shown && auth == ClientAuth::Optional;
                assert_eq!(agreed.peer_certificate.is_some(), expected, "{client:?} {auth:?}");
            }
        }
    }
}

/// Every certificate and key, in one.
fn everything(material: &Material) -> Vec<u8> {
    let clients = material.clients.iter().flatten();
    let mut bytes = Vec::new();
    for Credentials { chain, key } in clients.chain([&material.server]) {
        bytes.extend(chain.iter().flat_map(|certificate| certificate.iter()));
        bytes.extend(key.secret_pkcs8_der());
    }
    bytes
}

#[test]
fn certificates_are_the_same_when_they_are_made_again_and_in_every_process() {
    let made = everything(&Material::new());
    assert_eq!(made, everything(&Material::new()));
    let digest = digest(&SHA256, &made);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    // It changes with the certificates, and all transcripts that were recorded change with it.
    assert_eq!(hex, "fe46c4fb0612ac046fe38e5242511556d28d3ce0c0278f2b0fea0114bc00d3b2");
}

#[test]
fn serial_numbers_and_keys_are_each_ones_own() {
    let pki = Pki::new();
    let clients = Client::LASTING.map(|client| pki.client(client));
    let mut leaves: Vec<_> = clients.iter().flatten().map(|client| &client.chain[0]).collect();
    leaves.push(&pki.server().chain[0]);
    let identities: Vec<_> =
        leaves.iter().map(|leaf| Identity::from_der(leaf).expect("names")).collect();
    for (at, one) in identities.iter().enumerate() {
        for other in &identities[..at] {
            assert_ne!(one.serial(), other.serial());
            assert_ne!(one.spki_sha256(), other.spki_sha256());
        }
    }
    assert_eq!(identities.len(), Client::LASTING.len());
}

#[test]
fn the_long_chain_is_refused_for_its_length_only() {
    let (pki, provider, clock) = (Pki::new(), provider(1), Clock::new(EPOCH_UNIX_S));
    let chain = pki.client(Client::ChainTooLong).expect("a certificate").chain;
    assert_eq!(chain.len(), CHAIN_CERTIFICATES_MAX_DEFAULT + 1);
    let anchors = Anchors::new(pki.anchors());
    let options = VerifierOptions {
        chain_certificates_max: chain.len(),
        ..VerifierOptions::new(anchors, ClientAuth::Require, provider.clone())
    };
    let verifier = ClientVerifier::new(options).expect("a verifier");
    let now = rustls::time_provider::TimeProvider::current_time(&clock).expect("a time");
    let verify = |intermediates| verifier.verify(&chain[0], intermediates, now, &any_path);
    assert!(verify(&chain[1..]).is_ok());
    assert!(verify(&chain[2..]).is_err());
}
