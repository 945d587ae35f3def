//! Plain MLS (RFC 9420): one line of epochs, with somebody who puts the commits in order.
//!
//! **What it does.** [`PlainGroup`] holds a member's state of one group: its epoch, a commit of its own that waits to be
//! taken, and the resumption PSKs of epochs gone by. Secrets are deleted as RFC 9420 9.2 says.
//!
//! **What it never does.** It does not decide which commit wins: the host calls [`PlainGroup::merge_pending`] when its own
//! has, and [`PlainGroup::process`] on another one. It refuses DMLS groups.
//!
//! **How to drive it.** Found or join, then `propose_*`, [`PlainGroup::commit`], [`PlainGroup::encrypt`] and
//! [`PlainGroup::process`]. A method that fails changes nothing. Store [`PlainGroup::snapshot`] before sending anything.

mod create;
mod receive;
mod send;
mod successor;

use std::collections::VecDeque;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::commit::CommitError;
use super::create::CreateError;
use super::enter::PskStore;
use super::open::{OpenError, SealError, Sending};
use super::proposals::ProposalListError;
use super::record::{EpochRecord, RecordError};
use super::state::Epoch;
use super::welcome_in::WelcomeError;
use super::welcome_out::GroupInfoOptions;
use crate::codec::{Bytes, CodecError};
use crate::framing::{GroupInfo, MlsMessage, Padding, ReInit};
use crate::schedule::{LeafRatchets, PreSharedKeyId, PskType, RatchetError, Windows};
use crate::suite::{CryptoError, HpkePrivateKey, HpkePublicKey, Secret, Suite};
use crate::tree::{LeafIndex, LeafNode, NodesError, PrivateKeys, RatchetTree};

pub use receive::{Advanced, Processed};
pub use send::{Committed, PlainCommit, References};
pub use successor::Successor;

/// Proposals of one sender that are kept in an epoch: what bounds the memory that others can take.
pub const MAX_PROPOSALS: usize = 256;

/// How a member behaves in a group. Nobody else needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlainConfig {
    /// Whether proposals and commits go out as PublicMessages.
    pub public_handshake: bool,
    /// How PrivateMessages are padded.
    pub padding: Padding,
    /// For how many epochs gone by the resumption PSK is kept.
    pub resumption_epochs: usize,
    /// Whether GroupInfos carry the ratchet tree.
    pub ratchet_tree: bool,
    /// How far from order messages may come.
    pub windows: Windows,
}

impl Default for PlainConfig {
    /// Private handshakes, no padding, 16 epochs, trees in GroupInfos.
    fn default() -> Self {
        Self {
            public_handshake: false,
            padding: Padding::None,
            resumption_epochs: 16,
            ratchet_tree: true,
            windows: Windows::default(),
        }
    }
}

impl PlainConfig {
    fn handshake(&self, authenticated_data: &[u8]) -> Sending {
        Sending {
            public: self.public_handshake,
            padding: self.padding,
            authenticated_data: authenticated_data.into(),
        }
    }

    fn group_info(&self, external_pub: bool) -> GroupInfoOptions {
        GroupInfoOptions { ratchet_tree: self.ratchet_tree, external_pub, ..GroupInfoOptions::default() }
    }
}

