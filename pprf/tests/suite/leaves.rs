//! Trees over leaf indices, as the secret tree of RFC 9420 9 is one.

use std::time::Instant;

use pprf::{Hash, HmacDerivation, NodeSize, Pprf, ShapeError, depth_for_leaves};

use crate::reference::{HASHES, LEFT, RIGHT, Reference, expand, node_size};

fn path(leaf: u32, depth: u16) -> Vec<bool> {
    (0..depth).rev().map(|bit| leaf >> bit & 1 == 1).collect()
}

/// A fixed pseudorandom order of the numbers below `n`.
fn shuffled(n: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for i in (1..order.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(i, (state >> 33) as usize % (i + 1));
    }
    order
}

#[test]
fn depths_are_rounded_up_logarithms() {
    for n in 1u32..=5000 {
        let depth = depth_for_leaves(n);
        assert!(1u64 << depth >= n.into(), "{n}");
        assert!(depth == 0 || 1u64 << (depth - 1) < n.into(), "{n}");
    }
    assert_eq!([0, 1, 2, 3, u32::MAX].map(depth_for_leaves), [0, 0, 1, 2, 32]);
}

#[test]
fn trees_of_every_small_leaf_count_give_the_right_leaves_in_any_order() {
    for n in 1u32..=70 {
        let hash = HASHES[n as usize % 3];
        let root = expand(hash, &[3; 64], &n.to_be_bytes(), node_size(hash).bytes());
        let depth = depth_for_leaves(n);
        let reference = Reference::new(hash, depth, &root);
        let derivation = HmacDerivation::new(hash, LEFT, RIGHT);
        let tree = Pprf::for_leaves(node_size(hash), n, &root).unwrap();
        let width = 1u32 << depth;
        let expected: Vec<Vec<u8>> =
            (0..width).map(|leaf| reference.eval(&path(leaf, depth)).unwrap()).collect();
        for order in [(0..width).collect::<Vec<_>>(), (0..width).rev().collect(), shuffled(width)] {
            let mut tree = tree.clone();
            for (done, leaf) in order.iter().enumerate() {
                assert_eq!(tree.punctured_count(), done);
                let value = tree.at_leaf(&derivation, *leaf).unwrap().eval().ok().unwrap();
                let taken = tree.at_leaf_mut(&derivation, *leaf).unwrap().eval_and_puncture().ok().unwrap();
                assert_eq!(value.as_bytes(), expected[*leaf as usize], "leaf {leaf} of {n}");
                assert_eq!(taken.as_bytes(), expected[*leaf as usize], "leaf {leaf} of {n}");
                assert!(tree.is_leaf_punctured(*leaf).unwrap());
                assert!(tree.at_leaf(&derivation, *leaf).unwrap().eval().is_err());
                assert!(!tree.at_leaf_mut(&derivation, *leaf).unwrap().puncture());
            }
            assert_eq!(tree.stored_nodes(), 0);
            assert_eq!(tree.storage_len(), width as usize * usize::from(depth).div_ceil(8));
            let decoded = Pprf::from_bytes(&tree.to_bytes()).unwrap();
            assert!((0..width).all(|leaf| decoded.at_leaf(&derivation, leaf).unwrap().eval().is_err()));
            let missing = tree.at_leaf(&derivation, width).err();
            assert_eq!(missing, Some(ShapeError::Leaf { leaf: width, depth }));
        }
    }
}

/// Eight times the leaves take about eight times as long, not sixty-four times.
#[test]
fn puncturing_every_leaf_is_not_quadratic() {
    let derivation = HmacDerivation::new(Hash::Sha256, LEFT, RIGHT);
    let run = |n: u32| {
        let start = Instant::now();
        let mut tree = Pprf::for_leaves(NodeSize::N32, n, &[4; 32]).unwrap();
        for leaf in shuffled(n) {
            assert!(tree.at_leaf_mut(&derivation, leaf).unwrap().puncture());
        }
        assert_eq!((tree.stored_nodes(), tree.punctured_count()), (0, n as usize));
        start.elapsed()
    };
    // A busy machine may slow down any run, but not each of them in the same way.
    let pairs: Vec<_> = (0..5).map(|_| (run(1 << 12), run(1 << 15))).collect();
    assert!(pairs.iter().any(|(small, large)| *large < *small * 24), "2^12 and 2^15 leaves in {pairs:?}");
}

#[test]
fn a_tree_of_a_million_leaves_works() {
    let (n, depth) = (1 << 20, 20);
    let reference = Reference::new(Hash::Sha256, depth, &[5; 32]);
    let (mut tree, derivation) = reference.subject();
    let mut reference = reference;
    let leaves: Vec<u32> = shuffled(n).into_iter().take(300).chain([0, n - 1]).collect();
    for leaf in &leaves {
        let expected = reference.puncture(&path(*leaf, depth)).map(|way| way.last().unwrap().clone());
        let value = tree.at_leaf_mut(&derivation, *leaf).unwrap().eval_and_puncture().ok();
        assert_eq!(value.as_ref().map(|value| value.as_bytes()), expected.as_deref());
    }
    assert_eq!(*tree.to_bytes(), reference.to_bytes());
}
