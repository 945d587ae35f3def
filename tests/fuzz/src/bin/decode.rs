//! Every decoder. The first byte chooses it.
#![no_main]

use dmls_fuzz::Meter;
use dmls_tests::fuzz::decode::{decoder, memory, run};
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static METER: Meter = Meter::new();

fuzz_target!(|data: &[u8]| {
    let peak = METER.peak_of(|| run(data));
    let hostile = data.first().and_then(|number| decoder(*number)).is_some_and(|decoder| decoder.hostile);
    let bound = memory(data.len());
    assert!(
        !hostile || peak <= bound,
        "{} bytes of input took {peak} bytes of memory; {bound} are allowed",
        data.len()
    );
});
