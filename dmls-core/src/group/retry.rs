//! The waiting room at work: what waits, what is taken up again, and in which order (DESIGN 4.7).

use std::collections::BTreeSet;

use super::options::limits;
use super::records::Value;
use super::step::{Disposition, Missing};
use super::store::{Key, MessageId, Table};
use super::transaction::Transaction;
use super::waiting::{Reason, Waiting};
use crate::codec::{Bytes, decode};
use crate::framing::{DmlsMessage, ProposalRef};
use crate::history::Candidate;
use crate::schedule::{CommitId, EpochId, RatchetType};

/// What is said of a message that waits.
pub(super) fn disposition(reason: &Reason) -> Disposition {
    match reason {
        Reason::Missing(missing) => Disposition::Pending { missing: missing.clone() },
        Reason::Quarantined { .. } => Disposition::Quarantined,
    }
}

impl Transaction<'_> {
    /// Takes up what waited for something that is here now, until nothing moves any more.
    pub(super) fn retry_waiting(&mut self) {
        // Whatever is taken is done with, or waits for something later. Should it ever wait for the same again, it is
        // left alone: nothing loops.
        let mut stuck = BTreeSet::new();
        self.retrying = true;
        while std::mem::take(&mut self.news) {
            while let Some(id) = self.next_ready(&stuck) {
                let Some(waiting) = self.stop_waiting(&id) else { break };
                self.take(id, waiting.bytes.as_slice(), &waiting.arrival());
                if self.group.waiting.get(&id).is_some_and(|again| again.reason == waiting.reason) {
                    stuck.insert(id);
                }
            }
        }
        self.retrying = false;
    }

    /// A message that waits for nothing any more; of several of one sender the one of the first generation.
    fn next_ready(&self, stuck: &BTreeSet<MessageId>) -> Option<MessageId> {
        let waiting = self.group.waiting.iter();
        let ready = waiting.filter(|(id, waiting)| !stuck.contains(*id) && self.is_ready(waiting));
        let order = |waiting: &Waiting| match &waiting.reason {
            Reason::Missing(Missing::Generation { generation, .. }) => (2, *generation),
            Reason::Missing(_) => (0, 0),
            Reason::Quarantined { .. } => (1, 0),
        };
        ready.min_by_key(|(id, waiting)| (order(waiting), waiting.since_ms, **id)).map(|(id, _)| *id)
    }

    fn is_ready(&self, waiting: &Waiting) -> bool {
        // It waits in the epoch that it names: it has been opened there, or names one that is unknown.
        let keys = || {
            let message: DmlsMessage = decode(waiting.bytes.as_slice()).ok()?;
            self.group.keys.get(&EpochId(message.dmls_epoch))
        };
        match &waiting.reason {
            Reason::Missing(Missing::Epoch(epoch) | Missing::Branch { epoch, .. }) => {
                self.group.history.epoch(epoch).is_some()
            }
            Reason::Missing(Missing::Proposal(reference)) => {
                keys().is_none_or(|keys| keys.epoch.proposals().contains_key(&ProposalRef(reference.clone())))
            }
            Reason::Missing(Missing::Commit(reference)) => self.is_wanted(reference),
            Reason::Missing(Missing::Generation { sender, generation }) => keys().is_none_or(|keys| {
                let next = keys.epoch.secret_tree().next_generation(*sender, RatchetType::Application);
                next.is_none_or(|next| next.saturating_add(self.windows().forward) >= *generation)
            }),
            Reason::Quarantined { parent, commit, committer, class } => {
                !self.must_wait(parent, &Candidate { commit, committer: *committer, class: *class })
            }
        }
    }

    /// Whether a commit waits for a proposal.
    pub(super) fn is_wanted(&self, reference: &Bytes) -> bool {
        let missing = |waiting: &Waiting| match &waiting.reason {
            Reason::Missing(Missing::Proposal(other)) => other == reference,
            _ => false,
        };
        self.group.waiting.iter().any(|(_, waiting)| missing(waiting))
    }

    /// Takes a quarantined commit whose turn has come.
    pub(super) fn release(&mut self, commit: CommitId, id: &MessageId) {
        if let Some(waiting) = self.stop_waiting(id) {
            self.released = Some(commit);
            self.take(*id, waiting.bytes.as_slice(), &waiting.arrival());
            self.released = None;
        }
    }

    /// Stores a message that waits. Whatever it pushes out, and itself where its source has no room left, can be
    /// fetched again.
    pub(super) fn keep_waiting(&mut self, id: MessageId, waiting: Waiting) {
        let key = |id: &MessageId, group| Key::named(Table::Waiting, group, &id.0);
        let parent = match &waiting.reason {
            Reason::Quarantined { parent, .. } => Some(parent.clone()),
            Reason::Missing(_) => None,
        };
        let record = Value::Waiting(waiting.clone());
        let Some(evicted) = self.group.waiting.insert(id, waiting) else { return };
        self.changes.put(key(&id, &self.group.id), record);
        for evicted in evicted {
            self.changes.delete(key(&evicted, &self.group.id));
        }
        parent.iter().for_each(|parent| self.bound_quarantine(parent));
    }

    /// The quarantined commits of a parent, smallest key first (DESIGN 4.4).
    pub(super) fn quarantined(&self, parent: &EpochId) -> Vec<(CommitId, MessageId, usize)> {
        let Some(epoch) = self.group.history.epoch(parent) else { return Vec::new() };
        let decision = epoch.decision();
        let keyed = self.group.waiting.iter().filter_map(|(id, waiting)| match &waiting.reason {
            Reason::Quarantined { parent: at, commit, committer, class } if at == parent => {
                let candidate = Candidate { commit, committer: *committer, class: *class };
                let key = epoch.candidate_key(&decision, &candidate);
                Some((key, (commit.clone(), *id, waiting.bytes.len())))
            }
            _ => None,
        });
        let mut found: Vec<_> = keyed.collect();
        found.sort();
        found.into_iter().map(|(_, found)| found).collect()
    }

    /// Drops the quarantined commits of a parent with the largest keys, if there are too many.
    fn bound_quarantine(&mut self, parent: &EpochId) {
        let mut bytes = 0_usize;
        for (place, (_, id, len)) in self.quarantined(parent).into_iter().enumerate() {
            bytes += len;
            if place >= limits::QUARANTINED || (place > 0 && bytes > limits::QUARANTINED_BYTES) {
                self.stop_waiting(&id);
            }
        }
    }

    /// Takes a message out of the waiting room.
    pub(super) fn stop_waiting(&mut self, id: &MessageId) -> Option<Waiting> {
        let waiting = self.group.waiting.remove(id)?;
        self.changes.delete(Key::named(Table::Waiting, &self.group.id, &id.0));
        Some(waiting)
    }
}
