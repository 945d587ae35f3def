//! A ready-made derivation: one HKDF-Expand block for each child.
//!
//! A child is `HKDF-Expand(node, info, Nh)` where `Nh` is the hash length, which is the single HMAC
//! `T(1) = HMAC(node, info || 0x01)` (RFC 5869 2.3). Both children have the same key and two constant messages.
//! So the padded messages are laid out once in the constructor, a level hashes the two pads once, and the work is
//! issued in three pairs of independent compressions (pads, inner hashes, outer hashes) that the processor overlaps.
//! There is no interleaving of instructions: that would need a compression function of our own.

use crate::{Derivation, NodeSize, Side};

/// The hash function under an [`HmacDerivation`]. Its output length is the node size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256, nodes of 32 bytes.
    Sha256,
    /// SHA-384, nodes of 48 bytes.
    Sha384,
    /// SHA-512, nodes of 64 bytes.
    Sha512,
}

/// Children by HKDF-Expand (RFC 5869 2.3): `HMAC(node, info || 0x01)`, with one info string for each side.
///
/// Holds no secret, and is made once for many trees.
#[derive(Clone)]
pub struct HmacDerivation(Engine);

#[derive(Clone)]
enum Engine {
    Sha256(Narrow<32>),
    Sha384(Wide<48>),
    Sha512(Wide<64>),
}

impl HmacDerivation {
    /// A derivation whose left and right children are expanded with these two info strings.
    ///
    /// The strings are of any length; those that fit one hash block with nine (SHA-256) or seventeen bytes of padding
    /// and the block counter cost six compressions a level.
    #[must_use]
    pub fn new(hash: Hash, left_info: &[u8], right_info: &[u8]) -> Self {
        Self(match hash {
            Hash::Sha256 => Engine::Sha256(Narrow::new(IV_256, left_info, right_info)),
            Hash::Sha384 => Engine::Sha384(Wide::new(IV_384, left_info, right_info)),
            Hash::Sha512 => Engine::Sha512(Wide::new(IV_512, left_info, right_info)),
        })
    }
}

/// Slices of another length than the node size are treated as HKDF-Expand treats them where it can: a short `node` is a
/// short HMAC key, a short `out` is a truncated output. What is longer than a node is not used, and set to zero.
impl Derivation for HmacDerivation {
    #[inline]
    fn node_size(&self) -> NodeSize {
        match self.0 {
            Engine::Sha256(_) => NodeSize::N32,
            Engine::Sha384(_) => NodeSize::N48,
            Engine::Sha512(_) => NodeSize::N64,
        }
    }

    #[inline]
    fn child(&self, node: &[u8], side: Side, out: &mut [u8]) {
        match &self.0 {
            Engine::Sha256(engine) => engine.child(node, side, out),
            Engine::Sha384(engine) => engine.child(node, side, out),
            Engine::Sha512(engine) => engine.child(node, side, out),
        }
    }

    #[inline]
    fn split(&self, node: &[u8], side: Side, next: &mut [u8], sibling: &mut [u8]) {
        match &self.0 {
            Engine::Sha256(engine) => engine.split(node, side, next, sibling),
            Engine::Sha384(engine) => engine.split(node, side, next, sibling),
            Engine::Sha512(engine) => engine.split(node, side, next, sibling),
        }
    }
}

/// The initial hash value of SHA-256 (FIPS 180-4 5.3.3).
const IV_256: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The initial hash value of SHA-384 (FIPS 180-4 5.3.4).
const IV_384: [u64; 8] = [
    0xcbbb_9d5d_c105_9ed8,
    0x629a_292a_367c_d507,
    0x9159_015a_3070_dd17,
    0x152f_ecd8_f70e_5939,
    0x6733_2667_ffc0_0b31,
    0x8eb4_4a87_6858_1511,
    0xdb0c_2e0d_64f9_8fa7,
    0x47b5_481d_befa_4fa4,
];

