//! Histories that are robbed.

use dmls_core::framing::DmlsProfile;
use dmls_tests::World;

/// Long enough for epochs to be closed, and so deleted.
pub(super) const CLOSING: u64 = 700_000;

/// A group of all clients but the last `outside`.
pub(super) fn world(seed: u64, clients: usize, outside: usize, puncturing: bool) -> World {
    let mut world = World::new(seed, clients);
    world.options.puncturing = puncturing;
    world.create(DmlsProfile { max_retained: 6, ..DmlsProfile::default() });
    let others: Vec<usize> = (1..clients - outside).collect();
    world.invite(0, &others);
    world.run(60_000);
    world
}

/// Everybody who is a member of its head says something.
pub(super) fn everybody_speaks(world: &mut World) {
    for place in 0..world.peers.len() {
        let Some(group) = &world.peers[place].group else { continue };
        let text = format!("message {} of {place}", world.sent());
        if let Ok(step) = group.send(text.as_bytes(), world.now, &mut world.rng) {
            world.take_step(place, step);
        }
    }
}

/// A commit of each of these, one after the other, with messages in each epoch.
pub(super) fn talk(world: &mut World, committers: &[usize]) {
    for by in committers {
        world.refresh(*by);
        world.run(20_000);
        everybody_speaks(world);
        world.run(5_000);
    }
}

/// One branch, the older half of it deleted.
pub(super) fn linear(seed: u64, puncturing: bool) -> World {
    let mut world = world(seed, 4, 0, puncturing);
    talk(&mut world, &[1, 2, 3]);
    world.run(CLOSING);
    talk(&mut world, &[0, 2, 1]);
    world
}

/// Both sides of a fork commit and speak; the losing branch is deleted, the fork point is not.
pub(super) fn forked(seed: u64, puncturing: bool) -> World {
    let mut world = world(seed, 5, 0, puncturing);
    world.cut(&[0, 0, 0, 1, 1]);
    talk(&mut world, &[1]);
    talk(&mut world, &[3]);
    world.heal();
    world.run(60_000);
    // One more commit has paid what 3 owed.
    talk(&mut world, &[4, 0, 2]);
    world
}

/// A losing branch of three epochs that is deleted while the fork point stays. One of those who were on it does not hear
/// of that, goes on, and its commit and messages come to the others when they have deleted what they follow on.
pub(super) fn private_branch(seed: u64, puncturing: bool) -> World {
    let mut world = world(seed, 5, 0, puncturing);
    world.cut(&[0, 0, 0, 1, 1]);
    talk(&mut world, &[3, 4, 3]);
    talk(&mut world, &[1]);
    world.cut(&[0, 0, 0, 0, 1]);
    world.run(60_000);
    // One more commit has paid what 3 owed.
    talk(&mut world, &[0, 2, 1]);
    talk(&mut world, &[4]);
    world.heal();
    world.run(60_000);
    world
}

/// Client 4 joins late; the epochs before that are not its own.
pub(super) fn late_joiner(seed: u64, puncturing: bool) -> World {
    let mut world = world(seed, 5, 1, puncturing);
    talk(&mut world, &[1, 2]);
    world.invite(2, &[4]);
    world.run(20_000);
    talk(&mut world, &[3, 4, 0]);
    world.run(CLOSING);
    talk(&mut world, &[1, 4]);
    world
}

/// Client 4 is removed, the others go on.
pub(super) fn removed(seed: u64, puncturing: bool) -> World {
    let mut world = world(seed, 5, 0, puncturing);
    talk(&mut world, &[1, 4]);
    world.run(CLOSING);
    talk(&mut world, &[2]);
    world.remove(0, 4);
    world.run(60_000);
    talk(&mut world, &[3, 1]);
    world
}
