//! The ratchet tree (RFC 9420 4, 7.7) as an immutable value.

use std::fmt;
use std::sync::Arc;

use super::error::TreeError;
use super::leaf_node::LeafNode;
use super::math::{LeafIndex, MAX_WIDTH, NodeIndex};
use super::node::{Node, NodesError, ParentNode, RatchetTreeExtension};
use super::subtree::{Content, EditParent, Subtree};
use crate::codec::{Bytes, CodecError};
use crate::suite::{HpkePublicKey, SignaturePublicKey, Suite};

/// The ratchet tree of one epoch. No method changes it: each gives a new tree, which shares all but the changed path
/// with the old one. Cloning is O(1).
#[derive(Clone)]
pub struct RatchetTree {
    pub(super) suite: Suite,
    pub(super) root: Arc<Subtree>,
    pub(super) width: u32,
}

impl fmt::Debug for RatchetTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RatchetTree")
            .field("suite", &self.suite)
            .field("width", &self.width)
            .field("members", &self.member_count())
            .finish()
    }
}

impl RatchetTree {
    /// The tree of a new group: its creator's leaf.
    pub fn new(suite: Suite, leaf: impl Into<Arc<LeafNode>>) -> Self {
        Self { suite, root: Subtree::leaf(LeafIndex(0), Some(leaf.into())), width: 1 }
    }

    /// The tree of an array of nodes, as [`RatchetTree::to_nodes`] gives it; blanks at its end may be missing. Only its
    /// shape is judged: whoever joins calls [`RatchetTree::validate`].
    ///
    /// # Errors
    /// [`NodesError`] if the array is empty, a node is of the wrong type for its place, or the right half is blank.
    pub fn from_nodes(suite: Suite, nodes: Vec<Option<Node>>) -> Result<Self, NodesError> {
        let nodes = RatchetTreeExtension::from_nodes(nodes).into_nodes()?;
        let width = u32::try_from(nodes.len().div_ceil(2)).map_err(|_| NodesError::TooLarge)?;
        let root = Subtree::from_nodes(NodeIndex::root(width), &nodes);
        match root.children() {
            Some((_, right)) if right.members() == 0 => Err(NodesError::NotTruncated),
            _ => Ok(Self { suite, root, width }),
        }
    }

    /// The tree of the data of a `ratchet_tree` extension. Only its shape is judged.
    ///
    /// # Errors
    /// [`NodesError`] if the data is no canonical encoding of a tree.
    pub fn from_extension(suite: Suite, data: &[u8]) -> Result<Self, NodesError> {
        Self::from_nodes(suite, RatchetTreeExtension::decode_nodes(data)?)
    }

    /// The tree for a `ratchet_tree` extension.
    pub fn to_extension(&self) -> RatchetTreeExtension {
        RatchetTreeExtension::from_nodes(self.to_nodes())
    }

    /// All 2·width - 1 nodes in the order of the array.
    pub fn to_nodes(&self) -> Vec<Option<Node>> {
        fn walk(subtree: &Subtree, out: &mut Vec<Option<Node>>) {
            match subtree.children() {
                Some((left, right)) => {
                    walk(left, out);
                    out.push(subtree.node());
                    walk(right, out);
                }
                None => out.push(subtree.node()),
            }
        }
        let mut out = Vec::new();
        walk(&self.root, &mut out);
        out
    }

    /// The suite whose hash the tree uses.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Number of leaf positions, a power of two.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Number of leaves that are not blank.
    pub fn member_count(&self) -> u32 {
        self.root.members()
    }

    /// The index of the root.
    pub fn root_index(&self) -> NodeIndex {
        NodeIndex::root(self.width)
    }

    /// The tree hash of the root (RFC 9420 7.8). The first call after a change hashes what has changed.
    ///
    /// # Errors
    /// [`CodecError::BadLength`] if a node holds a vector that is too long to be encoded.
    pub fn tree_hash(&self) -> Result<Bytes, CodecError> {
        self.root.hash(self.suite).cloned()
    }

    /// The tree hash of one node; none if the tree has no such node.
    ///
    /// # Errors
    /// As for [`RatchetTree::tree_hash`].
    pub fn node_hash(&self, node: NodeIndex) -> Result<Option<Bytes>, CodecError> {
        self.subtree(node).map(|subtree| subtree.hash(self.suite).cloned()).transpose()
    }

