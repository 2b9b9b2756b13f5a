//! What is a list, and what is refused and why.

use proptest::prelude::*;
use rcgen::{KeyPair, KeyUsagePurpose};

use super::kit::*;
use crate::limits::CRL_BYTES_MAX;
use crate::trust::crl::{CrlError, Scope};

/// Why the list is refused, once `change` was made and it was signed anew.
fn refused(change: impl FnOnce(&mut Raw)) -> CrlError {
    let ca = Ca::new("a");
    parse(&ca.list(&[7], change), &[&ca.issuer]).expect_err("it must be refused")
}

#[test]
fn a_list_says_what_was_revoked_and_when() {
    let ca = Ca::new("a");
    let list = ca.parsed(&[7, 0x80, u64::MAX], |_| {});
    assert_eq!((list.issuer(), list.label()), (ca.issuer.id(), "CN=a"));
    assert_eq!((list.this_update(), list.next_update()), (THIS_UPDATE, NEXT_UPDATE));
    assert_eq!((list.number(), list.scope(), list.len()), (Some(serial(1)), Scope::Everything, 3));
    for revoked in [7, 0x80, u64::MAX] {
        assert_eq!(list.revoked_at(&serial(revoked)), Some(REVOKED));
    }
    for other in [0, 8, 0x8000, 0x0700] {
        assert_eq!(list.revoked_at(&serial(other)), None);
    }
    let text = format!("{list:?}");
    assert!(text.contains("CN=a") && text.contains("len: 3"), "{text}");
}

#[test]
fn a_list_may_be_empty() {
    let ca = Ca::new("a");
    assert!(ca.parsed(&[], |_| {}).is_empty());
    // Some authorities write the entries all the same, as none.
    assert!(ca.parsed(&[], |raw| raw.next_update.extend(tlv(0x30, &[]))).is_empty());
}

#[test]
fn version_1_has_neither_number_nor_extensions() {
    let ca = Ca::new("a");
    let first = |raw: &mut Raw| {
        raw.version = None;
        raw.extensions.clear();
    };
    let list = ca.parsed(&[7], first);
    assert_eq!((list.number(), list.len()), (None, 1));
    assert_eq!(refused(|raw| raw.version = None), CrlError::Version);
    let with_reason = |raw: &mut Raw| {
        first(raw);
        raw.entries = vec![entry(7, &[extension(21, false, &tlv(10, &[1]))])];
    };
    assert_eq!(refused(with_reason), CrlError::Malformed("entries"));
    for version in [0, 2] {
        assert_eq!(refused(|raw| raw.version = Some(version)), CrlError::Version);
    }
}

#[test]
fn the_authority_is_found_by_its_name_and_the_key_that_signed() {
    let (old, new, other) = (Ca::new("a"), Ca::new("a"), Ca::new("b"));
    let list = new.list(&[7], |_| {});
    let found = parse(&list, &[&other.issuer, &old.issuer, &new.issuer]).expect("a known issuer");
    assert_eq!(found.issuer(), new.issuer.id());

    let name = || "CN=a".into();
    let error = |issuers: &[_]| parse(&list, issuers).expect_err("not the one that signed");
    assert_eq!(error(&[]), CrlError::UnknownIssuer { name: name() });
    assert_eq!(error(&[&other.issuer]), CrlError::UnknownIssuer { name: name() });
    assert_eq!(error(&[&old.issuer, &other.issuer]), CrlError::BadSignature { name: name() });
    // Signed by the one, in the name of the other.
    let forged = old.list(&[7], |raw| raw.issuer = other.issuer.subject.to_vec());
    let error = parse(&forged, &[&old.issuer, &other.issuer]).expect_err("forged");
    assert_eq!(error, CrlError::BadSignature { name: "CN=b".into() });
}

