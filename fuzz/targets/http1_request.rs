//! libFuzzer's way into [`ringfort_fuzz::http1_request`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_fuzz::http1_request(data));
