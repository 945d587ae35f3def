//! Soft-final, hard-final, closed.

use super::*;

/// "a" with `first` electors, "b" with `second`; the others say nothing.
fn fork(members: u32, first: u32, second: u32) -> Scene {
    let mut scene = Scene::new(members);
    scene.commit("p", 0, "a");
    (1..first).for_each(|by| {
        scene.vote("p", by, "a");
    });
    if second > 0 {
        scene.commit("p", first, "b");
    }
    (first + 1..first + second).for_each(|by| {
        scene.vote("p", by, "b");
    });
    scene
}

#[test]
fn hard_final_needs_more_than_two_thirds() {
    for (members, needed) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (8, 6), (9, 7), (10, 7)]
    {
        let decision = fork(members, needed, 0).decision("p");
        assert!(decision.hard_final() && decision.soft_final() && decision.holds(), "{needed} of {members}");
        if needed > 1 {
            assert!(!fork(members, needed - 1, 0).decision("p").hard_final(), "{} of {members}", needed - 1);
        }
    }
}

#[test]
fn soft_final_leads_by_more_than_the_silent() {
    // 10 members: 4 against 2 leaves 4 silent, 5 against 2 leaves 3, 6 against 3 leaves 1.
    assert!(!fork(10, 4, 2).decision("p").soft_final());
    assert!(!fork(10, 5, 2).decision("p").soft_final());
    let narrow = fork(10, 6, 3).decision("p");
    assert!(narrow.soft_final() && !narrow.hard_final() && !narrow.holds());
    // A lead as great as the silent is not enough, unless nobody is silent.
    assert!(!fork(4, 2, 1).decision("p").soft_final());
    assert!(fork(4, 2, 2).decision("p").soft_final());
}

#[test]
fn a_decision_holds_with_a_third_to_spare() {
    // 10 members, U = 0, a third is 3: a lead of 4 holds, a lead of 2 does not. 7 would be hard-final.
    let void = |mut scene: Scene, leaf: u32| {
        scene.vote("p", leaf, "a");
        scene.vote("p", leaf, "b");
        scene
    };
    let clear = void(fork(10, 6, 3), 9).decision("p");
    assert_eq!((clear.ranked[0].weight, clear.ranked[1].weight, clear.silent), (6, 3, 0));
    // One equivocator counts as it could have voted: 6 + 1 of 10 is more than two thirds.
    assert!(clear.hard_final());
    let mut seven = fork(7, 4, 0);
    assert!(!seven.decision("p").holds());
    seven.vote("p", 4, "unknown");
    let decision = seven.decision("p");
    assert!(decision.soft_final() && !decision.holds());
    for (members, first, second, holds) in
        [(20, 13, 7, false), (20, 13, 0, false), (21, 14, 6, true), (21, 13, 7, false)]
    {
        let decision = fork(members, first, second).decision("p");
        assert!(!decision.hard_final());
        let spare = first - second > members - first - second + (members - 1) / 3;
        assert_eq!((decision.holds(), spare), (holds, holds), "{first} against {second} of {members}");
    }
}

#[test]
fn groups_of_three_hold_when_soft_final() {
    for (members, first, second) in [(2, 1, 1), (3, 2, 1), (3, 2, 0)] {
        let decision = fork(members, first, second).decision("p");
        assert!(decision.soft_final() && decision.holds() && !decision.hard_final(), "{members}");
    }
    let open = fork(3, 1, 1).decision("p");
    assert!(!open.soft_final() && !open.holds());
}

#[test]
fn hard_final_is_never_reopened_by_an_equivocation() {
    for members in [2, 3, 4, 7, 10] {
        let needed = 2 * members / 3 + 1;
        // Whoever equivocates, and whatever the others do.
        for against in 0..=members - needed {
            for equivocator in 0..members {
                for second in ["a", "b", "unknown"] {
                    let mut scene = fork(members, needed, against);
                    assert!(scene.decision("p").hard_final());
                    let own = if equivocator < needed { "a" } else { "other" };
                    scene.vote("p", equivocator, own);
                    scene.vote("p", equivocator, second);
                    let decision = scene.decision("p");
                    assert!(decision.hard_final(), "{equivocator} of {members} names {second}");
                    assert_eq!(decision.ranked[0].commit, commit("a"));
                    assert!(scene.history.is_final(&epoch("a"), &|_| false));
                    assert_eq!(scene.head(), inside("a"));
                }
            }
        }
    }
}

#[test]
fn hard_final_survives_a_third_of_equivocators_and_no_more_is_promised() {
    for members in [4, 7, 10, 13] {
        let (needed, third) = (2 * members / 3 + 1, (members - 1) / 3);
        let mut scene = fork(members, needed, members - needed);
        for equivocator in 0..third {
            scene.vote("p", equivocator, "b");
            assert!(scene.decision("p").hard_final(), "{equivocator} of {members}");
        }
        assert_eq!(scene.head(), inside("a"));
        // One more: they could split the group, and nothing is called final for their sake.
        scene.vote("p", third, "b");
        assert!(!scene.decision("p").hard_final());
    }
}

#[test]
fn equivocators_alone_make_nothing_final() {
    for members in 1..=10 {
        let mut scene = Scene::new(members);
        scene.commit("p", 0, "a");
        for by in 0..members {
            scene.vote("p", by, "x");
            scene.vote("p", by, "y");
        }
        let decision = scene.decision("p");
        assert_eq!((decision.ranked[0].weight, decision.equivocators), (0, members as usize));
        assert!(!decision.hard_final(), "{members}");
    }
}

