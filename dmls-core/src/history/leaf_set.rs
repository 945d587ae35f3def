//! A set of leaves of one tree.

use fixedbitset::FixedBitSet;
use serde::{Deserialize, Serialize};

use crate::tree::LeafIndex;

/// A set of leaves. Grows as needed; two sets with the same leaves are equal, and stored alike, whatever their sizes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
pub struct LeafSet(FixedBitSet);

impl LeafSet {
    /// Adds a leaf; whether it is new.
    pub fn insert(&mut self, leaf: LeafIndex) -> bool {
        let index = leaf.0 as usize;
        self.0.grow(index.saturating_add(1));
        !self.0.put(index)
    }

    /// Takes a leaf away.
    pub fn remove(&mut self, leaf: LeafIndex) {
        let index = leaf.0 as usize;
        if self.0.contains(index) {
            self.0.remove(index);
        }
    }

    /// Whether the leaf is in the set.
    pub fn contains(&self, leaf: LeafIndex) -> bool {
        self.0.contains(leaf.0 as usize)
    }

    /// Number of leaves.
    pub fn len(&self) -> usize {
        self.0.count_ones(..)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_clear()
    }

    /// The leaves, ascending.
    pub fn iter(&self) -> impl Iterator<Item = LeafIndex> + '_ {
        self.0.ones().filter_map(|index| u32::try_from(index).ok().map(LeafIndex))
    }

    /// Adds every leaf of `other`.
    pub fn union_with(&mut self, other: &Self) {
        self.0.grow(other.0.len());
        self.0.union_with(&other.0);
    }

    /// Takes away every leaf of `other`.
    pub fn subtract(&mut self, other: &Self) {
        self.0.difference_with(&other.0);
    }

    /// The leaves that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.0.intersect_with(&other.0);
        both
    }

    /// Whether every leaf is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|leaf| other.contains(leaf))
    }
}

/// Leaf i is bit i mod 8 of byte i div 8, without trailing zero bytes. (The bit set's own encoding panics on a damaged
/// record.)
impl From<LeafSet> for Vec<u8> {
    fn from(set: LeafSet) -> Self {
        let mut bytes: Self = set.0.as_slice().iter().flat_map(|block| block.to_le_bytes()).collect();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        bytes
    }
}

impl From<Vec<u8>> for LeafSet {
    fn from(bytes: Vec<u8>) -> Self {
        let block = |chunk: &[u8]| chunk.iter().rev().fold(0, |block, byte| block << 8 | usize::from(*byte));
        let blocks = bytes.chunks(usize::BITS as usize / 8).map(block);
        Self(FixedBitSet::with_capacity_and_blocks(bytes.len().saturating_mul(8), blocks))
    }
}

impl PartialEq for LeafSet {
    fn eq(&self, other: &Self) -> bool {
        self.0.ones().eq(other.0.ones())
    }
}

impl Eq for LeafSet {}

impl FromIterator<LeafIndex> for LeafSet {
    fn from_iter<I: IntoIterator<Item = LeafIndex>>(leaves: I) -> Self {
        let mut set = Self::default();
        leaves.into_iter().for_each(|leaf| {
            set.insert(leaf);
        });
        set
    }
}
