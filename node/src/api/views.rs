//! What the API tells, as JSON. Ids and hashes are lower-case hex, times Unix milliseconds.

use serde::{Deserialize, Serialize};

use super::protocol::Payload;
use super::retention::{MisuseView, ProfileView, RetainedView, SplitView};

/// The daemon as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusView {
    /// The program's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Who this client says it is.
    pub name: String,
    /// SHA-256 of its signature public key.
    pub fingerprint: String,
    /// Its peer id.
    pub peer: String,
    /// Multiaddresses it listens on.
    pub listen: Vec<String>,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Why nothing can be stored, if so.
    pub store_failure: Option<String>,
    /// Connected peers.
    pub connected: usize,
    /// Invitations that wait for `join`.
    pub invitations: usize,
    /// Welcomes that have not been delivered yet.
    pub undelivered: usize,
    /// Live messages and requests that were dropped because a queue was full; catch-up repairs them.
    pub dropped: u64,
    /// Every group, without members.
    pub groups: Vec<GroupView>,
    /// Groups whose records could not be read, and why.
    pub damaged: Vec<String>,
}

/// This node's ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketView {
    /// The string to hand to others.
    pub ticket: String,
    /// The name in it.
    pub name: String,
    /// The peer id in it.
    pub peer: String,
    /// The fingerprint in it.
    pub fingerprint: String,
    /// The addresses in it.
    pub addresses: Vec<String>,
}

/// A peer that is known or connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its peer id.
    pub peer: String,
    /// What this node calls it; may be empty.
    pub name: String,
    /// SHA-256 of its signature public key, if a ticket said so.
    pub fingerprint: Option<String>,
    /// Addresses at which it is dialled.
    pub addresses: Vec<String>,
    /// Whether it is dialled again when it is lost.
    pub remembered: bool,
    /// Open connections.
    pub connections: u32,
    /// Bytes received from it since the start, over all streams.
    pub bytes_in: u64,
    /// Bytes sent to it since the start, over all streams.
    pub bytes_out: u64,
    /// Whether this node is cut off from it by `peer block`.
    pub blocked: bool,
    /// Whether it is banned for a time, for breaking rules.
    pub banned: bool,
}

/// A member of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its leaf.
    pub leaf: u32,
    /// Who it says it is.
    pub name: String,
    /// SHA-256 of its signature public key.
    pub fingerprint: String,
}

/// Where this client stands in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StandingView {
    /// It is a member of the head.
    Member,
    /// It has asked to be removed.
    Leaving,
    /// The winning branch removed it.
    Removed,
    /// It cannot enter the winning branch: why.
    Outside(String),
}

/// A group as of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its id.
    pub id: String,
    /// What this node calls it.
    pub name: String,
    /// The cipher suite.
    pub suite: String,
    /// The epoch in which this client sends.
    pub head: String,
    /// Its MLS epoch number.
    pub number: u64,
    /// Its tree hash.
    pub tree_hash: String,
    /// Its epoch authenticator: the same on every member.
    pub epoch_authenticator: String,
    /// Whether the head and all before it are decided.
    pub is_final: bool,
    /// Where this client stands.
    pub standing: StandingView,
    /// This client's leaf in the head.
    pub own_leaf: u32,
    /// Number of members of the head.
    pub size: usize,
    /// The members of the head; left out in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberView>,
    /// Members, by name, that got new keys only on a branch that lost: what they say is marked until they refresh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unhealed: Vec<String>,
    /// What all members have agreed to.
    pub profile: Option<ProfileView>,
    /// Proposals that nobody has committed yet.
    pub pending_proposals: usize,
    /// Messages that wait for others.
    pub waiting: usize,
    /// Epochs whose keys are stored.
    pub retained: usize,
    /// Bytes of their secrets.
    pub retained_bytes: u64,
    /// Punctures over all of them.
    pub punctures: usize,
    /// Each of them, and what a thief of this device could read in it; left out in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<RetainedView>,
    /// Messages in the log, as ciphertext, for members that come late.
    pub log_messages: usize,
    /// Commits among them.
    pub log_commits: u64,
    /// Members that went another way at a fork point which is gone.
    pub split: Option<SplitView>,
    /// Members whose signature keys are proved to have been misused, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub misused: Vec<MisuseView>,
    /// Connected peers that share the group.
    pub peers: usize,
    /// The last reconciliation with a peer that found nothing missing.
    pub reconciled_ms: Option<u64>,
}

