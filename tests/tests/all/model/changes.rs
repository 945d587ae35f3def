//! Commits that add and remove, and merges of them. A client is called by its leaf: nobody sits where another sat.

use std::collections::BTreeSet;
use std::fmt;

use dmls_core::framing::Merge;
use dmls_core::history::{
    Blocked, Carried, CarryKind, CarrySet, Child, Deed, History, HistoryEpoch, HistoryError, LeafSet, Member,
    MergeCheck, Onto, Operation, Summary,
};
use dmls_core::schedule::{CommitId, EpochId};
use dmls_core::suite::{CipherSuite, Suite};
use dmls_core::tree::{Credential, LeafIndex};

use super::{Message, Says, commit_id, epoch_id, name_of};

/// Nobody has a KeyPackage of this client.
pub(super) const UNREACHABLE: u32 = 9;

/// An operation on a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Op {
    Add(u32),
    Remove(u32),
}

/// What a commit says of what it merged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Merged {
    fork: String,
    tips: Vec<String>,
    hash: Vec<u8>,
    pub(super) deferred: Vec<u32>,
}

/// A commit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) ops: Vec<Op>,
    pub(super) merge: Option<Merged>,
    /// Whether it is told to somebody whom it removes.
    blocked: bool,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.name, self.ops)?;
        let Some(merge) = &self.merge else { return Ok(()) };
        write!(f, " merging {:?} at {} without {:?}", merge.tips, merge.fork, merge.deferred)
    }
}

impl Change {
    pub(super) fn new(name: String, ops: Vec<Op>) -> Self {
        Self { name, ops, merge: None, blocked: false }
    }
}

fn credential(client: u32) -> Credential {
    Credential::basic(client.to_be_bytes().to_vec())
}

fn client(credential: &Credential) -> u32 {
    let Credential::Basic { identity } = credential else { panic!("a basic credential") };
    u32::from_be_bytes(identity.as_slice().try_into().expect("four bytes"))
}

fn member(client: u32) -> Member {
    Member { leaf: LeafIndex(client), credential: credential(client), fingerprint: [7; 32] }
}

fn suite() -> Suite {
    CipherSuite::X25519_AES128GCM.suite().expect("a suite")
}

/// A message as a client gets it: who is removed by a commit cannot enter what it makes.
pub(super) fn as_seen_by(viewer: u32, message: &Message) -> Message {
    let mut message = message.clone();
    if let Says::Change(change) = &mut message.says {
        change.blocked = change.ops.contains(&Op::Remove(viewer));
    }
    message
}

fn deed(by: u32, op: Op) -> Deed {
    let operation = match op {
        Op::Add(client) => Operation::Add(member(client)),
        Op::Remove(client) => Operation::Remove(member(client)),
    };
    Deed { author: member(by), operation }
}

/// Records a commit. Panics if nobody could make it.
pub(super) fn record_change(
    history: &mut History,
    at: &EpochId,
    by: u32,
    change: &Change,
    since: Option<&EpochId>,
) -> Result<(), HistoryError> {
    let parent = history.epoch(at).ok_or(HistoryError::UnknownEpoch)?;
    let (mut electors, mut blanked) = (parent.electors.clone(), LeafSet::default());
    for op in &change.ops {
        match op {
            Op::Add(client) => assert!(electors.insert(LeafIndex(*client)), "{change:?} adds who is in"),
            Op::Remove(client) => {
                assert!(electors.contains(LeafIndex(*client)) && *client != by, "{change:?} by {by}");
                electors.remove(LeafIndex(*client));
                blanked.insert(LeafIndex(*client));
            }
        }
    }
    let width = electors.iter().map(|leaf| leaf.0 + 1).max().unwrap_or(1);
    let link = Some((at.clone(), commit_id(&change.name)));
    let made = HistoryEpoch::new(link, parent.number + 1, width, electors, blanked);
    let merge = change.merge.as_ref().map(|merged| Merge {
        fork_epoch: epoch_id(&merged.fork).0,
        tips: merged.tips.iter().map(|tip| commit_id(tip).0).collect(),
        carried_hash: merged.hash.clone().into(),
        deferred: merged.deferred.iter().map(|client| credential(*client)).collect(),
        healed: Vec::new(),
    });
    let deeds = change.ops.iter().map(|op| deed(by, *op)).collect();
    let child = Child {
        committer: LeafIndex(by),
        class: 1,
        summary: Summary { committer: member(by), deeds, merge },
        outcome: if change.blocked { Err(Blocked::Removed) } else { Ok(epoch_id(&change.name)) },
    };
    history.record_commit(at, commit_id(&change.name), child, (!change.blocked).then_some(made), since)
}

pub(super) fn is_member(history: &History, at: &EpochId, client: u32) -> bool {
    history.epoch(at).is_some_and(|epoch| epoch.electors.contains(LeafIndex(client)))
}

