//! The core's views in the words of the API.

use dmls_core::group::{self as core, Standing};
use dmls_core::history::{Member, Operation};
use dmls_core::tree::LeafIndex;

use super::keeping;

use crate::api::protocol::Payload;
use crate::api::views::{
    ChildView, EpochView, EventView, ForkView, GroupView, HistoryView, MemberView, MessageView, StandingView,
};
use crate::store::types::MessageRecord;

pub(super) fn who(member: &Member) -> String {
    member.credential.display_name()
}

/// A member.
pub(super) fn member(member: &Member) -> MemberView {
    MemberView { leaf: member.leaf.0, name: who(member), fingerprint: hex::encode(member.fingerprint) }
}

/// An operation in words that follow "by alice:".
pub(super) fn operation(operation: &Operation) -> String {
    match operation {
        Operation::Add(member) => format!("adds {}", who(member)),
        Operation::Remove(member) => format!("removes {}", who(member)),
        Operation::Rejoin { to, .. } => format!("takes {} in again", who(to)),
        Operation::Update(member) => format!("refreshes {}", who(member)),
        Operation::Context => "changes the group context".into(),
        Operation::PreSharedKey => "mixes in a pre-shared key".into(),
    }
}

fn operations(all: &[Operation]) -> Vec<String> {
    all.iter().map(operation).collect()
}

fn hex_of(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(bytes)
}

/// What the API adds to the core's view of a group.
pub(super) struct Surroundings {
    /// What this node calls the group.
    pub(super) name: String,
    /// Connected peers that share it.
    pub(super) peers: usize,
    /// The last reconciliation that found nothing missing.
    pub(super) reconciled_ms: Option<u64>,
}

/// A group with its members.
pub(super) fn group(view: core::GroupView, around: Surroundings) -> GroupView {
    GroupView {
        id: hex_of(view.id.0.as_slice()),
        name: around.name,
        suite: view.suite.to_owned(),
        head: hex_of(view.head.0.as_slice()),
        number: view.number,
        tree_hash: hex_of(view.tree_hash.as_slice()),
        epoch_authenticator: hex_of(view.epoch_authenticator.as_slice()),
        is_final: view.is_final,
        standing: match view.standing {
            Standing::Member => StandingView::Member,
            Standing::Leaving => StandingView::Leaving,
            Standing::Removed => StandingView::Removed,
            Standing::Outside(why) => StandingView::Outside(why),
            Standing::Behind(floor) => StandingView::Outside(format!(
                "a peer's log begins at epoch {floor}; if no other peer has more, somebody has to invite this node again"
            )),
        },
        own_leaf: view.own_leaf.0,
        size: view.members.len(),
        unhealed: view.unhealed.iter().map(|leaf| name_at(&view.members, *leaf)).collect(),
        members: view.members.iter().map(member).collect(),
        profile: view.profile.as_ref().map(keeping::profile),
        pending_proposals: view.pending_proposals,
        waiting: view.waiting,
        retained: view.retained,
        retained_bytes: view.retained_bytes,
        punctures: view.punctures,
        epochs: view.epochs.iter().map(keeping::retained).collect(),
        log_messages: view.log_messages,
        log_commits: view.log_commits,
        split: view.split.as_ref().map(keeping::split),
        misused: view.proofs.iter().map(keeping::proof).collect(),
        peers: around.peers,
        reconciled_ms: around.reconciled_ms,
    }
}

fn names(members: &[Member]) -> Vec<String> {
    members.iter().map(who).collect()
}

fn name_at(members: &[Member], leaf: LeafIndex) -> String {
    members.iter().find(|member| member.leaf == leaf).map(who).unwrap_or_default()
}

/// A history.
pub(super) fn history(id: &core::GroupId, name: &str, view: &core::HistoryView) -> HistoryView {
    HistoryView {
        group: hex_of(id.0.as_slice()),
        name: name.to_owned(),
        anchor: hex_of(view.anchor.0.as_slice()),
        head: hex_of(view.head.0.as_slice()),
        epochs: view.epochs.iter().map(epoch).collect(),
    }
}

fn epoch(view: &core::EpochView) -> EpochView {
    EpochView {
        id: hex_of(view.id.0.as_slice()),
        parent: view.parent.as_ref().map(|parent| hex_of(parent.0.as_slice())),
        commit: view.commit.as_ref().map(|commit| hex_of(commit.0.as_slice())),
        number: view.number,
        committer: view.committer.as_ref().map(who),
        operations: operations(&view.operations),
        members: view.members,
        on_head: view.on_head,
        punctures: view.punctures,
        messages: view.messages,
        fork: view.fork.as_ref().map(fork),
    }
}

