//! A small group whose schedule is the input.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| dmls_tests::fuzz::schedule::run(data));
