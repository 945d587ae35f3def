//! Merge commits: removals, who makes them, and when.

use dmls_core::framing::DmlsProfile;
use dmls_core::group::{Event, Standing};
use dmls_core::history::Operation;
use dmls_tests::World;
use dmls_tests::oracle::{assert_one_head, fingerprint};

use super::{assert_healed, has, merges, mismatches, texts, world};

fn standing(world: &World, place: usize) -> Standing {
    world.peers[place].group().view().expect("a head").standing
}

#[test]
fn a_removal_on_the_losing_side_is_carried_over() {
    for seed in 1..=5 {
        let mut world = world(seed, 6, 6);
        world.cut(&[0, 0, 0, 0, 1, 1]);
        world.refresh(0);
        world.remove(4, 1);
        world.send(4, "without one");
        world.send(1, "before I knew");
        world.run(20_000);
        assert!(has(&world, 0, 1) && !has(&world, 4, 1));
        world.heal();
        world.run(120_000);
        assert_healed(&world, &[0, 2, 3, 4, 5]);
        assert!(!has(&world, 0, 1), "seed {seed}: the removal is in effect");
        assert_eq!(standing(&world, 1), Standing::Removed, "seed {seed}");
        let (by, carried, deferred) = &merges(&world, 0)[0];
        assert!(matches!(&carried[..], [Operation::Remove(member)]
            if member.fingerprint == world.peers[1].client.fingerprint()));
        assert_eq!(*deferred, 0);
        assert_ne!(by.fingerprint, world.peers[1].client.fingerprint());
        for place in [0, 2, 3, 5] {
            assert_eq!(texts(&world, place), ["before I knew", "without one"], "seed {seed}: member {place}");
        }
    }
}

#[test]
fn without_anything_to_carry_nobody_merges() {
    let mut world = world(7, 5, 5);
    world.cut(&[0, 0, 0, 1, 1]);
    world.refresh(0);
    world.refresh(3);
    world.run(20_000);
    world.heal();
    world.run(120_000);
    assert_healed(&world, &[0, 1, 2, 3, 4]);
    assert!(merges(&world, 0).is_empty());
}

#[test]
fn of_two_who_remove_each_other_across_a_cut_the_winners_stands() {
    for seed in 10..=15 {
        let mut world = world(seed, 5, 5);
        world.cut(&[0, 0, 0, 1, 1]);
        world.remove(0, 4);
        world.remove(4, 0);
        world.run(20_000);
        world.heal();
        world.run(120_000);
        // Three stand against two.
        assert_healed(&world, &[0, 1, 2, 3]);
        assert!(has(&world, 1, 0) && !has(&world, 1, 4), "seed {seed}");
        assert_eq!(standing(&world, 4), Standing::Removed, "seed {seed}");
        assert!(merges(&world, 0).is_empty(), "its author is out: nothing is carried");
    }
}

#[test]
fn who_is_removed_on_one_side_and_acts_on_the_other_acts_for_nothing() {
    let mut world = world(20, 6, 6);
    world.cut(&[0, 0, 0, 0, 1, 1]);
    world.remove(0, 5);
    // 5 removes 1, and 4 removes 2: the first has no author any more.
    world.remove(5, 1);
    world.run(20_000);
    world.remove(4, 2);
    world.run(20_000);
    world.heal();
    world.run(120_000);
    assert_healed(&world, &[0, 1, 3, 4]);
    assert!(has(&world, 0, 1), "who removed it is out");
    assert!(!has(&world, 0, 2), "who removed it is in");
    assert_eq!((standing(&world, 2), standing(&world, 5)), (Standing::Removed, Standing::Removed));
}

#[test]
fn a_split_inside_a_split() {
    let mut world = world(21, 8, 8);
    world.cut(&[0, 0, 0, 0, 0, 1, 1, 1]);
    world.refresh(0);
    world.refresh(5);
    world.run(20_000);
    world.cut(&[0, 0, 0, 0, 0, 1, 1, 2]);
    world.remove(5, 1);
    world.remove(7, 2);
    world.run(20_000);
    world.cut(&[0, 0, 0, 0, 0, 1, 1, 1]);
    world.run(60_000);
    assert!(!has(&world, 5, 1) && !has(&world, 5, 2), "the losing side has healed its own split");
    world.heal();
    world.run(180_000);
    assert_healed(&world, &[0, 3, 4, 5, 6, 7]);
    assert_eq!(fingerprint(&world, 0).members.len(), 6);
}

#[test]
fn a_second_cut_while_a_merge_is_on_its_way() {
    for seed in 30..36 {
        let mut world = world(seed, 7, 7);
        world.cut(&[0, 0, 0, 0, 1, 1, 1]);
        world.refresh(0);
        world.remove(4, 1);
        world.run(20_000);
        world.heal();
        // The votes go round, somebody merges, and only some hear of it.
        let mut waited = 0;
        while world.peers.iter().all(|peer| !peer.events.iter().any(|e| matches!(e, Event::Merged { .. }))) {
            world.spread_some(5);
            world.run_alone(200);
            waited += 200;
            assert!(waited < 60_000, "seed {seed}: nobody merges");
        }
        world.cut(&[0, 1, 0, 1, 0, 1, 0]);
        world.run(40_000);
        world.heal();
        world.run(180_000);
        assert_healed(&world, &[0, 2, 3, 4, 5, 6]);
        assert!(!has(&world, 0, 1), "seed {seed}");
        assert_eq!(standing(&world, 1), Standing::Removed, "seed {seed}");
    }
}

