//! Why a message cannot be read: undecryptable is never just that (DESIGN 4.7).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::options::limits;
use super::receive::Outcome;
use super::records::Value;
use super::state::Place;
use super::step::Missing;
use super::store::{Key, Table};
use super::transaction::Transaction;
use super::waiting::Reason;
use crate::schedule::EpochId;

/// Why this client cannot read a message, and never will with what it has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Its epoch was on this client's branch and has been deleted (DESIGN 4.5).
    #[error("The message's epoch is beyond what this client retains.")]
    Retention,
    /// Its epoch is on a branch that this client has deleted, or has never been on.
    #[error("The message is on a branch that this client cannot follow.")]
    Branch,
    /// Its epoch is older than the one in which this client came in.
    #[error("The message was sent before this client joined.")]
    BeforeJoining,
    /// Its sender has spoken below its epoch, and the time for late messages has run out (DESIGN 4.5).
    #[error("The sender had moved on to a later epoch, and its keys of this one are deleted.")]
    MovedOn,
    /// The key that opens it has been given up as too old (DESIGN 4.5).
    #[error("The key of the message has been given up as too old.")]
    Key,
}

/// An epoch that this client has deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Its MLS epoch number.
    pub number: u64,
    /// Whether it was on a branch that the head had left.
    pub beside: bool,
}

impl Transaction<'_> {
    /// A message that names an epoch which is not part of the history. The name is a hint: at worst its sender is told
    /// a wrong reason.
    pub(super) fn unknown_epoch(&self, epoch: EpochId, order: u64) -> Outcome {
        let group = &self.group;
        let anchor = group.history.epoch(group.history.anchor()).map_or(0, |anchor| anchor.number);
        let reason = match group.gone.get(&epoch) {
            Some(gone) if gone.beside => Unreadable::Branch,
            Some(_) => Unreadable::Retention,
            None if order < group.state.joined => Unreadable::BeforeJoining,
            // Beside the epoch that was joined.
            None if order == group.state.joined => Unreadable::Branch,
            None if order <= anchor => Unreadable::Retention,
            None => return Outcome::Wait(Reason::Missing(self.missing_epoch(epoch, order))),
        };
        Outcome::Expired(reason)
    }

    fn missing_epoch(&self, epoch: EpochId, order: u64) -> Missing {
        match &self.group.state.place {
            Place::Outside { at, commit, .. }
                if self.group.history.epoch(at).is_some_and(|at| order > at.number) =>
            {
                Missing::Branch { epoch, commit: commit.clone() }
            }
            _ => Missing::Epoch(epoch),
        }
    }

    /// Remembers an epoch that has just been deleted, so that what is still sent in it is told from what comes too
    /// early. Bounded: the lowest numbers are forgotten first, and all that no peer offers any more.
    pub(super) fn remember_gone(&mut self, id: &EpochId, number: u64) {
        let anchor = self.group.history.epoch(self.group.history.anchor());
        let above = anchor.and_then(|anchor| anchor.parent.as_ref()).map(|(parent, _)| parent);
        let gone = Gone { number, beside: above != Some(id) };
        self.group.gone.insert_mut(id.clone(), gone);
        self.changes.put(Key::epoch(Table::Gone, &self.group.id, id), Value::Gone(gone));
        while self.group.gone.size() > limits::GONE {
            let oldest = self.group.gone.iter().min_by_key(|(id, gone)| (gone.number, *id));
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
            self.group.gone.remove_mut(&oldest);
            self.changes.delete(Key::epoch(Table::Gone, &self.group.id, &oldest));
        }
    }
}
