//! One step in the making: a copy of the state, and what it takes to store the difference (DESIGN 4.8).

use std::sync::Arc;

use rand_core::CryptoRng;
use sha2::{Digest, Sha256};

use super::records::Value;
use super::step::{Disposition, Effect, Event, Step};
use super::store::{Changes, Key, Table};
use super::{Group, Keys};
use crate::codec::CodecError;
use crate::history::Member;
use crate::schedule::{CommitId, EpochId};
use crate::suite::SignaturePublicKey;
use crate::tree::{LeafIndex, LeafNode};

/// A step in the making. Dropping it changes nothing.
pub(super) struct Transaction<'a> {
    /// The state as it will be.
    pub(super) group: Group,
    /// The state as it is; none for a group that begins.
    pub(super) before: Option<&'a Group>,
    /// Records that are not derived from the difference of the two.
    pub(super) changes: Changes,
    pub(super) effects: Vec<Effect>,
    pub(super) rng: &'a mut dyn CryptoRng,
    /// Whether commits, votes or acknowledgements have been recorded: what is decided may have changed.
    pub(super) evidence: bool,
    /// Whether a message has taken effect: others may have waited for it.
    pub(super) news: bool,
    /// Whether messages that have waited are taken up, in another order than they were sent in.
    pub(super) retrying: bool,
    /// A quarantined commit whose turn has come.
    pub(super) released: Option<CommitId>,
    /// Equivocators that this step has reported.
    pub(super) told: std::collections::BTreeSet<(EpochId, LeafIndex)>,
}

/// SHA-256 of a signature public key.
pub(super) fn fingerprint(key: &SignaturePublicKey) -> [u8; 32] {
    Sha256::digest(key.as_slice()).into()
}

/// A member as the application sees it.
pub(super) fn member(leaf: LeafIndex, node: &LeafNode) -> Member {
    Member { leaf, credential: node.credential.clone(), fingerprint: fingerprint(&node.signature_key) }
}

impl<'a> Transaction<'a> {
    /// A step of a group.
    pub(super) fn new(before: &'a Group, now_ms: u64, rng: &'a mut dyn CryptoRng) -> Self {
        let mut group = before.clone();
        group.state.advance(now_ms);
        Self {
            group,
            before: Some(before),
            changes: Changes::default(),
            effects: Vec::new(),
            rng,
            evidence: false,
            news: false,
            retrying: false,
            released: None,
            told: Default::default(),
        }
    }

