//! Tests of the records, of every suite of every backend that is compiled in.

use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::{CipherSuite, ProtocolVersion};

use super::*;
use crate::tls::provider::Backend;

/// Keys as rustls would hand them over; all of 32 bytes, for rustls makes no shorter ones outside.
fn secrets(suite: SupportedCipherSuite) -> Option<(u64, ConnectionTrafficSecrets)> {
    let (key, iv) = (AeadKey::from([7; 32]), Iv::new([9; 12]));
    let name = format!("{:?}", suite.suite());
    let secrets = if name.contains("CHACHA20") {
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }
    } else if name.contains("AES_256") {
        ConnectionTrafficSecrets::Aes256Gcm { key, iv }
    } else {
        return None;
    };
    Some((3, secrets))
}

fn write_keys(suite: SupportedCipherSuite, records_max: u64) -> WriteKeys {
    let secrets = secrets(suite).expect("32 bytes");
    WriteKeys::new(suite, secrets, records_max).expect("a known algorithm")
}

fn read_keys(suite: SupportedCipherSuite) -> ReadKeys {
    ReadKeys::new(suite, secrets(suite).expect("32 bytes"), 100).expect("a known algorithm")
}

/// The suites with keys of 32 bytes, of every backend.
fn suites() -> Vec<(Backend, SupportedCipherSuite)> {
    let suites = Backend::ALL
        .iter()
        .flat_map(|&backend| backend.suites().into_iter().map(move |suite| (backend, suite)));
    suites.filter(|(_, suite)| secrets(*suite).is_some()).collect()
}

fn pairs() -> impl Iterator<Item = (Backend, WriteKeys, ReadKeys)> {
    suites().into_iter().map(|(backend, suite)| (backend, write_keys(suite, 100), read_keys(suite)))
}

#[test]
fn what_is_sealed_opens_with_its_type_in_order_only() {
    for (backend, mut write, mut read) in pairs() {
        let (mut wire, mut plain) = (Vec::new(), b"before".to_vec());
        for (kind, content) in [
            (ContentType::Data, &b"hello"[..]),
            (ContentType::Alert, &[1, 0]),
            (ContentType::Data, &[]),
            (ContentType::Data, &[0, 0, 0]),
            (ContentType::Data, &[5; PLAINTEXT_BYTES_MAX]),
        ] {
            wire.clear();
            write.seal(kind, content, &mut wire).expect("a fresh key");
            assert_eq!(read.record_bytes(&wire), Ok(Some(wire.len())));
            assert!(wire.len() <= content.len() + OVERHEAD_BYTES_MAX);
            assert_eq!(read.open(&wire, &mut plain), Ok(kind), "{backend:?}");
            assert_eq!(plain.split_off(6), content);
            let again = read.open(&wire, &mut plain);
            assert_eq!((again, plain.len()), (Err(RecordError::BadMac), 6), "a replay");
        }
    }
}

#[test]
fn every_backend_makes_the_same_records_and_opens_the_others() {
    let kinds: Vec<CipherSuite> = Backend::ALL[0].suites().iter().map(|it| it.suite()).collect();
    for kind in kinds {
        let same: Vec<_> =
            suites().into_iter().filter(|(_, suite)| suite.suite() == kind).collect();
        for (sealing, suite) in &same {
            let mut wire = Vec::new();
            write_keys(*suite, 100).seal(ContentType::Data, b"hello", &mut wire).expect("fresh");
            for (opening, suite) in &same {
                let mut plain = Vec::new();
                let opened = read_keys(*suite).open(&wire, &mut plain);
                assert_eq!(opened, Ok(ContentType::Data), "{kind:?}: {sealing:?} to {opening:?}");
                assert_eq!(plain, b"hello");
                let mut other = Vec::new();
                let mut keys = write_keys(*suite, 100);
                keys.seal(ContentType::Data, b"hello", &mut other).expect("fresh");
                assert_eq!(other, wire, "{kind:?}: {sealing:?} and {opening:?}");
            }
        }
    }
}

#[test]
fn records_are_protected_by_the_backend_of_their_suite() {
    for (backend, suite) in suites() {
        let (write, read) = (write_keys(suite, 100), read_keys(suite));
        let whose = match (&write.aead, &read.aead) {
            #[cfg(any(feature = "aws-lc-rs", feature = "fips"))]
            (Sealer::Direct(aead::Direct::AwsLc(_)), Opener::Direct(aead::Direct::AwsLc(_))) => {
                &["aws-lc-rs", "fips"][..]
            }
            #[cfg(feature = "ring")]
            (Sealer::Direct(aead::Direct::Ring(_)), Opener::Direct(aead::Direct::Ring(_))) => {
                &["ring"]
            }
            (Sealer::Table(_), Opener::Table(_)) => &["graviola", "openssl", "rustcrypto"],
            mixed => panic!("{backend:?}: {mixed:?}"),
        };
        assert!(whose.contains(&backend.name()), "{suite:?} of {backend:?} is done by {whose:?}");
    }
}

