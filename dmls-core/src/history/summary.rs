//! Who did what in a commit, as people want to know it.

use serde::{Deserialize, Serialize};

use crate::framing::Merge;
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
    /// Somebody was removed and added again at its own request (DESIGN 4.4): for authorship the same member.
    Rejoin {
        /// The member as it was in the parent.
        from: Member,
        /// The member as it is in the child.
        to: Member,
    },
    /// Somebody refreshed its keys.
    Update(Member),
    /// The group's context extensions changed.
    Context,
    /// A pre-shared key was mixed in.
    PreSharedKey,
}

/// An operation with whoever proposed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// The proposer as a member of the parent; the committer, where the commit has the proposal by value.
    pub author: Member,
    /// What it does.
    pub operation: Operation,
}

/// A commit in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Who committed.
    pub committer: Member,
    /// What the commit does, beyond refreshing the committer's keys.
    pub deeds: Vec<Deed>,
    /// What it says that it merged, if it is a merge commit.
    pub merge: Option<Merge>,
}

impl Summary {
    /// What the commit does, whoever proposed it.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.deeds.iter().map(|deed| &deed.operation)
    }
}
