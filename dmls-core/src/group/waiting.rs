//! Messages that cannot be processed yet: bounded, stored, and taken up again when what they miss has come
//! (DESIGN 4.7).

use std::collections::BTreeMap;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::options::limits;
use super::receive::Arrival;
use super::step::Missing;
use super::store::MessageId;
use crate::codec::Bytes;
use crate::schedule::{CommitId, EpochId};
use crate::tree::LeafIndex;

/// Why a message is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Something has not come yet.
    Missing(Missing),
    /// A commit on an epoch with too many others, which takes its turn.
    Quarantined {
        /// The parent.
        parent: EpochId,
        /// The commit: the one with the smallest key is taken first.
        commit: CommitId,
        /// Whose it is.
        committer: LeafIndex,
        /// Its class (DESIGN 4.4).
        class: u8,
    },
}

/// An opaque name of whoever handed a message over, for example a hash of a peer's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source(pub [u8; 32]);

impl Source {
    /// The source that a host knows by these bytes.
    pub fn of(name: &[u8]) -> Self {
        Self(Sha256::digest(name).into())
    }
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
    /// Who handed it over, if the host said so.
    pub source: Option<Source>,
}

impl Waiting {
    fn is_missing(&self) -> bool {
        matches!(self.reason, Reason::Missing(_))
    }

    pub(super) fn arrival(&self) -> Arrival {
        Arrival { since_ms: self.since_ms, source: self.source }
    }
}

/// The waiting messages of a group. A clone shares them.
#[derive(Clone)]
pub(super) struct WaitingRoom {
    messages: RedBlackTreeMapSync<MessageId, Waiting>,
    /// How many of them miss something, and their bytes. Anybody can send such messages; quarantined ones come from
    /// members, and have bounds of their own, so that nobody pushes them out.
    missing: usize,
    missing_bytes: usize,
}

impl Default for WaitingRoom {
    fn default() -> Self {
        Self { messages: RedBlackTreeMapSync::new_sync(), missing: 0, missing_bytes: 0 }
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

    /// Puts a message in, and says which others had to go for it. None: its source has as much here as it may have,
    /// and nothing has changed.
    pub(super) fn insert(&mut self, id: MessageId, waiting: Waiting) -> Option<Vec<MessageId>> {
        let before = self.clone();
        let source = waiting.source;
        self.put(id, waiting);
        let of_source = || self.messages.values().filter(|w| w.is_missing() && w.source == source).count();
        if source.is_some() && of_source() > limits::WAITING_OF_PEER {
            *self = before;
            return None;
        }
        let mut evicted = Vec::new();
        while self.missing > limits::WAITING || self.missing_bytes > limits::WAITING_BYTES {
            let largest = self.largest_source();
            if source.is_some() && largest == source {
                *self = before;
                return None;
            }
            let of_largest = |w: &Waiting| w.is_missing() && w.source == largest;
            let others = self.messages.iter().filter(|(other, w)| **other != id && of_largest(w));
            let oldest = others.min_by_key(|(_, w)| w.since_ms).map(|(oldest, _)| *oldest);
            // A message that is larger than the room by itself does not stay either.
            let oldest = oldest.unwrap_or(id);
            self.remove(&oldest);
            evicted.push(oldest);
        }
        Some(evicted)
    }

    /// Takes a message in whatever room there is: one that was there before.
    pub(super) fn put(&mut self, id: MessageId, waiting: Waiting) {
        self.remove(&id);
        if waiting.is_missing() {
            self.missing += 1;
            self.missing_bytes += waiting.bytes.len();
        }
        self.messages.insert_mut(id, waiting);
    }

    /// Whoever takes up most of what is short: whoever fills the room makes room.
    fn largest_source(&self) -> Option<Source> {
        let mut taken: BTreeMap<Option<Source>, usize> = BTreeMap::new();
        let by_bytes = self.missing_bytes > limits::WAITING_BYTES;
        for waiting in self.messages.values().filter(|w| w.is_missing()) {
            *taken.entry(waiting.source).or_default() += if by_bytes { waiting.bytes.len() } else { 1 };
        }
        taken.into_iter().max_by_key(|(_, taken)| *taken).and_then(|(source, _)| source)
    }

    pub(super) fn remove(&mut self, id: &MessageId) -> Option<Waiting> {
        let removed = self.messages.get(id).cloned()?;
        self.messages.remove_mut(id);
        if removed.is_missing() {
            self.missing -= 1;
            self.missing_bytes -= removed.bytes.len();
        }
        Some(removed)
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