    /// The first step of a group.
    pub(super) fn first(group: Group, rng: &'a mut dyn CryptoRng) -> Self {
        Self {
            group,
            before: None,
            changes: Changes::default(),
            effects: Vec::new(),
            rng,
            evidence: true,
            news: false,
            retrying: false,
            released: None,
            told: Default::default(),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.group.state.now_ms
    }

    pub(super) fn event(&mut self, event: Event) {
        self.effects.push(Effect::Event(event));
    }

    /// A number of `0..below`; 0 if there is none.
    pub(super) fn random_below(&mut self, below: u64) -> u64 {
        // The bias of the remainder is of no consequence for jitter.
        self.rng.next_u64().checked_rem(below).unwrap_or(0)
    }

    /// Does something that may fail half-way; then all of it has not happened. Whether it succeeded.
    pub(super) fn attempt<E>(&mut self, action: impl FnOnce(&mut Self) -> Result<(), E>) -> bool {
        let before = (self.group.clone(), self.changes.clone(), self.effects.len(), self.evidence);
        let done = action(self).is_ok();
        if !done {
            let (group, changes, effects, evidence) = before;
            (self.group, self.changes, self.evidence) = (group, changes, evidence);
            self.effects.truncate(effects);
        }
        done
    }

    /// Who sits on a leaf of an epoch.
    pub(super) fn member_of(&self, epoch: &EpochId, leaf: LeafIndex) -> Option<Member> {
        self.group.keys.get(epoch)?.epoch.leaf(leaf).map(|node| member(leaf, node))
    }

    /// Ends the step: what follows from it is done, and the difference is turned into records.
    ///
    /// # Errors
    /// [`CodecError`] if a record cannot be made; then nothing has happened.
    pub(super) fn finish(mut self, disposition: Option<Disposition>) -> Result<Step, CodecError> {
        self.settle();
        self.store_difference()?;
        Ok(Step { group: self.group, changes: self.changes, effects: self.effects, disposition })
    }

    fn store_difference(&mut self) -> Result<(), CodecError> {
        let Self { group, before, changes, .. } = self;
        let id = &group.id;
        let written = |changes: &mut Changes, key, value| changes.put(key, value);
        let old_history = before.map(|before| &before.history);
        match old_history {
            Some(old) => {
                for (epoch, record) in group.history.changed_since(old) {
                    written(changes, Key::epoch(Table::History, id, epoch), Value::History(record.clone()));
                }
                for epoch in group.history.removed_since(old) {
                    changes.delete(Key::epoch(Table::History, id, epoch));
                }
            }
            None => {
                for (epoch, record) in group.history.epochs() {
                    written(changes, Key::epoch(Table::History, id, epoch), Value::History(record.clone()));
                }
            }
        }
        for (epoch, keys) in &group.keys {
            let old = before.and_then(|before| before.keys.get(epoch));
            store_keys(changes, group, epoch, keys, old)?;
        }
        let gone: Vec<&EpochId> = before
            .map(|before| before.keys.keys().filter(|epoch| !group.keys.contains_key(*epoch)).collect())
            .unwrap_or_default();
        if let Some(before) = before.filter(|_| !gone.is_empty()) {
            delete_keys(changes, group, before, &gone)?;
        }
        if before.is_none_or(|before| before.state != group.state) {
            written(changes, Key::group(id), Value::Group(Box::new(group.state.clone())));
        }
        Ok(())
    }
}

/// Writes what has changed of an epoch's keys, and the subtrees and private keys that no other epoch has stored.
fn store_keys(
    changes: &mut Changes,
    group: &Group,
    epoch: &EpochId,
    keys: &Keys,
    old: Option<&Keys>,
) -> Result<(), CodecError> {
    let id = &group.id;
    if old.is_none_or(|old| !Arc::ptr_eq(&old.init, &keys.init)) {
        changes.put(Key::epoch(Table::Inits, id, epoch), Value::Init(keys.init.as_ref().clone()));
    }
    if old.is_some_and(|old| Arc::ptr_eq(&old.epoch, &keys.epoch)) {
        return Ok(());
    }
    let ratchets = keys.epoch.secret_tree();
    let changed: Vec<_> = match old {
        Some(old) => ratchets.changed_leaves(old.epoch.secret_tree()).collect(),
        None => ratchets.leaves().collect(),
    };
    for (leaf, ratchets) in changed {
        changes.put(Key::ratchet(id, epoch, leaf), Value::Ratchets(ratchets.clone()));
    }
    if old.is_none_or(|old| keys.epoch.record_differs(&old.epoch)) {
        changes.put(Key::epoch(Table::Epochs, id, epoch), Value::Epoch(keys.epoch.to_record()));
    }
    if old.is_some() {
        return Ok(());
    }
    let parent = group.history.ancestors(epoch).next().and_then(|(parent, _)| group.keys.get(parent));
    for (hash, subtree) in keys.epoch.tree().new_subtrees_since(parent.map(|parent| parent.epoch.tree()))? {
        changes.put(Key::named(Table::Subtrees, id, hash.as_slice()), Value::Subtree(subtree));
    }
    for (public, private) in keys.epoch.private_keys().iter() {
        if parent.is_none_or(|parent| parent.epoch.private_keys().get(public).is_none()) {
            changes.put(
                Key::named(Table::NodeKeys, id, public.as_slice()),
                Value::NodeKey(private.as_ref().clone()),
            );
        }
    }
    Ok(())
}

/// Deletes an epoch's records, and the subtrees and private keys that no epoch needs any more.
fn delete_keys(
    changes: &mut Changes,
    group: &Group,
    before: &Group,
    gone: &[&EpochId],
) -> Result<(), CodecError> {
    let id = &group.id;
    let mut subtrees = std::collections::BTreeSet::new();
    let mut node_keys = std::collections::BTreeSet::new();
    for keys in gone.iter().filter_map(|epoch| before.keys.get(*epoch)) {
        subtrees.extend(keys.epoch.tree().subtree_hashes()?);
        node_keys.extend(keys.epoch.private_keys().iter().map(|(public, _)| public.clone()));
    }
    for keys in group.keys.values() {
        keys.epoch.tree().subtree_hashes()?.iter().for_each(|hash| {
            subtrees.remove(hash);
        });
        keys.epoch.private_keys().iter().for_each(|(public, _)| {
            node_keys.remove(public);
        });
    }
    for keys in gone.iter().filter_map(|epoch| before.keys.get(*epoch).map(|keys| (*epoch, keys))) {
        for (leaf, _) in keys.1.epoch.secret_tree().leaves() {
            changes.delete(Key::ratchet(id, keys.0, leaf));
        }
    }
    for epoch in gone {
        changes.delete(Key::epoch(Table::Epochs, id, epoch));
        changes.delete(Key::epoch(Table::Inits, id, epoch));
    }
    for hash in subtrees {
        changes.delete(Key::named(Table::Subtrees, id, hash.as_slice()));
    }
    for public in node_keys {
        changes.delete(Key::named(Table::NodeKeys, id, public.as_slice()));
    }
    Ok(())
}
