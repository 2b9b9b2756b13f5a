//! Serial numbers, times and issuers as values.

use proptest::prelude::*;

use super::kit::{Ca, serial};
use crate::identity::Identity;
use crate::trust::crl::{Issuer, IssuerError, IssuerId, PackedTime, Serial};

#[test]
fn a_serial_number_has_one_encoding_and_the_text_of_an_identity() {
    let longest = [&[0x7f][..], &[0xff; 19]].concat();
    let with_sign = [&[0][..], &[0xff; 20]].concat();
    for (content, text) in [
        (&[0][..], "00".to_owned()),
        (&[1], "01".to_owned()),
        (&[0, 0x80], "80".to_owned()),
        (&[0x0a, 0], "0a00".to_owned()),
        (&longest, format!("7f{}", "ff".repeat(19))),
        (&with_sign, "ff".repeat(20)),
    ] {
        let serial = Serial::from_der_integer_content(content).expect("a serial number");
        assert_eq!(serial.to_string(), text);
    }
    let too_long = [&[1][..], &[0; 20]].concat();
    for bad in [&[][..], &[0x80], &[0xff, 0xff], &[0, 0], &[0, 1], &[0, 0x7f], &too_long] {
        assert_eq!(Serial::from_der_integer_content(bad), None, "{bad:?}");
    }
    let ca = Ca::new("a");
    let identity = Identity::from_der(&ca.leaf(0x1234)).expect("an identity");
    assert_eq!(serial(0x1234).to_string(), identity.serial());
}

#[test]
fn an_issuer_is_its_name_and_its_key() {
    let (a, again, b) = (Ca::new("a"), Ca::new("a"), Ca::new("b"));
    assert_ne!(a.issuer.id(), again.issuer.id(), "the same name, another key");
    assert_ne!(a.issuer.id(), b.issuer.id());
    let id = IssuerId::new(&b.issuer.subject, &a.issuer.spki);
    assert_ne!(id, a.issuer.id(), "the same key, another name");
    assert_eq!(a.issuer.label(), "CN=a");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(a.certificate.clone()).expect("a root");
    assert_eq!(IssuerId::of_anchor(&roots.roots[0]), a.issuer.id());
}

#[test]
fn what_is_no_authority_is_no_issuer() {
    let ca = Ca::new("a");
    let refused = |der: &[u8]| Issuer::from_der(der).expect_err("no authority");
    assert_eq!(refused(&ca.leaf(1)), IssuerError::NotAnAuthority);
    assert_eq!(refused(b"0"), IssuerError::Malformed);
    let longer = [&ca.certificate[..], b"\0"].concat();
    assert_eq!(refused(&longer), IssuerError::Malformed);
}

proptest! {
    #[test]
    fn serial_numbers_are_in_the_order_of_the_numbers(a: u64, b: u64) {
        prop_assert_eq!(serial(a).cmp(&serial(b)), a.cmp(&b));
    }

    #[test]
    fn a_packed_time_is_the_time(unix_s in -62_167_219_200_i64..=253_402_300_799) {
        prop_assert_eq!(PackedTime::new(unix_s).get(), unix_s);
    }
}
