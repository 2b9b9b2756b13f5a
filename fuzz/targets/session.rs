//! libFuzzer's way into [`ringfort_fuzz::session`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_fuzz::session(data));
