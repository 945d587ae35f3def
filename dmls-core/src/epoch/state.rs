//! The state of one epoch: what is public of it, and what a member knows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::proposals::SentProposal;
use crate::codec::Bytes;
use crate::framing::{DmlsProfile, ProposalRef};
use crate::schedule::{
    CommitId, EpochSecrets, GroupContext, HandshakeKeys, Profile, RatchetType, SecretTree,
};
use crate::suite::{
    CryptoError, HpkePrivateKey, HpkePublicKey, Secret, SignaturePrivateKey, Strictness, Suite,
};
use crate::tree::{LeafIndex, LeafNode, LeafRules, PrivateKeys, RatchetTree};

/// What can be known of an epoch without a secret: enough to judge a commit, not to enter it.
#[derive(Debug, Clone)]
pub struct PublicState {
    pub(super) suite: Suite,
    pub(super) context: GroupContext,
    pub(super) tree: RatchetTree,
    pub(super) interim_transcript_hash: Bytes,
    pub(super) profile: Option<DmlsProfile>,
}

impl PublicState {
    /// The group's suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// What all members agree on.
    pub fn context(&self) -> &GroupContext {
        &self.context
    }

    /// The ratchet tree.
    pub fn tree(&self) -> &RatchetTree {
        &self.tree
    }

    /// What the next commit's transcript hash starts from.
    pub fn interim_transcript_hash(&self) -> &Bytes {
        &self.interim_transcript_hash
    }

    /// The DMLS profile; none: the group is plain MLS.
    pub fn profile(&self) -> Option<&DmlsProfile> {
        self.profile.as_ref()
    }

    /// Whether the group is a DMLS group.
    pub fn is_dmls(&self) -> bool {
        self.profile.is_some()
    }

    /// The leaf there; none if it is blank or not in the tree.
    pub fn leaf(&self, leaf: LeafIndex) -> Option<&LeafNode> {
        self.tree.leaf(leaf)
    }

    /// How signatures are judged (DESIGN 4.3).
    pub fn strictness(&self) -> Strictness {
        if self.is_dmls() { Strictness::Canonical } else { Strictness::Standard }
    }

    pub(super) fn key_schedule(&self) -> Profile {
        if self.is_dmls() { Profile::Dmls } else { Profile::Plain }
    }

    pub(super) fn handshake_keys(&self) -> HandshakeKeys {
        if self.is_dmls() { HandshakeKeys::Retained } else { HandshakeKeys::Consumed }
    }

    /// What leaves of this epoch are judged by.
    pub(super) fn leaf_rules(&self, now: Option<u64>) -> LeafRules<'_> {
        LeafRules {
            group_id: self.context.group_id.as_slice(),
            group_extensions: &self.context.extensions,
            strictness: self.strictness(),
            now_seconds: now,
        }
    }
}

/// The private keys of a leaf that is proposed, not yet committed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PendingLeaf {
    /// Belongs to the leaf's encryption key.
    pub leaf_private: HpkePrivateKey,
    /// Belongs to the leaf's signature key.
    pub signature_private: SignaturePrivateKey,
}

/// The part of an epoch that does not change while it lasts.
pub(super) struct Fixed {
    pub(super) public: PublicState,
    pub(super) confirmation_tag: Bytes,
    pub(super) secrets: EpochSecrets,
    pub(super) own_leaf: LeafIndex,
    pub(super) keys: PrivateKeys,
    pub(super) signature_private: SignaturePrivateKey,
}

/// One epoch of one group, as one of its members knows it. A value: operations give a new one, and none if they fail.
///
/// Cloning is cheap: clones share everything until they differ.
#[derive(Clone)]
pub struct Epoch {
    pub(super) fixed: Arc<Fixed>,
    pub(super) secret_tree: SecretTree,
    pub(super) proposals: Arc<BTreeMap<ProposalRef, SentProposal>>,
    pub(super) pending_leaves: Arc<BTreeMap<HpkePublicKey, PendingLeaf>>,
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = self.context();
        f.debug_struct("Epoch")
            .field("group_id", &context.group_id)
            .field("epoch", &context.epoch)
            .field("own_leaf", &self.own_leaf())
            .field("members", &self.tree().member_count())
            .finish_non_exhaustive()
    }
}

