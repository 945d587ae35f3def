//! Whoever joined a branch that lost comes into the one that won: with a fresh KeyPackage and a new Welcome.

use dmls_core::group::{Event, Input, Place};
use dmls_core::history::Operation;
use dmls_tests::World;
use dmls_tests::oracle::{assert_one_head, fingerprint};

use super::{assert_healed, has, merges, texts, unhealed, world};

/// 0 to 2 against 3 and 4, on whose side the clients of `guests` are, which 3 invites.
fn losing_side_invites(seed: u64, clients: usize, guests: &[usize]) -> World {
    let mut world = world(seed, 5, clients);
    let sides: Vec<usize> = (0..clients).map(|place| usize::from(place > 2)).collect();
    world.cut(&sides);
    world.refresh(0);
    world.invite(3, guests);
    world.run(20_000);
    world
}

fn joins(world: &World, place: usize) -> usize {
    world.peers[place].events.iter().filter(|event| matches!(event, Event::Joined { .. })).count()
}

#[test]
fn everything_that_was_done_on_the_losing_side_is_in_effect() {
    for seed in 1..=5 {
        let mut world = world(seed, 7, 8);
        world.cut(&[0, 0, 0, 0, 1, 1, 1, 1]);
        world.refresh(0);
        world.send(1, "on the winning side");
        world.invite(4, &[7]);
        world.run(20_000);
        world.remove(5, 2);
        world.run(20_000);
        world.refresh(6);
        world.send(7, "from the guest");
        world.send(4, "from its host");
        world.run(20_000);
        assert!(!has(&world, 0, 7) && has(&world, 0, 2));
        let fork = world.peers[4].messages().len();
        world.heal();
        world.run(120_000);
        assert_healed(&world, &[0, 1, 3, 4, 5, 6, 7]);
        assert!(has(&world, 0, 7) && !has(&world, 0, 2), "seed {seed}");
        assert_eq!(fingerprint(&world, 0).members.len(), 7, "seed {seed}");
        assert_eq!(joins(&world, 7), 2, "seed {seed}: on its branch, and in the head");
        for place in [0, 1, 3, 5, 6] {
            let mut all = vec!["from its host", "from the guest", "on the winning side"];
            all.retain(|text| !(place == 1 && text.starts_with("on the")));
            assert_eq!(texts(&world, place), all, "seed {seed}: member {place}");
        }
        world.send(7, "in the head");
        world.spread();
        for place in [0, 1, 3, 4, 5, 6] {
            assert!(texts(&world, place).contains(&"in the head".to_string()), "seed {seed}: member {place}");
        }
        assert!(world.peers[4].messages().len() > fork && unhealed(&world, 7).is_empty());
        // What is carried is told, and nothing is put off: its KeyPackage has come in time.
        let carried: usize = merges(&world, 0).iter().map(|(_, carried, _)| carried.len()).sum();
        assert!(carried >= 2, "seed {seed}: an Add and a Remove");
    }
}

