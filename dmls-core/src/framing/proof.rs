//! Proof that one signature key has named two children of one epoch (DESIGN 4.4, 4.7). It needs no group to verify.
//!
//! A statement names a child of the fork point P if it is
//! - a commit on P: the child that it makes;
//! - a vote in P: the child that it votes for;
//! - a handshake message below P whose `since` is empty: the child that it lies below. The commits in between link it
//!   to P, for its signature covers the transcript hash that they lead to.
//!
//! Not provable this way: a message below P with a `since` (epoch ids of the past cannot be told from its signature),
//! or behind a commit that refers to proposals or adds the same key again (then it may speak for a new incarnation),
//! or under a new signature key.

use thiserror::Error;
use tls_codec::{DeserializeBytes, Error as TlsError};

use super::content::{AuthenticatedContent, Content, FramedContent, WireFormat};
use super::dmls::{DmlsMeta, DmlsProfile, bounded, read_list};
use super::proposal::{Commit, Proposal, ProposalOrRef};
use crate::codec::{Bytes, CodecError, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::schedule::{GroupContext, confirmed_transcript_hash, interim_transcript_hash};
use crate::suite::{CryptoError, SignaturePublicKey, Strictness, Suite};
use crate::tree::LeafIndex;

/// Commits between the fork point and a statement at most.
pub const MAX_PROOF_COMMITS: usize = 8;
/// Bytes of a proof at most.
pub const MAX_PROOF_LEN: usize = 256 << 10;

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProofError {
    /// It cannot be read.
    #[error("The proof cannot be read: {0}")]
    Codec(#[from] CodecError),
    /// It is longer than a proof may be.
    #[error("The proof is longer than 256 KiB.")]
    TooLong,
    /// The suite is not known, or a signature is not valid under the key.
    #[error("A statement of the proof is not signed by the key: {0}")]
    Signature(#[from] CryptoError),
    /// It accuses another key.
    #[error("The proof is about another signature key.")]
    OtherKey,
    /// A statement is not a private handshake message of a member of a DMLS group in the epoch that is given for it.
    #[error("A statement of the proof is not a handshake message of its epoch.")]
    NotOfTheEpoch,
    /// The two statements come from two leaves.
    #[error("The two statements have different senders.")]
    TwoSenders,
    /// A statement names no child of the fork point.
    #[error("A statement of the proof names no child of the fork point.")]
    NamesNothing,
    /// A statement's commits do not lead from the fork point to its epoch.
    #[error("The commits of the proof do not lead from the fork point to the statement.")]
    NotLinked,
    /// A commit on the way may have made the sender somebody new.
    #[error("The sender may be another member at the statement than at the fork point.")]
    NotTheSameMember,
    /// The two statements name one child. Two signatures, tags or copies of one content are one statement.
    #[error("The two statements do not contradict each other.")]
    NoContradiction,
}

/// What links a statement that was signed below the fork point to it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize)]
pub struct Below {
    /// The context of the epoch in which the statement was signed.
    pub context: GroupContext,
    /// The commits that lead there, from the one on the fork point on.
    pub commits: Vec<AuthenticatedContent>,
}

impl DeserializeBytes for Below {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), TlsError> {
        let (context, rest) = GroupContext::tls_deserialize_bytes(bytes)?;
        let (commits, rest) = read_list(rest, MAX_PROOF_COMMITS, "commits in a proof")?;
        Ok((Self { context, commits }, rest))
    }
}

/// A handshake message with what shows which child it names.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Statement {
    /// The message, freed of its encryption.
    pub message: AuthenticatedContent,
    /// None: it was signed in the fork point.
    pub below: Option<Below>,
}

/// Two statements of one member that name two children of one epoch.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize)]
pub struct EquivocationProof {
    /// The context of the fork point.
    pub fork: GroupContext,
    /// The confirmation tag of the fork point: commit ids are computed from it.
    pub confirmation_tag: Bytes,
    /// The signature key that signed both.
    pub key: SignaturePublicKey,
    /// One statement.
    pub one: Statement,
    /// The other.
    pub other: Statement,
}

impl DeserializeBytes for EquivocationProof {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), TlsError> {
        bounded(bytes.len(), MAX_PROOF_LEN, "bytes in a proof")?;
        let (fork, rest) = GroupContext::tls_deserialize_bytes(bytes)?;
        let (confirmation_tag, rest) = Bytes::tls_deserialize_bytes(rest)?;
        let (key, rest) = SignaturePublicKey::tls_deserialize_bytes(rest)?;
        let (one, rest) = Statement::tls_deserialize_bytes(rest)?;
        let (other, rest) = Statement::tls_deserialize_bytes(rest)?;
        Ok((Self { fork, confirmation_tag, key, one, other }, rest))
    }
}

