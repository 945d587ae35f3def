//! Messages that cannot be processed yet: bounded, stored, and taken up again when what they miss has come
//! (DESIGN 4.7).

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::options::limits;
use super::step::Missing;
use super::store::MessageId;
use crate::codec::Bytes;
use crate::schedule::{CommitId, EpochId};

/// Why a message is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Something has not come yet.
    Missing(Missing),
    /// A commit on an epoch with too many others, which takes its turn.
    Quarantined {
        /// The parent.
        parent: EpochId,
        /// The commit: the smallest is taken first.
        commit: CommitId,
    },
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The message.
    pub bytes: Bytes,
    /// Why it waits.
    pub reason: Reason,
    /// When it came; Unix milliseconds.
    pub since_ms: u64,
}

/// The waiting messages of a group. A clone shares them.
#[derive(Clone)]
pub(super) struct WaitingRoom {
    messages: RedBlackTreeMapSync<MessageId, Waiting>,
    bytes: usize,
}

impl Default for WaitingRoom {
    fn default() -> Self {
        Self { messages: RedBlackTreeMapSync::new_sync(), bytes: 0 }
    }
}

impl WaitingRoom {
    pub(super) fn get(&self, id: &MessageId) -> Option<&Waiting> {
        self.messages.get(id)
    }

    pub(super) fn len(&self) -> usize {
        self.messages.size()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&MessageId, &Waiting)> {
        self.messages.iter()
    }

    /// Puts a message in. Whoever has waited longest goes when there is no room.
    pub(super) fn insert(&mut self, id: MessageId, waiting: Waiting) -> Vec<MessageId> {
        self.remove(&id);
        self.bytes += waiting.bytes.len();
        self.messages.insert_mut(id, waiting);
        let mut evicted = Vec::new();
        while self.len() > limits::WAITING || self.bytes > limits::WAITING_BYTES {
            let oldest =
                self.messages.iter().filter(|(other, _)| **other != id).min_by_key(|(_, w)| w.since_ms);
            let Some(oldest) = oldest.map(|(oldest, _)| *oldest) else { break };
            self.remove(&oldest);
            evicted.push(oldest);
        }
        evicted
    }

    pub(super) fn remove(&mut self, id: &MessageId) -> Option<Waiting> {
        let removed = self.messages.get(id).cloned()?;
        self.messages.remove_mut(id);
        self.bytes -= removed.bytes.len();
        Some(removed)
    }

    /// The messages that wait for what `matches` says, oldest first.
    pub(super) fn waiting_for(&self, matches: impl Fn(&Missing) -> bool) -> Vec<MessageId> {
        let found =
            self.messages.iter().filter(|(_, w)| matches!(&w.reason, Reason::Missing(m) if matches(m)));
        let mut found: Vec<_> = found.map(|(id, w)| (w.since_ms, *id)).collect();
        found.sort();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// The messages that came before `before_ms` and still miss something.
    pub(super) fn expired(&self, before_ms: u64) -> Vec<MessageId> {
        let old = self
            .messages
            .iter()
            .filter(|(_, w)| w.since_ms <= before_ms && matches!(w.reason, Reason::Missing(_)));
        old.map(|(id, _)| *id).collect()
    }

    /// When the next one expires that still misses something.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let missing = self.messages.iter().filter(|(_, w)| matches!(w.reason, Reason::Missing(_)));
        missing.map(|(_, w)| w.since_ms).min()
    }
}
