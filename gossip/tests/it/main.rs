//! Real swarms on loopback. No test needs a network, none sends a packet off this host.

// clippy.toml allows these in test functions; the helpers here are no less tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod catchup;
mod cut;
mod direct;
mod hostile;
mod limits;
mod live;
mod mdns;
mod raw;
mod restart;
mod support;
