//! The plain reference: a map from prefixes to nodes, and one HKDF object for each child.

use std::collections::{BTreeMap, BTreeSet};

use hkdf::Hkdf;
use pprf::{Hash, HmacDerivation, NodeSize, Pprf};
use sha2::{Sha256, Sha384, Sha512};

pub(crate) const LEFT: &[u8] = b"the left info string";
pub(crate) const RIGHT: &[u8] = b"the right info string";
pub(crate) const HASHES: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

pub(crate) fn node_size(hash: Hash) -> NodeSize {
    match hash {
        Hash::Sha256 => NodeSize::N32,
        Hash::Sha384 => NodeSize::N48,
        Hash::Sha512 => NodeSize::N64,
    }
}

pub(crate) fn expand(hash: Hash, key: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    match hash {
        Hash::Sha256 => Hkdf::<Sha256>::from_prk(key).unwrap().expand(info, &mut out).unwrap(),
        Hash::Sha384 => Hkdf::<Sha384>::from_prk(key).unwrap().expand(info, &mut out).unwrap(),
        Hash::Sha512 => Hkdf::<Sha512>::from_prk(key).unwrap().expand(info, &mut out).unwrap(),
    }
    out
}

/// The bits of an input, most significant first.
pub(crate) fn bits(x: &[u8], depth: u16) -> Vec<bool> {
    (0..usize::from(depth)).map(|i| x[i / 8] & (0x80 >> (i % 8)) != 0).collect()
}

pub(crate) fn pack(bits: &[bool]) -> Vec<u8> {
    let mut bytes = vec![0; bits.len().div_ceil(8)];
    bits.iter().enumerate().filter(|(_, bit)| **bit).for_each(|(i, _)| bytes[i / 8] |= 0x80 >> (i % 8));
    bytes
}

#[derive(Clone)]
pub(crate) struct Reference {
    pub(crate) hash: Hash,
    pub(crate) depth: u16,
    pub(crate) infos: [Vec<u8>; 2],
    pub(crate) nodes: BTreeMap<Vec<bool>, Vec<u8>>,
    pub(crate) punctured: BTreeSet<Vec<bool>>,
}

impl Reference {
    pub(crate) fn new(hash: Hash, depth: u16, root: &[u8]) -> Self {
        Self {
            hash,
            depth,
            infos: [LEFT.to_vec(), RIGHT.to_vec()],
            nodes: BTreeMap::from([(vec![], root.to_vec())]),
            punctured: BTreeSet::new(),
        }
    }

    /// The tree under test with the same root, and its derivation.
    pub(crate) fn subject(&self) -> (Pprf, HmacDerivation) {
        let root = &self.nodes[&vec![]];
        (
            Pprf::new(node_size(self.hash), self.depth, root).unwrap(),
            HmacDerivation::new(self.hash, &self.infos[0], &self.infos[1]),
        )
    }

    fn child(&self, node: &[u8], bit: bool) -> Vec<u8> {
        expand(self.hash, node, &self.infos[usize::from(bit)], node.len())
    }

    fn cover(&self, x: &[bool]) -> Option<usize> {
        (0..=x.len()).find(|level| self.nodes.contains_key(&x[..*level]))
    }

    pub(crate) fn eval(&self, x: &[bool]) -> Option<Vec<u8>> {
        let level = self.cover(x)?;
        let node = self.nodes[&x[..level]].clone();
        Some(x[level..].iter().fold(node, |node, bit| self.child(&node, *bit)))
    }

    /// Returns every node on the way down, which must not be derivable any more, with the leaf last.
    pub(crate) fn puncture(&mut self, x: &[bool]) -> Option<Vec<Vec<u8>>> {
        let level = self.cover(x)?;
        let mut way = vec![self.nodes.remove(&x[..level]).unwrap()];
        for level in level..x.len() {
            let node = way.last().unwrap().clone();
            let mut sibling = x[..=level].to_vec();
            sibling[level] ^= true;
            self.nodes.insert(sibling, self.child(&node, !x[level]));
            way.push(self.child(&node, x[level]));
        }
        self.punctured.insert(x.to_vec());
        Some(way)
    }

    /// The encoding, as the documentation of `Pprf::to_bytes` words it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![1, node_size(self.hash).bytes() as u8];
        out.extend(self.depth.to_be_bytes());
        out.extend((self.punctured.len() as u32).to_be_bytes());
        // The order of prefix-free bit strings is the order of their subtrees from left to right.
        self.punctured.iter().for_each(|x| out.extend(pack(x)));
        self.nodes.values().for_each(|node| out.extend(node));
        out
    }
}
