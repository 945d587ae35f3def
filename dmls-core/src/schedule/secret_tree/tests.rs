//! What the tree gives out, keeps and deletes. The keys themselves are checked by the official vectors.

use super::*;
use crate::suite::CipherSuite;

const WINDOWS: Windows = Windows { forward: 1000, back: 100 };
const TYPES: [RatchetType; 2] = [RatchetType::Handshake, RatchetType::Application];

fn suite() -> Suite {
    CipherSuite::X25519_AES128GCM.suite().unwrap()
}

fn root() -> Secret {
    Secret::from(vec![0xa7; 32])
}

fn tree(width: u32, mode: HandshakeKeys) -> SecretTree {
    SecretTree::new(suite(), &root(), width, mode).unwrap()
}

fn stored(tree: &SecretTree) -> Vec<u8> {
    bincode::serde::encode_to_vec(tree, bincode::config::standard()).unwrap()
}

fn loaded<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> T {
    bincode::serde::decode_from_slice(bytes, bincode::config::standard()).unwrap().0
}

fn contains(haystack: &[u8], needle: &Secret) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_slice())
}

#[test]
fn senders_and_receivers_agree_at_every_width() {
    for width in [1, 2, 3, 8, 33] {
        for mode in [HandshakeKeys::Consumed, HandshakeKeys::Retained] {
            let (mut sender, mut receiver) = (tree(width, mode), tree(width, mode));
            for leaf in (0..width).rev().map(LeafIndex) {
                for ratchet in TYPES {
                    for expected in 0..3 {
                        let own = sender.next_own(leaf, ratchet).unwrap();
                        assert_eq!(own.generation, expected);
                        let keys = receiver.peek(leaf, ratchet, own.generation, WINDOWS).unwrap();
                        receiver.consume(leaf, ratchet, own.generation, WINDOWS).unwrap();
                        assert_eq!(
                            keys, own.keys,
                            "width {width}, {mode:?}, {leaf:?}, {ratchet:?}, {expected}"
                        );
                    }
                    assert_eq!(sender.next_generation(leaf, ratchet), Some(3));
                }
            }
            // Every leaf that there is has been used, so no node is left in the sender's tree.
            assert_eq!(sender.tree.stored_nodes(), (width.next_power_of_two() - width).count_ones() as usize);
        }
    }
}

#[test]
fn all_keys_of_all_leaves_differ() {
    let mut sender = tree(4, HandshakeKeys::Consumed);
    let mut seen = Vec::new();
    for leaf in (0..4).map(LeafIndex) {
        for ratchet in TYPES {
            seen.extend((0..3).map(|_| sender.next_own(leaf, ratchet).unwrap().keys));
        }
    }
    for (index, keys) in seen.iter().enumerate() {
        assert!(seen[..index].iter().all(|other| other.key != keys.key && other.nonce != keys.nonce));
    }
}

#[test]
fn what_fails_and_what_only_looks_changes_nothing() {
    for mode in [HandshakeKeys::Consumed, HandshakeKeys::Retained] {
        let mut tree = tree(4, mode);
        tree.consume(LeafIndex(1), RatchetType::Application, 2, WINDOWS).unwrap();
        let before = stored(&tree);
        for leaf in (0..4).map(LeafIndex) {
            for ratchet in TYPES {
                tree.peek(leaf, ratchet, 900, WINDOWS).unwrap();
                assert!(tree.consume(leaf, ratchet, 5000, WINDOWS).is_err());
            }
        }
        let again = tree.consume(LeafIndex(1), RatchetType::Application, 2, WINDOWS);
        assert_eq!(again, Err(RatchetError::AlreadyUsed(2)));
        assert!(matches!(tree.next_own(LeafIndex(4), RatchetType::Handshake), Err(RatchetError::Shape(_))));
        assert!(matches!(
            tree.peek(LeafIndex(4), RatchetType::Handshake, 0, WINDOWS),
            Err(RatchetError::Shape(_))
        ));
        assert_eq!(stored(&tree), before);
    }
}

