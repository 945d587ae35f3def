//! Whoever refreshed its keys only where it lost owes it to the head, and pays (DESIGN 4.6).

use dmls_core::group::Event;
use dmls_tests::World;
use dmls_tests::oracle::assert_one_head;

use super::{assert_healed, has, unhealed, world};

/// Messages that a client was given, with whether their sender was in debt.
fn marks(world: &World, place: usize) -> Vec<(Vec<u8>, bool)> {
    let mark = |event: &Event| match event {
        Event::Message { payload, unhealed, .. } => Some((payload.clone(), *unhealed)),
        _ => None,
    };
    world.peers[place].events.iter().filter_map(mark).collect()
}

#[test]
fn a_refresh_on_the_losing_side_is_owed_and_paid() {
    let mut world = world(1, 5, 5);
    world.cut(&[0, 0, 0, 1, 1]);
    world.refresh(1);
    world.refresh(3);
    world.run(20_000);
    world.heal();
    world.spread();
    let debtor = world.peers[0].leaf_of(&world.peers[3].client).expect("a member");
    let other = world.peers[0].leaf_of(&world.peers[4].client).expect("a member");
    assert_eq!(unhealed(&world, 0), [debtor]);
    let before = leaf_key(&world, 0, 3);
    world.send(3, "in debt");
    world.send(4, "without");
    world.spread();
    assert_ne!(debtor, other);
    let mut seen = marks(&world, 0);
    seen.sort();
    assert_eq!(seen, [(b"in debt".to_vec(), true), (b"without".to_vec(), false)]);
    world.run(120_000);
    assert_healed(&world, &[0, 1, 2, 3, 4]);
    assert_ne!(leaf_key(&world, 0, 3), before, "its keys are new");
    world.send(3, "out of debt");
    world.spread();
    assert_eq!(marks(&world, 0).last(), Some(&(b"out of debt".to_vec(), false)));
}

/// The encryption key of a member in another's head.
fn leaf_key(world: &World, place: usize, other: usize) -> Vec<u8> {
    let group = world.peers[place].group();
    let leaf = world.peers[place].leaf_of(&world.peers[other].client).expect("a member");
    let insider = dmls_tests::Insider::read(&world.peers[place].store, group.id(), group.head());
    let epoch = insider.expect("a head").epoch;
    epoch.leaf(leaf).expect("a leaf").encryption_key.as_slice().to_vec()
}

#[test]
fn an_own_commit_pays() {
    let mut world = world(2, 5, 5);
    world.cut(&[0, 0, 0, 1, 1]);
    world.refresh(1);
    world.refresh(3);
    world.run(20_000);
    world.heal();
    world.spread();
    assert_eq!(unhealed(&world, 0).len(), 1);
    world.refresh(3);
    world.spread();
    assert!(unhealed(&world, 0).is_empty() && unhealed(&world, 3).is_empty());
    world.run(60_000);
    assert_healed(&world, &[0, 1, 2, 3, 4]);
}

#[test]
fn many_debts_are_paid_by_few_commits() {
    let mut world = world(3, 9, 9);
    world.cut(&[0, 0, 0, 0, 0, 1, 1, 1, 1]);
    world.refresh(1);
    for place in 5..9 {
        world.refresh(place);
        world.run(5_000);
    }
    world.run(20_000);
    world.heal();
    world.spread();
    assert_eq!(unhealed(&world, 0).len(), 4);
    let before = world.peers[0].group().view().expect("a head").number;
    world.run(120_000);
    assert_healed(&world, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let after = world.peers[0].group().view().expect("a head").number;
    assert!(after - before <= 3, "{} commits for four debts", after - before);
}

#[test]
fn debts_of_both_sides_of_many_forks_end() {
    for seed in 20..26 {
        let mut world = world(seed, 6, 6);
        for round in 0..4 {
            world.cut(&[0, 0, 0, 1, 1, 1]);
            world.refresh(round % 3);
            world.refresh(3 + round % 3);
            world.run(9_000);
            world.heal();
            world.run(4_000);
        }
        world.run(180_000);
        assert_healed(&world, &[0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn who_owes_and_is_away_stays_in_debt() {
    let mut world = world(30, 5, 5);
    world.cut(&[0, 0, 0, 1, 1]);
    world.refresh(1);
    world.refresh(3);
    world.run(20_000);
    // Everything of the losing side comes over by 4, and 3 is away.
    world.cut(&[0, 0, 0, 1, 0]);
    world.run(60_000);
    assert_one_head(&world, &[0, 1, 2, 4]);
    assert_eq!(unhealed(&world, 0).len(), 1);
    assert!(has(&world, 0, 3));
    world.heal();
    world.run(60_000);
    assert_healed(&world, &[0, 1, 2, 3, 4]);
}
