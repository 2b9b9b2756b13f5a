//! Tests of rates: exactness, bounds, and what is forgotten.

use proptest::prelude::*;

use super::*;

fn rate(text: &str) -> Rate {
    text.parse().expect(text)
}

fn limiter(text: &str) -> RateLimiter {
    RateLimiter::new(rate(text), RATE_KEYS_MAX)
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn key(number: u32) -> [u8; 32] {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key
}

#[test]
fn a_rate_has_a_count_a_unit_and_perhaps_a_burst() {
    for (text, told) in [
        ("100/s", "100/s burst 100"),
        ("30/m burst 5", "30/m burst 5"),
        ("1/s burst 1", "1/s burst 1"),
        ("1000000/m burst 1000000", "1000000/m burst 1000000"),
    ] {
        assert_eq!(rate(text).to_string(), told);
        assert_eq!(rate(told), rate(text));
    }
    for text in [
        "",
        "1",
        "/s",
        "0/s",
        "1/",
        "1/h",
        "1/s ",
        " 1/s",
        "1/s burst",
        "1/s burst 0",
        "-1/s",
        "+1/s",
        "1.5/s",
        "1000001/s",
        "1/s burst 1000001",
        "1/s  burst 2",
        "1/s burst 2 x",
        "1/s peak 2",
        "99999999999/s",
        "1/S",
        "\u{661}/s",
    ] {
        assert_eq!(text.parse::<Rate>(), Err(NoRate), "{text}");
    }
}

#[test]
fn a_burst_is_there_at_once_and_then_the_rate() {
    let limiter = limiter("10/s burst 3");
    for _ in 0..3 {
        limiter.take(&key(1), at(5000)).expect("a token");
    }
    assert_eq!(limiter.take(&key(1), at(5000)), Err(Duration::from_millis(100)));
    assert_eq!(limiter.take(&key(1), at(5040)), Err(Duration::from_millis(60)));
    limiter.take(&key(2), at(5040)).expect("somebody else's bucket is full");
    limiter.take(&key(1), at(5100)).expect("one came");
    assert_eq!(limiter.take(&key(1), at(5100)), Err(Duration::from_millis(100)));
    for _ in 0..3 {
        limiter.take(&key(1), at(9000)).expect("full again, and not more than full");
    }
    limiter.take(&key(1), at(9000)).expect_err("a fourth");
}

#[test]
fn a_clock_that_is_behind_gives_nothing() {
    let limiter = limiter("1/s burst 2");
    limiter.take(&key(1), at(9000)).expect("a token");
    // By a clock that is a millisecond behind, the second is a millisecond away.
    assert_eq!(limiter.take(&key(1), at(8999)), Err(Duration::from_millis(1)));
    limiter.take(&key(1), at(9000)).expect("the second");
    limiter.take(&key(1), at(10_000)).expect("one came");
}

#[test]
fn what_the_client_is_told_is_rounded_up() {
    for (wait, seconds) in [(1, 1), (999_999_999, 1), (1_000_000_000, 1), (1_000_000_001, 2)] {
        assert_eq!(retry_after_s(Duration::from_nanos(wait)), seconds);
    }
    let limiter = limiter("1/m burst 1");
    limiter.take(&key(1), at(0)).expect("a token");
    let wait = limiter.take(&key(1), at(10)).expect_err("too soon");
    assert_eq!(retry_after_s(wait), 60);
    limiter.take(&key(1), at(10) + Duration::from_secs(60)).expect("as it was told");
}

#[test]
fn keys_are_bounded_and_the_least_recently_used_goes() {
    let limiter = RateLimiter::new(rate("1/m burst 1"), RATE_SHARDS * 4);
    limiter.take(&key(0), at(0)).expect("a token");
    for other in 1..10_000 {
        limiter.take(&key(other), at(0)).expect("a token");
        // A look that takes nothing is a use, too.
        assert!(limiter.take(&key(0), at(0)).is_err(), "after {other} others");
    }
    assert!(limiter.len() <= RATE_SHARDS * 4);
    assert!(limiter.len() > RATE_SHARDS * 3, "{} keys: the shards are even", limiter.len());
    limiter.take(&key(1), at(0)).expect("it was forgotten");
}

#[test]
fn the_same_rate_goes_on_where_it_was_and_another_begins_anew() {
    let before = limiter("1/m burst 1");
    before.take(&key(1), at(0)).expect("a token");
    let same = RateLimiter::new(rate("1/m burst 1"), RATE_SHARDS).carry(&before).expect("same");
    assert!(same.take(&key(1), at(0)).is_err());
    same.take(&key(2), at(0)).expect("a token");
    assert!(before.take(&key(2), at(0)).is_err(), "requests that go by the old one count");
    assert!(limiter("2/m burst 1").carry(&before).is_none());
    assert!(limiter("1/m burst 2").carry(&before).is_none());
}

#[test]
fn several_threads_take_no_more_than_there_is() {
    let limiter = limiter("1/m burst 500");
    let taken: usize = std::thread::scope(|scope| {
        let take = || (0..400).filter(|_| limiter.take(&key(1), at(1)).is_ok()).count();
        let threads = [scope.spawn(take), scope.spawn(take), scope.spawn(take)];
        threads.map(|thread| thread.join().expect("no panic")).iter().sum()
    });
    assert_eq!(taken, 500);
}

proptest! {
    #[test]
    fn in_any_stretch_no_more_pass_than_burst_and_rate_grant(
        count in 1_u32..50,
        burst in 1_u32..20,
        steps in prop::collection::vec(0_u64..400, 1..200),
    ) {
        let limiter = limiter(&format!("{count}/s burst {burst}"));
        let (mut now_ms, mut passed) = (1000, Vec::new());
        for step in steps {
            now_ms += step;
            match limiter.take(&key(7), at(now_ms)) {
                Ok(()) => passed.push(now_ms),
                // Exactly what was told is enough, and a nanosecond less is not.
                Err(wait) => {
                    let then = at(now_ms) + wait;
                    let before = Instant::from_nanos(then.as_nanos() - 1);
                    prop_assert!(limiter.take(&key(7), before).is_err());
                }
            }
        }
        for (first, from) in passed.iter().enumerate() {
            for (last, until) in passed.iter().enumerate().skip(first) {
                let granted = u64::from(burst) * 1000 + (until - from) * u64::from(count);
                prop_assert!((last - first + 1) as u64 * 1000 <= granted);
            }
        }
    }
}
