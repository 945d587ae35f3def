//! What is kept, and for how long (DESIGN 4.5): epochs by being closed, then by the hard bounds of `bounds.rs`; keys
//! within an epoch by `ratchets.rs`; ciphertexts by `log.rs`.

use super::step::Event;
use super::transaction::Transaction;
use crate::schedule::{CommitId, EpochId};

impl Transaction<'_> {
    /// Deletes what may be deleted, and what must be.
    pub(super) fn retain(&mut self) {
        self.note_policies();
        self.note_moved_on();
        self.delete_moved_on();
        self.measure();
        while self.delete_closed_anchor() {}
        self.keep_within_bounds();
        self.note_reunion();
        self.note_caught_up();
        self.prune_log();
    }

    /// The oldest epoch goes when it is closed and the head is below it. Its losing branches go with it.
    fn delete_closed_anchor(&mut self) -> bool {
        let anchor = self.group.history.anchor().clone();
        let closed = self.group.history.epoch(&anchor).is_some_and(|epoch| self.group.is_closed(epoch));
        // What it holds has to come into the head first, or be put off.
        closed && !self.group.is_open(&anchor) && self.move_anchor()
    }

    /// The way from the anchor to the head: each epoch above the head with the commit that leads on. Outside, the winning
    /// commit on the head, which cannot be entered, is the last.
    pub(super) fn way_down(&self) -> Vec<(EpochId, CommitId)> {
        let head = &self.group.state.head;
        let mut way: Vec<_> =
            self.group.history.ancestors(head).map(|(id, commit)| (id.clone(), commit.clone())).collect();
        way.reverse();
        if let super::Place::Outside { at, commit, .. } = &self.group.state.place
            && at == head
        {
            way.push((at.clone(), commit.clone()));
        }
        way
    }

    /// Moves the anchor one epoch towards the head.
    pub(super) fn move_anchor(&mut self) -> bool {
        let head = self.group.state.head.clone();
        let way = self.way_down();
        let next = way.get(1).map(|(id, _)| id.clone()).or((way.len() == 1).then_some(head));
        let Some(next) = next.filter(|next| next != self.group.history.anchor()) else { return false };
        let gone: Vec<EpochId> = self.group.history.epochs().map(|(id, _)| id.clone()).collect();
        let kept = self.group.history.subtree(&next);
        let lost: Vec<EpochId> = gone.iter().filter(|id| !kept.contains(id)).cloned().collect();
        self.report_deleted(&lost);
        self.pass_anchor(&next);
        if self.group.history.move_anchor(&next).is_err() {
            return false;
        }
        self.forget(gone);
        true
    }

    /// Deletes the keys of the epochs among `ids` that are no longer part of the history.
    pub(super) fn forget(&mut self, ids: Vec<EpochId>) {
        for id in ids {
            if self.group.history.epoch(&id).is_none()
                && let Some(keys) = self.group.keys.remove(&id)
            {
                self.group.state.votes_due.remove(&id);
                self.group.sizes.remove(&id);
                self.remember_gone(&id, keys.epoch.context().epoch);
                self.event(Event::Deleted { epoch: id });
            }
        }
    }
}
