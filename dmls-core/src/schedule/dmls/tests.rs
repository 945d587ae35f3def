//! The derivations against a plain reference, and what a puncture does.

use hkdf::Hkdf;
use sha2::Sha256;

use super::*;
use crate::codec::encode;
use crate::schedule::{DerivedEpoch, Profile, joiner_secret};
use crate::suite::CipherSuite;
use crate::tree::{Extensions, ProtocolVersion};

fn suite() -> Suite {
    CipherSuite::X25519_AES128GCM.suite().unwrap()
}

fn context(epoch: u64) -> GroupContext {
    GroupContext {
        version: ProtocolVersion::MLS10,
        cipher_suite: CipherSuite::X25519_AES128GCM,
        group_id: b"group".to_vec().into(),
        epoch,
        tree_hash: vec![1; 32].into(),
        confirmed_transcript_hash: vec![2; 32].into(),
        extensions: Extensions::default(),
    }
}

fn some_input(byte: u8) -> ChildInput {
    let conf = commit_confirmation(suite(), Some(&Secret::from(vec![byte; 32]))).unwrap();
    child_init_input(suite(), &conf, &context(1)).unwrap()
}

fn pprf() -> InitPprf {
    InitPprf::new(suite(), &Secret::from(vec![9; 32])).unwrap()
}

/// `ExpandWithLabel` of RFC 9420 8, written out for labels and contexts of less than 64 bytes, or with the two bytes
/// of a longer context's length.
fn expand(secret: &[u8], label: &str, context: &[u8]) -> Vec<u8> {
    let label = format!("MLS 1.0 {label}");
    let mut info = vec![0, 32, label.len() as u8];
    info.extend_from_slice(label.as_bytes());
    match context.len() {
        len @ 0..64 => info.push(len as u8),
        len => info.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
    }
    info.extend_from_slice(context);
    let mut out = vec![0; 32];
    Hkdf::<Sha256>::from_prk(secret).unwrap().expand(&info, &mut out).unwrap();
    out
}

/// The PPRF of DESIGN 4.3, one bit after the other.
fn reference_pprf(node: Vec<u8>, bits: &[bool]) -> Vec<u8> {
    match bits {
        [] => expand(&node, "pprf", b""),
        [bit, rest @ ..] => {
            let side: &[u8] = if *bit { b"right" } else { b"left" };
            reference_pprf(expand(&node, "tree", side), rest)
        }
    }
}

#[test]
fn every_derivation_is_that_of_a_plain_reference() {
    let (parent, child) = (context(7), context(8));
    let (init, commit, psk) = ([3; 32], [4; 32], [5; 32]);
    let path_secret = [6; 32];

    // By hand, from the commit that leads to the parent, down to the child's init secret.
    let encoded = encode(&parent).unwrap();
    let (joiner, _) = Hkdf::<Sha256>::extract(Some(&init), &commit);
    let joiner = expand(&joiner, "joiner", &encoded);
    let (member, _) = Hkdf::<Sha256>::extract(Some(&joiner), &psk);
    let epoch_secret = expand(&member, "epoch", &encoded);
    let parent_init = expand(&epoch_secret, "parent_init", b"");
    let conf = expand(&path_secret, "conf", b"");
    let x = expand(&conf, "child_init", &encode(&child).unwrap());
    let bits: Vec<_> = x.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    assert_eq!(bits.len(), 256);
    let expected = reference_pprf(parent_init, &bits);

    let secret = |bytes: [u8; 32]| Secret::from(bytes.to_vec());
    let our_joiner = joiner_secret(suite(), &secret(init), &secret(commit), &parent).unwrap();
    assert_eq!(our_joiner.as_slice(), joiner);
    let epoch = DerivedEpoch::new(suite(), Profile::Dmls, &our_joiner, &secret(psk), &parent).unwrap();
    let dmls = epoch.dmls.unwrap();
    assert_eq!(dmls.dmls_epoch.as_slice(), expand(&epoch_secret, "epoch", b""));
    let our_conf = commit_confirmation(suite(), Some(&secret(path_secret))).unwrap();
    assert_eq!(our_conf.as_slice(), conf);
    let our_x = child_init_input(suite(), &our_conf, &child).unwrap();
    assert_eq!(our_x.0.as_slice(), x);
    assert_eq!(dmls.parent_init.evaluate(&our_x).unwrap().as_slice(), expected);
}

#[test]
fn a_commit_without_a_path_has_the_confirmation_of_the_zero_secret() {
    let none = commit_confirmation(suite(), None).unwrap();
    assert_eq!(none.as_slice(), expand(&[0; 32], "conf", b""));
    assert_ne!(none, commit_confirmation(suite(), Some(&Secret::from(vec![1; 32]))).unwrap());
}

