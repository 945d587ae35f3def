//! Which operations of the branches that lose at a fork point the head shall have, one by one (DESIGN 4.6).

use std::collections::{BTreeMap, BTreeSet};

use fixedbitset::FixedBitSet;

use super::branches::{Edge, Losing, Node, Origin, Path};
use super::commits::Commits;
use super::{Carried, CarryKind, Deed, History, Member, Onto, Operation, work};
use crate::framing::MAX_TIPS;
use crate::schedule::{CommitId, EpochId};
use crate::tree::{Credential, LeafIndex};

/// What one commit has that is carried, each with its entry in the carried hash.
type Found = Vec<(Vec<u8>, Carried)>;

/// A fork point above what a merge is made on, with what does not depend on the tips that the merge names.
pub(super) struct Fork<'a> {
    id: &'a EpochId,
    onto: &'a Onto<'a>,
    /// To what the merge is made on.
    path: Path<'a>,
    losing: Losing<'a>,
    /// What is its own of each commit of the losing branches.
    own: Vec<Vec<&'a Deed>>,
    /// Where clients sit now whom a commit of a losing branch added: it is the same member if both sides have it from
    /// the same commit, which at least one of them merged.
    seats: BTreeMap<(&'a Credential, &'a CommitId), LeafIndex>,
    /// Clients that are members of what the merge is made on.
    present: BTreeSet<&'a Credential>,
    /// Clients that a merge on the path has put off, of branches that it merged: what is put off before it is there
    /// is not.
    put_off: BTreeSet<&'a Credential>,
    /// Clients that a losing branch adds.
    adds: BTreeSet<&'a Credential>,
}

impl<'a> Fork<'a> {
    pub(super) fn of(
        commits: &Commits<'a>,
        id: &'a EpochId,
        onto: &'a Onto<'a>,
        history: &'a History,
    ) -> Option<Self> {
        let path = history.path_below(id, onto.epoch)?;
        let losing = history.losing(id, path.edges().first().map(|edge| edge.commit));
        let places = losing.nodes().iter().filter_map(|node| commits.place(node.edge.commit));
        let places: FixedBitSet = places.collect();
        Some(Self {
            id,
            onto,
            own: losing.nodes().iter().map(|node| commits.own_deeds(node.edge)).collect(),
            seats: seats(commits, &path, &places),
            present: onto.members.iter().map(|member| &member.credential).collect(),
            put_off: put_off(commits, &path, &places),
            adds: losing.nodes().iter().flat_map(|node| node.edge.operations()).filter_map(added).collect(),
            path,
            losing,
        })
    }

    pub(super) fn id(&self) -> &EpochId {
        self.id
    }
}

/// Judges the operations of the branches that lose at a fork point.
pub(super) struct Judge<'f, 'a> {
    fork: &'f Fork<'a>,
    /// The tips that are asked for, and the commits up to them: nothing else has a part in it.
    tips: BTreeSet<usize>,
    covered: BTreeSet<usize>,
    /// Clients that a branch below the fork point removed, other than by a rejoin.
    removed: BTreeSet<&'a Credential>,
    /// Clients whose Add is carried.
    added: BTreeSet<&'a Credential>,
    /// What is carried of each commit of the losing branches.
    found: Vec<Found>,
}

/// Whether an author has a say.
enum Say<'a> {
    Yes,
    No,
    /// If this client's Add is carried.
    With(&'a Credential),
}

/// What tips can have above them.
#[derive(Clone, Copy, Default)]
struct Above {
    carries: bool,
    /// Something that no merge has put off.
    open: bool,
    /// A removal of a client that a losing branch adds.
    keeps_out: bool,
}

impl<'f, 'a> Judge<'f, 'a> {
    /// Up to these tips; `None`: up to all.
    pub(super) fn new(fork: &'f Fork<'a>, tips: Option<&[CommitId]>) -> Self {
        let nodes = fork.losing.nodes();
        let named: Option<BTreeSet<&CommitId>> = tips.map(|tips| tips.iter().collect());
        let wanted =
            |node: &Node<'a>| named.as_ref().map_or(node.is_tip, |named| named.contains(node.edge.commit));
        let tips: BTreeSet<usize> =
            nodes.iter().enumerate().filter(|(_, node)| wanted(node)).map(|(place, _)| place).collect();
        let covered = fork.losing.up_to(&tips);
        let there = covered.iter().filter_map(|place| nodes.get(*place)).map(|node| node.edge);
        let removed = fork.path.edges().iter().copied().chain(there).flat_map(Edge::removed).collect();
        let mut judge = Self { fork, tips, covered, removed, added: BTreeSet::new(), found: Vec::new() };
        judge.find_added();
        judge.found = (0..nodes.len()).map(|place| judge.carried_of(place)).collect();
        judge
    }