impl Epoch {
    pub(super) fn new(fixed: Fixed, secret_tree: SecretTree) -> Self {
        Self {
            fixed: Arc::new(fixed),
            secret_tree,
            proposals: Arc::default(),
            pending_leaves: Arc::default(),
        }
    }

    /// What is public of the epoch.
    pub fn public(&self) -> &PublicState {
        &self.fixed.public
    }

    /// The group's suite.
    pub fn suite(&self) -> Suite {
        self.public().suite
    }

    /// What all members agree on.
    pub fn context(&self) -> &GroupContext {
        &self.public().context
    }

    /// The ratchet tree.
    pub fn tree(&self) -> &RatchetTree {
        &self.public().tree
    }

    /// The DMLS profile; none: the group is plain MLS.
    pub fn profile(&self) -> Option<&DmlsProfile> {
        self.public().profile()
    }

    /// Whether the group is a DMLS group.
    pub fn is_dmls(&self) -> bool {
        self.public().is_dmls()
    }

    /// The own leaf's index.
    pub fn own_leaf(&self) -> LeafIndex {
        self.fixed.own_leaf
    }

    /// The leaf there; none if it is blank or not in the tree.
    pub fn leaf(&self, leaf: LeafIndex) -> Option<&LeafNode> {
        self.tree().leaf(leaf)
    }

    /// The confirmation tag of the commit that led here.
    pub fn confirmation_tag(&self) -> &Bytes {
        &self.fixed.confirmation_tag
    }

    /// The id of the commit that led here (DESIGN 1): empty in the first epoch of a group.
    pub fn commit_id(&self) -> CommitId {
        CommitId(self.context().confirmed_transcript_hash.clone())
    }

    /// The epoch's stored secrets.
    pub fn secrets(&self) -> &EpochSecrets {
        &self.fixed.secrets
    }

    /// The message keys.
    pub fn secret_tree(&self) -> &SecretTree {
        &self.secret_tree
    }

    /// The same epoch with other message keys: for the host that stores and trims them by itself.
    #[must_use]
    pub fn with_secret_tree(&self, secret_tree: SecretTree) -> Self {
        Self { secret_tree, ..self.clone() }
    }

    /// The private keys of the own leaf and of the nodes above it.
    pub fn private_keys(&self) -> &PrivateKeys {
        &self.fixed.keys
    }

    /// The private keys of own leaves that are proposed, by encryption key.
    pub fn pending_leaves(&self) -> &BTreeMap<HpkePublicKey, PendingLeaf> {
        &self.pending_leaves
    }

    /// The private key of the own leaf's signature key.
    pub fn signature_private(&self) -> &SignaturePrivateKey {
        &self.fixed.signature_private
    }

    /// The proposals of this epoch that a commit may refer to.
    pub fn proposals(&self) -> &BTreeMap<ProposalRef, SentProposal> {
        &self.proposals
    }

    /// What members compare to see that they agree (RFC 9420 8.7).
    pub fn epoch_authenticator(&self) -> &Secret {
        &self.fixed.secrets.epoch_authenticator
    }

    /// `MLS-Exporter` (RFC 9420 8.5).
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] if `length` is more than the KDF gives.
    pub fn export(&self, label: &str, context: &[u8], length: usize) -> Result<Secret, CryptoError> {
        self.fixed.secrets.export(self.suite(), label, context, length)
    }

    /// The generation that the next own message will have; none if its keys were deleted.
    pub fn next_generation(&self, ratchet: RatchetType) -> Option<u32> {
        self.secret_tree.next_generation(self.own_leaf(), ratchet)
    }
}
