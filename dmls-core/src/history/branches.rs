//! Branches as lists of commits, and who is who on them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Child, History, Operation};
use crate::schedule::{CommitId, EpochId};
use crate::tree::{Credential, LeafIndex};

/// A commit with what it did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge<'a> {
    pub(super) commit: &'a CommitId,
    pub(super) child: &'a Child,
}

impl<'a> Edge<'a> {
    pub(super) fn operations(self) -> impl Iterator<Item = &'a Operation> {
        self.child.summary.operations()
    }

    /// Where the member on `leaf` of the parent sits in the child, if it is still there.
    pub(super) fn follow(self, leaf: LeafIndex) -> Option<LeafIndex> {
        let moved = self.operations().find_map(|operation| match operation {
            Operation::Remove(member) if member.leaf == leaf => Some(None),
            Operation::Rejoin { from, to } if from.leaf == leaf => Some(Some(to.leaf)),
            _ => None,
        });
        moved.unwrap_or(Some(leaf))
    }

    /// Clients that it removes, other than to take them in again.
    pub(super) fn removed(self) -> impl Iterator<Item = &'a Credential> {
        self.operations().filter_map(|operation| match operation {
            Operation::Remove(member) => Some(&member.credential),
            _ => None,
        })
    }

    /// The leaf at which it adds a client.
    pub(super) fn adds(self, client: &Credential) -> Option<LeafIndex> {
        self.operations().find_map(|operation| match operation {
            Operation::Add(member) if member.credential == *client => Some(member.leaf),
            _ => None,
        })
    }

    /// Whether the member on `leaf` of the parent is taken in again: its keys are new then.
    pub(super) fn rejoins(self, leaf: LeafIndex) -> bool {
        self.operations()
            .any(|operation| matches!(operation, Operation::Rejoin { from, .. } if from.leaf == leaf))
    }

    /// Leaves of the parent whose owners have new keys in the child.
    pub(super) fn refreshed(self) -> impl Iterator<Item = LeafIndex> {
        let updated = self.operations().filter_map(|operation| match operation {
            Operation::Update(member) => Some(member.leaf),
            _ => None,
        });
        std::iter::once(self.child.committer).chain(updated)
    }
}

/// Who somebody on a losing branch is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A member of the fork point, by its leaf there.
    AtFork(LeafIndex),
    /// A client that the branch added, by this commit.
    Added(&'a Credential, Edge<'a>),
}

/// A commit of the branches that lose at a fork point.
pub(super) struct Node<'a> {
    pub(super) edge: Edge<'a>,
    /// The commit before it; none for a child of the fork point.
    before: Option<usize>,
    /// Whether no commit follows.
    pub(super) is_tip: bool,
    /// Who sits on a leaf of the child, where it is not who sat there at the fork point; `None`: nobody.
    seats: BTreeMap<LeafIndex, Option<Origin<'a>>>,
}

/// The branches that lose at a fork point, each commit behind the one before it.
pub(super) struct Losing<'a>(Vec<Node<'a>>);

impl<'a> Losing<'a> {
    pub(super) fn nodes(&self) -> &[Node<'a>] {
        &self.0
    }

    /// Who sits on `leaf` of the epoch on which a node's commit was made.
    pub(super) fn origin(&self, node: &Node<'a>, leaf: LeafIndex) -> Option<Origin<'a>> {
        let seats = node.before.and_then(|before| self.0.get(before)).map(|before| &before.seats);
        match seats.and_then(|seats| seats.get(&leaf)) {
            Some(seat) => *seat,
            None => Some(Origin::AtFork(leaf)),
        }
    }

    /// The places of the commits from this one up to below the fork point.
    pub(super) fn places_to(&self, tip: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(tip), |place| self.0.get(*place).and_then(|node| node.before))
    }

    /// The members of the fork point that got new keys on a losing branch, by their leaves there.
    pub(super) fn refreshed(&self) -> BTreeSet<LeafIndex> {
        let mut found = BTreeSet::new();
        for node in &self.0 {
            for leaf in node.edge.refreshed() {
                if let Some(Origin::AtFork(leaf)) = self.origin(node, leaf) {
                    found.insert(leaf);
                }
            }
        }
        found
    }

