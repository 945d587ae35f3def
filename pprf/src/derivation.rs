//! How a node gives its children.

use crate::NodeSize;

/// Which child of a node: the next bit of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The child for a bit that is 0.
    Left,
    /// The child for a bit that is 1.
    Right,
}

impl Side {
    /// The side of a bit: right if it is set.
    #[must_use]
    pub const fn of_bit(bit: bool) -> Self {
        if bit { Self::Right } else { Self::Left }
    }

    /// The sibling's side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// The length-preserving pseudorandom generator of a GGM tree: one node in, two children out.
///
/// The tree hands over slices that are all exactly [`node_size`](Self::node_size) long. An implementation must be
/// deterministic, and must wipe what it leaves behind of a node or a child.
///
/// There is no `finish` here: evaluation returns the leaf node itself and the caller derives its outputs from it. One
/// caller derives one output, another derives two (RFC 9420 9.2: a handshake and an application secret), and the leaf
/// is wiped when the returned [`Secret`](crate::Secret) goes.
pub trait Derivation {
    /// The length of the nodes that this derivation makes.
    fn node_size(&self) -> NodeSize;

    /// Writes one child of `node` into `out`.
    fn child(&self, node: &[u8], side: Side, out: &mut [u8]);

    /// Writes both children of `node`: the one on `side` into `next`, the other one into `sibling`.
    ///
    /// Override it where the two share work: it is called once a level while an input is punctured. `next` is what the
    /// next level waits for, so it is best finished first.
    fn split(&self, node: &[u8], side: Side, next: &mut [u8], sibling: &mut [u8]) {
        self.child(node, side, next);
        self.child(node, side.other(), sibling);
    }
}
