//! Application keys of members that have moved on: they go once late messages have had their time (DESIGN 4.5).

use std::sync::Arc;

use super::transaction::Transaction;
use crate::history::{HistoryEpoch, LeafSet};
use crate::schedule::EpochId;
use crate::tree::LeafIndex;

impl Transaction<'_> {
    /// Notes who has spoken in this step, in all epochs above.
    pub(super) fn note_moved_on(&mut self) {
        let Some(before) = self.before else { return };
        let mut fresh: Vec<(EpochId, LeafSet)> = Vec::new();
        for (id, epoch) in self.group.history.changed_since(&before.history) {
            let mut spoken = epoch.spoken.clone();
            if let Some(old) = before.history.epoch(id) {
                spoken.subtract(&old.spoken);
            }
            // The own keys are for sending: those of what has been sent are gone already.
            if let Some(keys) = self.group.keys.get(id) {
                spoken.remove(keys.epoch.own_leaf());
            }
            if !spoken.is_empty() {
                fresh.push((id.clone(), spoken));
            }
        }
        for (id, leaves) in fresh {
            leaves.iter().for_each(|leaf| self.move_on(&id, leaf));
        }
    }

    /// Whoever is known to have moved on from an epoch is known to have moved on from all above it: the walk ends there,
    /// and where the leaf was somebody else's.
    fn move_on(&mut self, from: &EpochId, leaf: LeafIndex) {
        let now = self.group.state.reconciled_ms;
        let wait = self.group.options.late_messages_ms;
        let history = &mut self.group.history;
        let mut at = from.clone();
        while let Some(here) = history.epoch(&at).filter(|here| !here.blanked.contains(leaf)) {
            let Some((parent, _)) = here.parent.clone() else { break };
            let is_news = |at: &HistoryEpoch| at.electors.contains(leaf) && !at.moved_on.contains(leaf);
            if !history.epoch(&parent).is_some_and(is_news) {
                break;
            }
            let Some(record) = history.epoch_mut(&parent) else { break };
            record.moved_on.insert(leaf, now, wait);
            at = parent;
        }
    }

    /// Deletes the application keys whose time has come. Handshake keys stay: they are evidence (DESIGN 4.4).
    pub(super) fn delete_moved_on(&mut self) {
        let now = self.group.state.reconciled_ms;
        let is_due = |epoch: &HistoryEpoch| epoch.moved_on.next_due().is_some_and(|due| due <= now);
        let due = self.group.history.epochs().filter(|(_, epoch)| is_due(epoch));
        for id in due.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let Some(record) = self.group.history.epoch_mut(&id) else { continue };
            let leaves = record.moved_on.take_due(now);
            let Some(keys) = self.group.keys.get_mut(&id) else { continue };
            let mut tree = keys.epoch.secret_tree().clone();
            // It can fail for leaves that are not in the tree, which have no keys.
            leaves.iter().for_each(|leaf| drop(tree.delete_application(leaf)));
            keys.epoch = Arc::new(keys.epoch.with_secret_tree(tree));
        }
    }
}
