//! A client gets a Welcome from somebody hostile.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| dmls_tests::fuzz::join::run(data));
