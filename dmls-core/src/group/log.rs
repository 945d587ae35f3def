//! The log of ciphertexts. It outlives the keys, so that a straggler can be served, but not for ever (DESIGN 4.5).
//!
//! It is cut by epoch number, as peers compare it by that. A mark for each number says how many commits on epochs of it
//! there are, and when the last one came.

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::records::Value;
use super::step::Event;
use super::store::{Key, MessageId};
use super::transaction::Transaction;
use crate::codec::{Bytes, decode};
use crate::framing::{ContentType, DmlsMessage, MlsMessageBody};

/// The commits of the log on epochs of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMark {
    /// How many there are.
    pub commits: u64,
    /// Reconciled time, in milliseconds, when the last one was kept.
    pub newest_ms: u64,
}

/// All marks. A clone shares them.
#[derive(Clone)]
pub(super) struct LogMarks {
    marks: RedBlackTreeMapSync<u64, LogMark>,
    commits: u64,
}

impl FromIterator<(u64, LogMark)> for LogMarks {
    fn from_iter<I: IntoIterator<Item = (u64, LogMark)>>(marks: I) -> Self {
        let mut all = Self { marks: RedBlackTreeMapSync::new_sync(), commits: 0 };
        marks.into_iter().for_each(|(number, mark)| all.set(number, mark));
        all
    }
}

impl LogMarks {
    /// Number of commits in the log.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// The epoch numbers that have marks.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.marks.keys().copied()
    }

    fn set(&mut self, number: u64, mark: LogMark) {
        self.remove(number);
        self.commits = self.commits.saturating_add(mark.commits);
        self.marks.insert_mut(number, mark);
    }

    fn remove(&mut self, number: u64) {
        let gone = self.marks.get(&number).map_or(0, |mark| mark.commits);
        self.commits = self.commits.saturating_sub(gone);
        self.marks.remove_mut(&number);
    }
}

fn is_commit(bytes: &[u8]) -> bool {
    let body = decode::<DmlsMessage>(bytes).map(|message| message.message.body);
    matches!(body, Ok(MlsMessageBody::Private(private)) if private.content_type == ContentType::Commit)
}

impl Transaction<'_> {
    /// Keeps a message in the log, from which it is served to others.
    pub(super) fn log(&mut self, id: MessageId, order: u64, bytes: &[u8]) {
        self.group.log.insert_mut(id, order);
        self.changes.put(Key::log(&self.group.id, order, &id), Value::Log(Bytes::from(bytes)));
        if is_commit(bytes) {
            let commits = self.group.log_marks.marks.get(&order).map_or(0, |mark| mark.commits);
            let newest_ms = self.group.state.reconciled_ms;
            let mark = LogMark { commits: commits.saturating_add(1), newest_ms };
            self.group.log_marks.set(order, mark);
            self.changes.put(Key::log_mark(&self.group.id, order), Value::LogMark(mark));
        }
    }

    /// Drops what is further back than the log reaches: of epochs that are not retained, all but the newest commits, and
    /// what is too old. Whatever else was sent in an epoch goes with its commits.
    pub(super) fn prune_log(&mut self) {
        let anchor = self.group.history.epoch(self.group.history.anchor()).map_or(0, |epoch| epoch.number);
        let now = self.group.state.reconciled_ms;
        let mut floor = self.group.state.floor;
        while let Some((number, mark)) = self.group.log_marks.marks.first().map(|(n, mark)| (*n, *mark)) {
            let full = self.group.log_marks.commits > self.group.options.log_commits;
            let old = now.saturating_sub(mark.newest_ms) > self.group.options.log_age_ms;
            if number >= anchor || !(full || old) {
                break;
            }
            self.group.log_marks.remove(number);
            self.changes.delete(Key::log_mark(&self.group.id, number));
            floor = floor.max(number.saturating_add(1));
        }
        if floor <= self.group.state.floor {
            return;
        }
        self.group.state.floor = floor;
        let old: Vec<_> =
            self.group.log.iter().filter(|(_, order)| **order < floor).map(|(i, o)| (*i, *o)).collect();
        for (id, order) in old {
            self.group.log.remove_mut(&id);
            self.changes.delete(Key::log(&self.group.id, order, &id));
        }
    }

    /// A peer's log begins at this epoch number. It is what that peer says, no more: another one may have what this one
    /// has dropped.
    pub(super) fn peer_floor(&mut self, floor: u64) {
        let head = self.group.history.epoch(&self.group.state.head).map_or(0, |epoch| epoch.number);
        let known = self.group.state.behind;
        self.group.state.behind = (floor > head).then_some(floor);
        if floor > head && known.is_none() {
            self.event(Event::Behind { head, floor });
        }
    }

    /// Once the head has come to where a peer's log begins, this client can catch up from it.
    pub(super) fn note_caught_up(&mut self) {
        let head = self.group.history.epoch(&self.group.state.head).map_or(0, |epoch| epoch.number);
        if self.group.state.behind.is_some_and(|floor| floor <= head) {
            self.group.state.behind = None;
        }
    }
}
