//! TreeKEM (RFC 9420 7.4, 7.5): making a path, merging one, and opening one.
//!
//! A sender draws a path first ([`RatchetTree::draw_path`]), because the context that it is encrypted under contains
//! the hash of the tree that it leads to, and then encrypts it ([`PathDraft::encrypt`]). A receiver first merges what is
//! public ([`RatchetTree::apply_path`]), which a member that the commit removes can do too, and then opens its part
//! ([`RatchetTree::decrypt_path`]).

use std::collections::BTreeSet;

use rand_core::CryptoRng;

use super::error::TreeError;
use super::leaf_checks::LeafRules;
use super::leaf_node::{LeafNode, LeafNodeSource, LeafPosition, LeafSourceKind, LeafTemplate};
use super::math::{LeafIndex, NodeIndex};
use super::parent_hash::{PathParents, hash_path};
use super::path_secrets::{DerivedPath, derive_path, next_path_secret, node_key_pair};
use super::ratchet_tree::{PathStep, RatchetTree};
use super::update_path::{UpdatePath, UpdatePathNode};
use crate::suite::{HpkeCiphertext, HpkePrivateKey, HpkePublicKey, Secret, SignaturePrivateKey};

/// The label that path secrets are encrypted under.
const ENCRYPTION_LABEL: &str = "UpdatePathNode";

/// Who sends a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathSender {
    /// A member, whose leaf is filled.
    Member(LeafIndex),
    /// An external joiner, whose leaf is the blank one of [`RatchetTree::with_blank_leaf`].
    NewMember(LeafIndex),
}

impl PathSender {
    /// The sender's leaf.
    pub fn index(self) -> LeafIndex {
        match self {
            Self::Member(index) | Self::NewMember(index) => index,
        }
    }
}

/// A path that its sender has drawn and not yet encrypted. No `Debug` shows a secret.
#[derive(Debug, Clone)]
pub struct PathDraft {
    /// The tree with the path in it.
    pub tree: RatchetTree,
    /// The sender's new leaf.
    pub leaf_node: LeafNode,
    /// The path secret of each node of the filtered direct path, from the leaf upward.
    pub path_secrets: Vec<(NodeIndex, Secret)>,
    /// The key pairs of these nodes and of the new leaf.
    pub private_keys: Vec<(HpkePublicKey, HpkePrivateKey)>,
    /// Derived from the last path secret; with an empty filtered direct path, fresh: nobody else is to derive it.
    pub commit_secret: Secret,
    /// `path_secret[n]`, of the uppermost node; none if the filtered direct path is empty.
    pub last_path_secret: Option<Secret>,
    sender: LeafIndex,
}

