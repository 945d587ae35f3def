//! Where the walk leads, and when it leads outside.

use super::*;

#[test]
fn the_walk_goes_down_the_best_children() {
    let mut scene = Scene::new(5);
    assert_eq!(scene.head(), inside("p"));
    scene.commit("p", 0, "a");
    scene.commit("a", 0, "aa");
    assert_eq!(scene.head(), inside("aa"));
    scene.commit("p", 1, "b");
    scene.vote("p", 2, "b");
    assert_eq!(scene.head(), inside("b"));
    scene.ack("aa", 3, None);
    scene.ack("a", 4, None);
    assert_eq!(scene.head(), inside("aa"));
}

#[test]
fn depth_weighs_nothing() {
    let mut scene = Scene::new(3);
    let mut tip = String::from("p");
    for depth in 0..20 {
        let name = format!("private {depth}");
        scene.commit(&tip, 0, &name);
        tip = name;
    }
    assert_eq!(scene.head(), inside(&tip));
    // Two honest members on one epoch beat twenty epochs of one member, who has the better rank.
    scene.commit("p", 1, "honest");
    assert_eq!(scene.head(), inside(&tip));
    scene.ack("honest", 2, None);
    assert_eq!(scene.head(), inside("honest"));
    assert!(scene.decision("p").soft_final());
    for depth in 20..25 {
        let name = format!("private {depth}");
        scene.commit(&tip, 0, &name);
        tip = name;
    }
    assert_eq!(scene.head(), inside("honest"));
}

#[test]
fn invented_members_do_not_count() {
    // A lone member adds a hundred leaves to its own branch, and all of them speak there.
    let mut scene = Scene::new(3);
    let mut crowd = scene.made("p");
    crowd.electors.extend(3..103);
    crowd.width = 128;
    scene.commit_as("p", 0, "crowd", 1, Ok(crowd), None);
    scene.commit("p", 1, "honest");
    for by in 3..103 {
        scene.ack("crowd", by, None);
    }
    assert_eq!(scene.head(), inside("crowd"));
    scene.ack("honest", 2, None);
    assert_eq!(scene.head(), inside("honest"));
}

#[test]
fn a_child_that_cannot_be_entered_is_skipped_until_it_is_decided() {
    let why = Blocked::Unusable("The path is of no use.".into());
    let mut scene = Scene::new(5);
    scene.commit_as("p", 0, "shut", 1, Err(why.clone()), None);
    assert_eq!(scene.head(), inside("p"));
    scene.commit("p", 4, "open");
    assert_eq!(scene.head(), inside("open"));
    scene.vote("p", 1, "shut");
    // It leads by one, two are silent.
    assert_eq!(scene.head(), inside("open"));
    scene.vote("p", 2, "shut");
    // It leads by two, one is silent.
    assert_eq!(scene.head(), outside("p", "shut", why.clone()));
    // The last one stands against it: still decided.
    scene.vote("p", 3, "open");
    assert_eq!(scene.head(), outside("p", "shut", why));
    // Its voters equivocate: it is not decided for "shut" any more.
    scene.vote("p", 1, "open");
    scene.vote("p", 2, "open");
    assert_eq!(scene.head(), inside("open"));
}

#[test]
fn a_losing_child_that_cannot_be_entered_stays_skipped() {
    let mut scene = Scene::new(3);
    scene.commit_as("p", 0, "shut", 1, Err(REMOVED), None);
    scene.commit("p", 1, "open");
    scene.ack("open", 2, None);
    assert!(scene.decision("p").soft_final());
    assert_eq!(scene.head(), inside("open"));
}

#[test]
fn outside_is_found_below_the_anchor_too() {
    let mut scene = Scene::new(3);
    scene.commit("p", 0, "a");
    scene.commit_as("a", 0, "gone", 1, Err(REMOVED), None);
    assert_eq!(scene.head(), inside("a"));
    scene.vote("a", 1, "gone");
    assert_eq!(scene.head(), outside("a", "gone", REMOVED));
}

#[test]
fn a_named_child_that_is_not_known_keeps_the_decision_open() {
    let mut scene = Scene::new(4);
    scene.commit("p", 0, "a");
    scene.vote("p", 1, "a");
    scene.vote("p", 2, "rumour");
    scene.vote("p", 3, "rumour");
    // Everybody has spoken, but what "rumour" is may decide the tie.
    assert_eq!(scene.weights("p"), ranking([("a", 2), ("rumour", 2)]));
    assert!(!scene.decision("p").soft_final());
    assert_eq!(scene.head(), inside("a"));
    let removing = scene.made("p").removing(&[1]);
    scene.commit_as("p", 3, "rumour", 0, Ok(removing), None);
    assert!(scene.decision("p").soft_final());
    assert_eq!(scene.head(), inside("rumour"));
}

