//! Which operations of the branches that lose at a fork point the head shall have, one by one (DESIGN 4.6).

use std::collections::BTreeSet;

use super::branches::{Edge, Losing, Node, Origin};
use super::{Carried, CarryKind, Deed, History, Member, Onto, Operation};
use crate::schedule::EpochId;
use crate::tree::{Credential, LeafIndex};

/// What one commit has that is carried, each with its entry in the carried hash.
pub(super) type Found = Vec<(Vec<u8>, Carried)>;

/// Judges the operations of the branches that lose at a fork point.
pub(super) struct Judge<'a> {
    onto: &'a Onto<'a>,
    /// From the fork point to what the merge is made on.
    path: Vec<Edge<'a>>,
    pub(super) losing: Losing<'a>,
    /// Clients that are members of what the merge is made on.
    present: BTreeSet<&'a Credential>,
    /// Clients that a branch below the fork point removed, other than by a rejoin.
    removed: BTreeSet<&'a Credential>,
    /// Clients whose Add is carried.
    added: BTreeSet<&'a Credential>,
    /// What is carried of each commit of the losing branches.
    found: Vec<Found>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(history: &'a History, fork: &'a EpochId, onto: &'a Onto<'a>) -> Option<Self> {
        let path = history.path_below(fork, onto.epoch)?;
        let losing = history.losing(fork, path.first().map(|edge| edge.commit));
        let edges = path.iter().copied().chain(losing.nodes().iter().map(|node| node.edge));
        let removed = edges.flat_map(Edge::operations).filter_map(|operation| match operation {
            Operation::Remove(member) => Some(&member.credential),
            _ => None,
        });
        let removed = removed.collect();
        let present = onto.members.iter().map(|member| &member.credential).collect();
        let (added, found) = (BTreeSet::new(), Vec::new());
        let mut judge = Self { onto, path, losing, present, removed, added, found };
        let own: Vec<Vec<&Deed>> =
            judge.losing.nodes().iter().map(|node| own_deeds(history, node.edge)).collect();
        judge.find_added(&own);
        let each = judge.losing.nodes().iter().zip(&own);
        judge.found = each.map(|(node, deeds)| judge.carried_of(node, deeds)).collect();
        Some(judge)
    }

    /// What is carried of the commits from the fork point to this one.
    pub(super) fn carried(&self, tip: usize) -> impl Iterator<Item = &(Vec<u8>, Carried)> {
        self.losing.places_to(tip).filter_map(|place| self.found.get(place)).flatten()
    }

    /// Clients that a merge on the path has put off, of branches that it merged: what is put off before it is there
    /// is not.
    pub(super) fn deferred(&self) -> BTreeSet<Credential> {
        let mut deferred = BTreeSet::new();
        for merge in self.path.iter().filter_map(|edge| edge.child.summary.merge.as_ref()) {
            let mut merged = BTreeSet::new();
            for (place, node) in self.losing.nodes().iter().enumerate() {
                if merge.tips.contains(&node.edge.commit.0) {
                    merged.extend(self.carried(place).map(|(_, carried)| &carried.member.credential));
                }
            }
            deferred.extend(merge.deferred.iter().filter(|client| merged.contains(client)).cloned());
        }
        deferred
    }

    /// Who comes in with an Add that is carried, and with Adds of theirs in turn. A client is one whichever branch
    /// added it: it is the same once it is in the head.
    fn find_added(&mut self, own: &[Vec<&'a Deed>]) {
        loop {
            let adds = self.losing.nodes().iter().zip(own).flat_map(|(node, deeds)| {
                deeds.iter().filter_map(|deed| match &deed.operation {
                    Operation::Add(member) if self.is_new(member) && self.has_a_say(node, deed) => {
                        Some(&member.credential)
                    }
                    _ => None,
                })
            });
            let adds: BTreeSet<&Credential> = adds.collect();
            if adds.len() == self.added.len() {
                return;
            }
            self.added = adds;
        }
    }

    fn carried_of(&self, node: &Node<'a>, deeds: &[&'a Deed]) -> Found {
        let deeds = deeds.iter().filter(|deed| self.has_a_say(node, deed));
        let carried = deeds.filter_map(|deed| self.carry_over(node, &deed.operation));
        // What cannot be encoded cannot have come over the wire.
        carried.filter_map(|carried| Some((carried.encoding().ok()?, carried))).collect()
    }

    /// Whether proposer and committer are in the head, and the head's admin list lets the proposer do this.
    fn has_a_say(&self, node: &Node<'a>, deed: &Deed) -> bool {
        let stands = |leaf| self.stands(self.losing.origin(node, leaf));
        stands(deed.author.leaf) && stands(node.edge.child.committer) && self.is_authorised(deed)
    }

    /// Whether an author is in the head as the member that it was, or comes into it with its own Add.
    fn stands(&self, origin: Option<Origin<'_>>) -> bool {
        match origin {
            Some(Origin::AtFork(leaf)) => self.now(leaf).is_some(),
            Some(Origin::Added(client)) => {
                let is_in = self.present.contains(client) && !self.removed.contains(client);
                is_in || self.added.contains(client) || self.merged_seat(client).is_some()
            }
            None => false,
        }
    }

    fn is_authorised(&self, deed: &Deed) -> bool {
        let asked_for = match &deed.operation {
            Operation::Remove(member) => member.leaf == deed.author.leaf,
            Operation::Rejoin { .. } => true,
            _ => false,
        };
        let admins = self.onto.admins;
        asked_for || admins.is_empty() || admins.contains(&deed.author.credential)
    }

    fn is_new(&self, member: &Member) -> bool {
        let client = &member.credential;
        !self.present.contains(client) && !self.removed.contains(client)
    }

    fn carry_over(&self, node: &Node<'a>, operation: &Operation) -> Option<Carried> {
        let carried = |kind, member: &Member, at_fork, onto| Carried {
            kind,
            member: member.clone(),
            at_fork,
            onto,
            commit: node.edge.commit.clone(),
        };
        match operation {
            Operation::Add(member) => {
                self.is_new(member).then(|| carried(CarryKind::Add, member, None, None))
            }
            Operation::Remove(member) => match self.losing.origin(node, member.leaf)? {
                Origin::AtFork(leaf) => {
                    Some(carried(CarryKind::Remove, member, Some(leaf), Some(self.now(leaf)?)))
                }
                Origin::Added(client) => {
                    Some(carried(CarryKind::Remove, member, None, Some(self.merged_seat(client)?)))
                }
            },
            Operation::Rejoin { from, .. } => {
                let Origin::AtFork(leaf) = self.losing.origin(node, from.leaf)? else { return None };
                let now = self.now(leaf)?;
                // Taken in again on the head's branch too: it is there.
                (!self.has_rejoined(leaf)).then(|| carried(CarryKind::Rejoin, from, Some(leaf), Some(now)))
            }
            Operation::Update(_) | Operation::Context | Operation::PreSharedKey => None,
        }
    }

    /// Where a member of the fork point sits now, if it is still there.
    fn now(&self, at_fork: LeafIndex) -> Option<LeafIndex> {
        self.path.iter().try_fold(at_fork, |leaf, edge| edge.follow(leaf))
    }

    /// Whether the path has taken in again a member of the fork point.
    fn has_rejoined(&self, at_fork: LeafIndex) -> bool {
        let mut leaf = Some(at_fork);
        self.path.iter().any(|edge| {
            let rejoins = leaf.is_some_and(|leaf| edge.rejoins(leaf));
            leaf = leaf.and_then(|leaf| edge.follow(leaf));
            rejoins
        })
    }

    /// Where a client sits whom a merge has taken from these branches: what is done to it there later is done to the
    /// same member.
    fn merged_seat(&self, client: &Credential) -> Option<LeafIndex> {
        self.path.iter().fold(None, |seat: Option<LeafIndex>, edge| {
            let stays = seat.and_then(|leaf| edge.follow(leaf));
            let added = edge.operations().find_map(|operation| match operation {
                Operation::Add(member) if member.credential == *client => Some(member.leaf),
                _ => None,
            });
            stays.or_else(|| added.filter(|_| self.merges_add_of(*edge, client)))
        })
    }

    /// Whether a commit of the path merges a branch that had added a client.
    fn merges_add_of(&self, edge: Edge<'_>, client: &Credential) -> bool {
        let Some(merge) = &edge.child.summary.merge else { return false };
        let nodes = self.losing.nodes();
        let adds = |place: usize| {
            let operations = nodes.get(place).into_iter().flat_map(|node| node.edge.operations());
            operations
                .filter(|done| matches!(done, Operation::Add(added) if added.credential == *client))
                .count()
                > 0
        };
        let mut merged =
            nodes.iter().enumerate().filter(|(_, node)| merge.tips.contains(&node.edge.commit.0));
        merged.any(|(place, _)| self.losing.places_to(place).any(adds))
    }
}