    pub(super) fn subtree(&self, node: NodeIndex) -> Option<&Arc<Subtree>> {
        if node.is_in(self.width) { self.root.find(self.root_index(), node) } else { None }
    }

    /// The node there; none if it is blank or not in the tree.
    pub fn node(&self, node: NodeIndex) -> Option<Node> {
        self.subtree(node)?.node()
    }

    /// The parent there; none if it is blank, a leaf, or not in the tree.
    pub fn parent_node(&self, node: NodeIndex) -> Option<&ParentNode> {
        match self.subtree(node)?.content() {
            Content::Parent { node, .. } => node.as_deref(),
            Content::Leaf { .. } => None,
        }
    }

    /// The leaf there; none if it is blank or not in the tree.
    pub fn leaf(&self, leaf: LeafIndex) -> Option<&LeafNode> {
        match self.subtree(leaf.node())?.content() {
            Content::Leaf { leaf, .. } => leaf.as_deref(),
            Content::Parent { .. } => None,
        }
    }

    /// The subtrees that are not blank, a parent before what is below it, left before right.
    pub(super) fn subtrees(&self) -> impl Iterator<Item = (NodeIndex, &Subtree)> {
        let mut stack = vec![(self.root_index(), &*self.root)];
        std::iter::from_fn(move || {
            let (here, subtree) = stack.pop()?;
            if let (Some((left, right)), Some(left_index), Some(right_index)) =
                (subtree.children(), here.left(), here.right())
            {
                let children = [(right_index, &**right), (left_index, &**left)];
                stack.extend(children.into_iter().filter(|(_, child)| !child.is_blank()));
            }
            Some((here, subtree))
        })
    }

    /// The leaves that are not blank, from the left. Blank parts are skipped as a whole.
    pub fn leaves(&self) -> impl Iterator<Item = (LeafIndex, &LeafNode)> {
        self.subtrees().filter_map(|(_, subtree)| match subtree.content() {
            Content::Leaf { index, leaf } => leaf.as_deref().map(|leaf| (*index, leaf)),
            Content::Parent { .. } => None,
        })
    }

    /// The parents that are not blank, each before those below it.
    pub fn parents(&self) -> impl Iterator<Item = (NodeIndex, &ParentNode)> {
        self.subtrees().filter_map(|(here, subtree)| match subtree.content() {
            Content::Parent { node, .. } => node.as_deref().map(|node| (here, node)),
            Content::Leaf { .. } => None,
        })
    }

    /// The encryption keys of all nodes that are not blank.
    pub fn encryption_keys(&self) -> impl Iterator<Item = (NodeIndex, &HpkePublicKey)> {
        self.subtrees().filter_map(|(here, subtree)| Some((here, subtree.encryption_key()?)))
    }

    /// The encryption key of a node; none if it is blank or not in the tree.
    pub fn encryption_key(&self, node: NodeIndex) -> Option<&HpkePublicKey> {
        self.subtree(node)?.encryption_key()
    }

    /// The first leaf for which `predicate` holds.
    pub fn find_leaf(&self, mut predicate: impl FnMut(&LeafNode) -> bool) -> Option<LeafIndex> {
        self.leaves().find(|(_, leaf)| predicate(leaf)).map(|(index, _)| index)
    }

    /// The leaf with a signature key.
    pub fn find_signature_key(&self, key: &SignaturePublicKey) -> Option<LeafIndex> {
        self.find_leaf(|leaf| leaf.signature_key == *key)
    }

    /// The resolution of a node (RFC 9420 4.1.1), in its order; empty if the tree has no such node.
    pub fn resolution(&self, node: NodeIndex) -> Vec<NodeIndex> {
        let mut out = Vec::new();
        if let Some(subtree) = self.subtree(node) {
            subtree.resolve(node, &mut out);
        }
        out
    }

    /// The filtered direct path of a leaf (RFC 9420 4.1.2), from the leaf upward.
    pub fn filtered_direct_path(&self, leaf: LeafIndex) -> Vec<NodeIndex> {
        self.filtered_path(leaf).into_iter().map(|step| step.node).collect()
    }