    /// What is its own of each commit that has a part in it.
    fn deeds(&self) -> impl Iterator<Item = (&'f Node<'a>, &'a Deed)> {
        self.covered.iter().flat_map(|place| self.deeds_of(*place))
    }

    fn deeds_of(&self, place: usize) -> impl Iterator<Item = (&'f Node<'a>, &'a Deed)> + use<'f, 'a> {
        let node = self.fork.losing.nodes().get(place).filter(|_| self.covered.contains(&place));
        let own = node.zip(self.fork.own.get(place));
        own.into_iter().flat_map(|(node, deeds)| {
            work::count(deeds.len());
            deeds.iter().map(move |deed| (node, *deed))
        })
    }

    /// What is carried up to all tips.
    pub(super) fn all_carried(&self) -> impl Iterator<Item = &(Vec<u8>, Carried)> {
        self.covered.iter().filter_map(|place| self.found.get(*place)).flatten()
    }

    /// The tips that were asked for and are known, by commit id.
    pub(super) fn asked_for(&self) -> Vec<CommitId> {
        let known = self.tips.iter().filter_map(|place| self.fork.losing.nodes().get(*place));
        let tips: BTreeSet<&CommitId> = known.map(|node| node.edge.commit).collect();
        tips.into_iter().cloned().collect()
    }

    /// Whether a merge has put an operation off.
    pub(super) fn is_put_off(&self, carried: &Carried) -> bool {
        carried.kind != CarryKind::Remove && self.fork.put_off.contains(&carried.member.credential)
    }

    /// The tips that a merge names: those with something to carry, and those that keep somebody from being added. The
    /// bound leaves out the last first, and then those of which all has been put off.
    pub(super) fn tips(&self) -> Vec<CommitId> {
        let above = self.above();
        let mut ranked: Vec<(usize, &CommitId)> = Vec::new();
        for place in &self.tips {
            let Some((node, above)) = self.fork.losing.nodes().get(*place).zip(above.get(*place)) else {
                continue;
            };
            if above.carries {
                ranked.push((usize::from(!above.open), node.edge.commit));
            } else if above.keeps_out {
                ranked.push((2, node.edge.commit));
            }
        }
        if ranked.iter().all(|(rank, _)| *rank == 2) {
            return Vec::new();
        }
        ranked.sort();
        ranked.into_iter().take(MAX_TIPS).map(|(_, tip)| tip.clone()).collect()
    }

    /// What there is from the fork point to each commit of the losing branches.
    fn above(&self) -> Vec<Above> {
        let mut all: Vec<Above> = Vec::new();
        for (node, found) in self.fork.losing.nodes().iter().zip(&self.found) {
            let before = node.before.and_then(|place| all.get(place)).copied().unwrap_or_default();
            let open = || found.iter().any(|(_, carried)| !self.is_put_off(carried));
            let keeps_out = || node.edge.removed().any(|client| self.fork.adds.contains(client));
            all.push(Above {
                carries: before.carries || !found.is_empty(),
                open: before.open || open(),
                keeps_out: before.keeps_out || keeps_out(),
            });
        }
        all
    }

