//! What a step gives: the next state, what to store, what to do, and what became of the input (DESIGN 4.7, 4.8).

use serde::{Deserialize, Serialize};

use super::Group;
use super::gone::Unreadable;
use super::proof::ProofId;
use super::store::{Changes, MessageId, Store, StoreError};
use super::view::SplitView;
use crate::codec::Bytes;
use crate::history::{Member, Operation};
use crate::schedule::{CommitId, EpochId};
use crate::tree::{Credential, LeafIndex};

/// The result of an input or a call. Nothing has happened until [`Step::commit`] has stored it.
pub struct Step {
    /// The state after the step.
    pub group: Group,
    /// What must be stored before anything else happens.
    pub changes: Changes,
    /// What to do once it is stored, in order.
    pub effects: Vec<Effect>,
    /// What became of the input message; `None` for ticks and local calls.
    pub disposition: Option<Disposition>,
}

impl Step {
    /// Stores the step, then moves `group` on: memory never runs ahead of the store.
    ///
    /// # Errors
    /// [`StoreError`]; then neither the store nor `group` has changed, and no effect may be carried out.
    pub fn commit(
        self,
        store: &mut dyn Store,
        group: &mut Group,
    ) -> Result<(Option<Disposition>, Vec<Effect>), StoreError> {
        if !self.changes.is_empty() {
            store.apply(&self.changes)?;
        }
        *group = self.group;
        Ok((self.disposition, self.effects))
    }
}

/// What a host does after it has stored a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send these bytes to the group. They are in the log already: sending again is harmless, and a restart may.
    Publish {
        /// SHA-256 of the bytes.
        id: MessageId,
        /// The MLS epoch number, by which peers order what they compare.
        order: u64,
        /// A `DMLSMessage`.
        bytes: Vec<u8>,
    },
    /// Hand this to whoever made the key package. It stays in [`super::Table::Welcomes`] until
    /// [`Group::welcome_delivered`].
    Welcome {
        /// The reference of the key package that was used.
        key_package: Bytes,
        /// An `MLSMessage` with a Welcome.
        bytes: Vec<u8>,
    },
    /// A request of this client to rejoin. Members who read its notice need nothing else; to any other member it can
    /// be handed by another way ([`super::Input::KeyPackage`]).
    Request {
        /// The reference of its key package.
        key_package: Bytes,
        /// The key package, as an `MLSMessage`.
        bytes: Vec<u8>,
    },
    /// Something to tell the application.
    Event(Event),
}

/// What became of an input message. Every input gets one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// It took effect.
    Applied,
    /// It had taken effect before.
    Duplicate,
    /// It waits, stored, for something that has not come yet.
    Pending {
        /// What it waits for.
        missing: Missing,
    },
    /// It can never take effect.
    Rejected {
        /// The rule that it breaks, as a sentence.
        rule: String,
    },
    /// This client cannot read it, and never will with what it has stored.
    Expired {
        /// Why not.
        reason: Unreadable,
    },
    /// It is stored, and its turn comes later: too many others compete with it (DESIGN 4.7).
    Quarantined,
}

/// What a pending message waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// An epoch that this node does not know.
    Epoch(EpochId),
    /// The same, while the decided branch goes through a commit that this client cannot enter: most likely the epoch
    /// is below that.
    Branch {
        /// The epoch.
        epoch: EpochId,
        /// The commit that cannot be entered.
        commit: CommitId,
    },
    /// A proposal that a commit names by reference.
    Proposal(Bytes),
    /// A commit that names this proposal, by reference: its sender has as many others waiting as it may have.
    Commit(Bytes),
    /// Earlier messages of the same sender: its generation is ahead of the window.
    Generation {
        /// The sender.
        sender: LeafIndex,
        /// The message's generation.
        generation: u32,
    },
}

