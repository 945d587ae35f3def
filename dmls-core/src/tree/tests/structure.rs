//! The persistent tree against a plain array, and what its operations cost.

use std::sync::Arc;

use super::*;
use crate::codec::{Serialize, encode};

/// RFC 9420's tree as an array, with every hash computed anew.
#[derive(Clone)]
struct Array(Vec<Option<Node>>);

impl Array {
    fn width(&self) -> u32 {
        u32::try_from(self.0.len().div_ceil(2)).unwrap()
    }

    fn at(&mut self, node: NodeIndex) -> &mut Option<Node> {
        &mut self.0[node.0 as usize]
    }

    fn add(&mut self, leaf: LeafNode) -> LeafIndex {
        let free = (0..self.width()).find(|leaf| self.0[2 * *leaf as usize].is_none());
        let index = LeafIndex(free.unwrap_or_else(|| {
            let width = self.width();
            self.0.resize(self.0.len() * 2 + 1, None);
            width
        }));
        *self.at(index.node()) = Some(Node::Leaf(leaf.into()));
        for node in index.direct_path(self.width()) {
            if let Some(Node::Parent(parent)) = self.at(node) {
                let mut changed = ParentNode::clone(parent);
                changed.unmerged_leaves.push(index);
                changed.unmerged_leaves.sort();
                *parent = changed.into();
            }
        }
        index
    }

    fn blank_path(&mut self, index: LeafIndex) {
        for node in index.direct_path(self.width()) {
            *self.at(node) = None;
        }
    }

    fn update(&mut self, index: LeafIndex, leaf: LeafNode) {
        *self.at(index.node()) = Some(Node::Leaf(leaf.into()));
        self.blank_path(index);
    }

    fn remove(&mut self, index: LeafIndex) {
        *self.at(index.node()) = None;
        self.blank_path(index);
        while self.0.len() > 1 && self.0[self.0.len() / 2 + 1..].iter().all(Option::is_none) {
            self.0.truncate(self.0.len() / 2);
        }
    }

    fn resolution(&self, node: NodeIndex) -> Vec<NodeIndex> {
        match (&self.0[node.0 as usize], node.left(), node.right()) {
            (Some(Node::Leaf(_)), ..) => vec![node],
            (Some(Node::Parent(parent)), ..) => {
                [node].into_iter().chain(parent.unmerged_leaves.iter().map(|leaf| leaf.node())).collect()
            }
            (None, Some(left), Some(right)) => [self.resolution(left), self.resolution(right)].concat(),
            (None, ..) => Vec::new(),
        }
    }

    fn hash(&self, node: NodeIndex) -> Bytes {
        let content = &self.0[node.0 as usize];
        let mut input = Vec::new();
        if let (Some(left), Some(right)) = (node.left(), node.right()) {
            input.push(2);
            match content {
                Some(Node::Parent(parent)) => {
                    Some(ParentNode::clone(parent)).tls_serialize(&mut input).unwrap()
                }
                _ => None::<ParentNode>.tls_serialize(&mut input).unwrap(),
            };
            self.hash(left).tls_serialize(&mut input).unwrap();
            self.hash(right).tls_serialize(&mut input).unwrap();
        } else {
            input.push(1);
            (node.0 / 2).tls_serialize(&mut input).unwrap();
            match content {
                Some(Node::Leaf(leaf)) => Some(LeafNode::clone(leaf)).tls_serialize(&mut input).unwrap(),
                _ => None::<LeafNode>.tls_serialize(&mut input).unwrap(),
            };
        }
        suite().hash(&input).into()
    }

