//! The persistent nodes behind [`RatchetTree`](super::RatchetTree): immutable, shared, with their tree hash cached.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use super::leaf_node::LeafNode;
use super::math::{LeafIndex, NodeIndex};
use super::node::{NODE_TYPE_LEAF, NODE_TYPE_PARENT, Node, ParentNode};
use crate::codec::{Bytes, CodecError, Serialize};
use crate::suite::{HpkePublicKey, Suite};

/// A node with everything below it.
pub(super) struct Subtree {
    /// Filled when it is first asked for: an operation of several steps hashes no step in between.
    hash: OnceLock<Bytes>,
    members: u32,
    blank: bool,
    content: Content,
}

/// What stands at a node.
pub(super) enum Content {
    Leaf { index: LeafIndex, leaf: Option<Arc<LeafNode>> },
    Parent { node: Option<Arc<ParentNode>>, left: Arc<Subtree>, right: Arc<Subtree> },
}

/// What becomes of a parent on a rewritten path.
pub(super) type EditParent<'a> =
    dyn FnMut(NodeIndex, Option<&Arc<ParentNode>>) -> Option<Arc<ParentNode>> + 'a;

impl Subtree {
    pub(super) fn leaf(index: LeafIndex, leaf: Option<Arc<LeafNode>>) -> Arc<Self> {
        let blank = leaf.is_none();
        let content = Content::Leaf { index, leaf };
        Arc::new(Self { hash: OnceLock::new(), members: u32::from(!blank), blank, content })
    }

