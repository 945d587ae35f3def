//! Branches as lists of commits, and who is who on them.

use std::collections::{BTreeMap, BTreeSet};

use rpds::RedBlackTreeMapSync;

use super::{Child, History, Operation, work};
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
        self.child.summary.operations().inspect(|_| work::count(1))
    }

    /// Clients that it removes, other than to take them in again.
    pub(super) fn removed(self) -> impl Iterator<Item = &'a Credential> {
        self.operations().filter_map(|operation| match operation {
            Operation::Remove(member) => Some(&member.credential),
            _ => None,
        })
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

/// Who sits on a leaf, where it is not who sat there at the fork point; `None`: nobody. One commit's seats share with
/// those of the commit before it all that it has not changed.
#[derive(Clone, Default)]
struct Seats<'a>(RedBlackTreeMapSync<LeafIndex, Option<Origin<'a>>>);

impl<'a> Seats<'a> {
    fn origin(&self, leaf: LeafIndex) -> Option<Origin<'a>> {
        self.0.get(&leaf).copied().unwrap_or(Some(Origin::AtFork(leaf)))
    }

    /// Who sits where after a commit.
    fn after(&self, edge: Edge<'a>) -> Self {
        let mut seats = self.clone();
        // Whoever goes makes room for who comes, so those who go are first.
        for operation in edge.operations() {
            if let Operation::Remove(member) | Operation::Rejoin { from: member, .. } = operation {
                seats.0.insert_mut(member.leaf, None);
            }
        }
        for operation in edge.operations() {
            match operation {
                Operation::Add(member) => {
                    seats.0.insert_mut(member.leaf, Some(Origin::Added(&member.credential, edge)));
                }
                Operation::Rejoin { from, to } => seats.0.insert_mut(to.leaf, self.origin(from.leaf)),
                _ => {}
            }
        }
        seats
    }
}

/// The commits from a fork point to an epoch below it, and who is who at their end.
pub(super) struct Path<'a> {
    edges: Vec<Edge<'a>>,
    seats: Seats<'a>,
    /// Where members of the fork point sit that have moved, by their leaves there.
    moved: BTreeMap<LeafIndex, LeafIndex>,
    /// Members of the fork point that have been taken in again.
    rejoined: BTreeSet<LeafIndex>,
    /// Members of the fork point that have new keys.
    refreshed: BTreeSet<LeafIndex>,
}

impl<'a> Path<'a> {
    fn of(edges: Vec<Edge<'a>>) -> Self {
        let (mut seats, mut rejoined, mut refreshed) = (Seats::default(), BTreeSet::new(), BTreeSet::new());
        for edge in &edges {
            let at_fork = |leaf| match seats.origin(leaf) {
                Some(Origin::AtFork(leaf)) => Some(leaf),
                _ => None,
            };
            refreshed.extend(edge.refreshed().filter_map(at_fork));
            rejoined.extend(edge.operations().filter_map(|operation| match operation {
                Operation::Rejoin { from, .. } => at_fork(from.leaf),
                _ => None,
            }));
            seats = seats.after(*edge);
        }
        let moved = seats.0.iter().filter_map(|(leaf, seat)| match seat {
            Some(Origin::AtFork(at_fork)) => Some((*at_fork, *leaf)),
            _ => None,
        });
        Self { moved: moved.collect(), edges, seats, rejoined, refreshed }
    }

    pub(super) fn edges(&self) -> &[Edge<'a>] {
        &self.edges
    }

    /// Where a member of the fork point sits now, if it is still there.
    pub(super) fn now(&self, at_fork: LeafIndex) -> Option<LeafIndex> {
        let stays = || (!self.seats.0.contains_key(&at_fork)).then_some(at_fork);
        self.moved.get(&at_fork).copied().or_else(stays)
    }

    /// Whether a member of the fork point has been taken in again.
    pub(super) fn has_rejoined(&self, at_fork: LeafIndex) -> bool {
        self.rejoined.contains(&at_fork)
    }

    /// Whether a member of the fork point has got new keys.
    pub(super) fn has_new_keys(&self, at_fork: LeafIndex) -> bool {
        self.rejoined.contains(&at_fork) || self.refreshed.contains(&at_fork)
    }

    /// Clients that have come and are still there: their leaves, and the commits that added them.
    pub(super) fn added(&self) -> impl Iterator<Item = (&'a Credential, LeafIndex, Edge<'a>)> {
        let mut last: BTreeMap<&Credential, &CommitId> = BTreeMap::new();
        for edge in &self.edges {
            last.extend(edge.operations().filter_map(|operation| match operation {
                Operation::Add(member) => Some((&member.credential, edge.commit)),
                _ => None,
            }));
        }
        self.seats.0.iter().filter_map(move |(leaf, seat)| match seat {
            Some(Origin::Added(client, by)) if last.get(client) == Some(&by.commit) => {
                Some((*client, *leaf, *by))
            }
            _ => None,
        })
    }
}

/// A commit of the branches that lose at a fork point.
pub(super) struct Node<'a> {
    pub(super) edge: Edge<'a>,
    /// The commit before it; none for a child of the fork point.
    pub(super) before: Option<usize>,
    /// Whether no commit follows.
    pub(super) is_tip: bool,
    seats: Seats<'a>,
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
        seats.map_or(Some(Origin::AtFork(leaf)), |seats| seats.origin(leaf))
    }

    /// The places of the commits from these up to below the fork point.
    pub(super) fn up_to(&self, tips: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut all = BTreeSet::new();
        for tip in tips {
            let mut next = Some(*tip);
            // What one tip has marked is complete up to the fork point.
            while let Some(place) = next.filter(|place| all.insert(*place)) {
                next = self.0.get(place).and_then(|node| node.before);
            }
        }
        work::count(all.len() + tips.len());
        all
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
        let seats = match before.and_then(|place| self.0.get(place)) {
            Some(before) => before.seats.after(edge),
            None => Seats::default().after(edge),
        };
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

    /// The commits from `from` to `to` below it.
    pub(super) fn path_below(&self, from: &EpochId, to: &EpochId) -> Option<Path<'_>> {
        let mut path = Vec::new();
        if from != to {
            let mut above = self.ancestors(to);
            loop {
                let (at, commit) = above.next()?;
                path.push(self.edge(at, commit)?);
                if at == from {
                    break;
                }
            }
            path.reverse();
        }
        self.epoch(from).map(|_| Path::of(path))
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
