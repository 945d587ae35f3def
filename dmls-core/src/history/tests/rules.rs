//! Who names what, who is void, who is an elector.

use super::*;

#[test]
fn votes_commits_and_messages_below_name_a_child() {
    let mut scene = Scene::new(5);
    assert!(scene.commit("p", 0, "a"));
    assert!(scene.commit("p", 1, "b"));
    assert!(scene.vote("p", 2, "b"));
    assert!(scene.ack("a", 3, None));
    assert_eq!(scene.weights("p"), ranking([("a", 2), ("b", 2)]));
    assert_eq!(scene.decision("p").silent, 1);
    // Said twice is said once.
    assert!(!scene.ack("a", 3, None));
    assert!(!scene.vote("p", 2, "b"));
    // A message names a child at each ancestor.
    assert!(scene.commit("b", 2, "bb"));
    assert!(scene.ack("bb", 4, None));
    assert_eq!(scene.weights("p"), ranking([("b", 3), ("a", 2)]));
    assert_eq!(scene.weights("b"), ranking([("bb", 2)]));
    assert_eq!(scene.decision("p").silent, 0);
}

#[test]
fn application_messages_do_not_vote() {
    let mut scene = Scene::new(3);
    scene.commit("p", 0, "a");
    assert!(scene.say(Message::Application { at: epoch("a"), by: 1 }));
    assert_eq!(scene.weights("p"), ranking([("a", 1)]));
    assert_eq!(scene.decision("p").silent, 2);
    assert_eq!(scene.history.epoch(&epoch("a")).unwrap().spoken, leaves([1]));
}

/// p - a - b - c - d, and a commit beside each.
fn ladder() -> Scene {
    let mut scene = Scene::new(6);
    for (at, name) in [("p", "a"), ("a", "b"), ("b", "c"), ("c", "d")] {
        scene.commit(at, 0, name);
        scene.commit(at, 1, &format!("{name}x"));
    }
    scene
}

#[test]
fn since_hides_its_epoch_and_all_above() {
    for (since, named) in [
        (None, "abcd"),
        (Some("p"), "bcd"),
        (Some("a"), "cd"),
        (Some("b"), "d"),
        (Some("c"), ""),
        (Some("d"), ""),
    ] {
        let mut scene = ladder();
        scene.ack("d", 5, since);
        for (at, name) in [("p", "a"), ("a", "b"), ("b", "c"), ("c", "d")] {
            let expected = named.contains(name);
            assert_eq!(scene.named(at, name).contains(LeafIndex(5)), expected, "since {since:?} at {at}");
        }
    }
}

#[test]
fn since_that_is_no_ancestor_counts_as_none_in_every_order() {
    // Where it lies may not be known yet: "ax" comes after the message in one of the two orders.
    let tell = |late: bool| {
        let mut scene = Scene::new(6);
        scene.commit("p", 0, "a");
        if !late {
            scene.commit("p", 1, "ax");
        }
        scene.ack("a", 5, Some("ax"));
        if late {
            scene.commit("p", 1, "ax");
        }
        assert!(scene.named("p", "a").contains(LeafIndex(5)));
        scene.history
    };
    assert_eq!(tell(false), tell(true));
}

#[test]
fn whoever_votes_and_moves_says_since() {
    let fork = || {
        let mut scene = Scene::new(4);
        scene.commit("p", 0, "a");
        scene.commit("p", 1, "b");
        scene.vote("p", 2, "a");
        scene.commit("b", 1, "bb");
        scene
    };
    let mut moved = fork();
    moved.ack("bb", 2, Some("p"));
    assert!(moved.decision("p").void.is_empty());
    assert_eq!(moved.weights("p"), ranking([("a", 2), ("b", 1)]));
    assert_eq!(moved.weights("b"), ranking([("bb", 2)]));
    // The same without `since` is an equivocation.
    let mut careless = fork();
    careless.ack("bb", 2, None);
    assert_eq!(careless.decision("p").void, leaves([2]));
    assert_eq!(careless.weights("p"), ranking([("a", 1), ("b", 1)]));
}

#[test]
fn a_commit_names_above_what_its_since_allows() {
    let mut scene = Scene::new(4);
    scene.commit("p", 0, "a");
    scene.commit("p", 1, "b");
    scene.vote("p", 2, "a");
    let made = scene.made("b");
    scene.commit_as("b", 2, "bb", 1, Ok(made), Some("p"));
    assert_eq!(scene.weights("p"), ranking([("a", 2), ("b", 1)]));
    assert_eq!(scene.weights("b"), ranking([("bb", 1)]));
}

#[test]
fn an_equivocator_has_spoken_and_weighs_nothing() {
    let mut scene = Scene::new(4);
    scene.commit("p", 0, "a");
    scene.commit("p", 1, "b");
    scene.vote("p", 2, "a");
    assert_eq!((scene.decision("p").silent, scene.decision("p").void.len()), (1, 0));
    assert!(scene.vote("p", 2, "b"));
    assert_eq!((scene.decision("p").silent, scene.decision("p").void), (1, leaves([2])));
    assert_eq!(scene.weights("p"), ranking([("a", 1), ("b", 1)]));
    // A committer who votes for another child is void too, and its own commit loses it.
    scene.vote("p", 0, "b");
    assert_eq!(scene.weights("p"), ranking([("b", 1), ("a", 0)]));
}

