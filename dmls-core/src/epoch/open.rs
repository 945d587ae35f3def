//! Messages of an epoch: opened, verified, made (RFC 9420 6, 15). Opening consumes nothing.

use std::sync::Arc;

use rand_core::CryptoRng;
use thiserror::Error;

use super::proposals::{ProposalListError, Purpose, SentProposal};
use super::state::{Epoch, PendingLeaf};
use crate::codec::Bytes;
use crate::framing::{
    AuthenticatedContent, Content, ContentType, FramedContent, FramingError, MlsMessage, MlsMessageBody,
    Padding, PrivateMessage, Proposal, ProposalRef, PublicMessage, Sender, SenderData, WireFormat,
};
use crate::schedule::{RatchetError, RatchetType, Windows};
use crate::suite::{CryptoError, SignaturePrivateKey, SignaturePublicKey};
use crate::tree::{LeafIndex, LeafPosition, LeafTemplate};

/// Why a message of an epoch is not accepted. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// It is of another group.
    #[error("The message is of another group.")]
    WrongGroup,
    /// It is of another epoch.
    #[error("The message is of epoch {0}, not of this one.")]
    WrongEpoch(u64),
    /// It is a Welcome, a GroupInfo or a KeyPackage.
    #[error("A {0:?} is no message to a group.")]
    NotAGroupMessage(WireFormat),
    /// DESIGN 4.3: handshake messages of a DMLS group are always private.
    #[error("A DMLS group takes no PublicMessage.")]
    PublicInDmls,
    /// The sender's leaf is blank or not in the tree.
    #[error("The message is from leaf {0}, which has no member.")]
    UnknownMember(LeafIndex),
    /// RFC 9420 12.1.8.1: the group has no such external sender.
    #[error("The message is from external sender {0}, which the group has not.")]
    UnknownExternalSender(u32),
    /// RFC 9420 6: a sender of this type does not send such content.
    #[error("A sender that is no member sent what only members send.")]
    SenderContent,
    /// RFC 9420 6.1: the signature is invalid.
    #[error("The message's signature is invalid.")]
    Signature,
    /// There is no key for it.
    #[error(transparent)]
    Ratchet(#[from] RatchetError),
    /// Its protection does not hold.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Which key opened a PrivateMessage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedKey {
    /// The sender.
    pub leaf: LeafIndex,
    /// The ratchet.
    pub ratchet: RatchetType,
    /// The generation.
    pub generation: u32,
}

/// A message whose protection and signature hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub content: AuthenticatedContent,
    /// Which key opened it; none for a PublicMessage. [`Epoch::consume`] deletes it.
    pub key: Option<UsedKey>,
}

/// A message that an epoch made.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The epoch with its ratchet moved on, and an own proposal cached. To be stored before the message is sent.
    pub epoch: Epoch,
    /// What is sent.
    pub message: MlsMessage,
    /// What it says.
    pub content: AuthenticatedContent,
}

/// How a message is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sending {
    /// As a PublicMessage: proposals and commits of plain MLS only.
    pub public: bool,
    /// How a PrivateMessage is padded.
    pub padding: Padding,
    /// Data that is authenticated but not encrypted.
    pub authenticated_data: Bytes,
}

impl Sending {
    pub(super) fn wire_format(&self) -> WireFormat {
        if self.public { WireFormat::PublicMessage } else { WireFormat::PrivateMessage }
    }
}

fn ratchet(content_type: ContentType) -> RatchetType {
    match content_type {
        ContentType::Application => RatchetType::Application,
        ContentType::Proposal | ContentType::Commit => RatchetType::Handshake,
    }
}

impl Epoch {
    /// Opens a message of this epoch and verifies it: group, epoch, tag or AEAD, signature. Consumes nothing.
    ///
    /// # Errors
    /// [`OpenError`]; [`RatchetError::TooFarAhead`] alone passes with time.
    pub fn open(&self, message: &MlsMessage, windows: Windows) -> Result<Opened, OpenError> {
        match message.group_and_epoch() {
            Some((group, _)) if *group != self.context().group_id => return Err(OpenError::WrongGroup),
            Some((_, epoch)) if epoch != self.context().epoch => return Err(OpenError::WrongEpoch(epoch)),
            _ => {}
        }
        let (content, key) = match &message.body {
            MlsMessageBody::Public(message) => (self.unprotect(message)?, None),
            MlsMessageBody::Private(message) => {
                let (content, key) = self.decrypt(message, windows)?;
                (content, Some(key))
            }
            _ => return Err(OpenError::NotAGroupMessage(message.wire_format())),
        };
        self.verify(&content)?;
        Ok(Opened { content, key })
    }

