//! How `benches/icount` sums up a profile, and how it compares with its baseline.
//!
//! Here, because a benchmark runs no tests.

#[path = "../benches/icount/baseline.rs"]
mod baseline;
#[path = "../benches/icount/profile.rs"]
mod profile;

use std::collections::BTreeMap;

use baseline::{Baseline, Toolchain};
use profile::{Counts, FormatError, Profile, sum};

const TEXT: &str = "\
# callgrind format
version: 1
events: Ir

ob=(1) /target/icount
fl=(1) ???
fn=(1) _ZN6icount4main17h0123456789abcdefE
16 100
+2 20
cob=(2) libc.so.6
cfi=(2) malloc.c
cfn=(2) malloc
calls=3 0
* 900
cfn=(3) _RNvCs1234_7mycrate3foo'2
calls=1 0
+1 55
fi=(3) inlined.rs
-4 7

fn=(3)
1 50
cob=(2)
cfn=(4) __memmove_avx_unaligned_erms
calls=2 0
1 5

fn=(2)
1 800
cfn=(4)
calls=9 0
1 100

fn=(4)
1 105

fn=(5) aws_lc_0_37_0_p256_mul
9 4000

totals: 5082
";

#[test]
fn self_costs_are_summed_by_what_the_symbols_are() {
    let profile = sum(TEXT).expect("callgrind's format");
    let ours = Counts { instructions: 100 + 20 + 7 + 50, allocations: 3, libc_calls: 5 };
    assert_eq!(profile, Profile { ours, all_instructions: 5082 });
}

#[test]
fn a_line_that_is_not_understood_is_shown() {
    for (line, bad) in [(4, "fn=main"), (4, "cfn=(9)"), (4, "calls=many"), (4, "16 x")] {
        let error = sum(&format!("version: 1\n\n\n{bad}\n")).expect_err("not the format");
        assert_eq!(error, FormatError { line, found: bad.to_owned() });
        assert!(error.to_string().starts_with(&format!("line 4: found {bad:?}; expected")));
    }
}

fn toolchain(rustc: &str) -> Toolchain {
    Toolchain { rustc: rustc.into(), target: "x86_64-unknown-linux-gnu".into() }
}

fn baseline() -> Baseline {
    let counts = Counts { instructions: 1000, allocations: 10, libc_calls: 0 };
    let scenario = BTreeMap::from([("relay".to_owned(), counts)]);
    Baseline { toolchain: toolchain("rustc 1.95.0"), scenario }
}

fn complaints(instructions: u64, allocations: u64, libc_calls: u64) -> Vec<String> {
    let now = Counts { instructions, allocations, libc_calls };
    baseline().complaints(&toolchain("rustc 1.95.0"), &[("relay", now)])
}

#[test]
fn two_percent_either_way_pass_and_more_does_not() {
    assert!(complaints(1000, 10, 0).is_empty());
    assert!(complaints(1020, 10, 0).is_empty());
    assert!(complaints(980, 10, 0).is_empty());
    assert_eq!(
        complaints(1021, 10, 0),
        ["relay: 1021 instructions, +2.1 % of the baseline's 1000 (2 % either way are allowed)"]
    );
    assert!(complaints(979, 10, 0)[0].starts_with("relay: 979 instructions, -2.1 %"));
    assert!(complaints(1000, 11, 0)[0].starts_with("relay: 11 allocations, +10.0 %"));
    assert!(complaints(1000, 10, 1)[0].starts_with("relay: 1 calls into libc, +inf %"));
}

#[test]
fn another_compiler_and_an_unknown_scenario_are_no_pass() {
    let now = [("other", Counts::default())];
    let same = baseline().complaints(&toolchain("rustc 1.95.0"), &now);
    assert_eq!(same, ["other is not in the baseline"]);
    let other = baseline().complaints(&toolchain("rustc 1.96.0"), &now);
    assert_eq!(other.len(), 1);
    assert!(other[0].contains("rustc 1.95.0 for") && other[0].contains("rustc 1.96.0 for"));
}

#[test]
fn what_is_written_is_read_back_and_other_text_is_refused_with_its_line() {
    let text = baseline().to_text();
    assert!(text.starts_with('#'));
    assert_eq!(Baseline::parse(&text), Ok(baseline()));
    let bad = text.replace("allocations = 10", "allocations = -1");
    assert!(Baseline::parse(&bad).expect_err("a count").contains("line "));
    assert!(Baseline::parse(&text.replace("libc_calls", "copied")).is_err());
}
