//! What a node keeps of a group, what a thief of it could read, and what it can prove, as the API tells it.

use serde::{Deserialize, Serialize};

/// What all members of a group have agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileView {
    /// `default`, `high-fs`, `partition`; none if the bounds are no named profile's.
    pub name: Option<String>,
    /// Epochs behind the head that are kept at most.
    pub max_behind: u32,
    /// Epochs that are kept in all.
    pub max_retained: u32,
    /// For how long an epoch is kept, in seconds of reconciled time.
    pub max_age_seconds: u64,
    /// What the kept epochs take at most, in bytes.
    pub max_bytes: u64,
    /// Who may add and remove members, by name; empty: everybody.
    pub admins: Vec<String>,
}

/// An epoch whose keys are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetainedView {
    /// The epoch.
    pub epoch: String,
    /// Its MLS epoch number.
    pub number: u64,
    /// Whether it is the head or an ancestor of it.
    pub on_head: bool,
    /// For how long it has been known, in milliseconds of reconciled time.
    pub age_ms: u64,
    /// Bytes of its secrets.
    pub bytes: u64,
    /// Commits on it that can never be processed again from what is stored.
    pub punctures: usize,
    /// Whether a thief of this device could enter the children of commits that have not come here yet.
    pub exposes_commits: bool,
    /// Whether it could read commits, proposals and votes.
    pub exposes_handshakes: bool,
    /// Leaves of members whose messages that have not come here yet it could read.
    pub exposes_senders: Vec<u32>,
    /// When the keys go at the latest as things are; none: when something happens.
    pub until_ms: Option<u64>,
}

/// A cut that has outlived what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitView {
    /// The fork point, which is deleted.
    pub at: String,
    /// Its MLS epoch number.
    pub number: u64,
    /// Members that are known to have gone another way.
    pub away: Vec<String>,
    /// Members that have not been heard on either.
    pub silent: Vec<String>,
}

/// A member's signature key is proved to have been misused: it named two children of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MisuseView {
    /// The proof's id.
    pub proof: String,
    /// Whose key it is; a thief of an old key can have used it.
    pub member: String,
    /// SHA-256 of the key.
    pub fingerprint: String,
    /// MLS epoch number of the fork point.
    pub number: u64,
    /// When it was found or came.
    pub since_ms: u64,
}

/// A proof for anybody who wants to verify it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofView {
    /// What it proves, about whom.
    #[serde(flatten)]
    pub about: MisuseView,
    /// An `EquivocationProof`, in hex.
    pub bytes: String,
}
