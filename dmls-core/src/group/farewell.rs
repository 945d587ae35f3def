//! What this client tells a branch that it leaves: that it is closed, and after a merge how to come over (DESIGN 4.6).

use super::merge::Plan;
use super::transaction::Transaction;
use crate::framing::DmlsNotice;
use crate::history::{History, LeafSet};
use crate::schedule::{CommitId, EpochId};

impl Transaction<'_> {
    /// Whoever leaves a branch with members who cannot follow says so on its tip, unless somebody has.
    pub(super) fn announce_closed(&mut self, from: &EpochId, to: &EpochId) {
        let history = &self.group.history;
        let (Some(winner), false) = (history.winner(from, to), history.newcomers(from, to).is_empty()) else {
            return;
        };
        if self.group.state.merging.closed.insert(from.clone()) {
            // It fails only when this client has used up its keys there.
            self.attempt(|step| step.send_notice(from, DmlsNotice::Closed { winner: winner.0 }).map(drop));
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