#[test]
fn the_walk_takes_the_best_known_child() {
    let mut scene = Scene::new(6);
    scene.commit("p", 0, "a");
    for by in 1..6 {
        scene.vote("p", by, "unknown");
    }
    let decision = scene.decision("p");
    assert_eq!(scene.weights("p"), ranking([("unknown", 5), ("a", 1)]));
    assert!(!decision.soft_final() && !decision.hard_final() && !decision.holds());
    assert_eq!(scene.head(), inside("a"));
    scene.commit("p", 5, "unknown");
    assert!(scene.decision("p").hard_final());
    assert_eq!(scene.head(), inside("unknown"));
}

#[test]
fn what_only_void_members_name_is_not_a_child() {
    let mut scene = Scene::new(4);
    scene.commit("p", 0, "a");
    scene.vote("p", 1, "a");
    scene.vote("p", 2, "x");
    scene.vote("p", 3, "x");
    assert!(!scene.decision("p").all_known());
    scene.vote("p", 2, "y");
    scene.vote("p", 3, "z");
    assert_eq!(scene.weights("p"), ranking([("a", 2)]));
    assert!(scene.decision("p").all_known() && scene.decision("p").soft_final());
}

#[test]
fn two_who_remove_each_other() {
    // 0 removes 1, and 1 removes 0: seen by 2, who can enter both, by 0 and by 1. 2 and 3 stand with 0.
    let seen_by = |own: u32| {
        let mut scene = Scene::new(4);
        let without = |removed: u32| {
            if removed == own { Err(REMOVED) } else { Ok(scene.made("p").removing(&[removed])) }
        };
        let (without_1, without_0) = (without(1), without(0));
        scene.commit_as("p", 0, "keeps 0", 1, without_1, None);
        scene.commit_as("p", 1, "keeps 1", 1, without_0, None);
        scene
    };
    let (mut third, mut first, mut second) = (seen_by(2), seen_by(0), seen_by(1));
    assert_eq!(third.head(), inside("keeps 0"));
    assert_eq!(first.head(), inside("keeps 0"));
    // Both are electors of the fork, so one vote each decides nothing.
    assert_eq!(second.head(), inside("keeps 1"));
    for scene in [&mut third, &mut first, &mut second] {
        assert_eq!(scene.decision("p").electors, 4);
        scene.vote("p", 2, "keeps 0");
        assert!(!scene.decision("p").soft_final());
        scene.vote("p", 3, "keeps 0");
        assert!(scene.decision("p").soft_final());
    }
    assert_eq!(third.head(), inside("keeps 0"));
    assert_eq!(first.head(), inside("keeps 0"));
    assert_eq!(second.head(), outside("p", "keeps 0", REMOVED));
    assert_eq!(third.decision("p"), second.decision("p"));
}

#[test]
fn a_deleted_branch_is_not_entered_again() {
    let mut scene = Scene::new(5);
    scene.commit("p", 0, "a");
    scene.commit("a", 0, "aa");
    scene.commit("p", 1, "b");
    scene.vote("p", 2, "b");
    let mut history = scene.history;
    assert_eq!(history.head(), inside("b"));
    history.remove_branch(&epoch("a")).unwrap();
    assert_eq!(history.epochs().map(|(id, _)| id.clone()).collect::<Vec<_>>(), [epoch("b"), epoch("p")]);
    // Its votes go on counting; it is skipped while it is not decided, and then this client is outside.
    history.record_vote(&epoch("p"), LeafIndex(3), &commit("a"), None).unwrap();
    assert_eq!(history.epoch(&epoch("p")).unwrap().decision().ranked[0].commit, commit("a"));
    assert_eq!(history.head(), inside("b"));
    history.record_vote(&epoch("p"), LeafIndex(4), &commit("a"), None).unwrap();
    assert!(
        matches!(history.head(), Head { outside: Some((id, Blocked::Unusable(_))), .. } if id == commit("a"))
    );
    // It cannot come a second time, and the history can be stored and loaded.
    let again = record(&mut history, &scene.reference.messages[0]);
    assert_eq!(again, Err(HistoryError::EpochExists));
    let epochs = history.epochs().map(|(id, epoch)| (id.clone(), epoch.clone()));
    assert_eq!(History::from_epochs(epochs).unwrap(), history);
    assert_eq!(history.remove_branch(&epoch("p")), Err(HistoryError::UnknownEpoch));
    assert_eq!(history.remove_branch(&epoch("a")), Err(HistoryError::UnknownEpoch));
}
