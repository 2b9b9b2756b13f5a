//! Data both ways: sizes and cuts.

use proptest::prelude::*;
use ringfort::tls::record::PLAINTEXT_BYTES_MAX;
use ringfort::tls::session::encrypted_bytes_max;

use crate::kit::{Offer, Pair, TLS12, TLS13, VERSIONS};

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 + at / 251) as u8).collect()
}

#[test]
fn sizes_around_a_records_and_none_at_all_go_both_ways() {
    for version in VERSIONS {
        let mut pair = Pair::established(&Offer::version(version));
        for bytes in [0, 1, PLAINTEXT_BYTES_MAX - 1, PLAINTEXT_BYTES_MAX, PLAINTEXT_BYTES_MAX + 1]
            .into_iter()
            .chain([2 * PLAINTEXT_BYTES_MAX, 70_000])
        {
            pair.echo(&content(bytes));
        }
    }
}

#[test]
fn a_record_may_be_cut_anywhere() {
    for version in VERSIONS {
        let mut pair = Pair::established(&Offer::version(version));
        let bytes = pair.sent_by_client(b"0123456789").len();
        // What was made for its length is out of order by now.
        let mut pair = Pair::established(&Offer::version(version));
        for cut in 0..=bytes {
            let flight = pair.sent_by_client(b"0123456789");
            pair.plain.clear();
            for part in [&flight[..cut], &flight[cut..]] {
                pair.feed(part).expect("data");
            }
            assert_eq!(pair.plain, b"0123456789", "cut at {cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn data_in_any_cut_arrives_once_and_in_order(
        sizes in prop::collection::vec(0..70_000_usize, 1..4),
        cuts in prop::collection::vec(1..30_000_usize, 1..20),
        fragment_bytes in prop::option::of(32..16_384_usize),
        tls12 in any::<bool>(),
    ) {
        let version = if tls12 { TLS12 } else { TLS13 };
        let mut pair = Pair::established(&Offer { fragment_bytes, ..Offer::version(version) });
        let mut sent = Vec::new();
        let mut wire = Vec::new();
        for size in sizes {
            sent.extend(content(size));
            wire.extend(pair.sent_by_client(&content(size)));
        }
        let mut rest = wire.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            pair.feed(now).expect("data");
            rest = later;
        }
        prop_assert_eq!(&pair.plain, &sent);
        prop_assert!(pair.out.is_empty(), "data needs no answer");
        for part in sent.chunks(cuts[0]) {
            let before = pair.out.len();
            pair.server.write(part, &mut pair.out).expect("keys");
            prop_assert!(pair.out.len() - before <= encrypted_bytes_max(part.len()));
            pair.deliver().expect("data");
            prop_assert_eq!(pair.client_plain(), part);
        }
    }
}
