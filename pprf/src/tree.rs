//! The tree: what is stored, and how it is evaluated and punctured.
//!
//! The punctured inputs, sorted, cut the leaves into *gaps*. The nodes of a gap are the siblings of the ways down to its
//! two borders, below the point where these ways part: first, from the bottom up, the right siblings of the left border's
//! way, then, from the top down, the left siblings of the right border's way. So the borders alone say how many nodes a
//! gap has and which node covers an input, and nodes are stored without their positions.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::bits::{Input, input_len};
use crate::secret::scratch;
use crate::{Derivation, MAX_DEPTH, NodeSize, Secret, ShapeError, Side, depth_for_leaves};

/// The input has been punctured: its value cannot be derived from what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("This input has been punctured.")]
pub struct Punctured;

/// The nodes of one gap, from left to right. Shared by clones, and wiped when the last of them lets go of it.
pub(crate) type Gap = Arc<Zeroizing<Box<[u8]>>>;

/// A puncturable pseudorandom function: the stored nodes of a GGM tree and the set of punctured inputs.
///
/// See the [crate documentation](crate) for what it guarantees.
///
/// A clone shares all nodes with its original and costs nothing; the first puncture of either copies the list of gaps,
/// not the nodes. So a step that must first be verified works on a clone: evaluate and puncture the clone, verify, and
/// then replace the original or drop the clone.
#[derive(Clone)]
pub struct Pprf {
    pub(crate) node_size: NodeSize,
    pub(crate) depth: u16,
    /// How many nodes the gaps hold together.
    pub(crate) nodes: usize,
    /// The gap left of the smallest punctured input. While nothing is punctured it holds the root.
    pub(crate) first: Gap,
    /// The punctured inputs, each with the gap right of it.
    pub(crate) rest: Arc<BTreeMap<Input, Gap>>,
}

impl Pprf {
    /// A tree of which nothing is punctured. `root` is as long as a node; the caller wipes its copy.
    ///
    /// # Errors
    /// [`ShapeError::Depth`] above [`MAX_DEPTH`], [`ShapeError::Root`] for a root of another length.
    pub fn new(node_size: NodeSize, depth: u16, root: &[u8]) -> Result<Self, ShapeError> {
        if depth > MAX_DEPTH {
            return Err(ShapeError::Depth { depth });
        }
        if root.len() != node_size.bytes() {
            return Err(ShapeError::Root { expected: node_size.bytes(), actual: root.len() });
        }
        Ok(Self { node_size, depth, nodes: 1, first: gap(root.into()), rest: Arc::default() })
    }

    /// A tree with at least `leaves` leaves, to be addressed by leaf index: [`depth_for_leaves`] gives its depth.
    ///
    /// # Errors
    /// [`ShapeError::Root`] for a root that is not as long as a node.
    pub fn for_leaves(node_size: NodeSize, leaves: u32, root: &[u8]) -> Result<Self, ShapeError> {
        Self::new(node_size, depth_for_leaves(leaves), root)
    }

    /// The length of a node and of an output, in bytes.
    #[must_use]
    pub fn node_size(&self) -> NodeSize {
        self.node_size
    }

    /// The number of bits of an input.
    #[must_use]
    pub fn depth(&self) -> u16 {
        self.depth
    }

    /// The number of bytes of an input: `ceil(depth / 8)`.
    #[must_use]
    pub fn input_len(&self) -> usize {
        input_len(self.depth)
    }

    /// The number of punctured inputs.
    #[must_use]
    pub fn punctured_count(&self) -> usize {
        self.rest.len()
    }

    /// The punctured inputs in ascending order, each of [`input_len`](Self::input_len) bytes.
    pub fn punctured_inputs(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.rest.keys().map(|input| {
            let mut bytes = Vec::with_capacity(self.input_len());
            input.write(self.depth, &mut bytes);
            bytes
        })
    }

    /// The number of stored nodes. It is 0 when every input is punctured.
    #[must_use]
    pub fn stored_nodes(&self) -> usize {
        self.nodes
    }

    /// What the state takes, in bytes: the stored nodes and the punctured inputs. [`to_bytes`](Self::to_bytes) adds a
    /// header of 8 bytes.
    #[must_use]
    pub fn storage_len(&self) -> usize {
        self.nodes * self.node_size.bytes() + self.rest.len() * self.input_len()
    }

    /// Whether this input of `ceil(depth / 8)` bytes is punctured.
    ///
    /// # Errors
    /// [`ShapeError::InputLength`] and [`ShapeError::InputPadding`] for what is no input of this tree.
    pub fn is_punctured(&self, x: &[u8]) -> Result<bool, ShapeError> {
        Ok(self.rest.contains_key(&Input::new(self.depth, x)?))
    }

    /// Whether the leaf with this index, counted from 0 on the left, is punctured.
    ///
    /// # Errors
    /// [`ShapeError::Leaf`] for a leaf that does not exist.
    pub fn is_leaf_punctured(&self, leaf: u32) -> Result<bool, ShapeError> {
        Ok(self.rest.contains_key(&Input::of_leaf(self.depth, leaf)?))
    }

