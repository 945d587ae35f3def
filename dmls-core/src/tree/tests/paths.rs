//! TreeKEM among members that only know what they are sent.

use super::*;
use crate::suite::CryptoError;

#[test]
fn members_agree_through_random_commits_in_every_suite() {
    for (seed, id) in (0..).zip(CipherSuite::supported()) {
        let (_seed, mut rng) = (Seed(seed), rng(seed));
        let mut world = World::new(id.suite().unwrap(), &mut rng);
        for _ in 0..25 {
            let present: Vec<_> = world.members.keys().copied().collect();
            let committer = present[rng.below(present.len())];
            let removes: Vec<_> =
                present.into_iter().filter(|index| *index != committer && rng.below(8) == 0).collect();
            let adds = if world.members.len() > 12 { 0 } else { rng.below(4) };
            world.commit(committer, adds, &removes, &mut rng);
        }
        assert!(world.members.len() > 1);
    }
}

#[test]
fn a_lone_member_has_a_path_that_nobody_can_derive() {
    let mut rng = rng(1);
    let mut world = World::new(suite(), &mut rng);
    let first = world.commit(LeafIndex(0), 0, &[], &mut rng);
    let second = world.commit(LeafIndex(0), 0, &[], &mut rng);
    for committed in [&first, &second] {
        assert!(committed.path.nodes.is_empty() && committed.draft.path_secrets.is_empty());
        assert_eq!(committed.draft.last_path_secret, None);
        assert_eq!(committed.draft.commit_secret.len(), suite().nh());
        assert_eq!(committed.path.leaf_node.parent_hash(), Some(&Bytes::default()));
    }
    assert_ne!(first.draft.commit_secret, second.draft.commit_secret);
}

#[test]
fn path_secrets_are_chained_as_the_rfc_says() {
    let mut rng = rng(2);
    let mut world = World::of(8, &mut rng);
    let draft = world.commit(LeafIndex(3), 0, &[], &mut rng).draft;
    assert_eq!(draft.path_secrets.len(), 3);
    for pair in draft.path_secrets.windows(2) {
        assert_eq!(suite().derive_secret(&pair[0].1, "path").unwrap(), pair[1].1);
    }
    let (root, last) = draft.path_secrets.last().unwrap();
    assert_eq!((*root, Some(last)), (draft.tree.root_index(), draft.last_path_secret.as_ref()));
    assert_eq!(suite().derive_secret(last, "path").unwrap(), draft.commit_secret);
    for (node, path_secret) in &draft.path_secrets {
        let node_secret = suite().derive_secret(path_secret, "node").unwrap();
        let (_, public) = suite().hpke().derive_key_pair(&node_secret);
        assert_eq!(draft.tree.encryption_key(*node), Some(&public));
    }
}

#[test]
fn newly_added_members_get_no_ciphertext() {
    let mut rng = rng(3);
    let mut world = World::of(4, &mut rng);
    let committed = world.commit(LeafIndex(0), 4, &[], &mut rng);
    let root = committed.path.nodes.last().unwrap();
    // The right half is all new: its node is in the path, for them to be told in their Welcomes.
    assert_eq!(committed.path.nodes.len(), 3);
    assert!(root.encrypted_path_secret.is_empty());
    let newcomer = &world.members[&LeafIndex(5)];
    let opened = committed.before.decrypt_path(
        LeafIndex(0),
        LeafIndex(5),
        &committed.path,
        &committed.added,
        &committed.context,
        &newcomer.lookup(),
    );
    assert_eq!(opened.unwrap_err(), TreeError::NoPrivateKey(LeafIndex(5)));
}

