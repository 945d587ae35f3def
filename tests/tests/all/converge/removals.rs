//! Removals and leaving, on winning and on losing branches.

use dmls_core::group::{Disposition, Event, Place, Standing, Unreadable};
use dmls_core::history::Operation;
use dmls_tests::World;

use super::{assert_one_head, fingerprint};

fn standing(world: &World, place: usize) -> Standing {
    world.peers[place].group().view().expect("a head").standing
}

fn removals(world: &World, place: usize) -> usize {
    world.peers[place].events.iter().filter(|event| matches!(event, Event::Removed { .. })).count()
}

#[test]
fn removed_on_the_side_that_wins() {
    let mut world = World::new(1, 5);
    world.form();
    world.cut(&[0, 0, 0, 1, 1]);
    world.remove(0, 4);
    world.refresh(3);
    world.send(4, "still here");
    world.run(30_000);
    world.heal();
    world.run(60_000);
    assert_one_head(&world, &[0, 1, 2, 3]);
    assert_eq!((standing(&world, 4), removals(&world, 4)), (Standing::Removed, 1));
    assert!(!fingerprint(&world, 0).members.contains(&world.peers[4].client.fingerprint()));
    for place in 0..3 {
        assert_eq!(world.peers[place].messages().len(), 1, "what it said before it knew is read");
    }
    let sent = world.sent();
    let group = world.peers[4].group().clone();
    assert!(group.send(b"no", world.now, &mut world.rng).is_err());
    world.run(60_000);
    assert_eq!(world.sent(), sent, "it says nothing any more");
}

#[test]
fn removed_on_the_side_that_loses() {
    let mut world = World::new(2, 5);
    world.form();
    world.cut(&[0, 0, 0, 1, 1]);
    world.remove(3, 0);
    world.refresh(1);
    world.run(30_000);
    world.heal();
    world.spread();
    assert_one_head(&world, &[0, 1, 2, 3, 4]);
    assert_eq!((fingerprint(&world, 0).members.len(), removals(&world, 0)), (5, 0), "the removal lost");
    world.run(60_000);
    assert_one_head(&world, &[1, 2, 3, 4]);
    assert_eq!(fingerprint(&world, 1).members.len(), 4, "and is carried over");
    assert_eq!((standing(&world, 0), removals(&world, 0)), (Standing::Removed, 1));
}

#[test]
fn of_two_who_remove_each_other_one_stays() {
    for (seed, n) in (1..=10).map(|seed| (seed, 2 + seed as usize % 4)) {
        let mut world = World::new(seed, n);
        world.form();
        world.remove(0, 1);
        world.remove(1, 0);
        world.run(120_000);
        let out: Vec<usize> = (0..n).filter(|place| standing(&world, *place) == Standing::Removed).collect();
        assert!(out == [0] || out == [1], "seed {seed}: one of the two removals stands: {out:?}");
        let stay: Vec<usize> = (0..n).filter(|place| !out.contains(place)).collect();
        assert_one_head(&world, &stay);
        assert_eq!(fingerprint(&world, stay[0]).members.len(), n - 1);
    }
}

#[test]
fn a_group_of_two_forks_and_one_concedes() {
    for seed in 1..=6 {
        let mut world = World::new(seed, 2);
        world.form();
        world.refresh(0);
        world.refresh(1);
        world.run(60_000);
        assert_one_head(&world, &[0, 1]);
        world.remove(0, 1);
        world.run(60_000);
        assert_eq!((standing(&world, 0), standing(&world, 1)), (Standing::Member, Standing::Removed));
        assert_eq!(fingerprint(&world, 0).members.len(), 1);
    }
}