/// What `with` makes of a merge on an epoch.
fn onto<T>(history: &History, at: &EpochId, with: impl FnOnce(&Onto<'_>) -> T) -> T {
    let electors = history.epoch(at).map(|epoch| epoch.electors.iter().collect::<Vec<_>>());
    let members: Vec<Member> = electors.into_iter().flatten().map(|leaf| member(leaf.0)).collect();
    with(&Onto { epoch: at, members: &members, admins: &[] })
}

/// What is to be carried to an epoch, by fork point, oldest first.
pub(super) fn carry_sets(history: &History, at: &EpochId) -> Vec<CarrySet> {
    let forks = history.losing_forks(at);
    onto(history, at, |onto| forks.iter().map(|fork| history.carry(fork, onto, None)).collect())
}

pub(super) fn check(history: &History, at: &EpochId, commit: &CommitId) -> MergeCheck {
    let summary = &history.epoch(at).expect("an epoch").children[commit].summary;
    onto(history, at, |onto| history.check_merge(suite(), onto, summary)).expect("small")
}

pub(super) fn op_of(carried: &Carried) -> Op {
    let client = client(&carried.member.credential);
    match carried.kind {
        CarryKind::Add => Op::Add(client),
        CarryKind::Remove => Op::Remove(client),
        CarryKind::Rejoin => panic!("nobody rejoins here"),
    }
}

/// Which operations of a set a member does in a merge, and whose Adds it puts off: those of whom nobody has a
/// KeyPackage.
fn share(set: &CarrySet, by: u32) -> (Vec<Op>, Vec<u32>) {
    let all = set.left_to(LeafIndex(by)).map(op_of);
    let (later, now): (Vec<Op>, Vec<Op>) = all.partition(|op| *op == Op::Add(UNREACHABLE));
    let later = later.into_iter().map(|_| UNREACHABLE).collect();
    (now, later)
}

/// Whether a member has something to do about a set: an operation, or to say that it cannot be done.
fn has_work(set: &CarrySet, by: u32) -> bool {
    let mut left = set.left_to(LeafIndex(by));
    left.any(|carried| op_of(carried) != Op::Add(UNREACHABLE) || !set.is_deferred(carried))
}

/// A merge of a set with these operations, and these Adds put off.
pub(super) fn merge_of(set: &CarrySet, name: String, ops: Vec<Op>, deferred: Vec<u32>) -> Change {
    let merge = Merged {
        fork: name_of(set.fork.as_slice()),
        tips: set.tips.iter().map(|tip| name_of(tip.as_slice())).collect(),
        hash: set.hash(suite()).expect("small").as_slice().to_vec(),
        deferred,
    };
    Change { merge: Some(merge), ..Change::new(name, ops) }
}

/// The merge that a member makes on an epoch in its turn: of the oldest fork point at which there is something that it
/// can do. Whoever is to go waits for the other `actors`.
pub(super) fn merge_due(
    history: &History,
    sets: &[CarrySet],
    at: &EpochId,
    by: u32,
    actors: &[u32],
) -> Option<Change> {
    let set = sets.iter().find(|set| has_work(set, by))?;
    let stays = |who: u32| is_member(history, at, who) && !set.removes(LeafIndex(who));
    if !stays(by) && actors.iter().any(|other| stays(*other)) {
        return None;
    }
    let (ops, deferred) = share(set, by);
    Some(merge_of(set, format!("{}{by}", name_of(at.as_slice())), ops, deferred))
}

/// What everybody wanted to have done, by who wanted it. Merges only repeat.
fn wishes(sent: &BTreeSet<Message>) -> impl Iterator<Item = (u32, Op)> + Clone {
    let changes = sent.iter().filter_map(|message| match &message.says {
        Says::Change(change) if change.merge.is_none() => Some((message.by, change)),
        _ => None,
    });
    changes.flat_map(|(by, change)| change.ops.iter().map(move |op| (by, *op)))
}

fn all_ops(sent: &BTreeSet<Message>) -> impl Iterator<Item = Op> {
    let changes = sent.iter().filter_map(|message| match &message.says {
        Says::Change(change) => Some(change),
        _ => None,
    });
    changes.flat_map(|change| change.ops.iter().copied())
}

/// Whether every operation of somebody who is in the head is in effect there, if no rule voids it. Written down
/// without any carry set: what is wished, and who is in.
pub(super) fn all_in_effect(
    history: &History,
    sent: &BTreeSet<Message>,
    head: &EpochId,
    actors: &[u32],
) -> Result<(), String> {
    let is_in = |client| is_member(history, head, client);
    let own_adds: BTreeSet<u32> = history
        .ancestors(head)
        .filter_map(|(at, commit)| history.epoch(at).map(|epoch| &epoch.children[commit].summary))
        .filter(|summary| summary.merge.is_none())
        .flat_map(|summary| summary.operations())
        .filter_map(
            |operation| if let Operation::Add(member) = operation { Some(member.leaf.0) } else { None },
        )
        .collect();
    for (by, op) in wishes(sent).filter(|(by, _)| is_in(*by)) {
        let is_done = match op {
            Op::Add(client) => {
                let removed = all_ops(sent).any(|op| op == Op::Remove(client));
                is_in(client) || removed || client == UNREACHABLE
            }
            Op::Remove(client) => {
                // Somebody who wants it not to be done and can do it alone cannot be made to.
                let others = actors.iter().any(|actor| *actor != client && is_in(*actor));
                !is_in(client) || own_adds.contains(&client) || !others
            }
        };
        if !is_done {
            return Err(format!("{by} wanted {op:?}"));
        }
    }
    Ok(())
}

/// Whether a merge does only what somebody wanted who was in the epoch on which it was made, or came into it. What the
/// `liar` adds to what it merges is its own wish.
pub(super) fn is_wanted(history: &History, sent: &BTreeSet<Message>, message: &Message, liar: u32) -> bool {
    let Says::Change(change) = &message.says else { return true };
    let at = epoch_id(&message.at);
    let had_a_say = |by: u32| is_member(history, &at, by) || change.ops.contains(&Op::Add(by));
    let added = |op: &Op| {
        had_a_say(liar)
            && sent.iter().any(|message| {
                message.by == liar && matches!(&message.says, Says::Change(other) if other.ops.contains(op))
            })
    };
    let wanted = |op: &Op| added(op) || wishes(sent).any(|(by, wish)| wish == *op && had_a_say(by));
    change.merge.is_none() || change.ops.iter().all(wanted)
}
