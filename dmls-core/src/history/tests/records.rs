//! What is stored and loaded, and how epochs lie to each other.

use super::*;

fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).unwrap()
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, bincode::error::DecodeError> {
    bincode::serde::decode_from_slice(bytes, bincode::config::standard()).map(|(value, _)| value)
}

/// A history stored and loaded again, epoch by epoch.
pub(super) fn stored(history: &History) -> History {
    let epochs = history.epochs().map(|(id, epoch)| {
        let bytes = encode(&(id, epoch));
        decode::<(EpochId, HistoryEpoch)>(&bytes).unwrap()
    });
    History::from_epochs(epochs.collect::<Vec<_>>()).unwrap()
}

#[test]
fn sets_of_leaves_are_stored_alike_whatever_their_sizes() {
    for members in [vec![], vec![0], vec![7], vec![8], vec![63, 64], vec![1, 200, 1000]] {
        let set = leaves(members.clone());
        let mut grown = set.clone();
        grown.insert(LeafIndex(5000));
        grown.remove(LeafIndex(5000));
        assert_eq!(grown, set);
        assert_eq!(encode(&grown), encode(&set));
        let loaded: LeafSet = decode(&encode(&set)).unwrap();
        assert_eq!(loaded, set);
        assert_eq!(loaded.iter().map(|leaf| leaf.0).collect::<Vec<_>>(), members);
        assert_eq!(loaded.len(), members.len());
    }
    assert_eq!(encode(&leaves([0, 9])), [2, 1, 2]);
}

#[test]
fn a_damaged_set_of_leaves_is_an_error_or_another_set() {
    // Any bytes are a set, and a length that is not there is an error.
    for len in 0..40_u8 {
        let mut bytes = vec![0xff; usize::from(len) + 1];
        bytes[0] = len;
        let set: LeafSet = decode(&bytes).unwrap();
        assert_eq!(set.len(), 8 * usize::from(len));
        bytes.pop();
        if len > 0 {
            assert!(decode::<LeafSet>(&bytes).is_err());
        }
    }
    assert!(decode::<LeafSet>(&encode(&u64::MAX)).is_err());
}

#[test]
fn sets_of_leaves_as_sets() {
    let mut set = leaves([1, 2, 70]);
    assert!(!set.insert(LeafIndex(70)) && set.insert(LeafIndex(300)));
    assert!(
        set.contains(LeafIndex(300)) && !set.contains(LeafIndex(301)) && !set.contains(LeafIndex(u32::MAX))
    );
    assert_eq!(set.intersection(&leaves([2, 300, 4000])), leaves([2, 300]));
    assert_eq!(leaves([2, 300, 4000]).intersection(&set), leaves([2, 300]));
    set.subtract(&leaves([1, 4000]));
    assert_eq!(set, leaves([2, 70, 300]));
    set.union_with(&leaves([4000]));
    assert!(leaves([2, 4000]).is_subset(&set) && !leaves([3]).is_subset(&set));
    set.remove(LeafIndex(u32::MAX));
    [2, 70, 300, 4000].into_iter().for_each(|leaf| set.remove(LeafIndex(leaf)));
    assert!(set.is_empty() && set == LeafSet::default());
}

type Stored = Vec<(EpochId, HistoryEpoch)>;

/// p - a - aa, p - b, and the epochs as they are stored.
fn three() -> Stored {
    let mut scene = Scene::new(4);
    scene.commit("p", 0, "a");
    scene.commit("a", 0, "aa");
    scene.commit("p", 1, "b");
    scene.vote("p", 2, "unknown");
    scene.ack("aa", 3, None);
    assert_eq!(stored(&scene.history), scene.history);
    scene.history.epochs().map(|(id, epoch)| (id.clone(), epoch.clone())).collect()
}

#[test]
fn damaged_histories_are_not_loaded() {
    let load = |change: &dyn Fn(&mut Stored)| {
        let mut epochs = three();
        change(&mut epochs);
        History::from_epochs(epochs).map(|history| history.len())
    };
    // By id: a, aa, b, p.
    assert_eq!(load(&|_| {}), Ok(4));
    let damaged = Err(HistoryError::NotATree);
    assert_eq!(load(&|epochs| epochs.clear()), damaged);
    // An epoch is missing: in the middle, at the tip, at the top.
    assert_eq!(load(&|epochs| drop(epochs.remove(0))), damaged);
    assert_eq!(load(&|epochs| drop(epochs.remove(1))), damaged);
    assert_eq!(load(&|epochs| drop(epochs.remove(3))), damaged);
    // An epoch that its parent does not know, and one that names another parent.
    assert_eq!(load(&|epochs| drop(epochs[3].1.children.remove(&commit("b")))), damaged);
    assert_eq!(load(&|epochs| epochs[2].1.parent = Some((epoch("a"), commit("b")))), damaged);
    assert_eq!(load(&|epochs| epochs[2].1.parent = Some((epoch("p"), commit("c")))), damaged);
    assert_eq!(load(&|epochs| epochs[2].1.number = 5), damaged);
    // A second child that leads to the same epoch.
    let to_aa = || child(1, 1, Ok(epoch("aa")));
    assert_eq!(load(&|epochs| drop(epochs[3].1.children.insert(commit("c"), to_aa()))), damaged);
    // A circle below the top, and one beside it.
    let to_a = || child(1, 1, Ok(epoch("a")));
    assert_eq!(load(&|epochs| drop(epochs[1].1.children.insert(commit("c"), to_a()))), damaged);
    assert_eq!(
        load(&|epochs| {
            epochs[3].1.children.remove(&commit("a"));
            epochs[0].1.parent = Some((epoch("aa"), commit("c")));
            epochs[1].1.children.insert(commit("c"), to_a());
        }),
        damaged
    );
    // The top's parent is not stored: that is what a moved anchor looks like.
    assert_eq!(load(&|epochs| epochs[3].1.parent = Some((epoch("older"), commit("p")))), Ok(4));
}

