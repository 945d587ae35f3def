//! Tests of the public interface, beside a plain reference.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail like tests")]

mod decoding;
mod derivations;
mod leaves;
mod properties;
mod reference;
mod vectors;
