//! A cut that outlives what is retained: the group is split, and people choose who rejoins (DESIGN 4.5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::step::Event;
use super::transaction::{Transaction, member};
use super::view::{SideView, SplitView};
use super::{Group, Keys};
use crate::history::{LeafSet, Member};
use crate::schedule::{CommitId, EpochId};

/// A split, as it is stored: leaves are those of the head, of members that have been there since the fork point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Split {
    at: EpochId,
    number: u64,
    kept: CommitId,
    /// Who has named which other child.
    sides: BTreeMap<CommitId, LeafSet>,
    /// Who has named none.
    silent: LeafSet,
}

impl Split {
    /// Everybody who is not known to be on this side.
    fn away(&self) -> LeafSet {
        let mut away = self.silent.clone();
        self.sides.values().for_each(|side| away.union_with(side));
        away
    }

    fn subtract(&mut self, leaves: &LeafSet) {
        self.silent.subtract(leaves);
        self.sides.values_mut().for_each(|side| side.subtract(leaves));
        self.sides.retain(|_, side| !side.is_empty());
    }
}

impl Group {
    /// The split as others see it.
    pub(super) fn split_view(&self) -> Option<SplitView> {
        let split = self.state.split.as_ref()?;
        let Keys { epoch, .. } = self.keys.get(&self.state.head)?;
        let members = |leaves: &LeafSet| -> Vec<Member> {
            leaves.iter().filter_map(|leaf| epoch.leaf(leaf).map(|node| member(leaf, node))).collect()
        };
        let side = |(commit, leaves)| SideView { commit: CommitId::clone(commit), members: members(leaves) };
        Some(SplitView {
            at: split.at.clone(),
            number: split.number,
            kept: split.kept.clone(),
            sides: split.sides.iter().map(side).collect(),
            silent: members(&split.silent),
        })
    }
}

impl Transaction<'_> {
    /// Reports that a fork point goes though somebody may still stand on another side of it. `at` is on the way to the
    /// head, `kept` leads on. One cut is reported once, however many epochs go because of it.
    pub(super) fn report_split(&mut self, at: &EpochId, kept: &CommitId) {
        let Some(split) = self.split_at(at, kept) else { return };
        let known = self.group.state.split.as_ref();
        if known.is_some_and(|known| split.away().is_subset(&known.away())) {
            return;
        }
        self.group.state.split = Some(split);
        if let Some(split) = self.group.split_view() {
            self.event(Event::Split { split });
        }
    }

    fn split_at(&self, at: &EpochId, kept: &CommitId) -> Option<Split> {
        let history = &self.group.history;
        let epoch = history.epoch(at)?;
        let decision = epoch.decision();
        let decided =
            decision.soft_final() && decision.ranked.first().is_some_and(|best| best.commit == *kept);
        let mut away = epoch.electors.clone();
        away.subtract(&self.heard_below(at));
        away.subtract(epoch.named.get(kept).unwrap_or(&LeafSet::default()));
        if let Some(keys) = self.group.keys.get(at) {
            away.remove(keys.epoch.own_leaf());
        }
        let others = epoch.named.iter().filter(|(commit, _)| *commit != kept);
        let sides = others.map(|(commit, leaves)| (commit.clone(), leaves.intersection(&away)));
        let sides: BTreeMap<_, _> = sides.filter(|(_, leaves)| !leaves.is_empty()).collect();
        let mut silent = away;
        sides.values().for_each(|side| silent.subtract(side));
        if decided {
            // Who is merely absent can catch up from the log; it has lost nothing but the vote.
            silent = LeafSet::default();
        }
        let split = Split { at: at.clone(), number: epoch.number, kept: kept.clone(), sides, silent };
        (!split.away().is_empty()).then_some(split)
    }

    /// Leaves that have said something on the way from `at` to the head, or are somebody else's since.
    fn heard_below(&self, at: &EpochId) -> LeafSet {
        let mut heard = LeafSet::default();
        let mut next = Some(&self.group.state.head);
        while let Some(epoch) = next.filter(|id| *id != at).and_then(|id| self.group.history.epoch(id)) {
            heard.union_with(&epoch.spoken);
            heard.union_with(&epoch.blanked);
            next = epoch.parent.as_ref().map(|(parent, _)| parent);
        }
        heard
    }

    /// Whoever is heard on this side, or is removed, is not away any more.
    pub(super) fn note_reunion(&mut self) {
        let Some(mut split) = self.group.state.split.clone() else { return };
        let anchor = self.group.history.anchor();
        let mut here = self.heard_below(anchor);
        if let Some(anchor) = self.group.history.epoch(anchor) {
            here.union_with(&anchor.spoken);
        }
        split.subtract(&here);
        self.group.state.split = (!split.away().is_empty()).then_some(split);
    }
}