#[test]
fn of_three_names_any_two_make_the_same_decision_and_the_same_record() {
    let names = ["a", "b", "unknown"];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let histories = orders.map(|order| {
        let mut scene = Scene::new(4);
        scene.commit("p", 0, "a");
        scene.commit("p", 1, "b");
        for (place, name) in order.into_iter().enumerate() {
            // The third is no news: no decision depends on it.
            assert_eq!(scene.vote("p", 3, names[name]), place < 2);
        }
        assert_eq!(scene.decision("p").void, leaves([3]));
        scene.history
    });
    assert!(histories.iter().all(|history| *history == histories[0]));
}

#[test]
fn a_hostile_elector_is_stored_with_two_names() {
    let mut scene = Scene::new(4);
    scene.commit("p", 0, "a");
    for n in 0..500 {
        let name = format!("made up {}", (n * 7919) % 500);
        let message = Message::Vote { at: epoch("p"), by: 3, child: commit(&name), since: None };
        record(&mut scene.history, &message).unwrap();
    }
    let named = &scene.history.epoch(&epoch("p")).unwrap().named;
    assert_eq!(named.len(), 3);
    assert_eq!(named.values().filter(|leaves| leaves.contains(LeafIndex(3))).count(), 2);
    assert_eq!(scene.weights("p"), ranking([("a", 1)]));
}

#[test]
fn who_is_no_member_says_nothing_and_takes_no_memory() {
    let mut scene = Scene::new(3);
    scene.commit("p", 0, "a");
    let before = scene.history.clone();
    for by in [3, u32::MAX] {
        assert!(!scene.ack("a", by, None));
        assert!(!scene.vote("p", by, "a"));
        assert!(!scene.say(Message::Application { at: epoch("a"), by }));
    }
    assert_eq!(scene.history, before);
    // What is not news does not even touch the record, so nothing is stored again.
    assert_eq!(scene.history.changed_since(&before).count(), 0);
    assert!(scene.ack("a", 1, None));
    assert_eq!(scene.history.changed_since(&before).count(), 2);
}

#[test]
fn a_member_removed_on_one_side_is_an_elector_at_the_fork() {
    let mut scene = Scene::new(4);
    let removing = scene.made("p").removing(&[3]);
    scene.commit_as("p", 0, "a", 1, Ok(removing), None);
    scene.commit("p", 1, "b");
    scene.vote("p", 3, "b");
    assert_eq!(scene.weights("p"), ranking([("b", 2), ("a", 1)]));
    assert_eq!(scene.head(), inside("b"));
    // Below its removal it is no elector and says nothing.
    scene.commit("a", 0, "aa");
    assert_eq!(scene.decision("a").electors, 3);
    assert!(!scene.ack("a", 3, None));
}

#[test]
fn removed_and_added_again_is_somebody_new() {
    let mut scene = Scene::new(4);
    scene.commit("p", 1, "b");
    let rejoining = scene.made("p").readding(&[3]);
    scene.commit_as("p", 0, "a", 1, Ok(rejoining), None);
    scene.commit("a", 0, "aa");
    scene.ack("aa", 3, None);
    // The new one has named a child of "a", and none of "p".
    assert_eq!(scene.named("a", "aa"), leaves([0, 3]));
    assert_eq!(scene.named("p", "a"), leaves([0]));
    assert_eq!(scene.decision("p").silent, 2);
    // The old one still votes in "p": it is not the same member, so it is not void.
    scene.vote("p", 3, "b");
    assert_eq!((scene.weights("p"), scene.decision("p").void.len()), (ranking([("b", 2), ("a", 1)]), 0));
}

#[test]
fn a_leaf_that_was_blank_for_some_epochs_is_somebody_new() {
    let mut scene = Scene::new(3);
    let without = scene.made("p").removing(&[2]);
    scene.commit_as("p", 0, "a", 1, Ok(without), None);
    let mut with = scene.made("a");
    with.electors.insert(2);
    scene.commit_as("a", 0, "aa", 1, Ok(with), None);
    scene.commit("aa", 0, "aaa");
    scene.ack("aaa", 2, None);
    assert_eq!(scene.named("aa", "aaa"), leaves([0, 2]));
    assert_eq!(scene.named("a", "aa"), leaves([0]));
    assert_eq!(scene.named("p", "a"), leaves([0]));
}

#[test]
fn evidence_on_a_deleted_fork_point_is_ignored() {
    let mut scene = Scene::new(4);
    scene.commit("p", 0, "a");
    scene.commit("p", 1, "b");
    scene.commit("a", 0, "aa");
    let mut history = scene.history;
    history.move_anchor(&epoch("a")).unwrap();
    let before = history.clone();
    let gone = Err(HistoryError::UnknownEpoch);
    assert_eq!(history.record_vote(&epoch("p"), LeafIndex(2), &commit("b"), None), gone);
    assert_eq!(history.record_handshake(&epoch("b"), LeafIndex(2), None), gone);
    assert_eq!(history.record_spoken(&epoch("b"), LeafIndex(2)), gone);
    let late = child(2, 1, Err(REMOVED));
    assert_eq!(history.record_commit(&epoch("p"), commit("c"), late, None, None), gone.map(|_| ()));
    assert_eq!(history, before);
    // What is below the anchor names what is left, also with a `since` above it.
    assert_eq!(history.record_handshake(&epoch("aa"), LeafIndex(2), Some(&epoch("p"))), Ok(true));
    assert_eq!(history.epoch(&epoch("a")).unwrap().named[&commit("aa")], leaves([0, 2]));
    assert_eq!(history.head(), inside("aa"));
}