    /// The place of an input, to be evaluated. `x` has `ceil(depth / 8)` bytes; its first bit is the most significant
    /// bit of its first byte, and bits beyond the depth are zero.
    ///
    /// # Errors
    /// [`ShapeError::InputLength`] and [`ShapeError::InputPadding`] for what is no input of this tree,
    /// [`ShapeError::NodeSize`] for a derivation of other nodes.
    pub fn at<'a, D>(&'a self, derivation: &'a D, x: &[u8]) -> Result<Point<'a, D>, ShapeError>
    where
        D: Derivation + ?Sized,
    {
        self.check(derivation)?;
        Ok(Point { tree: self, derivation, input: Input::new(self.depth, x)? })
    }

    /// The place of the leaf with this index, counted from 0 on the left, to be evaluated.
    ///
    /// # Errors
    /// [`ShapeError::Leaf`] for a leaf that does not exist, [`ShapeError::NodeSize`] for a derivation of other nodes.
    pub fn at_leaf<'a, D>(&'a self, derivation: &'a D, leaf: u32) -> Result<Point<'a, D>, ShapeError>
    where
        D: Derivation + ?Sized,
    {
        self.check(derivation)?;
        Ok(Point { tree: self, derivation, input: Input::of_leaf(self.depth, leaf)? })
    }

    /// The place of an input, to be punctured. `x` is as for [`at`](Self::at).
    ///
    /// # Errors
    /// As for [`at`](Self::at).
    pub fn at_mut<'a, D>(&'a mut self, derivation: &'a D, x: &[u8]) -> Result<PointMut<'a, D>, ShapeError>
    where
        D: Derivation + ?Sized,
    {
        self.check(derivation)?;
        let input = Input::new(self.depth, x)?;
        Ok(PointMut { tree: self, derivation, input })
    }

    /// The place of the leaf with this index, counted from 0 on the left, to be punctured.
    ///
    /// # Errors
    /// As for [`at_leaf`](Self::at_leaf).
    pub fn at_leaf_mut<'a, D>(
        &'a mut self,
        derivation: &'a D,
        leaf: u32,
    ) -> Result<PointMut<'a, D>, ShapeError>
    where
        D: Derivation + ?Sized,
    {
        self.check(derivation)?;
        let input = Input::of_leaf(self.depth, leaf)?;
        Ok(PointMut { tree: self, derivation, input })
    }

    fn check<D: Derivation + ?Sized>(&self, derivation: &D) -> Result<(), ShapeError> {
        if derivation.node_size() == self.node_size { Ok(()) } else { Err(ShapeError::NodeSize) }
    }

    fn find(&self, x: &Input) -> Result<Cover<'_>, Punctured> {
        let left = self.rest.range(..=x).next_back();
        if left.is_some_and(|(a, _)| a == x) {
            return Err(Punctured);
        }
        let right = self.rest.range((Excluded(x), Unbounded)).next().map(|(b, _)| b);
        let (left, gap) = left.map_or((None, &self.first), |(a, gap)| (Some(a), gap));
        let (level, index) = cover(left, right, x, self.depth);
        let size = self.node_size.bytes();
        // The borders fix the number of nodes, so the node is there. Were it not, the value could not be derived.
        let node = gap.get(index * size..(index + 1) * size).ok_or(Punctured)?;
        Ok(Cover { left, gap, index, level, node })
    }
}

impl std::fmt::Debug for Pprf {
    /// Prints the shape and the counts, no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pprf")
            .field("node_size", &self.node_size)
            .field("depth", &self.depth)
            .field("stored_nodes", &self.nodes)
            .field("punctured", &self.rest.len())
            .finish_non_exhaustive()
    }
}

/// The stored node above an input that is not punctured.
struct Cover<'a> {
    /// The punctured input that the gap is right of, or none for the first gap.
    left: Option<&'a Input>,
    gap: &'a Gap,
    /// Which node of the gap it is.
    index: usize,
    /// How many bits of the input lead to it.
    level: u16,
    node: &'a [u8],
}

/// The level and the index in its gap of the node above `x`, where `left < x < right` are the gap's borders.
fn cover(left: Option<&Input>, right: Option<&Input>, x: &Input, depth: u16) -> (u16, usize) {
    let shared_left = left.map(|a| a.common_prefix(x));
    let shared_right = right.map(|b| b.common_prefix(x));
    match (left, right) {
        (None, None) => (0, 0),
        // The ways of `x` and of `left` part last: the node is a right sibling of the left border's way.
        (Some(a), _) if shared_left > shared_right => {
            let level = a.common_prefix(x) + 1;
            (level, a.zeros(level, depth))
        }
        (a, Some(b)) => {
            let level = b.common_prefix(x) + 1;
            let top = gap_top(a, Some(b));
            (level, a.map_or(0, |a| a.zeros(top, depth)) + b.ones(top, level - 1))
        }
        // Not reached: the second arm takes whatever has a left border alone.
        (Some(_), None) => (0, 0),
    }
}

