//! libFuzzer's way into [`ringfort_fuzz::http1_body`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_fuzz::http1_body(data));
