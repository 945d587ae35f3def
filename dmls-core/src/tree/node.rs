//! Nodes of the ratchet tree, and the `ratchet_tree` extension (RFC 9420 7.1, 7.2, 12.4.3.3).

use std::io::Write;
use std::sync::Arc;

use tls_codec::Error;

use super::leaf_node::LeafNode;
use super::math::{LeafIndex, MAX_WIDTH, NodeIndex};
use crate::codec::{
    Bytes, CodecError, DeserializeBytes, Serialize, Size, TlsDeserializeBytes, TlsSerialize, TlsSize, decode,
    encode,
};
use crate::serde_as_tls;
use crate::suite::HpkePublicKey;

/// `ParentNode` (RFC 9420 7.1).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct ParentNode {
    /// Path secrets for the members below are encrypted to it.
    pub encryption_key: HpkePublicKey,
    /// Binds the node to the path above it (RFC 9420 7.9); empty for the root's.
    pub parent_hash: Bytes,
    /// Leaves below that do not know the private key, in strictly increasing order.
    pub unmerged_leaves: Vec<LeafIndex>,
}

serde_as_tls!(ParentNode, Node, RatchetTreeExtension);

/// `NodeType`s (RFC 9420 7.8), on the wire and in tree hashes.
pub(super) const NODE_TYPE_LEAF: u8 = 1;
pub(super) const NODE_TYPE_PARENT: u8 = 2;

/// `Node` (RFC 9420 12.4.3.3). Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// At even positions.
    Leaf(Arc<LeafNode>),
    /// At odd positions.
    Parent(Arc<ParentNode>),
}

impl Size for Node {
    fn tls_serialized_len(&self) -> usize {
        1 + match self {
            Self::Leaf(leaf) => leaf.tls_serialized_len(),
            Self::Parent(parent) => parent.tls_serialized_len(),
        }
    }
}

impl Serialize for Node {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, Error> {
        match self {
            Self::Leaf(leaf) => Ok(NODE_TYPE_LEAF.tls_serialize(writer)? + leaf.tls_serialize(writer)?),
            Self::Parent(parent) => {
                Ok(NODE_TYPE_PARENT.tls_serialize(writer)? + parent.tls_serialize(writer)?)
            }
        }
    }
}

impl DeserializeBytes for Node {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        match u8::tls_deserialize_bytes(bytes)? {
            (NODE_TYPE_LEAF, rest) => {
                LeafNode::tls_deserialize_bytes(rest).map(|(leaf, rest)| (Self::Leaf(leaf.into()), rest))
            }
            (NODE_TYPE_PARENT, rest) => {
                ParentNode::tls_deserialize_bytes(rest).map(|(node, rest)| (Self::Parent(node.into()), rest))
            }
            (other, _) => Err(Error::UnknownValue(other.into())),
        }
    }
}

/// Why nodes are no ratchet tree (RFC 9420 12.4.3.3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodesError {
    /// There is no node at all.
    #[error("The ratchet tree has no nodes.")]
    Empty,
    /// The last node is blank: the same tree has a shorter encoding.
    #[error("The ratchet tree ends in a blank node.")]
    TrailingBlank,
    /// A parent stands in a leaf's place or the other way round.
    #[error("Node {0} of the ratchet tree is of the wrong type for its place.")]
    WrongType(NodeIndex),
    /// More nodes than a tree can have.
    #[error("The ratchet tree is too large.")]
    TooLarge,
    /// The right half of the tree has no member, so the tree is wider than it may be (RFC 9420 7.7).
    #[error("The right half of the ratchet tree is blank.")]
    NotTruncated,
    /// The bytes are no vector of nodes.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// `optional<Node> ratchet_tree<V>` (RFC 9420 12.4.3.3): the array of nodes up to the last one that is not blank.
///
/// A blank is one byte here, and a few hundred in a [`RatchetTree`](super::RatchetTree) with its hash and the padding:
/// that factor bounds what an input of a given length can cost.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct RatchetTreeExtension(Vec<Option<Node>>);

impl RatchetTreeExtension {
    /// From the nodes of a tree; blanks at the end are left off.
    pub fn from_nodes(mut nodes: Vec<Option<Node>>) -> Self {
        let len = nodes.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        nodes.truncate(len);
        Self(nodes)
    }

    /// The nodes of the tree, with blanks up to its full width of 2w - 1 nodes.
    ///
    /// # Errors
    /// [`NodesError`] if this is not the shortest encoding of a tree whose nodes are of the types of their places.
    pub fn into_nodes(self) -> Result<Vec<Option<Node>>, NodesError> {
        let mut nodes = self.0;
        match nodes.last() {
            None => return Err(NodesError::Empty),
            Some(None) => return Err(NodesError::TrailingBlank),
            Some(Some(_)) => {}
        }
        for (index, node) in (0..).zip(&nodes) {
            let index = NodeIndex(index);
            match node {
                Some(Node::Leaf(_)) if !index.is_leaf() => return Err(NodesError::WrongType(index)),
                Some(Node::Parent(_)) if index.is_leaf() => return Err(NodesError::WrongType(index)),
                _ => {}
            }
        }
        // The last node is a leaf, or a parent with at least one more leaf behind it.
        let leaves = nodes.len() / 2 + 1;
        let width = leaves.next_power_of_two();
        if width > MAX_WIDTH as usize {
            return Err(NodesError::TooLarge);
        }
        nodes.resize(2 * width - 1, None);
        Ok(nodes)
    }

    /// Decodes the data of the extension to the nodes of the tree, as [`RatchetTreeExtension::into_nodes`].
    ///
    /// # Errors
    /// As there, and [`NodesError::Codec`].
    pub fn decode_nodes(data: &[u8]) -> Result<Vec<Option<Node>>, NodesError> {
        decode::<Self>(data)?.into_nodes()
    }

    /// The data of the extension.
    ///
    /// # Errors
    /// [`CodecError::BadLength`] if it would be longer than 2^30 - 1 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        encode(self)
    }
}
