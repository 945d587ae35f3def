//! The trait, and the derivation that comes with the crate.

use pprf::{Derivation, Hash, HmacDerivation, NodeSize, Pprf, ShapeError, Side};
use subtle::ConstantTimeEq;

use crate::reference::{HASHES, LEFT, RIGHT, expand, node_size};

/// Info strings on both sides of every block boundary.
#[test]
fn children_are_hkdf_expand_for_info_strings_of_any_length() {
    for hash in HASHES {
        let size = node_size(hash).bytes();
        let node = expand(hash, &[1; 64], b"node", size);
        for len in (0..300).chain([1000, 5000]) {
            let info: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
            let other = [&info[..], b"!"].concat();
            let derivation = HmacDerivation::new(hash, &info, &other);
            let (mut left, mut right, mut one) = (vec![1; size], vec![2; size], vec![3; size]);
            derivation.split(&node, Side::Left, &mut left, &mut right);
            assert_eq!(left, expand(hash, &node, &info, size), "{hash:?} info of {len}");
            assert_eq!(right, expand(hash, &node, &other, size), "{hash:?} info of {len}");
            let (mut next, mut sibling) = (vec![4; size], vec![5; size]);
            derivation.split(&node, Side::Right, &mut next, &mut sibling);
            assert!(next == right && sibling == left);
            derivation.child(&node, Side::Left, &mut one);
            assert_eq!(one, left);
            derivation.child(&node, Side::Right, &mut one);
            assert_eq!(one, right);
        }
    }
}

#[test]
fn slices_of_another_length_are_short_keys_and_truncated_outputs() {
    for hash in HASHES {
        let size = node_size(hash).bytes();
        let derivation = HmacDerivation::new(hash, LEFT, RIGHT);
        let mut padded = vec![9; size - 7];
        let (mut short, mut long) = (vec![0; size - 5], vec![0xff; size + 5]);
        derivation.split(&padded, Side::Left, &mut short, &mut long);
        // HMAC extends a short key with zeros.
        padded.resize(size, 0);
        assert_eq!(short, expand(hash, &padded, LEFT, size)[..size - 5]);
        assert_eq!(long[..size], expand(hash, &padded, RIGHT, size));
        assert_eq!(long[size..], [0; 5]);
        // Of a long key, the first bytes count.
        padded.extend([1; 3]);
        let mut out = vec![0; size];
        derivation.child(&padded, Side::Left, &mut out);
        assert_eq!(out, expand(hash, &padded[..size], LEFT, size));
    }
}

/// Not a pseudorandom generator: it spells the path, which shows the order of bits and the default `split`.
struct Spelling;

impl Derivation for Spelling {
    fn node_size(&self) -> NodeSize {
        NodeSize::N48
    }

    fn child(&self, node: &[u8], side: Side, out: &mut [u8]) {
        let end = node.iter().position(|byte| *byte == 0).unwrap();
        out.copy_from_slice(node);
        out[end] = if side == Side::Left { b'L' } else { b'R' };
    }
}

#[test]
fn bits_go_most_significant_first_and_the_trait_is_object_safe() {
    let derivation: &dyn Derivation = &Spelling;
    let mut tree = Pprf::new(NodeSize::N48, 12, &[0; 48]).unwrap();
    let value = tree.at(derivation, &[0b1010_0111, 0b1000_0000]).unwrap().eval().ok().unwrap();
    assert_eq!(&value.as_bytes()[..13], b"RLRLLRRRRLLL\0");
    assert!(tree.at_mut(derivation, &[0b1010_0111, 0b1000_0000]).unwrap().puncture());
    let nodes: Vec<String> = tree.to_bytes()[8 + 2..]
        .chunks(48)
        .map(|node| String::from_utf8(node.iter().copied().take_while(|byte| *byte != 0).collect()).unwrap())
        .collect();
    let expected = "L RLL RLRLLL RLRLLRL RLRLLRRL RLRLLRRRL \
                    RLRLLRRRRLLR RLRLLRRRRLR RLRLLRRRRR RLRLR RLRR RR";
    let mut expected: Vec<&str> = expected.split_whitespace().collect();
    // From left to right is the order of the strings.
    expected.sort_unstable();
    assert_eq!(nodes, expected);
}

#[test]
fn mistakes_of_the_caller_are_told_apart_from_punctures() {
    let derivation = HmacDerivation::new(Hash::Sha256, LEFT, RIGHT);
    let other = HmacDerivation::new(Hash::Sha512, LEFT, RIGHT);
    assert_eq!(
        Pprf::new(NodeSize::N48, 4, &[0; 32]).err(),
        Some(ShapeError::Root { expected: 48, actual: 32 })
    );
    assert_eq!(Pprf::new(NodeSize::N32, 513, &[0; 32]).err(), Some(ShapeError::Depth { depth: 513 }));
    assert!(Pprf::new(NodeSize::N64, 512, &[0; 64]).is_ok());
    let mut tree = Pprf::new(NodeSize::N32, 12, &[0; 32]).unwrap();
    let length = |actual| Some(ShapeError::InputLength { expected: 2, actual });
    assert_eq!(tree.at(&derivation, &[0]).err(), length(1));
    assert_eq!(tree.at_mut(&derivation, &[0; 3]).err(), length(3));
    assert_eq!(tree.is_punctured(&[]).err(), length(0));
    assert_eq!(tree.at(&derivation, &[0, 8]).err(), Some(ShapeError::InputPadding));
    assert_eq!(tree.at(&other, &[0, 0]).err(), Some(ShapeError::NodeSize));
    assert_eq!(tree.at_mut(&other, &[0, 0]).err(), Some(ShapeError::NodeSize));
    assert_eq!(tree.at_leaf_mut(&derivation, 4096).err(), Some(ShapeError::Leaf { leaf: 4096, depth: 12 }));
    assert_eq!(tree.punctured_count(), 0);
    assert!(tree.at(&derivation, &[0, 0x10]).unwrap().eval().is_ok());
}

#[test]
fn secrets_compare_and_trees_print_no_node() {
    let derivation = HmacDerivation::new(Hash::Sha256, LEFT, RIGHT);
    let tree = Pprf::new(NodeSize::N32, 8, &[0xab; 32]).unwrap();
    let eval = |x: u8| tree.at(&derivation, &[x]).unwrap().eval().ok().unwrap();
    assert!(bool::from(eval(1).ct_eq(&eval(1))));
    assert!(!bool::from(eval(1).ct_eq(&eval(2))));
    let other = Pprf::new(NodeSize::N32, 8, &[0xac; 32]).unwrap();
    assert!(bool::from(tree.ct_eq(&tree.clone())) && !bool::from(tree.ct_eq(&other)));
    assert_eq!(format!("{tree:?}"), format!("{other:?}"));
    assert_eq!(format!("{tree:?}"), "Pprf { node_size: N32, depth: 8, stored_nodes: 1, punctured: 0, .. }");
}