/// Something to tell the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This client is in the group.
    Joined {
        /// The epoch in which it joined.
        epoch: EpochId,
    },
    /// This client has sent an application message: which of the published messages it is. A merge may come before it.
    Sent {
        /// The message's id.
        id: MessageId,
        /// The epoch in which it was sent.
        epoch: EpochId,
        /// Its MLS epoch number.
        number: u64,
    },
    /// An application message. Delivered exactly once, whichever branch it is on.
    Message {
        /// The message's id.
        id: MessageId,
        /// The epoch in which it was sent.
        epoch: EpochId,
        /// Who sent it.
        sender: Member,
        /// What it says.
        payload: Vec<u8>,
        /// Whether its epoch is the head or an ancestor of it as of now.
        on_head: bool,
        /// Whether its sender got new keys only on a branch that lost, and has not refreshed them since.
        unhealed: bool,
    },
    /// An epoch became known.
    Epoch {
        /// The new epoch.
        epoch: EpochId,
        /// Its parent.
        parent: EpochId,
        /// Its MLS epoch number.
        number: u64,
        /// Who committed.
        committer: Member,
        /// What the commit does. Provisional until [`Event::Final`] names the epoch or a descendant.
        operations: Vec<Operation>,
    },
    /// An epoch has two children now, or one more.
    Forked {
        /// The fork point.
        at: EpochId,
        /// The children known so far.
        children: Vec<CommitId>,
    },
    /// The head is another epoch now.
    Head {
        /// The head before.
        from: EpochId,
        /// The head now.
        to: EpochId,
        /// Its MLS epoch number.
        number: u64,
        /// Epochs between the common ancestor and the old head: left behind.
        left: Vec<EpochId>,
    },
    /// The epoch and all its ancestors are decided: what they did stands.
    Final {
        /// The epoch.
        epoch: EpochId,
    },
    /// The members of the head have changed, or a change that was reported before has become final. A removal of this
    /// client itself is [`Event::Removed`].
    Membership {
        /// The epoch whose commit changes them.
        epoch: EpochId,
        /// Who comes in.
        added: Vec<Member>,
        /// Who goes.
        removed: Vec<Member>,
        /// Whether it stands; until then it is provisional: another branch may win. Each change is reported as final
        /// once, and as provisional at most once before, each time that the head comes to it.
        is_final: bool,
    },
    /// The head has left a branch: a change of the members that was reported is not in effect any more. Nobody is told
    /// so of a change that was never reported.
    MembershipUndone {
        /// The epoch whose commit changed them.
        epoch: EpochId,
        /// Who had come in.
        added: Vec<Member>,
        /// Who had gone.
        removed: Vec<Member>,
    },
    /// A branch lost: what of its commits is not in effect, and is not for a merge to carry over.
    BranchLost {
        /// The last epoch of the branch.
        tip: EpochId,
        /// That, in order, with the committer. Empty if nothing is lost.
        operations: Vec<(Member, Operation)>,
    },
    /// A merge commit: what it carried into its branch from others. Provisional like [`Event::Epoch`].
    Merged {
        /// The epoch that it makes.
        epoch: EpochId,
        /// The fork point whose losing branches it merges.
        fork: EpochId,
        /// Who committed.
        by: Member,
        /// What it carries.
        carried: Vec<Operation>,
        /// Clients whose Add waits for a KeyPackage.
        deferred: Vec<Credential>,
    },
    /// A merge commit does not carry what it should. What it left out the next one carries.
    MergeMismatch {
        /// The epoch that it makes.
        epoch: EpochId,
        /// Who committed.
        by: Member,
        /// Whose Add, Remove or rejoin it left out.
        missing: Vec<Member>,
        /// What it did that was not on the branches.
        extra: Vec<Operation>,
    },
    /// A client that joined a losing branch has not sent a KeyPackage for a week: it is not added any more.
    AddAbandoned {
        /// The client.
        member: Member,
    },
    /// A message was sent to members whom a merge is about to remove: this client may not, or cannot yet, make it.
    RemovalPending {
        /// The members.
        members: Vec<Member>,
    },
    /// An epoch and its keys were deleted.
    Deleted {
        /// The epoch.
        epoch: EpochId,
    },
    /// A fork point was deleted undecided, and members are not known to be on this side of it: should they come back, they
    /// have to rejoin, or this side has to. Told once for a cut.
    Split {
        /// Who is where, as far as known.
        split: SplitView,
    },
    /// A peer has dropped from its log what this client would need next. If no other peer has it, somebody has to invite
    /// this client again.
    Behind {
        /// MLS epoch number of the head.
        head: u64,
        /// Where the peer's log begins.
        floor: u64,
    },
    /// A member named two children of one epoch: its vote there weighs nothing. [`Group::prove`] looks for the proof.
    Equivocation {
        /// The fork point.
        at: EpochId,
        /// The member.
        member: Member,
    },
    /// A member's equivocation is proved to anybody: [`super::Group::proof`] has the proof. It comes after
    /// [`Event::Equivocation`] where this client has found it itself, alone where another member has passed it on.
    EquivocationProved {
        /// The proof's name.
        proof: ProofId,
        /// Whose signature key was misused, by its owner or by a thief.
        member: Member,
        /// MLS epoch number of the fork point.
        number: u64,
    },
    /// The winning branch removed this client; it has stopped sending.
    Removed {
        /// The epoch from which the commit removes it.
        at: EpochId,
        /// Who committed the removal.
        by: Member,
    },
    /// The winning branch cannot be entered by this client for another reason; it has to be added again.
    Outside {
        /// The last epoch that this client can enter.
        at: EpochId,
        /// Why, as a sentence.
        reason: String,
    },
    /// Somebody who is not in the group, and whom no branch has added, asks to rejoin it: it can be invited.
    RejoinRequested {
        /// Who asks; the leaf means nothing.
        member: Member,
    },
}
