//! Path secrets and what is derived from them (RFC 9420 7.4), and the private keys that a member holds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::error::TreeError;
use super::math::{LeafIndex, NodeIndex};
use super::ratchet_tree::RatchetTree;
use crate::suite::{CryptoError, HpkePrivateKey, HpkePublicKey, Secret, Suite};

/// `path_secret[i+1]` from `path_secret[i]`; after the last one, `commit_secret`.
pub(super) fn next_path_secret(suite: Suite, path_secret: &Secret) -> Result<Secret, CryptoError> {
    suite.derive_secret(path_secret, "path")
}

/// `node_priv[i]`, `node_pub[i]` from `path_secret[i]`.
pub(super) fn node_key_pair(
    suite: Suite,
    path_secret: &Secret,
) -> Result<(HpkePrivateKey, HpkePublicKey), CryptoError> {
    Ok(suite.hpke().derive_key_pair(&suite.derive_secret(path_secret, "node")?))
}

/// What a path secret gives whoever learns it: the rest of the path above it. No `Debug` shows a secret.
#[derive(Debug, Clone)]
pub struct DerivedPath {
    /// The path secret of each node of the path from the given one upward.
    pub path_secrets: Vec<(NodeIndex, Secret)>,
    /// The key pairs of these nodes.
    pub private_keys: Vec<(HpkePublicKey, HpkePrivateKey)>,
    /// Derived from the last path secret (RFC 9420 8).
    pub commit_secret: Secret,
    /// `path_secret[n]`, of the uppermost node of the path; the confirmation of a DMLS commit derives from it too.
    pub last_path_secret: Secret,
}

/// Derives upward from `path_secret`, the secret of the first of `nodes`; each key must be the one given.
pub(super) fn derive_path<'k>(
    suite: Suite,
    path_secret: Secret,
    nodes: impl Iterator<Item = (NodeIndex, &'k HpkePublicKey)>,
) -> Result<DerivedPath, TreeError> {
    if path_secret.len() != suite.nh() {
        return Err(CryptoError::BadLength.into());
    }
    let mut derived = DerivedPath {
        path_secrets: Vec::new(),
        private_keys: Vec::new(),
        commit_secret: path_secret.clone(),
        last_path_secret: path_secret,
    };
    for (node, expected) in nodes {
        let path_secret = std::mem::take(&mut derived.commit_secret);
        let (private, public) = node_key_pair(suite, &path_secret)?;
        if public != *expected {
            return Err(TreeError::PathKeyMismatch(node));
        }
        derived.private_keys.push((public, private));
        derived.commit_secret = next_path_secret(suite, &path_secret)?;
        derived.path_secrets.push((node, path_secret.clone()));
        derived.last_path_secret = path_secret;
    }
    Ok(derived)
}

/// The path secret that a new member needs: that of the lowest node of the path above its leaf (RFC 9420 12.4.3).
pub fn path_secret_for(path_secrets: &[(NodeIndex, Secret)], leaf: LeafIndex) -> Option<&Secret> {
    let above = path_secrets.iter().filter(|(node, _)| node.covers(leaf));
    above.min_by_key(|(node, _)| node.level()).map(|(_, secret)| secret)
}

impl RatchetTree {
    /// What a new member at `own` learns from the path secret in its Welcome, where `sender` made the commit
    /// (RFC 9420 12.4.3.1). This is the tree that it joined with.
    ///
    /// # Errors
    /// [`TreeError::NotBelowPath`] if `own` and `sender` are no two leaves of the tree,
    /// [`TreeError::PathKeyMismatch`] if a derived key is not the one in the tree.
    pub fn derive_from_path_secret(
        &self,
        own: LeafIndex,
        sender: LeafIndex,
        path_secret: Secret,
    ) -> Result<DerivedPath, TreeError> {
        let ancestors = sender.direct_path(self.width());
        let from = ancestors.iter().position(|node| node.covers(own)).filter(|_| own != sender);
        let common = from.and_then(|from| ancestors.get(from..)).ok_or(TreeError::NotBelowPath(own))?;
        // The lowest common node was on the path: it must be filled, though nodes further up may be blank.
        let first = *common.first().ok_or(TreeError::NotBelowPath(own))?;
        self.encryption_key(first).ok_or(TreeError::PathKeyMismatch(first))?;
        let filled = common.iter().filter_map(|node| Some((*node, self.encryption_key(*node)?)));
        derive_path(self.suite(), path_secret, filled)
    }
}

/// Private keys of tree nodes, found by their public keys. Cloning shares the keys; they are wiped with the last clone.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct PrivateKeys(BTreeMap<HpkePublicKey, Arc<HpkePrivateKey>>);

impl fmt::Debug for PrivateKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl PrivateKeys {
    /// The private key of a public key.
    pub fn get(&self, key: &HpkePublicKey) -> Option<&Arc<HpkePrivateKey>> {
        self.0.get(key)
    }

    /// Takes in one key pair.
    pub fn insert(&mut self, public: HpkePublicKey, private: impl Into<Arc<HpkePrivateKey>>) {
        self.0.insert(public, private.into());
    }

    /// Forgets all but the keys of `own` leaf and of the nodes above it.
    pub fn retain(&mut self, tree: &RatchetTree, own: LeafIndex) {
        let own_nodes = std::iter::once(own.node()).chain(own.direct_path(tree.width()));
        let kept = own_nodes.filter_map(|node| {
            let key = tree.encryption_key(node)?;
            self.0.get_key_value(key)
        });
        self.0 = kept.map(|(public, private)| (public.clone(), private.clone())).collect();
    }

    /// The key pairs, ordered by public key.
    pub fn iter(&self) -> impl Iterator<Item = (&HpkePublicKey, &Arc<HpkePrivateKey>)> {
        self.0.iter()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Extend<(HpkePublicKey, HpkePrivateKey)> for PrivateKeys {
    fn extend<I: IntoIterator<Item = (HpkePublicKey, HpkePrivateKey)>>(&mut self, keys: I) {
        self.0.extend(keys.into_iter().map(|(public, private)| (public, Arc::new(private))));
    }
}

impl FromIterator<(HpkePublicKey, HpkePrivateKey)> for PrivateKeys {
    fn from_iter<I: IntoIterator<Item = (HpkePublicKey, HpkePrivateKey)>>(keys: I) -> Self {
        let mut own = Self::default();
        own.extend(keys);
        own
    }
}
