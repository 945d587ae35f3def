//! The stored records, one type a table.

use serde::{Deserialize, Serialize};

use super::client::ClientRecord;
use super::gone::Gone;
use super::key_packages::Offer;
use super::log::LogMark;
use super::proof::ProofRecord;
use super::state::State;
use super::store::Table;
use super::waiting::Waiting;
use crate::codec::Bytes;
use crate::epoch::EpochRecord;
use crate::framing::KeyPackageBundle;
use crate::history::HistoryEpoch;
use crate::schedule::{InitPprf, LeafRatchets};
use crate::suite::HpkePrivateKey;
use crate::tree::StoredSubtree;

/// A record. Which one belongs in which [`Table`] is [`Value::table`]. Wiped on drop where it is secret.
#[derive(Clone, Serialize, Deserialize)]
pub enum Value {
    /// The client's identity.
    Client(ClientRecord),
    /// An unused key package with its private keys.
    KeyPackage(KeyPackageBundle),
    /// A group's small state.
    Group(Box<State>),
    /// An epoch's state and keys.
    Epoch(EpochRecord),
    /// An epoch's puncturable PRF.
    Init(InitPprf),
    /// The message keys of one sender in one epoch.
    Ratchets(LeafRatchets),
    /// An epoch's evidence.
    History(HistoryEpoch),
    /// A subtree of a ratchet tree.
    Subtree(StoredSubtree),
    /// The private key of a tree node.
    NodeKey(HpkePrivateKey),
    /// A message that was sent or processed.
    Log(Bytes),
    /// What the log has of one epoch number.
    LogMark(LogMark),
    /// A message that waits.
    Waiting(Waiting),
    /// A Welcome that has not been delivered.
    Welcome(Bytes),
    /// An epoch that is gone.
    Gone(Gone),
    /// A proof of equivocation.
    Proof(ProofRecord),
    /// A key package of another client.
    Offer(Offer),
}

impl Value {
    /// Where it belongs.
    pub fn table(&self) -> Table {
        match self {
            Self::Client(_) => Table::Client,
            Self::KeyPackage(_) => Table::KeyPackages,
            Self::Group(_) => Table::Groups,
            Self::Epoch(_) => Table::Epochs,
            Self::Init(_) => Table::Inits,
            Self::Ratchets(_) => Table::Ratchets,
            Self::History(_) => Table::History,
            Self::Subtree(_) => Table::Subtrees,
            Self::NodeKey(_) => Table::NodeKeys,
            Self::Log(_) => Table::Log,
            Self::LogMark(_) => Table::LogMarks,
            Self::Waiting(_) => Table::Waiting,
            Self::Welcome(_) => Table::Welcomes,
            Self::Gone(_) => Table::Gone,
            Self::Proof(_) => Table::Proofs,
            Self::Offer(_) => Table::Offers,
        }
    }
}
