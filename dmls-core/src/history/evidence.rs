//! Recording what handshake messages prove (DESIGN 4.4). Order does not matter.

use std::sync::Arc;

use super::{Child, History, HistoryEpoch, HistoryError, Shape};
use crate::schedule::{CommitId, EpochId};
use crate::tree::LeafIndex;

impl HistoryEpoch {
    /// The children that `leaf` is recorded to have named, by commit id.
    fn named_by(&self, leaf: LeafIndex) -> impl Iterator<Item = &CommitId> {
        self.named.iter().filter(move |(_, leaves)| leaves.contains(leaf)).map(|(commit, _)| commit)
    }

    /// Whether recording that `leaf` names `commit` would change what is stored.
    fn would_change(&self, commit: &CommitId, leaf: LeafIndex) -> bool {
        self.electors.contains(leaf) && {
            let names: Vec<_> = self.named_by(leaf).collect();
            !names.contains(&commit) && names.get(1).is_none_or(|largest| commit < *largest)
        }
    }

    /// Records that `leaf` names `commit`; whether that is news. Whoever has named two is void, whichever two, and a
    /// third changes no decision. Of more than two the smallest two are kept: what is stored is bounded by two names
    /// an elector, and does not depend on the order in which they came.
    fn name(&mut self, commit: &CommitId, leaf: LeafIndex) -> bool {
        let largest = self.named_by(leaf).nth(1).cloned();
        if let Some(largest) = &largest
            && let Some(leaves) = self.named.get_mut(largest)
        {
            leaves.remove(leaf);
            if leaves.is_empty() {
                self.named.remove(largest);
            }
        }
        self.named.entry(commit.clone()).or_default().insert(leaf);
        largest.is_none()
    }
}

impl History {
    fn name(&mut self, at: &EpochId, commit: &CommitId, leaf: LeafIndex) -> bool {
        let epoch = self.epochs.get_mut(at);
        // Only a record that changes is copied and stored again.
        let changing = epoch.filter(|epoch| epoch.would_change(commit, leaf));
        changing.is_some_and(|epoch| Arc::make_mut(epoch).name(commit, leaf))
    }

    /// Records a handshake message that `leaf`, a member of `epoch`, sent in it: it names the children that lead there, up to `since`
    /// and up to where the leaf was somebody else. Whether that is news.
    ///
    /// A `since` that is not `epoch` or one of its ancestors in this history counts as none: what is above the anchor is
    /// not told from what is on no path, and what is elsewhere may not be known yet, so only this reading gives the same
    /// names in every order.
    ///
    /// # Errors
    /// [`HistoryError::UnknownEpoch`] if the epoch is not part of the history.
    pub fn record_handshake(
        &mut self,
        epoch: &EpochId,
        leaf: LeafIndex,
        since: Option<&EpochId>,
    ) -> Result<bool, HistoryError> {
        let mut news = self.record_spoken(epoch, leaf)?;
        if !self.epoch(epoch).is_some_and(|epoch| epoch.electors.contains(leaf)) {
            return Ok(false);
        }
        let mut at = epoch.clone();
        while let Some(here) = self.epochs.get(&at) {
            let Some((parent, commit)) = here.parent.clone() else { break };
            if here.blanked.contains(leaf) || since == Some(&at) {
                break;
            }
            at = parent;
            if since == Some(&at) {
                break;
            }
            news |= self.name(&at, &commit, leaf);
        }
        Ok(news)
    }

    /// Records that `leaf`, a member of `epoch`, has sent something in it. Whether that is news.
    ///
    /// # Errors
    /// [`HistoryError::UnknownEpoch`] if the epoch is not part of the history.
    pub fn record_spoken(&mut self, epoch: &EpochId, leaf: LeafIndex) -> Result<bool, HistoryError> {
        let record = self.epochs.get_mut(epoch).ok_or(HistoryError::UnknownEpoch)?;
        let news = record.electors.contains(leaf) && !record.spoken.contains(leaf);
        Ok(news && Arc::make_mut(record).spoken.insert(leaf))
    }

    /// Records a vote that `leaf` sent in `at` for `commit`, known or not. Whether that is news.
    ///
    /// # Errors
    /// [`HistoryError::UnknownEpoch`] if the epoch is not part of the history.
    pub fn record_vote(
        &mut self,
        at: &EpochId,
        leaf: LeafIndex,
        commit: &CommitId,
        since: Option<&EpochId>,
    ) -> Result<bool, HistoryError> {
        let walked = self.record_handshake(at, leaf, since)?;
        Ok(self.name(at, commit, leaf) || walked)
    }

    /// Records a valid commit and, where this client can enter it, the epoch that it makes.
    ///
    /// # Errors
    /// [`HistoryError::UnknownEpoch`] if the parent is not part of the history; [`HistoryError::EpochExists`] if the
    /// commit or its epoch is there already; [`HistoryError::NotATree`] if `epoch` is not what the commit makes.
    pub fn record_commit(
        &mut self,
        at: &EpochId,
        commit: CommitId,
        child: Child,
        epoch: Option<HistoryEpoch>,
        since: Option<&EpochId>,
    ) -> Result<(), HistoryError> {
        let parent = self.epochs.get(at).ok_or(HistoryError::UnknownEpoch)?;
        let exists = child.outcome.as_ref().is_ok_and(|id| self.epochs.contains_key(id));
        if exists || parent.children.contains_key(&commit) {
            return Err(HistoryError::EpochExists);
        }
        let fits = epoch.as_ref().is_none_or(|epoch| epoch.is_child_of(at, parent, &commit));
        if child.outcome.is_ok() != epoch.is_some() || !fits {
            return Err(HistoryError::NotATree);
        }
        self.record_vote(at, child.committer, &commit, since)?;
        self.shape = Shape::default();
        if let (Ok(id), Some(epoch)) = (&child.outcome, epoch) {
            self.epochs.insert(id.clone(), Arc::new(epoch));
        }
        if let Some(parent) = self.epoch_mut(at) {
            parent.written_off.remove(&commit);
            parent.unseen.remove(&commit);
            parent.children.insert(commit, child);
        }
        Ok(())
    }
}
