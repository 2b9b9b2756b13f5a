//! libFuzzer's way into [`ringfort_fuzz::attest`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_fuzz::attest(data));
