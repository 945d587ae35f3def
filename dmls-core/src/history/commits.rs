//! Every commit of a history at a glance: what merges merged, and where those came from whom they add.

use std::collections::{BTreeMap, BTreeSet};

use fixedbitset::FixedBitSet;

use super::branches::Edge;
use super::{CarryKind, Deed, History, Operation, work};
use crate::schedule::{CommitId, EpochId};
use crate::tree::Credential;

/// How many merges are looked through for where a client comes from. Honest ones repeat each other a few times; who
/// comes by more counts as added by the last one that is looked at.
pub(super) const MAX_MERGES_TRACED: usize = 64;

/// The commits of a history, each behind the one before it, with what would else be searched for again and again.
pub(super) struct Commits<'a> {
    edges: Vec<Edge<'a>>,
    places: BTreeMap<&'a CommitId, usize>,
    /// The commit that leads to an epoch; none for the anchor.
    makers: BTreeMap<&'a EpochId, Option<usize>>,
    /// Of each commit itself and those before it.
    lineages: Vec<FixedBitSet>,
    /// The commits that a merge says that it merged, as far as they are known.
    merged: Vec<FixedBitSet>,
    /// The commits that do something to a client.
    done: BTreeMap<(CarryKind, &'a Credential), FixedBitSet>,
}

/// What an operation does to whom, if a merge could carry it.
fn kind_of(operation: &Operation) -> Option<(CarryKind, &Credential)> {
    match operation {
        Operation::Add(member) => Some((CarryKind::Add, &member.credential)),
        Operation::Remove(member) => Some((CarryKind::Remove, &member.credential)),
        Operation::Rejoin { from, .. } => Some((CarryKind::Rejoin, &from.credential)),
        Operation::Update(_) | Operation::Context | Operation::PreSharedKey => None,
    }
}

fn with(mut set: FixedBitSet, place: usize) -> FixedBitSet {
    set.grow_and_insert(place);
    set
}

impl<'a> Commits<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let mut all = Self {
            edges: Vec::new(),
            places: BTreeMap::new(),
            makers: BTreeMap::from([(history.anchor(), None)]),
            lineages: Vec::new(),
            merged: Vec::new(),
            done: BTreeMap::new(),
        };
        let mut epochs = vec![(history.anchor(), None)];
        let mut next = 0;
        while let Some((at, maker)) = epochs.get(next).copied() {
            next += 1;
            for (commit, child) in history.epoch(at).map(|epoch| &epoch.children).into_iter().flatten() {
                let place = all.push(Edge { commit, child }, maker);
                if let Ok(epoch) = &child.outcome {
                    all.makers.insert(epoch, Some(place));
                    epochs.push((epoch, Some(place)));
                }
            }
        }
        all.merged = all.edges.iter().map(|edge| all.merged_by(*edge)).collect();
        all
    }

    fn push(&mut self, edge: Edge<'a>, maker: Option<usize>) -> usize {
        let place = self.edges.len();
        let before = maker.and_then(|maker| self.lineages.get(maker)).cloned().unwrap_or_default();
        work::count(before.as_slice().len());
        self.lineages.push(with(before, place));
        for (kind, client) in edge.operations().filter_map(kind_of) {
            self.done.entry((kind, client)).or_default().grow_and_insert(place);
        }
        self.places.insert(edge.commit, place);
        self.edges.push(edge);
        place
    }

    fn merged_by(&self, edge: Edge<'a>) -> FixedBitSet {
        let mut merged = FixedBitSet::new();
        let Some(merge) = &edge.child.summary.merge else { return merged };
        let Some(maker) = self.makers.get(&EpochId(merge.fork_epoch.clone())) else { return merged };
        for tip in &merge.tips {
            let lineage = self.places.get(&CommitId(tip.clone())).and_then(|place| self.lineages.get(*place));
            let Some(lineage) = lineage else { continue };
            work::count(lineage.as_slice().len());
            if maker.is_none_or(|maker| lineage.contains(maker)) {
                merged.union_with(lineage);
            }
        }
        if let Some(above) = maker.and_then(|maker| self.lineages.get(maker)) {
            merged.difference_with(above);
        }
        merged
    }

    /// The place of a commit.
    pub(super) fn place(&self, commit: &CommitId) -> Option<usize> {
        self.places.get(commit).copied()
    }

    /// The commits up to those of these tips that are in `among`, as far as they are.
    pub(super) fn up_to(&self, tips: impl Iterator<Item = CommitId>, among: &FixedBitSet) -> FixedBitSet {
        let mut all = FixedBitSet::new();
        for place in tips.filter_map(|tip| self.place(&tip)).filter(|place| among.contains(*place)) {
            if let Some(lineage) = self.lineages.get(place) {
                work::count(lineage.as_slice().len());
                all.union_with(lineage);
            }
        }
        all.intersect_with(among);
        all
    }

    /// Whether a commit of a set does this to a client.
    pub(super) fn does(&self, among: &FixedBitSet, kind: CarryKind, client: &Credential) -> bool {
        let done = self.done.get(&(kind, client));
        work::count(done.map_or(1, |done| done.as_slice().len()));
        done.is_some_and(|done| !done.is_disjoint(among))
    }

    /// The commits of a set that add a client.
    pub(super) fn adders(&self, among: &FixedBitSet, client: &Credential) -> Vec<Edge<'a>> {
        let mut adders = self.done.get(&(CarryKind::Add, client)).cloned().unwrap_or_default();
        adders.intersect_with(among);
        work::count(adders.as_slice().len());
        adders.ones().filter_map(|place| self.edges.get(place).copied()).collect()
    }

    /// The commits by which a client came in whom `edge` adds: others, if it repeats them as a merge.
    pub(super) fn sources(&self, edge: Edge<'a>, client: &Credential) -> FixedBitSet {
        let mut sources = FixedBitSet::with_capacity(self.edges.len());
        let (Some(first), Some(adders)) = (self.place(edge.commit), self.done.get(&(CarryKind::Add, client)))
        else {
            return sources;
        };
        let mut seen = with(FixedBitSet::with_capacity(self.edges.len()), first);
        let (mut open, mut traced) = (BTreeSet::from([first]), 0);
        while let Some(place) = open.pop_first() {
            let mut before = self.merged.get(place).cloned().unwrap_or_default();
            before.intersect_with(adders);
            work::count(before.as_slice().len() + 1);
            if before.is_clear() || traced == MAX_MERGES_TRACED {
                sources.insert(place);
                continue;
            }
            traced += 1;
            before.difference_with(&seen);
            seen.union_with(&before);
            open.extend(before.ones());
        }
        sources
    }

    /// What a commit does that is its own: a merge on a losing branch only repeats what the tips did that it merged,
    /// where they are known, and who did it first is the author.
    pub(super) fn own_deeds(&self, edge: Edge<'a>) -> Vec<&'a Deed> {
        let merged = self.place(edge.commit).and_then(|place| self.merged.get(place));
        let merged = merged.filter(|merged| !merged.is_clear());
        let repeats = |deed: &Deed| {
            deed.author.leaf == edge.child.committer
                && merged
                    .zip(kind_of(&deed.operation))
                    .is_some_and(|(merged, (kind, client))| self.does(merged, kind, client))
        };
        work::count(edge.child.summary.deeds.len());
        edge.child.summary.deeds.iter().filter(|deed| !repeats(deed)).collect()
    }
}