    fn unprotect(&self, message: &PublicMessage) -> Result<AuthenticatedContent, OpenError> {
        if self.is_dmls() {
            return Err(OpenError::PublicInDmls);
        }
        let key = &self.secrets().membership_key;
        Ok(message.unprotect(self.suite(), self.context(), key)?)
    }

    fn decrypt(
        &self,
        message: &PrivateMessage,
        windows: Windows,
    ) -> Result<(AuthenticatedContent, UsedKey), OpenError> {
        let sender = message.open_sender_data(self.suite(), &self.secrets().sender_data_secret)?;
        let leaf = sender.leaf_index;
        self.leaf(leaf).ok_or(OpenError::UnknownMember(leaf))?;
        let (ratchet, generation) = (ratchet(message.content_type), sender.generation);
        let keys = self.secret_tree.peek(leaf, ratchet, generation, windows)?;
        let content = message.decrypt(self.suite(), &sender, &keys)?;
        Ok((content, UsedKey { leaf, ratchet, generation }))
    }

    fn verify(&self, content: &AuthenticatedContent) -> Result<(), OpenError> {
        let key = self.sender_key(content)?;
        content
            .verify(self.suite(), &key, self.context(), self.public().strictness())
            .map_err(|_| OpenError::Signature)?;
        Ok(())
    }

    /// The key that verifies a message (RFC 9420 6.1).
    fn sender_key(&self, content: &AuthenticatedContent) -> Result<SignaturePublicKey, OpenError> {
        let leaf = match (content.content.sender, &content.content.content) {
            (Sender::Member(leaf), _) => self.leaf(leaf).ok_or(OpenError::UnknownMember(leaf))?,
            (Sender::NewMemberProposal, Content::Proposal(Proposal::Add(add))) => &add.key_package.leaf_node,
            (Sender::NewMemberCommit, Content::Commit(commit)) => {
                &commit.path.as_ref().ok_or(OpenError::SenderContent)?.leaf_node
            }
            (Sender::External(index), Content::Proposal(_)) => return self.external_key(index),
            _ => return Err(OpenError::SenderContent),
        };
        Ok(leaf.signature_key.clone())
    }

    /// The key of an external sender (RFC 9420 12.1.8.1).
    fn external_key(&self, index: u32) -> Result<SignaturePublicKey, OpenError> {
        // The extension was checked when the epoch was entered: a malformed one has nobody in it.
        let senders = self.context().extensions.external_senders().unwrap_or_default();
        let sender = usize::try_from(index).ok().and_then(|index| senders.into_iter().nth(index));
        Ok(sender.ok_or(OpenError::UnknownExternalSender(index))?.signature_key)
    }

    /// The epoch without the key that opened a message, once what it said has been dealt with.
    ///
    /// # Errors
    /// [`RatchetError`] if the key is already gone.
    pub fn consume(&self, key: UsedKey, windows: Windows) -> Result<Self, RatchetError> {
        let mut next = self.clone();
        next.secret_tree.consume(key.leaf, key.ratchet, key.generation, windows)?;
        Ok(next)
    }

    /// The epoch with a proposal that a commit may then refer to. Its single rules are checked (RFC 9420 12.1).
    ///
    /// # Errors
    /// [`ProposalListError`] if it is not valid in this epoch.
    pub fn with_proposal(
        &self,
        content: &AuthenticatedContent,
    ) -> Result<(Self, ProposalRef), ProposalListError> {
        let Content::Proposal(proposal) = &content.content.content else {
            return Err(ProposalListError::NotAProposal);
        };
        let reference = content.proposal_ref(self.suite())?;
        let sent = SentProposal {
            sender: content.content.sender,
            proposal: proposal.clone(),
            reference: Some(reference.clone()),
        };
        self.public().check_proposal(&sent, Purpose::Ordinary)?;
        let mut next = self.clone();
        Arc::make_mut(&mut next.proposals).insert(reference.clone(), sent);
        Ok((next, reference))
    }

