//! One hostile encoding for each error, and the round trips.

use pprf::{DecodeError, Hash, Pprf};
use subtle::ConstantTimeEq;

use crate::reference::Reference;

/// Depth 12, two inputs punctured: bytes 8..12 are the inputs, nodes follow.
fn sample() -> (Pprf, Vec<u8>) {
    let (mut tree, derivation) = Reference::new(Hash::Sha256, 12, &[6; 32]).subject();
    for x in [[0x12, 0x30], [0x12, 0x40]] {
        assert!(tree.at_mut(&derivation, &x).unwrap().puncture());
    }
    let bytes = tree.to_bytes().to_vec();
    (tree, bytes)
}

fn error_of(change: impl FnOnce(&mut Vec<u8>)) -> Option<DecodeError> {
    let (_, mut bytes) = sample();
    change(&mut bytes);
    Pprf::from_bytes(&bytes).err()
}

#[test]
fn each_kind_of_bad_encoding_has_its_error() {
    let (tree, bytes) = sample();
    let (expected, len) = (bytes.len() as u64, bytes.len());
    assert_eq!(len, 8 + tree.storage_len());
    // The control: unchanged, all is well.
    assert_eq!(error_of(|_| ()), None);
    assert_eq!(error_of(|b| b.push(0)), Some(DecodeError::Trailing { expected, actual: len + 1 }));
    assert_eq!(error_of(|b| b[0] = 2), Some(DecodeError::Version(2)));
    assert_eq!(error_of(|b| b[1] = 33), Some(DecodeError::NodeSize(33)));
    assert_eq!(error_of(|b| b[2] = 2), Some(DecodeError::Depth(0x20c)));
    assert_eq!(error_of(|b| b[9] |= 1), Some(DecodeError::InputPadding(0)));
    assert_eq!(error_of(|b| b[8..12].rotate_left(2)), Some(DecodeError::InputOrder(1)));
    assert_eq!(error_of(|b| b.copy_within(8..10, 10)), Some(DecodeError::InputOrder(1)));
    // Another node size or number of nodes: the length does not fit.
    let nodes = tree.stored_nodes() as u64;
    assert_eq!(
        error_of(|b| b[1] = 48),
        Some(DecodeError::Truncated { expected: 12 + 48 * nodes, actual: len })
    );
    assert_eq!(
        error_of(|b| b.truncate(len - 32)),
        Some(DecodeError::Truncated { expected, actual: len - 32 })
    );
    assert_eq!(error_of(|b| b.extend([0; 32])), Some(DecodeError::Trailing { expected, actual: len + 32 }));
    // A puncture taken out of the list, or put in: the nodes no longer fit.
    assert!(matches!(
        error_of(|b| {
            b[7] = 1;
            b.drain(10..12);
        }),
        Some(DecodeError::Trailing { .. } | DecodeError::Truncated { .. })
    ));
}

#[test]
fn every_truncation_is_an_error() {
    let (_, bytes) = sample();
    for len in 0..bytes.len() {
        assert!(Pprf::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
    }
    let empty = Pprf::from_bytes(&[]).err();
    assert_eq!(empty, Some(DecodeError::Truncated { expected: 8, actual: 0 }));
}

#[test]
fn a_count_that_lies_allocates_nothing() {
    // Four thousand million inputs of 64 bytes are announced, and none of none bytes.
    for (depth, expected) in [(512u16, 8 + 64 * u64::from(u32::MAX)), (1, 8 + u64::from(u32::MAX))] {
        let mut bytes = vec![1, 64];
        bytes.extend(depth.to_be_bytes());
        bytes.extend([0xff; 4]);
        let error = Pprf::from_bytes(&bytes).err();
        assert_eq!(error, Some(DecodeError::Truncated { expected, actual: 8 }));
    }
    let error = Pprf::from_bytes(&[1, 64, 0, 0, 0xff, 0xff, 0xff, 0xff]).err();
    assert_eq!(error, Some(DecodeError::InputOrder(1)), "depth 0 has one input, of no bytes");
    assert!(Pprf::from_bytes(&[1, 64, 0, 0, 0, 0, 0, 1]).is_ok(), "and that one can be punctured");
}

#[test]
fn serde_carries_the_same_bytes_and_the_same_checks() {
    let (tree, bytes) = sample();
    let config = bincode::config::standard();
    let encoded = bincode::serde::encode_to_vec(&tree, config).unwrap();
    assert!(encoded.ends_with(&bytes));
    let (decoded, used): (Pprf, usize) = bincode::serde::decode_from_slice(&encoded, config).unwrap();
    assert_eq!(used, encoded.len());
    assert!(bool::from(decoded.ct_eq(&tree)));
    let (borrowed, _): (Pprf, usize) = bincode::serde::borrow_decode_from_slice(&encoded, config).unwrap();
    assert!(bool::from(borrowed.ct_eq(&tree)));

    let json = serde_json::to_string(&tree).unwrap();
    assert_eq!(serde_json::from_str::<Vec<u8>>(&json).unwrap(), bytes);
    let decoded: Pprf = serde_json::from_str(&json).unwrap();
    assert!(bool::from(decoded.ct_eq(&tree)));

    let mut bad = encoded.clone();
    let version = encoded.len() - bytes.len();
    bad[version] = 9;
    let error = bincode::serde::decode_from_slice::<Pprf, _>(&bad, config).err().unwrap();
    assert!(error.to_string().contains("Version 9"), "{error}");
    let error = serde_json::from_str::<Pprf>(&json.replacen("[1,", "[9,", 1)).err().unwrap();
    assert!(error.to_string().contains("Version 9"), "{error}");
}
