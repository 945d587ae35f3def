//! An epoch as it is stored. Trees, private keys and message keys are stored beside it, each once (DESIGN 4.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::proposals::{ProposalListError, SentProposal};
use super::state::{Epoch, Fixed, PendingLeaf, PublicState};
use crate::codec::Bytes;
use crate::framing::{DmlsError, DmlsProfile, Proposal, ProposalRef, Sender};
use crate::schedule::{EpochSecrets, GroupContext, LeafRatchets, SecretTree};
use crate::suite::{CryptoError, HpkePrivateKey, HpkePublicKey, SignaturePrivateKey, Suite};
use crate::tree::{LeafIndex, LoadError, PrivateKeys, RatchetTree};

/// Why stored parts do not make an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The suite is not one of this build.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The tree cannot be loaded.
    #[error("The ratchet tree cannot be loaded: {0}")]
    Tree(#[from] LoadError),
    /// The tree is not the one of the GroupContext.
    #[error("The stored ratchet tree is not the one of the epoch.")]
    TreeHash,
    /// A private key is missing.
    #[error("A private key of the epoch is missing.")]
    PrivateKey,
    /// The profile is not valid.
    #[error(transparent)]
    Profile(#[from] DmlsError),
    /// A stored proposal is not valid.
    #[error(transparent)]
    Proposal(#[from] ProposalListError),
}

/// A cached proposal.
#[derive(Clone, Serialize, Deserialize)]
struct StoredProposal {
    reference: ProposalRef,
    sender: Sender,
    proposal: Proposal,
}

/// What is stored of an epoch by itself. Holds secrets, none of which is on the list of what is never stored
/// (DESIGN 4.3).
#[derive(Clone, Serialize, Deserialize)]
pub struct EpochRecord {
    context: GroupContext,
    width: u32,
    interim_transcript_hash: Bytes,
    confirmation_tag: Bytes,
    secrets: EpochSecrets,
    own_leaf: LeafIndex,
    /// Public keys of the tree nodes whose private keys belong to it.
    node_keys: Vec<HpkePublicKey>,
    signature_private: SignaturePrivateKey,
    /// Without the leaves' ratchets.
    secret_tree: SecretTree,
    proposals: Vec<StoredProposal>,
    pending_leaves: Vec<(HpkePublicKey, PendingLeaf)>,
}

impl EpochRecord {
    /// The epoch's suite.
    ///
    /// # Errors
    /// [`RecordError::Crypto`] if it is not one of this build.
    pub fn suite(&self) -> Result<Suite, RecordError> {
        Ok(self.context.cipher_suite.suite()?)
    }

    /// The hash under which its tree is stored.
    pub fn tree_hash(&self) -> &Bytes {
        &self.context.tree_hash
    }

    /// Number of leaves of its tree, blank ones included.
    pub fn width(&self) -> u32 {
        self.width
    }
}

impl Epoch {
    /// The epoch's own record: all but its tree, its private keys of tree nodes, and the leaves' ratchets.
    pub fn to_record(&self) -> EpochRecord {
        let fixed = &self.fixed;
        let proposals = self.proposals.iter().map(|(reference, sent)| StoredProposal {
            reference: reference.clone(),
            sender: sent.sender,
            proposal: sent.proposal.clone(),
        });
        EpochRecord {
            context: fixed.public.context.clone(),
            width: fixed.public.tree.width(),
            interim_transcript_hash: fixed.public.interim_transcript_hash.clone(),
            confirmation_tag: fixed.confirmation_tag.clone(),
            secrets: fixed.secrets.clone(),
            own_leaf: fixed.own_leaf,
            node_keys: fixed.keys.iter().map(|(public, _)| public.clone()).collect(),
            signature_private: fixed.signature_private.clone(),
            secret_tree: self.secret_tree.without_leaves(),
            proposals: proposals.collect(),
            pending_leaves: self
                .pending_leaves
                .iter()
                .map(|(key, leaf)| (key.clone(), leaf.clone()))
                .collect(),
        }
    }

    /// Whether [`Epoch::to_record`] differs from that of an earlier state of the same epoch.
    pub fn record_differs(&self, earlier: &Self) -> bool {
        !Arc::ptr_eq(&self.fixed, &earlier.fixed)
            || !Arc::ptr_eq(&self.proposals, &earlier.proposals)
            || !Arc::ptr_eq(&self.pending_leaves, &earlier.pending_leaves)
            || self.secret_tree.nodes_changed(&earlier.secret_tree)
    }

    /// The epoch of its stored parts.
    ///
    /// # Errors
    /// [`RecordError`] if they do not belong together.
    pub fn from_record(
        record: EpochRecord,
        tree: RatchetTree,
        private_key: &dyn Fn(&HpkePublicKey) -> Option<HpkePrivateKey>,
        ratchets: impl IntoIterator<Item = (LeafIndex, LeafRatchets)>,
    ) -> Result<Self, RecordError> {
        let suite = record.suite()?;
        if tree.tree_hash().map_err(CryptoError::from)? != record.context.tree_hash {
            return Err(RecordError::TreeHash);
        }
        let key = |public: HpkePublicKey| {
            private_key(&public).map(|private| (public, private)).ok_or(RecordError::PrivateKey)
        };
        let keys = record.node_keys.into_iter().map(key).collect::<Result<PrivateKeys, _>>()?;
        let profile = DmlsProfile::from_extensions(&record.context.extensions)?;
        let public = PublicState {
            suite,
            context: record.context,
            tree,
            interim_transcript_hash: record.interim_transcript_hash,
            profile,
        };
        let fixed = Fixed {
            public,
            confirmation_tag: record.confirmation_tag,
            secrets: record.secrets,
            own_leaf: record.own_leaf,
            keys,
            signature_private: record.signature_private,
        };
        let sent = |stored: StoredProposal| {
            let reference = Some(stored.reference.clone());
            (stored.reference, SentProposal { sender: stored.sender, proposal: stored.proposal, reference })
        };
        Ok(Self {
            fixed: Arc::new(fixed),
            secret_tree: record.secret_tree.with_leaves(ratchets),
            proposals: Arc::new(record.proposals.into_iter().map(sent).collect()),
            pending_leaves: Arc::new(record.pending_leaves.into_iter().collect::<BTreeMap<_, _>>()),
        })
    }

    /// Bytes of secrets that the epoch holds: message keys, epoch secrets, private keys of nodes.
    pub fn secret_bytes(&self) -> usize {
        let nh = self.suite().nh();
        let keys: usize = self.fixed.keys.iter().map(|(_, key)| key.0.len()).sum();
        // Six secrets of a DMLS epoch, eight of a plain one.
        self.secret_tree.secret_bytes() + keys + 8 * nh
    }
}