#[test]
fn an_authority_without_crl_sign_is_refused_and_one_without_key_usage_is_not() {
    let certificates_only = Ca::with_usages("a", &[KeyUsagePurpose::KeyCertSign]);
    let list = certificates_only.list(&[7], |_| {});
    let error = parse(&list, &[&certificates_only.issuer]).expect_err("no cRLSign");
    assert_eq!(error, CrlError::IssuerMayNotSign { name: "CN=a".into() });

    // The same authority has another certificate, with cRLSign.
    let key = KeyPair::from_pem(&certificates_only.key.serialize_pem()).expect("a key");
    let both = Ca::with_key("a", &[KeyUsagePurpose::CrlSign], key);
    assert_eq!(both.issuer.id(), certificates_only.issuer.id());
    assert!(parse(&list, &[&certificates_only.issuer, &both.issuer]).is_ok());
    assert!(parse(&list, &[&both.issuer, &certificates_only.issuer]).is_ok());

    let silent = Ca::with_usages("a", &[]);
    assert!(parse(&silent.list(&[7], |_| {}), &[&silent.issuer]).is_ok());
}

#[test]
fn the_algorithm_fits_the_key_and_is_the_same_within_and_without() {
    let is_malformed = |error| matches!(error, CrlError::Malformed(_));
    // sha384WithECDSA.
    assert!(is_malformed(refused(|raw| raw.inner_algorithm[11] = 3)));
    assert!(is_malformed(refused(|raw| raw.outer_algorithm[11] = 3)));
    let both = |last: u8| {
        move |raw: &mut Raw| {
            raw.inner_algorithm[11] = last;
            raw.outer_algorithm[11] = last;
        }
    };
    // There is such an algorithm for the key, and it is not the one that signed.
    assert_eq!(refused(both(3)), CrlError::BadSignature { name: "CN=a".into() });
    // There is none: SHA-224, and Ed25519 with a key of P-256.
    assert_eq!(refused(both(1)), CrlError::SignatureAlgorithm { name: "CN=a".into() });
    let ed25519 = tlv(0x30, &tlv(6, &[0x2b, 0x65, 0x70]));
    let error = refused(|raw| {
        raw.inner_algorithm = ed25519.clone();
        raw.outer_algorithm = ed25519;
    });
    assert_eq!(error, CrlError::SignatureAlgorithm { name: "CN=a".into() });
}

#[test]
fn a_critical_extension_that_is_not_understood_refuses_the_list() {
    let unknown = |id, critical| extension(id, critical, &[5, 0]);
    let ca = Ca::new("a");
    for id in [18, 35, 46, 99] {
        let plain = ca.list(&[7], |raw| raw.extensions.push(unknown(id, false)));
        assert!(parse(&plain, &[&ca.issuer]).is_ok(), "{id}");
        let error = refused(|raw| raw.extensions.push(unknown(id, true)));
        assert_eq!(error, CrlError::CriticalExtension { oid: format!("2.5.29.{id}").into() });
    }
    for id in [23, 24, 99] {
        let plain = ca.list(&[], |raw| raw.entries.push(entry(7, &[unknown(id, false)])));
        assert!(parse(&plain, &[&ca.issuer]).is_ok(), "{id}");
        let error = refused(|raw| raw.entries.push(entry(8, &[unknown(id, true)])));
        assert_eq!(error, CrlError::CriticalExtension { oid: format!("2.5.29.{id}").into() });
    }
    let long = tlv(0x30, &[tlv(6, &[0x55; 40]), tlv(1, &[0xff]), tlv(4, &[])].concat());
    let error = refused(|raw| raw.extensions.push(long)).to_string();
    assert!(error.contains("of 40 bytes"), "{error}");
}

