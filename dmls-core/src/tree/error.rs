//! Why a ratchet tree, or a path through it, is refused.

use thiserror::Error;

use super::leaf_error::LeafNodeError;
use super::math::{LeafIndex, NodeIndex};
use super::node::NodesError;
use crate::codec::CodecError;
use crate::suite::CryptoError;

/// Why an operation on a ratchet tree failed. The tree is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TreeError {
    /// The nodes have not the shape of a tree.
    #[error(transparent)]
    Nodes(#[from] NodesError),
    /// The tree is as wide as a tree may be.
    #[error("The ratchet tree is full.")]
    Full,
    /// A leaf that must be there is blank or outside the tree.
    #[error("Leaf {0} is blank or not in the tree.")]
    NoLeaf(LeafIndex),
    /// A leaf that must be blank is not.
    #[error("Leaf {0} is not blank.")]
    LeafTaken(LeafIndex),
    /// A leaf breaks a rule of RFC 9420 7.3.
    #[error("Leaf {index}: {error}")]
    Leaf {
        /// Which leaf.
        index: LeafIndex,
        /// Which rule.
        error: LeafNodeError,
    },
    /// RFC 9420 7.1: unmerged leaves are not strictly increasing.
    #[error("The unmerged leaves of node {0} are not in strictly increasing order.")]
    UnmergedOrder(NodeIndex),
    /// RFC 9420 12.4.3.1: an unmerged leaf is not below the node.
    #[error("Unmerged leaf {leaf} is not below node {node}.")]
    UnmergedElsewhere {
        /// Lists the leaf.
        node: NodeIndex,
        /// Is not below it.
        leaf: LeafIndex,
    },
    /// RFC 9420 12.4.3.1: an unmerged leaf is blank.
    #[error("Unmerged leaf {leaf} of node {node} is blank.")]
    UnmergedBlank {
        /// Lists the leaf.
        node: NodeIndex,
        /// Is blank.
        leaf: LeafIndex,
    },
    /// RFC 9420 12.4.3.1: a node between an unmerged leaf and a node that lists it does not list it.
    #[error("Node {node} does not list leaf {leaf}, which is unmerged at a node above it.")]
    UnmergedMissing {
        /// Does not list the leaf.
        node: NodeIndex,
        /// Is unmerged further up.
        leaf: LeafIndex,
    },
    /// RFC 9420 7.3, 12.4.3.1: an encryption key occurs twice in the tree.
    #[error("The encryption key of node {0} occurs elsewhere in the tree.")]
    DuplicateEncryptionKey(NodeIndex),
    /// RFC 9420 7.3: a signature key occurs twice in the tree.
    #[error("The signature key of leaf {0} occurs elsewhere in the tree.")]
    DuplicateSignatureKey(LeafIndex),
    /// A node's encryption key is no public key of the suite's KEM.
    #[error("The encryption key of node {0} is malformed.")]
    BadEncryptionKey(NodeIndex),
    /// RFC 9420 7.9.2: no, or more than one, node below is bound to the node by its parent hash.
    #[error("Node {0} is not parent-hash valid.")]
    ParentHash(NodeIndex),
    /// RFC 9420 12.4.2: a path has more or fewer nodes than the sender's filtered direct path.
    #[error("The path has {found} nodes where {expected} are needed.")]
    PathLength {
        /// Length of the filtered direct path.
        expected: usize,
        /// Length of the received path.
        found: usize,
    },
    /// RFC 9420 7.5: a path node has more or fewer ciphertexts than recipients.
    #[error("Node {node} of the path has {found} ciphertexts where {expected} are needed.")]
    CiphertextCount {
        /// The node.
        node: NodeIndex,
        /// Number of recipients.
        expected: usize,
        /// Number of ciphertexts.
        found: usize,
    },
    /// RFC 9420 12.4.2: a key of the path is already in the tree, or twice in the path.
    #[error("The path's key for node {0} is not new.")]
    PathKeyReused(NodeIndex),
    /// RFC 9420 7.9.2: the new leaf's parent hash is not that of the path.
    #[error("The parent hash of the path's leaf is wrong.")]
    PathParentHash,
    /// RFC 9420 7.5: a path secret does not yield the public key that the tree or path says.
    #[error("The path secret for node {0} does not match the public key there.")]
    PathKeyMismatch(NodeIndex),
    /// A path secret that joins two leaves was asked for a leaf and itself, or no node joins them.
    #[error("Leaf {0} has no node in common with the path.")]
    NotBelowPath(LeafIndex),
    /// None of the private keys at hand opens the path.
    #[error("No private key of leaf {0} opens the path.")]
    NoPrivateKey(LeafIndex),
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// A node is too large to be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}
