//! What a host stores, and the one call by which it does (DESIGN 4.8).
//!
//! The core owns the types and the loading, the host owns encoding and place. A step hands out one [`Changes`];
//! [`Store::apply`] takes all of it or none, durably, before memory moves on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::records::Value;
use crate::codec::Bytes;
use crate::schedule::EpochId;
use crate::tree::LeafIndex;

/// The name of a group (`group_id`, RFC 9420 8.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub Bytes);

/// SHA-256 of a message's bytes: its name in the log, on the network and in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(pub [u8; 32]);

/// Where a record lives. A host gives each table a place of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// The client's identity. One record. Secret.
    Client,
    /// Key packages that nobody has used yet, by reference. Secret.
    KeyPackages,
    /// A group's small state, by group.
    Groups,
    /// An epoch's state and keys, by group and epoch. Secret.
    Epochs,
    /// An epoch's puncturable PRF, by group and epoch. Secret.
    Inits,
    /// An epoch's message keys of one sender, by group, epoch and leaf. Secret.
    Ratchets,
    /// An epoch's evidence: children, votes, by group and epoch.
    History,
    /// Subtrees of ratchet trees, by group and tree hash.
    Subtrees,
    /// Private keys of tree nodes, by group and public key. Secret.
    NodeKeys,
    /// Ciphertexts sent and received, by group, order and id.
    Log,
    /// What the log has of each epoch number, by group and number.
    LogMarks,
    /// Ciphertexts that cannot be processed yet, by group and id.
    Waiting,
    /// Welcomes that have not been delivered yet, by group and key package reference.
    Welcomes,
    /// Epochs that this client has deleted, by group and epoch.
    Gone,
    /// Proofs of equivocation, by group and proof.
    Proofs,
    /// Key packages of others that this client may add, by group and client.
    Offers,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 16] = [
        Self::Client,
        Self::KeyPackages,
        Self::Groups,
        Self::Epochs,
        Self::Inits,
        Self::Ratchets,
        Self::History,
        Self::Subtrees,
        Self::NodeKeys,
        Self::Log,
        Self::LogMarks,
        Self::Waiting,
        Self::Welcomes,
        Self::Gone,
        Self::Proofs,
        Self::Offers,
    ];

    /// The table's name: lower case, stable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::KeyPackages => "key_packages",
            Self::Groups => "groups",
            Self::Epochs => "epochs",
            Self::Inits => "inits",
            Self::Ratchets => "ratchets",
            Self::History => "history",
            Self::Subtrees => "subtrees",
            Self::NodeKeys => "node_keys",
            Self::Log => "log",
            Self::LogMarks => "log_marks",
            Self::Waiting => "waiting",
            Self::Welcomes => "welcomes",
            Self::Gone => "gone",
            Self::Proofs => "proofs",
            Self::Offers => "offers",
        }
    }

    /// Whether its records hold secrets.
    pub fn is_secret(self) -> bool {
        matches!(
            self,
            Self::Client | Self::KeyPackages | Self::Epochs | Self::Inits | Self::Ratchets | Self::NodeKeys
        )
    }
}

/// The name of a record: its table and its place there. Records of a group share the prefix of [`Key::of_group`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The table.
    pub table: Table,
    /// The place in the table. Ordered bytewise.
    pub bytes: Vec<u8>,
}

impl Key {
    /// The identity of the client.
    pub fn client() -> Self {
        Self { table: Table::Client, bytes: Vec::new() }
    }

    /// A key package of the client, by its reference.
    pub fn key_package(reference: &Bytes) -> Self {
        Self { table: Table::KeyPackages, bytes: reference.as_slice().to_vec() }
    }

