//! Trees on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;

type Records = BTreeMap<Vec<u8>, StoredSubtree>;

fn load(records: &Records, tree: &RatchetTree, cache: &mut SubtreeCache) -> Result<RatchetTree, LoadError> {
    let mut fetch = |hash: &[u8]| records.get(hash).map(restored);
    RatchetTree::load(suite(), &tree.tree_hash().unwrap(), tree.width(), &mut fetch, cache)
}

/// Epochs of a random group that grows and shrinks, and their records, each stored once.
fn history(seed: u64, epochs: usize) -> (Vec<RatchetTree>, Records) {
    let mut rng = rng(seed);
    let (signer, _) = suite().signature().generate(&mut rng);
    let mut trees = vec![RatchetTree::new(suite(), mock_leaf(&mut rng))];
    let mut records: Records = BTreeMap::new();
    for epoch in 0..epochs {
        let last = trees.last().unwrap();
        let present: Vec<_> = last.leaves().map(|(index, _)| index).collect();
        let one = present[rng.below(present.len())];
        let next = match rng.below(4) {
            0 | 1 if epoch % 40 < 25 => last.add_leaf(mock_leaf(&mut rng)).unwrap().0,
            0 | 1 if present.len() > 1 => last.remove_leaf(one).unwrap(),
            _ => {
                last.draw_path(PathSender::Member(one), &template("x"), &signer, GROUP, &mut rng)
                    .unwrap()
                    .tree
            }
        };
        trees.push(next);
    }
    for pair in [None].into_iter().chain(trees.iter().map(Some)).zip(&trees) {
        for (hash, record) in pair.1.new_subtrees_since(pair.0).unwrap() {
            if let Some(old) = records.insert(hash.into_vec(), record.clone()) {
                assert_eq!(old, record, "one hash, two records");
            }
        }
    }
    (trees, records)
}

#[test]
fn stored_trees_come_back_and_share() {
    for seed in 0..5 {
        let _seed = Seed(seed);
        let (trees, records) = history(seed, 120);
        let mut cache = SubtreeCache::default();
        let loaded: Vec<_> = trees.iter().map(|tree| load(&records, tree, &mut cache).unwrap()).collect();
        assert_eq!(cache.len(), records.len());
        let mut shared = 0;
        for (tree, again) in trees.iter().zip(&loaded) {
            assert_eq!(again.to_nodes(), tree.to_nodes());
            assert_eq!(again.tree_hash(), tree.tree_hash());
            assert_eq!((again.width(), again.member_count()), (tree.width(), tree.member_count()));
        }
        for (trees, loaded) in trees.windows(2).zip(loaded.windows(2)) {
            for node in (0..2 * trees[1].width() - 1).map(NodeIndex) {
                let common = |pair: &[RatchetTree]| {
                    Some((pair[0].subtree(node)?.clone(), pair[1].subtree(node)?.clone()))
                };
                let (Some((old, new)), Some(again)) = (common(trees), common(loaded)) else { continue };
                if Arc::ptr_eq(&old, &new) && !new.is_blank() {
                    assert!(Arc::ptr_eq(&again.0, &again.1), "node {node} is there twice");
                    shared += 1;
                }
            }
        }
        assert!(shared > 0);
        // Loaded trees are as good as others to store against.
        assert_eq!(loaded[9].new_subtrees_since(Some(&trees[9])).unwrap(), vec![]);
        let hashes: Vec<_> = loaded[9].subtree_hashes().unwrap();
        let without: Records = records
            .iter()
            .filter(|(hash, _)| hashes.iter().any(|h| h.as_slice() == **hash))
            .map(|(h, r)| (h.clone(), r.clone()))
            .collect();
        assert_eq!(without.len(), hashes.len());
        assert!(load(&without, &trees[9], &mut SubtreeCache::default()).is_ok());
    }
}

