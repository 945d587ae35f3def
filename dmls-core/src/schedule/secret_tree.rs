//! The secret tree (RFC 9420 9): from the encryption secret to the keys of each sender.

use std::collections::BTreeMap;
use std::sync::Arc;

use pprf::Pprf;
use serde::{Deserialize, Serialize};

use super::ratchet::{AeadKeys, OwnKeys, Ratchet, RatchetError, RatchetType, RetainedRatchet, Windows};
use super::suite_id;
use super::tree_derivation::{node_size, tree_derivation};
use crate::suite::{CryptoError, Secret, Suite};
use crate::tree::LeafIndex;

/// What becomes of handshake keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandshakeKeys {
    /// Each is used once (RFC 9420 9.2).
    Consumed,
    /// All below generation 1024 can be derived while the epoch is retained, so that every member opens every copy of
    /// every piece of evidence (DESIGN 4.4).
    Retained,
}

/// The message keys of an epoch.
///
/// A leaf that has been used is punctured in the tree and has its ratchets in a map. A clone shares both with its
/// original, so a step that may fail works on a clone. Holds no secret from which a consumed key could be derived.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SecretTree {
    #[serde(with = "suite_id")]
    suite: Suite,
    handshake_keys: HandshakeKeys,
    tree: Pprf,
    leaves: Arc<BTreeMap<LeafIndex, Arc<LeafRatchets>>>,
}

/// The ratchets of one sender, as a record of their own. Opaque outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeafRatchets {
    handshake: Handshake,
    /// None once it was deleted.
    application: Option<Ratchet>,
}

/// A handshake ratchet, as [`HandshakeKeys`] says.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Handshake {
    Consumed(Ratchet),
    Retained(RetainedRatchet),
}

impl LeafRatchets {
    /// The first ratchet secrets, from the leaf's node (RFC 9420 9.1).
    fn new(suite: Suite, mode: HandshakeKeys, node: &Secret) -> Result<Self, CryptoError> {
        let first = |ratchet: RatchetType| suite.expand_with_label(node, ratchet.label(), b"", suite.nh());
        let handshake = first(RatchetType::Handshake)?;
        Ok(Self {
            handshake: match mode {
                HandshakeKeys::Consumed => Handshake::Consumed(Ratchet::new(handshake)),
                HandshakeKeys::Retained => Handshake::Retained(RetainedRatchet::new(handshake)),
            },
            application: Some(Ratchet::new(first(RatchetType::Application)?)),
        })
    }

    fn peek(
        &self,
        suite: Suite,
        ratchet: RatchetType,
        generation: u32,
        windows: Windows,
    ) -> Result<AeadKeys, RatchetError> {
        match (ratchet, &self.handshake) {
            (RatchetType::Application, _) => {
                self.application.as_ref().ok_or(RatchetError::Deleted)?.peek(suite, generation, windows)
            }
            (RatchetType::Handshake, Handshake::Consumed(ratchet)) => {
                ratchet.peek(suite, generation, windows)
            }
            (RatchetType::Handshake, Handshake::Retained(ratchet)) => ratchet.peek(suite, generation),
        }
    }

    fn consume(
        &mut self,
        suite: Suite,
        ratchet: RatchetType,
        generation: u32,
        windows: Windows,
    ) -> Result<(), RatchetError> {
        match (ratchet, &mut self.handshake) {
            (RatchetType::Application, _) => {
                self.application.as_mut().ok_or(RatchetError::Deleted)?.consume(suite, generation, windows)
            }
            (RatchetType::Handshake, Handshake::Consumed(ratchet)) => {
                ratchet.consume(suite, generation, windows)
            }
            (RatchetType::Handshake, Handshake::Retained(ratchet)) => {
                ratchet.peek(suite, generation).map(|_| ())
            }
        }
    }

    fn next_own(&mut self, suite: Suite, ratchet: RatchetType) -> Result<OwnKeys, RatchetError> {
        match (ratchet, &mut self.handshake) {
            (RatchetType::Application, _) => {
                self.application.as_mut().ok_or(RatchetError::Deleted)?.next_own(suite)
            }
            (RatchetType::Handshake, Handshake::Consumed(ratchet)) => ratchet.next_own(suite),
            (RatchetType::Handshake, Handshake::Retained(ratchet)) => ratchet.next_own(suite),
        }
    }

