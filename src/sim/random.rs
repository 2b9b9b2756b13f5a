//! Random numbers that follow from a seed: xoshiro256**, seeded by splitmix64.
//!
//! Both are by Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators" (ACM
//! Transactions on Mathematical Software 47, 2021); the reference code is in the public domain at
//! <https://prng.di.unimi.it/>. They are no source of secrets: whoever sees a few numbers knows
//! the rest. Nothing of the process gets in here, no time, address or thread: the numbers are a
//! function of the seed and of the calls before.

use std::ops::RangeInclusive;

/// A generator; its clone goes on with the same numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut seed = seed;
        Self { state: std::array::from_fn(|_| splitmix64(&mut seed)) }
    }

    /// A generator whose numbers have nothing to do with those that come from here.
    ///
    /// It depends on the state here and on `label`, and takes one number from here whatever the
    /// label is.
    pub fn fork(&mut self, label: &str) -> Self {
        // FNV-1a (RFC 9923): labels are few and ours, splitmix64 does the mixing.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut mixed = self.next_u64() ^ hash;
        Self::new(splitmix64(&mut mixed))
    }

    /// The next number of 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number from 0 up to, not including, `n`, each equally likely.
    ///
    /// # Panics
    ///
    /// Where `n` is 0: there is no such number.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "no number is below 0");
        // Lemire, "Fast Random Integer Generation in an Interval" (2019): the high half of the
        // product, and again where the low half is in the part that would favour some results.
        let unfair = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= unfair {
                return (product >> 64) as u64;
            }
        }
    }

    /// Whether something happens that happens `per_mille` times in 1000: never at 0, always at
    /// 1000 and above.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// A number of `range`, each equally likely.
    ///
    /// # Panics
    ///
    /// Where `range` is empty.
    pub fn range(&mut self, range: RangeInclusive<u64>) -> u64 {
        assert!(!range.is_empty(), "no number is in {range:?}");
        let (low, high) = range.into_inner();
        match (high - low).checked_add(1) {
            Some(count) => low + self.below(count),
            None => self.next_u64(),
        }
    }

    /// One of `items`, each equally likely.
    ///
    /// # Panics
    ///
    /// Where `items` is empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        assert!(!items.is_empty(), "there is nothing to pick from");
        &items[self.below(items.len() as u64) as usize]
    }

    /// Fills `bytes`. Filling at once and in parts whose lengths are multiples of 8 is the same.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next_u64().to_le_bytes()[..part.len()]);
        }
    }

    /// Puts `items` into another order, each order equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

/// One step of splitmix64, whose state is a counter.
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_the_numbers_of_the_reference() {
        // Of splitmix64.c with the state 1234567.
        let mut state = 1_234_567;
        let expected = [
            6_457_827_717_110_365_317_u64,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(expected.map(|_| splitmix64(&mut state)), expected);
    }

    #[test]
    fn xoshiro256_gives_the_numbers_of_the_reference() {
        // Of xoshiro256starstar.c with the state 1, 2, 3, 4.
        let mut random = Random { state: [1, 2, 3, 4] };
        let expected = [
            11_520_u64,
            0,
            1_509_978_240,
            1_215_971_899_390_074_240,
            1_216_172_134_540_287_360,
            607_988_272_756_665_600,
            16_172_922_978_634_559_625,
            8_476_171_486_693_032_832,
            10_595_114_339_597_558_777,
            2_904_607_092_377_533_576,
        ];
        assert_eq!(expected.map(|_| random.next_u64()), expected);
    }

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_another_seed_others() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            [(); 4].map(|()| random.next_u64())
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        let mut random = Random::new(7);
        random.next_u64();
        assert_eq!(random.clone().next_u64(), random.next_u64());
    }

    #[test]
    fn forks_differ_by_label_and_by_when_they_were_made() {
        let mut parent = Random::new(7);
        let mut same = Random::new(7);
        let mut one = parent.fork("one");
        assert_eq!(one, same.fork("one"));
        assert_eq!(parent, same);
        assert_ne!(Random::new(7).fork("two"), one);
        assert_eq!(parent.next_u64(), same.next_u64());
        assert_ne!(parent.fork("one"), one);
        assert_ne!(one.next_u64(), parent.next_u64());
    }

    #[test]
    fn every_number_of_an_interval_comes_about_equally_often_and_no_other() {
        let mut random = Random::new(1);
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[random.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
        // Without the rejection every other number would come twice as often as its neighbours.
        let two_thirds = u64::MAX / 3 * 2;
        let even = (0..30_000).filter(|_| random.below(two_thirds).is_multiple_of(2)).count();
        assert!((14_500..15_500).contains(&even), "{even}");
        assert!((0..1000).all(|_| random.below(1) == 0));
        assert!((0..1000).all(|_| (5..=9).contains(&random.range(5..=9))));
        assert_eq!(random.range(3..=3), 3);
        let mut same = random.clone();
        assert_eq!(random.range(0..=u64::MAX), same.next_u64());
    }

    #[test]
    fn chances_are_per_mille() {
        let mut random = Random::new(2);
        assert!((0..1000).all(|_| !random.chance(0)));
        assert!((0..1000).all(|_| random.chance(1000)));
        let count = (0..100_000).filter(|_| random.chance(30)).count();
        assert!((2_700..3_300).contains(&count), "{count}");
    }

    #[test]
    fn bytes_are_those_of_the_numbers_in_order() {
        let (mut random, mut same) = (Random::new(3), Random::new(3));
        let mut bytes = [0; 11];
        random.fill(&mut bytes);
        assert_eq!(bytes[..8], same.next_u64().to_le_bytes());
        assert_eq!(bytes[8..], same.next_u64().to_le_bytes()[..3]);
        assert_eq!(random, same);
    }

    #[test]
    fn every_item_is_picked_and_every_order_comes() {
        let mut random = Random::new(4);
        let mut picked = [false; 5];
        for _ in 0..200 {
            picked[*random.pick(&[0, 1, 2, 3, 4])] = true;
        }
        assert_eq!(picked, [true; 5]);
        let mut orders = std::collections::BTreeMap::new();
        for _ in 0..6000 {
            let mut items = [1, 2, 3];
            random.shuffle(&mut items);
            *orders.entry(items).or_insert(0) += 1;
        }
        assert_eq!(orders.len(), 6, "{orders:?}");
        assert!(orders.values().all(|count| (850..1150).contains(count)), "{orders:?}");
    }
}