impl RatchetTree {
    /// Draws a new path for `sender`. This is the tree after the commit's proposals (for an external joiner, that of
    /// [`RatchetTree::with_blank_leaf`]).
    ///
    /// # Errors
    /// [`TreeError::NoLeaf`], [`TreeError::LeafTaken`] if the sender's leaf is not as [`PathSender`] says;
    /// [`TreeError::Crypto`] if `signer` is malformed.
    pub fn draw_path(
        &self,
        sender: PathSender,
        template: &LeafTemplate,
        signer: &SignaturePrivateKey,
        group_id: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<PathDraft, TreeError> {
        self.check_sender(sender)?;
        let (suite, index) = (self.suite(), sender.index());
        let steps = self.filtered_path(index);
        let (mut path_secrets, mut private_keys, mut public_keys) = (Vec::new(), Vec::new(), Vec::new());
        let mut path_secret = suite.random_secret(rng);
        for step in &steps {
            let (private, public) = node_key_pair(suite, &path_secret)?;
            let next = next_path_secret(suite, &path_secret)?;
            path_secrets.push((step.node, path_secret));
            private_keys.push((public.clone(), private));
            public_keys.push(public);
            path_secret = next;
        }
        let (parents, parent_hash) = hash_path(suite, &steps, public_keys.iter())?;
        let (leaf_private, leaf_public) = suite.hpke().derive_key_pair(&suite.random_secret(rng));
        let source = LeafNodeSource::Commit { parent_hash };
        let position = LeafPosition { group_id, leaf_index: index };
        let leaf_node = template.sign(suite, leaf_public.clone(), source, Some(position), signer)?;
        private_keys.push((leaf_public, leaf_private));
        let last_path_secret = path_secrets.last().map(|(_, secret)| secret.clone());
        let tree = self.merge(index, leaf_node.clone(), parents);
        // After the last step this is commit_secret; without a step it is a fresh secret, and serves as well.
        let commit_secret = path_secret;
        Ok(PathDraft {
            tree,
            leaf_node,
            path_secrets,
            private_keys,
            commit_secret,
            last_path_secret,
            sender: index,
        })
    }

    /// Merges a received path: verifies all that is public about it, and gives the tree that it leads to. This is the
    /// tree after the commit's proposals, as for [`RatchetTree::draw_path`]; `newly_added` are the leaves that these add.
    ///
    /// # Errors
    /// The first rule of RFC 9420 7.3, 7.5, 7.9.2 or 12.4.2 that is broken.
    pub fn apply_path(
        &self,
        sender: PathSender,
        path: &UpdatePath,
        newly_added: &BTreeSet<LeafIndex>,
        rules: &LeafRules<'_>,
    ) -> Result<Self, TreeError> {
        self.check_sender(sender)?;
        let index = sender.index();
        let steps = self.filtered_path(index);
        if path.nodes.len() != steps.len() {
            return Err(TreeError::PathLength { expected: steps.len(), found: path.nodes.len() });
        }
        for (step, node) in steps.iter().zip(&path.nodes) {
            let (expected, found) = (recipients(step, newly_added).len(), node.encrypted_path_secret.len());
            if found != expected {
                return Err(TreeError::CiphertextCount { node: step.node, expected, found });
            }
        }
        self.check_path_keys(index, &steps, path)?;
        let (parents, parent_hash) =
            hash_path(self.suite(), &steps, path.nodes.iter().map(|node| &node.encryption_key))?;
        self.validate_leaf(index, &path.leaf_node, LeafSourceKind::Commit, rules)
            .map_err(|error| TreeError::Leaf { index, error })?;
        if path.leaf_node.parent_hash() != Some(&parent_hash) {
            return Err(TreeError::PathParentHash);
        }
        Ok(self.merge(index, path.leaf_node.clone(), parents))
    }

    /// Opens the part of a path that is for the member at `own`, once [`RatchetTree::apply_path`] has accepted the path
    /// on this same tree. `context` is the encoded provisional GroupContext; `private_key` finds private keys.
    ///
    /// # Errors
    /// [`TreeError::NotBelowPath`] if `own` is the sender or not in the tree, [`TreeError::NoPrivateKey`] if no key at
    /// hand is among the recipients, [`TreeError::Crypto`] if the ciphertext does not open,
    /// [`TreeError::PathKeyMismatch`] if what it holds does not yield the path's keys.
    pub fn decrypt_path(
        &self,
        sender: LeafIndex,
        own: LeafIndex,
        path: &UpdatePath,
        newly_added: &BTreeSet<LeafIndex>,
        context: &[u8],
        private_key: &dyn Fn(&HpkePublicKey) -> Option<HpkePrivateKey>,
    ) -> Result<DerivedPath, TreeError> {
        self.leaf(own).filter(|_| own != sender).ok_or(TreeError::NotBelowPath(own))?;
        let steps = self.filtered_path(sender);
        let mut nodes = steps.iter().zip(&path.nodes);
        // The first step with `own` on its other side; from there on upward the secrets are ours too.
        let (step, node) =
            nodes.find(|(step, _)| step.copath.covers(own)).ok_or(TreeError::NotBelowPath(own))?;
        let (private, ciphertext) = self
            .own_ciphertext(step, node, own, newly_added, private_key)
            .ok_or(TreeError::NoPrivateKey(own))?;
        let path_secret = self.suite().decrypt_with_label(&private, ENCRYPTION_LABEL, context, ciphertext)?;
        let rest = nodes.map(|(step, node)| (step.node, &node.encryption_key));
        derive_path(self.suite(), path_secret, std::iter::once((step.node, &node.encryption_key)).chain(rest))
    }

    /// The ciphertext among those of `node` that a private key at hand opens.
    fn own_ciphertext<'p>(
        &self,
        step: &PathStep<'_>,
        node: &'p UpdatePathNode,
        own: LeafIndex,
        newly_added: &BTreeSet<LeafIndex>,
        private_key: &dyn Fn(&HpkePublicKey) -> Option<HpkePrivateKey>,
    ) -> Option<(HpkePrivateKey, &'p HpkeCiphertext)> {
        let sealed = recipients(step, newly_added).into_iter().zip(&node.encrypted_path_secret);
        sealed.filter(|(recipient, _)| recipient.covers(own)).find_map(|(recipient, ciphertext)| {
            Some((private_key(self.encryption_key(recipient)?)?, ciphertext))
        })
    }