#[test]
fn an_external_joiner_takes_the_leftmost_blank_leaf_with_a_path() {
    for size in [1, 3, 4, 6] {
        let mut rng = rng(4);
        let world = World::of(size, &mut rng);
        let (joiner, _) = Member::new(suite(), &mut rng);
        let (tree, index) = world.tree.with_blank_leaf().unwrap();
        assert_eq!(index.0 as usize, size);
        let from = PathSender::NewMember(index);
        let draft = tree.draw_path(from, &joiner.template, &joiner.signer, GROUP, &mut rng).unwrap();
        let path = draft.encrypt(&BTreeSet::new(), b"context", &mut rng).unwrap();
        let after = tree.apply_path(from, &path, &BTreeSet::new(), &rules()).unwrap();
        after.validate(&rules()).unwrap();
        assert_eq!(after.tree_hash(), draft.tree.tree_hash());
        for (own, member) in &world.members {
            let opened = tree
                .decrypt_path(index, *own, &path, &BTreeSet::new(), b"context", &member.lookup())
                .unwrap();
            assert_eq!(opened.commit_secret, draft.commit_secret);
        }
        let as_member = tree.apply_path(PathSender::Member(index), &path, &BTreeSet::new(), &rules());
        assert_eq!(as_member.unwrap_err(), TreeError::NoLeaf(index));
        let taken = PathSender::NewMember(LeafIndex(0));
        let refused = tree.apply_path(taken, &path, &BTreeSet::new(), &rules()).unwrap_err();
        assert_eq!(refused, TreeError::LeafTaken(LeafIndex(0)));
        let outside = PathSender::NewMember(LeafIndex(1 << 20));
        let refused = tree.apply_path(outside, &path, &BTreeSet::new(), &rules()).unwrap_err();
        assert_eq!(refused, TreeError::NoLeaf(LeafIndex(1 << 20)));
    }
}

#[test]
fn the_last_member_can_be_replaced_from_outside() {
    let mut rng = rng(5);
    let world = World::new(suite(), &mut rng);
    let (tree, index) = world.tree.remove_leaf(LeafIndex(0)).unwrap().with_blank_leaf().unwrap();
    assert_eq!((tree.member_count(), tree.width(), index), (0, 1, LeafIndex(0)));
    let (joiner, _) = Member::new(suite(), &mut rng);
    let draft = tree
        .draw_path(PathSender::NewMember(index), &joiner.template, &joiner.signer, GROUP, &mut rng)
        .unwrap();
    draft.tree.validate(&rules()).unwrap();
    assert_eq!(draft.last_path_secret, None);
}

/// A group of 7 and a commit of leaf 2 in it, as its receivers see it.
fn received() -> (World, Committed, TestRng) {
    let mut rng = rng(6);
    let mut world = World::of(7, &mut rng);
    let keys: Vec<_> = world.members.values().map(|member| member.keys.clone()).collect();
    let committed = world.commit(LeafIndex(2), 0, &[], &mut rng);
    for (member, keys) in world.members.values_mut().zip(keys) {
        member.keys = keys;
    }
    (world, committed, rng)
}

impl Committed {
    fn open(
        &self,
        own: u32,
        path: &UpdatePath,
        context: &[u8],
        keys: &PrivateKeys,
    ) -> Result<DerivedPath, TreeError> {
        let lookup = |key: &HpkePublicKey| keys.get(key).map(|key| (**key).clone());
        self.before.decrypt_path(LeafIndex(2), LeafIndex(own), path, &self.added, context, &lookup)
    }

    fn apply(&self, path: &UpdatePath) -> Result<RatchetTree, TreeError> {
        self.before.apply_path(PathSender::Member(LeafIndex(2)), path, &self.added, &rules())
    }
}

#[test]
fn a_path_opens_only_with_its_context_keys_and_place() {
    let (world, committed, _) = received();
    let (path, context) = (&committed.path, &committed.context);
    for (index, member) in world.members.iter().filter(|(index, _)| index.0 != 2) {
        let opened = committed.open(index.0, path, context, &member.keys).unwrap();
        assert_eq!(opened.commit_secret, committed.draft.commit_secret);
        let refused = committed.open(index.0, path, b"another context", &member.keys).unwrap_err();
        assert_eq!(refused, TreeError::Crypto(CryptoError::Decryption));
        let refused = committed.open(index.0, path, context, &PrivateKeys::default()).unwrap_err();
        assert_eq!(refused, TreeError::NoPrivateKey(*index));
    }
    let own = &world.members[&LeafIndex(2)].keys;
    assert_eq!(committed.open(2, path, context, own).unwrap_err(), TreeError::NotBelowPath(LeafIndex(2)));
    for absent in [7, 8, u32::MAX] {
        let refused = committed.open(absent, path, context, own).unwrap_err();
        assert_eq!(refused, TreeError::NotBelowPath(LeafIndex(absent)));
    }
}

