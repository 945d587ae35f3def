//! The encoding of a tree.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::bits::{Input, input_len};
use crate::tree::{gap, gap_nodes};
use crate::{MAX_DEPTH, NodeSize, Pprf};

/// The version of the encoding: its first byte.
const VERSION: u8 = 1;

/// The bytes before the punctured inputs.
const HEADER_LEN: usize = 8;

/// Why bytes are no encoding of a tree. The messages speak of no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the tree does.
    #[error("The encoding of a tree has {actual} bytes, but its header asks for {expected}.")]
    Truncated {
        /// The length that the bytes read so far ask for.
        expected: u64,
        /// The length of the bytes.
        actual: usize,
    },
    /// There are bytes after the end of the tree.
    #[error("The encoding of a tree has {actual} bytes, but ends after {expected}.")]
    Trailing {
        /// The length of the tree.
        expected: u64,
        /// The length of the bytes.
        actual: usize,
    },
    /// The version is not 1.
    #[error("Version {0} of the encoding of a tree is not known.")]
    Version(u8),
    /// The node size is none of 32, 48 and 64.
    #[error("A tree with nodes of {0} bytes is not supported.")]
    NodeSize(u8),
    /// The depth is greater than [`MAX_DEPTH`].
    #[error("A tree of depth {0} is deeper than {MAX_DEPTH}, the greatest depth that is supported.")]
    Depth(u16),
    /// A punctured input has a bit set beyond the depth.
    #[error("Punctured input {0} has a bit set beyond the depth of the tree.")]
    InputPadding(usize),
    /// A punctured input is not greater than the one before it: the list is out of order, or names one twice.
    #[error("Punctured input {0} is not greater than the one before it.")]
    InputOrder(usize),
}

impl Pprf {
    /// The canonical encoding of the state, wiped on drop. Equal states have equal encodings.
    ///
    /// All numbers are big-endian.
    ///
    /// | bytes | content |
    /// |---|---|
    /// | 1 | version, 1 |
    /// | 1 | node size `s` in bytes: 32, 48 or 64 |
    /// | 2 | depth `d`, at most 512 |
    /// | 4 | number of punctured inputs `p` |
    /// | `p * ceil(d / 8)` | the punctured inputs, strictly ascending; bits beyond the depth are zero |
    /// | `n * s` | the stored nodes from left to right; `n` follows from the punctured inputs |
    ///
    /// The stored nodes are the roots of the maximal subtrees without a punctured leaf, so `n` is 1 for `p = 0`, and
    /// otherwise the number of siblings of the ways to the punctured leaves that lie on no such way themselves.
    ///
    /// The length is `8 + storage_len()`.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // The capacity is exact, so no unwiped copy is left behind by growing.
        let mut out = Zeroizing::new(Vec::with_capacity(HEADER_LEN + self.storage_len()));
        out.push(VERSION);
        out.push(self.node_size.bytes() as u8);
        out.extend_from_slice(&self.depth.to_be_bytes());
        // More than 2^32 inputs would need a hundred gigabytes of memory before they got here.
        out.extend_from_slice(&(self.rest.len() as u32).to_be_bytes());
        for input in self.rest.keys() {
            input.write(self.depth, &mut out);
        }
        out.extend_from_slice(&self.first);
        for gap in self.rest.values() {
            out.extend_from_slice(gap);
        }
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote, and nothing else. The caller wipes `bytes`.
    ///
    /// The bytes may be hostile: counts are checked against the length before anything is allocated for them, so memory
    /// stays below a small multiple of the length.
    ///
    /// # Errors
    /// A [`DecodeError`] that says what is wrong first.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header = bytes
            .first_chunk::<HEADER_LEN>()
            .ok_or(DecodeError::Truncated { expected: HEADER_LEN as u64, actual: bytes.len() })?;
        let [version, size, d0, d1, p0, p1, p2, p3] = *header;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let node_size = NodeSize::from_bytes(size.into()).ok_or(DecodeError::NodeSize(size))?;
        let depth = u16::from_be_bytes([d0, d1]);
        if depth > MAX_DEPTH {
            return Err(DecodeError::Depth(depth));
        }
        let count = u32::from_be_bytes([p0, p1, p2, p3]);
        let inputs_end = HEADER_LEN as u64 + u64::from(count) * input_len(depth) as u64;
        let (inputs, nodes) = usize::try_from(inputs_end)
            .ok()
            .and_then(|end| bytes.split_at_checked(end))
            .ok_or(DecodeError::Truncated { expected: inputs_end, actual: bytes.len() })?;
        let inputs = read_inputs(depth, count, inputs.get(HEADER_LEN..).unwrap_or_default())?;
        let counts = gap_counts(depth, &inputs);
        let total = counts.iter().sum::<usize>();
        let expected = inputs_end + total as u64 * node_size.bytes() as u64;
        match (bytes.len() as u64).cmp(&expected) {
            std::cmp::Ordering::Less => return Err(DecodeError::Truncated { expected, actual: bytes.len() }),
            std::cmp::Ordering::Greater => {
                return Err(DecodeError::Trailing { expected, actual: bytes.len() });
            }
            std::cmp::Ordering::Equal => {}
        }
        let mut nodes = nodes;
        let mut gaps = counts.iter().map(|count| {
            let (head, tail) = nodes.split_at_checked(count * node_size.bytes()).unwrap_or_default();
            nodes = tail;
            gap(head.into())
        });
        let first = gaps.next().unwrap_or_default();
        let rest = inputs.into_iter().zip(gaps).collect::<BTreeMap<_, _>>();
        Ok(Self { node_size, depth, nodes: total, first, rest: Arc::new(rest) })
    }
}

