//! The `dmls` node: a daemon, durable storage, an API, and a command line that talks to nothing else.
//!
//! **What it does.** A daemon owns one home directory: an identity, groups, messages. It drives
//! [`dmls_core::group`] with what [`dmls_gossip`] brings, with time, and with what its user asks for; stores each
//! step in one synced write; and only then publishes, delivers and reports. Commands reach it through a Unix socket
//! that only its user can open.
//!
//! **What it never does.** It never lets memory run ahead of the disk: a step that cannot be stored has not happened.
//! It opens no database that a newer program wrote, shares no home directory with a second process, logs no secret,
//! and logs peers and names only at `debug` and below. Secrets are **not yet sealed at rest**: whoever can read the
//! home directory can read them.
//!
//! **How to drive it.** [`daemon::init`] makes an identity, [`daemon::run`] runs the daemon, [`api::client`] talks to
//! it, [`cli`] is the command line over that, [`demo`] shows the whole on one machine.

pub mod api;
mod bytes;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod error;
pub mod graph;
pub mod lock;
pub mod paths;
mod stop;
pub mod store;
pub mod ticket;
