#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mapcast_fuzz::check("detect_format", bytes));
