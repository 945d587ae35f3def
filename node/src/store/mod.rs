//! Durable storage: what the core stores and what the node adds, in one RocksDB database.

pub mod log_key;
pub mod records;
mod rocks;
mod tables;
#[cfg(test)]
mod tests;
pub mod types;

pub use rocks::{Database, Extra, OpenError, StepStore};
pub use tables::{Column, FORMAT_VERSION};