/// The child that a statement names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedChild<'a> {
    /// Its commit id.
    pub id: Bytes,
    /// What the commit says, where the statement shows it.
    commit: Option<&'a FramedContent>,
}

impl NamedChild<'_> {
    /// Whether the two are two children, by what their commits say where that is known.
    pub fn contradicts(&self, other: &Self) -> bool {
        match (self.commit, other.commit) {
            (Some(one), Some(other)) => one != other,
            _ => self.id != other.id,
        }
    }
}

/// Verifies an encoded proof against the signature key that it accuses. No group is needed.
///
/// # Errors
/// [`ProofError`] if it proves nothing about the key.
pub fn verify_equivocation(bytes: &[u8], key: &SignaturePublicKey) -> Result<EquivocationProof, ProofError> {
    if bytes.len() > MAX_PROOF_LEN {
        return Err(ProofError::TooLong);
    }
    let proof: EquivocationProof = crate::codec::decode(bytes)?;
    proof.verify(key)?;
    Ok(proof)
}

impl EquivocationProof {
    /// Whether it proves that `key` has named two children of the fork point.
    ///
    /// # Errors
    /// [`ProofError`] if it proves nothing.
    pub fn verify(&self, key: &SignaturePublicKey) -> Result<(), ProofError> {
        if *key != self.key {
            return Err(ProofError::OtherKey);
        }
        if self.one.message.member() != self.other.message.member() {
            return Err(ProofError::TwoSenders);
        }
        let one = self.named(&self.one)?;
        if one.contradicts(&self.named(&self.other)?) { Ok(()) } else { Err(ProofError::NoContradiction) }
    }

    /// The sender's leaf at the fork point.
    pub fn leaf(&self) -> Option<LeafIndex> {
        self.one.message.member()
    }

    fn named<'a>(&'a self, statement: &'a Statement) -> Result<NamedChild<'a>, ProofError> {
        statement.named(&self.fork, &self.confirmation_tag, &self.key)
    }
}

