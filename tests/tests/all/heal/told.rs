//! Nothing is lost without a word: what was to be carried and is not any more is told, and who is removed stays so.

use dmls_core::framing::DmlsProfile;
use dmls_core::group::{Disposition, Event, Input};
use dmls_core::history::Operation;
use dmls_tests::World;
use dmls_tests::oracle::assert_one_head;

use super::{assert_healed, has, world};

/// How often a client was told that the removal of another is lost.
fn told(world: &World, place: usize, other: usize) -> usize {
    let target = world.peers[other].client.fingerprint();
    let removal =
        |operation: &Operation| matches!(operation, Operation::Remove(m) if m.fingerprint == target);
    let lost = |event: &&Event| match event {
        Event::BranchLost { operations, .. } => operations.iter().any(|(_, operation)| removal(operation)),
        _ => false,
    };
    world.peers[place].events.iter().filter(lost).count()
}

fn only_head(world: &World) -> bool {
    world.peers[0].group().history().epochs.iter().all(|epoch| epoch.on_head)
}

/// Six clients with these admins and this age of epochs.
fn administered(seed: u64, admins: &[usize], max_age_seconds: u64) -> World {
    let mut world = World::new(seed, 6);
    let admins = admins.iter().map(|place| world.peers[*place].client.credential().clone()).collect();
    world.create(DmlsProfile { admins, max_age_seconds, ..DmlsProfile::default() });
    world.invite(0, &[1, 2, 3, 4, 5]);
    world.run(60_000);
    world
}

const WEEK_S: u64 = 7 * 24 * 3600;

/// 3, an admin, has removed 2 on a branch that 5 brings to the others, and is away; so is 4, another.
fn nobody_merges(max_age_seconds: u64) -> World {
    let mut world = administered(1, &[0, 3, 4], max_age_seconds);
    // 0 steps down, so that no admin is there.
    let admins = [3, 4].map(|place: usize| world.peers[place].client.credential().clone()).to_vec();
    world.act(0, |group, now, rng| group.set_admins(&admins, now, rng).expect("a commit"));
    world.run(60_000);
    world.cut(&[0, 0, 0, 1, 2, 1]);
    world.refresh(0);
    world.run(10_000);
    world.remove(3, 2);
    world.run(30_000);
    world.cut(&[0, 0, 0, 1, 2, 0]);
    world.run(60_000);
    assert_one_head(&world, &[0, 1, 2, 5]);
    assert!(has(&world, 0, 2) && told(&world, 0, 2) == 0, "an admin may still merge it");
    world
}

#[test]
fn a_removal_whose_author_goes_is_lost() {
    for removed in [false, true] {
        let mut world = nobody_merges(WEEK_S);
        world.cut(&[0, 0, 0, 1, 0, 0]);
        if removed {
            world.spread();
            world.remove(4, 3);
        }
        world.run(60_000);
        for place in [0, 1, 4, 5] {
            let once = usize::from(removed);
            assert_eq!((told(&world, place, 2), has(&world, place, 2)), (once, removed), "member {place}");
        }
    }
}

#[test]
fn a_removal_whose_branch_is_deleted_is_lost() {
    for (age, deleted) in [(900, true), (WEEK_S, false)] {
        let mut world = nobody_merges(age);
        world.run(1_800_000);
        for place in [0, 1, 5] {
            assert_eq!(told(&world, place, 2), usize::from(deleted), "member {place}");
        }
        assert_eq!(only_head(&world), deleted);
        assert!(has(&world, 0, 2));
    }
}

/// 0 and 1, the admins, have left on a side each, that of 1 wins, and 2 brings the other over; 0 is there or away.
fn last_admin_leaves(away: bool) -> World {
    let mut world = administered(2, &[0, 1], 900);
    world.cut(&[0, 1, 0, 1, 1, 1]);
    for place in [0, 1] {
        world.act(place, |group, now, rng| group.leave(now, rng).expect("a proposal"));
    }
    world.run(30_000);
    assert!(!has(&world, 2, 0) && has(&world, 2, 1) && has(&world, 3, 0) && !has(&world, 3, 1));
    world.cut(&[usize::from(away), 0, 0, 0, 0, 0]);
    world.run(60_000);
    assert_one_head(&world, &[2, 3, 4, 5]);
    world
}

#[test]
fn the_last_admin_goes_where_it_asks_again_and_else_it_is_told() {
    for away in [false, true] {
        let mut world = last_admin_leaves(away);
        assert_eq!((has(&world, 3, 0), told(&world, 3, 0)), (away, 0));
        world.run(1_800_000);
        for place in 2..6 {
            let told = told(&world, place, 0);
            assert_eq!((has(&world, place, 0), told), (away, usize::from(away)), "member {place}");
        }
    }
}

#[test]
fn who_came_and_went_while_a_member_was_away_is_not_added_by_it() {
    let mut world = world(40, 5, 6);
    world.cut(&[0, 0, 0, 0, 1, 1]);
    world.refresh(0);
    world.invite(4, &[5]);
    world.run(20_000);
    world.cut(&[0, 0, 0, 0, 0, 1]);
    world.run(30 * 60_000);
    assert!(only_head(&world), "the branch is gone, and 5 has been put off");
    world.cut(&[0, 0, 1, 0, 0, 0]);
    let id = world.peers[0].group().id().clone();
    let client = world.peers[5].client.clone();
    let request =
        client.rejoin_key_package(&id, &world.options, world.now, &mut world.rng).expect("a request").bytes;
    world.act(0, |group, now, rng| group.handle(Input::KeyPackage(&request), now, rng));
    world.run(60_000);
    assert!(has(&world, 0, 5));
    world.remove(0, 5);
    world.run(60_000);
    let again = client.rejoin_key_package(&id, &world.options, world.now, &mut world.rng).expect("a request");
    let offer = |world: &mut World| {
        let step = world.peers[2].group().handle(Input::KeyPackage(&again.bytes), world.now, &mut world.rng);
        world.take_step(2, step)
    };
    // Control: until it has heard of that it would add the client.
    assert_eq!(offer(&mut world.clone()), Some(Disposition::Applied));
    // It hears the last first: all that has waited is taken in one step.
    world.cut(&[0, 0, 0, 0, 0, 1]);
    let mut missed: Vec<usize> =
        world.deliverable().into_iter().filter(|(_, to)| *to == 2).map(|(index, _)| index).collect();
    missed.sort_unstable_by(|one, other| other.cmp(one));
    for index in missed {
        world.deliver(index, 2);
    }
    assert!(!has(&world, 2, 5));
    assert!(matches!(offer(&mut world), Some(Disposition::Rejected { .. })));
    world.run(60_000);
    assert_healed(&world, &[0, 1, 2, 3, 4]);
    assert!(!has(&world, 0, 5));
}
