//! Messages that are never fetched again: they break a rule, are too old, or say what another copy has said.
//!
//! Looked up in memory and kept over restarts. They are written in batches, so that whoever sends rubbish cannot make
//! this node wait for the disk each time; what a crash takes with it is fetched and judged once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use dmls_core::group::{GroupId, Key, StoreError, Table};

use crate::store::{Column, Database, Extra};

/// Ids that are remembered for each group; a further one replaces the oldest.
pub(super) const MAX: usize = 4096;

/// The ids of all groups.
#[derive(Default)]
pub(super) struct Unwanted {
    groups: RwLock<HashMap<GroupId, Known>>,
}

#[derive(Default)]
struct Known {
    ids: HashMap<[u8; 32], u64>,
    order: BTreeMap<u64, [u8; 32]>,
    next: u64,
    /// Numbers below are on the disk.
    stored: u64,
    /// On the disk, but not wanted there any more.
    gone: Vec<[u8; 32]>,
}

impl Known {
    fn add(&mut self, id: [u8; 32]) -> bool {
        if self.ids.contains_key(&id) {
            return false;
        }
        self.put(self.next, id);
        true
    }

    fn put(&mut self, number: u64, id: [u8; 32]) {
        self.ids.insert(id, number);
        self.order.insert(number, id);
        self.next = self.next.max(number.saturating_add(1));
        while self.order.len() > MAX {
            let Some((number, oldest)) = self.order.pop_first() else { break };
            self.ids.remove(&oldest);
            if number < self.stored {
                self.gone.push(oldest);
            }
        }
    }
}

fn key(group: &GroupId, id: &[u8; 32]) -> Vec<u8> {
    // The core has no such table: only the layout of the key is the same.
    Key::named(Table::Waiting, group, id).bytes
}

impl Unwanted {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<GroupId, Known>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<GroupId, Known>> {
        self.groups.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is stored of a group.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn load(&self, database: &Database, group: &GroupId) -> Result<(), StoreError> {
        let prefix = Key::of_group(Table::Waiting, group).bytes;
        let mut found: Vec<(Vec<u8>, u64)> = database.scan(Column::Unwanted, &prefix, &[], 2 * MAX)?;
        found.sort_by_key(|(_, number)| *number);
        let mut known = Known { stored: u64::MAX, ..Known::default() };
        for (key, number) in found {
            if let Some(id) = key.last_chunk::<32>() {
                known.put(number, *id);
            }
        }
        known.stored = known.next;
        self.write().insert(group.clone(), known);
        Ok(())
    }

    /// Remembers a message. Returns whether that has to be stored.
    pub(super) fn add(&self, group: &GroupId, id: [u8; 32]) -> bool {
        self.write().entry(group.clone()).or_default().add(id)
    }

    /// Whether a message is never to be fetched.
    pub(super) fn contains(&self, group: &GroupId, id: &[u8; 32]) -> bool {
        self.read().get(group).is_some_and(|known| known.ids.contains_key(id))
    }

    /// Adds what has to be stored to a write. [`Self::stored`] must follow once it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn collect(&self, extra: &mut Extra) -> Result<(), StoreError> {
        for (group, known) in self.read().iter() {
            for (number, id) in known.order.range(known.stored..) {
                extra.put(Column::Unwanted, &key(group, id), number)?;
            }
            // An id that has come back meanwhile stays.
            for id in known.gone.iter().filter(|id| !known.ids.contains_key(*id)) {
                extra.delete(Column::Unwanted, &key(group, id));
            }
        }
        Ok(())
    }

    /// What was collected is on the disk.
    pub(super) fn stored(&self) {
        for known in self.write().values_mut() {
            known.stored = known.next;
            known.gone.clear();
        }
    }

    /// Forgets a group; its records go with the write of `extra`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn erase(
        &self,
        database: &Database,
        group: &GroupId,
        extra: &mut Extra,
    ) -> Result<(), StoreError> {
        let prefix = Key::of_group(Table::Waiting, group).bytes;
        let take = |key: &[u8]| {
            extra.delete(Column::Unwanted, key);
            true
        };
        database.keys(Column::Unwanted, &prefix, &[], take)
    }

    /// Forgets a group in memory, once its records are gone.
    pub(super) fn forget(&self, group: &GroupId) {
        self.write().remove(group);
    }
}