    fn push(&mut self, before: Option<usize>, edge: Edge<'a>) {
        let mut seats =
            before.and_then(|place| self.0.get(place)).map(|b| b.seats.clone()).unwrap_or_default();
        let was =
            |seats: &BTreeMap<_, _>, leaf| seats.get(&leaf).copied().unwrap_or(Some(Origin::AtFork(leaf)));
        let old = seats.clone();
        // Whoever goes makes room for who comes, so those who go are first.
        for operation in edge.operations() {
            if let Operation::Remove(member) | Operation::Rejoin { from: member, .. } = operation {
                seats.insert(member.leaf, None);
            }
        }
        for operation in edge.operations() {
            match operation {
                Operation::Add(member) => {
                    seats.insert(member.leaf, Some(Origin::Added(&member.credential, edge)));
                }
                Operation::Rejoin { from, to } => {
                    seats.insert(to.leaf, was(&old, from.leaf));
                }
                _ => {}
            }
        }
        if let Some(before) = before.and_then(|place| self.0.get_mut(place)) {
            before.is_tip = false;
        }
        self.0.push(Node { edge, before, is_tip: true, seats });
    }
}

impl History {
    fn edge(&self, at: &EpochId, commit: &CommitId) -> Option<Edge<'_>> {
        let (commit, child) = self.epoch(at)?.children.get_key_value(commit)?;
        Some(Edge { commit, child })
    }

    /// The commits from `from` to `to` below it, oldest first.
    pub(super) fn path_below(&self, from: &EpochId, to: &EpochId) -> Option<Vec<Edge<'_>>> {
        if from == to {
            return self.epoch(from).map(|_| Vec::new());
        }
        let mut path = Vec::new();
        for (at, commit) in self.ancestors(to) {
            path.push(self.edge(at, commit)?);
            if at == from {
                path.reverse();
                return Some(path);
            }
        }
        None
    }

    /// The commits that a merge says that it merged, as far as they are known.
    pub(super) fn merged_by<'a>(&'a self, merge: Edge<'a>) -> Vec<Edge<'a>> {
        let Some(merge) = &merge.child.summary.merge else { return Vec::new() };
        let fork = EpochId(merge.fork_epoch.clone());
        let losing = self.losing(&fork, None);
        let tips = losing.0.iter().enumerate().filter(|(_, node)| merge.tips.contains(&node.edge.commit.0));
        let places: BTreeSet<usize> = tips.flat_map(|(place, _)| losing.places_to(place)).collect();
        places.into_iter().filter_map(|place| losing.0.get(place)).map(|node| node.edge).collect()
    }

    /// The commits by which a client came in whom `edge` adds: others, if it repeats them as a merge.
    pub(super) fn sources<'a>(&'a self, edge: Edge<'a>, client: &Credential) -> BTreeSet<&'a CommitId> {
        let (mut seen, mut sources) = (BTreeSet::from([edge.commit]), BTreeSet::new());
        let mut open = vec![edge];
        while let Some(edge) = open.pop() {
            let merged = self.merged_by(edge).into_iter();
            let before: Vec<Edge<'_>> = merged.filter(|edge| edge.adds(client).is_some()).collect();
            if before.is_empty() {
                sources.insert(edge.commit);
            }
            open.extend(before.into_iter().filter(|edge| seen.insert(edge.commit)));
        }
        sources
    }

    /// Everything below `fork` but the child that `winner` is.
    pub(super) fn losing(&self, fork: &EpochId, winner: Option<&CommitId>) -> Losing<'_> {
        let mut losing = Losing(Vec::new());
        let children = |at: &EpochId| self.epoch(at).map(|epoch| &epoch.children).into_iter().flatten();
        let first = children(fork).filter(|(commit, _)| Some(*commit) != winner);
        for (commit, child) in first {
            losing.push(None, Edge { commit, child });
        }
        let mut next = 0;
        while let Some(edge) = losing.0.get(next).map(|node| node.edge) {
            if let Ok(epoch) = &edge.child.outcome {
                for (commit, child) in children(epoch) {
                    losing.push(Some(next), Edge { commit, child });
                }
            }
            next += 1;
        }
        losing
    }
}
