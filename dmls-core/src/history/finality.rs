//! When a decision is final, and when an epoch may be deleted (DESIGN 4.4, 4.5).

use super::{History, HistoryEpoch, LeafSet};
use crate::schedule::EpochId;
use crate::tree::LeafIndex;

impl History {
    /// Whether everything up to `epoch` is decided for good, as far as this client can tell: hard-final, or closed,
    /// at every ancestor, for the child that leads to `epoch`.
    pub fn is_final(&self, epoch: &EpochId, closed: &dyn Fn(&HistoryEpoch) -> bool) -> bool {
        self.newest_final(epoch, closed) == Some(epoch)
    }

    /// The newest of `epoch` and its ancestors that is final, in one walk; the anchor if no other is. None if there is
    /// no such epoch.
    pub fn newest_final<'a>(
        &'a self,
        epoch: &EpochId,
        closed: &dyn Fn(&HistoryEpoch) -> bool,
    ) -> Option<&'a EpochId> {
        let (mut newest, _) = self.epochs.get_key_value(epoch)?;
        for (above, commit) in self.ancestors(epoch) {
            let is_decided = self.epoch(above).is_some_and(|above| {
                let decision = above.decision();
                let best = decision.ranked.first().is_some_and(|best| best.commit == *commit);
                best && (decision.hard_final() || closed(above))
            });
            if !is_decided {
                newest = above;
            }
        }
        Some(newest)
    }

    /// Whether `at` fulfils all of *closed* but the waiting: the decision holds, every named child is known, and
    /// every elector that is still in the head has spoken below it. `own` is this client's leaf in the head: it knows
    /// of itself that it has come here. Ancestors are for the caller, who deletes from the anchor on.
    pub fn is_settled(&self, at: &EpochId, head: &EpochId, own: LeafIndex) -> bool {
        let Some(epoch) = self.epoch(at) else { return false };
        let decision = epoch.decision();
        if !decision.holds() || !decision.all_known() || at == head || !self.is_on_path(at, head) {
            return false;
        }
        let mut waiting = self.still_there(at, head);
        waiting.subtract(&self.spoken_below(at));
        waiting.iter().all(|leaf| leaf == own)
    }

    /// Electors of `at` that no commit on the way to `head` has blanked.
    fn still_there(&self, at: &EpochId, head: &EpochId) -> LeafSet {
        let mut there = self.epoch(at).map(|epoch| epoch.electors.clone()).unwrap_or_default();
        let mut next = Some(head);
        while let Some(epoch) = next.filter(|id| *id != at).and_then(|id| self.epoch(id)) {
            there.subtract(&epoch.blanked);
            next = epoch.parent.as_ref().map(|(parent, _)| parent);
        }
        there
    }

    /// Electors of `at` that have sent something in an epoch below it, as the same member.
    fn spoken_below(&self, at: &EpochId) -> LeafSet {
        let Some(epoch) = self.epoch(at) else { return LeafSet::default() };
        let mut spoken = LeafSet::default();
        let mut stack = vec![(epoch, epoch.electors.clone())];
        while let Some((epoch, same)) = stack.pop() {
            let children = epoch.children.values().filter_map(|child| child.outcome.as_ref().ok());
            for child in children.filter_map(|id| self.epoch(id)) {
                let mut same = same.clone();
                same.subtract(&child.blanked);
                spoken.union_with(&child.spoken.intersection(&same));
                stack.push((child, same));
            }
        }
        spoken
    }
}
