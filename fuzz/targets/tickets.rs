//! libFuzzer's way into [`ringfort_fuzz::tickets`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_fuzz::tickets(data));
