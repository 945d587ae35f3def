//! What is done because its time has come. A tick is an input like any other (DESIGN 4.8).

use super::Group;
use super::state::Place;
use super::step::Missing;
use super::store::MessageId;
use super::transaction::Transaction;
use super::waiting::Reason;
use crate::history::HistoryEpoch;
use crate::schedule::{CommitId, EpochId};

impl Group {
    /// When [`Group::handle`] wants a tick; Unix milliseconds. It may be in the past.
    pub fn next_deadline(&self) -> Option<u64> {
        let state = &self.state;
        let options = &self.options;
        let closing = |epoch: &HistoryEpoch| {
            let closes = epoch.settled_since?.saturating_add(options.close_after_ms);
            // What has closed and is still here waits for something else than time.
            (closes > state.now_ms).then_some(closes)
        };
        let expiring = self.waiting.oldest_ms().map(|since| since.saturating_add(options.waiting_ms));
        let votes = state.votes_due.values().copied();
        votes
            .chain(state.ack_due)
            .chain(state.turn_due)
            .chain(state.quarantine_due)
            .chain(expiring)
            .chain(self.history.epochs().filter_map(|(_, epoch)| closing(epoch)))
            .min()
    }
}

impl Transaction<'_> {
    /// Does what is due. What cannot be done stays undone: its cause shows in the next step.
    pub(super) fn run_timers(&mut self) {
        self.cast_due_votes();
        let due = |at: Option<u64>, now: u64| at.is_some_and(|at| at <= now);
        if due(self.group.state.ack_due, self.now()) {
            // A failure means that the head's keys are gone, and with them the need to acknowledge it.
            let _ = self.acknowledge();
        }
        self.schedule_turn();
        if due(self.group.state.turn_due, self.now()) {
            self.group.state.turn_due = None;
            // Somebody else's turn comes if this one fails.
            let _ = self.commit_on_head(Vec::new());
        }
        self.ask_again_to_leave();
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
                // A failure means that the epoch's keys are gone: evidence on it is ignored then.
                let _ = self.vote(&id, target);
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
        let mut smallest: std::collections::BTreeMap<EpochId, (CommitId, MessageId)> = Default::default();
        for (id, waiting) in self.group.waiting.iter() {
            if let Reason::Quarantined { parent, commit } = &waiting.reason {
                let best = smallest.entry(parent.clone()).or_insert_with(|| (commit.clone(), *id));
                *best = best.clone().min((commit.clone(), *id));
            }
        }
        if smallest.is_empty() {
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
        for (commit, id) in smallest.into_values() {
            if let Some(bytes) = self.stop_waiting(&id) {
                self.released = Some(commit);
                self.take(id, bytes.as_slice());
                self.released = None;
            }
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
        // Whatever was too far ahead of its sender's messages has them now, or never.
        let ahead = self.group.waiting.waiting_for(|missing| matches!(missing, Missing::Generation { .. }));
        for id in ahead {
            if let Some(bytes) = self.stop_waiting(&id) {
                self.take(id, bytes.as_slice());
            }
        }
        if self.group.state.place == Place::Member {
            self.ask_again_to_leave();
        }
    }
}