#[test]
fn two_merges_at_once_are_a_fork_that_ends() {
    let mut world = world(40, 6, 6);
    world.cut(&[0, 0, 0, 0, 1, 1]);
    world.refresh(0);
    world.remove(4, 1);
    world.run(20_000);
    world.heal();
    world.spread();
    // Each has its turn without having heard of the others.
    world.cut(&[0, 1, 2, 3, 4, 5]);
    world.run(30_000);
    world.heal();
    world.run(180_000);
    assert_healed(&world, &[0, 2, 3, 4, 5]);
    assert!(!has(&world, 0, 1));
    assert!(merges(&world, 0).len() > 1, "more than one has merged");
    let forks = world.peers[0].events.iter().filter(|event| matches!(event, Event::Forked { .. })).count();
    assert!(forks < 20, "it ends: {forks} forks");
}

#[test]
fn in_a_group_of_two_the_merge_carries_too() {
    for seed in 50..56 {
        let mut world = world(seed, 3, 3);
        world.cut(&[0, 1, 0]);
        world.refresh(1);
        world.remove(0, 2);
        world.run(20_000);
        world.heal();
        world.run(120_000);
        assert_healed(&world, &[0, 1]);
        assert!(!has(&world, 0, 2) && !has(&world, 1, 2), "seed {seed}");
    }
}

/// A group with admins: 0 and 1.
fn governed(seed: u64) -> World {
    let mut world = World::new(seed, 6);
    let admins = [0, 1].map(|place| world.peers[place].client.credential().clone()).to_vec();
    world.create(DmlsProfile { admins, ..DmlsProfile::default() });
    world.invite(0, &[1, 2, 3, 4, 5]);
    world.run(60_000);
    world
}

#[test]
fn with_an_admin_list_an_admin_merges() {
    let mut world = governed(60);
    world.cut(&[0, 1, 1, 0, 0, 0]);
    world.refresh(3);
    world.run(20_000);
    world.remove(1, 5);
    world.run(20_000);
    world.heal();
    // A merge of an admin's removal is needed only where that removal lost; class 0 breaks ties only.
    world.run(120_000);
    assert_healed(&world, &[0, 1, 2, 3, 4]);
    assert!(!has(&world, 0, 5));
    let by: Vec<[u8; 32]> = merges(&world, 3).into_iter().map(|(by, _, _)| by.fingerprint).collect();
    let admins = [0, 1].map(|place| world.peers[place].client.fingerprint());
    assert!(!by.is_empty() && by.iter().all(|by| admins.contains(by)), "an admin has merged");
}

#[test]
fn with_an_admin_list_others_do_not_merge() {
    let mut world = governed(61);
    world.cut(&[1, 1, 1, 0, 0, 0]);
    world.remove(1, 5);
    world.run(20_000);
    world.cut(&[1, 1, 1, 0, 0, 2]);
    world.refresh(3);
    world.run(20_000);
    // The admins are away: the others know of the removal by what comes from member 2, and wait.
    world.cut(&[1, 1, 0, 0, 0, 0]);
    world.run(60_000);
    let number = |world: &World, place: usize| world.peers[place].group().view().expect("a head").number;
    let merged = (0..6).filter(|place| !merges(&world, *place).is_empty()).count();
    assert_eq!(merged, 0, "nobody has merged at epoch {}", number(&world, 2));
    world.heal();
    world.run(120_000);
    assert_healed(&world, &[0, 1, 2, 3, 4]);
    assert!(!has(&world, 3, 5));
}

#[test]
fn merge_before_sending() {
    let mut world = world(70, 6, 6);
    world.cut(&[0, 0, 0, 0, 1, 1]);
    world.refresh(0);
    world.run(20_000);
    world.remove(4, 1);
    world.run(20_000);
    world.heal();
    world.spread();
    // Decided, and nobody's turn has come.
    assert!(has(&world, 0, 1) && mismatches(&world) == 0);
    world.send(0, "not for everybody");
    assert!(!has(&world, 0, 1), "it has merged first");
    world.run(60_000);
    assert_eq!(texts(&world, 2), ["not for everybody"]);
    assert!(texts(&world, 1).is_empty(), "who is removed does not read it");
    let pending = |event: &Event| matches!(event, Event::RemovalPending { .. });
    assert!(!world.peers[0].events.iter().any(pending));
    assert_one_head(&world, &[0, 2, 3, 4, 5]);
}

#[test]
fn who_may_not_merge_is_told_that_a_removal_is_pending() {
    let mut world = governed(71);
    world.cut(&[0, 1, 1, 0, 0, 0]);
    world.refresh(3);
    world.run(20_000);
    world.remove(1, 5);
    world.run(20_000);
    world.heal();
    world.spread();
    assert!(has(&world, 3, 5));
    world.send(3, "for all");
    let pending = |event: &Event| matches!(event, Event::RemovalPending { members } if members.len() == 1);
    assert!(world.peers[3].events.iter().any(pending));
    world.run(60_000);
    assert_eq!(texts(&world, 5), ["for all"]);
    assert!(!has(&world, 3, 5));
}
