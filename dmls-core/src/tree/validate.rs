//! What whoever joins a group verifies of its tree (RFC 9420 7.9.2, 12.4.3.1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::TreeError;
use super::extension::CredentialType;
use super::leaf_checks::LeafRules;
use super::leaf_error::LeafNodeError;
use super::math::{LeafIndex, NodeIndex};
use super::node::ParentNode;
use super::ratchet_tree::RatchetTree;
use super::subtree::{Content, Subtree};

impl RatchetTree {
    /// Verifies the whole tree, the cheap rules first. The tree hash is for the caller to compare.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self, rules: &LeafRules<'_>) -> Result<(), TreeError> {
        self.verify_unmerged_leaves()?;
        self.verify_unique_keys()?;
        self.verify_credential_support()?;
        self.verify_parent_keys()?;
        self.verify_parent_hashes()?;
        self.verify_leaves(rules)
    }

    /// Unmerged leaves are in order, filled, below the node, and listed by each filled node in between.
    ///
    /// # Errors
    /// [`TreeError::UnmergedOrder`], [`TreeError::UnmergedElsewhere`], [`TreeError::UnmergedBlank`],
    /// [`TreeError::UnmergedMissing`].
    pub fn verify_unmerged_leaves(&self) -> Result<(), TreeError> {
        for (here, subtree) in self.subtrees() {
            let Content::Parent { node: Some(node), left, right } = subtree.content() else { continue };
            if !node.unmerged_leaves.is_sorted_by(|a, b| a < b) {
                return Err(TreeError::UnmergedOrder(here));
            }
            for leaf in &node.unmerged_leaves {
                verify_unmerged(here, (left, right), *leaf)?;
            }
        }
        Ok(())
    }

    /// No encryption key is at two nodes, no signature key at two leaves.
    ///
    /// # Errors
    /// [`TreeError::DuplicateEncryptionKey`], [`TreeError::DuplicateSignatureKey`].
    pub fn verify_unique_keys(&self) -> Result<(), TreeError> {
        let mut encryption_keys = BTreeSet::new();
        if let Some((node, _)) = self.encryption_keys().find(|(_, key)| !encryption_keys.insert(*key)) {
            return Err(TreeError::DuplicateEncryptionKey(node));
        }
        let mut signature_keys = BTreeSet::new();
        match self.leaves().find(|(_, leaf)| !signature_keys.insert(&leaf.signature_key)) {
            Some((leaf, _)) => Err(TreeError::DuplicateSignatureKey(leaf)),
            None => Ok(()),
        }
    }

    /// Every member supports every credential type in use.
    ///
    /// # Errors
    /// [`LeafNodeError::MemberCredentialUnsupported`] for the first member that does not.
    pub fn verify_credential_support(&self) -> Result<(), TreeError> {
        let in_use: BTreeMap<CredentialType, LeafIndex> =
            self.leaves().map(|(index, leaf)| (leaf.credential.credential_type(), index)).collect();
        for (index, leaf) in self.leaves() {
            let missing = in_use.iter().find(|(ty, _)| !leaf.capabilities.supports_credential(**ty));
            if let Some((&credential_type, &member)) = missing {
                // A type that nobody else uses is the leaf's own, which has an error of its own.
                let error = if member == index || leaf.credential.credential_type() == credential_type {
                    LeafNodeError::CredentialNotListed(credential_type)
                } else {
                    LeafNodeError::MemberCredentialUnsupported { member, credential_type }
                };
                return Err(TreeError::Leaf { index, error });
            }
        }
        Ok(())
    }

    /// The encryption keys of parents are keys of the suite's KEM: nobody could send a path over one that is not.
    ///
    /// # Errors
    /// [`TreeError::BadEncryptionKey`].
    pub fn verify_parent_keys(&self) -> Result<(), TreeError> {
        let hpke = self.suite.hpke();
        match self.parents().find(|(_, node)| hpke.validate_public_key(&node.encryption_key).is_err()) {
            Some((node, _)) => Err(TreeError::BadEncryptionKey(node)),
            None => Ok(()),
        }
    }

    /// Every leaf obeys the rules that need no other leaf.
    ///
    /// # Errors
    /// [`TreeError::Leaf`].
    pub fn verify_leaves(&self, rules: &LeafRules<'_>) -> Result<(), TreeError> {
        self.leaves().try_for_each(|(index, leaf)| {
            leaf.check_alone(self.suite, index, rules).map_err(|error| TreeError::Leaf { index, error })
        })
    }
}

/// Walks from a node that lists `leaf` as unmerged down to it.
fn verify_unmerged<'a>(
    node: NodeIndex,
    mut children: (&'a Arc<Subtree>, &'a Arc<Subtree>),
    leaf: LeafIndex,
) -> Result<(), TreeError> {
    if !node.covers(leaf) {
        return Err(TreeError::UnmergedElsewhere { node, leaf });
    }
    let mut here = node;
    while let (Some(left), Some(right)) = (here.left(), here.right()) {
        let (index, subtree) = if left.covers(leaf) { (left, children.0) } else { (right, children.1) };
        match subtree.content() {
            Content::Leaf { leaf: None, .. } => return Err(TreeError::UnmergedBlank { node, leaf }),
            Content::Leaf { leaf: Some(_), .. } => return Ok(()),
            Content::Parent { node: between, left, right } => {
                let lists = |between: &ParentNode| between.unmerged_leaves.binary_search(&leaf).is_ok();
                if between.as_deref().is_some_and(|between| !lists(between)) {
                    return Err(TreeError::UnmergedMissing { node: index, leaf });
                }
                children = (left, right);
            }
        }
        here = index;
    }
    Ok(())
}