/// The result of an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitedView {
    /// The group after the commit.
    pub group: GroupView,
    /// Who was added, by name.
    pub added: Vec<String>,
    /// Welcomes of this commit that were delivered before this answer; the others are tried again until they are.
    pub delivered: usize,
}

/// An invitation that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationView {
    /// The key package reference it is for: its name.
    pub id: String,
    /// What the inviter calls the group.
    pub name: String,
    /// Who delivered it: a known peer's name, or a peer id.
    pub from: String,
    /// When it came.
    pub at_ms: u64,
}

/// A message that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentView {
    /// Its id.
    pub id: String,
    /// Its sequence number here.
    pub seq: u64,
    /// The epoch in which it was sent.
    pub epoch: String,
    /// Its MLS epoch number.
    pub number: u64,
}

/// A message that was delivered or sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageView {
    /// Its place among all events of this node.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// The epoch in which it was sent.
    pub epoch: String,
    /// The sender's name.
    pub sender: String,
    /// SHA-256 of the sender's signature public key.
    pub fingerprint: String,
    /// Whether this node sent it.
    pub own: bool,
    /// Whether its epoch is on the branch of the head as of now.
    pub on_head: bool,
    /// Whether its sender had not refreshed its keys since it came over from a branch that lost.
    #[serde(default)]
    pub unhealed: bool,
    /// When it arrived here.
    pub at_ms: u64,
    /// What it says: `text` or `hex`.
    #[serde(flatten)]
    pub payload: Payload,
}

/// A page of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageView {
    /// The messages, oldest first.
    pub messages: Vec<MessageView>,
    /// Whether there are more.
    pub more: bool,
}

/// The outcome of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayView {
    /// What is stored does not give the commit's keys any more: the PPRF's own words.
    Refused(String),
    /// The keys could be derived again. This must not happen.
    Derived,
    /// The commit or the state before it is not stored any more.
    NotRetained,
}

/// The history of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryView {
    /// The group's id.
    pub group: String,
    /// What this node calls it.
    pub name: String,
    /// The oldest known epoch.
    pub anchor: String,
    /// The head.
    pub head: String,
    /// Every known epoch, parents before children.
    pub epochs: Vec<EpochView>,
}

/// An epoch of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochView {
    /// Its id.
    pub id: String,
    /// Its parent; none for the anchor.
    pub parent: Option<String>,
    /// The commit that made it; none for the anchor.
    pub commit: Option<String>,
    /// Its MLS epoch number.
    pub number: u64,
    /// Who committed it; none for the anchor.
    pub committer: Option<String>,
    /// What the commit did, in words.
    pub operations: Vec<String>,
    /// Number of members.
    pub members: usize,
    /// Whether it is the head or an ancestor of it.
    pub on_head: bool,
    /// Commits on it that can never be processed again from what is stored.
    pub punctures: usize,
    /// Messages delivered that were sent in it.
    pub messages: u64,
    /// The decision among its children; none without children.
    pub fork: Option<ForkView>,
}

/// The decision at an epoch with children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildView {
    /// The commit.
    pub commit: String,
    /// The epoch; none if this client cannot enter it or has not seen the commit.
    pub epoch: Option<String>,
    /// Why it cannot be entered.
    pub blocked: Option<String>,
    /// Electors that stand on it.
    pub weight: usize,
}

