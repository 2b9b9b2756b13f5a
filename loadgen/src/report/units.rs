//! Numbers as people read them: grouped digits, times and rates with a unit that fits.

use std::time::Duration;

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in nanoseconds with three digits or more: `12.3 us`, `1.50 s`.
pub fn nanos(nanos: f64) -> String {
    match nanos {
        n if n < 999.5 => format!("{n:.0} ns"),
        n if n < 999.5e3 => format!("{} us", three_digits(n / 1e3)),
        n if n < 999.5e6 => format!("{} ms", three_digits(n / 1e6)),
        n => format!("{} s", three_digits(n / 1e9)),
    }
}

/// A [`Duration`] as [`nanos`] spells it.
pub fn duration(time: Duration) -> String {
    nanos(time.as_secs_f64() * 1e9)
}

/// Something per second: three digits, and grouped from a thousand on.
pub fn rate(per_s: f64) -> String {
    if per_s < 999.5 { three_digits(per_s) } else { grouped(per_s.round() as u64) }
}

/// Bytes in decimal units: `1.05 MB`.
pub fn bytes(bytes: f64) -> String {
    match bytes {
        b if b < 999.5 => format!("{b:.0} B"),
        b if b < 999.5e3 => format!("{} kB", three_digits(b / 1e3)),
        b if b < 999.5e6 => format!("{} MB", three_digits(b / 1e6)),
        b if b < 999.5e9 => format!("{} GB", three_digits(b / 1e9)),
        b => format!("{} TB", three_digits(b / 1e12)),
    }
}

/// A share of 1 as percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// At least three significant digits, and none behind the point that say nothing.
pub fn three_digits(number: f64) -> String {
    let decimals = match number.abs() {
        n if n < 0.0995 && n > 0.0 => 3,
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_unit_fits_its_number() {
        for (number, text) in [
            (0.0, "0 ns"),
            (999.0, "999 ns"),
            (999.6, "1.00 us"),
            (12_345.0, "12.3 us"),
            (999_600.0, "1.00 ms"),
            (123_456_789.0, "123 ms"),
            (1.5e9, "1.50 s"),
            (86_400e9, "86400 s"),
        ] {
            assert_eq!(nanos(number), text);
        }
        assert_eq!(bytes(1_048_576.0), "1.05 MB");
        assert_eq!(bytes(12.0), "12 B");
        assert_eq!(rate(12.3456), "12.3");
        assert_eq!(rate(12_345.6), "12,346");
        assert_eq!(three_digits(0.0123), "0.012");
        assert_eq!(percent(0.5), "50.0 %");
        assert_eq!(duration(Duration::from_millis(5)), "5.00 ms");
    }
}
