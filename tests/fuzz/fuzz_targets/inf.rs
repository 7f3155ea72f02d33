#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipsecov2_fuzz::inf::run(data));
