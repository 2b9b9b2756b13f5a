//! libFuzzer's way into [`ringfort_fuzz::http1_response`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_fuzz::http1_response(data));