#[test]
fn both_sides_invite_the_same_client() {
    for seed in 10..14 {
        let mut world = world(seed, 5, 6);
        world.cut(&[0, 0, 0, 1, 1, 1]);
        let (one, other) = (world.key_package(5), world.key_package(5));
        world.act(3, |group, now, rng| {
            group.invite(std::slice::from_ref(&other), now, rng).expect("an invitation")
        });
        world.run(20_000);
        world.act(0, |group, now, rng| {
            group.invite(std::slice::from_ref(&one), now, rng).expect("an invitation")
        });
        world.run(20_000);
        assert!(has(&world, 0, 5) && has(&world, 3, 5));
        assert_eq!(
            fingerprint(&world, 5),
            fingerprint(&world, 3),
            "it has joined where it was first invited"
        );
        world.heal();
        world.run(180_000);
        assert_healed(&world, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(fingerprint(&world, 0).members.len(), 6, "seed {seed}: it is in once");
        world.send(5, "once");
        world.spread();
        assert_eq!(texts(&world, 1), ["once"]);
    }
}

#[test]
fn a_guest_of_a_guest_comes_too() {
    let mut world = losing_side_invites(20, 7, &[5]);
    world.invite(5, &[6]);
    world.run(20_000);
    world.heal();
    world.run(180_000);
    assert_healed(&world, &[0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(fingerprint(&world, 0).members.len(), 7);
}

#[test]
fn what_a_guest_did_is_carried_with_it() {
    let mut world = losing_side_invites(21, 6, &[5]);
    world.remove(5, 2);
    world.run(20_000);
    world.heal();
    world.run(180_000);
    assert_healed(&world, &[0, 1, 3, 4, 5]);
    assert!(!has(&world, 0, 2) && has(&world, 0, 5));
}

#[test]
fn who_was_added_and_removed_again_stays_out() {
    let mut world = losing_side_invites(22, 6, &[5]);
    world.remove(4, 5);
    world.run(20_000);
    world.heal();
    world.run(120_000);
    assert_healed(&world, &[0, 1, 2, 3, 4]);
    assert!(!has(&world, 0, 5) && merges(&world, 0).is_empty());
}

#[test]
fn without_its_key_package_a_client_is_put_off_and_added_later() {
    for seed in 30..34 {
        let mut world = losing_side_invites(seed, 7, &[5, 6]);
        // 6 goes away before the sides meet.
        world.cut(&[0, 0, 0, 0, 0, 0, 1]);
        world.run(120_000);
        assert_healed(&world, &[0, 1, 2, 3, 4, 5]);
        assert!(has(&world, 0, 5) && !has(&world, 0, 6));
        let deferred: Vec<usize> = merges(&world, 0).into_iter().map(|(_, _, deferred)| deferred).collect();
        assert_eq!(deferred, [1], "seed {seed}: one merge, which puts one client off");
        world.run(60_000);
        assert_eq!(merges(&world, 0).len(), 1, "nobody merges again for nothing");
        world.heal();
        world.run(120_000);
        assert_healed(&world, &[0, 1, 2, 3, 4, 5, 6]);
        assert!(has(&world, 0, 6), "seed {seed}");
        world.send(6, "at last");
        world.spread();
        assert_eq!(texts(&world, 1), ["at last"]);
    }
}

#[test]
fn a_client_put_off_outlives_its_branch() {
    let mut world = world(40, 5, 6);
    world.cut(&[0, 0, 0, 0, 1, 1]);
    world.refresh(0);
    world.invite(4, &[5]);
    world.run(20_000);
    world.cut(&[0, 0, 0, 0, 0, 1]);
    world.run(30 * 60_000);
    assert_healed(&world, &[0, 1, 2, 3, 4]);
    let history = world.peers[0].group().history();
    assert!(history.epochs.iter().all(|epoch| epoch.on_head), "the branch is gone");
    for place in 0..5 {
        world.restart(place);
    }
    world.heal();
    world.run(60_000);
    assert!(!has(&world, 0, 5), "what it says on its branch nobody can read any more");
    let request = world.peers[5].requests.last().expect("it has asked").clone();
    world.act(2, |group, now, rng| group.handle(Input::KeyPackage(&request), now, rng));
    world.run(120_000);
    assert_healed(&world, &[0, 1, 2, 3, 4]);
    assert!(has(&world, 0, 5));
    let merge = merges(&world, 0).pop().expect("a merge");
    assert!(matches!(&merge.1[..], [Operation::Add(_)]) && merge.2 == 0);
}

#[test]
fn who_never_comes_is_given_up() {
    let mut world = losing_side_invites(50, 6, &[5]);
    world.options.deferred_for_ms = 200_000;
    for place in 0..6 {
        world.restart(place);
    }
    world.cut(&[0, 0, 0, 0, 0, 1]);
    world.run(150_000);
    let given_up = |world: &World, place: usize| {
        let event = |event: &&Event| matches!(event, Event::AddAbandoned { .. });
        world.peers[place].events.iter().filter(event).count()
    };
    assert_eq!(given_up(&world, 0), 0);
    world.run(150_000);
    for place in 0..5 {
        assert_eq!(given_up(&world, place), 1, "member {place}");
    }
    world.run(300_000);
    assert_eq!((given_up(&world, 0), merges(&world, 0).len()), (1, 1), "it is told once, and merged once");
}

#[test]
fn two_who_merge_at_once_both_welcome_a_client_that_ends_in_the_head() {
    for seed in 60..64 {
        let mut world = losing_side_invites(seed, 6, &[5]);
        world.heal();
        // Until its KeyPackage is there, and nobody has merged.
        world.spread();
        world.run_alone(1);
        world.spread();
        world.cut(&[0, 1, 2, 0, 1, 2]);
        world.run(30_000);
        world.heal();
        world.run(240_000);
        assert_healed(&world, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(fingerprint(&world, 0).members.len(), 6, "seed {seed}");
        world.send(5, "here");
        world.spread();
        assert_eq!(texts(&world, 0), ["here"], "seed {seed}");
    }
}

#[test]
fn joiners_of_both_sides_and_a_crash_after_every_step() {
    let mut world = world(70, 5, 7);
    world.ordeal.restart = true;
    world.cut(&[0, 0, 0, 1, 1, 0, 1]);
    world.invite(0, &[5]);
    world.invite(3, &[6]);
    world.run(20_000);
    world.heal();
    world.run(120_000);
    assert_healed(&world, &[0, 1, 2, 3, 4, 5, 6]);
    assert_one_head(&world, &[5, 6]);
    assert!((0..7).all(|place| *world.peers[place].group().place() == Place::Member));
}
