//! What follows from new evidence or from time passing: the head, what is final, and what this client says next.

use super::state::Place;
use super::step::Event;
use super::transaction::Transaction;
use crate::framing::Proposal;
use crate::history::{Blocked, HistoryEpoch, LeafSet, Summary};
use crate::schedule::{CommitId, EpochId};
use crate::tree::LeafIndex;

/// The electors that have named two children.
pub(super) fn named_two(epoch: &HistoryEpoch) -> LeafSet {
    let (mut once, mut twice) = (LeafSet::default(), LeafSet::default());
    for leaves in epoch.named.values() {
        twice.union_with(&once.intersection(leaves));
        once.union_with(leaves);
    }
    twice
}

impl Transaction<'_> {
    /// Brings everything in line with the evidence. Called once at the end of every step.
    pub(super) fn settle(&mut self) {
        // What is due may be evidence itself: a vote moves the head, which makes an acknowledgement due later.
        self.follow_evidence();
        self.run_timers();
        self.follow_evidence();
        self.report_membership();
        self.retain();
        self.report_ceased();
    }

    pub(super) fn follow_evidence(&mut self) {
        if !std::mem::take(&mut self.evidence) {
            return;
        }
        self.move_head();
        self.note_settled();
        self.report_final();
        self.report_lost();
        self.report_equivocation();
        self.schedule_votes();
        self.schedule_ack();
        self.schedule_merge();
        self.schedule_farewells();
        self.schedule_update();
        self.schedule_turn();
    }

    fn move_head(&mut self) {
        let head = self.group.history.head();
        let from = self.group.state.head.clone();
        if head.epoch != from {
            let to = head.epoch.clone();
            let (_, left) = self.group.history.diverge(&to, &from);
            let number = self.group.history.epoch(&to).map_or(0, |epoch| epoch.number);
            self.group.state.head = to.clone();
            self.group.state.ack_due = None;
            self.group.state.turn = None;
            self.group.state.update_due = None;
            self.event(Event::Head { from, to, number, left });
        }
        let place = match head.outside {
            None => Place::Member,
            Some((commit, why)) => Place::Outside { at: head.epoch, commit, why },
        };
        if place != self.group.state.place {
            self.group.state.place = place.clone();
            if let Place::Outside { at, commit, why } = place {
                self.report_outside(at, &commit, why);
            }
        }
    }

    fn report_outside(&mut self, at: EpochId, commit: &CommitId, why: Blocked) {
        let by = self.group.history.epoch(&at).and_then(|epoch| epoch.children.get(commit));
        match (why, by.map(|child| child.summary.committer.clone())) {
            (Blocked::Removed, Some(by)) => self.event(Event::Removed { at, by }),
            (Blocked::Removed, None) => {}
            (Blocked::Unusable(reason), _) => self.event(Event::Outside { at, reason }),
        }
    }

    /// Notes since when each ancestor of the head has been settled.
    fn note_settled(&mut self) {
        let head = self.group.state.head.clone();
        let Some(own) = self.group.keys.get(&head).map(|keys| keys.epoch.own_leaf()) else { return };
        let above: Vec<EpochId> = self.group.history.ancestors(&head).map(|(id, _)| id.clone()).collect();
        let now = self.group.state.reconciled_ms;
        // On a branch that the head has left nothing is settled: should it come back, the waiting starts again.
        let stale =
            |(id, epoch): &(&EpochId, &HistoryEpoch)| epoch.settled_since.is_some() && !above.contains(id);
        let stale: Vec<EpochId> =
            self.group.history.epochs().filter(stale).map(|(id, _)| id.clone()).collect();
        for id in stale {
            if let Some(epoch) = self.group.history.epoch_mut(&id) {
                epoch.settled_since = None;
            }
        }
        for id in above {
            let since = self.group.history.epoch(&id).and_then(|epoch| epoch.settled_since);
            let settled = self.group.history.is_settled(&id, &head, own);
            if settled != since.is_some()
                && let Some(epoch) = self.group.history.epoch_mut(&id)
            {
                epoch.settled_since = settled.then_some(now);
            }
        }
    }

    /// Reports the newest epoch that is final with all its ancestors.
    pub(super) fn report_final(&mut self) {
        let history = &self.group.history;
        let newest = history.newest_final(&self.group.state.head, &|epoch| self.group.is_closed(epoch));
        // The anchor is what comes back when nothing below it is final.
        let Some(newest) = newest.filter(|newest| *newest != history.anchor()).cloned() else { return };
        let is_news =
            self.group.state.final_epoch.as_ref().is_none_or(|old| !history.is_on_path(&newest, old));
        if is_news {
            self.group.state.final_epoch = Some(newest.clone());
            self.event(Event::Final { epoch: newest });
        }
    }

    /// Reports what is not in effect: the branches that lost at a decided fork point, each epoch once.
    fn report_lost(&mut self) {
        let head = self.group.state.head.clone();
        let above: Vec<_> =
            self.group.history.ancestors(&head).map(|(a, c)| (a.clone(), c.clone())).collect();
        for (at, winner) in above {
            let Some(epoch) = self.group.history.epoch(&at) else { continue };
            let decision = epoch.decision();
            if epoch.children.len() < 2
                || !decision.soft_final()
                || decision.ranked.first().is_none_or(|c| c.commit != winner)
            {
                continue;
            }
            let losers = epoch.children.iter().filter(|(commit, _)| **commit != winner);
            let losers: Vec<EpochId> = losers.filter_map(|(_, child)| child.outcome.clone().ok()).collect();
            for branch in losers.iter().flat_map(|id| self.group.history.subtree(id)).collect::<Vec<_>>() {
                self.report_lost_epoch(&branch);
            }
        }
    }

    /// Reports members that this step has shown to have named two children of one epoch.
    fn report_equivocation(&mut self) {
        let Some(before) = self.before else { return };
        let mut found: Vec<(EpochId, LeafIndex)> = Vec::new();
        for (id, epoch) in self.group.history.changed_since(&before.history) {
            let mut fresh = named_two(epoch);
            if let Some(old) = before.history.epoch(id) {
                fresh.subtract(&named_two(old));
            }
            found.extend(fresh.iter().map(|leaf| (id.clone(), leaf)));
        }
        for (at, leaf) in found {
            let told = self.told.insert((at.clone(), leaf));
            if let Some(member) = self.member_of(&at, leaf).filter(|_| told) {
                self.event(Event::Equivocation { at, member });
            }
        }
    }

    pub(super) fn report_lost_epoch(&mut self, id: &EpochId) {
        let reported = self.group.history.epoch(id).is_none_or(|epoch| epoch.own.reported_lost);
        let parent = self.group.history.epoch(id).and_then(|epoch| epoch.parent.clone());
        let Some((parent, commit)) = parent.filter(|_| !reported) else { return };
        let child = self.group.history.epoch(&parent).and_then(|parent| parent.children.get(&commit));
        let Some(Summary { committer, deeds, .. }) = child.map(|child| child.summary.clone()) else { return };
        if let Some(epoch) = self.group.history.epoch_mut(id) {
            epoch.own.reported_lost = true;
        }
        let lost = self.group.not_carried(deeds.into_iter().map(|deed| deed.operation));
        let operations = lost.into_iter().map(|operation| (committer.clone(), operation)).collect();
        self.event(Event::BranchLost { tip: id.clone(), operations });
    }

    /// A node that knows two children of an epoch and has chosen none votes, in rank order. So does one whose branch
    /// removed somebody, or left somebody behind: what is said below is not readable for them, a vote in the epoch is.
    fn schedule_votes(&mut self) {
        let ids: Vec<EpochId> = self.group.history.epochs().map(|(id, _)| id.clone()).collect();
        for id in ids {
            let scheduled = self.group.state.votes_due.contains_key(&id);
            let Some(target) = self.vote_for(&id) else {
                self.group.state.votes_due.remove(&id);
                continue;
            };
            if scheduled {
                continue;
            }
            let Some(due) = self.vote_time(&id, &target) else { continue };
            self.group.state.votes_due.insert(id, due);
        }
    }

    /// What this client would vote for at an epoch, if it has to vote there.
    pub(super) fn vote_for(&self, id: &EpochId) -> Option<CommitId> {
        let epoch = self.group.history.epoch(id)?;
        if epoch.own.named.is_some() || !self.group.keys.contains_key(id) {
            return None;
        }
        let decision = epoch.decision();
        let best = decision.ranked.iter().find(|child| child.known)?;
        let head = &self.group.state.head;
        let towards_head =
            self.group.history.ancestors(head).find(|(above, _)| *above == id).map(|(_, c)| c.clone());
        let enterable = decision
            .ranked
            .iter()
            .find(|child| epoch.children.get(&child.commit).is_some_and(|child| child.outcome.is_ok()));
        let default = towards_head.clone().or_else(|| enterable.map(|child| child.commit.clone()));
        if epoch.children.len() > 1 {
            // Whoever is removed on every branch still has a vote.
            return epoch.own.first_sent.clone().or(default).or_else(|| Some(best.commit.clone()));
        }
        let child = epoch.children.get(&best.commit)?;
        match &child.outcome {
            // It concedes its own removal if it asked for it, or once nobody else stands against it: else a group of
            // two never ends.
            Err(Blocked::Removed) => {
                (self.group.state.leaving || decision.silent == 1).then(|| best.commit.clone())
            }
            // It concedes what it cannot enter when it is the last one silent, and asks to rejoin.
            Err(Blocked::Unusable(_)) => (decision.silent == 1).then(|| best.commit.clone()),
            Ok(entered) => {
                let removes = self.group.history.epoch(entered).is_some_and(|e| !e.blanked.is_empty());
                let unread = removes || epoch.own.left_behind;
                towards_head.filter(|towards| unread && *towards == best.commit)
            }
        }
    }

    /// When to vote: by rank over the span; ten times as late once the fork is decided.
    fn vote_time(&mut self, id: &EpochId, target: &CommitId) -> Option<u64> {
        let keys = self.group.keys.get(id)?;
        let epoch = self.group.history.epoch(id)?;
        let span = self.group.options.span(epoch.electors.len());
        let place = epoch.place_by_rank(keys.epoch.own_leaf());
        let slots = u64::try_from(epoch.electors.len()).unwrap_or(u64::MAX).max(1);
        let slot = span / slots;
        let conceded = epoch.children.get(target).is_some_and(|child| child.outcome.is_err());
        let urgent = conceded || epoch.children.len() == 1 || !epoch.decision().soft_final();
        let wait = slot.saturating_mul(place).saturating_add(self.random_below(slot));
        Some(self.now().saturating_add(if urgent {
            wait
        } else {
            span.saturating_mul(10).saturating_add(wait)
        }))
    }

    /// Who has said nothing in the head acknowledges it.
    fn schedule_ack(&mut self) {
        let head = &self.group.state.head;
        let Some(keys) = self.group.keys.get(head) else { return };
        let members = keys.epoch.tree().member_count() as usize;
        let said = self.group.history.epoch(head).is_none_or(|epoch| epoch.own.acknowledged);
        if said || members < 2 || self.group.state.place != Place::Member {
            self.group.state.ack_due = None;
        } else if self.group.state.ack_due.is_none() {
            let span = self.group.options.span(members);
            let wait = self.random_below(span);
            self.group.state.ack_due = Some(self.now().saturating_add(wait));
        }
    }

    /// Asks again to be removed where the head has moved away from the first request.
    pub(super) fn ask_again_to_leave(&mut self) {
        let head = self.group.state.head.clone();
        let Some(keys) = self.group.keys.get(&head) else { return };
        let own = keys.epoch.own_leaf();
        let asked = keys
            .epoch
            .proposals()
            .values()
            .any(|sent| matches!(&sent.proposal, Proposal::Remove(r) if r.removed == own));
        if self.group.state.leaving && !asked && self.group.state.place == Place::Member {
            // It is asked for again at the next step if it cannot be now.
            self.attempt(|step| step.propose_own_removal(&head));
        }
    }
}