impl Statement {
    /// The child of the fork point that it names, if `key` has signed it.
    ///
    /// # Errors
    /// [`ProofError`] if it is not signed by the key, or names no child.
    pub fn named<'a>(
        &'a self,
        fork: &GroupContext,
        confirmation_tag: &Bytes,
        key: &SignaturePublicKey,
    ) -> Result<NamedChild<'a>, ProofError> {
        let suite = fork.cipher_suite.suite()?;
        let context = self.below.as_ref().map_or(fork, |below| &below.context);
        let FramedContent { group_id, epoch, .. } = &self.message.content;
        let of_group = context.group_id == fork.group_id && context.cipher_suite == fork.cipher_suite;
        let private = self.message.wire_format == WireFormat::PrivateMessage;
        // In plain MLS two commits of one member in one epoch are nothing wrong.
        let dmls = DmlsProfile::from_extensions(&context.extensions).is_ok_and(|profile| profile.is_some());
        let leaf = self.message.member().filter(|_| of_group && private && dmls);
        let leaf = leaf.filter(|_| *group_id == context.group_id && *epoch == context.epoch);
        let leaf = leaf.ok_or(ProofError::NotOfTheEpoch)?;
        self.message.verify(suite, key, context, Strictness::Canonical)?;
        let interim = interim_transcript_hash(suite, &fork.confirmed_transcript_hash, confirmation_tag)?;
        match &self.below {
            Some(below) => self.named_from_below(suite, below, fork, interim, (leaf, key)),
            None => self.named_directly(suite, &interim),
        }
    }

    fn named_directly(&self, suite: Suite, interim: &Bytes) -> Result<NamedChild<'_>, ProofError> {
        match &self.message.content.content {
            Content::Commit(_) => {
                let input = self.message.confirmed_transcript_input()?;
                let id = confirmed_transcript_hash(suite, interim, &input);
                Ok(NamedChild { id, commit: Some(&self.message.content) })
            }
            Content::Proposal(Proposal::DmlsMeta(DmlsMeta { vote: Some(vote), .. }))
                if vote.len() == suite.nh() =>
            {
                Ok(NamedChild { id: vote.clone(), commit: None })
            }
            _ => Err(ProofError::NamesNothing),
        }
    }

    fn named_from_below<'a>(
        &'a self,
        suite: Suite,
        below: &'a Below,
        fork: &GroupContext,
        mut interim: Bytes,
        (leaf, key): (LeafIndex, &SignaturePublicKey),
    ) -> Result<NamedChild<'a>, ProofError> {
        let meta = meta_of(&self.message.content.content);
        if !meta.is_some_and(|meta| meta.since.is_empty()) {
            return Err(ProofError::NamesNothing);
        }
        let (mut first, mut confirmed) = (None, Bytes::default());
        for (depth, link) in (0..).zip(&below.commits) {
            let FramedContent { group_id, epoch, .. } = &link.content;
            let Content::Commit(commit) = &link.content.content else { return Err(ProofError::NotLinked) };
            if *group_id != fork.group_id || Some(*epoch) != fork.epoch.checked_add(depth) {
                return Err(ProofError::NotLinked);
            }
            if !keeps(commit, leaf, key) {
                return Err(ProofError::NotTheSameMember);
            }
            confirmed = confirmed_transcript_hash(suite, &interim, &link.confirmed_transcript_input()?);
            let tag = link.auth.confirmation_tag.as_ref().ok_or(ProofError::NotLinked)?;
            interim = interim_transcript_hash(suite, &confirmed, tag)?;
            first.get_or_insert_with(|| NamedChild { id: confirmed.clone(), commit: Some(&link.content) });
        }
        let length = u64::try_from(below.commits.len()).ok();
        let number = length.and_then(|length| fork.epoch.checked_add(length));
        // The statement's signature covers the hash: with it, every commit on the way and the fork point.
        if confirmed != below.context.confirmed_transcript_hash || number != Some(below.context.epoch) {
            return Err(ProofError::NotLinked);
        }
        first.ok_or(ProofError::NotLinked)
    }
}

/// What a handshake message says of the history.
fn meta_of(content: &Content) -> Option<&DmlsMeta> {
    match content {
        Content::Proposal(Proposal::DmlsMeta(meta)) => Some(meta),
        Content::Commit(commit) => commit.proposals.iter().find_map(|proposal| match proposal {
            ProposalOrRef::Proposal(Proposal::DmlsMeta(meta)) => Some(meta),
            _ => None,
        }),
        _ => None,
    }
}

/// Whether the member on `leaf` with `key` is certainly the same behind the commit. What is referred to is not known.
fn keeps(commit: &Commit, leaf: LeafIndex, key: &SignaturePublicKey) -> bool {
    commit.proposals.iter().all(|proposal| match proposal {
        ProposalOrRef::Reference(_) => false,
        ProposalOrRef::Proposal(Proposal::Remove(remove)) => remove.removed != leaf,
        ProposalOrRef::Proposal(Proposal::Add(add)) => add.key_package.leaf_node.signature_key != *key,
        ProposalOrRef::Proposal(_) => true,
    })
}