#[test]
fn a_changed_bit_anywhere_is_found() {
    for (backend, mut write, mut read) in pairs() {
        let mut wire = Vec::new();
        write.seal(ContentType::Data, b"some content", &mut wire).expect("a fresh key");
        let tls13 = write.layout == Layout::Tls13;
        for bit in 0..wire.len() * 8 {
            let mut bad = wire.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let Ok(Some(bytes)) = read.record_bytes(&bad) else { continue };
            // A length that says otherwise is another record. The minor version is no part of
            // what TLS 1.3 authenticates in every backend: it is constant (RFC 8446, 5.2).
            if bytes != bad.len() || tls13 && bit / 8 == 2 {
                continue;
            }
            assert!(read.open(&bad, &mut Vec::new()).is_err(), "{backend:?}, bit {bit}");
        }
        assert_eq!(read.open(&wire, &mut Vec::new()), Ok(ContentType::Data));
    }
}

#[test]
fn a_record_beyond_its_bounds_is_refused_by_its_header() {
    let (_, suite) = suites()[0];
    assert_eq!(suite.version().version, ProtocolVersion::TLSv1_3);
    let read = read_keys(suite);
    let most = u16::try_from(PLAINTEXT_BYTES_MAX + EXPANSION_BYTES_MAX).expect("fits");
    let header = |kind: u8, length: u16| {
        let [high, low] = length.to_be_bytes();
        [kind, 3, 3, high, low]
    };
    assert_eq!(read.record_bytes(&header(23, most)), Ok(Some(usize::from(most) + 5)));
    assert_eq!(read.record_bytes(&header(23, most + 1)), Err(RecordError::Overflow));
    assert_eq!(read.record_bytes(&header(22, 10)), Err(RecordError::Unexpected));
    assert_eq!(read.record_bytes(b"GET /"), Err(RecordError::Unexpected));
    assert_eq!(read.record_bytes(&[23, 3, 3, 0]), Ok(None));
}

#[test]
fn short_and_empty_payloads_are_bad() {
    for (backend, _, mut read) in pairs() {
        for payload in 0..24_u8 {
            let mut record = vec![23, 3, 3, 0, payload];
            record.resize(5 + usize::from(payload), 0);
            let mut plain = b"before".to_vec();
            let opened = read.open(&record, &mut plain);
            assert_eq!(opened, Err(RecordError::BadMac), "{backend:?}, {payload} bytes");
            assert_eq!(plain, b"before");
        }
    }
}

/// A TLS 1.3 record around `inner`, which is content, type and padding as they come.
fn tls13_record(inner: &[u8]) -> Vec<u8> {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes"));
    let mut nonce = [9; NONCE_LEN];
    nonce[NONCE_LEN - 1] ^= 3;
    let length = u16::try_from(inner.len() + TAG_BYTES).expect("it fits").to_be_bytes();
    let header = [23, 3, 3, length[0], length[1]];
    let mut sealed = inner.to_vec();
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(header),
        &mut sealed,
    )
    .expect("sealed");
    [&header[..], &sealed].concat()
}

#[test]
fn padding_is_taken_off_and_all_padding_or_a_strange_type_is_unexpected() {
    for (backend, suite) in suites() {
        if suite.suite() != CipherSuite::TLS13_AES_256_GCM_SHA384 {
            continue;
        }
        let open = |inner: &[u8]| {
            let mut plain = Vec::new();
            read_keys(suite).open(&tls13_record(inner), &mut plain).map(|kind| (kind, plain))
        };
        let padded = [b"hello\x17".as_slice(), &[0; 100]].concat();
        assert_eq!(open(&padded), Ok((ContentType::Data, b"hello".to_vec())), "{backend:?}");
        assert_eq!(open(&[21]), Ok((ContentType::Alert, Vec::new())), "{backend:?}");
        for strange in [&[0; 4][..], &[1, 2, 20], &[1, 2, 24], &[]] {
            assert_eq!(open(strange), Err(RecordError::Unexpected), "{backend:?}: {strange:?}");
        }
        let most = vec![23; PLAINTEXT_BYTES_MAX + 1];
        assert!(open(&most).is_ok_and(|(_, plain)| plain.len() == PLAINTEXT_BYTES_MAX));
        let more = vec![23; PLAINTEXT_BYTES_MAX + 2];
        assert_eq!(open(&more), Err(RecordError::Overflow), "{backend:?}");
    }
}

#[test]
fn a_key_ends_at_its_limit() {
    for (_, suite) in suites() {
        let mut write = write_keys(suite, 5);
        let mut wire = Vec::new();
        for worn in [false, false, true] {
            assert_eq!(write.is_worn(), worn);
            write.seal(ContentType::Data, b"x", &mut wire).expect("within the limit");
        }
        let before = wire.len();
        let sealed = write.seal(ContentType::Data, b"x", &mut wire);
        assert_eq!((sealed, wire.len()), (Err(RecordError::KeyExhausted), before));
    }
}

#[test]
fn an_aes_gcm_key_ends_where_the_standard_says_whatever_the_table_says() {
    for (backend, suite) in suites() {
        let keys = write_keys(suite, u64::MAX);
        let is_gcm = !format!("{:?}", suite.suite()).contains("CHACHA20");
        let most = if is_gcm { GCM_RECORDS_MAX } else { u64::MAX };
        assert_eq!(keys.sequence_max, most, "{backend:?}");
    }
}
