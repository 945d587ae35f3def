//! A set of leaves of one tree.

use fixedbitset::FixedBitSet;
use serde::{Deserialize, Serialize};

use crate::tree::LeafIndex;

/// A set of leaves. Grows as needed; two sets with the same leaves are equal whatever their sizes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LeafSet(FixedBitSet);

impl LeafSet {
    /// Adds a leaf; whether it is new.
    pub fn insert(&mut self, leaf: LeafIndex) -> bool {
        let index = leaf.0 as usize;
        self.0.grow(index.saturating_add(1));
        !self.0.put(index)
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