#[test]
fn what_is_less_than_the_whole_is_refused_by_name() {
    for critical in [true, false] {
        let delta = extension(27, critical, &tlv(2, &[1]));
        assert_eq!(refused(|raw| raw.extensions.push(delta)), CrlError::Delta);
    }
    let name = tlv(0xa0, &tlv(0xa0, &tlv(0x86, b"http://a.test/1.crl")));
    for (content, expected) in [
        (tlv(0x84, &[0xff]), CrlError::Indirect),
        (tlv(0x85, &[0xff]), CrlError::AttributeCertificates),
        (tlv(0x83, &[1, 2]), CrlError::SomeReasons),
        (name, CrlError::DistributionPoint),
        ([tlv(0x81, &[0xff]), tlv(0x84, &[0xff])].concat(), CrlError::Indirect),
    ] {
        let error = refused(|raw| raw.extensions.push(distribution_point(&content)));
        assert_eq!(error, expected);
    }
    let of_another = extension(29, true, &tlv(0x30, &[]));
    let error = refused(|raw| raw.entries.push(entry(8, &[of_another])));
    assert_eq!(error, CrlError::Indirect);
    let removed = |raw: &mut Raw| {
        raw.entries.push(entry(8, &[extension(21, false, &tlv(10, &[8]))]));
    };
    assert_eq!(refused(removed), CrlError::RemoveFromCrl);
    for reason in [0, 1, 6, 10] {
        let ca = Ca::new("a");
        let reason = extension(21, false, &tlv(10, &[reason]));
        let list = ca.parsed(&[], |raw| raw.entries.push(entry(8, &[reason])));
        assert_eq!(list.revoked_at(&serial(8)), Some(REVOKED));
    }
}

#[test]
fn a_limit_to_users_or_authorities_is_kept() {
    let ca = Ca::new("a");
    for (tag, scope) in [(0x81, Scope::Users), (0x82, Scope::Authorities)] {
        let point = distribution_point(&tlv(tag, &[0xff]));
        assert_eq!(ca.parsed(&[7], |raw| raw.extensions.push(point)).scope(), scope);
    }
    let malformed = CrlError::Malformed("issuingDistributionPoint");
    let both = [tlv(0x81, &[0xff]), tlv(0x82, &[0xff])].concat();
    let wrong_order = [tlv(0x84, &[0xff]), tlv(0x81, &[0xff])].concat();
    for content in [Vec::new(), both, wrong_order, tlv(0x81, &[0]), tlv(0x86, &[0xff])] {
        let error = refused(|raw| raw.extensions.push(distribution_point(&content)));
        assert_eq!(error, malformed, "{content:x?}");
    }
}

#[test]
fn what_is_not_encoded_as_it_must_be_is_refused() {
    let number = extension(20, false, &tlv(2, &[2]));
    let two_numbers = refused(|raw| raw.extensions.push(number));
    assert_eq!(two_numbers, CrlError::Malformed("extensions"));
    let negative = extension(20, false, &tlv(2, &[0x80]));
    assert_eq!(refused(|raw| raw.extensions = vec![negative]), CrlError::Malformed("number"));
    let false_written = tlv(0x30, &[tlv(6, &[0x55, 0x1d, 99]), tlv(1, &[0]), tlv(4, &[])].concat());
    let error = refused(|raw| raw.extensions.push(false_written));
    assert_eq!(error, CrlError::Malformed("extension"));
    assert_eq!(refused(|raw| raw.behind = tlv(2, &[1])), CrlError::Malformed("head"));
    for bad in [&[0x80][..], &[], &[0, 1], &[1; 21]] {
        assert_eq!(refused(|raw| raw.entries.push(raw_entry(bad, &[]))), CrlError::Serial);
    }
    let no_time = tlv(0x30, &tlv(2, &[9]));
    assert_eq!(refused(|raw| raw.entries.push(no_time)), CrlError::Malformed("entries"));
    let no_sequence = tlv(2, &[9]);
    assert_eq!(refused(|raw| raw.entries.push(no_sequence)), CrlError::Malformed("entries"));
    let bad_time = |raw: &mut Raw| raw.this_update = time("261301000000Z");
    assert_eq!(refused(bad_time), CrlError::Malformed("head"));
}

