//! `key(c) = (-weight, class, rank(committer), commit id)`.

use super::*;
use crate::history::choice::rank;

#[test]
fn weight_comes_before_class() {
    let mut scene = Scene::new(5);
    let removing = scene.made("p").removing(&[4]);
    scene.commit_as("p", 0, "a", 0, Ok(removing), None);
    scene.commit("p", 1, "b");
    assert_eq!(scene.head(), inside("a"));
    scene.vote("p", 2, "b");
    assert_eq!(scene.head(), inside("b"));
}

#[test]
fn class_comes_before_rank() {
    let mut scene = Scene::new(5);
    scene.commit("p", 0, "a");
    assert_eq!(scene.head(), inside("a"));
    let removing = scene.made("p").removing(&[0]);
    scene.commit_as("p", 3, "z", 0, Ok(removing), None);
    assert_eq!(scene.head(), inside("z"));
}

#[test]
fn rank_comes_before_the_commit_id() {
    let mut scene = Scene::new(5);
    scene.commit("p", 1, "z");
    scene.commit("p", 2, "a");
    assert_eq!(scene.head(), inside("z"));
}

#[test]
fn the_commit_id_decides_between_commits_of_one_member() {
    // One who commits twice is void, so both weigh nothing and rank last.
    let mut scene = Scene::new(5);
    scene.commit("p", 1, "z");
    scene.commit("p", 1, "y");
    assert_eq!(scene.weights("p"), ranking([("y", 0), ("z", 0)]));
    assert_eq!(scene.head(), inside("y"));
}

#[test]
fn among_void_committers_rank_decides() {
    let mut scene = Scene::new(3);
    scene.commit("p", 0, "b");
    scene.commit("p", 1, "a");
    assert_eq!(scene.head(), inside("b"));
    scene.vote("p", 0, "a");
    scene.vote("p", 1, "b");
    assert_eq!(scene.weights("p"), ranking([("b", 0), ("a", 0)]));
    assert_eq!(scene.head(), inside("b"));
    // Whoever is not void comes first, whatever its rank.
    scene.commit("p", 2, "c");
    scene.vote("p", 2, "c");
    assert_eq!(scene.head(), inside("c"));
}

#[test]
fn a_void_committer_loses_a_tie_that_its_rank_would_win() {
    let mut scene = Scene::new(5);
    scene.commit("p", 0, "a");
    scene.commit("p", 4, "b");
    scene.vote("p", 1, "a");
    assert_eq!(scene.head(), inside("a"));
    // Without its committer "a" has one vote, as "b" has; rank 0 would win the tie.
    scene.vote("p", 0, "unknown");
    assert_eq!(scene.weights("p"), ranking([("b", 1), ("a", 1)]));
    assert_eq!(scene.head(), inside("b"));
}

#[test]
fn ranks_turn_with_the_epoch_number() {
    for (number, best) in
        [(0, "of 0"), (1, "of 1"), (2, "of 2"), (3, "of 0"), (u64::MAX, "of 0"), (7, "of 1")]
    {
        let mut scene = Scene::numbered(number, 3);
        for by in [2, 1, 0] {
            // No epoch follows the last number, so the children are not entered.
            scene.commit_as("p", by, &format!("of {by}"), 1, Err(REMOVED), None);
        }
        let ranked = scene.weights("p");
        assert_eq!(ranked[0].0, best, "epoch {number}");
    }
    assert_eq!(rank(LeafIndex(u32::MAX), u64::MAX, u32::MAX), rank(LeafIndex(0), 0, 1));
    assert_eq!(rank(LeafIndex(1), 5, 8), 4);
    // A tree without leaves does not exist; it does not divide by zero either.
    assert_eq!(rank(LeafIndex(1), 5, 0), 0);
}

#[test]
fn grinding_does_not_beat_rank() {
    for n in 0..=255_u8 {
        let mut scene = Scene::numbered(3, 4);
        scene.commit("p", 3, "honest");
        let ground = String::from_utf8(vec![n % 26]).unwrap();
        scene.commit("p", 2, &ground);
        assert!(commit(&ground) < commit("honest"));
        assert_eq!(scene.head(), inside("honest"));
    }
    // Where ranks are equal the id counts: the comparison above is not decided by something else.
    let mut scene = Scene::numbered(2, 4);
    scene.commit("p", 3, "honest");
    scene.commit("p", 2, "\u{1}");
    assert_eq!(scene.head(), inside("\u{1}"));
}

#[test]
fn places_follow_rank_over_the_electors() {
    let mut scene = Scene::numbered(2, 5);
    let without = scene.made("p").removing(&[4]);
    scene.commit_as("p", 0, "a", 1, Ok(without), None);
    let places = |at: &str| {
        [0, 1, 2, 3, 4].map(|leaf| scene.history.epoch(&epoch(at)).unwrap().place_by_rank(LeafIndex(leaf)))
    };
    assert_eq!(places("p"), [3, 4, 0, 1, 2]);
    // Number 3; leaf 4 is blank.
    assert_eq!(places("a"), [1, 2, 3, 0, 1]);
}

#[test]
fn children_before_a_commit_that_is_not_known() {
    let mut scene = Scene::new(6);
    scene.commit("p", 1, "b");
    scene.commit("p", 3, "d");
    scene.vote("p", 4, "d");
    let before = |scene: &Scene, by: u32, name: &str| {
        let (id, committer) = (commit(name), LeafIndex(by));
        let candidate = Candidate { commit: &id, committer, class: 1 };
        let before = scene.history.epoch(&epoch("p")).unwrap().children_before(&candidate);
        (before.all, before.of_member)
    };
    // Nobody has named it: all who have weight come before.
    assert_eq!(before(&scene, 0, "new"), (2, 0));
    assert_eq!(before(&scene, 3, "new"), (2, 1));
    // With one vote it ties with "b", and rank decides; with two it ties with "d".
    scene.vote("p", 5, "new");
    assert_eq!((before(&scene, 0, "new"), before(&scene, 2, "new")), ((1, 0), (2, 0)));
    scene.vote("p", 2, "new");
    assert_eq!((before(&scene, 0, "new"), before(&scene, 4, "new")), ((0, 0), (1, 0)));
    // Class comes before rank: with it, the same commit passes "d".
    let (id, committer) = (commit("new"), LeafIndex(4));
    let removal = Candidate { commit: &id, committer, class: 0 };
    assert_eq!(scene.history.epoch(&epoch("p")).unwrap().children_before(&removal).all, 0);
}
