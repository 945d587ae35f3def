//! Random trees and random punctures beside the reference.

use pprf::{Hash, Pprf};
use proptest::prelude::*;
use subtle::ConstantTimeEq;

use crate::reference::{HASHES, Reference, bits, expand, pack};

/// A tree and inputs for it. Inputs after the first are random, neighbours of earlier ones, or earlier ones again.
#[derive(Clone, Debug)]
struct Plan {
    hash: Hash,
    depth: u16,
    root: Vec<u8>,
    inputs: Vec<Vec<bool>>,
}

impl Plan {
    fn reference(&self) -> Reference {
        Reference::new(self.hash, self.depth, &self.root)
    }
}

fn plan(max_inputs: usize) -> impl Strategy<Value = Plan> {
    let depth = prop_oneof![3 => 0u16..=12, 1 => Just(32), 1 => 60u16..70, 1 => Just(0xffff)];
    let input = (any::<u64>(), any::<prop::sample::Index>(), 0u8..4, any::<u16>());
    (0usize..3, depth, any::<u64>(), prop::collection::vec(input, 1..=max_inputs)).prop_map(
        |(hash, depth, seed, picks)| {
            let hash = HASHES[hash];
            let size = crate::reference::node_size(hash).bytes();
            // The mark stands for the depth of the init PPRF: as many bits as a node has.
            let depth = if depth == 0xffff { 8 * size as u16 } else { depth };
            let root = expand(hash, &[7; 64], &seed.to_be_bytes(), size);
            let mut inputs: Vec<Vec<bool>> = Vec::new();
            for (seed, earlier, kind, place) in picks {
                let fresh = bits(&expand(hash, &[8; 64], &seed.to_be_bytes(), 64), depth);
                let input = match (kind, inputs.is_empty() || depth == 0) {
                    (0 | 1, _) | (_, true) => fresh,
                    (2, _) => {
                        let mut near = earlier.get(&inputs).clone();
                        near[usize::from(place % depth)] ^= true;
                        near
                    }
                    _ => earlier.get(&inputs).clone(),
                };
                inputs.push(input);
            }
            Plan { hash, depth, root, inputs }
        },
    )
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against the reference after each step: values, refusals, bytes and sizes.
    #[test]
    fn every_step_agrees_with_the_reference(plan in plan(8), others in prop::collection::vec(any::<u64>(), 3)) {
        let unpunctured = plan.reference();
        let mut reference = unpunctured.clone();
        let (mut tree, derivation) = reference.subject();
        let mut probes = plan.inputs.clone();
        for seed in others {
            probes.push(bits(&expand(plan.hash, &[9; 64], &seed.to_be_bytes(), 64), plan.depth));
        }
        for x in &plan.inputs {
            let packed = pack(x);
            let before = tree.to_bytes();
            let original = tree.clone();
            let way = reference.puncture(x);
            let value = tree.at_mut(&derivation, &packed).unwrap().eval_and_puncture().ok();
            prop_assert_eq!(value.is_some(), way.is_some());
            match (value, &way) {
                (Some(value), Some(way)) => prop_assert_eq!(value.as_bytes(), way.last().unwrap().as_slice()),
                _ => prop_assert_eq!(&*before, &*tree.to_bytes(), "puncturing again changed something"),
            }
            // A clone is a state of its own.
            prop_assert_eq!(&*before, &*original.to_bytes());

            let encoded = tree.to_bytes();
            prop_assert_eq!(&*encoded, &reference.to_bytes());
            for node in way.iter().flatten() {
                prop_assert!(!contains(&encoded, node), "a node above a punctured leaf is still stored");
            }
            let size = reference.nodes.values().map(Vec::len).sum::<usize>()
                + reference.punctured.iter().map(|x| pack(x).len()).sum::<usize>();
            prop_assert_eq!(tree.storage_len(), size);
            prop_assert_eq!(encoded.len(), 8 + size);
            prop_assert_eq!(tree.stored_nodes(), reference.nodes.len());
            prop_assert_eq!(tree.punctured_count(), reference.punctured.len());
            prop_assert!(tree.punctured_inputs().eq(reference.punctured.iter().map(|x| pack(x))));

            // From the bytes too: what they hold is all there is.
            for tree in [&tree, &Pprf::from_bytes(&encoded).unwrap()] {
                for x in &probes {
                    let value = tree.at(&derivation, &pack(x)).unwrap().eval().ok();
                    let expected = (!reference.punctured.contains(x)).then(|| unpunctured.eval(x).unwrap());
                    prop_assert_eq!(value.as_ref().map(|value| value.as_bytes()), expected.as_deref());
                    prop_assert_eq!(tree.is_punctured(&pack(x)).unwrap(), expected.is_none());
                }
                prop_assert_eq!(&*encoded, &*tree.to_bytes(), "evaluating changed something");
            }
        }
    }

    /// The state depends on the set of punctures alone.
    #[test]
    fn the_order_of_punctures_does_not_matter(
        (plan, shuffled) in plan(10).prop_flat_map(|plan| {
            let inputs = Just(plan.inputs.clone()).prop_shuffle();
            (Just(plan), inputs)
        })
    ) {
        let (tree, derivation) = plan.reference().subject();
        let run = |inputs: &[Vec<bool>]| {
            let mut tree = tree.clone();
            for x in inputs {
                let fresh = !tree.is_punctured(&pack(x)).unwrap();
                assert_eq!(tree.at_mut(&derivation, &pack(x)).unwrap().puncture(), fresh);
            }
            tree
        };
        let (a, b) = (run(&plan.inputs), run(&shuffled));
        prop_assert_eq!(&*a.to_bytes(), &*b.to_bytes());
        prop_assert!(bool::from(a.ct_eq(&b)));
        // The comparison can fail: with one puncture undone by not making it.
        prop_assert!(!bool::from(a.ct_eq(&tree)));
    }

    /// Hostile bytes are an error or another canonical encoding, and never a panic.
    #[test]
    fn changed_bytes_decode_canonically_or_not_at_all(
        plan in plan(6),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..4),
        front in any::<bool>(),
    ) {
        let (mut tree, derivation) = plan.reference().subject();
        for x in &plan.inputs {
            tree.at_mut(&derivation, &pack(x)).unwrap().puncture();
        }
        let mut bytes = tree.to_bytes().to_vec();
        for (at, byte, kind) in changes {
            // Half of the time in the header and the first inputs, where structure is.
            let range = if front { bytes.len().min(24) } else { bytes.len() };
            let at = at.index(range.max(1));
            match kind {
                0 => bytes.truncate(at),
                1 => bytes.insert(at.min(bytes.len()), byte),
                2 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => bytes.push(byte),
            }
        }
        if let Ok(decoded) = Pprf::from_bytes(&bytes) {
            prop_assert_eq!(&*decoded.to_bytes(), &bytes);
            for x in decoded.punctured_inputs() {
                if let Ok(point) = decoded.at(&derivation, &x) {
                    prop_assert!(point.eval().is_err());
                }
            }
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 0usize..3, depth in 0u8..20) {
        let mut bytes = bytes;
        if let Some(header) = bytes.first_chunk_mut::<7>() {
            *header = [1, [32, 48, 64][size], 0, depth, 0, 0, 0];
        }
        if let Ok(decoded) = Pprf::from_bytes(&bytes) {
            prop_assert_eq!(&*decoded.to_bytes(), &bytes);
        }
    }
}

/// The figures of the design: 8 KiB after one puncture at depth 256, about 7.8 KiB for each further one.
#[test]
fn the_init_pprf_is_as_small_as_promised() {
    let (mut tree, derivation) = Reference::new(Hash::Sha256, 256, &[1; 32]).subject();
    assert_eq!(tree.storage_len(), 32);
    let mut sizes = Vec::new();
    for i in 0..64u8 {
        let x = expand(Hash::Sha256, &[2; 32], &[i], 32);
        assert!(tree.at_mut(&derivation, &x).unwrap().puncture());
        sizes.push(tree.storage_len());
    }
    assert_eq!(sizes[0], 256 * 32 + 32);
    let each = (sizes[63] - sizes[0]) as f64 / 63.0 / 1024.0;
    assert!((7.7..7.9).contains(&each), "{each} KiB for each further puncture");
}