    pub(super) fn parent(node: Option<Arc<ParentNode>>, left: Arc<Self>, right: Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            hash: OnceLock::new(),
            members: left.members + right.members,
            blank: node.is_none() && left.blank && right.blank,
            content: Content::Parent { node, left, right },
        })
    }

    /// A subtree without any node, rooted at `root`. It costs its width, which is paid once per doubling of a tree.
    pub(super) fn blank(root: NodeIndex) -> Arc<Self> {
        match (root.left(), root.right()) {
            (Some(left), Some(right)) => Self::parent(None, Self::blank(left), Self::blank(right)),
            _ => Self::leaf(root.leaf_range().0, None),
        }
    }

    /// The subtree of a full array of nodes, rooted at `root`. Nodes of a type that does not fit count as blank.
    pub(super) fn from_nodes(root: NodeIndex, nodes: &[Option<Node>]) -> Arc<Self> {
        let node = usize::try_from(root.0).ok().and_then(|index| nodes.get(index)).and_then(Option::as_ref);
        match (root.left(), root.right()) {
            (Some(left), Some(right)) => {
                let node = match node {
                    Some(Node::Parent(parent)) => Some(parent.clone()),
                    _ => None,
                };
                Self::parent(node, Self::from_nodes(left, nodes), Self::from_nodes(right, nodes))
            }
            _ => {
                let leaf = match node {
                    Some(Node::Leaf(leaf)) => Some(leaf.clone()),
                    _ => None,
                };
                Self::leaf(root.leaf_range().0, leaf)
            }
        }
    }

    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// Number of leaves that are not blank.
    pub(super) fn members(&self) -> u32 {
        self.members
    }

    /// Whether neither this node nor any below it is filled: exactly then its resolution is empty.
    pub(super) fn is_blank(&self) -> bool {
        self.blank
    }

    /// The node itself, if it is not blank.
    pub(super) fn node(&self) -> Option<Node> {
        match &self.content {
            Content::Leaf { leaf, .. } => leaf.clone().map(Node::Leaf),
            Content::Parent { node, .. } => node.clone().map(Node::Parent),
        }
    }

    /// The node's own encryption key, if it is not blank.
    pub(super) fn encryption_key(&self) -> Option<&HpkePublicKey> {
        match &self.content {
            Content::Leaf { leaf, .. } => leaf.as_ref().map(|leaf| &leaf.encryption_key),
            Content::Parent { node, .. } => node.as_ref().map(|node| &node.encryption_key),
        }
    }

    pub(super) fn children(&self) -> Option<(&Arc<Self>, &Arc<Self>)> {
        match &self.content {
            Content::Leaf { .. } => None,
            Content::Parent { left, right, .. } => Some((left, right)),
        }
    }

    /// The subtree at `target`, seen from this one at `here`.
    pub(super) fn find(self: &Arc<Self>, here: NodeIndex, target: NodeIndex) -> Option<&Arc<Self>> {
        let (mut here, mut subtree) = (here, self);
        while here != target {
            let (left, right) = subtree.children()?;
            (here, subtree) = if target < here { (here.left()?, left) } else { (here.right()?, right) };
        }
        Some(subtree)
    }

    /// A copy of this subtree, rooted at `here`, with another leaf at `index`, and edited parents above it. Everything
    /// beside that path is shared. `index` must be below `here`.
    pub(super) fn with_leaf(
        &self,
        here: NodeIndex,
        index: LeafIndex,
        leaf: Option<Arc<LeafNode>>,
        edit: &mut EditParent<'_>,
    ) -> Arc<Self> {
        let Content::Parent { node, left, right } = &self.content else {
            return Self::leaf(index, leaf);
        };
        let (Some(left_index), Some(right_index)) = (here.left(), here.right()) else {
            return Self::leaf(index, leaf);
        };
        let node = edit(here, node.as_ref());
        if left_index.covers(index) {
            Self::parent(node, left.with_leaf(left_index, index, leaf, edit), right.clone())
        } else {
            Self::parent(node, left.clone(), right.with_leaf(right_index, index, leaf, edit))
        }
    }

    /// Appends the resolution (RFC 9420 4.1.1) of this node, which stands at `here`.
    pub(super) fn resolve(&self, here: NodeIndex, out: &mut Vec<NodeIndex>) {
        if self.blank {
            return;
        }
        match &self.content {
            Content::Leaf { .. } => out.push(here),
            Content::Parent { node: Some(node), .. } => {
                out.push(here);
                out.extend(node.unmerged_leaves.iter().map(|leaf| leaf.node()));
            }
            Content::Parent { node: None, left, right } => {
                if let (Some(left_index), Some(right_index)) = (here.left(), here.right()) {
                    left.resolve(left_index, out);
                    right.resolve(right_index, out);
                }
            }
        }
    }

    /// The tree hash (RFC 9420 7.8).
    pub(super) fn hash(&self, suite: Suite) -> Result<&Bytes, CodecError> {
        if let Some(hash) = self.hash.get() {
            return Ok(hash);
        }
        let hash = match &self.content {
            Content::Leaf { index, leaf } => leaf_hash(suite, *index, leaf.as_deref())?,
            Content::Parent { node, left, right } => {
                parent_tree_hash(suite, node.as_deref(), left.hash(suite)?, right.hash(suite)?)?
            }
        };
        Ok(self.hash.get_or_init(|| hash))
    }

    /// The tree hash as it would be without `excluded` leaves, here and in lists of unmerged leaves: an original
    /// sibling tree hash (RFC 9420 7.9). This subtree stands at `here`.
    pub(super) fn hash_without(
        &self,
        suite: Suite,
        here: NodeIndex,
        excluded: &BTreeSet<LeafIndex>,
    ) -> Result<Bytes, CodecError> {
        let (first, last) = here.leaf_range();
        if excluded.range(first..=last).next().is_none() {
            return self.hash(suite).cloned();
        }
        match (&self.content, here.left(), here.right()) {
            (Content::Parent { node, left, right }, Some(left_index), Some(right_index)) => {
                let node = node.as_deref().map(|node| ParentNode {
                    unmerged_leaves: node
                        .unmerged_leaves
                        .iter()
                        .filter(|l| !excluded.contains(l))
                        .copied()
                        .collect(),
                    ..node.clone()
                });
                let left = left.hash_without(suite, left_index, excluded)?;
                let right = right.hash_without(suite, right_index, excluded)?;
                parent_tree_hash(suite, node.as_ref(), &left, &right)
            }
            _ => leaf_hash(suite, first, None),
        }
    }

    /// Whether the subtree's leaves are those below `here`.
    pub(super) fn stands_at(&self, here: NodeIndex) -> bool {
        match (&self.content, here.left()) {
            (Content::Leaf { index, .. }, None) => index.node() == here,
            (Content::Parent { left, .. }, Some(left_index)) => left.stands_at(left_index),
            _ => false,
        }
    }

    /// Number of subtrees whose hash is yet to be computed.
    #[cfg(test)]
    pub(super) fn unhashed(&self) -> usize {
        if self.hash.get().is_some() {
            return 0;
        }
        1 + self.children().map_or(0, |(left, right)| left.unhashed() + right.unhashed())
    }
}

/// Hash of a `TreeHashInput` with a `LeafNodeHashInput`.
fn leaf_hash(suite: Suite, index: LeafIndex, leaf: Option<&LeafNode>) -> Result<Bytes, CodecError> {
    let mut input = vec![NODE_TYPE_LEAF];
    index.tls_serialize(&mut input)?;
    write_optional(leaf, &mut input)?;
    Ok(suite.hash(&input).into())
}

/// Hash of a `TreeHashInput` with a `ParentNodeHashInput`.
fn parent_tree_hash(
    suite: Suite,
    node: Option<&ParentNode>,
    left: &Bytes,
    right: &Bytes,
) -> Result<Bytes, CodecError> {
    let mut input = vec![NODE_TYPE_PARENT];
    write_optional(node, &mut input)?;
    left.tls_serialize(&mut input)?;
    right.tls_serialize(&mut input)?;
    Ok(suite.hash(&input).into())
}

/// `optional<T>` of a borrowed value.
fn write_optional<T: Serialize>(value: Option<&T>, out: &mut Vec<u8>) -> Result<(), CodecError> {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        value.tls_serialize(out)?;
    }
    Ok(())
}