/// What a commit does that is its own: a merge on a losing branch only repeats what the tips did that it merged, where
/// they are known, and who did it first is the author.
fn own_deeds<'a>(history: &History, edge: Edge<'a>) -> Vec<&'a Deed> {
    let deeds = edge.child.summary.deeds.iter();
    let Some(merge) = &edge.child.summary.merge else { return deeds.collect() };
    let fork = EpochId(merge.fork_epoch.clone());
    let losing = history.losing(&fork, None);
    let nodes = losing.nodes();
    let merged = nodes.iter().enumerate().filter(|(_, node)| merge.tips.contains(&node.edge.commit.0));
    let places: BTreeSet<usize> = merged.flat_map(|(place, _)| losing.places_to(place)).collect();
    let done = places.iter().filter_map(|place| nodes.get(*place)).flat_map(|node| node.edge.operations());
    let done: Vec<&Operation> = done.collect();
    let repeats = |deed: &Deed| {
        deed.author.leaf == edge.child.committer && done.iter().any(|done| is_same(done, &deed.operation))
    };
    deeds.filter(|deed| !repeats(deed)).collect()
}

/// Whether two operations do the same to the same client.
fn is_same(one: &Operation, other: &Operation) -> bool {
    match (one, other) {
        (Operation::Add(one), Operation::Add(other)) | (Operation::Remove(one), Operation::Remove(other)) => {
            one.credential == other.credential
        }
        (Operation::Rejoin { from: one, .. }, Operation::Rejoin { from: other, .. }) => {
            one.credential == other.credential
        }
        _ => false,
    }
}