#[test]
fn a_list_has_an_end_after_its_beginning() {
    assert_eq!(refused(|raw| raw.next_update.clear()), CrlError::NoNextUpdate);
    for next in ["260101000000Z", "251231235959Z"] {
        assert_eq!(refused(|raw| raw.next_update = time(next)), CrlError::Period);
    }
    let ca = Ca::new("a");
    let later = ca.parsed(&[], |raw| raw.next_update = time("99991231235959Z"));
    assert_eq!(later.next_update(), 253_402_300_799);
}

#[test]
fn what_is_around_a_list_is_refused_before_its_signature_is_checked() {
    let ca = Ca::new("a");
    let list = ca.list(&[7], |_| {});
    let error = |der: &[u8]| parse(der, &[&ca.issuer]).expect_err("not a list alone");
    let frame = CrlError::Malformed("frame");
    assert_eq!(error(&[]), frame);
    assert_eq!(error(&[&list[..], b"\0"].concat()), frame);
    assert_eq!(error(&list[..list.len() - 1]), frame);
    let bytes = CRL_BYTES_MAX + 1;
    assert_eq!(error(&vec![0; bytes]), CrlError::TooLarge { bytes });
    let nobody = ca.list(&[7], |raw| raw.issuer = tlv(0x30, &[0x31; 5000]));
    let text = error(&nobody).to_string();
    assert!(text.contains("of 5004 bytes"), "{text}");
}

#[test]
fn each_error_says_what_is_wrong_in_a_line() {
    let name = || "CN=a".into();
    for (error, expected) in [
        (CrlError::TooLarge { bytes: 9 }, "9 bytes"),
        (CrlError::UnknownIssuer { name: name() }, "CN=a"),
        (CrlError::IssuerMayNotSign { name: name() }, "cRLSign"),
        (CrlError::Delta, "delta"),
        (CrlError::DistributionPoint, "complete list"),
        (CrlError::CriticalExtension { oid: "1.2".into() }, "1.2"),
    ] {
        let text = error.to_string();
        assert!(text.contains(expected) && text.starts_with("it"), "{text}");
    }
}

/// A good list with some of all that a list may have, and its authority.
fn sample() -> &'static (Ca, Vec<u8>) {
    static SAMPLE: std::sync::OnceLock<(Ca, Vec<u8>)> = std::sync::OnceLock::new();
    SAMPLE.get_or_init(|| {
        let ca = Ca::new("a");
        let list = ca.list(&[7, 8, 0x80], |raw| {
            raw.entries.push(entry(9, &[extension(21, false, &tlv(10, &[1]))]));
            raw.extensions.push(distribution_point(&tlv(0x81, &[0xff])));
        });
        assert!(parse(&list, &[&ca.issuer]).is_ok());
        (ca, list)
    })
}

#[test]
fn no_bit_of_a_list_can_be_changed() {
    let (ca, list) = sample();
    for bit in 0..list.len() * 8 {
        let mut changed = list.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(parse(&changed, &[&ca.issuer]).is_err(), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn a_list_that_was_changed_never_passes(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let (ca, list) = sample();
        let mut changed = list.clone();
        for (index, byte) in changes {
            let place = index.index(changed.len());
            changed[place] = byte;
        }
        if is_cut {
            changed.truncate(cut.index(changed.len()));
        }
        prop_assume!(changed != *list);
        prop_assert!(parse(&changed, &[&ca.issuer]).is_err());
    }

    /// Behind a good signature too: what an authority signs may be anything.
    #[test]
    fn what_an_authority_signs_never_panics(
        entries in proptest::collection::vec(any::<u8>(), 0..80),
        extensions in proptest::collection::vec(any::<u8>(), 0..80),
        behind in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let (ca, _) = sample();
        let list = ca.list(&[], |raw| {
            raw.entries = vec![entries];
            raw.extensions = vec![extensions];
            raw.behind = behind;
        });
        let _ = parse(&list, &[&ca.issuer]);
    }
}
