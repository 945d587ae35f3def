//! Which operations of the branches that lose at a fork point the head shall have, one by one (DESIGN 4.6).

use std::collections::{BTreeMap, BTreeSet};

use super::branches::{Edge, Losing, Node, Origin};
use super::{Carried, CarryKind, Deed, History, Member, Onto, Operation};
use crate::framing::MAX_TIPS;
use crate::schedule::{CommitId, EpochId};
use crate::tree::{Credential, LeafIndex};

/// What one commit has that is carried, each with its entry in the carried hash.
pub(super) type Found = Vec<(Vec<u8>, Carried)>;

/// Judges the operations of the branches that lose at a fork point.
pub(super) struct Judge<'a> {
    history: &'a History,
    onto: &'a Onto<'a>,
    /// From the fork point to what the merge is made on.
    path: Vec<Edge<'a>>,
    losing: Losing<'a>,
    /// The tips that are asked for, and the commits up to them: nothing else has a part in it.
    tips: BTreeSet<usize>,
    covered: BTreeSet<usize>,
    /// Clients that came below the fork point: where they sit now, and the commits by which they first came.
    seats: BTreeMap<&'a Credential, (LeafIndex, BTreeSet<&'a CommitId>)>,
    /// Clients that are members of what the merge is made on.
    present: BTreeSet<&'a Credential>,
    /// Clients that a branch below the fork point removed, other than by a rejoin.
    removed: BTreeSet<&'a Credential>,
    /// Clients whose Add is carried.
    added: BTreeSet<&'a Credential>,
    /// Clients that a merge on the path has put off, of branches that it merged: what is put off before it is there
    /// is not.
    put_off: BTreeSet<&'a Credential>,
    /// What is carried of each commit of the losing branches.
    found: Vec<Found>,
}

impl<'a> Judge<'a> {
    /// Up to these tips; `None`: up to all.
    pub(super) fn new(
        history: &'a History,
        fork: &EpochId,
        onto: &'a Onto<'a>,
        tips: Option<&[CommitId]>,
    ) -> Option<Self> {
        let path = history.path_below(fork, onto.epoch)?;
        let losing = history.losing(fork, path.first().map(|edge| edge.commit));
        let wanted = |node: &Node<'a>| tips.map_or(node.is_tip, |tips| tips.contains(node.edge.commit));
        let tips: BTreeSet<usize> = losing
            .nodes()
            .iter()
            .enumerate()
            .filter(|(_, node)| wanted(node))
            .map(|(place, _)| place)
            .collect();
        let covered: BTreeSet<usize> = tips.iter().flat_map(|tip| losing.places_to(*tip)).collect();
        let there = covered.iter().filter_map(|place| losing.nodes().get(*place)).map(|node| node.edge);
        let removed = path.iter().copied().chain(there).flat_map(Edge::removed).collect();
        let mut judge = Self {
            history,
            onto,
            seats: seats(history, &path),
            present: onto.members.iter().map(|member| &member.credential).collect(),
            put_off: put_off(&path, &losing),
            path,
            losing,
            tips,
            covered,
            removed,
            added: BTreeSet::new(),
            found: Vec::new(),
        };
        let deeds = |(place, node): (usize, &Node<'a>)| {
            if judge.covered.contains(&place) { own_deeds(history, node.edge) } else { Vec::new() }
        };
        let own: Vec<Vec<&Deed>> = judge.losing.nodes().iter().enumerate().map(deeds).collect();
        judge.find_added(&own);
        let each = judge.losing.nodes().iter().zip(&own);
        judge.found = each.map(|(node, deeds)| judge.carried_of(node, deeds)).collect();
        Some(judge)
    }

    /// What is carried of the commits from the fork point to this one.
    fn carried(&self, tip: usize) -> impl Iterator<Item = &(Vec<u8>, Carried)> {
        self.losing.places_to(tip).filter_map(|place| self.found.get(place)).flatten()
    }

    /// What is carried up to all tips.
    pub(super) fn all_carried(&self) -> impl Iterator<Item = &(Vec<u8>, Carried)> {
        self.covered.iter().filter_map(|place| self.found.get(*place)).flatten()
    }

    /// The tips that were asked for and are known, by commit id.
    pub(super) fn asked_for(&self) -> Vec<CommitId> {
        let known = self.tips.iter().filter_map(|place| self.losing.nodes().get(*place));
        let tips: BTreeSet<&CommitId> = known.map(|node| node.edge.commit).collect();
        tips.into_iter().cloned().collect()
    }

    /// Whether a merge has put an operation off.
    pub(super) fn is_put_off(&self, carried: &Carried) -> bool {
        carried.kind != CarryKind::Remove && self.put_off.contains(&carried.member.credential)
    }