    /// The epoch without its cached proposals and the private keys of own proposed leaves.
    #[must_use]
    pub fn forget_proposals(&self) -> Self {
        Self { proposals: Arc::default(), pending_leaves: Arc::default(), ..self.clone() }
    }

    /// Signs and protects a message of this member: application data or a proposal. An own proposal is cached.
    ///
    /// # Errors
    /// [`SealError`]; commits are made by [`Epoch::create_commit`].
    pub fn seal(
        &self,
        content: Content,
        sending: &Sending,
        rng: &mut dyn CryptoRng,
    ) -> Result<Sealed, SealError> {
        if matches!(content, Content::Commit(_)) {
            return Err(SealError::Commit);
        }
        let content = self.sign(content, sending)?;
        let (mut epoch, message) = self.protect(&content, sending, rng)?;
        if let Content::Proposal(proposal) = &content.content.content
            && !matches!(proposal, Proposal::DmlsMeta(_))
        {
            (epoch, _) = epoch.with_proposal(&content)?;
        }
        Ok(Sealed { epoch, message, content })
    }

    /// An Update proposal with a fresh key, and if one is given a new signature key.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_update(
        &self,
        template: &LeafTemplate,
        signature_private: Option<SignaturePrivateKey>,
        sending: &Sending,
        rng: &mut dyn CryptoRng,
    ) -> Result<Sealed, SealError> {
        let signature_private = signature_private.unwrap_or_else(|| self.signature_private().clone());
        let position =
            LeafPosition { group_id: self.context().group_id.as_slice(), leaf_index: self.own_leaf() };
        let (leaf_node, leaf_private) = template.update(self.suite(), position, &signature_private, rng)?;
        let key = leaf_node.encryption_key.clone();
        let update = crate::framing::Update { leaf_node };
        let mut sealed = self.seal(Content::Proposal(Proposal::Update(update)), sending, rng)?;
        let pending = PendingLeaf { leaf_private, signature_private };
        Arc::make_mut(&mut sealed.epoch.pending_leaves).insert(key, pending);
        Ok(sealed)
    }

    pub(super) fn sign(
        &self,
        content: Content,
        sending: &Sending,
    ) -> Result<AuthenticatedContent, SealError> {
        let content = FramedContent {
            group_id: self.context().group_id.clone(),
            epoch: self.context().epoch,
            sender: Sender::Member(self.own_leaf()),
            authenticated_data: sending.authenticated_data.clone(),
            content,
        };
        let format = sending.wire_format();
        Ok(AuthenticatedContent::sign(
            self.suite(),
            format,
            content,
            self.context(),
            self.signature_private(),
        )?)
    }

    /// Protects a signed message: the epoch with its ratchet moved on, and the message.
    pub(super) fn protect(
        &self,
        content: &AuthenticatedContent,
        sending: &Sending,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, MlsMessage), SealError> {
        let mut next = self.clone();
        if sending.public {
            if self.is_dmls() {
                return Err(SealError::PublicInDmls);
            }
            let key = &self.secrets().membership_key;
            let message = PublicMessage::protect(self.suite(), content.clone(), self.context(), key)?;
            return Ok((next, message.into()));
        }
        let own =
            next.secret_tree.next_own(self.own_leaf(), ratchet(content.content.content.content_type()))?;
        let sender = SenderData::new(self.own_leaf(), own.generation, rng);
        let secret = &self.secrets().sender_data_secret;
        let message =
            PrivateMessage::encrypt(self.suite(), content, &sender, &own.keys, secret, sending.padding)?;
        Ok((next, message.into()))
    }
}

/// Why a message could not be made. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// Commits are made in another way.
    #[error("A commit is not sealed as a message by itself.")]
    Commit,
    /// DESIGN 4.3: handshake messages of a DMLS group are always private.
    #[error("A DMLS group sends no PublicMessage.")]
    PublicInDmls,
    /// The proposal would not be valid.
    #[error(transparent)]
    Proposal(#[from] ProposalListError),
    /// There is no key left.
    #[error(transparent)]
    Ratchet(#[from] RatchetError),
    /// It cannot be protected.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}
