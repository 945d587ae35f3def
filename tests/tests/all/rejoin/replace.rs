//! A Welcome replaces the state of a client that is outside, and nothing else.

use dmls_core::group::{Effect, Event, JoinError};
use dmls_tests::{Insider, stored_records};

use super::*;

/// Lets `by` commit what is pending; the Welcome.
fn commit(world: &mut World, by: usize) -> Vec<u8> {
    for _ in 0..20 {
        world.now += 1_000;
        let mut rng = world.rng.clone();
        let step = world.peers[by].group().handle(Input::Tick, world.now, &mut rng);
        world.rng = rng;
        let welcome = step.effects.iter().find_map(|effect| match effect {
            Effect::Welcome { bytes, .. } => Some(bytes.clone()),
            _ => None,
        });
        world.take_step(by, step);
        if let Some(welcome) = welcome {
            return welcome;
        }
    }
    panic!("nothing was committed")
}

#[test]
fn a_host_brings_the_welcome_and_the_old_state_is_gone() {
    let mut world = formed(31, 3, false);
    world.send(1, "before");
    world.run(1_000);
    let bytes = request(&mut world, 2);
    assert_eq!(offer(&mut world, 0, &bytes), Disposition::Applied);
    let welcome = commit(&mut world, 0);
    let join = |world: &World| {
        let peer = &world.peers[2];
        peer.client.join(&peer.store, &welcome, &world.options, world.now, &mut world.rng.clone())
    };
    // It has not heard of the commit: it is a member, so the Welcome is refused, and its key package kept.
    let before = stored_records(&world.peers[2].store);
    assert_eq!(join(&world).err(), Some(JoinError::AlreadyMember));
    assert!(stored_records(&world.peers[2].store) == before);
    let old = world.peers[2].group().head().clone();
    assert!(Insider::read(&world.peers[2].store, &group_id(), &old).is_some());
    // Now it hears of it, and asks by itself, too; the host is faster.
    world.peers[2].side = 1;
    let heard: Vec<usize> =
        world.deliverable().iter().filter(|(_, to)| *to != 2).map(|(index, _)| *index).collect();
    for index in heard {
        world.deliver(index, 1);
    }
    world.run(30_000);
    for index in 0..world.sent() {
        if !world.peers[2].seen.contains_key(&index) {
            world.deliver(index, 2);
        }
    }
    let mut rng = world.rng.clone();
    let step = world.peers[2].group().handle(Input::Tick, world.now, &mut rng);
    world.take_step(2, step);
    assert!(matches!(standing(&world, 2), Standing::Outside(_)), "{:?}", standing(&world, 2));
    let step = join(&world).expect("outside, it may join");
    world.take_step(2, step);
    // Of one epoch, and nothing else but what was sent in it.
    let number = world.peers[2].group().view().expect("a head").number;
    assert!(world.peers[2].group().log().all(|(_, order)| order == number));
    let begun = [
        Table::Log,
        Table::Client,
        Table::Groups,
        Table::Epochs,
        Table::Inits,
        Table::Ratchets,
        Table::History,
        Table::Subtrees,
        Table::NodeKeys,
        Table::KeyPackages,
    ];
    let left: Vec<Table> = world.peers[2].store.records().map(|(key, _)| key.table).collect();
    let more: Vec<&Table> = left.iter().filter(|table| !begun.contains(table)).collect();
    assert!(more.is_empty(), "{more:?}");
    world.restart(2);
    assert!(Insider::read(&world.peers[2].store, &group_id(), &old).is_none(), "the old epochs are gone");
    assert_eq!(key_packages(&world, 2), 1, "and the request that was used; others may use the newer one");
    let head = world.peers[2].group().head().clone();
    let histories = world.peers[2].store.records().filter(|(key, _)| key.table == Table::History).count();
    assert_eq!((histories, &head), (1, world.peers[0].group().head()));
    world.heal();
    world.run(60_000);
    assert_together(&world, &[0, 1, 2], 3);
    assert_talking(&mut world, 2, 1);
}

#[test]
fn a_welcome_that_comes_early_is_taken_up_when_the_client_is_outside() {
    let mut world = formed(32, 3, false);
    let old = world.peers[2].group().head().clone();
    // It asks while it is a member; the others move on, and so does it.
    world.act(2, |group, now, rng| group.request_rejoin(now, rng).expect("a request"));
    assert_eq!((world.peers[2].requests.len(), key_packages(&world, 2)), (1, 1));
    world.run(30_000);
    assert_eq!(rejoins(&world, 0), 0, "whoever speaks in the head is in it");
    world.refresh(0);
    world.run(60_000);
    assert_eq!(rejoins(&world, 0), 1);
    assert_together(&world, &[0, 1, 2], 3);
    assert_talking(&mut world, 2, 0);
    assert!(Insider::read(&world.peers[2].store, &group_id(), &old).is_none());
    let joined = world.peers[2].events.iter().filter(|event| matches!(event, Event::Joined { .. })).count();
    assert_eq!((joined, key_packages(&world, 2)), (2, 0));
}

#[test]
fn a_second_welcome_for_a_used_key_package_is_answered_by_a_request() {
    // Two sides use one request. The client joins one side; when that one loses, it comes over.
    let mut back = 0;
    for seed in 33..=36 {
        let mut world = formed(seed, 5, false);
        let bytes = request(&mut world, 4);
        world.cut(&[0, 0, 1, 1, 2]);
        for by in [0, 3] {
            assert_eq!(offer(&mut world, by, &bytes), Disposition::Applied);
        }
        world.run(30_000);
        assert_eq!((rejoins(&world, 0), rejoins(&world, 3)), (1, 1));
        world.heal();
        world.run(1_200_000);
        assert_together(&world, &[0, 1, 2, 3, 4], 5);
        assert_talking(&mut world, 4, 1);
        back += 1;
    }
    assert_eq!(back, 4);
}