    fn assert_is(&self, tree: &RatchetTree) {
        assert_eq!(self.0, tree.to_nodes());
        let width = self.width();
        assert_eq!(tree.width(), width);
        let leaves: Vec<_> = tree.leaves().map(|(index, leaf)| (index, leaf.clone())).collect();
        assert_eq!(leaves.len(), tree.member_count() as usize);
        let by_node =
            (0..width).filter_map(|index| Some((LeafIndex(index), tree.leaf(LeafIndex(index))?.clone())));
        assert_eq!(leaves, by_node.collect::<Vec<_>>());
        for node in (0..2 * width - 1).map(NodeIndex) {
            assert_eq!(tree.resolution(node), self.resolution(node), "node {node}");
            assert_eq!(tree.node(node), self.0[node.0 as usize], "node {node}");
        }
        for leaf in (0..width).map(LeafIndex) {
            let path = leaf.direct_path(width).into_iter().zip(leaf.copath(width));
            let filtered = path.filter(|(_, copath)| !self.resolution(*copath).is_empty());
            let filtered: Vec<_> = filtered.map(|(node, _)| node).collect();
            assert_eq!(tree.filtered_direct_path(leaf), filtered, "leaf {leaf}");
        }
        assert_eq!(tree.tree_hash().unwrap(), self.hash(NodeIndex::root(width)));
        let again = RatchetTree::from_extension(suite(), &tree.to_extension().encode().unwrap()).unwrap();
        assert_eq!(again.to_nodes(), self.0);
    }
}

#[test]
fn random_operations_match_the_array() {
    for seed in 0..30 {
        let (_seed, mut rng) = (Seed(seed), rng(seed));
        let (signer, _) = suite().signature().generate(&mut rng);
        let leaf = mock_leaf(&mut rng);
        let mut tree = RatchetTree::new(suite(), leaf.clone());
        let mut array = Array(vec![Some(Node::Leaf(leaf.into()))]);
        let mut kept = Vec::new();
        for step in 0..60 {
            let present: Vec<_> = tree.leaves().map(|(index, _)| index).collect();
            let one = present[rng.below(present.len())];
            // Phases of growing and of shrinking, so that widths go up and down.
            let choice = rng.below(10) + if step % 30 < 18 { 0 } else { 4 };
            match choice {
                0..5 => {
                    let leaf = mock_leaf(&mut rng);
                    let expected = array.add(leaf.clone());
                    let index;
                    (tree, index) = tree.add_leaf(leaf).unwrap();
                    assert_eq!(index, expected);
                }
                5 => {
                    let leaf = mock_leaf(&mut rng);
                    array.update(one, leaf.clone());
                    tree = tree.update_leaf(one, leaf).unwrap();
                }
                6 | 7 => {
                    let sender = PathSender::Member(one);
                    let draft = tree.draw_path(sender, &template("x"), &signer, GROUP, &mut rng).unwrap();
                    array.update(one, draft.leaf_node.clone());
                    for ((node, _), (key, _)) in draft.path_secrets.iter().zip(&draft.private_keys) {
                        let parent = draft.tree.parent_node(*node).unwrap();
                        assert_eq!((&parent.encryption_key, &parent.unmerged_leaves), (key, &Vec::new()));
                        *array.at(*node) = Some(Node::Parent(parent.clone().into()));
                    }
                    tree = draft.tree;
                }
                _ if present.len() > 1 => {
                    array.remove(one);
                    tree = tree.remove_leaf(one).unwrap();
                }
                _ => {}
            }
            array.assert_is(&tree);
            kept.push((tree.clone(), tree.tree_hash().unwrap(), encode(&tree.to_extension()).unwrap()));
        }
        // No later operation has changed an older tree.
        for (tree, hash, nodes) in kept {
            assert_eq!(encode(&tree.to_extension()).unwrap(), nodes);
            let again = RatchetTree::from_nodes(suite(), tree.to_nodes()).unwrap();
            assert_eq!(again.tree_hash().unwrap(), hash);
        }
    }
}

#[test]
fn width_doubles_and_halves_at_powers_of_two() {
    let mut rng = rng(1);
    let mut tree = RatchetTree::new(suite(), mock_leaf(&mut rng));
    for power in 0..7 {
        let width = 1 << power;
        assert_eq!((tree.width(), tree.member_count()), (width, width));
        let (wider, index) = tree.add_leaf(mock_leaf(&mut rng)).unwrap();
        assert_eq!((wider.width(), index), (2 * width, LeafIndex(width)));
        // The old tree is the left half, not a copy of it.
        assert!(Arc::ptr_eq(wider.root.children().unwrap().0, &tree.root));
        let back = wider.remove_leaf(index).unwrap();
        assert!(Arc::ptr_eq(&back.root, &tree.root));
        assert_eq!(back.width(), width);
        // Several halvings at once: of a member at the far end, with only leaf 0 beside it.
        let mut lone = wider.clone();
        for leaf in 1..width {
            lone = lone.remove_leaf(LeafIndex(leaf)).unwrap();
            assert_eq!(lone.width(), 2 * width);
        }
        assert_eq!(lone.remove_leaf(index).unwrap().width(), 1);
        tree = wider;
        while tree.member_count() < tree.width() {
            tree = tree.add_leaf(mock_leaf(&mut rng)).unwrap().0;
        }
    }
}

