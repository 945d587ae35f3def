//! Evaluate and puncture at depth 256 with SHA-256, beside a straightforward version and beside the bare cost of the
//! compressions. Rounds of all contenders are interleaved, and medians compared, so that a busy machine is fair to all.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails should stop")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use hkdf::Hkdf;
use pprf::{Hash, HmacDerivation, NodeSize, Pprf};
use sha2::Sha256;
use sha2::block_api::compress256;

const DEPTH: usize = 256;
const ROUNDS: usize = 1001;
const WARM_UP: usize = 100;

/// The info of MLS's `ExpandWithLabel(node, "tree", side, 32)`: a realistic length.
fn info(side: &str) -> Vec<u8> {
    let mut info = vec![0, 32, 12];
    info.extend(b"MLS 1.0 tree");
    info.push(side.len() as u8);
    info.extend(side.as_bytes());
    info
}

fn bit(x: &[u8; 32], level: usize) -> bool {
    x[level / 8] << (level % 8) & 0x80 != 0
}

/// One HKDF object and one map entry, keyed by prefix, for each child.
fn straightforward(root: &[u8; 32], x: &[u8; 32], left: &[u8], right: &[u8]) -> [u8; 32] {
    let mut map = BTreeMap::from([(Vec::<bool>::new(), *root)]);
    let mut prefix = Vec::new();
    for level in 0..DEPTH {
        let node = map.remove(&prefix).unwrap();
        for (side, info) in [(false, left), (true, right)] {
            let mut child = [0; 32];
            Hkdf::<Sha256>::from_prk(&node).unwrap().expand(info, &mut child).unwrap();
            prefix.push(side);
            map.insert(prefix.clone(), child);
            prefix.pop();
        }
        prefix.push(bit(x, level));
    }
    let leaf = map.remove(&prefix).unwrap();
    black_box(&map);
    leaf
}

fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2] as f64 / 1000.0
}

fn main() {
    let (left, right) = (info("left"), info("right"));
    let derivation = HmacDerivation::new(Hash::Sha256, &left, &right);
    let root = [7; 32];
    let tree = Pprf::new(NodeSize::N32, DEPTH as u16, &root).unwrap();
    let block = [[0x5a; 64]];
    let mut x = [0; 32];
    let mut times: [Vec<u64>; 6] = Default::default();
    for round in 0..ROUNDS + WARM_UP {
        // A new pseudorandom input for each round, the same for all contenders.
        let mut next = [0; 32];
        Hkdf::<Sha256>::from_prk(&x).unwrap().expand(b"next input", &mut next).unwrap();
        x = next;
        let mut timed = |slot: usize, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            if round >= WARM_UP {
                times[slot].push(start.elapsed().as_nanos() as u64);
            }
        };
        let mut ours = [0; 32];
        let mut theirs = [0; 32];
        timed(0, &mut || {
            let mut tree = tree.clone();
            let leaf = tree.at_mut(&derivation, &x).unwrap().eval_and_puncture().unwrap();
            ours.copy_from_slice(leaf.as_bytes());
            black_box(&tree);
        });
        timed(1, &mut || {
            let leaf = tree.at(&derivation, &x).unwrap().eval().unwrap();
            black_box(&leaf);
        });
        timed(2, &mut || theirs = straightforward(black_box(&root), &x, &left, &right));
        timed(3, &mut || {
            let mut state = [1; 8];
            for _ in 0..6 * DEPTH {
                compress256(&mut state, black_box(&block));
            }
            black_box(state);
        });
        timed(4, &mut || {
            let (mut one, mut two) = ([1; 8], [2; 8]);
            for _ in 0..3 * DEPTH {
                compress256(&mut one, black_box(&block));
                compress256(&mut two, black_box(&block));
            }
            black_box((one, two));
        });
        timed(5, &mut || {
            let mut tree = tree.clone();
            black_box(tree.at_mut(&derivation, &x).unwrap().puncture());
            drop(black_box(tree));
        });
        assert_eq!(ours, theirs);
    }
    let names = [
        "evaluate and puncture (pprf)",
        "evaluate only (pprf)",
        "evaluate and puncture (hkdf, map of prefixes)",
        "6 x 256 compressions, chained",
        "6 x 256 compressions, in independent pairs",
        "puncture only (pprf)",
    ];
    let medians = times.each_mut().map(|times| median(times));
    println!("depth {DEPTH}, SHA-256, median of {ROUNDS} interleaved rounds");
    println!("{:<48}{:>10}{:>16}{:>16}", "", "us", "/ paired floor", "/ ours");
    for (name, time) in names.iter().zip(medians) {
        println!("{name:<48}{time:>10.1}{:>16.2}{:>16.2}", time / medians[4], time / medians[0]);
    }
    println!("length after one puncture at depth 256: {} bytes", one_puncture(&tree, &derivation));
    for (n, stride, order) in [(1u32 << 20, 1, "ascending"), (1 << 20, 0x9_e377, "scattered")] {
        let mut tree = Pprf::for_leaves(NodeSize::N32, n, &root).unwrap();
        let start = Instant::now();
        for i in 0..n {
            // An odd stride visits every leaf once.
            black_box(tree.at_leaf_mut(&derivation, i.wrapping_mul(stride) % n).unwrap().puncture());
        }
        assert_eq!(tree.stored_nodes(), 0);
        let each = start.elapsed().as_nanos() as f64 / f64::from(n) / 1000.0;
        println!("evaluate and puncture each of {n} leaves, {order}: {each:.2} us a leaf");
    }
}

fn one_puncture(tree: &Pprf, derivation: &HmacDerivation) -> usize {
    let mut tree = tree.clone();
    tree.at_mut(derivation, &[0xa5; 32]).unwrap().puncture();
    tree.storage_len()
}
