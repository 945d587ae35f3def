//! What the user does: send, invite, remove, refresh, leave.

use std::sync::Arc;

use thiserror::Error;

use super::authority::{Authority, is_authorised};
use super::handshake::{NewChild, removed_by};
use super::options::limits;
use super::records::Value;
use super::speak::{SpeakError, other_tips};
use super::state::Place;
use super::step::{Effect, Step};
use super::store::{Key, Table};
use super::transaction::Transaction;
use super::{Group, Keys};
use crate::codec::{Bytes, CodecError, encode};
use crate::epoch::{CommitRequest, CreateError, InitSource, NoPsks};
use crate::framing::{
    Add, Content, DmlsApplication, DmlsJoin, KeyPackage, KeyPackageError, KeyPackagePolicy, MlsMessage,
    MlsMessageBody, Proposal, ProposalRef, Remove,
};
use crate::schedule::{CommitId, DmlsKeyError, EpochId, GroupContext, RatchetType, child_init_input};
use crate::suite::{CryptoError, Secret, Strictness};
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
    /// Sends an application message in the head.
    ///
    /// # Errors
    /// [`ActionError`]; then nothing has changed.
    pub fn send(&self, payload: &[u8], now_ms: u64, rng: &mut dyn CryptoRng) -> Result<Step, ActionError> {
        if payload.len() > limits::PAYLOAD_BYTES {
            return Err(ActionError::PayloadTooLarge(payload.len()));
        }
        let mut transaction = Transaction::new(self, now_ms, rng);
        let head = transaction.member_head()?;
        let keys = transaction.keys_of(&head)?;
        let data = DmlsApplication {
            generation: keys.epoch.next_generation(RatchetType::Application).ok_or(SpeakError::NoKeys)?,
            heads: other_tips(&self.history, &head),
            payload: payload.into(),
        };
        transaction.seal(&head, Content::Application(encode(&data)?.into()))?;
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
            // Whoever adds checks the lifetime; whoever receives the commit does not (DESIGN 4.4).
            let now = Some(now_ms / 1000);
            let policy = KeyPackagePolicy {
                suite: self.suite,
                strictness: Strictness::Canonical,
                now,
                last_resort: false,
            };
            key_package.validate(&policy)?;
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
        transaction.group.state.leaving = true;
        transaction.propose_own_removal(&head)?;
        Ok(transaction.finish(None)?)
    }

    fn commit_now(
        &self,
        proposals: Vec<Proposal>,
        now_ms: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step, ActionError> {
        let mut transaction = Transaction::new(self, now_ms, rng);
        transaction.commit_on_head(proposals)?;
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

    /// Whether this client may commit once more: it does not pile up commits that nobody confirms (DESIGN 4.7).
    fn be_patient(&self, head: &EpochId) -> Result<(), ActionError> {
        let Group { history, keys, options, state, .. } = &self.group;
        let newest_final = history.newest_final(head, &|epoch| self.group.is_closed(epoch));
        let own = |at: &EpochId, commit: &CommitId| {
            let committer =
                history.epoch(at).and_then(|epoch| epoch.children.get(commit)).map(|c| c.committer);
            committer.is_some() && committer == keys.get(at).map(|keys| keys.epoch.own_leaf())
        };
        // From the head up to what is final.
        let open = history
            .ancestors(head)
            .zip(std::iter::once(head).chain(history.ancestors(head).map(|(at, _)| at)));
        let open = open.take_while(|(_, below)| Some(*below) != newest_final);
        let commits = open.filter(|((at, commit), _)| own(at, commit)).count();
        let commits = u32::try_from(commits).unwrap_or(u32::MAX);
        let Some(excess) = commits.checked_sub(options.own_commits) else { return Ok(()) };
        let wait = options
            .own_commit_wait_ms
            .saturating_mul(1 << excess.min(32))
            .min(options.own_commit_max_wait_ms);
        let left = state.committed_at.saturating_add(wait).saturating_sub(state.now_ms);
        if left == 0 { Ok(()) } else { Err(ActionError::TooEager { commits, wait_s: left.div_ceil(1000) }) }
    }

    /// Commits these proposals, and those that wait in the head, with a new path: the child is made and the parent
    /// punctured before the first byte leaves (DESIGN 4.3).
    pub(super) fn commit_on_head(&mut self, proposals: Vec<Proposal>) -> Result<(), ActionError> {
        let head = self.member_head()?;
        if self.group.history.epoch(&head).is_none_or(|record| record.own.named.is_some()) {
            return Err(ActionError::AlreadyCommitted);
        }
        self.be_patient(&head)?;
        let meta = self.meta(&head).map_err(ActionError::Speak)?;
        let keys = self.keys_of(&head)?;
        let references = self.committable(&keys, &proposals);
        let suite = self.group.suite;
        let puncturing = self.group.options.puncturing;
        let mut init = keys.init.as_ref().clone();
        let created = {
            let mut evaluate = |conf: &Secret, context: &GroupContext| {
                let x = child_init_input(suite, conf, context)?;
                if puncturing { init.evaluate_and_puncture(&x) } else { init.evaluate(&x) }
            };
            let mut request = CommitRequest::new(&NoPsks, &Authority);
            request.proposals = proposals;
            request.references = references;
            request.meta = Some(meta);
            request.sending = self.sending();
            request.group_info.join = Some(DmlsJoin { parent: head.0.clone(), ..DmlsJoin::default() });
            keys.epoch.create_commit(&request, InitSource::Dmls(&mut evaluate), self.rng)?
        };
        let dmls = created.dmls.ok_or(ActionError::NotAMember)?;
        let child = Keys { epoch: Arc::new(created.child), init: Arc::new(dmls.parent_init) };
        let parent_keys = Keys { epoch: Arc::new(created.parent), init: Arc::new(init) };
        self.group.state.committed_at = self.now();
        let added: Vec<Bytes> = created.commit.added.iter().map(|added| added.reference.clone()).collect();
        let new = NewChild {
            parent: head.clone(),
            parent_keys,
            commit: created.commit,
            child: Ok((dmls.dmls_epoch, child)),
        };
        if let super::receive::Outcome::Rejected(rule) = self.add_child(new, Some(())) {
            return Err(ActionError::Record(rule));
        }
        // What is published is stored with the child that it leads to.
        self.publish(&head, created.message)?;
        self.mark_handshake(&head);
        let own = keys.epoch.own_leaf();
        self.evidence |= self.group.history.record_spoken(&head, own).unwrap_or(false);
        if let Some(welcome) = created.welcome {
            self.deliver(&added, MlsMessage::from(welcome).to_bytes()?);
        }
        Ok(())
    }

    /// The proposals of the head that this client may commit beside `proposals`: removals of others.
    fn committable(&self, keys: &Keys, proposals: &[Proposal]) -> Vec<ProposalRef> {
        let own = keys.epoch.own_leaf();
        let mut taken = removed_by(proposals.iter());
        let mut references = Vec::new();
        for (reference, sent) in keys.epoch.proposals() {
            if let Proposal::Remove(remove) = &sent.proposal
                && remove.removed != own
                && is_authorised(keys.epoch.public(), sent)
                && keys.epoch.leaf(remove.removed).is_some()
                && taken.insert(remove.removed)
            {
                references.push(reference.clone());
            }
        }
        references
    }

    /// Stores a Welcome for everybody who was added, until each has it.
    fn deliver(&mut self, key_packages: &[Bytes], bytes: Vec<u8>) {
        for key_package in key_packages {
            let key = Key::named(Table::Welcomes, &self.group.id, key_package.as_slice());
            self.changes.put(key, Value::Welcome(bytes.clone().into()));
            self.group.welcomes.insert(key_package.clone());
            self.effects.push(Effect::Welcome { key_package: key_package.clone(), bytes: bytes.clone() });
        }
    }
}
