//! libFuzzer's way into [`ringfort_fuzz::http2_frames`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfort_fuzz::http2_frames(data));
