//! The ratchet tree on disk: each subtree once, under its tree hash (DESIGN 4.2).
//!
//! A hash names a subtree with its place, because the hashes of its leaves cover their indices. Subtrees without any
//! node have no record: their parents say that they are blank.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::leaf_node::LeafNode;
use super::math::{LeafIndex, MAX_WIDTH, NodeIndex};
use super::node::ParentNode;
use super::ratchet_tree::RatchetTree;
use super::subtree::{Content, Subtree};
use crate::codec::{Bytes, CodecError};
use crate::suite::Suite;

/// A record: one node and the hashes of the subtrees below it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum StoredSubtree {
    /// A member.
    Leaf {
        /// Its place.
        index: LeafIndex,
        /// Its leaf.
        leaf: Arc<LeafNode>,
    },
    /// An inner node, itself perhaps blank.
    Parent {
        /// The node, if it is not blank.
        node: Option<Arc<ParentNode>>,
        /// Tree hash of the left child; none if nothing is there.
        left: Option<Bytes>,
        /// Tree hash of the right child; none if nothing is there.
        right: Option<Bytes>,
    },
}

/// Why a stored tree could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadError {
    /// There is no record under a hash.
    #[error("The stored subtree {0:?} is missing.")]
    Missing(Bytes),
    /// A record does not hash to the hash that it is stored under.
    #[error("The stored subtree {0:?} is damaged.")]
    Damaged(Bytes),
    /// A record does not fit the place at which the tree has it.
    #[error("A stored subtree does not fit node {0}.")]
    WrongPlace(NodeIndex),
    /// The width is no power of two, or above [`MAX_WIDTH`].
    #[error("A tree cannot be {0} leaves wide.")]
    BadWidth(u32),
    /// A node is too large to be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Subtrees already loaded, by hash, so that trees loaded one after another share what they have in common.
#[derive(Clone, Default)]
pub struct SubtreeCache(BTreeMap<Bytes, Arc<Subtree>>);

impl SubtreeCache {
    /// Number of subtrees.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl RatchetTree {
    /// The records that this tree needs beyond those of `older`, in O(changed), children first; all of them if there is
    /// no older tree.
    ///
    /// # Errors
    /// As for [`RatchetTree::tree_hash`].
    pub fn new_subtrees_since(
        &self,
        older: Option<&RatchetTree>,
    ) -> Result<Vec<(Bytes, StoredSubtree)>, CodecError> {
        let mut out = Vec::new();
        self.collect(&self.root, self.root_index(), older, &mut out)?;
        Ok(out)
    }

    /// The hashes of all records of this tree, children first.
    ///
    /// # Errors
    /// As for [`RatchetTree::tree_hash`].
    pub fn subtree_hashes(&self) -> Result<Vec<Bytes>, CodecError> {
        Ok(self.new_subtrees_since(None)?.into_iter().map(|(hash, _)| hash).collect())
    }

    fn collect(
        &self,
        subtree: &Arc<Subtree>,
        here: NodeIndex,
        older: Option<&RatchetTree>,
        out: &mut Vec<(Bytes, StoredSubtree)>,
    ) -> Result<(), CodecError> {
        if subtree.is_blank() {
            return Ok(());
        }
        let hash = subtree.hash(self.suite)?;
        if let Some(old) = older.and_then(|older| older.subtree(here))
            && (Arc::ptr_eq(old, subtree) || old.hash(self.suite)? == hash)
        {
            return Ok(());
        }
        let record = match subtree.content() {
            Content::Leaf { leaf: None, .. } => return Ok(()),
            Content::Leaf { index, leaf: Some(leaf) } => {
                StoredSubtree::Leaf { index: *index, leaf: leaf.clone() }
            }
            Content::Parent { node, left, right } => {
                if let (Some(left_index), Some(right_index)) = (here.left(), here.right()) {
                    self.collect(left, left_index, older, out)?;
                    self.collect(right, right_index, older, out)?;
                }
                let reference = |child: &Subtree| {
                    if child.is_blank() { Ok(None) } else { child.hash(self.suite).cloned().map(Some) }
                };
                StoredSubtree::Parent { node: node.clone(), left: reference(left)?, right: reference(right)? }
            }
        };
        out.push((hash.clone(), record));
        Ok(())
    }

    /// Loads a stored tree. Every record is hashed again; what `cache` has is not fetched, and what is fetched goes in.
    ///
    /// # Errors
    /// [`LoadError`] if a record is missing, damaged, or not of this tree.
    pub fn load(
        suite: Suite,
        root_hash: &Bytes,
        width: u32,
        fetch: &mut dyn FnMut(&[u8]) -> Option<StoredSubtree>,
        cache: &mut SubtreeCache,
    ) -> Result<Self, LoadError> {
        if !width.is_power_of_two() || width > MAX_WIDTH {
            return Err(LoadError::BadWidth(width));
        }
        let mut loader = Loader { suite, fetch, cache };
        let root_index = NodeIndex::root(width);
        let root = loader.subtree(root_index, root_hash)?;
        match root.children() {
            Some((_, right)) if right.members() == 0 => Err(LoadError::WrongPlace(root_index)),
            _ => Ok(Self { suite, root, width }),
        }
    }
}

struct Loader<'a> {
    suite: Suite,
    fetch: &'a mut dyn FnMut(&[u8]) -> Option<StoredSubtree>,
    cache: &'a mut SubtreeCache,
}

impl Loader<'_> {
    fn subtree(&mut self, here: NodeIndex, hash: &Bytes) -> Result<Arc<Subtree>, LoadError> {
        if let Some(subtree) = self.cache.0.get(hash) {
            return if subtree.stands_at(here) {
                Ok(subtree.clone())
            } else {
                Err(LoadError::WrongPlace(here))
            };
        }
        let record = (self.fetch)(hash.as_slice()).ok_or_else(|| LoadError::Missing(hash.clone()))?;
        let subtree = match (record, here.left(), here.right()) {
            (StoredSubtree::Leaf { index, leaf }, None, None) if index.node() == here => {
                Subtree::leaf(index, Some(leaf))
            }
            (StoredSubtree::Parent { node, left, right }, Some(left_index), Some(right_index)) => {
                // Filled children first: a width that is wrong is found out before blanks of that width are made.
                let (left, right) = match (left, right) {
                    (Some(left), Some(right)) => {
                        (self.subtree(left_index, &left)?, self.subtree(right_index, &right)?)
                    }
                    (Some(left), None) => (self.subtree(left_index, &left)?, Subtree::blank(right_index)),
                    (None, Some(right)) => {
                        let right = self.subtree(right_index, &right)?;
                        (Subtree::blank(left_index), right)
                    }
                    (None, None) => return Err(LoadError::WrongPlace(here)),
                };
                Subtree::parent(node, left, right)
            }
            _ => return Err(LoadError::WrongPlace(here)),
        };
        if subtree.hash(self.suite)? != hash {
            return Err(LoadError::Damaged(hash.clone()));
        }
        self.cache.0.insert(hash.clone(), subtree.clone());
        Ok(subtree)
    }
}
