//! Frames of peers: the synchronisation protocol and set reconciliation.
#![no_main]

use dmls_fuzz::Meter;
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static METER: Meter = Meter::new();

fuzz_target!(|data: &[u8]| {
    // A set of two hundred ids lies ready; beside it, a frame of so many bytes costs a small multiple of them.
    let peak = METER.peak_of(|| dmls_fuzz::gossip::run(data));
    let bound = (1 << 20) + 64 * data.len();
    assert!(peak <= bound, "{} bytes of input took {peak} bytes of memory; {bound} are allowed", data.len());
});
