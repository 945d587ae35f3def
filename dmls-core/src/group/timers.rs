//! What is done because its time has come. A tick is an input like any other (DESIGN 4.8).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Group;
use super::options::windows;
use super::state::Place;
use super::transaction::Transaction;
use super::waiting::Reason;
use crate::history::HistoryEpoch;
use crate::schedule::{CommitId, EpochId};

impl Group {
    /// When [`Group::handle`] wants a tick, by the clock that it is handed; Unix milliseconds. It may be in the past.
    pub fn next_deadline(&self) -> Option<u64> {
        let state = &self.state;
        let options = &self.options;
        let closing = |epoch: &HistoryEpoch| {
            let closes = epoch.settled_since?.saturating_add(options.close_after_ms);
            // What has closed and is still here waits for something else than time.
            (closes > state.reconciled_ms).then_some(closes)
        };
        let epochs = || self.history.epochs().map(|(_, epoch)| epoch);
        let closing = epochs().filter_map(closing).min();
        let moving_on = epochs().filter_map(|epoch| epoch.moved_on.next_due()).min();
        let reconciled = closing.into_iter().chain(moving_on).min();
        let expiring = self.waiting.oldest_ms().map(|since| since.saturating_add(options.waiting_ms));
        let votes = state.votes_due.values().copied();
        votes
            .chain(state.ack_due)
            .chain(state.turn.map(|turn| turn.due))
            .chain(state.update_due)
            .chain(state.merging.next_deadline(state.now_ms, options.deferred_for_ms))
            .chain(state.quarantine_due)
            .chain(self.share_due())
            .chain(self.ask_due())
            .chain(expiring)
            .chain(self.policy_deadline())
            .chain(reconciled.and_then(|due| state.when_reconciled(due)))
            .min()
            .map(|at| state.on_clock(at))
    }
}

impl Transaction<'_> {
    /// Does what is due. What cannot be done stays undone: its cause shows in the next step.
    pub(super) fn run_timers(&mut self) {
        self.cast_due_votes();
        let due = |at: Option<u64>, now: u64| at.is_some_and(|at| at <= now);
        if due(self.group.state.ack_due, self.now()) {
            // It can fail only when this member has used up its handshake keys in the head: it has spoken there.
            self.group.state.ack_due = None;
            self.attempt(Self::acknowledge);
        }
        if due(self.group.state.update_due, self.now()) {
            self.group.state.update_due = None;
            self.attempt(Self::propose_update);
        }
        self.drop_needless_offers();
        self.schedule_turn();
        self.take_turn();
        self.say_farewells();
        self.expire_deferred();
        self.run_policies();
        self.ask_again_to_leave();
        self.share_due_proofs();
        self.ask_when_due();
        self.expire_waiting();
        self.release_quarantined();
        self.write_off_unseen();
        self.report_final();
    }

    fn cast_due_votes(&mut self) {
        let now = self.now();
        let due = self.group.state.votes_due.iter().filter(|(_, at)| **at <= now);
        for id in due.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            if let Some(target) = self.vote_for(&id) {
                // It can fail only when this member has used up its handshake keys in the epoch.
                self.attempt(|step| step.vote(&id, target));
            }
            self.group.state.votes_due.remove(&id);
        }
    }

    fn expire_waiting(&mut self) {
        let Some(before) = self.now().checked_sub(self.group.options.waiting_ms) else { return };
        for id in self.group.waiting.expired(before) {
            self.stop_waiting(&id);
        }
    }

    /// Takes the smallest quarantined commit of each parent, once an interval.
    fn release_quarantined(&mut self) {
        let parents = self.group.waiting.iter().filter_map(|(_, waiting)| match &waiting.reason {
            Reason::Quarantined { parent, .. } => Some(parent.clone()),
            Reason::Missing(_) => None,
        });
        let parents: BTreeSet<EpochId> = parents.collect();
        if parents.is_empty() {
            self.group.state.quarantine_due = None;
            return;
        }
        let interval = self.group.options.quarantine_interval_ms;
        let due =
            *self.group.state.quarantine_due.get_or_insert(self.group.state.now_ms.saturating_add(interval));
        if self.now() < due {
            return;
        }
        self.group.state.quarantine_due = Some(self.now().saturating_add(interval));
        for parent in parents {
            match self.quarantined(&parent).into_iter().next() {
                Some((commit, id, _)) => self.release(commit, &id),
                None => self.drop_quarantined(&parent),
            }
        }
        self.retry_waiting();
    }

    /// What was quarantined on an epoch that is deleted has no turn any more.
    fn drop_quarantined(&mut self, gone: &EpochId) {
        let on_gone =
            |reason: &Reason| matches!(reason, Reason::Quarantined { parent, .. } if parent == gone);
        let waiting = self.group.waiting.iter().filter(|(_, waiting)| on_gone(&waiting.reason));
        for id in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.stop_waiting(&id);
        }
    }

    /// Votes for a child that nobody could produce for an hour of reconciled time count as void until one comes.
    fn write_off_unseen(&mut self) {
        let Some(before) = self.group.state.reconciled_ms.checked_sub(self.group.options.write_off_after_ms)
        else {
            return;
        };
        let old = |epoch: &HistoryEpoch| epoch.unseen.values().any(|since| *since <= before);
        let ids: Vec<EpochId> =
            self.group.history.epochs().filter(|(_, epoch)| old(epoch)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(epoch) = self.group.history.epoch_mut(&id) {
                let gone: Vec<CommitId> = epoch
                    .unseen
                    .iter()
                    .filter(|(_, since)| **since <= before)
                    .map(|(c, _)| c.clone())
                    .collect();
                epoch.unseen.retain(|_, since| *since > before);
                epoch.written_off.extend(gone);
                self.evidence = true;
            }
        }
    }

    /// A reconciliation with a peer has found nothing missing.
    pub(super) fn reconciled(&mut self) {
        let state = &mut self.group.state;
        state.reconciled_until = state.now_ms.saturating_add(self.group.options.reconciled_for_ms);
        self.trim_ratchets();
        if self.group.state.place == Place::Member {
            self.ask_again_to_leave();
        }
    }

    /// Caught up: keys of skipped messages are kept as far back as the window says from now on.
    fn trim_ratchets(&mut self) {
        for keys in self.group.keys.values_mut() {
            let mut tree = keys.epoch.secret_tree().clone();
            tree.trim(windows(false));
            if tree.changed_leaves(keys.epoch.secret_tree()).next().is_some() {
                keys.epoch = Arc::new(keys.epoch.with_secret_tree(tree));
            }
        }
    }
}
