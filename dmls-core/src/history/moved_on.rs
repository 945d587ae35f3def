//! Who has moved on from an epoch: what they send in it is late from then on (DESIGN 4.5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::LeafSet;
use crate::tree::LeafIndex;

/// Parts into which a waiting time is divided: what falls due within one of them falls due together, so that a record
/// has at most two dates more than this.
const PARTS: u64 = 20;

/// Members of an epoch that have spoken below it, with the reconciled time, in milliseconds, at which their keys of
/// this epoch go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedOn {
    due: BTreeMap<u64, LeafSet>,
    gone: LeafSet,
}

impl MovedOn {
    /// Whether the leaf is known to have moved on.
    pub fn contains(&self, leaf: LeafIndex) -> bool {
        self.gone.contains(leaf) || self.due.values().any(|leaves| leaves.contains(leaf))
    }

    /// Notes at reconciled time `now` that a leaf has moved on: its keys go after `wait`, at most a twentieth of it
    /// later.
    pub fn insert(&mut self, leaf: LeafIndex, now: u64, wait: u64) {
        if !self.contains(leaf) {
            let part = (wait / PARTS).max(1);
            let due = now.saturating_add(wait).div_ceil(part).saturating_mul(part);
            self.due.entry(due).or_default().insert(leaf);
        }
    }

    /// When the next keys go.
    pub fn next_due(&self) -> Option<u64> {
        self.due.first_key_value().map(|(due, _)| *due)
    }

    /// The leaves whose time has come at reconciled time `now`; from now on they count as gone.
    pub fn take_due(&mut self, now: u64) -> LeafSet {
        let mut taken = LeafSet::default();
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() <= now) {
            taken.union_with(&entry.remove());
        }
        self.gone.union_with(&taken);
        taken
    }

    /// The leaves whose keys have gone.
    pub fn gone(&self) -> &LeafSet {
        &self.gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_in_few_batches_and_never_early() {
        let mut moved_on = MovedOn::default();
        let wait = 600_000;
        for leaf in 0..1000 {
            moved_on.insert(LeafIndex(leaf), u64::from(leaf) * 600, wait);
        }
        assert!(moved_on.due.len() <= PARTS as usize + 2, "{}", moved_on.due.len());
        // The first one counts: who speaks again moves on no later.
        moved_on.insert(LeafIndex(0), 9_000_000, wait);
        let mut gone = 0;
        while let Some(due) = moved_on.next_due() {
            assert!(moved_on.take_due(due - 1).is_empty());
            for leaf in moved_on.take_due(due).iter() {
                let from = u64::from(leaf.0) * 600;
                assert!((from + wait..=from + wait + wait / PARTS).contains(&due), "{leaf}: {from} -> {due}");
                gone += 1;
            }
        }
        assert_eq!((gone, moved_on.gone().len()), (1000, 1000));
        assert!(moved_on.contains(LeafIndex(7)) && !moved_on.contains(LeafIndex(1000)));
    }
}
