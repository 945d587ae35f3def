//! Epochs driven by hand, as the layers above drive them, and every rule broken once.

mod commit_rules;
mod dmls_rules;
mod flow;
mod list_rules;
mod message_rules;
mod plain;
mod plain_rules;
mod welcome_rules;
mod world;
