//! The daemon's API: newline-delimited JSON on a Unix socket. [`protocol`] has the format.

pub mod client;
pub mod line;
pub mod protocol;
pub mod retention;
pub mod server;
pub mod views;
