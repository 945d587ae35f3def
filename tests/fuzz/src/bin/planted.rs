//! A bug that is there on purpose: without coverage nobody finds it, with coverage it takes a second.
#![no_main]

use dmls_fuzz::Meter;
use libfuzzer_sys::fuzz_target;

#[global_allocator]
static METER: Meter = Meter::new();

fuzz_target!(|data: &[u8]| {
    let peak = METER.peak_of(|| drop(std::hint::black_box(vec![0_u8; 1000 * data.len()])));
    assert!(peak >= 1000 * data.len(), "the meter of memory does not count");
    let Some((magic, rest)) = data.split_first_chunk::<4>() else { return };
    let right = u32::from_be_bytes(*magic) == 0x6d6c_7332;
    if right && rest.len() > 8 && rest[3] == rest[5] ^ 0x5a && rest[7] == 0x99 {
        panic!("the planted bug");
    }
});