/// Why a step of a plain group failed. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlainError {
    /// The group has the DMLS profile.
    #[error("The group is a DMLS group, not a plain one.")]
    NotPlain,
    /// RFC 9420 11.2: after a ReInit nothing is sent in the group any more.
    #[error("The group has been closed by a re-initialisation.")]
    Ended,
    /// There is no re-initialisation to follow.
    #[error("The group has not been closed by a re-initialisation.")]
    NotEnded,
    /// An own commit waits for its fate.
    #[error("A commit of this member is pending.")]
    CommitPending,
    /// No own commit waits.
    #[error("No commit of this member is pending.")]
    NoCommitPending,
    /// RFC 9420 12: proposals are to be committed before application data is sent.
    #[error("There are proposals that have not been committed.")]
    UncommittedProposals,
    /// The sender has too many proposals in this epoch; those who only ask to join count as one sender.
    #[error("The sender has {MAX_PROPOSALS} proposals in this epoch already.")]
    TooManyProposals,
    /// RFC 9420 11.2, 11.3: the Welcome belongs to a group that follows another, which must be named.
    #[error("The Welcome is for a group that follows another one.")]
    FollowsAGroup,
    /// RFC 9420 11.2, 11.3: the Welcome does not prove that the group follows this one.
    #[error("The Welcome has no resumption PSK of this group's epoch for this purpose.")]
    DoesNotFollow,
    /// RFC 9420 11.2: the new group is not as the ReInit says.
    #[error("The new group is not the one that the ReInit announced.")]
    ReInitMismatch,
    /// RFC 9420 11.3: the branch has another version or suite.
    #[error("The branch has another version or cipher suite than its group.")]
    BranchMismatch,
    /// RFC 9420 11.3: the branch has somebody who is not in the group.
    #[error("Member {0} of the branch is not a member of the group.")]
    BranchMember(LeafIndex),
    /// The message is not accepted.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The message cannot be made.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The proposal is not valid.
    #[error(transparent)]
    Proposal(#[from] ProposalListError),
    /// The commit is not valid.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The commit cannot be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The group cannot be joined.
    #[error(transparent)]
    Welcome(#[from] WelcomeError),
    /// There is no key.
    #[error(transparent)]
    Ratchet(#[from] RatchetError),
    /// A stored group is damaged.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The tree of a stored group is damaged.
    #[error(transparent)]
    Nodes(#[from] NodesError),
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// Something cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// An own commit that waits to be taken, or lost.
#[derive(Debug, Clone)]
struct Pending {
    message: MlsMessage,
    child: Epoch,
    reinit: Option<ReInit>,
}

/// A member's state of a plain MLS group.
#[derive(Debug, Clone)]
pub struct PlainGroup {
    config: PlainConfig,
    epoch: Epoch,
    pending: Option<Box<Pending>>,
    /// Resumption PSKs of epochs gone by, oldest first.
    resumption: VecDeque<(u64, Secret)>,
    ended: Option<ReInit>,
}

/// A group as it is stored: whole. It holds secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct PlainSnapshot {
    config: PlainConfig,
    epoch: EpochSnapshot,
    pending: Option<(MlsMessage, EpochSnapshot, Option<ReInit>)>,
    resumption: VecDeque<(u64, Secret)>,
    ended: Option<ReInit>,
}

impl std::fmt::Debug for PlainSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainSnapshot").finish_non_exhaustive()
    }
}

/// An epoch with everything that it needs.
#[derive(Clone, Serialize, Deserialize)]
struct EpochSnapshot {
    record: EpochRecord,
    tree: Bytes,
    keys: Vec<(HpkePublicKey, HpkePrivateKey)>,
    ratchets: Vec<(LeafIndex, LeafRatchets)>,
}

impl EpochSnapshot {
    fn of(epoch: &Epoch) -> Result<Self, CodecError> {
        let (keys, ratchets) = (epoch.private_keys().iter(), epoch.secret_tree().leaves());
        Ok(Self {
            record: epoch.to_record(),
            tree: epoch.tree().to_extension().encode()?.into(),
            keys: keys.map(|(public, private)| (public.clone(), HpkePrivateKey::clone(private))).collect(),
            ratchets: ratchets.map(|(leaf, ratchets)| (leaf, ratchets.clone())).collect(),
        })
    }

    fn restore(self) -> Result<Epoch, PlainError> {
        let tree = RatchetTree::from_extension(self.record.suite()?, self.tree.as_slice())?;
        let keys = PrivateKeys::from_iter(self.keys);
        let private_key = |key: &_| keys.get(key).map(|private| (**private).clone());
        Ok(Epoch::from_record(self.record, tree, &private_key, self.ratchets)?)
    }
}

/// The host's PSKs and the group's own.
struct GroupPsks<'a> {
    group: &'a PlainGroup,
    host: &'a dyn PskStore,
}

impl PskStore for GroupPsks<'_> {
    fn psk(&self, psk: &PskType) -> Option<Secret> {
        self.group.resumption_psk(psk).or_else(|| self.host.psk(psk))
    }
}

impl PlainGroup {
    fn of(epoch: Epoch, config: PlainConfig) -> Result<Self, PlainError> {
        if epoch.is_dmls() {
            return Err(PlainError::NotPlain);
        }
        Ok(Self { config, epoch, pending: None, resumption: VecDeque::new(), ended: None })
    }

    /// The current epoch.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// How this member behaves.
    pub fn config(&self) -> &PlainConfig {
        &self.config
    }

    /// Changes how this member behaves.
    pub fn set_config(&mut self, config: PlainConfig) {
        self.config = config;
    }

    /// The group's suite.
    pub fn suite(&self) -> Suite {
        self.epoch.suite()
    }

