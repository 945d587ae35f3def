//! A deterministic network simulator over `dmls-core` (DESIGN 7): one seed, one trace.
//!
//! **What it will do.** Drive many groups of [`dmls_core`](https://docs.rs/dmls-core)'s state machine over a modelled
//! network in virtual time, and report how forks grow and heal.
//!
//! **What it never does.** It opens no socket, reads no clock, and knows nothing of libp2p.
//!
//! **How to drive it.** Not yet: the simulator has an issue of its own, and this crate is empty until then.
