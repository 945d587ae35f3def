//! Inputs as strings of bits, most significant bit first.

use std::sync::Arc;

use crate::ShapeError;

/// The bytes that an input of `depth` bits takes.
pub(crate) const fn input_len(depth: u16) -> usize {
    depth.div_ceil(8) as usize
}

/// A checked input: its bits beyond the depth are zero, so equal leaves have equal inputs.
///
/// All inputs of one tree are of one variant, and then the derived order is the order of the leaves. Short ones need no
/// allocation, which matters in a tree of a million leaves.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Input {
    /// At most 64 bits, at the upper end.
    Short(u64),
    /// More than 64 bits.
    Long(Arc<[u8]>),
}

impl Input {
    /// Checks that `bytes` are an input of `depth` bits.
    pub(crate) fn new(depth: u16, bytes: &[u8]) -> Result<Self, ShapeError> {
        let expected = input_len(depth);
        if bytes.len() != expected {
            return Err(ShapeError::InputLength { expected, actual: bytes.len() });
        }
        let spare = expected * 8 - usize::from(depth);
        if bytes.last().is_some_and(|last| last & !(0xff << spare) != 0) {
            return Err(ShapeError::InputPadding);
        }
        if depth > 64 {
            return Ok(Self::Long(bytes.into()));
        }
        let mut word = [0; 8];
        word.iter_mut().zip(bytes).for_each(|(word, byte)| *word = *byte);
        Ok(Self::Short(u64::from_be_bytes(word)))
    }

    /// The input of the leaf with this index, counted from the left.
    pub(crate) fn of_leaf(depth: u16, leaf: u32) -> Result<Self, ShapeError> {
        if depth < 32 && leaf >> depth != 0 {
            return Err(ShapeError::Leaf { leaf, depth });
        }
        if depth > 64 {
            let mut bytes = vec![0; input_len(depth)];
            // The index is the number that the first `depth` bits spell, so it ends `spare` bits before the last byte does.
            let spare = bytes.len() * 8 - usize::from(depth);
            let tail = (u64::from(leaf) << spare).to_be_bytes();
            bytes.iter_mut().rev().zip(tail.iter().rev()).for_each(|(byte, tail)| *byte = *tail);
            return Ok(Self::Long(bytes.into()));
        }
        // A shift by 64 happens at depth 0 alone, where the only leaf is 0.
        Ok(Self::Short(u64::from(leaf).checked_shl(64 - u32::from(depth)).unwrap_or(0)))
    }