    fn next_generation(&self, ratchet: RatchetType) -> Option<u32> {
        match (ratchet, &self.handshake) {
            (RatchetType::Application, _) => self.application.as_ref().map(Ratchet::next_generation),
            (RatchetType::Handshake, Handshake::Consumed(ratchet)) => Some(ratchet.next_generation()),
            (RatchetType::Handshake, Handshake::Retained(ratchet)) => Some(ratchet.next_generation()),
        }
    }

    fn has_older_than(&self, windows: Windows) -> bool {
        let handshake = match &self.handshake {
            Handshake::Consumed(ratchet) => Some(ratchet),
            Handshake::Retained(_) => None,
        };
        handshake.into_iter().chain(&self.application).any(|ratchet| ratchet.has_older_than(windows))
    }

    fn trim(&mut self, windows: Windows) {
        if let Handshake::Consumed(ratchet) = &mut self.handshake {
            ratchet.trim(windows);
        }
        if let Some(ratchet) = &mut self.application {
            ratchet.trim(windows);
        }
    }

    fn secret_bytes(&self) -> usize {
        let handshake = match &self.handshake {
            Handshake::Consumed(ratchet) => ratchet.secret_bytes(),
            Handshake::Retained(ratchet) => ratchet.secret_bytes(),
        };
        handshake + self.application.as_ref().map_or(0, Ratchet::secret_bytes)
    }
}

impl SecretTree {
    /// The tree of an epoch. `width` is the number of leaves of its ratchet tree, blank ones included. The caller drops
    /// the encryption secret.
    ///
    /// # Errors
    /// [`RatchetError::Shape`] if the encryption secret has not Nh bytes.
    pub fn new(
        suite: Suite,
        encryption_secret: &Secret,
        width: u32,
        handshake_keys: HandshakeKeys,
    ) -> Result<Self, RatchetError> {
        let tree = Pprf::for_leaves(node_size(suite)?, width, encryption_secret.as_slice())?;
        Ok(Self { suite, handshake_keys, tree, leaves: Arc::default() })
    }

    /// The keys of a received message. Changes nothing: call [`SecretTree::consume`] once the message has opened.
    ///
    /// # Errors
    /// Each of [`RatchetError`] says why there is no key. [`RatchetError::TooFarAhead`] alone passes with time.
    pub fn peek(
        &self,
        leaf: LeafIndex,
        ratchet: RatchetType,
        generation: u32,
        windows: Windows,
    ) -> Result<AeadKeys, RatchetError> {
        match self.leaves.get(&leaf) {
            Some(state) => state.peek(self.suite, ratchet, generation, windows),
            None => self.unused_leaf(leaf)?.peek(self.suite, ratchet, generation, windows),
        }
    }

    /// Deletes the key of a message that has opened. Retained handshake keys stay, and then nothing changes.
    ///
    /// # Errors
    /// As for [`SecretTree::peek`]; then nothing has changed.
    pub fn consume(
        &mut self,
        leaf: LeafIndex,
        ratchet: RatchetType,
        generation: u32,
        windows: Windows,
    ) -> Result<(), RatchetError> {
        if ratchet == RatchetType::Handshake && self.handshake_keys == HandshakeKeys::Retained {
            return self.peek(leaf, ratchet, generation, windows).map(|_| ());
        }
        let suite = self.suite;
        self.change(leaf, |state| state.consume(suite, ratchet, generation, windows))
    }

    /// The keys of the next own message, and its generation. They are never given out again, so the state must be
    /// stored before the message is sent.
    ///
    /// # Errors
    /// [`RatchetError::GenerationOverflow`] or [`RatchetError::HandshakeGeneration`] if there is none left.
    pub fn next_own(&mut self, leaf: LeafIndex, ratchet: RatchetType) -> Result<OwnKeys, RatchetError> {
        let suite = self.suite;
        self.change(leaf, |state| state.next_own(suite, ratchet))
    }

    /// The generation that the next own message would have; None if the keys have been deleted.
    pub fn next_generation(&self, leaf: LeafIndex, ratchet: RatchetType) -> Option<u32> {
        match self.leaves.get(&leaf) {
            Some(state) => state.next_generation(ratchet),
            None => Some(0),
        }
    }

    /// Deletes all keys of a leaf's application messages (DESIGN 4.5). Its handshake keys stay.
    ///
    /// # Errors
    /// [`RatchetError::Shape`] for a leaf that is not in the tree.
    pub fn delete_application(&mut self, leaf: LeafIndex) -> Result<(), RatchetError> {
        self.change(leaf, |state| {
            state.application = None;
            Ok(())
        })
    }

