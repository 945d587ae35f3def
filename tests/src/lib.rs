//! Support for the cross-crate tests: a world of clients in memory, with a network that the test cuts and heals.
//!
//! **What it does.** Drives the same state machine as the daemon, through the same API, in virtual time, with one
//! seeded RNG: one seed, one run.
//!
//! **What it never does.** It decides nothing about branches and opens no socket.
//!
//! **How to drive it.** [`World::new`], [`World::form`], then `act`, `cut`, `heal`, `run`.

pub mod dmls_vectors;
pub mod fuzz;
mod insider;
pub mod oracle;
mod schedule;
mod thief;
mod world;

pub use insider::{Insider, contains, meta_of, stored_bytes, stored_records};
pub use schedule::Schedule;
pub use thief::{Loot, Thief, open_path};
pub use world::{Ordeal, Peer, Watch, World};