    /// The prefix of a group's records in `table`: the id behind its length, so that no group's is another's prefix.
    pub fn of_group(table: Table, group: &GroupId) -> Self {
        let id = group.0.as_slice();
        let mut bytes = u32::try_from(id.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        bytes.extend_from_slice(id);
        Self { table, bytes }
    }

    fn with(mut self, suffix: &[u8]) -> Self {
        self.bytes.extend_from_slice(suffix);
        self
    }

    /// A group's own record.
    pub fn group(group: &GroupId) -> Self {
        Self::of_group(Table::Groups, group)
    }

    /// A record of an epoch in [`Table::Epochs`], [`Table::Inits`], [`Table::History`], or the prefix in
    /// [`Table::Ratchets`].
    pub fn epoch(table: Table, group: &GroupId, epoch: &EpochId) -> Self {
        Self::of_group(table, group).with(epoch.0.as_slice())
    }

    /// The message keys of one sender in one epoch.
    pub fn ratchet(group: &GroupId, epoch: &EpochId, leaf: LeafIndex) -> Self {
        Self::epoch(Table::Ratchets, group, epoch).with(&leaf.0.to_be_bytes())
    }

    /// A subtree by its hash, or a private key by its public key.
    pub fn named(table: Table, group: &GroupId, name: &[u8]) -> Self {
        Self::of_group(table, group).with(name)
    }

    /// A message of the log.
    pub fn log(group: &GroupId, order: u64, id: &MessageId) -> Self {
        Self::of_group(Table::Log, group).with(&order.to_be_bytes()).with(&id.0)
    }

    /// What the log has of an epoch number.
    pub fn log_mark(group: &GroupId, order: u64) -> Self {
        Self::of_group(Table::LogMarks, group).with(&order.to_be_bytes())
    }
}

/// Everything that one step stores and deletes. Puts first, then deletes; no key is in both.
#[derive(Clone, Default)]
pub struct Changes {
    /// Records to write, replacing what was there.
    pub put: BTreeMap<Key, Value>,
    /// Records to delete; deleting what is not there is no error.
    pub delete: Vec<Key>,
}

impl Changes {
    /// Writes a record.
    pub fn put(&mut self, key: Key, value: Value) {
        self.delete.retain(|deleted| *deleted != key);
        self.put.insert(key, value);
    }

    /// Deletes a record.
    pub fn delete(&mut self, key: Key) {
        self.put.remove(&key);
        self.delete.push(key);
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }
}

/// Why the host could not store or load.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The disk is full, failed, or read-only. Nothing was stored.
    #[error("The store failed: {0}.")]
    Io(String),
    /// A record is damaged or of another version.
    #[error("A stored record of table {table} is damaged: {reason}.")]
    Damaged {
        /// The record's table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// Durable storage, as a host provides it.
pub trait Store {
    /// Stores all of `changes` atomically and durably, or nothing.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was stored.
    fn apply(&mut self, changes: &Changes) -> Result<(), StoreError>;

    /// The record at `key`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, key: &Key) -> Result<Option<Value>, StoreError>;

    /// All records of `prefix.table` whose place begins with `prefix.bytes`, in bytewise order.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(&self, prefix: &Key) -> Result<Vec<(Key, Value)>, StoreError>;

    /// The places of [`Store::scan`] behind `prefix.bytes`, without the records.
    ///
    /// # Errors
    /// [`StoreError`].
    fn places(&self, prefix: &Key) -> Result<Vec<Vec<u8>>, StoreError>;
}

/// A [`Store`] in memory, for tests and simulations. It can be told to fail.
#[derive(Clone, Default)]
pub struct MemoryStore {
    records: BTreeMap<Key, Value>,
    failing: bool,
}

impl MemoryStore {
    /// Makes every following `apply` fail, or succeed again.
    pub fn set_failing(&mut self, failing: bool) {
        self.failing = failing;
    }

    /// Every record, in order.
    pub fn records(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.records.iter()
    }
}

impl Store for MemoryStore {
    fn apply(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if self.failing {
            return Err(StoreError::Io("this store was told to fail".into()));
        }
        for (key, value) in &changes.put {
            self.records.insert(key.clone(), value.clone());
        }
        for key in &changes.delete {
            self.records.remove(key);
        }
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Option<Value>, StoreError> {
        Ok(self.records.get(key).cloned())
    }

    fn scan(&self, prefix: &Key) -> Result<Vec<(Key, Value)>, StoreError> {
        let from = self.records.range(prefix.clone()..);
        let same =
            from.take_while(|(key, _)| key.table == prefix.table && key.bytes.starts_with(&prefix.bytes));
        Ok(same.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn places(&self, prefix: &Key) -> Result<Vec<Vec<u8>>, StoreError> {
        let behind = |key: Key| key.bytes.get(prefix.bytes.len()..).unwrap_or_default().to_vec();
        Ok(self.scan(prefix)?.into_iter().map(|(key, _)| behind(key)).collect())
    }
}