    /// Deletes the keys behind the backward window, of all leaves. It is done for one leaf by each
    /// [`SecretTree::consume`]; this is for windows that have become smaller.
    pub fn trim(&mut self, windows: Windows) {
        // Leaves that stay as they are stay shared, and are not stored again.
        if self.leaves.values().any(|leaf| leaf.has_older_than(windows)) {
            for leaf in Arc::make_mut(&mut self.leaves).values_mut() {
                if leaf.has_older_than(windows) {
                    Arc::make_mut(leaf).trim(windows);
                }
            }
        }
    }

    /// The ratchets of each leaf that has been used: for storing each in a record of its own.
    pub fn leaves(&self) -> impl Iterator<Item = (LeafIndex, &LeafRatchets)> {
        self.leaves.iter().map(|(leaf, state)| (*leaf, state.as_ref()))
    }

    /// The leaves whose ratchets are not those of `before`, an earlier clone of this tree: what a step has to store,
    /// with [`SecretTree::without_leaves`] if a leaf is new.
    pub fn changed_leaves<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (LeafIndex, &'a LeafRatchets)> {
        let same =
            |leaf: &LeafIndex, state| before.leaves.get(leaf).is_some_and(|old| Arc::ptr_eq(old, state));
        let changed = self.leaves.iter().filter(move |(leaf, state)| !same(leaf, state));
        changed.map(|(leaf, state)| (*leaf, state.as_ref()))
    }

    /// Whether leaves were punctured since `before`, an earlier clone of this tree.
    pub fn nodes_changed(&self, before: &Self) -> bool {
        self.tree.punctured_count() != before.tree.punctured_count()
    }

    /// The tree without the ratchets of its used leaves, to be stored apart from them. By itself it has no keys for
    /// these leaves.
    #[must_use]
    pub fn without_leaves(&self) -> Self {
        Self { leaves: Arc::default(), ..self.clone() }
    }

    /// Puts stored ratchets back.
    #[must_use]
    pub fn with_leaves(self, leaves: impl IntoIterator<Item = (LeafIndex, LeafRatchets)>) -> Self {
        let leaves = leaves.into_iter().map(|(leaf, state)| (leaf, Arc::new(state))).collect();
        Self { leaves: Arc::new(leaves), ..self }
    }

    /// Bytes of secrets that are held.
    pub fn secret_bytes(&self) -> usize {
        let nodes = self.tree.stored_nodes() * self.suite.nh();
        nodes + self.leaves.values().map(|leaf| leaf.secret_bytes()).sum::<usize>()
    }

    /// The ratchets of a leaf that has not been used, derived and not kept.
    fn unused_leaf(&self, leaf: LeafIndex) -> Result<LeafRatchets, RatchetError> {
        let derivation = tree_derivation(self.suite)?;
        let node = self.tree.at_leaf(&derivation, leaf.0)?.eval().map_err(|_| RatchetError::Deleted)?;
        Ok(LeafRatchets::new(self.suite, self.handshake_keys, &node.as_bytes().into())?)
    }

    /// Changes a leaf's ratchets, or nothing if that fails. A leaf that was not used before is punctured in the tree.
    fn change<T>(
        &mut self,
        leaf: LeafIndex,
        step: impl FnOnce(&mut LeafRatchets) -> Result<T, RatchetError>,
    ) -> Result<T, RatchetError> {
        if let Some(state) = self.leaves.get(&leaf) {
            let mut state = state.as_ref().clone();
            let result = step(&mut state)?;
            Arc::make_mut(&mut self.leaves).insert(leaf, Arc::new(state));
            return Ok(result);
        }
        let derivation = tree_derivation(self.suite)?;
        let mut tree = self.tree.clone();
        let node =
            tree.at_leaf_mut(&derivation, leaf.0)?.eval_and_puncture().map_err(|_| RatchetError::Deleted)?;
        let mut state = LeafRatchets::new(self.suite, self.handshake_keys, &node.as_bytes().into())?;
        let result = step(&mut state)?;
        self.tree = tree;
        Arc::make_mut(&mut self.leaves).insert(leaf, Arc::new(state));
        Ok(result)
    }
}

#[cfg(test)]
mod tests;
