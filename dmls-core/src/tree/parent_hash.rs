//! Parent hashes (RFC 9420 7.9): each node of a path is bound to the one above it, down to the committer's leaf.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::TreeError;
use super::math::{LeafIndex, NodeIndex};
use super::node::{Node, ParentNode};
use super::ratchet_tree::{PathStep, RatchetTree};
use super::subtree::{Content, Subtree};
use crate::codec::{Bytes, CodecError, Serialize};
use crate::suite::{HpkePublicKey, Suite};

/// Hash of a `ParentHashInput`.
fn parent_hash(
    suite: Suite,
    encryption_key: &HpkePublicKey,
    parent_hash: &Bytes,
    original_sibling_tree_hash: &Bytes,
) -> Result<Bytes, CodecError> {
    let mut input = Vec::new();
    encryption_key.tls_serialize(&mut input)?;
    parent_hash.tls_serialize(&mut input)?;
    original_sibling_tree_hash.tls_serialize(&mut input)?;
    Ok(suite.hash(&input).into())
}

/// Filled nodes of a path, with their places.
pub(super) type PathParents = Vec<(NodeIndex, Arc<ParentNode>)>;

/// The new parents of a path, from the leaf upward, and the parent hash of the leaf below. Their unmerged leaves are
/// empty, so that the siblings' hashes are those that the tree has cached: O(log n).
pub(super) fn hash_path<'k>(
    suite: Suite,
    steps: &[PathStep<'_>],
    keys: impl DoubleEndedIterator<Item = &'k HpkePublicKey> + ExactSizeIterator,
) -> Result<(PathParents, Bytes), CodecError> {
    let mut above = Bytes::default();
    let mut parents = Vec::with_capacity(steps.len());
    for (step, key) in steps.iter().zip(keys).rev() {
        let node = ParentNode {
            encryption_key: key.clone(),
            parent_hash: above.clone(),
            unmerged_leaves: Vec::new(),
        };
        above = parent_hash(suite, key, &above, step.copath_subtree.hash(suite)?)?;
        parents.push((step.node, node.into()));
    }
    parents.reverse();
    Ok((parents, above))
}

impl RatchetTree {
    /// Verifies that each filled parent is parent-hash valid (RFC 9420 7.9.2): exactly one node below is bound to it.
    ///
    /// # Errors
    /// [`TreeError::ParentHash`] with the first parent that is not.
    pub fn verify_parent_hashes(&self) -> Result<(), TreeError> {
        self.verify_below(&self.root, self.root_index())
    }

    fn verify_below(&self, subtree: &Arc<Subtree>, here: NodeIndex) -> Result<(), TreeError> {
        let (Content::Parent { node, left, right }, Some(left_index), Some(right_index)) =
            (subtree.content(), here.left(), here.right())
        else {
            return Ok(());
        };
        if let Some(node) = node {
            let bound = self.bound_below(node, (left_index, left), (right_index, right))?
                + self.bound_below(node, (right_index, right), (left_index, left))?;
            if bound != 1 {
                return Err(TreeError::ParentHash(here));
            }
        }
        self.verify_below(left, left_index)?;
        self.verify_below(right, right_index)
    }

    /// How many nodes in the resolution of `child` carry the parent hash of `node`, whose other child is `sibling`, and
    /// were its neighbours on a path: the rest of the resolution are leaves that are unmerged at `node`.
    fn bound_below(
        &self,
        node: &ParentNode,
        (child_index, child): (NodeIndex, &Arc<Subtree>),
        (sibling_index, sibling): (NodeIndex, &Arc<Subtree>),
    ) -> Result<usize, CodecError> {
        let unmerged: BTreeSet<LeafIndex> = node.unmerged_leaves.iter().copied().collect();
        let original = sibling.hash_without(self.suite, sibling_index, &unmerged)?;
        let expected = parent_hash(self.suite, &node.encryption_key, &node.parent_hash, &original)?;
        let mut resolution = Vec::new();
        child.resolve(child_index, &mut resolution);
        let (first, last) = child_index.leaf_range();
        let merged_count = unmerged.range(first..=last).count();
        let is_unmerged = |node: &NodeIndex| node.leaf().is_some_and(|leaf| unmerged.contains(&leaf));
        let rest: BTreeSet<_> = resolution.iter().filter(|node| !is_unmerged(node)).collect();
        // All but one are unmerged, and all unmerged ones are there: the one that is left is the candidate.
        let [candidate] = rest.iter().collect::<Vec<_>>()[..] else {
            return Ok(0);
        };
        if resolution.len() != merged_count + 1 {
            return Ok(0);
        }
        let carried = match child.find(child_index, **candidate).and_then(|subtree| subtree.node()) {
            Some(Node::Leaf(leaf)) => leaf.parent_hash() == Some(&expected),
            Some(Node::Parent(parent)) => parent.parent_hash == expected,
            None => false,
        };
        Ok(usize::from(carried))
    }
}
