//! A DMLS group: a sans-IO state machine over a history of epochs (DESIGN 4.3 to 4.8).
//!
//! **What it does.** [`Group::handle`] takes messages, ticks and news of reconciliation; [`Group::send`] and its
//! neighbours do what the user asks. Each gives a [`Step`]: the next state, the [`Changes`] to store, and the
//! [`Effect`]s to carry out after that. Every input gets a [`Disposition`]. What a commit may have as its child is
//! derived, verified, and only then punctured, in one step.
//!
//! **What it never does.** It changes nothing in place: a step that is dropped, or that the store refuses, has not
//! happened. It derives nothing twice, and it chooses a branch nowhere but in [`crate::history`].
//!
//! **How to drive it.**
//! ```text
//! let step = group.handle(Input::Message(bytes), now_ms, rng);
//! let (disposition, effects) = step.commit(&mut store, &mut group)?;   // store first, then memory
//! for effect in effects { ... }                                         // publish, deliver, tell
//! // at group.next_deadline(): group.handle(Input::Tick, now_ms, rng)
//! ```

mod act;
mod admins;
mod ask;
mod authority;
mod bounds;
mod ceased;
mod client;
mod commit;
mod deferred;
mod exposure;
mod farewell;
mod fit;
mod gone;
mod handshake;
mod heal;
mod healing;
mod judge;
mod key_packages;
mod load;
mod log;
mod look;
mod membership;
mod merge;
mod notice;
mod options;
mod policy;
mod proof;
mod ratchets;
mod receive;
mod records;
mod rejoin;
mod replay;
mod retention;
mod retry;
mod settle;
mod speak;
mod split;
mod state;
mod step;
mod store;
mod timers;
mod transaction;
mod turn;
mod view;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand_core::CryptoRng;
use rpds::RedBlackTreeMapSync;

pub use act::ActionError;
pub use client::{
    Client, ClientError, ClientRecord, JoinError, KeyPackageInfo, NewKeyPackage, inspect_key_package,
};
pub use gone::{Gone, Unreadable};
pub use key_packages::{Offer, OfferError};
pub use load::LoadError;
pub use log::LogMark;
pub use look::group_ids;
pub use options::{GroupOptions, limits};
pub use proof::{ProofId, ProofRecord};
pub use records::Value;
pub use replay::{ReplayError, Replayed};
pub use speak::SpeakError;
pub use state::{JoinedBy, Place, State};
pub use step::{Disposition, Effect, Event, Missing, Step};
pub use store::{Changes, GroupId, Key, MemoryStore, MessageId, Store, StoreError, Table};
pub use view::{
    ChildView, EpochView, Exposure, ForkView, GroupView, HistoryView, ProofView, RetainedView, SideView,
    SplitView, Standing,
};
pub use waiting::{Reason, Source, Waiting};

use crate::codec::Bytes;
use crate::epoch::Epoch;
use crate::framing::KeyPackageBundle;
use crate::history::History;
use crate::schedule::{EpochId, InitPprf};
use crate::suite::Suite;
use key_packages::Offers;
use log::LogMarks;
use transaction::Transaction;
use waiting::WaitingRoom;

/// Something that a group is told.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A message of the group, from whomever.
    Message(&'a [u8]),
    /// The same, from a peer that the host can tell from others. Each has its own share of the room for messages that
    /// cannot be processed yet.
    From {
        /// Who handed it over, which need not be who made it.
        source: Source,
        /// The message.
        bytes: &'a [u8],
    },
    /// A key package of somebody else, as an `MLSMessage`, from whomever: a request to rejoin, or what a client
    /// that another branch has added can be added with.
    KeyPackage(&'a [u8]),
    /// Time has passed.
    Tick,
    /// A reconciliation with a peer has found nothing missing.
    Reconciled,
    /// The log of a peer with which this client reconciles begins at this epoch number.
    PeerFloor(u64),
}

/// The keys of a retained epoch.
#[derive(Clone)]
struct Keys {
    epoch: Arc<Epoch>,
    init: Arc<InitPprf>,
}

/// A group as this client knows it. Cheap to clone.
#[derive(Clone)]
pub struct Group {
    id: GroupId,
    suite: Suite,
    options: Arc<GroupOptions>,
    history: History,
    /// Every epoch of the history has its keys.
    keys: BTreeMap<EpochId, Keys>,
    /// The messages in the log with their epoch numbers.
    log: RedBlackTreeMapSync<MessageId, u64>,
    log_marks: LogMarks,
    /// Bytes of each epoch's secrets, as far as measured.
    sizes: BTreeMap<EpochId, u64>,
    waiting: WaitingRoom,
    /// Epochs that this client has deleted.
    gone: RedBlackTreeMapSync<EpochId, Gone>,
    proofs: RedBlackTreeMapSync<ProofId, ProofRecord>,
    /// Key packages of others.
    offers: Offers,
    /// Own requests to rejoin that can still be answered, by reference.
    requests: BTreeMap<Bytes, Arc<KeyPackageBundle>>,
    /// Key packages whose Welcome has not been delivered.
    welcomes: BTreeSet<Bytes>,
    state: State,
    /// What was last found of what there is to heal.
    healing: healing::Memo,
}

impl Group {
    /// Takes an input. Never fails: the step's disposition says what became of a message.
    pub fn handle(&self, input: Input<'_>, now_ms: u64, rng: &mut dyn CryptoRng) -> Step {
        let mut transaction = Transaction::new(self, now_ms, rng);
        let disposition = match input {
            Input::Message(bytes) => Some(transaction.message(bytes, None)),
            Input::From { source, bytes } => Some(transaction.message(bytes, Some(source))),
            Input::KeyPackage(bytes) => Some(transaction.key_package(bytes)),
            Input::Tick => None,
            Input::Reconciled => {
                transaction.reconciled();
                None
            }
            Input::PeerFloor(floor) => {
                transaction.peer_floor(floor);
                None
            }
        };
        let step = transaction
            .finish(disposition)
            .unwrap_or_else(|error| self.unchanged(Disposition::Rejected { rule: error.to_string() }));
        match step.disposition {
            // Whoever sends garbage makes nobody write: time is taken on by the next step that does something.
            Some(
                Disposition::Rejected { .. }
                | Disposition::Duplicate
                | Disposition::Expired { .. }
                | Disposition::Pending { .. },
            ) if step.effects.is_empty() && self.differs_in_time_only(&step) => {
                Step { group: self.clone(), changes: Changes::default(), ..step }
            }
            _ => step,
        }
    }

    fn unchanged(&self, disposition: Disposition) -> Step {
        let group = self.clone();
        Step { group, changes: Changes::default(), effects: Vec::new(), disposition: Some(disposition) }
    }

    fn differs_in_time_only(&self, step: &Step) -> bool {
        let own = Key::group(&self.id);
        let others = step.changes.put.keys().any(|key| *key != own) || !step.changes.delete.is_empty();
        !others && step.group.state.is_later(&self.state)
    }
}
