//! What a group looks like from outside: no secret, no reference into the state.

use super::store::GroupId;
use crate::codec::Bytes;
use crate::history::{Member, Operation};
use crate::schedule::{CommitId, EpochId};
use crate::tree::LeafIndex;

/// Where this client stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is a member of the head.
    Member,
    /// It has asked to be removed and waits for somebody to commit that.
    Leaving,
    /// The winning branch removed it.
    Removed,
    /// The winning branch cannot be entered: why, as a sentence.
    Outside(String),
}

/// A group as of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// The group's name.
    pub id: GroupId,
    /// The cipher suite's registered name.
    pub suite: &'static str,
    /// The epoch in which this client sends.
    pub head: EpochId,
    /// Its MLS epoch number.
    pub number: u64,
    /// Its tree hash.
    pub tree_hash: Bytes,
    /// Its epoch authenticator (RFC 9420 8.7): the same on every member.
    pub epoch_authenticator: Bytes,
    /// Whether the head and all its ancestors are decided.
    pub is_final: bool,
    /// Where this client stands.
    pub standing: Standing,
    /// This client's leaf in the head.
    pub own_leaf: LeafIndex,
    /// The members of the head, by leaf.
    pub members: Vec<Member>,
    /// Proposals of the head that nobody has committed yet.
    pub pending_proposals: usize,
    /// Messages that wait for others.
    pub waiting: usize,
    /// Epochs whose keys are stored.
    pub retained: usize,
    /// Bytes of their secrets.
    pub retained_bytes: u64,
    /// Punctures over all of them.
    pub punctures: usize,
}

/// The history of a group as this client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryView {
    /// The oldest epoch that is still known.
    pub anchor: EpochId,
    /// The head.
    pub head: EpochId,
    /// Every known epoch, parents before children.
    pub epochs: Vec<EpochView>,
}

/// An epoch of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochView {
    /// Its id.
    pub id: EpochId,
    /// Its parent; `None` for the anchor.
    pub parent: Option<EpochId>,
    /// The commit that made it; `None` for the anchor.
    pub commit: Option<CommitId>,
    /// Its MLS epoch number.
    pub number: u64,
    /// Who committed it; `None` for the anchor.
    pub committer: Option<Member>,
    /// What the commit did.
    pub operations: Vec<Operation>,
    /// Number of members.
    pub members: usize,
    /// Whether it is the head or an ancestor of it.
    pub on_head: bool,
    /// Punctures of its PRF: commits on it that can never be processed again from what is stored.
    pub punctures: usize,
    /// Application messages delivered that were sent in it.
    pub messages: u64,
    /// The decision at this epoch; `None` where it has no children.
    pub fork: Option<ForkView>,
}

/// The decision at an epoch with children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkView {
    /// Number of electors.
    pub electors: usize,
    /// Electors that have named no child yet.
    pub silent: usize,
    /// Electors that have named two.
    pub void: usize,
    /// The children, best first.
    pub children: Vec<ChildView>,
    /// Whether the best child leads by more than the silent electors.
    pub soft_final: bool,
    /// Whether the best child has more than two thirds of the electors.
    pub hard_final: bool,
    /// Whether the epoch could be deleted.
    pub closed: bool,
}

/// A child of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildView {
    /// The commit.
    pub commit: CommitId,
    /// The epoch; `None` if this client cannot enter it or has not seen the commit.
    pub epoch: Option<EpochId>,
    /// Why it cannot be entered.
    pub blocked: Option<String>,
    /// Number of electors that stand on it.
    pub weight: usize,
}
