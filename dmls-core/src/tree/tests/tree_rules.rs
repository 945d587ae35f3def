//! One test a rule for whole trees: a tree that breaks it, and no other rule before it.

use std::sync::Arc;

use super::*;

/// A group of seven with filled, blank and partly merged parents.
fn group() -> (World, Vec<Option<Node>>) {
    let mut rng = rng(1);
    let mut world = World::of(8, &mut rng);
    world.commit(LeafIndex(0), 0, &[LeafIndex(5), LeafIndex(6)], &mut rng);
    // Leaf 5 comes back, unmerged at what is still filled above it.
    world.commit(LeafIndex(7), 0, &[], &mut rng);
    world.commit(LeafIndex(4), 0, &[], &mut rng);
    let committed = world.commit(LeafIndex(0), 1, &[], &mut rng);
    assert_eq!(committed.added, BTreeSet::from([LeafIndex(5)]));
    let nodes = world.tree.to_nodes();
    assert_eq!(unmerged(&nodes, 11), vec![LeafIndex(5)]);
    (world, nodes)
}

fn unmerged(nodes: &[Option<Node>], node: usize) -> Vec<LeafIndex> {
    match &nodes[node] {
        Some(Node::Parent(parent)) => parent.unmerged_leaves.clone(),
        other => panic!("node {node} is {other:?}"),
    }
}

fn parent(nodes: &mut [Option<Node>], node: usize) -> &mut ParentNode {
    match &mut nodes[node] {
        Some(Node::Parent(parent)) => Arc::make_mut(parent),
        other => panic!("node {node} is {other:?}"),
    }
}

fn leaf(nodes: &mut [Option<Node>], leaf: usize) -> &mut LeafNode {
    match &mut nodes[2 * leaf] {
        Some(Node::Leaf(leaf)) => Arc::make_mut(leaf),
        other => panic!("leaf {leaf} is {other:?}"),
    }
}

/// The verdict on the group's tree with a change.
fn judge(change: impl FnOnce(&mut Vec<Option<Node>>)) -> Result<(), TreeError> {
    let (_, mut nodes) = group();
    change(&mut nodes);
    RatchetTree::from_nodes(suite(), nodes).unwrap().validate(&rules())
}

#[test]
fn a_right_tree_passes() {
    assert_eq!(judge(|_| {}), Ok(()));
}

#[test]
fn unmerged_leaves_are_in_order() {
    // Node 11 covers leaves 4 to 7, node 9 leaves 4 and 5.
    for (list, order) in [(vec![5, 4], false), (vec![5, 5], false), (vec![4, 5], true)] {
        let list: Vec<_> = list.into_iter().map(LeafIndex).collect();
        let verdict = judge(|nodes| {
            parent(nodes, 11).unmerged_leaves = list.clone();
            nodes[9] = None;
        });
        assert_eq!(verdict == Err(TreeError::UnmergedOrder(NodeIndex(11))), !order, "{list:?}: {verdict:?}");
    }
}

#[test]
fn unmerged_leaves_are_below() {
    for elsewhere in [3, 8, u32::MAX].map(LeafIndex) {
        let verdict = judge(|nodes| {
            let list = &mut parent(nodes, 11).unmerged_leaves;
            list.push(elsewhere);
            list.sort();
        });
        assert_eq!(verdict, Err(TreeError::UnmergedElsewhere { node: NodeIndex(11), leaf: elsewhere }));
    }
}

#[test]
fn unmerged_leaves_are_filled() {
    let verdict = judge(|nodes| parent(nodes, 11).unmerged_leaves.push(LeafIndex(6)));
    assert_eq!(verdict, Err(TreeError::UnmergedBlank { node: NodeIndex(11), leaf: LeafIndex(6) }));
}

#[test]
fn unmerged_leaves_are_listed_all_the_way() {
    let (_, nodes) = group();
    let between = [9, 13].into_iter().find(|node| nodes[*node].is_some());
    let verdict = |node: usize, own: u32| {
        judge(|nodes| {
            // A parent in between that is filled and lists nobody.
            let filled = ParentNode {
                encryption_key: suite().hpke().derive_key_pair(&secret(1)).1,
                parent_hash: Bytes::default(),
                unmerged_leaves: vec![],
            };
            nodes[node] = Some(Node::Parent(filled.into()));
            parent(nodes, 11).unmerged_leaves = vec![LeafIndex(own)];
        })
    };
    assert_eq!(between, None, "the tests below would not fill a blank");
    let missing = TreeError::UnmergedMissing { node: NodeIndex(9), leaf: LeafIndex(5) };
    assert_eq!(verdict(9, 5), Err(missing));
    // A node beside the way need not list it: then it is the parent hash that is missed.
    assert_eq!(verdict(13, 5), Err(TreeError::ParentHash(NodeIndex(7))));
}