#[test]
fn who_leaves_is_removed_by_one_of_the_others() {
    let (mut commits, runs) = (0, 20);
    for seed in 1..=runs {
        let mut world = World::new(seed, 5);
        world.form();
        let before = world.peers[0].group().view().expect("a head").number;
        world.act(2, |group, now, rng| group.leave(now, rng).expect("a proposal"));
        assert_eq!(standing(&world, 2), Standing::Leaving);
        world.run(60_000);
        assert_eq!((standing(&world, 2), removals(&world, 2)), (Standing::Removed, 1));
        assert_one_head(&world, &[0, 1, 3, 4]);
        let view = world.peers[0].group().view().expect("a head");
        assert_eq!((view.number, view.members.len()), (before + 1, 4));
        let forks = world.peers[0].events.iter().filter(|event| matches!(event, Event::Forked { .. }));
        commits += 1 + forks.count();
    }
    println!("{runs} who left took {commits} commits");
    assert!(commits <= 22, "turns keep commits apart: {commits} for {runs}");
}

#[test]
fn all_but_one_leave_at_once() {
    let mut world = World::new(30, 4);
    world.form();
    for place in [1, 2, 3] {
        world.act(place, |group, now, rng| group.leave(now, rng).expect("a proposal"));
    }
    world.run(120_000);
    for place in [1, 2, 3] {
        assert_eq!(standing(&world, place), Standing::Removed, "member {place}");
    }
    assert_eq!(fingerprint(&world, 0).members.len(), 1);
}

#[test]
fn leaving_on_a_losing_branch_is_asked_again() {
    let mut world = World::new(31, 5);
    world.form();
    world.cut(&[0, 0, 0, 1, 1]);
    world.refresh(0);
    world.refresh(3);
    world.run(20_000);
    world.act(4, |group, now, rng| group.leave(now, rng).expect("a proposal"));
    world.run(20_000);
    assert_eq!(fingerprint(&world, 3).members.len(), 4, "its own side has removed it");
    world.heal();
    world.run(120_000);
    assert_eq!(standing(&world, 4), Standing::Removed);
    assert_one_head(&world, &[0, 1, 2, 3]);
    assert_eq!(fingerprint(&world, 0).members.len(), 4);
}

#[test]
fn joiners_of_both_sides() {
    let mut world = World::new(32, 7);
    world.create(Default::default());
    world.invite(0, &[1, 2, 3, 4]);
    world.run(60_000);
    world.cut(&[0, 0, 0, 1, 1, 0, 1]);
    world.invite(0, &[5]);
    world.invite(3, &[6]);
    world.run(30_000);
    world.send(1, "on the winning side");
    world.cut(&[0, 0, 0, 1, 1, 2, 1]);
    world.refresh(2);
    world.send(2, "late");
    world.run(20_000);
    world.heal();
    world.run(120_000);
    assert_one_head(&world, &[0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(world.peers[5].messages().len(), 2);
    // Whoever joined the losing side has come over, and so its invitation is not lost.
    assert_eq!(fingerprint(&world, 6).members.len(), 7);
    let lost = world.peers[3].events.iter().any(|event| match event {
        Event::BranchLost { operations, .. } => {
            operations.iter().any(|(_, operation)| matches!(operation, Operation::Add(_)))
        }
        _ => false,
    });
    assert!(!lost);
}

#[test]
fn late_messages_after_closing_are_expired() {
    let mut world = World::new(33, 3);
    world.form();
    let late = world.sent();
    world.send(0, "never heard in time");
    world.peers[2].seen.insert(late, Disposition::Applied);
    world.refresh(1);
    world.run(16 * 60_000);
    let bytes = world.bytes(late).to_vec();
    assert_eq!(world.inject(2, &bytes), Disposition::Expired { reason: Unreadable::Retention });
    assert!(world.peers[2].messages().is_empty());
    assert_eq!(world.peers[1].messages().len(), 1);
}

/// Everybody asks to leave at once: all but one are removed, and that one is told that it is alone.
#[test]
fn who_leaves_last_lets_the_others_go() {
    for n in [2, 4] {
        let mut world = World::new(77, n);
        world.form();
        for place in 0..n {
            world.act(place, |group, now, rng| group.leave(now, rng).expect("a request"));
        }
        world.run(600_000);
        let inside = |place: &usize| *world.peers[*place].group().place() == Place::Member;
        let stay: Vec<usize> = (0..n).filter(inside).collect();
        let [last] = stay.as_slice() else { panic!("of {n} who leave {stay:?} are still there") };
        assert_eq!(world.peers[*last].group().view().expect("a head").members.len(), 1);
    }
}
