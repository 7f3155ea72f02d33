#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipsecov2_fuzz::large_send_ipsec::run(data));
