//! A client that is added anew is added anew once, whoever is away.

use dmls_core::group::Event;

use super::*;

/// How many rejoins a client was told of.
fn told(world: &World, place: usize) -> usize {
    let rejoin = |event: &&Event| match event {
        Event::Epoch { operations, .. } => operations.iter().any(|o| matches!(o, Operation::Rejoin { .. })),
        _ => false,
    };
    world.peers[place].events.iter().filter(rejoin).count()
}

#[test]
fn while_one_is_offline_another_rejoins_once() {
    for away in [true, false] {
        let mut world = formed(921, 3, false);
        if away {
            world.cut(&[0, 0, 1]);
        }
        let lost = lost_request(&mut world, 1, &group_id());
        assert_eq!(offer(&mut world, 0, &lost), Disposition::Applied);
        world.run(300_000);
        assert_together(&world, &[0, 1], 3);
        assert_talking(&mut world, 0, 1);
        let sent = world.sent();
        assert_eq!(told(&world, 0), 2, "the lost one, and the one that it asked for itself");
        world.run(3_600_000);
        assert_eq!(told(&world, 0), 2);
        assert!(world.sent() <= sent + 4, "and then it is quiet: {} after {sent}", world.sent());
        world.heal();
        world.run(1_800_000);
        assert_together(&world, &[0, 1, 2], 3);
        assert_talking(&mut world, 1, 2);
        let joined =
            world.peers[1].events.iter().filter(|event| matches!(event, Event::Joined { .. })).count();
        assert!(joined <= 3, "{joined} times");
    }
}

#[test]
fn a_request_goes_when_it_is_out_of_time() {
    const DAY: u64 = 24 * 3_600_000;
    let mut world = formed(922, 3, false);
    world.cut(&[0, 0, 1]);
    world.act(2, |group, now, rng| group.request_rejoin(now, rng).expect("a request"));
    let made = world.now;
    for (days, left) in [(6, 1), (8, 0)] {
        world.now = made + days * DAY;
        world.act(2, |group, now, rng| group.handle(dmls_core::group::Input::Tick, now, rng));
        assert_eq!(key_packages(&world, 2), left, "after {days} days");
        world.restart(2);
    }
}