#[test]
fn a_path_secret_that_yields_other_keys_is_refused() {
    let (world, committed, mut rng) = received();
    // Leaf 0 shares the path's second node with the sender; what it is sent is for another path.
    let recipient = committed.before.resolution(NodeIndex(1));
    let key = committed.before.encryption_key(recipient[0]).unwrap();
    let mut path = committed.path.clone();
    for (sealed, error) in [
        (secret(1), TreeError::PathKeyMismatch(NodeIndex(3))),
        (vec![1; 31].into(), TreeError::Crypto(CryptoError::BadLength)),
        (vec![1; 33].into(), TreeError::Crypto(CryptoError::BadLength)),
    ] {
        let sealed = suite().encrypt_with_label(
            key,
            "UpdatePathNode",
            &committed.context,
            sealed.as_slice(),
            &mut rng,
        );
        path.nodes[1].encrypted_path_secret[0] = sealed.unwrap();
        // Nobody else notices: only its recipient can.
        assert!(committed.apply(&path).is_ok());
        let keys = &world.members[&LeafIndex(0)].keys;
        assert_eq!(committed.open(0, &path, &committed.context, keys).unwrap_err(), error);
    }
    // The right secret for the recipient's own node, under a path whose upper key is another.
    let mut path = committed.path.clone();
    path.nodes[2].encryption_key = suite().hpke().derive_key_pair(&secret(2)).1;
    let refused = committed.open(0, &path, &committed.context, &world.members[&LeafIndex(0)].keys);
    assert_eq!(refused.unwrap_err(), TreeError::PathKeyMismatch(committed.before.root_index()));
}

#[test]
fn a_path_of_the_wrong_shape_is_refused() {
    let (_, committed, _) = received();
    assert_eq!(committed.apply(&committed.path).unwrap().tree_hash(), committed.draft.tree.tree_hash());
    let with = |change: &dyn Fn(&mut UpdatePath)| {
        let mut path = committed.path.clone();
        change(&mut path);
        committed.apply(&path).unwrap_err()
    };
    let shorter = with(&|path| drop(path.nodes.pop()));
    assert_eq!(shorter, TreeError::PathLength { expected: 3, found: 2 });
    let longer = with(&|path| path.nodes.push(path.nodes[0].clone()));
    assert_eq!(longer, TreeError::PathLength { expected: 3, found: 4 });
    let fewer = with(&|path| drop(path.nodes[0].encrypted_path_secret.pop()));
    assert_eq!(fewer, TreeError::CiphertextCount { node: NodeIndex(5), expected: 1, found: 0 });
    let more = with(&|path| {
        let ciphertext = path.nodes[0].encrypted_path_secret[0].clone();
        path.nodes[0].encrypted_path_secret.push(ciphertext);
    });
    assert_eq!(more, TreeError::CiphertextCount { node: NodeIndex(5), expected: 1, found: 2 });
}

#[test]
fn a_path_with_keys_that_are_not_new_is_refused() {
    let (world, committed, mut rng) = received();
    let with_key = |place: usize, key: HpkePublicKey| {
        let mut path = committed.path.clone();
        path.nodes[place].encryption_key = key;
        committed.apply(&path).unwrap_err()
    };
    let elsewhere = committed.before.encryption_key(NodeIndex(12)).unwrap().clone();
    assert_eq!(with_key(1, elsewhere), TreeError::PathKeyReused(NodeIndex(3)));
    let replaced = committed.before.encryption_key(NodeIndex(3)).unwrap().clone();
    assert_eq!(with_key(1, replaced), TreeError::PathKeyReused(NodeIndex(3)));
    let twice = committed.path.nodes[0].encryption_key.clone();
    assert_eq!(with_key(2, twice), TreeError::PathKeyReused(committed.before.root_index()));
    let of_the_leaf = committed.path.leaf_node.encryption_key.clone();
    assert_eq!(with_key(0, of_the_leaf), TreeError::PathKeyReused(NodeIndex(5)));
    assert_eq!(with_key(0, vec![1; 31].into()), TreeError::BadEncryptionKey(NodeIndex(5)));
    // The sender's old leaf key, kept under a leaf that is otherwise right.
    let member = &world.members[&LeafIndex(2)];
    let old = committed.before.leaf(LeafIndex(2)).unwrap().encryption_key.clone();
    let position = LeafPosition { group_id: GROUP, leaf_index: LeafIndex(2) };
    let source = committed.path.leaf_node.source.clone();
    let mut path = committed.path.clone();
    path.leaf_node =
        member.template.sign(suite(), old, source.clone(), Some(position), &member.signer).unwrap();
    assert_eq!(committed.apply(&path).unwrap_err(), TreeError::PathKeyReused(NodeIndex(4)));
    // The same leaf with a new key is accepted.
    let (_, new) = suite().hpke().derive_key_pair(&suite().random_secret(&mut rng));
    path.leaf_node = member.template.sign(suite(), new, source, Some(position), &member.signer).unwrap();
    assert!(committed.apply(&path).is_ok());
}