/// The level below which siblings on the borders' ways lie in the gap between them.
fn gap_top(left: Option<&Input>, right: Option<&Input>) -> u16 {
    match (left, right) {
        (Some(a), Some(b)) => a.common_prefix(b) + 1,
        _ => 0,
    }
}

/// The number of nodes in the gap between two neighbouring punctured inputs.
pub(crate) fn gap_nodes(left: Option<&Input>, right: Option<&Input>, depth: u16) -> usize {
    if left.is_none() && right.is_none() {
        return 1; // The root.
    }
    let top = gap_top(left, right);
    left.map_or(0, |a| a.zeros(top, depth)) + right.map_or(0, |b| b.ones(top, depth))
}

pub(crate) fn gap(nodes: Box<[u8]>) -> Gap {
    Arc::new(Zeroizing::new(nodes))
}

/// The place of an input in a tree, with the derivation to be used. Made by [`Pprf::at`] and [`Pprf::at_leaf`].
pub struct Point<'a, D: ?Sized> {
    tree: &'a Pprf,
    derivation: &'a D,
    input: Input,
}

impl<D: Derivation + ?Sized> Point<'_, D> {
    /// The value at this input: its leaf.
    ///
    /// # Errors
    /// [`Punctured`], and nothing else.
    pub fn eval(&self) -> Result<Secret, Punctured> {
        let cover = self.tree.find(&self.input)?;
        let size = cover.node.len();
        let (mut one, mut two) = (scratch(), scratch());
        let (mut node, mut next) = (&mut one[..size], &mut two[..size]);
        node.copy_from_slice(cover.node);
        for level in cover.level..self.tree.depth {
            self.derivation.child(node, Side::of_bit(self.input.bit(level)), next);
            std::mem::swap(&mut node, &mut next);
        }
        Ok(Secret::copy_of(node))
    }

    /// Whether this input is punctured.
    #[must_use]
    pub fn is_punctured(&self) -> bool {
        self.tree.rest.contains_key(&self.input)
    }
}

/// The place of an input in a tree that can be changed. Made by [`Pprf::at_mut`] and [`Pprf::at_leaf_mut`].
pub struct PointMut<'a, D: ?Sized> {
    tree: &'a mut Pprf,
    derivation: &'a D,
    input: Input,
}

impl<D: Derivation + ?Sized> PointMut<'_, D> {
    /// Punctures this input. Returns whether that changed anything: `false` means that it was punctured before.
    pub fn puncture(self) -> bool {
        self.eval_and_puncture().is_ok()
    }

    /// The value at this input, which is punctured at the same time: one walk derives both.
    ///
    /// # Errors
    /// [`Punctured`], and nothing else; then nothing has changed.
    pub fn eval_and_puncture(self) -> Result<Secret, Punctured> {
        let Self { tree, derivation, input } = self;
        let depth = tree.depth;
        let cover = tree.find(&input)?;
        let (size, above) = (cover.node.len(), cover.level);
        let before = cover.left.cloned();
        // The input cuts the gap in two. What was left of the cover comes first, then the left siblings on the way down;
        // on the other side the right siblings, deepest first, and then what was right of the cover.
        let kept_left = cover.index * size;
        let kept_right = cover.gap.len() - kept_left - size;
        let new_right = input.zeros(above, depth) * size;
        let mut left = zeros(kept_left + input.ones(above, depth) * size);
        let mut right = zeros(new_right + kept_right);
        left[..kept_left].copy_from_slice(&cover.gap[..kept_left]);
        right[new_right..].copy_from_slice(&cover.gap[kept_left + size..]);

        let (mut one, mut two) = (scratch(), scratch());
        let (mut node, mut next) = (&mut one[..size], &mut two[..size]);
        node.copy_from_slice(cover.node);
        let mut left_slots = left[kept_left..].chunks_exact_mut(size);
        let mut right_slots = right[..new_right].chunks_exact_mut(size).rev();
        for level in above..depth {
            let bit = input.bit(level);
            // As many slots were made as there are siblings on either side.
            let sibling = if bit { left_slots.next() } else { right_slots.next() }.unwrap_or_default();
            derivation.split(node, Side::of_bit(bit), next, sibling);
            std::mem::swap(&mut node, &mut next);
        }

        tree.nodes = tree.nodes + usize::from(depth - above) - 1;
        let (left, right) = (Arc::new(left), Arc::new(right));
        let rest = Arc::make_mut(&mut tree.rest);
        match before.and_then(|before| rest.get_mut(&before)) {
            Some(slot) => *slot = left,
            None => tree.first = left,
        }
        rest.insert(input, right);
        Ok(Secret::copy_of(node))
    }
}

fn zeros(len: usize) -> Zeroizing<Box<[u8]>> {
    Zeroizing::new(vec![0; len].into_boxed_slice())
}
