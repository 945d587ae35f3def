//! Recording what handshake messages prove (DESIGN 4.4). Order does not matter.

use std::sync::Arc;

use super::{Child, History, HistoryEpoch, HistoryError};
use crate::schedule::{CommitId, EpochId};
use crate::tree::LeafIndex;

impl HistoryEpoch {
    /// Records that `leaf` names `commit`; whether that is news. Whoever has named two is void, and a third changes
    /// nothing: what is stored stays bounded by two names an elector.
    fn name(&mut self, commit: &CommitId, leaf: LeafIndex) -> bool {
        if !self.electors.contains(leaf) {
            return false;
        }
        let names = self.named.iter().filter(|(_, leaves)| leaves.contains(leaf));
        let (count, same) = names.fold((0, false), |(n, same), (id, _)| (n + 1, same || id == commit));
        count < 2 && !same && self.named.entry(commit.clone()).or_default().insert(leaf)
    }
}

impl History {
    fn name(&mut self, at: &EpochId, commit: &CommitId, leaf: LeafIndex) -> bool {
        // Only a record that changes is copied and stored again.
        let Some(epoch) = self.epochs.get_mut(at) else { return false };
        let mut changed = HistoryEpoch::clone(epoch);
        let news = changed.name(commit, leaf);
        if news {
            *epoch = Arc::new(changed);
        }
        news
    }

    /// Records a handshake message that `leaf` sent in `epoch`: it names the children that lead there, up to `since`
    /// and up to where the leaf was somebody else. Whether that is news.
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
        let mut at = epoch.clone();
        loop {
            let Some(here) = self.epochs.get(&at) else { break };
            let Some((parent, commit)) = here.parent.clone() else { break };
            if here.blanked.contains(leaf) || since == Some(&parent) {
                break;
            }
            news |= self.name(&parent, &commit, leaf);
            at = parent;
        }
        Ok(news)
    }

    /// Records that `leaf` has sent something in `epoch`. Whether that is news.
    ///
    /// # Errors
    /// [`HistoryError::UnknownEpoch`] if the epoch is not part of the history.
    pub fn record_spoken(&mut self, epoch: &EpochId, leaf: LeafIndex) -> Result<bool, HistoryError> {
        let record = self.epochs.get_mut(epoch).ok_or(HistoryError::UnknownEpoch)?;
        Ok(!record.spoken.contains(leaf) && Arc::make_mut(record).spoken.insert(leaf))
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
    /// commit or its epoch is there already.
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
        if exists || parent.children.contains_key(&commit) || child.outcome.is_ok() != epoch.is_some() {
            return Err(HistoryError::EpochExists);
        }
        self.record_vote(at, child.committer, &commit, since)?;
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
