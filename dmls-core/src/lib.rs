//! MLS (RFC 9420) and its decentralised profile, sans-IO.
//!
//! **What it does.** Holds the state of a group, makes and processes its messages, and says what to store, to send
//! and to tell the application. A group is either plain MLS, byte for byte, or, with the `dmls_profile` extension,
//! a tree of epochs that forks and heals without anybody who orders commits.
//!
//! **What it never does.** It opens no socket or file, reads no clock, and has no random numbers of its own: time and
//! an RNG are arguments. It keeps no secret that the protocol says to delete, prints none, and panics on no input.
//!
//! **How to drive it.** Each layer uses only those to its left:
//! `codec -> suite -> tree -> schedule -> framing -> epoch -> history -> identity -> group`. Plain MLS is driven through
//! [`epoch`]; DMLS through [`group`].

pub mod codec;
pub mod epoch;
pub mod framing;
pub mod group;
pub mod history;
pub mod identity;
pub mod schedule;
pub mod suite;
pub mod tree;