#[test]
fn encryption_keys_are_unique() {
    for (from, to) in [(0, 1), (2, 3), (3, 11), (8, 14)] {
        let (_, nodes) = group();
        let key = match nodes[from].as_ref().unwrap() {
            Node::Leaf(leaf) => leaf.encryption_key.clone(),
            Node::Parent(parent) => parent.encryption_key.clone(),
        };
        let verdict = judge(|nodes| match nodes[to].as_mut().unwrap() {
            Node::Leaf(leaf) => Arc::make_mut(leaf).encryption_key = key,
            Node::Parent(parent) => Arc::make_mut(parent).encryption_key = key,
        });
        let [from, to] =
            [from, to].map(|node| Err(TreeError::DuplicateEncryptionKey(NodeIndex(node as u32))));
        assert!(verdict == from || verdict == to, "{verdict:?}");
    }
}

#[test]
fn signature_keys_are_unique() {
    let verdict = judge(|nodes| {
        let key = leaf(nodes, 1).signature_key.clone();
        leaf(nodes, 4).signature_key = key;
    });
    assert_eq!(verdict, Err(TreeError::DuplicateSignatureKey(LeafIndex(4))));
}

#[test]
fn credential_types_are_supported_by_all() {
    let x509 = Credential::X509 { certificates: vec![] };
    let verdict = judge(|nodes| leaf(nodes, 4).credential = x509.clone());
    let error = LeafNodeError::MemberCredentialUnsupported {
        member: LeafIndex(4),
        credential_type: CredentialType::X509,
    };
    assert_eq!(verdict, Err(TreeError::Leaf { index: LeafIndex(0), error }));
    let verdict = judge(|nodes| {
        for index in [0, 1, 2, 3, 4, 5, 7] {
            leaf(nodes, index).capabilities.credentials.push(CredentialType::X509);
        }
        leaf(nodes, 4).credential = x509;
        leaf(nodes, 4).capabilities.credentials = vec![CredentialType::BASIC];
    });
    let error = LeafNodeError::CredentialNotListed(CredentialType::X509);
    assert_eq!(verdict, Err(TreeError::Leaf { index: LeafIndex(4), error }));
}

#[test]
fn parent_keys_are_keys() {
    let verdict = judge(|nodes| parent(nodes, 3).encryption_key = vec![1; 33].into());
    assert_eq!(verdict, Err(TreeError::BadEncryptionKey(NodeIndex(3))));
}

#[test]
fn parents_are_bound_to_leaves() {
    let (_, nodes) = group();
    let filled: Vec<_> = (1..15).step_by(2).filter(|node| nodes[*node].is_some()).collect();
    assert_eq!(filled, [1, 3, 5, 7, 11]);
    let other = suite().hpke().derive_key_pair(&secret(1)).1;
    // The path of leaf 0 is the newest: what stands beside it is covered by the hash of the node above.
    for (node, broken) in [(1, 1), (3, 3), (5, 3), (7, 7), (11, 7)] {
        let verdict = judge(|nodes| parent(nodes, node).encryption_key = other.clone());
        assert_eq!(verdict, Err(TreeError::ParentHash(NodeIndex(broken))));
    }
    // A node below that carries another hash, here of a leaf and of a parent.
    let verdict = judge(|nodes| leaf(nodes, 0).source = LeafNodeSource::Update);
    assert_eq!(verdict, Err(TreeError::ParentHash(NodeIndex(1))));
    let verdict = judge(|nodes| parent(nodes, 3).parent_hash = vec![0; 32].into());
    assert_eq!(verdict, Err(TreeError::ParentHash(NodeIndex(7))));
    // A member taken out from beside a path changes the sibling's hash.
    let verdict = judge(|nodes| nodes[8] = None);
    assert_eq!(verdict, Err(TreeError::ParentHash(NodeIndex(7))));
    // An unmerged leaf that is not said to be unmerged.
    let verdict = judge(|nodes| parent(nodes, 11).unmerged_leaves.clear());
    assert_eq!(verdict, Err(TreeError::ParentHash(NodeIndex(7))));
}

#[test]
fn leaves_obey_their_rules() {
    let (world, _) = group();
    let expired = LeafRules { now_seconds: Some(LIFETIME.not_after + 1), ..rules() };
    let error = TreeError::Leaf { index: LeafIndex(5), error: LeafNodeError::Expired };
    // Leaf 5 is the only one that has not committed since it joined.
    assert_eq!(world.tree.validate(&expired), Err(error));
    assert_eq!(world.tree.validate(&LeafRules { now_seconds: None, ..rules() }), Ok(()));
    let elsewhere = LeafRules { group_id: b"another", ..rules() };
    assert!(matches!(
        world.tree.validate(&elsewhere),
        Err(TreeError::Leaf { index: LeafIndex(0), error: LeafNodeError::Signature(_) })
    ));
    let mut required = Extensions::default();
    required.set(ExtensionType(0xfd77), Bytes::default());
    let under = LeafRules { group_extensions: &required, ..rules() };
    let error = LeafNodeError::GroupExtensionUnsupported(ExtensionType(0xfd77));
    assert_eq!(world.tree.verify_leaves(&under), Err(TreeError::Leaf { index: LeafIndex(0), error }));
}
