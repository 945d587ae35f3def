//! The hard bounds (DESIGN 4.5): how much is kept of what is not closed, by count, age and bytes.

use std::sync::Arc;

use super::transaction::Transaction;
use super::{Group, Keys};
use crate::framing::DmlsProfile;
use crate::history::HistoryEpoch;
use crate::schedule::{CommitId, EpochId};

impl Group {
    /// Bytes of the secrets of an epoch.
    pub(super) fn size_of(&self, id: &EpochId, keys: &Keys) -> u64 {
        let measure = || u64::try_from(keys.init.storage_len() + keys.epoch.secret_bytes());
        self.sizes.get(id).copied().unwrap_or_else(|| measure().unwrap_or(u64::MAX))
    }

    /// Bytes of the secrets of all retained epochs.
    pub(super) fn retained_bytes(&self) -> u64 {
        self.keys.iter().map(|(id, keys)| self.size_of(id, keys)).sum()
    }

    /// For how much reconciled time, in milliseconds, an epoch has had a child: for so long it is kept for what may
    /// still come. None: it has none that is stored.
    pub(super) fn superseded_ms(&self, epoch: &HistoryEpoch) -> Option<u64> {
        let stored = epoch.children.values().filter_map(|child| child.outcome.as_ref().ok());
        let born = stored.filter_map(|id| self.history.epoch(id)).map(|child| child.born).min()?;
        Some(self.state.reconciled_ms.saturating_sub(born))
    }
}

/// Whether an epoch is decided for the child that `commit` makes.
fn is_decided(epoch: &HistoryEpoch, commit: &CommitId) -> bool {
    let decision = epoch.decision();
    decision.soft_final() && decision.ranked.first().is_some_and(|best| best.commit == *commit)
}

impl Transaction<'_> {
    /// Measures the epochs whose keys have changed in this step.
    pub(super) fn measure(&mut self) {
        let Group { keys, sizes, .. } = &mut self.group;
        let before = self.before.map(|before| &before.keys);
        let same = |id: &EpochId, keys: &Keys| {
            before
                .and_then(|before| before.get(id))
                .is_some_and(|old| Arc::ptr_eq(&old.epoch, &keys.epoch) && Arc::ptr_eq(&old.init, &keys.init))
        };
        sizes.retain(|id, _| keys.get(id).is_some_and(|keys| same(id, keys)));
        let missing = self.group.keys.iter().filter(|(id, _)| !self.group.sizes.contains_key(*id));
        let measured: Vec<_> = missing.map(|(id, keys)| (id.clone(), self.group.size_of(id, keys))).collect();
        self.group.sizes.extend(measured);
    }

    /// Deletes until no bound is exceeded, or nothing more may go.
    pub(super) fn keep_within_bounds(&mut self) {
        let head = self.group.keys.get(&self.group.state.head);
        let Some(profile) = head.and_then(|keys| keys.epoch.profile()) else { return };
        let profile = self.group.options.narrowed(profile);
        // A count alone deletes only what is decided, so that the smaller side of a long cut can still come over.
        while self.behind() > u64::from(profile.max_behind) && self.delete_oldest(true) {}
        while self.group.keys.len() > profile.max_retained as usize
            && (self.delete_branch(true) || self.delete_oldest(true))
        {}
        while self.is_too_old(&profile) && self.delete_oldest(false) {}
        let mut bytes = self.group.retained_bytes();
        while bytes > profile.max_bytes
            && (self.delete_branch(true)
                || self.delete_oldest(true)
                || self.delete_branch(false)
                || self.delete_oldest(false))
        {
            bytes = self.group.retained_bytes();
        }
    }

    /// Epochs from the anchor to the head.
    fn behind(&self) -> u64 {
        let number = |id: &EpochId| self.group.history.epoch(id).map_or(0, |epoch| epoch.number);
        number(&self.group.state.head).saturating_sub(number(self.group.history.anchor()))
    }

    /// Whether the oldest epoch has had a child for longer than an epoch is kept.
    fn is_too_old(&self, profile: &DmlsProfile) -> bool {
        let anchor = self.group.history.epoch(self.group.history.anchor());
        let age = anchor.and_then(|epoch| self.group.superseded_ms(epoch)).unwrap_or(0);
        age > profile.max_age_seconds.saturating_mul(1000)
    }

    /// Deletes the worst losing branch of the oldest fork point that has one; `decided_only`: not below or at a fork
    /// point that is not decided.
    fn delete_branch(&mut self, decided_only: bool) -> bool {
        for (at, towards) in self.way_down() {
            let Some(epoch) = self.group.history.epoch(&at) else { continue };
            if decided_only && !is_decided(epoch, &towards) {
                return false;
            }
            let losers = epoch.decision().ranked.into_iter().rev().filter(|child| child.commit != towards);
            let stored = |commit: &CommitId| {
                let id = epoch.children.get(commit)?.outcome.as_ref().ok()?;
                self.group.history.epoch(id).map(|_| id.clone())
            };
            let loser = losers.filter_map(|child| stored(&child.commit)).next();
            if let Some(loser) = loser {
                if !decided_only {
                    self.report_split(&at, &towards);
                }
                let gone = self.group.history.subtree(&loser);
                self.report_deleted(&gone);
                let removed = self.group.history.remove_branch(&loser).is_ok();
                self.forget(gone);
                return removed;
            }
        }
        false
    }

    /// Deletes the oldest epoch, with its losing branches; `decided_only`: if it is decided.
    fn delete_oldest(&mut self, decided_only: bool) -> bool {
        let Some((at, towards)) = self.way_down().into_iter().next() else { return false };
        let decided = self.group.history.epoch(&at).is_some_and(|epoch| is_decided(epoch, &towards));
        if decided_only && !decided {
            return false;
        }
        if !decided_only {
            self.report_split(&at, &towards);
        }
        self.move_anchor()
    }
}