    /// Who comes in with an Add that is carried, and with Adds of theirs in turn. A client is one whichever branch
    /// added it: it is the same once it is in the head.
    fn find_added(&mut self) {
        let mut open: Vec<(&Node<'a>, &Deed, &Credential)> = Vec::new();
        for (node, deed) in self.deeds() {
            if let Operation::Add(member) = &deed.operation
                && self.is_new(member)
            {
                open.push((node, deed, &member.credential));
            }
        }
        // Each is looked at again at most once for its proposer and once for its committer.
        let mut waiting: BTreeMap<&Credential, Vec<_>> = BTreeMap::new();
        while let Some((node, deed, client)) = open.pop() {
            work::count(1);
            match self.say(node, deed) {
                Say::Yes => {
                    if self.added.insert(client) {
                        open.extend(waiting.remove(client).into_iter().flatten());
                    }
                }
                Say::With(other) => waiting.entry(other).or_default().push((node, deed, client)),
                Say::No => {}
            }
        }
    }

    fn carried_of(&self, place: usize) -> Found {
        let deeds = self.deeds_of(place).filter(|(node, deed)| matches!(self.say(node, deed), Say::Yes));
        let carried = deeds.filter_map(|(node, deed)| self.carry_over(node, &deed.operation));
        // What cannot be encoded cannot have come over the wire.
        carried.filter_map(|carried| Some((carried.encoding().ok()?, carried))).collect()
    }

    /// Whether proposer and committer are in the head, and the head's admin list lets the proposer do this.
    fn say(&self, node: &Node<'a>, deed: &Deed) -> Say<'a> {
        let stands = |leaf| self.stands(self.fork.losing.origin(node, leaf));
        if !self.is_authorised(deed) {
            return Say::No;
        }
        match (stands(deed.author.leaf), stands(node.edge.child.committer)) {
            (Say::No, _) | (_, Say::No) => Say::No,
            (Say::Yes, other) | (other, _) => other,
        }
    }

    /// Whether an author is in the head as the member that it was, or comes into it with its own Add.
    fn stands(&self, origin: Option<Origin<'a>>) -> Say<'a> {
        match origin {
            Some(Origin::AtFork(leaf)) if self.fork.path.now(leaf).is_some() => Say::Yes,
            Some(Origin::Added(client, by)) => {
                let is_in = self.fork.present.contains(client) && !self.removed.contains(client);
                if is_in || self.added.contains(client) || self.fork.seat_of(client, by).is_some() {
                    Say::Yes
                } else {
                    Say::With(client)
                }
            }
            _ => Say::No,
        }
    }

    fn is_authorised(&self, deed: &Deed) -> bool {
        let asked_for = match &deed.operation {
            Operation::Remove(member) => member.leaf == deed.author.leaf,
            Operation::Rejoin { .. } => true,
            _ => false,
        };
        let admins = self.fork.onto.admins;
        asked_for || admins.is_empty() || admins.contains(&deed.author.credential)
    }

    fn is_new(&self, member: &Member) -> bool {
        let client = &member.credential;
        !self.fork.present.contains(client) && !self.removed.contains(client)
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
            Operation::Remove(member) => match self.fork.losing.origin(node, member.leaf)? {
                Origin::AtFork(leaf) => {
                    Some(carried(CarryKind::Remove, member, Some(leaf), Some(self.fork.path.now(leaf)?)))
                }
                Origin::Added(client, by) => {
                    Some(carried(CarryKind::Remove, member, None, Some(self.fork.seat_of(client, by)?)))
                }
            },
            Operation::Rejoin { from, .. } => {
                let Origin::AtFork(leaf) = self.fork.losing.origin(node, from.leaf)? else { return None };
                let now = self.fork.path.now(leaf)?;
                // Taken in again on the head's branch too: it is there.
                (!self.fork.path.has_rejoined(leaf))
                    .then(|| carried(CarryKind::Rejoin, from, Some(leaf), Some(now)))
            }
            Operation::Update(_) | Operation::Context | Operation::PreSharedKey => None,
        }
    }
}

impl<'a> Fork<'a> {
    fn seat_of(&self, client: &'a Credential, by: Edge<'a>) -> Option<LeafIndex> {
        self.seats.get(&(client, by.commit)).copied()
    }
}

/// Whom an operation adds.
fn added(operation: &Operation) -> Option<&Credential> {
    match operation {
        Operation::Add(member) => Some(&member.credential),
        _ => None,
    }
}

/// Where those sit whom a path has added, for each commit of the losing branches from which they came as well.
fn seats<'a>(
    commits: &Commits<'a>,
    path: &Path<'a>,
    losing: &FixedBitSet,
) -> BTreeMap<(&'a Credential, &'a CommitId), LeafIndex> {
    let mut seats = BTreeMap::new();
    for (client, leaf, edge) in path.added() {
        let adders = commits.adders(losing, client);
        let here = if adders.is_empty() { FixedBitSet::new() } else { commits.sources(edge, client) };
        let same = adders.into_iter().filter(|by| !commits.sources(*by, client).is_disjoint(&here));
        seats.extend(same.map(|by| ((client, by.commit), leaf)));
    }
    seats
}

/// Clients whom merges of a path have put off, each of a branch that the merge had named.
fn put_off<'a>(commits: &Commits<'a>, path: &Path<'a>, losing: &FixedBitSet) -> BTreeSet<&'a Credential> {
    let mut put_off = BTreeSet::new();
    for merge in path.edges().iter().filter_map(|edge| edge.child.summary.merge.as_ref()) {
        let named = commits.up_to(merge.tips.iter().map(|tip| CommitId(tip.clone())), losing);
        let takes_in = |client: &&Credential| {
            commits.does(&named, CarryKind::Add, client) || commits.does(&named, CarryKind::Rejoin, client)
        };
        put_off.extend(merge.deferred.iter().filter(takes_in));
    }
    put_off
}
