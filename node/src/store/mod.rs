//! Durable storage: what the core stores and what the node adds, in one RocksDB database.

mod extra;
pub mod log_key;
mod open;
pub mod records;
mod rocks;
mod tables;
#[cfg(test)]
mod tests;
pub mod types;

pub use extra::Extra;
pub use open::OpenError;
pub use rocks::{Database, StepStore};
pub use tables::{Column, FORMAT_VERSION};
