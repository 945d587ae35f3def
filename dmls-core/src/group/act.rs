//! What the user does: send, invite, remove, refresh, leave.

use thiserror::Error;

use super::Group;
use super::commit::Intent;
use super::judge::judge_key_package;
use super::options::limits;
use super::speak::{SpeakError, other_tips};
use super::state::Place;
use super::step::{Event, Step};
use super::store::{Key, Table};
use super::transaction::Transaction;
use crate::codec::{Bytes, CodecError, encode};
use crate::epoch::CreateError;
use crate::framing::{
    Add, Content, DmlsApplication, DmlsError, KeyPackage, KeyPackageError, MlsMessage, MlsMessageBody,
    Proposal, Remove,
};
use crate::identity::IdentityError;
use crate::schedule::{DmlsKeyError, EpochId, RatchetType};
use crate::suite::CryptoError;
use crate::tree::LeafIndex;
use rand_core::CryptoRng;

/// Why a call did nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ActionError {
    /// The winning branch has removed this client, or it cannot enter it.
    #[error("This client is not in the group any more; somebody has to invite it again.")]
    NotAMember,
    /// The payload is too large.
    #[error("The payload has {0} bytes; at most 1 MiB can be sent in one message.")]
    PayloadTooLarge(usize),
    /// The key package is malformed.
    #[error("The key package cannot be read: {0}")]
    KeyPackageEncoding(#[from] CodecError),
    /// The bytes are another message than a key package.
    #[error("The message is not a key package.")]
    NotAKeyPackage,
    /// The key package is not valid.
    #[error("The key package is not valid: {0}")]
    KeyPackage(#[from] KeyPackageError),
    /// The key package is not shown to be of whom it names.
    #[error("The client cannot be added: {0}")]
    Identity(#[from] IdentityError),
    /// Too many at once.
    #[error("At most 256 members can be added at once.")]
    TooManyAdds,
    /// There is nobody on that leaf.
    #[error("There is no member on leaf {0}.")]
    NoSuchMember(LeafIndex),
    /// This client cannot remove itself by a commit of its own.
    #[error("A member cannot remove itself; leave the group instead.")]
    OwnRemoval,
    /// This client has voted or committed in this epoch already, and may do so once only.
    #[error("This client has already chosen a child of this epoch; wait until the group has decided.")]
    AlreadyCommitted,
    /// Too many own commits wait for the others to confirm them.
    #[error("The last {commits} commits of this client are not final yet; wait {wait_s} s before another.")]
    TooEager {
        /// How many.
        commits: u32,
        /// How long to wait, in seconds.
        wait_s: u64,
    },
    /// The only member has nobody who could remove it.
    #[error("The only member of a group cannot leave it; delete the group instead.")]
    OnlyMember,
    /// The client has asked to leave already.
    #[error("This client has already asked to leave.")]
    AlreadyLeaving,
    /// No admin would be left among the members: nobody could ever change the group again.
    #[error("No admin would be a member; nobody could change the group any more. Name another admin first.")]
    NoAdminLeft,
    /// Too many admins.
    #[error("A group has at most 256 admins.")]
    TooManyAdmins,
    /// The profile could not be encoded.
    #[error(transparent)]
    Profile(#[from] DmlsError),
    /// The commit could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The message could not be made.
    #[error(transparent)]
    Speak(#[from] SpeakError),
    /// The child's secret could not be derived.
    #[error(transparent)]
    Key(#[from] DmlsKeyError),
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The commit is not valid in the history.
    #[error("The commit could not be recorded: {0}")]
    Record(String),
}

impl Group {
    /// Sends an application message in the head. If a merge is about to remove somebody, it is made first; if this client
    /// may not make it, or not yet, the message is sent all the same and [`super::Event::RemovalPending`] says so.
    ///
    /// # Errors
    /// [`ActionError`]; then nothing has changed.
    pub fn send(&self, payload: &[u8], now_ms: u64, rng: &mut dyn CryptoRng) -> Result<Step, ActionError> {
        if payload.len() > limits::PAYLOAD_BYTES {
            return Err(ActionError::PayloadTooLarge(payload.len()));
        }
        let mut transaction = Transaction::new(self, now_ms, rng);
        transaction.merge_before_sending();
        let head = transaction.member_head()?;
        let keys = transaction.keys_of(&head)?;
        let data = DmlsApplication {
            generation: keys.epoch.next_generation(RatchetType::Application).ok_or(SpeakError::NoKeys)?,
            heads: other_tips(&transaction.group.history, &head),
            payload: payload.into(),
        };
        let id = transaction.seal(&head, Content::Application(encode(&data)?.into()))?;
        let number = keys.epoch.context().epoch;
        transaction.event(Event::Sent { id, epoch: head.clone(), number });
        transaction.mark_sent(&head);
        let own = keys.epoch.own_leaf();
        transaction.evidence |= transaction.group.history.record_spoken(&head, own).unwrap_or(false);
        if let Some(record) = transaction.group.history.epoch_mut(&head) {
            record.messages += 1;
        }
        Ok(transaction.finish(None)?)
    }

    /// Adds the makers of these key packages (encoded `MLSMessage`s) by a commit, at once.
    ///
    /// # Errors
    /// [`ActionError`]; then nothing has changed.
    pub fn invite(
        &self,
        key_packages: &[Vec<u8>],
        now_ms: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step, ActionError> {
        if key_packages.len() > limits::ADDS {
            return Err(ActionError::TooManyAdds);
        }
        let add = |bytes: &Vec<u8>| -> Result<Proposal, ActionError> {
            let key_package = read_key_package(bytes)?;
            judge_key_package(&key_package, self.suite, &self.options, now_ms)?;
            Ok(Proposal::Add(Add { key_package: Box::new(key_package) }))
        };
        let proposals = key_packages.iter().map(add).collect::<Result<_, _>>()?;
        self.commit_now(proposals, now_ms, rng)
    }

    /// Removes a member by a commit, at once.
    ///
    /// # Errors
    /// [`ActionError`]; then nothing has changed.
    pub fn remove(&self, leaf: LeafIndex, now_ms: u64, rng: &mut dyn CryptoRng) -> Result<Step, ActionError> {
        let epoch = &self.keys.get(&self.state.head).ok_or(SpeakError::NoKeys)?.epoch;
        if leaf == epoch.own_leaf() {
            return Err(ActionError::OwnRemoval);
        }
        if epoch.leaf(leaf).is_none() {
            return Err(ActionError::NoSuchMember(leaf));
        }
        self.commit_now(vec![Proposal::Remove(Remove { removed: leaf })], now_ms, rng)
    }

    /// Replaces this client's keys by a commit, at once.
    ///
    /// # Errors
    /// [`ActionError`]; then nothing has changed.
    pub fn refresh(&self, now_ms: u64, rng: &mut dyn CryptoRng) -> Result<Step, ActionError> {
        self.commit_now(Vec::new(), now_ms, rng)
    }

    /// Asks to be removed. Another member commits that in its turn; [`super::Event::Removed`] says when it is so.
    ///
    /// # Errors
    /// [`ActionError`]; then nothing has changed.
    pub fn leave(&self, now_ms: u64, rng: &mut dyn CryptoRng) -> Result<Step, ActionError> {
        let mut transaction = Transaction::new(self, now_ms, rng);
        let head = transaction.member_head()?;
        if transaction.group.state.leaving {
            return Err(ActionError::AlreadyLeaving);
        }
        if transaction.keys_of(&head)?.epoch.tree().member_count() < 2 {
            return Err(ActionError::OnlyMember);
        }
        if self.is_last_admin(transaction.keys_of(&head)?.epoch.own_leaf()) {
            return Err(ActionError::NoAdminLeft);
        }
        transaction.group.state.leaving = true;
        transaction.propose_own_removal(&head)?;
        Ok(transaction.finish(None)?)
    }

    pub(super) fn commit_now(
        &self,
        proposals: Vec<Proposal>,
        now_ms: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step, ActionError> {
        let mut transaction = Transaction::new(self, now_ms, rng);
        transaction.commit_on_head(Intent { proposals, merge: None })?;
        Ok(transaction.finish(None)?)
    }

    /// Forgets a Welcome that has been delivered.
    pub fn welcome_delivered(&self, key_package: &Bytes) -> Step {
        let mut group = self.clone();
        group.welcomes.remove(key_package);
        let mut changes = super::Changes::default();
        changes.delete(Key::named(Table::Welcomes, &self.id, key_package.as_slice()));
        Step { group, changes, effects: Vec::new(), disposition: None }
    }
}

/// Reads a key package from an `MLSMessage`.
pub(super) fn read_key_package(bytes: &[u8]) -> Result<KeyPackage, ActionError> {
    match MlsMessage::from_bytes(bytes)?.body {
        MlsMessageBody::KeyPackage(key_package) => Ok(key_package),
        _ => Err(ActionError::NotAKeyPackage),
    }
}

impl Transaction<'_> {
    /// The head, if this client is a member of it and may speak.
    pub(super) fn member_head(&self) -> Result<EpochId, ActionError> {
        match self.group.state.place {
            Place::Member => Ok(self.group.state.head.clone()),
            Place::Outside { .. } => Err(ActionError::NotAMember),
        }
    }

    /// Proposes this client's own removal in an epoch.
    pub(super) fn propose_own_removal(&mut self, epoch: &EpochId) -> Result<(), ActionError> {
        let keys = self.keys_of(epoch)?;
        let removed = keys.epoch.own_leaf();
        self.seal(epoch, Content::Proposal(Proposal::Remove(Remove { removed })))?;
        self.mark_sent(epoch);
        Ok(())
    }
}
