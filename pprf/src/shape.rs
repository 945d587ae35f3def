//! What a tree looks like: how long its nodes are and how deep it is.

/// The length of every node of a tree, in bytes: the output length of the hash function that derives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeSize {
    /// 32 bytes, as of SHA-256.
    N32,
    /// 48 bytes, as of SHA-384.
    N48,
    /// 64 bytes, as of SHA-512.
    N64,
}

impl NodeSize {
    /// The length in bytes: 32, 48 or 64.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::N32 => 32,
            Self::N48 => 48,
            Self::N64 => 64,
        }
    }

    /// The node size of `bytes` bytes, if there is one.
    #[must_use]
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            32 => Some(Self::N32),
            48 => Some(Self::N48),
            64 => Some(Self::N64),
            _ => None,
        }
    }
}

/// The greatest depth of a tree: an input of 64 bytes.
pub const MAX_DEPTH: u16 = 512;

/// The depth of the smallest tree that has at least `leaves` leaves: the binary logarithm, rounded up.
///
/// The RFC 9420 trees are perfect, so a secret tree of `n` members has this depth (RFC 9420 7.7).
/// A tree of one leaf, or of none, has depth 0.
#[must_use]
pub const fn depth_for_leaves(leaves: u32) -> u16 {
    if leaves <= 1 {
        return 0;
    }
    // At most 32, so the conversion loses nothing.
    (u32::BITS - (leaves - 1).leading_zeros()) as u16
}

/// Why something does not fit the shape of a tree. It is always a mistake of the caller, never a matter of
/// what has been punctured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The depth is greater than [`MAX_DEPTH`].
    #[error("A tree of depth {depth} is deeper than {MAX_DEPTH}, the greatest depth that is supported.")]
    Depth {
        /// The depth that was asked for.
        depth: u16,
    },
    /// The root secret is not as long as a node.
    #[error("The root secret has {actual} bytes, but a node of this tree has {expected}.")]
    Root {
        /// The length of a node, in bytes.
        expected: usize,
        /// The length of the given secret, in bytes.
        actual: usize,
    },
    /// The input is not `ceil(depth / 8)` bytes long.
    #[error("The input has {actual} bytes, but an input of this tree has {expected}.")]
    InputLength {
        /// The length of an input of this tree, in bytes.
        expected: usize,
        /// The length of the given input, in bytes.
        actual: usize,
    },
    /// A bit of the input's last byte beyond the tree's depth is set, so it would be a second name of one leaf.
    #[error("The input has a bit set beyond the depth of this tree.")]
    InputPadding,
    /// The leaf index is not below the number of leaves.
    #[error("Leaf {leaf} does not exist in a tree of depth {depth}.")]
    Leaf {
        /// The leaf index that was asked for, counted from 0.
        leaf: u32,
        /// The depth of the tree.
        depth: u16,
    },
    /// The derivation makes nodes of another length than this tree stores.
    #[error("The derivation makes nodes of another length than this tree has.")]
    NodeSize,
}
