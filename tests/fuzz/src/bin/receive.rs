//! A member receives what strangers and an insider send.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| dmls_tests::fuzz::receive::run(data));