#[test]
fn a_commit_is_recorded_once_and_with_what_it_makes() {
    let mut scene = Scene::new(4);
    scene.commit("p", 0, "a");
    let before = scene.history.clone();
    let made = |parent: &str, by: &str, number: u64| {
        Some(HistoryEpoch::new(Some((epoch(parent), commit(by))), number, 4, leaves(0..4), leaves([])))
    };
    let mut tell = |at: &str, name: &str, outcome, made| {
        scene.history.record_commit(&epoch(at), commit(name), child(1, 1, outcome), made, None)
    };
    let exists = Err(HistoryError::EpochExists);
    assert_eq!(tell("p", "a", Ok(epoch("new")), made("p", "a", 1)), exists);
    assert_eq!(tell("p", "b", Ok(epoch("a")), made("p", "b", 1)), exists);
    assert_eq!(tell("p", "b", Ok(epoch("p")), made("p", "b", 1)), exists);
    let wrong = Err(HistoryError::NotATree);
    assert_eq!(tell("p", "b", Ok(epoch("b")), None), wrong);
    assert_eq!(tell("p", "b", Err(REMOVED), made("p", "b", 1)), wrong);
    assert_eq!(tell("p", "b", Ok(epoch("b")), made("p", "c", 1)), wrong);
    assert_eq!(tell("p", "b", Ok(epoch("b")), made("a", "b", 1)), wrong);
    assert_eq!(tell("p", "b", Ok(epoch("b")), made("p", "b", 2)), wrong);
    assert_eq!(tell("x", "b", Ok(epoch("b")), made("x", "b", 1)), Err(HistoryError::UnknownEpoch));
    assert_eq!(scene.history, before);
    assert_eq!(scene.history.changed_since(&before).count(), 0);
}

#[test]
fn a_known_child_is_neither_unseen_nor_written_off() {
    let mut scene = Scene::new(4);
    scene.vote("p", 1, "a");
    let anchor = scene.history.epoch_mut(&epoch("p")).unwrap();
    anchor.unseen.insert(commit("a"), 5);
    scene.write_off("p", "a");
    scene.commit("p", 0, "a");
    let anchor = scene.history.epoch(&epoch("p")).unwrap();
    assert!(anchor.unseen.is_empty() && anchor.written_off.is_empty());
    assert_eq!(scene.weights("p"), ranking([("a", 2)]));
}

#[test]
fn paths_and_branches() {
    let history = History::from_epochs(three()).unwrap();
    let names = |ids: Vec<EpochId>| {
        ids.iter().map(|id| String::from_utf8(id.as_slice().to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(history.anchor(), &epoch("p"));
    assert_eq!(names(history.ancestors(&epoch("aa")).map(|(id, _)| id.clone()).collect()), ["a", "p"]);
    assert_eq!(history.ancestors(&epoch("aa")).next().unwrap().1, &commit("aa"));
    assert_eq!(history.ancestors(&epoch("nowhere")).count(), 0);
    let (to_aa, to_b) = history.diverge(&epoch("aa"), &epoch("b"));
    assert_eq!((names(to_aa), names(to_b)), (vec!["a".into(), "aa".into()], vec!["b".into()]));
    let (down, nothing) = history.diverge(&epoch("aa"), &epoch("a"));
    assert_eq!((names(down), nothing.len()), (vec!["aa".into()], 0));
    assert!(history.is_on_path(&epoch("p"), &epoch("aa")) && history.is_on_path(&epoch("aa"), &epoch("aa")));
    assert!(!history.is_on_path(&epoch("b"), &epoch("aa")) && !history.is_on_path(&epoch("aa"), &epoch("a")));
    assert_eq!(names(history.subtree(&epoch("p"))), ["p", "a", "b", "aa"]);

    let mut moved = history.clone();
    moved.move_anchor(&epoch("a")).unwrap();
    assert_eq!(names(moved.removed_since(&history).cloned().collect()), ["b", "p"]);
    assert_eq!(moved.changed_since(&history).count(), 0);
    assert_eq!(stored(&moved), moved);
    assert_eq!(moved.move_anchor(&epoch("p")), Err(HistoryError::UnknownEpoch));
}
