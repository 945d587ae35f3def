//! What this client tells a branch that lost: that it is closed, and after a merge how to come over (DESIGN 4.6).

use super::Group;
use super::merge::Plan;
use super::state::Place;
use super::transaction::Transaction;
use crate::framing::DmlsNotice;
use crate::history::{History, HistoryEpoch, LeafSet};
use crate::schedule::{CommitId, EpochId};

impl Transaction<'_> {
    /// Whoever came into a branch that lost cannot follow, and does not see where the others are. Somebody tells it on
    /// the branch's tip, in rank order: also of a branch that no member of the head has ever stood on.
    pub(super) fn schedule_farewells(&mut self) {
        let head = self.group.state.head.clone();
        let mut due = std::mem::take(&mut self.group.state.merging.farewells);
        let mut wanted = std::collections::BTreeMap::new();
        if self.group.state.place == Place::Member {
            for tip in self.group.history.losing_leaves(&head) {
                if self.farewell(&tip).is_none() {
                    continue;
                }
                let at = due.remove(&tip).unwrap_or_else(|| self.farewell_time(&head));
                wanted.insert(tip, at);
            }
        }
        self.group.state.merging.farewells = wanted;
    }

    /// What is to be said on a tip: the commit that won where the head's branch begins. Nothing, if everybody there can
    /// follow, if it has been said, or if this client cannot say it.
    fn farewell(&self, tip: &EpochId) -> Option<CommitId> {
        let Group { history, keys, state, .. } = &self.group;
        let winner = history.winner(tip, &state.head)?;
        let strays = !history.newcomers(tip, &state.head).is_empty();
        let said = state.merging.is_closed(tip, &winner);
        (strays && !said && keys.contains_key(tip)).then_some(winner)
    }

    /// By rank, over a part of the time that acknowledgements take: a merge waits for the answer.
    fn farewell_time(&mut self, head: &EpochId) -> u64 {
        let own = self.group.keys.get(head).map(|keys| keys.epoch.own_leaf());
        let record = self.group.history.epoch(head);
        let members = record.map_or(1, |record| record.electors.len()).max(1);
        let place = record.zip(own).map_or(0, |(record, own)| record.place_by_rank(own));
        let slot = self.group.options.span(members) / 4 / u64::try_from(members).unwrap_or(u64::MAX);
        let wait = slot.saturating_mul(place).saturating_add(self.random_below(slot));
        self.now().saturating_add(wait)
    }

    /// Says what is due.
    pub(super) fn say_farewells(&mut self) {
        let now = self.now();
        let due = self.group.state.merging.farewells.iter().filter(|(_, at)| **at <= now);
        for tip in due.map(|(tip, _)| tip.clone()).collect::<Vec<_>>() {
            self.group.state.merging.farewells.remove(&tip);
            if let Some(winner) = self.farewell(&tip) {
                self.group.state.merging.note_closed(&tip, &winner, true);
                // It fails only when this client has used up its keys there.
                self.attempt(|step| {
                    step.send_notice(&tip, DmlsNotice::Closed { winner: winner.0 }).map(drop)
                });
            }
        }
    }

    /// Sends a Welcome into the branches of those whom it is for, but for those epochs where it is sent anyway.
    pub(super) fn welcome_from_branches(&mut self, plan: &Plan, welcome: &[u8], but: &[EpochId]) {
        let tips: Vec<EpochId> =
            plan.tips().iter().filter_map(|tip| self.group.history.made_by(tip)).cloned().collect();
        for tip in tips.into_iter().filter(|tip| !but.contains(tip)) {
            let Some(keys) = self.group.keys.get(&tip) else { continue };
            let is_there = |client: &crate::history::Member| {
                keys.epoch.tree().leaves().any(|(_, node)| node.credential == client.credential)
            };
            if plan.newcomers().any(is_there) {
                let notice = DmlsNotice::Welcome(welcome.into());
                // The host has the Welcome too: this is one way of two.
                self.attempt(|step| step.send_notice(&tip, notice).map(drop));
            }
        }
    }
}

impl History {
    /// The last epochs of the branches that `head` is not on, as far as they can be entered.
    fn losing_leaves(&self, head: &EpochId) -> Vec<EpochId> {
        let goes_on = |epoch: &HistoryEpoch| epoch.children.values().any(|child| child.outcome.is_ok());
        let leaves = self.epochs().filter(|(id, epoch)| *id != head && !goes_on(epoch));
        leaves.filter(|(id, _)| !self.is_on_path(id, head)).map(|(id, _)| id.clone()).collect()
    }

    /// The epoch that a commit made, if this client has entered it.
    fn made_by(&self, commit: &CommitId) -> Option<&EpochId> {
        let made = |by: &Option<(EpochId, CommitId)>| by.as_ref().is_some_and(|(_, by)| by == commit);
        self.epochs().find(|(_, epoch)| made(&epoch.parent)).map(|(id, _)| id)
    }

    /// Where two epochs part: the commit that leads to `to`. None if `to` is above `from`.
    fn winner(&self, from: &EpochId, to: &EpochId) -> Option<CommitId> {
        let (to, _) = self.diverge(to, from);
        self.epoch(to.first()?)?.parent.as_ref().map(|(_, commit)| commit.clone())
    }

    /// The members of `from` who came in below where the two part: they cannot follow to `to`.
    fn newcomers(&self, from: &EpochId, to: &EpochId) -> LeafSet {
        let (_, left) = self.diverge(to, from);
        let mut newcomers = LeafSet::default();
        for epoch in left.iter().filter_map(|id| self.epoch(id)) {
            let parent = epoch.parent.as_ref().and_then(|(parent, _)| self.epoch(parent));
            let mut stay = parent.map(|parent| parent.electors.clone()).unwrap_or_default();
            stay.subtract(&epoch.blanked);
            let mut fresh = epoch.electors.clone();
            fresh.subtract(&stay);
            newcomers.subtract(&epoch.blanked);
            newcomers.union_with(&fresh);
        }
        newcomers
    }
}
