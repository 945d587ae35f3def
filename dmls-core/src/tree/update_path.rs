//! `UpdatePath` (RFC 9420 7.6): a committer's new leaf and the new keys above it.

use super::leaf_node::LeafNode;
use crate::codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::serde_as_tls;
use crate::suite::{HpkeCiphertext, HpkePublicKey};

/// `UpdatePathNode`: one node of the sender's filtered direct path.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct UpdatePathNode {
    /// The node's new key.
    pub encryption_key: HpkePublicKey,
    /// The node's path secret, for each node of the copath child's resolution but the leaves that the commit adds.
    pub encrypted_path_secret: Vec<HpkeCiphertext>,
}

/// `UpdatePath`.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct UpdatePath {
    /// The sender's new leaf.
    pub leaf_node: LeafNode,
    /// From the leaf upward.
    pub nodes: Vec<UpdatePathNode>,
}

serde_as_tls!(UpdatePathNode, UpdatePath);