#[test]
fn a_path_with_a_bad_leaf_is_refused() {
    let (world, committed, _) = received();
    let member = &world.members[&LeafIndex(2)];
    let key = committed.path.leaf_node.encryption_key.clone();
    let sign = |source, group_id, index| {
        let position = LeafPosition { group_id, leaf_index: LeafIndex(index) };
        let mut path = committed.path.clone();
        path.leaf_node =
            member.template.sign(suite(), key.clone(), source, Some(position), &member.signer).unwrap();
        committed.apply(&path)
    };
    let right = committed.path.leaf_node.source.clone();
    assert!(sign(right.clone(), GROUP, 2).is_ok());
    let other_hash = LeafNodeSource::Commit { parent_hash: vec![0; 32].into() };
    assert_eq!(sign(other_hash, GROUP, 2).unwrap_err(), TreeError::PathParentHash);
    let moved = LeafNodeError::Signature(CryptoError::BadSignature);
    let leaf_error = |error| TreeError::Leaf { index: LeafIndex(2), error };
    assert_eq!(sign(right.clone(), GROUP, 3).unwrap_err(), leaf_error(moved.clone()));
    assert_eq!(sign(right, b"another group", 2).unwrap_err(), leaf_error(moved));
    let update =
        LeafNodeError::WrongSource { expected: LeafSourceKind::Commit, found: LeafSourceKind::Update };
    assert_eq!(sign(LeafNodeSource::Update, GROUP, 2).unwrap_err(), leaf_error(update));
}

#[test]
fn a_joiner_takes_only_the_secret_of_its_own_place() {
    let mut rng = rng(7);
    let mut world = World::of(5, &mut rng);
    let committed = world.commit(LeafIndex(0), 1, &[], &mut rng);
    let joined = LeafIndex(5);
    let secret = path_secret_for(&committed.draft.path_secrets, joined).unwrap().clone();
    let derive =
        |own, sender, secret| world.tree.derive_from_path_secret(LeafIndex(own), LeafIndex(sender), secret);
    assert!(derive(5, 0, secret.clone()).is_ok());
    let root = world.tree.root_index();
    assert_eq!(derive(5, 0, super::secret(9)).unwrap_err(), TreeError::PathKeyMismatch(root));
    assert_eq!(derive(5, 4, secret.clone()).unwrap_err(), TreeError::PathKeyMismatch(NodeIndex(9)));
    assert_eq!(derive(5, 5, secret.clone()).unwrap_err(), TreeError::NotBelowPath(joined));
    assert_eq!(derive(5, 77, secret.clone()).unwrap_err(), TreeError::NotBelowPath(joined));
    assert_eq!(derive(77, 0, secret).unwrap_err(), TreeError::NotBelowPath(LeafIndex(77)));
    assert!(path_secret_for(&committed.draft.path_secrets, LeafIndex(77)).is_none());
}

#[test]
fn debug_output_holds_no_secret() {
    let (world, committed, _) = received();
    let opened =
        committed.open(0, &committed.path, &committed.context, &world.members[&LeafIndex(0)].keys).unwrap();
    let text = format!("{:?} {:?} {:?}", committed.draft, opened, world.members[&LeafIndex(0)].keys);
    let secrets =
        committed.draft.path_secrets.iter().map(|(_, secret)| secret).chain([&opened.commit_secret]);
    for secret in secrets {
        assert!(!text.contains(&format!("{:?}", Bytes::from(secret.as_slice()))));
    }
    // Public keys are there: the search would find what is printed.
    let (public, private) = &committed.draft.private_keys[0];
    assert!(text.contains(&format!("{:?}", public.0)));
    assert!(!text.contains(&format!("{:?}", Bytes::from(private.0.as_slice()))));
}