    /// The group's id.
    pub fn group_id(&self) -> &Bytes {
        &self.epoch.context().group_id
    }

    /// The own leaf.
    pub fn own_leaf(&self) -> LeafIndex {
        self.epoch.own_leaf()
    }

    /// The members.
    pub fn members(&self) -> impl Iterator<Item = (LeafIndex, &LeafNode)> {
        self.epoch.tree().leaves()
    }

    /// What members compare to see that they agree (RFC 9420 8.7).
    pub fn epoch_authenticator(&self) -> &Secret {
        self.epoch.epoch_authenticator()
    }

    /// `MLS-Exporter` (RFC 9420 8.5).
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] if `length` is more than the KDF gives.
    pub fn export(&self, label: &str, context: &[u8], length: usize) -> Result<Secret, CryptoError> {
        self.epoch.export(label, context, length)
    }

    /// The re-initialisation that closed the group, if one has.
    pub fn ended(&self) -> Option<&ReInit> {
        self.ended.as_ref()
    }

    /// Whether an own commit waits for its fate.
    pub fn has_pending_commit(&self) -> bool {
        self.pending.is_some()
    }

    /// A GroupInfo; with `external_pub`, others can join by it.
    ///
    /// # Errors
    /// [`CryptoError`] if it cannot be signed.
    pub fn group_info(&self, external_pub: bool) -> Result<GroupInfo, CryptoError> {
        self.epoch.group_info(&self.config.group_info(external_pub), None)
    }

    /// Names a PSK, with a fresh nonce.
    pub fn psk_id(&self, psktype: PskType, rng: &mut dyn CryptoRng) -> PreSharedKeyId {
        let psk_nonce = self.suite().random_secret(rng).as_slice().into();
        PreSharedKeyId { psktype, psk_nonce }
    }

    /// The resumption PSK of this group's current epoch, or of one that is not too long ago.
    fn resumption_psk(&self, psk: &PskType) -> Option<Secret> {
        match psk {
            PskType::Resumption { psk_group_id, psk_epoch, .. } if psk_group_id == self.group_id() => {
                if *psk_epoch == self.epoch.context().epoch {
                    return Some(self.epoch.secrets().resumption_psk.clone());
                }
                self.resumption.iter().find(|(epoch, _)| epoch == psk_epoch).map(|(_, psk)| psk.clone())
            }
            _ => None,
        }
    }

    /// Moves on to the next epoch; the secrets of the old one go, but for its resumption PSK.
    fn advance(&mut self, epoch: Epoch, reinit: Option<ReInit>) {
        let old = std::mem::replace(&mut self.epoch, epoch);
        self.resumption.push_back((old.context().epoch, old.secrets().resumption_psk.clone()));
        while self.resumption.len() > self.config.resumption_epochs {
            self.resumption.pop_front();
        }
        self.pending = None;
        self.ended = reinit;
    }

    /// A member that lies about the ReInit.
    #[cfg(test)]
    pub(super) fn set_ended(&mut self, reinit: ReInit) {
        self.ended = Some(reinit);
    }

    fn check_open(&self) -> Result<(), PlainError> {
        if self.ended.is_some() { Err(PlainError::Ended) } else { Ok(()) }
    }

    /// The whole state, to be stored.
    ///
    /// # Errors
    /// [`CodecError::BadLength`] if the tree is too large to be encoded.
    pub fn snapshot(&self) -> Result<PlainSnapshot, CodecError> {
        let pending = |pending: &Pending| {
            let child = EpochSnapshot::of(&pending.child)?;
            Ok::<_, CodecError>((pending.message.clone(), child, pending.reinit.clone()))
        };
        Ok(PlainSnapshot {
            config: self.config.clone(),
            epoch: EpochSnapshot::of(&self.epoch)?,
            pending: self.pending.as_deref().map(pending).transpose()?,
            resumption: self.resumption.clone(),
            ended: self.ended.clone(),
        })
    }

    /// A stored group.
    ///
    /// # Errors
    /// [`PlainError::Record`] or [`PlainError::Nodes`] if it is damaged.
    pub fn restore(snapshot: PlainSnapshot) -> Result<Self, PlainError> {
        let pending = match snapshot.pending {
            None => None,
            Some((message, child, reinit)) => {
                Some(Box::new(Pending { message, child: child.restore()?, reinit }))
            }
        };
        let PlainSnapshot { config, epoch, resumption, ended, .. } = snapshot;
        Ok(Self { config, epoch: epoch.restore()?, pending, resumption, ended })
    }
}
