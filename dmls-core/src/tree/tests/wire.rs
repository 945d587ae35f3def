//! Encodings, and what hostile ones do.

use super::*;
use crate::codec::{CodecError, decode, encode};

#[test]
fn grease_values_are_those_of_the_rfc() {
    let found: Vec<_> = (0..=u16::MAX).filter(|value| is_grease(*value)).collect();
    let expected: Vec<_> = (0..15u16).map(|i| 0x0a0a + 0x1010 * i).collect();
    assert_eq!(found, expected);
    assert!(ExtensionType(0x5a5a).is_grease() && !ExtensionType::DMLS_PROFILE.is_grease());
}

#[test]
fn unknown_credentials_and_sources_are_errors() {
    let basic = encode(&Credential::basic("x")).unwrap();
    assert_eq!(basic, [0, 1, 1, b'x']);
    assert_eq!(decode::<Credential>(&basic), Ok(Credential::basic("x")));
    let chain = Credential::X509 { certificates: vec![vec![7].into(), vec![8, 9].into()] };
    assert_eq!(encode(&chain).unwrap(), [0, 2, 5, 1, 7, 2, 8, 9]);
    assert_eq!(decode::<Credential>(&[0, 3, 1, b'x']), Err(CodecError::UnknownVariant(3)));
    assert_eq!(decode::<LeafNodeSource>(&[0]), Err(CodecError::UnknownVariant(0)));
    assert_eq!(decode::<LeafNodeSource>(&[2]), Ok(LeafNodeSource::Update));
    assert_eq!(encode(&LeafNodeSource::KeyPackage(LIFETIME)).unwrap().len(), 17);
}

#[test]
fn extensions_are_found_set_and_told_apart() {
    let mut extensions = Extensions::default();
    extensions.set(ExtensionType::DMLS_EPOCH, vec![1].into());
    extensions.set(ExtensionType(0x0a0a), vec![2].into());
    extensions.set(ExtensionType::DMLS_EPOCH, vec![3].into());
    assert_eq!(extensions.types().collect::<Vec<_>>(), [ExtensionType(0xfd02), ExtensionType(0x0a0a)]);
    assert_eq!(extensions.get(ExtensionType::DMLS_EPOCH), Some(&vec![3].into()));
    assert_eq!((extensions.get(ExtensionType(9)), extensions.duplicate()), (None, None));
    extensions.0.push(extensions.0[0].clone());
    assert_eq!(extensions.duplicate(), Some(ExtensionType::DMLS_EPOCH));
    assert_eq!(decode::<Extensions>(&encode(&extensions).unwrap()), Ok(extensions));
    let sender = ExternalSender { signature_key: vec![1].into(), credential: Credential::basic("x") };
    let mut extensions = Extensions::default();
    assert_eq!(extensions.external_senders(), Ok(vec![]));
    extensions.set(ExtensionType::EXTERNAL_SENDERS, encode(&vec![sender.clone()]).unwrap().into());
    assert_eq!(extensions.external_senders(), Ok(vec![sender]));
    extensions.set(ExtensionType::EXTERNAL_SENDERS, vec![1].into());
    assert_eq!(extensions.external_senders(), Err(CodecError::Truncated));
}

fn nodes(encoded: &[Option<Node>]) -> Result<Vec<Option<Node>>, NodesError> {
    RatchetTreeExtension::decode_nodes(&encode(&encoded.to_vec()).unwrap())
}

#[test]
fn ratchet_trees_have_one_encoding() {
    let mut rng = rng(1);
    let leaf = || Some(Node::Leaf(mock_leaf(&mut super::rng(1)).into()));
    let parent = || {
        let (encryption_key, parent_hash) = (vec![1].into(), Bytes::default());
        Some(Node::Parent(ParentNode { encryption_key, parent_hash, unmerged_leaves: vec![] }.into()))
    };
    assert_eq!(nodes(&[]), Err(NodesError::Empty));
    assert_eq!(nodes(&[None]), Err(NodesError::TrailingBlank));
    assert_eq!(nodes(&[leaf(), None]), Err(NodesError::TrailingBlank));
    assert_eq!(nodes(&[parent()]), Err(NodesError::WrongType(NodeIndex(0))));
    assert_eq!(nodes(&[leaf(), leaf()]), Err(NodesError::WrongType(NodeIndex(1))));
    assert_eq!(nodes(&[leaf()]), Ok(vec![leaf()]));
    assert_eq!(nodes(&[leaf(), parent()]).unwrap().len(), 3);
    assert_eq!(nodes(&[leaf(), None, leaf()]).unwrap().len(), 3);
    let padded = nodes(&[leaf(), None, None, None, leaf()]).unwrap();
    assert_eq!((padded.len(), padded[5].is_none()), (7, true));
    // A tree that reaches further than its members do.
    let wide = RatchetTree::from_nodes(suite(), vec![leaf(), parent()]);
    assert_eq!(wide.unwrap_err(), NodesError::NotTruncated);
    let wide = RatchetTree::from_nodes(suite(), vec![leaf(), None, leaf(), parent()]);
    assert_eq!(wide.unwrap_err(), NodesError::NotTruncated);
    let empty = RatchetTree::from_nodes(suite(), vec![None, None]);
    assert_eq!(empty.unwrap_err(), NodesError::Empty);
    assert_eq!(
        RatchetTreeExtension::decode_nodes(&[2, 0, 2]),
        Err(NodesError::Codec(CodecError::Malformed(
            decode::<Option<u8>>(&[2])
                .unwrap_err()
                .to_string()
                .replace("The input is malformed: ", "")
                .trim_end_matches('.')
                .into(),
        )))
    );
    assert!(RatchetTreeExtension::decode_nodes(&[1, 0, 0]).is_err());
    let tree = RatchetTree::new(suite(), mock_leaf(&mut rng)).add_leaf(mock_leaf(&mut rng)).unwrap().0;
    let data = tree.to_extension().encode().unwrap();
    assert_eq!(RatchetTree::from_extension(suite(), &data).unwrap().to_nodes(), tree.to_nodes());
}

