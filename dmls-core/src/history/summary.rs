//! Who did what in a commit, as people want to know it.

use serde::{Deserialize, Serialize};

use crate::tree::{Credential, LeafIndex};

/// A member as the application sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its leaf in the epoch that is spoken of.
    pub leaf: LeafIndex,
    /// Who it says it is.
    pub credential: Credential,
    /// SHA-256 of its signature public key.
    pub fingerprint: [u8; 32],
}

/// What a commit does to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Somebody was added.
    Add(Member),
    /// Somebody was removed.
    Remove(Member),
    /// Somebody refreshed its keys.
    Update(Member),
    /// The group's context extensions changed.
    Context,
    /// A pre-shared key was mixed in.
    PreSharedKey,
}

/// A commit in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Who committed.
    pub committer: Member,
    /// What the commit does, beyond refreshing the committer's keys.
    pub operations: Vec<Operation>,
}
