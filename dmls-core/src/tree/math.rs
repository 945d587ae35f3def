//! Index arithmetic of trees stored in arrays (RFC 9420 4.1, appendix C).
//!
//! Leaves have even node indices, parents odd ones; the number of trailing ones is a node's level. The *width* of a
//! tree is its number of leaf positions, always a power of two.

use std::fmt;

use crate::codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

/// The widest tree that can exist: 2^30 leaf positions, so that every node index fits `u32` with room to spare.
pub const MAX_WIDTH: u32 = 1 << 30;

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSize, TlsSerialize, TlsDeserializeBytes,
            serde::Serialize, serde::Deserialize,
        )]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index!(
    /// Position of a leaf, counted among leaves from the left. Not necessarily one of any given tree.
    LeafIndex
);
index!(
    /// Position of a node in the array form of a tree. Not necessarily one of any given tree.
    NodeIndex
);

impl LeafIndex {
    /// The leaf's place in the array. An index that no tree has becomes a node that no tree has.
    pub fn node(self) -> NodeIndex {
        NodeIndex(self.0.saturating_mul(2))
    }

    /// The ancestors of the leaf in a tree of `width`, from its parent to the root; empty for a lone leaf, and for a
    /// leaf that is not in the tree.
    pub fn direct_path(self, width: u32) -> Vec<NodeIndex> {
        if self.0 < width { self.node().ancestors(width).collect() } else { Vec::new() }
    }

    /// The siblings of the leaf and of its ancestors below the root, in the order of [`LeafIndex::direct_path`].
    pub fn copath(self, width: u32) -> Vec<NodeIndex> {
        if self.0 >= width {
            return Vec::new();
        }
        let own = std::iter::once(self.node()).chain(self.node().ancestors(width));
        own.filter_map(|node| node.sibling(width)).collect()
    }
}

impl NodeIndex {
    /// Height above the leaves.
    pub fn level(self) -> u32 {
        self.0.trailing_ones()
    }

    /// Whether the node is a leaf.
    pub fn is_leaf(self) -> bool {
        self.level() == 0
    }

    /// The leaf at this node, if it is one.
    pub fn leaf(self) -> Option<LeafIndex> {
        self.is_leaf().then_some(LeafIndex(self.0 / 2))
    }

    /// The root of a tree of `width` leaf positions, a power of two.
    pub fn root(width: u32) -> Self {
        Self(width.saturating_sub(1))
    }

    /// Whether a tree of `width` has this node.
    pub fn is_in(self, width: u32) -> bool {
        u64::from(self.0) + 1 < 2 * u64::from(width)
    }

    /// The left child; none for a leaf.
    pub fn left(self) -> Option<Self> {
        let below = self.level().checked_sub(1)?;
        Some(Self(self.0 ^ 1u32.checked_shl(below)?))
    }

    /// The right child; none for a leaf.
    pub fn right(self) -> Option<Self> {
        let below = self.level().checked_sub(1)?;
        Some(Self(self.0 ^ 3u32.checked_shl(below)?))
    }

    /// The parent in a tree of `width`; none for the root and for a node that is not in the tree.
    pub fn parent(self, width: u32) -> Option<Self> {
        if self == Self::root(width) || !self.is_in(width) {
            return None;
        }
        let level = self.level();
        let above = 1u32.checked_shl(level + 1)?;
        Some(Self((self.0 | 1u32.checked_shl(level)?) & !above))
    }

    /// The other child of the parent in a tree of `width`; none for the root and for a node that is not in the tree.
    pub fn sibling(self, width: u32) -> Option<Self> {
        let parent = self.parent(width)?;
        if self < parent { parent.right() } else { parent.left() }
    }

    /// The ancestors in a tree of `width`, from the parent to the root.
    pub fn ancestors(self, width: u32) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(width), move |node| node.parent(width))
    }

    /// Whether `leaf` is this node or lies below it.
    pub fn covers(self, leaf: LeafIndex) -> bool {
        let (first, last) = self.leaf_range();
        first <= leaf && leaf <= last
    }

    /// The first and the last leaf at or below this node.
    pub fn leaf_range(self) -> (LeafIndex, LeafIndex) {
        let below = 1u32.checked_shl(self.level()).map_or(u32::MAX, |span| span - 1);
        (LeafIndex(self.0.saturating_sub(below) / 2), LeafIndex(self.0.saturating_add(below) / 2))
    }
}