#[test]
fn a_used_key_cannot_be_found_or_derived_in_what_is_stored() {
    let leaf = LeafIndex(2);
    let fresh = tree(4, HandshakeKeys::Consumed);
    let derivation = tree_derivation(suite()).unwrap();
    let node = Secret::from(fresh.tree.at_leaf(&derivation, 2).unwrap().eval().unwrap().as_bytes());
    let first = |label| suite().expand_with_label(&node, label, b"", 32).unwrap();
    let (handshake, application) = (first("handshake"), first("application"));
    // Control: a fresh tree holds the root, from which all of these follow.
    assert!(contains(&stored(&fresh), &root()));

    let mut used = fresh.clone();
    used.consume(leaf, RatchetType::Application, 1, WINDOWS).unwrap();
    let skipped = fresh.peek(leaf, RatchetType::Application, 0, WINDOWS).unwrap();
    let consumed = fresh.peek(leaf, RatchetType::Application, 1, WINDOWS).unwrap();
    let bytes = stored(&used);
    for secret in [&root(), &node, &application, &consumed.key, &consumed.nonce] {
        assert!(!contains(&bytes, secret));
    }
    // What is still needed is there: the skipped key, and the handshake ratchet, which has not been used.
    assert!(contains(&bytes, &skipped.key) && contains(&bytes, &handshake));
    used.consume(leaf, RatchetType::Application, 0, WINDOWS).unwrap();
    assert!(!contains(&stored(&used), &skipped.key));
}

#[test]
fn retained_handshake_keys_open_every_copy_and_own_generations_advance() {
    let leaf = LeafIndex(1);
    let (mut plain, mut retained) = (tree(2, HandshakeKeys::Consumed), tree(2, HandshakeKeys::Retained));
    for generation in [5, 0, 1000, 0, 5] {
        let keys = retained.peek(leaf, RatchetType::Handshake, generation, WINDOWS).unwrap();
        retained.consume(leaf, RatchetType::Handshake, generation, WINDOWS).unwrap();
        let expected =
            tree(2, HandshakeKeys::Consumed).peek(leaf, RatchetType::Handshake, generation, WINDOWS);
        assert_eq!(Ok(keys), expected);
    }
    // Control: the plain tree gives each key once.
    plain.consume(leaf, RatchetType::Handshake, 5, WINDOWS).unwrap();
    assert_eq!(plain.peek(leaf, RatchetType::Handshake, 5, WINDOWS), Err(RatchetError::AlreadyUsed(5)));
    let last = retained.peek(leaf, RatchetType::Handshake, 1023, Windows { forward: 0, back: 0 });
    assert!(last.is_ok(), "windows are for keys that are consumed");
    for result in [
        retained.peek(leaf, RatchetType::Handshake, 1024, WINDOWS).map(|_| ()),
        retained.consume(leaf, RatchetType::Handshake, u32::MAX, WINDOWS),
    ] {
        assert!(matches!(result, Err(RatchetError::HandshakeGeneration(1024 | u32::MAX))));
    }

    let own: Vec<_> = (0..3).map(|_| retained.next_own(leaf, RatchetType::Handshake).unwrap()).collect();
    assert_eq!(own.iter().map(|keys| keys.generation).collect::<Vec<_>>(), [0, 1, 2]);
    // The own counter survives a restart, and own messages can still be opened.
    let mut restarted: SecretTree = loaded(&stored(&retained));
    assert_eq!(restarted.next_own(leaf, RatchetType::Handshake).unwrap().generation, 3);
    assert_eq!(restarted.peek(leaf, RatchetType::Handshake, 1, WINDOWS).unwrap(), own[1].keys);
    // Application keys are consumed in either mode.
    restarted.consume(leaf, RatchetType::Application, 0, WINDOWS).unwrap();
    assert_eq!(restarted.peek(leaf, RatchetType::Application, 0, WINDOWS), Err(RatchetError::AlreadyUsed(0)));
}

#[test]
fn deleted_application_keys_stay_deleted_and_take_nothing_else() {
    let mut tree = tree(4, HandshakeKeys::Retained);
    let application = tree.peek(LeafIndex(1), RatchetType::Application, 0, WINDOWS).unwrap();
    tree.delete_application(LeafIndex(1)).unwrap();
    let mut tree: SecretTree = loaded(&stored(&tree));
    for result in [
        tree.peek(LeafIndex(1), RatchetType::Application, 0, WINDOWS).map(|_| ()),
        tree.consume(LeafIndex(1), RatchetType::Application, 0, WINDOWS),
        tree.next_own(LeafIndex(1), RatchetType::Application).map(|_| ()),
    ] {
        assert_eq!(result, Err(RatchetError::Deleted));
    }
    assert_eq!(tree.next_generation(LeafIndex(1), RatchetType::Application), None);
    assert!(!contains(&stored(&tree), &application.key));
    tree.peek(LeafIndex(1), RatchetType::Handshake, 7, WINDOWS).unwrap();
    tree.peek(LeafIndex(0), RatchetType::Application, 0, WINDOWS).unwrap();
    tree.delete_application(LeafIndex(1)).unwrap();
}