/// The initial hash value of SHA-512 (FIPS 180-4 5.3.5).
const IV_512: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// Defines HMAC over one compression function, for keys and outputs of `NODE` bytes.
macro_rules! engine {
    ($(#[$doc:meta])* $name:ident, $word:ty, $block:literal, $length:ty, $compress:path) => {
        $(#[$doc])*
        #[derive(Clone)]
        struct $name<const NODE: usize> {
            iv: [$word; 8],
            left: Vec<[u8; $block]>,
            right: Vec<[u8; $block]>,
        }

        impl<const NODE: usize> $name<NODE> {
            fn new(iv: [$word; 8], left_info: &[u8], right_info: &[u8]) -> Self {
                Self { iv, left: Self::message(left_info), right: Self::message(right_info) }
            }

            /// `info || 0x01` with the padding of a message that has one block, the pad, before it.
            fn message(info: &[u8]) -> Vec<[u8; $block]> {
                let mut bytes = info.to_vec();
                bytes.push(1);
                let bits = (($block + bytes.len()) as $length) * 8;
                bytes.push(0x80);
                let end = (bytes.len() + size_of::<$length>()).next_multiple_of($block);
                bytes.resize(end - size_of::<$length>(), 0);
                bytes.extend_from_slice(&bits.to_be_bytes());
                bytes.as_chunks().0.to_vec()
            }

            /// Hashes the inner and the outer pad (RFC 2104 2) into the states of the first child.
            #[inline(always)]
            fn pads(&self, node: &[u8], work: &mut Work<$word, $block>) {
                match node.first_chunk::<NODE>() {
                    Some(node) => pad(node, work),
                    None => pad(node, work),
                }
                (work.inner[0], work.outer[0]) = (self.iv, self.iv);
                $compress(&mut work.inner[0], std::slice::from_ref(&work.blocks[0]));
                $compress(&mut work.outer[0], std::slice::from_ref(&work.blocks[1]));
            }

            /// The inner hash as the one block that the outer hash takes.
            #[inline(always)]
            fn outer_block(inner: &[$word; 8], block: &mut [u8; $block]) {
                *block = const {
                    let mut block = [0; $block];
                    block[NODE] = 0x80;
                    let bits = ((($block + NODE) * 8) as u16).to_be_bytes();
                    [block[$block - 2], block[$block - 1]] = bits;
                    block
                };
                Self::write(inner, block.first_chunk_mut::<NODE>());
            }

            /// Writes the words of a state that are part of the hash.
            #[inline(always)]
            fn write(state: &[$word; 8], out: Option<&mut [u8; NODE]>) {
                let words = out.map(|out| out.as_chunks_mut::<{ size_of::<$word>() }>().0).unwrap_or_default();
                for (bytes, word) in words.iter_mut().zip(state) {
                    *bytes = word.to_be_bytes();
                }
            }

            /// Writes the hash to where the caller wants it.
            #[inline(always)]
            fn output(state: &[$word; 8], out: &mut [u8]) {
                if out.len() == NODE {
                    return Self::write(state, out.first_chunk_mut());
                }
                let bytes = state.iter().flat_map(|word| word.to_be_bytes()).take(NODE);
                out.iter_mut().zip(bytes.chain(std::iter::repeat(0))).for_each(|(out, byte)| *out = byte);
            }

            #[inline(always)]
            fn messages(&self, side: Side) -> (&[[u8; $block]], &[[u8; $block]]) {
                match side {
                    Side::Left => (&self.left, &self.right),
                    Side::Right => (&self.right, &self.left),
                }
            }

            #[inline(always)]
            fn child(&self, node: &[u8], side: Side, out: &mut [u8]) {
                let mut work = Work::<$word, $block>::new();
                self.pads(node, &mut work);
                $compress(&mut work.inner[0], self.messages(side).0);
                Self::outer_block(&work.inner[0], &mut work.blocks[0]);
                $compress(&mut work.outer[0], std::slice::from_ref(&work.blocks[0]));
                Self::output(&work.outer[0], out);
            }

            #[inline(always)]
            fn split(&self, node: &[u8], side: Side, next: &mut [u8], sibling: &mut [u8]) {
                let mut work = Work::<$word, $block>::new();
                self.pads(node, &mut work);
                (work.inner[1], work.outer[1]) = (work.inner[0], work.outer[0]);
                // Neighbours are independent of each other, and what the next level waits for is finished first.
                let messages = self.messages(side);
                $compress(&mut work.inner[0], messages.0);
                Self::outer_block(&work.inner[0], &mut work.blocks[0]);
                $compress(&mut work.inner[1], messages.1);
                $compress(&mut work.outer[0], std::slice::from_ref(&work.blocks[0]));
                Self::output(&work.outer[0], next);
                Self::outer_block(&work.inner[1], &mut work.blocks[1]);
                $compress(&mut work.outer[1], std::slice::from_ref(&work.blocks[1]));
                Self::output(&work.outer[1], sibling);
            }
        }
    };
}

/// What deriving one level leaves behind, for up to two children. It is wiped at once: wiping each array for itself took
/// a third of the running time.
#[repr(align(64))]
struct Work<W: Copy + Default, const BLOCK: usize> {
    blocks: [[u8; BLOCK]; 2],
    inner: [[W; 8]; 2],
    outer: [[W; 8]; 2],
}

impl<W: Copy + Default, const BLOCK: usize> Work<W, BLOCK> {
    #[inline(always)]
    fn new() -> Self {
        let words = [[W::default(); 8]; 2];
        Self { blocks: [[0; BLOCK]; 2], inner: words, outer: words }
    }
}

impl<W: Copy + Default, const BLOCK: usize> Drop for Work<W, BLOCK> {
    #[inline(always)]
    fn drop(&mut self) {
        let words = [[W::default(); 8]; 2];
        (self.blocks, self.inner, self.outer) = ([[0; BLOCK]; 2], words, words);
        // Keeps the compiler from leaving out writes that nothing reads.
        zeroize::optimization_barrier(self);
    }
}

/// Lays out the two pads: the key, extended by zeros, under 0x36 and 0x5c.
#[inline(always)]
fn pad<W: Copy + Default, const BLOCK: usize>(key: &[u8], work: &mut Work<W, BLOCK>) {
    let [inner, outer] = &mut work.blocks;
    (*inner, *outer) = ([0x36; BLOCK], [0x5c; BLOCK]);
    for ((inner, outer), key) in inner.iter_mut().zip(outer).zip(key) {
        *inner ^= key;
        *outer ^= key;
    }
}

engine! {
    /// HMAC with SHA-256: words of 32 bits, blocks of 64 bytes.
    Narrow, u32, 64, u64, sha2::block_api::compress256
}

engine! {
    /// HMAC with SHA-384 and SHA-512: words of 64 bits, blocks of 128 bytes.
    Wide, u64, 128, u128, sha2::block_api::compress512
}