#[test]
fn the_input_is_bound_to_the_childs_context_and_to_the_confirmation() {
    let conf = |byte: u8| Secret::from(vec![byte; 32]);
    let input = |conf: &Secret, context: &GroupContext| child_init_input(suite(), conf, context).unwrap();
    let x = input(&conf(1), &context(1));
    assert_eq!(x, input(&conf(1), &context(1)));
    assert_ne!(x, input(&conf(2), &context(1)));
    assert_ne!(x, input(&conf(1), &context(2)));
    let other_tree = GroupContext { tree_hash: vec![7; 32].into(), ..context(1) };
    assert_ne!(x, input(&conf(1), &other_tree));
}

#[test]
fn a_puncture_takes_one_input_and_no_other() {
    let mut punctured = pprf();
    let inputs: Vec<_> = (0..8).map(some_input).collect();
    let before: Vec<_> = inputs.iter().map(|x| punctured.evaluate(x).unwrap()).collect();
    assert_eq!(punctured.storage_len(), 32);

    assert_eq!(punctured.evaluate_and_puncture(&inputs[0]).unwrap(), before[0]);
    // 256 siblings of 32 bytes, and the input itself.
    assert_eq!(punctured.storage_len(), 256 * 32 + 32);
    assert!(punctured.puncture(&inputs[3]).unwrap());
    assert!(!punctured.puncture(&inputs[3]).unwrap());
    assert_eq!(punctured.punctured_count(), 2);
    for (index, (x, value)) in inputs.iter().zip(&before).enumerate() {
        let gone = [0, 3].contains(&index);
        assert_eq!(punctured.is_punctured(x).unwrap(), gone, "input {index}");
        let expected = if gone { Err(DmlsKeyError::Punctured) } else { Ok(value.clone()) };
        assert_eq!(punctured.evaluate(x), expected, "input {index}");
        if gone {
            assert_eq!(punctured.evaluate_and_puncture(x), expected, "input {index}");
        }
    }
    assert_eq!(punctured.punctured_count(), 2);
    // Control: what has not been punctured derives it.
    assert_eq!(pprf().evaluate(&inputs[3]).unwrap(), before[3]);
}

#[test]
fn a_step_on_a_clone_leaves_the_original() {
    let original = pprf();
    let mut next = original.clone();
    let value = next.evaluate_and_puncture(&some_input(1)).unwrap();
    assert_eq!(original.evaluate(&some_input(1)).unwrap(), value);
    assert_eq!(next.evaluate(&some_input(1)), Err(DmlsKeyError::Punctured));
}

#[test]
fn inputs_and_roots_of_another_length_are_typed_errors() {
    let mut tree = pprf();
    for length in [0, 31, 33, 64] {
        let x = ChildInput(vec![0; length].into());
        assert!(matches!(tree.evaluate(&x), Err(DmlsKeyError::Shape(ShapeError::InputLength { .. }))));
        assert!(matches!(tree.puncture(&x), Err(DmlsKeyError::Shape(ShapeError::InputLength { .. }))));
        assert!(matches!(tree.is_punctured(&x), Err(DmlsKeyError::Shape(ShapeError::InputLength { .. }))));
        let root = InitPprf::new(suite(), &Secret::zero(length)).map(|_| ());
        assert!(matches!(root, Err(DmlsKeyError::Shape(ShapeError::Root { .. }))));
    }
    assert_eq!(tree.punctured_count(), 0);
}

#[test]
fn a_stored_pprf_stays_punctured_and_names_a_known_suite() {
    let mut tree = pprf();
    let x = some_input(1);
    tree.puncture(&x).unwrap();
    let config = bincode::config::standard();
    let stored = bincode::serde::encode_to_vec(&tree, config).unwrap();
    let (loaded, _): (InitPprf, _) = bincode::serde::decode_from_slice(&stored, config).unwrap();
    assert_eq!(loaded.evaluate(&x), Err(DmlsKeyError::Punctured));
    assert_eq!(loaded.evaluate(&some_input(2)), tree.evaluate(&some_input(2)));
    // The first byte is the suite's number.
    let other = [&[99], &stored[1..]].concat();
    assert!(bincode::serde::decode_from_slice::<InitPprf, _>(&other, config).is_err());
    assert!(bincode::serde::decode_from_slice::<InitPprf, _>(&stored[..stored.len() - 1], config).is_err());
}

#[test]
fn identifiers_show_twelve_digits_or_all() {
    let id = EpochId::from((0..32).collect::<Vec<u8>>());
    assert_eq!(id.to_string(), "000102030405");
    assert_eq!(format!("{id:#}").len(), 64);
    assert_eq!(format!("{id:?}"), "EpochId(000102030405)");
    assert_eq!(CommitId::from(vec![0xab]).to_string(), "ab");
}