/// Something that happened in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventView {
    /// This client is in the group.
    Joined {
        /// The epoch.
        epoch: String,
    },
    /// A message was delivered.
    Message(MessageView),
    /// An epoch became known.
    Epoch {
        /// The epoch.
        epoch: String,
        /// Its parent.
        parent: String,
        /// Its MLS epoch number.
        number: u64,
        /// Who committed.
        committer: String,
        /// What the commit does, in words.
        operations: Vec<String>,
    },
    /// An epoch has two children or more.
    Forked {
        /// The fork point.
        at: String,
        /// The commits known so far.
        children: Vec<String>,
    },
    /// The head moved.
    Head {
        /// The head before.
        from: String,
        /// The head now.
        to: String,
        /// Its MLS epoch number.
        number: u64,
        /// Epochs that were left behind.
        left: Vec<String>,
    },
    /// An epoch and all before it are decided.
    Final {
        /// The epoch.
        epoch: String,
    },
    /// A branch lost: what its commits did is not in effect.
    BranchLost {
        /// Its last epoch.
        tip: String,
        /// What its commits did, in words.
        operations: Vec<String>,
    },
    /// An epoch and its keys were deleted.
    Deleted {
        /// The epoch.
        epoch: String,
    },
    /// A merge commit: what it carries over from branches that lost.
    Merged {
        /// The epoch that it makes.
        epoch: String,
        /// The fork point.
        fork: String,
        /// Who committed.
        by: String,
        /// What it carries, in words.
        carried: Vec<String>,
        /// Clients whose Add waits until they send a key package.
        deferred: Vec<String>,
    },
    /// A merge commit does not carry what it should; the next one carries the rest.
    MergeMismatch {
        /// The epoch that it makes.
        epoch: String,
        /// Who committed.
        by: String,
        /// About whom it left something out.
        missing: Vec<String>,
        /// What it did that was on no branch, in words.
        extra: Vec<String>,
    },
    /// A client that joined a branch that lost has not sent a key package: it is not added any more.
    AddAbandoned {
        /// The client.
        member: String,
    },
    /// A message was sent to members whom a merge is about to remove.
    RemovalPending {
        /// The members.
        members: Vec<String>,
    },
    /// A cut outlived what is retained: these members have to rejoin, or this side has to.
    Split {
        /// The fork point.
        at: String,
        /// Who is not known to be on this side.
        away: Vec<String>,
    },
    /// A peer has dropped from its log what this node would need next.
    Behind {
        /// The MLS epoch number of the head.
        head: u64,
        /// Where the peer's log begins.
        floor: u64,
    },
    /// A member named two children of one epoch.
    Equivocation {
        /// The fork point.
        at: String,
        /// The member.
        member: String,
    },
    /// The proof of that: `group proof` shows it.
    EquivocationProved {
        /// The proof's id.
        proof: String,
        /// Whose key was misused.
        member: String,
        /// MLS epoch number of the fork point.
        number: u64,
    },
    /// The members of the head have changed, or a change has become final.
    Membership {
        /// The epoch whose commit changes them.
        epoch: String,
        /// Who comes in.
        added: Vec<String>,
        /// Who goes.
        removed: Vec<String>,
        /// Whether it stands; until then another branch may win.
        #[serde(rename = "final")]
        is_final: bool,
    },
    /// A change that was told is not in effect any more: another branch won.
    MembershipUndone {
        /// The epoch whose commit changed them.
        epoch: String,
        /// Who had come in.
        added: Vec<String>,
        /// Who had gone.
        removed: Vec<String>,
    },
    /// Somebody who is not in the group asks to be taken in again: `group invite` does that.
    RejoinRequested {
        /// Who.
        member: String,
    },
    /// The winning branch removed this client.
    Removed {
        /// The epoch from which it is removed.
        at: String,
        /// Who committed that.
        by: String,
    },
    /// The winning branch cannot be entered.
    Outside {
        /// The last epoch that can.
        at: String,
        /// Why.
        reason: String,
    },
    /// An invitation came.
    Invited {
        /// Its id.
        invitation: String,
        /// What the inviter calls the group.
        name: String,
    },
    /// A Welcome was delivered.
    Welcomed {
        /// Who took it: a peer id.
        peer: String,
    },
    /// A Welcome was refused for good; the member has to be removed and invited again.
    WelcomeRefused {
        /// Who refused it: a peer id.
        peer: String,
        /// Why.
        reason: String,
    },
}