#[test]
fn each_record_is_needed_and_verified() {
    let mut rng = rng(7);
    let mut tree = RatchetTree::new(suite(), mock_leaf(&mut rng));
    for _ in 0..5 {
        tree = tree.add_leaf(mock_leaf(&mut rng)).unwrap().0;
    }
    let (signer, _) = suite().signature().generate(&mut rng);
    tree = tree
        .draw_path(PathSender::Member(LeafIndex(1)), &template("x"), &signer, GROUP, &mut rng)
        .unwrap()
        .tree;
    let records: Records = tree
        .new_subtrees_since(None)
        .unwrap()
        .into_iter()
        .map(|(hash, record)| (hash.into_vec(), record))
        .collect();
    // Six leaves, and above them 3 + 2 + 1 nodes.
    assert_eq!(records.len(), 12);
    assert!(load(&records, &tree, &mut SubtreeCache::default()).is_ok());
    for hash in records.keys() {
        let mut missing = records.clone();
        missing.remove(hash);
        let error = load(&missing, &tree, &mut SubtreeCache::default()).unwrap_err();
        assert_eq!(error, LoadError::Missing(hash.as_slice().into()));
        let mut damaged = records.clone();
        match damaged.get_mut(hash).unwrap() {
            StoredSubtree::Leaf { leaf, .. } => Arc::make_mut(leaf).signature = vec![1].into(),
            StoredSubtree::Parent { node: Some(node), .. } => {
                Arc::make_mut(node).parent_hash = vec![1].into()
            }
            StoredSubtree::Parent { node, .. } => {
                *node = Some(Arc::new(tree.parents().next().unwrap().1.clone()));
            }
        }
        let mut cache = SubtreeCache::default();
        let error = load(&damaged, &tree, &mut cache).unwrap_err();
        assert_eq!(error, LoadError::Damaged(hash.as_slice().into()));
        // Nothing damaged is kept: the next load with the same cache is whole.
        assert_eq!(load(&records, &tree, &mut cache).unwrap().to_nodes(), tree.to_nodes());
    }
}

#[test]
fn a_record_in_another_place_is_refused() {
    let mut rng = rng(8);
    let mut tree = RatchetTree::new(suite(), mock_leaf(&mut rng));
    for _ in 0..4 {
        tree = tree.add_leaf(mock_leaf(&mut rng)).unwrap().0;
    }
    let records: Records = tree
        .new_subtrees_since(None)
        .unwrap()
        .into_iter()
        .map(|(hash, record)| (hash.into_vec(), record))
        .collect();
    let root = tree.tree_hash().unwrap();
    for width in [0, 3, MAX_WIDTH + 1, 1 << 31] {
        let error = RatchetTree::load(suite(), &root, width, &mut |_| None, &mut SubtreeCache::default());
        assert_eq!(error.unwrap_err(), LoadError::BadWidth(width));
    }
    // Of another width the tree would be another, and a huge one must not cost memory.
    for width in [1, 2, 4, 16, MAX_WIDTH] {
        for warm in [false, true] {
            let mut cache = SubtreeCache::default();
            if warm {
                load(&records, &tree, &mut cache).unwrap();
            }
            let mut fetch = |hash: &[u8]| records.get(hash).cloned();
            let error = RatchetTree::load(suite(), &root, width, &mut fetch, &mut cache).unwrap_err();
            assert!(matches!(error, LoadError::WrongPlace(_)), "width {width}: {error}");
        }
    }
    // A tree that should have been truncated has a hash, but is no tree of a group.
    let right = subtree::Subtree::blank(NodeIndex::root(16).right().unwrap());
    let wide = RatchetTree {
        suite: suite(),
        root: subtree::Subtree::parent(None, tree.root.clone(), right),
        width: 16,
    };
    let mut records = records;
    records.extend(
        wide.new_subtrees_since(None).unwrap().into_iter().map(|(hash, record)| (hash.into_vec(), record)),
    );
    let error = load(&records, &wide, &mut SubtreeCache::default()).unwrap_err();
    assert_eq!(error, LoadError::WrongPlace(wide.root_index()));
}
