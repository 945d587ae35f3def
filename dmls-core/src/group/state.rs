//! The small part of a group's state that is written with almost every step, timers included (DESIGN 4.8).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::deferred::Merging;
use super::policy::Policies;
use super::split::Split;
use super::turn::Turn;
use crate::codec::Bytes;
use crate::history::Blocked;
use crate::schedule::{CommitId, EpochId};

/// Where this client stands, with the commit that decided it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A member of the head.
    Member,
    /// The decided branch goes through a commit that this client cannot enter.
    Outside {
        /// The last epoch that it can enter.
        at: EpochId,
        /// The commit.
        commit: CommitId,
        /// Why it cannot be entered.
        why: Blocked,
    },
}

/// The Welcome by which this client came in, to tell it from another one for the same key package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedBy {
    /// Reference of the key package.
    pub(super) key_package: Bytes,
    /// SHA-256 of the encrypted GroupInfo.
    pub(super) group_info: [u8; 32],
}

/// Where somebody has told this client that it has to ask to be added anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AskIn {
    pub(super) epoch: EpochId,
    /// From when on it asks.
    pub(super) from: u64,
}

/// Timers and what has been reported. Times are Unix milliseconds as handed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The group's own time: it goes on as the host's clock does, and never back.
    pub(super) now_ms: u64,
    /// What the host's clock said last.
    pub(super) clock_ms: u64,
    /// How long this client has been reconciled with somebody, in all.
    pub(super) reconciled_ms: u64,
    /// Until when it counts as reconciled.
    pub(super) reconciled_until: u64,
    /// The head that was reported last.
    pub(super) head: EpochId,
    /// The standing that was reported last.
    pub(super) place: Place,
    /// The newest final epoch that was reported.
    pub(super) final_epoch: Option<EpochId>,
    /// When to acknowledge the head.
    pub(super) ack_due: Option<u64>,
    /// When to vote in a fork point.
    pub(super) votes_due: BTreeMap<EpochId, u64>,
    /// When to commit what is pending in the head.
    pub(super) turn: Option<Turn>,
    /// When to propose new keys in the head.
    pub(super) update_due: Option<u64>,
    /// Branches to be merged.
    pub(super) merging: Merging,
    /// When to take the next quarantined commit.
    pub(super) quarantine_due: Option<u64>,
    /// When this client committed last.
    pub(super) committed_at: u64,
    /// Whether this client has asked to be removed.
    pub(super) leaving: bool,
    /// Own requests to rejoin that can still be answered: references of their key packages, the oldest first.
    pub(super) requests: Vec<Bytes>,
    /// When this client has asked to rejoin.
    pub(super) asked_at: Option<u64>,
    /// That others are elsewhere, though this client is a member of its head.
    pub(super) ask_in: Option<AskIn>,
    /// A Welcome for an own request that came too early: it is taken up when this client cannot stay where it is.
    pub(super) early_welcome: Option<Bytes>,
    /// The Welcome by which it came in.
    pub(super) joined_by: Option<Box<JoinedBy>>,
    /// Messages of epochs below this number are neither kept nor wanted.
    pub(super) floor: u64,
    /// MLS epoch number of the epoch in which this client came in.
    pub(super) joined: u64,
    /// What this client does by itself.
    pub(super) policies: Policies,
    /// Members that went another way at a fork point which was deleted undecided.
    pub(super) split: Option<Split>,
    /// A peer's log begins at this epoch number, above the head's: from that peer this client cannot catch up.
    pub(super) behind: Option<u64>,
}

impl State {
    /// The state of a group whose first epoch is `head`, with MLS epoch number `floor`.
    pub(super) fn new(head: EpochId, floor: u64, now_ms: u64) -> Self {
        Self {
            now_ms,
            clock_ms: now_ms,
            reconciled_ms: 0,
            reconciled_until: now_ms,
            head,
            place: Place::Member,
            final_epoch: None,
            ack_due: None,
            votes_due: BTreeMap::new(),
            turn: None,
            update_due: None,
            merging: Merging::default(),
            quarantine_due: None,
            committed_at: 0,
            leaving: false,
            requests: Vec::new(),
            asked_at: None,
            ask_in: None,
            early_welcome: None,
            joined_by: None,
            floor,
            joined: floor,
            policies: Policies::default(),
            split: None,
            behind: None,
        }
    }

    /// Whether nothing but time has passed since `before`.
    pub(super) fn is_later(&self, before: &Self) -> bool {
        let Self { now_ms, clock_ms, reconciled_ms, .. } = *before;
        Self { now_ms, clock_ms, reconciled_ms, ..self.clone() } == *before
    }

    /// Takes the time on. It never goes back, and while reconciled it counts as such. A clock that is set back stops
    /// nothing: time goes on from where it was.
    pub(super) fn advance(&mut self, clock_ms: u64) {
        let now = self.now_ms.saturating_add(clock_ms.saturating_sub(self.clock_ms));
        let counted = now.min(self.reconciled_until).saturating_sub(self.now_ms);
        self.reconciled_ms = self.reconciled_ms.saturating_add(counted);
        self.now_ms = now;
        self.clock_ms = clock_ms;
    }

    /// What the host's clock says when it is `at` here.
    pub(super) fn on_clock(&self, at: u64) -> u64 {
        let ahead = at.saturating_sub(self.now_ms);
        self.clock_ms.saturating_add(ahead).saturating_sub(self.now_ms.saturating_sub(at))
    }

    /// When the reconciled time will be `due`, if this client stays reconciled for as long as it is by now.
    pub(super) fn when_reconciled(&self, due: u64) -> Option<u64> {
        let at = self.now_ms.saturating_add(due.saturating_sub(self.reconciled_ms));
        (at <= self.reconciled_until).then_some(at)
    }
}
