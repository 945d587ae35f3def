//! What the fuzzers run: one function a target, from bytes to a verdict (`tests/fuzz/run --help`).
//!
//! **What it does.** Panics where a statement of the project does not hold for an input. The ordinary tests run the
//! same functions on inputs that once failed.
//!
//! **What it never does.** It keeps nothing from one input to the next but what it made before the first, so an input
//! alone repeats what happened.

pub mod decode;
mod hostile;
mod input;
pub mod join;
pub mod receive;
pub mod schedule;
pub mod seeds;

/// A target by name.
pub struct Target {
    /// What the program is called, and the directories of its inputs.
    pub name: &'static str,
    /// Judges an input. Panics if it fails.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "decode", run: decode::run },
    Target { name: "receive", run: receive::run },
    Target { name: "join", run: join::run },
    Target { name: "schedule", run: schedule::run },
];