    fn check_sender(&self, sender: PathSender) -> Result<(), TreeError> {
        let index = sender.index();
        match (sender, self.leaf(index)) {
            (PathSender::Member(_), None) => Err(TreeError::NoLeaf(index)),
            (PathSender::NewMember(_), Some(_)) => Err(TreeError::LeafTaken(index)),
            (PathSender::NewMember(_), None) if index.0 >= self.width() => Err(TreeError::NoLeaf(index)),
            _ => Ok(()),
        }
    }

    /// The keys of a path are well-formed, and each is new to the tree and to the path, the new leaf's included.
    fn check_path_keys(
        &self,
        sender: LeafIndex,
        steps: &[PathStep<'_>],
        path: &UpdatePath,
    ) -> Result<(), TreeError> {
        let mut new = BTreeSet::from([&path.leaf_node.encryption_key]);
        for (step, node) in steps.iter().zip(&path.nodes) {
            if self.suite().hpke().validate_public_key(&node.encryption_key).is_err() {
                return Err(TreeError::BadEncryptionKey(step.node));
            }
            if !new.insert(&node.encryption_key) {
                return Err(TreeError::PathKeyReused(step.node));
            }
        }
        let Some((_, reused)) = self.encryption_keys().find(|(_, key)| new.contains(key)) else {
            return Ok(());
        };
        let place = steps.iter().zip(&path.nodes).find(|(_, node)| node.encryption_key == *reused);
        Err(TreeError::PathKeyReused(place.map_or(sender.node(), |(step, _)| step.node)))
    }

    /// The tree with a path in it: nodes above the leaf that are not among `parents` become blank.
    fn merge(&self, index: LeafIndex, leaf: LeafNode, parents: PathParents) -> Self {
        self.with_leaf(index, Some(leaf.into()), &mut |here, _| {
            parents.iter().find(|(node, _)| *node == here).map(|(_, parent)| parent.clone())
        })
    }
}

/// Whom a path secret is encrypted to: the resolution of the copath child, but for leaves that the commit adds.
fn recipients(step: &PathStep<'_>, newly_added: &BTreeSet<LeafIndex>) -> Vec<NodeIndex> {
    let mut nodes = Vec::new();
    step.copath_subtree.resolve(step.copath, &mut nodes);
    nodes.retain(|node| !node.leaf().is_some_and(|leaf| newly_added.contains(&leaf)));
    nodes
}

impl PathDraft {
    /// The sender's leaf.
    pub fn sender(&self) -> LeafIndex {
        self.sender
    }

    /// Encrypts the path secrets to all members but those that the commit adds. `context` is the encoded provisional
    /// GroupContext, with the hash of [`PathDraft::tree`].
    ///
    /// # Errors
    /// [`TreeError::Crypto`] if a key in the tree is malformed.
    pub fn encrypt(
        &self,
        newly_added: &BTreeSet<LeafIndex>,
        context: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<UpdatePath, TreeError> {
        let suite = self.tree.suite();
        let mut nodes = Vec::with_capacity(self.path_secrets.len());
        // The copath is the same before and after the path was merged.
        let steps = self.tree.filtered_path(self.sender);
        for ((step, (_, path_secret)), (public, _)) in
            steps.iter().zip(&self.path_secrets).zip(&self.private_keys)
        {
            let mut encrypted_path_secret = Vec::new();
            for recipient in recipients(step, newly_added) {
                let key =
                    self.tree.encryption_key(recipient).ok_or(TreeError::BadEncryptionKey(recipient))?;
                let secret = path_secret.as_slice();
                encrypted_path_secret.push(suite.encrypt_with_label(
                    key,
                    ENCRYPTION_LABEL,
                    context,
                    secret,
                    rng,
                )?);
            }
            nodes.push(UpdatePathNode { encryption_key: public.clone(), encrypted_path_secret });
        }
        Ok(UpdatePath { leaf_node: self.leaf_node.clone(), nodes })
    }
}