#[test]
fn clones_do_not_change_with_their_original() {
    let before = tree(4, HandshakeKeys::Consumed);
    let mut after = before.clone();
    after.consume(LeafIndex(3), RatchetType::Application, 0, WINDOWS).unwrap();
    let middle = after.clone();
    after.consume(LeafIndex(3), RatchetType::Application, 1, WINDOWS).unwrap();
    before.peek(LeafIndex(3), RatchetType::Application, 0, WINDOWS).unwrap();
    middle.peek(LeafIndex(3), RatchetType::Application, 1, WINDOWS).unwrap();
    assert!(middle.peek(LeafIndex(3), RatchetType::Application, 0, WINDOWS).is_err());
    assert!(after.peek(LeafIndex(3), RatchetType::Application, 1, WINDOWS).is_err());
}

#[test]
fn leaves_are_stored_apart_and_only_when_they_change() {
    let mut before = tree(4, HandshakeKeys::Retained);
    before.consume(LeafIndex(0), RatchetType::Application, 3, WINDOWS).unwrap();
    before.consume(LeafIndex(2), RatchetType::Application, 0, WINDOWS).unwrap();
    let mut after = before.clone();
    after.consume(LeafIndex(0), RatchetType::Application, 1, WINDOWS).unwrap();
    after.consume(LeafIndex(2), RatchetType::Handshake, 0, WINDOWS).unwrap();
    let changed =
        |after: &SecretTree| after.changed_leaves(&before).map(|(leaf, _)| leaf.0).collect::<Vec<_>>();
    assert_eq!(changed(&after), [0]);
    assert!(!after.nodes_changed(&before));
    after.next_own(LeafIndex(1), RatchetType::Handshake).unwrap();
    assert_eq!(changed(&after), [0, 1]);
    assert!(after.nodes_changed(&before));

    let config = bincode::config::standard();
    let records: Vec<(LeafIndex, Vec<u8>)> = after
        .leaves()
        .map(|(leaf, state)| (leaf, bincode::serde::encode_to_vec(state, config).unwrap()))
        .collect();
    let nodes: SecretTree = loaded(&stored(&after.without_leaves()));
    assert_eq!(nodes.peek(LeafIndex(0), RatchetType::Handshake, 0, WINDOWS), Err(RatchetError::Deleted));
    let joined = nodes.with_leaves(records.iter().map(|(leaf, bytes)| (*leaf, loaded(bytes))));
    assert_eq!(stored(&joined), stored(&after));
}

#[test]
fn secret_bytes_are_counted() {
    let mut tree = tree(8, HandshakeKeys::Retained);
    assert_eq!(tree.secret_bytes(), 32);
    tree.consume(LeafIndex(0), RatchetType::Application, 0, WINDOWS).unwrap();
    // Three siblings on the way down, and a handshake and an application ratchet.
    assert_eq!(tree.secret_bytes(), 3 * 32 + 2 * 32);
    tree.consume(LeafIndex(0), RatchetType::Application, 5, WINDOWS).unwrap();
    assert_eq!(tree.secret_bytes(), 5 * 32 + 4 * (16 + 12));
    tree.trim(Windows { forward: 0, back: 2 });
    assert_eq!(tree.secret_bytes(), 5 * 32 + 16 + 12);
    tree.delete_application(LeafIndex(0)).unwrap();
    assert_eq!(tree.secret_bytes(), 4 * 32);
}

#[test]
fn trimming_leaves_alone_what_has_nothing_to_lose() {
    let mut before = tree(4, HandshakeKeys::Consumed);
    before.consume(LeafIndex(0), RatchetType::Application, 9, WINDOWS).unwrap();
    before.consume(LeafIndex(1), RatchetType::Application, 0, WINDOWS).unwrap();
    let mut after = before.clone();
    after.trim(Windows { forward: 0, back: 3 });
    assert_eq!(after.changed_leaves(&before).map(|(leaf, _)| leaf.0).collect::<Vec<_>>(), [0]);
    assert_eq!(after.peek(LeafIndex(0), RatchetType::Application, 6, WINDOWS), Err(RatchetError::TooOld(6)));
    after.peek(LeafIndex(0), RatchetType::Application, 7, WINDOWS).unwrap();
}