/// The punctured inputs, which `bytes` consists of.
fn read_inputs(depth: u16, count: u32, bytes: &[u8]) -> Result<Vec<Input>, DecodeError> {
    // At depth 0 inputs take no bytes, so their number is not bounded by the length; the order admits one.
    let mut inputs = Vec::new();
    let mut rest = bytes;
    for at in 0..count as usize {
        let (head, tail) = rest.split_at_checked(input_len(depth)).unwrap_or_default();
        rest = tail;
        let input = Input::new(depth, head).map_err(|_| DecodeError::InputPadding(at))?;
        if inputs.last().is_some_and(|last| *last >= input) {
            return Err(DecodeError::InputOrder(at));
        }
        inputs.push(input);
    }
    Ok(inputs)
}

/// The number of nodes in each gap, from left to right.
fn gap_counts(depth: u16, inputs: &[Input]) -> Vec<usize> {
    let left = std::iter::once(None).chain(inputs.iter().map(Some));
    let right = inputs.iter().map(Some).chain(std::iter::once(None));
    left.zip(right).map(|(left, right)| gap_nodes(left, right, depth)).collect()
}

/// Compares shape, punctured inputs and nodes. Only the nodes are secret, and they are compared in constant time.
impl ConstantTimeEq for Pprf {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.to_bytes().ct_eq(other.to_bytes().as_slice())
    }
}

/// As the bytes of [`Pprf::to_bytes`].
impl Serialize for Pprf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

/// From the bytes of [`Pprf::to_bytes`], checked like there.
impl<'de> Deserialize<'de> for Pprf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Pprf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the encoding of a puncturable PRF")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Pprf, E> {
        Pprf::from_bytes(bytes).map_err(E::custom)
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Pprf, E> {
        self.visit_bytes(&Zeroizing::new(bytes))
    }

    /// Formats without byte strings, such as JSON, give a sequence. Memory grows with what has really come.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pprf, A::Error> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
        while let Some(byte) = seq.next_element::<u8>()? {
            if bytes.len() == bytes.capacity() {
                // Growing in place would free the old buffer without wiping it.
                let mut grown = Zeroizing::new(Vec::with_capacity(2 * bytes.len()));
                grown.extend_from_slice(&bytes);
                bytes = grown;
            }
            bytes.push(byte);
        }
        Pprf::from_bytes(&bytes).map_err(A::Error::custom)
    }
}
