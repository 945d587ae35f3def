//! What is kept, and for how long: whole epochs, by being closed and by the hard bounds (DESIGN 4.5).

use super::options::limits;
use super::step::Event;
use super::store::Key;
use super::transaction::Transaction;
use crate::framing::DmlsProfile;
use crate::schedule::EpochId;

impl Transaction<'_> {
    /// Deletes what may be deleted, and what must be.
    pub(super) fn retain(&mut self) {
        while self.delete_closed_anchor() {}
        let head = self.group.state.head.clone();
        let Some(profile) = self.group.keys.get(&head).and_then(|keys| keys.epoch.profile()).cloned() else {
            return;
        };
        while self.over_count(&profile) && self.delete_oldest(true) {}
        while self.over_bytes_or_age(&profile) && self.delete_oldest(false) {}
        self.prune_log();
    }

    /// The oldest epoch goes when it is closed and the head is below it. Its losing branches go with it.
    fn delete_closed_anchor(&mut self) -> bool {
        let anchor = self.group.history.anchor().clone();
        let closed = self.group.history.epoch(&anchor).is_some_and(|epoch| self.group.is_closed(epoch));
        closed && self.move_anchor()
    }

    /// Moves the anchor one epoch towards the head.
    fn move_anchor(&mut self) -> bool {
        let head = self.group.state.head.clone();
        let mut path = self.group.history.ancestors(&head).map(|(id, _)| id.clone()).collect::<Vec<_>>();
        path.insert(0, head);
        // The path runs from the head up to the anchor.
        let Some(next) = path.len().checked_sub(2).and_then(|place| path.get(place)).cloned() else {
            return false;
        };
        let gone: Vec<EpochId> = self.group.history.epochs().map(|(id, _)| id.clone()).collect();
        if self.group.history.move_anchor(&next).is_err() {
            return false;
        }
        self.forget(gone);
        true
    }

    /// Deletes the keys of the epochs among `ids` that are no longer part of the history.
    fn forget(&mut self, ids: Vec<EpochId>) {
        for id in ids {
            if self.group.history.epoch(&id).is_none()
                && let Some(keys) = self.group.keys.remove(&id)
            {
                self.group.state.votes_due.remove(&id);
                self.remember_gone(&id, keys.epoch.context().epoch);
                self.event(Event::Deleted { epoch: id });
            }
        }
    }

    /// More epochs behind the head, or in all, than the group keeps.
    fn over_count(&self, profile: &DmlsProfile) -> bool {
        let number = |id: &EpochId| self.group.history.epoch(id).map_or(0, |epoch| epoch.number);
        let behind = number(&self.group.state.head).saturating_sub(number(self.group.history.anchor()));
        behind > u64::from(profile.max_behind) || self.group.keys.len() > profile.max_retained as usize
    }

    /// More bytes, or older ones, than the group keeps.
    fn over_bytes_or_age(&self, profile: &DmlsProfile) -> bool {
        let anchor = self.group.history.epoch(self.group.history.anchor());
        let age = anchor.map_or(0, |epoch| self.group.state.reconciled_ms.saturating_sub(epoch.born));
        self.group.keys.len() > 1
            && (age > profile.max_age_seconds.saturating_mul(1000)
                || self.group.retained_bytes() > profile.max_bytes)
    }

    /// Deletes a losing branch of the oldest epoch, else the oldest epoch. `decided_only`: a count alone deletes only
    /// what is below a soft-final fork point, so that the smaller side of a long cut can still come over.
    fn delete_oldest(&mut self, decided_only: bool) -> bool {
        let head = self.group.state.head.clone();
        let mut path: Vec<_> =
            self.group.history.ancestors(&head).map(|(id, commit)| (id.clone(), commit.clone())).collect();
        path.reverse();
        for (at, towards) in &path {
            let Some(epoch) = self.group.history.epoch(at) else { continue };
            let decision = epoch.decision();
            let decided =
                decision.soft_final() && decision.ranked.first().is_some_and(|best| best.commit == *towards);
            if decided_only && !decided {
                break;
            }
            let losers = epoch.children.iter().filter(|(commit, _)| *commit != towards);
            let loser = losers.filter_map(|(_, child)| child.outcome.as_ref().ok());
            if let Some(loser) = loser.filter(|id| self.group.history.epoch(id).is_some()).min().cloned() {
                let gone = self.group.history.subtree(&loser);
                let removed = self.group.history.remove_branch(&loser).is_ok();
                self.forget(gone);
                return removed;
            }
        }
        let decided =
            path.first().and_then(|(at, towards)| Some((self.group.history.epoch(at)?.decision(), towards)));
        let decided = decided.is_some_and(|(decision, towards)| {
            decision.soft_final() && decision.ranked.first().is_some_and(|best| best.commit == *towards)
        });
        (decided || !decided_only) && self.move_anchor()
    }

    /// The ciphertexts outlive the keys, so that a straggler can be served, but not for ever.
    fn prune_log(&mut self) {
        let anchor = self.group.history.epoch(self.group.history.anchor()).map_or(0, |epoch| epoch.number);
        let floor = anchor.saturating_sub(limits::LOG_DEPTH);
        if floor <= self.group.state.floor {
            return;
        }
        self.group.state.floor = floor;
        let old: Vec<_> =
            self.group.log.iter().filter(|(_, order)| **order < floor).map(|(i, o)| (*i, *o)).collect();
        for (id, order) in old {
            self.group.log.remove_mut(&id);
            self.changes.delete(Key::log(&self.group.id, order, &id));
        }
    }
}
