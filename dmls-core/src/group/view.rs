//! What a group looks like from outside: no secret, no reference into the state.

use super::proof::ProofId;
use super::store::GroupId;
use crate::codec::Bytes;
use crate::framing::DmlsProfile;
use crate::history::{LeafSet, Member, Operation};
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
    /// It is a member of its head, but a peer has dropped what comes next from its log, which begins at this epoch number:
    /// unless another peer has it, this client has to be invited again.
    Behind(u64),
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
    /// Members of the head that got new keys only on a branch that lost (DESIGN 4.6).
    pub unhealed: Vec<LeafIndex>,
    /// Proposals of the head that nobody has committed yet.
    pub pending_proposals: usize,
    /// Messages that wait for others.
    pub waiting: usize,
    /// The group's retention bounds and admins.
    pub profile: Option<DmlsProfile>,
    /// Messages in the log.
    pub log_messages: usize,
    /// Commits among them.
    pub log_commits: u64,
    /// Members that went another way at a fork point which is gone.
    pub split: Option<SplitView>,
    /// The epochs whose keys are stored, parents before children.
    pub epochs: Vec<RetainedView>,
    /// Members whose signature keys are proved to have been misused, oldest first.
    pub proofs: Vec<ProofView>,
    /// Epochs whose keys are stored.
    pub retained: usize,
    /// Bytes of their secrets.
    pub retained_bytes: u64,
    /// Punctures over all of them.
    pub punctures: usize,
}

/// A retained epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedView {
    /// The epoch.
    pub epoch: EpochId,
    /// Its MLS epoch number.
    pub number: u64,
    /// Whether it is the head or an ancestor of it.
    pub on_head: bool,
    /// For how long it has been known: reconciled time, in milliseconds.
    pub age_ms: u64,
    /// Bytes of its secrets.
    pub bytes: u64,
    /// Punctures of its PRF.
    pub punctures: usize,
    /// What could be read in it if this device were taken now.
    pub exposure: Exposure,
    /// When it goes at the latest, as things are and if this client stays reconciled; Unix milliseconds. None: it stays
    /// until something happens.
    pub until_ms: Option<u64>,
}

/// What a thief of this device could read of an epoch's traffic (DESIGN 4.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// Whether the children of commits that have not been processed can be derived.
    pub commits: bool,
    /// Whether the contents of commits, proposals and votes can be read.
    pub handshakes: bool,
    /// Members whose application messages that have not come yet can be read. Those that have come cannot.
    pub senders: LeafSet,
}

/// A cut that has outlived what is retained (DESIGN 4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitView {
    /// The fork point, which is deleted.
    pub at: EpochId,
    /// Its MLS epoch number.
    pub number: u64,
    /// The commit on it that this client's branch goes through.
    pub kept: CommitId,
    /// Members that are known to have gone another way.
    pub sides: Vec<SideView>,
    /// Members that have not been heard on either.
    pub silent: Vec<Member>,
}

/// Members on one side of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideView {
    /// The commit that they went by.
    pub commit: CommitId,
    /// The members.
    pub members: Vec<Member>,
}

/// A proved equivocation: a key misused, by its owner or by a thief.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofView {
    /// The proof's name.
    pub id: ProofId,
    /// Whose key it is.
    pub member: Member,
    /// MLS epoch number of the fork point.
    pub number: u64,
    /// When it was found or came; Unix milliseconds.
    pub since_ms: u64,
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
