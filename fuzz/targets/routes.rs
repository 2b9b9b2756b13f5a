//! libFuzzer's way into [`ringfort_fuzz::routes`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_fuzz::routes(data));