/// Whatever decodes is a tree that can be worked with, though perhaps not one to join.
fn exercise(tree: &RatchetTree, path: &UpdatePath, rng: &mut TestRng) -> bool {
    let valid = tree.validate(&rules()).is_ok();
    tree.tree_hash().unwrap();
    let records = tree.new_subtrees_since(None).unwrap();
    assert!(records.len() < tree.to_nodes().len() + 1);
    for node in 0..2 * tree.width() {
        tree.resolution(NodeIndex(node));
    }
    for index in (0..=tree.width()).chain([u32::MAX]).map(LeafIndex) {
        tree.filtered_direct_path(index);
        let sender = PathSender::Member(index);
        let applied = tree.apply_path(sender, path, &BTreeSet::new(), &rules());
        assert!(applied.is_err() || tree.leaf(index).is_some());
        let _ = tree.decrypt_path(index, LeafIndex(1), path, &BTreeSet::new(), b"", &|_| {
            Some(HpkePrivateKey(secret(1)))
        });
        let _ = tree.derive_from_path_secret(index, LeafIndex(0), secret(1));
        if tree.leaf(index).is_some() {
            tree.remove_leaf(index).unwrap();
        }
    }
    let (after, index) = tree.add_leaf(mock_leaf(rng)).unwrap();
    assert!(after.leaf(index).is_some());
    let (signer, _) = suite().signature().generate(rng);
    let draft = after.draw_path(PathSender::Member(index), &template("x"), &signer, GROUP, rng).unwrap();
    let _ = draft.encrypt(&BTreeSet::new(), b"", rng);
    valid
}

#[test]
fn hostile_trees_never_panic() {
    let mut setup = rng(1);
    let mut world = World::of(6, &mut setup);
    let committed = world.commit(LeafIndex(1), 1, &[LeafIndex(4)], &mut setup);
    let data = world.tree.to_extension().encode().unwrap();
    let path = encode(&committed.path).unwrap();
    assert!(exercise(&world.tree, &committed.path, &mut setup));
    let (mut decoded, mut valid) = (0, 0);
    for seed in 0..400 {
        let (_seed, mut rng) = (Seed(seed), rng(seed));
        let mut flipped = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            for _ in 0..=rng.below(3) {
                let place = rng.below(bytes.len());
                // Often a value that is likely to be in range of something.
                bytes[place] =
                    [rng.below(256), rng.below(8), usize::from(bytes[place]) ^ 1][rng.below(3)] as u8;
            }
            bytes
        };
        let (tree, path) = (flipped(&data), flipped(&path));
        let path = decode::<UpdatePath>(&path).unwrap_or_else(|_| committed.path.clone());
        let cut = rng.below(tree.len());
        assert!(RatchetTree::from_extension(suite(), &tree[..cut]).is_err());
        if let Ok(tree) = RatchetTree::from_extension(suite(), &tree) {
            decoded += 1;
            valid += usize::from(exercise(&tree, &path, &mut rng));
        }
    }
    println!("{decoded} of 400 decoded, {valid} of them valid");
    assert!(decoded > 100 && valid < decoded / 10);
}

#[test]
fn random_nodes_never_panic() {
    for seed in 0..300 {
        let (_seed, mut rng) = (Seed(seed), rng(seed));
        let committed = UpdatePath { leaf_node: mock_leaf(&mut rng), nodes: vec![] };
        let nodes = (0..1 + rng.below(20)).map(|place| match rng.below(3) {
            0 => None,
            _ if place % 2 == 0 => Some(Node::Leaf(mock_leaf(&mut rng).into())),
            _ => {
                let unmerged_leaves = (0..rng.below(4)).map(|_| LeafIndex(rng.below(12) as u32)).collect();
                let (encryption_key, parent_hash) = (rng.block().to_vec().into(), Bytes::default());
                Some(Node::Parent(ParentNode { encryption_key, parent_hash, unmerged_leaves }.into()))
            }
        });
        if let Ok(tree) = RatchetTree::from_nodes(suite(), nodes.collect()) {
            exercise(&tree, &committed, &mut rng);
        }
    }
}

#[test]
fn indices_out_of_range_have_no_relatives() {
    let far = LeafIndex(u32::MAX);
    assert_eq!((far.direct_path(8), far.copath(8)), (vec![], vec![]));
    assert!(!far.node().is_leaf() && !far.node().is_in(MAX_WIDTH));
    assert_eq!(NodeIndex(15).parent(8), None);
    assert_eq!(NodeIndex(7).parent(8), None);
    assert_eq!(NodeIndex(7).leaf_range(), (LeafIndex(0), LeafIndex(7)));
    assert_eq!(NodeIndex(u32::MAX).left().map(|node| node.level()), Some(31));
    for node in [u32::MAX, u32::MAX - 1, 1 << 31].map(NodeIndex) {
        let _ =
            (node.left(), node.right(), node.parent(MAX_WIDTH), node.sibling(MAX_WIDTH), node.leaf_range());
    }
    assert_eq!(LeafIndex(5).direct_path(8), [9, 11, 7].map(NodeIndex));
    assert_eq!(LeafIndex(5).copath(8), [8, 13, 3].map(NodeIndex));
}