    /// Appends the `input_len(depth)` bytes of this input.
    pub(crate) fn write(&self, depth: u16, out: &mut Vec<u8>) {
        match self {
            Self::Short(word) => out.extend(word.to_be_bytes().iter().take(input_len(depth))),
            Self::Long(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// Bit `level`, counted from the root: `true` goes right.
    #[inline]
    pub(crate) fn bit(&self, level: u16) -> bool {
        match self {
            Self::Short(word) => word.checked_shl(level.into()).unwrap_or(0) >> 63 == 1,
            Self::Long(bytes) => {
                bytes.get(usize::from(level / 8)).is_some_and(|byte| byte << (level % 8) & 0x80 != 0)
            }
        }
    }

    /// The number of leading bits that two inputs of one tree have in common. For equal inputs it is at least the depth.
    pub(crate) fn common_prefix(&self, other: &Self) -> u16 {
        match (self, other) {
            (Self::Short(a), Self::Short(b)) => (a ^ b).leading_zeros() as u16,
            (Self::Long(a), Self::Long(b)) => {
                let mut bits = 0;
                for (a, b) in a.iter().zip(b.iter()) {
                    if a != b {
                        return bits + (a ^ b).leading_zeros() as u16;
                    }
                    bits += 8;
                }
                bits
            }
            // One tree has inputs of one variant.
            _ => 0,
        }
    }

    /// How many of the bits `from..to` are set.
    pub(crate) fn ones(&self, from: u16, to: u16) -> usize {
        self.ones_below(to).saturating_sub(self.ones_below(from))
    }

    /// How many of the bits `from..to` are clear.
    pub(crate) fn zeros(&self, from: u16, to: u16) -> usize {
        usize::from(to.saturating_sub(from)) - self.ones(from, to)
    }

    fn ones_below(&self, level: u16) -> usize {
        match self {
            // A shift by 64 means that no bit is below the level.
            Self::Short(word) => {
                word.checked_shr(64 - u32::from(level.min(64))).unwrap_or(0).count_ones() as usize
            }
            Self::Long(bytes) => {
                let (whole, rest) = bytes.split_at(bytes.len().min(usize::from(level / 8)));
                let partial = rest.first().map_or(0, |byte| (byte & !(0xff >> (level % 8))).count_ones());
                whole.iter().map(|byte| byte.count_ones()).sum::<u32>() as usize + partial as usize
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_counts_and_prefixes_agree_with_the_plain_definition() {
        for depth in [0u16, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 70, 72, 256, 512] {
            let len = input_len(depth);
            for seed in 0..40u32 {
                let bits = |salt: u32| -> Vec<bool> {
                    // The first bits agree, so that prefixes of all lengths occur.
                    let agree = usize::from(depth) * seed as usize / 40;
                    (0..usize::from(depth))
                        .map(|i| {
                            let salt = if i < agree { 0 } else { salt };
                            (i as u32 + 1).wrapping_mul(0x9e37_79b9 ^ seed.wrapping_mul(77)).rotate_left(salt)
                                & 16
                                != 0
                        })
                        .collect()
                };
                let pack = |bits: &[bool]| {
                    let mut bytes = vec![0u8; len];
                    bits.iter()
                        .enumerate()
                        .filter(|(_, bit)| **bit)
                        .for_each(|(i, _)| bytes[i / 8] |= 0x80 >> (i % 8));
                    bytes
                };
                let (a, b) = (bits(0), bits(5));
                let (x, y) = (Input::new(depth, &pack(&a)).unwrap(), Input::new(depth, &pack(&b)).unwrap());
                assert_eq!(x.cmp(&y), a.cmp(&b), "depth {depth} seed {seed}");
                let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
                if a != b {
                    assert_eq!(usize::from(x.common_prefix(&y)), common, "depth {depth} seed {seed}");
                }
                let mut out = Vec::new();
                x.write(depth, &mut out);
                assert_eq!(out, pack(&a));
                for from in (0..=depth).step_by(5) {
                    for to in (from..=depth).step_by(3) {
                        let ones = a[from.into()..to.into()].iter().filter(|bit| **bit).count();
                        assert_eq!(x.ones(from, to), ones, "depth {depth} {from}..{to}");
                        assert_eq!(x.zeros(from, to), usize::from(to - from) - ones);
                    }
                }
                for (level, bit) in a.iter().enumerate() {
                    assert_eq!(x.bit(level as u16), *bit);
                }
            }
        }
    }

    #[test]
    fn a_leaf_index_is_the_number_that_its_bits_spell() {
        for depth in [0u16, 1, 3, 8, 20, 31, 32, 40, 64, 65, 77, 100, 512] {
            let last = if depth >= 32 { u32::MAX } else { (1u32 << depth) - 1 };
            for leaf in [0, 1, last / 3, last].map(|leaf| leaf.min(last)) {
                let input = Input::of_leaf(depth, leaf).unwrap();
                let spelled = (0..depth).fold(0u128, |n, level| n << 1 | u128::from(input.bit(level)));
                assert_eq!(spelled, leaf.into(), "depth {depth}");
                let mut bytes = Vec::new();
                input.write(depth, &mut bytes);
                assert!(Input::new(depth, &bytes).unwrap() == input);
            }
            if depth < 32 {
                let leaf = last + 1;
                assert_eq!(Input::of_leaf(depth, leaf).err(), Some(ShapeError::Leaf { leaf, depth }));
            }
        }
    }
}