#[test]
fn votes_for_what_is_written_off_are_void_and_no_equivocation() {
    let mut scene = fork(4, 2, 0);
    scene.vote("p", 2, "lost");
    scene.vote("p", 3, "lost");
    assert!(!scene.decision("p").soft_final());
    scene.write_off("p", "lost");
    let decision = scene.decision("p");
    assert_eq!((decision.void.clone(), decision.equivocators), (leaves([2, 3]), 0));
    assert!(decision.soft_final() && decision.all_known() && !decision.hard_final());
    // It comes after all: its votes are back.
    assert!(scene.commit("p", 2, "lost"));
    assert_eq!(scene.weights("p"), ranking([("a", 2), ("lost", 2)]));
    assert!(scene.decision("p").void.is_empty());
}

#[test]
fn final_is_final_at_every_ancestor() {
    let mut scene = Scene::new(4);
    scene.commit("p", 0, "a");
    scene.commit("a", 0, "aa");
    assert!(scene.history.is_final(&epoch("p"), &|_| false));
    for by in [1, 2] {
        scene.ack("aa", by, Some("p"));
    }
    // "a" is decided; its parent is not.
    assert!(scene.decision("a").hard_final() && !scene.decision("p").hard_final());
    assert!(!scene.history.is_final(&epoch("aa"), &|_| false));
    // Closed does as well, for the child that leads there and for no other.
    assert!(scene.history.is_final(&epoch("aa"), &|above| above.number == 0));
    scene.commit("p", 3, "b");
    assert!(!scene.history.is_final(&epoch("b"), &|_| true));
    assert!(!scene.history.is_final(&epoch("nowhere"), &|_| true));
    let newest = |closed: &dyn Fn(&HistoryEpoch) -> bool| scene.history.newest_final(&epoch("aa"), closed);
    assert_eq!(newest(&|_| false), Some(&epoch("p")));
    assert_eq!(newest(&|above| above.number == 0), Some(&epoch("aa")));
    assert_eq!(scene.history.newest_final(&epoch("nowhere"), &|_| true), None);
    scene.ack("aa", 1, None);
    scene.ack("aa", 2, None);
    assert!(scene.history.is_final(&epoch("aa"), &|_| false));
    assert!(!scene.history.is_final(&epoch("b"), &|_| false));
}

fn settled(scene: &Scene, at: &str, own: u32) -> bool {
    scene.history.is_settled(&epoch(at), &scene.head().epoch, LeafIndex(own))
}

#[test]
fn closing_waits_until_all_have_spoken_below() {
    let mut scene = Scene::new(4);
    scene.commit("p", 0, "a");
    for by in 1..4 {
        scene.vote("p", by, "a");
    }
    assert!(scene.decision("p").hard_final() && !settled(&scene, "p", 0));
    scene.ack("a", 1, None);
    scene.say(Message::Application { at: epoch("a"), by: 2 });
    assert!(!settled(&scene, "p", 0));
    // Any message counts, also one on another branch; the own arrival needs none.
    assert!(!settled(&scene, "p", 3));
    scene.commit("p", 0, "b");
    scene.say(Message::Application { at: epoch("b"), by: 3 });
    assert!(settled(&scene, "p", 0));
    assert!(!settled(&scene, "p", 3));
    // Neither the head nor what is beside it closes.
    assert!(!settled(&scene, "a", 0) && !settled(&scene, "b", 0) && !settled(&scene, "nowhere", 0));
}

#[test]
fn closing_waits_for_no_one_who_has_left() {
    let mut scene = Scene::new(4);
    let without = scene.made("p").removing(&[3]);
    scene.commit_as("p", 0, "a", 1, Ok(without), None);
    for by in [1, 2] {
        scene.ack("a", by, None);
    }
    assert!(settled(&scene, "p", 0));
    // Nor does a new member at an old leaf speak for the old one: it is not waited for.
    let mut scene = Scene::new(4);
    let rejoining = scene.made("p").readding(&[3]);
    scene.commit_as("p", 0, "a", 1, Ok(rejoining), None);
    for by in [1, 2] {
        scene.ack("a", by, None);
    }
    assert!(settled(&scene, "p", 0));
}

#[test]
fn who_spoke_before_being_added_again_is_not_who_is_there_now() {
    // Head p-a-aa. 3 is added again beside it, speaks there, and is still the old one in the head.
    let mut scene = Scene::new(4);
    scene.commit("p", 0, "a");
    for by in [1, 2] {
        scene.ack("a", by, None);
    }
    let rejoining = scene.made("p").readding(&[3]);
    scene.commit_as("p", 2, "b", 1, Ok(rejoining), None);
    scene.ack("b", 3, None);
    assert!(!settled(&scene, "p", 0));
    scene.ack("a", 3, None);
    assert!(settled(&scene, "p", 0));
}

#[test]
fn closing_waits_for_a_child_that_is_named_and_not_known() {
    let mut scene = Scene::new(7);
    scene.commit("p", 0, "a");
    for by in 1..6 {
        scene.ack("a", by, None);
    }
    scene.say(Message::Application { at: epoch("a"), by: 6 });
    assert!(settled(&scene, "p", 0));
    scene.vote("p", 6, "late");
    assert!(scene.decision("p").hard_final() && !settled(&scene, "p", 0));
    scene.write_off("p", "late");
    assert!(settled(&scene, "p", 0));
}