    /// The tips that a merge names: those with something to carry, and those that keep somebody from being added. The
    /// bound leaves out the last first, and then those of which all has been put off.
    pub(super) fn tips(&self) -> Vec<CommitId> {
        let nodes = self.losing.nodes();
        let adds =
            nodes.iter().flat_map(|node| node.edge.operations()).filter_map(|operation| match operation {
                Operation::Add(member) => Some(&member.credential),
                _ => None,
            });
        let adds: BTreeSet<&Credential> = adds.collect();
        let keeps_out = |place: usize| {
            let edges =
                self.losing.places_to(place).filter_map(|place| nodes.get(place)).map(|node| node.edge);
            edges.flat_map(Edge::removed).any(|client| adds.contains(client))
        };
        let mut ranked: Vec<(usize, &CommitId)> = Vec::new();
        for place in &self.tips {
            let Some(node) = nodes.get(*place) else { continue };
            if self.carried(*place).next().is_some() {
                let late = self.carried(*place).all(|(_, carried)| self.is_put_off(carried));
                ranked.push((usize::from(late), node.edge.commit));
            } else if keeps_out(*place) {
                ranked.push((2, node.edge.commit));
            }
        }
        if ranked.iter().all(|(rank, _)| *rank == 2) {
            return Vec::new();
        }
        ranked.sort();
        ranked.into_iter().take(MAX_TIPS).map(|(_, tip)| tip.clone()).collect()
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
            Some(Origin::Added(client, by)) => {
                let is_in = self.present.contains(client) && !self.removed.contains(client);
                is_in || self.added.contains(client) || self.seat_of(client, by).is_some()
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
                Origin::Added(client, by) => {
                    Some(carried(CarryKind::Remove, member, None, Some(self.seat_of(client, by)?)))
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

    /// Where a client sits now whom a commit of a losing branch added: it is the same member if both sides have it
    /// from the same commit, which at least one of them merged.
    fn seat_of(&self, client: &Credential, by: Edge<'a>) -> Option<LeafIndex> {
        let (leaf, sources) = self.seats.get(client)?;
        let there = self.history.sources(by, client);
        (!sources.is_disjoint(&there)).then_some(*leaf)
    }
}

/// Where those sit whom a path has added, and the commits by which they first came.
fn seats<'a>(
    history: &'a History,
    path: &[Edge<'a>],
) -> BTreeMap<&'a Credential, (LeafIndex, BTreeSet<&'a CommitId>)> {
    let mut seats: BTreeMap<&Credential, (LeafIndex, Edge<'_>)> = BTreeMap::new();
    for edge in path {
        seats.retain(|_, (leaf, _)| match edge.follow(*leaf) {
            Some(now) => {
                *leaf = now;
                true
            }
            None => false,
        });
        seats.extend(edge.operations().filter_map(|operation| match operation {
            Operation::Add(member) => Some((&member.credential, (member.leaf, *edge))),
            _ => None,
        }));
    }
    let sources = |client, edge| history.sources(edge, client);
    seats.into_iter().map(|(client, (leaf, edge))| (client, (leaf, sources(client, edge)))).collect()
}

/// Clients whom merges of a path have put off, each of a branch that the merge had named.
fn put_off<'a>(path: &[Edge<'a>], losing: &Losing<'a>) -> BTreeSet<&'a Credential> {
    let mut put_off = BTreeSet::new();
    for merge in path.iter().filter_map(|edge| edge.child.summary.merge.as_ref()) {
        let named =
            losing.nodes().iter().enumerate().filter(|(_, node)| merge.tips.contains(&node.edge.commit.0));
        let places = named.flat_map(|(place, _)| losing.places_to(place));
        let edges = places.filter_map(|place| losing.nodes().get(place)).map(|node| node.edge);
        let taken_in = edges.flat_map(Edge::operations).filter_map(|operation| match operation {
            Operation::Add(member) | Operation::Rejoin { from: member, .. } => Some(&member.credential),
            _ => None,
        });
        let taken_in: BTreeSet<&Credential> = taken_in.collect();
        put_off.extend(merge.deferred.iter().filter(|client| taken_in.contains(client)));
    }
    put_off
}

/// What a commit does that is its own: a merge on a losing branch only repeats what the tips did that it merged, where
/// they are known, and who did it first is the author.
fn own_deeds<'a>(history: &History, edge: Edge<'a>) -> Vec<&'a Deed> {
    let merged = history.merged_by(edge);
    let done: Vec<&Operation> = merged.into_iter().flat_map(Edge::operations).collect();
    let repeats = |deed: &Deed| {
        deed.author.leaf == edge.child.committer && done.iter().any(|done| is_same(done, &deed.operation))
    };
    edge.child.summary.deeds.iter().filter(|deed| !repeats(deed)).collect()
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