fn fork(view: &core::ForkView) -> ForkView {
    let child = |child: &core::ChildView| ChildView {
        commit: hex_of(child.commit.0.as_slice()),
        epoch: child.epoch.as_ref().map(|epoch| hex_of(epoch.0.as_slice())),
        blocked: child.blocked.clone(),
        weight: child.weight,
    };
    ForkView {
        electors: view.electors,
        silent: view.silent,
        void: view.void,
        children: view.children.iter().map(child).collect(),
        soft_final: view.soft_final,
        hard_final: view.hard_final,
        closed: view.closed,
    }
}

/// A stored message.
pub(super) fn message(record: MessageRecord) -> MessageView {
    MessageView {
        seq: record.seq,
        id: hex_of(record.id),
        epoch: hex_of(&record.epoch),
        sender: record.sender,
        fingerprint: hex_of(record.fingerprint),
        own: record.own,
        on_head: record.on_head,
        unhealed: record.unhealed,
        at_ms: record.at_ms,
        payload: Payload::of(&record.payload),
    }
}

/// An event; `None` for messages, which have records of their own.
pub(super) fn event(event: &core::Event) -> Option<EventView> {
    let epoch = |id: &dmls_core::schedule::EpochId| hex_of(id.0.as_slice());
    Some(match event {
        core::Event::Message { .. } | core::Event::Sent { .. } => return None,
        core::Event::Membership { epoch: id, added, removed, is_final } => EventView::Membership {
            epoch: epoch(id),
            added: names(added),
            removed: names(removed),
            is_final: *is_final,
        },
        core::Event::MembershipUndone { epoch: id, added, removed } => {
            EventView::MembershipUndone { epoch: epoch(id), added: names(added), removed: names(removed) }
        }
        core::Event::EquivocationProved { proof, member, number } => {
            EventView::EquivocationProved { proof: hex_of(proof.0), member: who(member), number: *number }
        }
        core::Event::Merged { epoch: id, fork, by, carried, deferred } => EventView::Merged {
            epoch: epoch(id),
            fork: epoch(fork),
            by: who(by),
            carried: operations(carried),
            deferred: deferred.iter().map(|client| client.display_name()).collect(),
        },
        core::Event::MergeMismatch { epoch: id, by, missing, extra } => EventView::MergeMismatch {
            epoch: epoch(id),
            by: who(by),
            missing: names(missing),
            extra: operations(extra),
        },
        core::Event::AddAbandoned { member } => EventView::AddAbandoned { member: who(member) },
        core::Event::RemovalPending { members } => EventView::RemovalPending { members: names(members) },
        core::Event::Joined { epoch: id } => EventView::Joined { epoch: epoch(id) },
        core::Event::Epoch { epoch: id, parent, number, committer, operations: all } => EventView::Epoch {
            epoch: epoch(id),
            parent: epoch(parent),
            number: *number,
            committer: who(committer),
            operations: operations(all),
        },
        core::Event::Forked { at, children } => EventView::Forked {
            at: epoch(at),
            children: children.iter().map(|commit| hex_of(commit.0.as_slice())).collect(),
        },
        core::Event::Head { from, to, number, left } => EventView::Head {
            from: epoch(from),
            to: epoch(to),
            number: *number,
            left: left.iter().map(epoch).collect(),
        },
        core::Event::Final { epoch: id } => EventView::Final { epoch: epoch(id) },
        core::Event::BranchLost { tip, operations: all } => {
            let words = all.iter().map(|(by, what)| format!("{} {}", who(by), operation(what))).collect();
            EventView::BranchLost { tip: epoch(tip), operations: words }
        }
        core::Event::Deleted { epoch: id } => EventView::Deleted { epoch: epoch(id) },
        core::Event::Split { split } => {
            let sides = split.sides.iter().flat_map(|side| &side.members);
            EventView::Split { at: epoch(&split.at), away: sides.chain(&split.silent).map(who).collect() }
        }
        core::Event::Behind { head, floor } => EventView::Behind { head: *head, floor: *floor },
        core::Event::Equivocation { at, member } => {
            EventView::Equivocation { at: epoch(at), member: who(member) }
        }
        core::Event::Removed { at, by } => EventView::Removed { at: epoch(at), by: who(by) },
        core::Event::RejoinRequested { member } => EventView::RejoinRequested { member: who(member) },
        core::Event::Outside { at, reason } => EventView::Outside { at: epoch(at), reason: reason.clone() },
    })
}