#[test]
fn a_step_among_a_thousand_members_costs_its_path() {
    let mut rng = rng(2);
    let (signer, _) = suite().signature().generate(&mut rng);
    let mut tree = RatchetTree::new(suite(), mock_leaf(&mut rng));
    for _ in 1..1000 {
        tree = tree.add_leaf(mock_leaf(&mut rng)).unwrap().0;
    }
    tree.tree_hash().unwrap();
    // A path of 1024 leaves: ten parents and the leaf.
    let path = 11;
    for index in [0, 511, 512, 999] {
        let sender = PathSender::Member(LeafIndex(index));
        let draft = tree.draw_path(sender, &template("x"), &signer, GROUP, &mut rng).unwrap();
        let (added, _) = tree.add_leaf(mock_leaf(&mut rng)).unwrap();
        for after in [draft.tree, added, tree.update_leaf(LeafIndex(index), mock_leaf(&mut rng)).unwrap()] {
            assert_eq!(after.root.unhashed(), path);
            assert_eq!(after.new_subtrees_since(Some(&tree)).unwrap().len(), path);
            assert_eq!(after.root.unhashed(), 0);
        }
        let removed = tree.remove_leaf(LeafIndex(index)).unwrap();
        assert_eq!(removed.root.unhashed(), path);
        // The blank leaf itself has no record.
        assert_eq!(removed.new_subtrees_since(Some(&tree)).unwrap().len(), path - 1);
    }
    assert_eq!(tree.new_subtrees_since(Some(&tree)).unwrap(), vec![]);
}

#[test]
fn a_full_tree_takes_nobody() {
    let mut rng = rng(3);
    // A tree of 2^30 members that all share one leaf: no array could hold it.
    let mut root = subtree::Subtree::leaf(LeafIndex(0), Some(mock_leaf(&mut rng).into()));
    for _ in 0..30 {
        root = subtree::Subtree::parent(None, root.clone(), root);
    }
    let tree = RatchetTree { suite: suite(), root, width: MAX_WIDTH };
    assert_eq!(tree.member_count(), MAX_WIDTH);
    assert_eq!(tree.add_leaf(mock_leaf(&mut rng)).unwrap_err(), TreeError::Full);
    assert_eq!(tree.with_blank_leaf().unwrap_err(), TreeError::Full);
    let (again, index) = tree.remove_leaf(LeafIndex(7)).unwrap().add_leaf(mock_leaf(&mut rng)).unwrap();
    assert_eq!((index, again.member_count()), (LeafIndex(7), MAX_WIDTH));
}

#[test]
fn a_leaf_that_is_not_there_is_an_error() {
    let mut rng = rng(4);
    let mut tree = RatchetTree::new(suite(), mock_leaf(&mut rng));
    for _ in 0..3 {
        tree = tree.add_leaf(mock_leaf(&mut rng)).unwrap().0;
    }
    let tree = tree.remove_leaf(LeafIndex(1)).unwrap();
    for absent in [1, 4, 1 << 30, u32::MAX].map(LeafIndex) {
        assert_eq!(tree.remove_leaf(absent).unwrap_err(), TreeError::NoLeaf(absent));
        assert_eq!(tree.update_leaf(absent, mock_leaf(&mut rng)).unwrap_err(), TreeError::NoLeaf(absent));
        assert_eq!(tree.leaf(absent), None);
        assert_eq!(tree.node(absent.node()), None);
    }
    assert_eq!(tree.node(NodeIndex(u32::MAX)), None);
    assert_eq!(tree.node_hash(NodeIndex(7)).unwrap(), None);
    assert_eq!(tree.resolution(NodeIndex(u32::MAX)), vec![]);
    let key = tree.leaf(LeafIndex(2)).unwrap().signature_key.clone();
    assert_eq!(tree.find_signature_key(&key), Some(LeafIndex(2)));
    assert_eq!(tree.find_signature_key(&vec![0; 32].into()), None);
}