    /// The filtered direct path with, for each node, the child that is not on it.
    pub(super) fn filtered_path(&self, leaf: LeafIndex) -> Vec<PathStep<'_>> {
        let mut steps = Vec::new();
        let (mut here, mut subtree) = (self.root_index(), &self.root);
        while let (Some((left, right)), Some(left_index), Some(right_index)) =
            (subtree.children(), here.left(), here.right())
        {
            let (next, step) = if left_index.covers(leaf) {
                ((left_index, left), PathStep { node: here, copath: right_index, copath_subtree: right })
            } else {
                ((right_index, right), PathStep { node: here, copath: left_index, copath_subtree: left })
            };
            if !step.copath_subtree.is_blank() {
                steps.push(step);
            }
            (here, subtree) = next;
        }
        steps.reverse();
        steps
    }

    /// The tree with a leaf replaced and the parents above it edited. `index` must be in the tree.
    pub(super) fn with_leaf(
        &self,
        index: LeafIndex,
        leaf: Option<Arc<LeafNode>>,
        edit: &mut EditParent<'_>,
    ) -> Self {
        Self { root: self.root.with_leaf(self.root_index(), index, leaf, edit), ..self.clone() }
    }

    /// A tree that has a blank leaf, and the leftmost one: where an Add or an external joiner goes (RFC 9420 12.1.1,
    /// 12.4.2). It is this tree unless that is full; then it is twice as wide, this one being its left half.
    ///
    /// # Errors
    /// [`TreeError::Full`] if it would be wider than [`MAX_WIDTH`].
    pub fn with_blank_leaf(&self) -> Result<(Self, LeafIndex), TreeError> {
        let mut tree = self.clone();
        if tree.member_count() == tree.width {
            tree.width =
                self.width.checked_mul(2).filter(|width| *width <= MAX_WIDTH).ok_or(TreeError::Full)?;
            let right = tree.root_index().right().ok_or(TreeError::Full)?;
            tree.root = Subtree::parent(None, self.root.clone(), Subtree::blank(right));
        }
        let (mut first, mut span, mut subtree) = (0, tree.width, &tree.root);
        while let Some((left, right)) = subtree.children() {
            span /= 2;
            if left.members() < span {
                subtree = left;
            } else {
                (first, subtree) = (first + span, right);
            }
        }
        Ok((tree, LeafIndex(first)))
    }

    /// Adds a member at the leftmost blank leaf, unmerged at the nodes above it (RFC 9420 7.7, 12.1.1).
    ///
    /// # Errors
    /// [`TreeError::Full`].
    pub fn add_leaf(&self, leaf: impl Into<Arc<LeafNode>>) -> Result<(Self, LeafIndex), TreeError> {
        let (tree, index) = self.with_blank_leaf()?;
        let tree = tree.with_leaf(index, Some(leaf.into()), &mut |_, node| {
            node.map(|node| {
                let mut node = ParentNode::clone(node);
                if let Err(place) = node.unmerged_leaves.binary_search(&index) {
                    node.unmerged_leaves.insert(place, index);
                }
                node.into()
            })
        });
        Ok((tree, index))
    }

    /// Replaces a member's leaf and blanks the nodes above it (RFC 9420 12.1.2).
    ///
    /// # Errors
    /// [`TreeError::NoLeaf`] if the leaf is blank or not in the tree.
    pub fn update_leaf(&self, index: LeafIndex, leaf: impl Into<Arc<LeafNode>>) -> Result<Self, TreeError> {
        self.leaf(index).ok_or(TreeError::NoLeaf(index))?;
        Ok(self.with_leaf(index, Some(leaf.into()), &mut |_, _| None))
    }

    /// Blanks a member's leaf and the nodes above it, then drops right halves without members (RFC 9420 7.7, 12.1.3).
    /// Of the last member a blank leaf remains, for an external joiner to take (RFC 9420 12.4.3.2).
    ///
    /// # Errors
    /// [`TreeError::NoLeaf`] if the leaf is blank or not in the tree.
    pub fn remove_leaf(&self, index: LeafIndex) -> Result<Self, TreeError> {
        self.leaf(index).ok_or(TreeError::NoLeaf(index))?;
        let mut tree = self.with_leaf(index, None, &mut |_, _| None);
        while let Some((left, right)) = tree.root.children() {
            if right.members() > 0 {
                break;
            }
            let left = left.clone();
            tree = Self { root: left, width: tree.width / 2, ..tree };
        }
        Ok(tree)
    }
}

/// A node of a filtered direct path.
pub(super) struct PathStep<'a> {
    /// The node on the path.
    pub(super) node: NodeIndex,
    /// Its child that is not on the path.
    pub(super) copath: NodeIndex,
    /// What stands there.
    pub(super) copath_subtree: &'a Arc<Subtree>,
}
