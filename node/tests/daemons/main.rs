//! Real daemons: processes of their own, on loopback, driven through the command line and the socket.
//!
//! They are here and not in `dmls-tests` because only a package's own tests are built together with its binary.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod crash;
mod harness;
mod hostile;
mod life;
mod storage;
