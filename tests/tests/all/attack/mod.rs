//! Hostile input, and what a thief of the store can do.

mod admins;
mod bounds;
mod canary;
mod claims;
pub(crate) mod flood;
mod forged;
mod limits;
mod malformed;
mod replay;

use dmls_core::group::GroupId;
use dmls_core::schedule::EpochId;
use dmls_tests::{Insider, World};

/// The group of every world.
pub(crate) fn group_id() -> GroupId {
    GroupId(b"the group".to_vec().into())
}

/// A client as an attacker: its keys of an epoch, as stored.
pub(crate) fn insider(world: &World, place: usize, epoch: &EpochId) -> Insider {
    Insider::read(&world.peers[place].store, &group_id(), epoch).expect("a stored epoch")
}

/// The same, in its head.
pub(crate) fn in_head(world: &World, place: usize) -> Insider {
    insider(world, place, &world.peers[place].group().head().clone())
}

/// A group that has forked, healed, and removed somebody, all epochs retained.
pub(crate) fn forked(seed: u64, puncturing: bool) -> World {
    let mut world = World::new(seed, 5);
    world.options.puncturing = puncturing;
    world.form();
    world.refresh(2);
    world.run(20_000);
    world.cut(&[0, 0, 0, 1, 1]);
    world.refresh(1);
    world.refresh(3);
    world.run(20_000);
    world.refresh(4);
    world.run(20_000);
    world.heal();
    world.run(40_000);
    world.remove(0, 4);
    world.run(40_000);
    world
}

/// The seeds of a random test: the first (`DMLS_SEED`) and how many (`DMLS_SCHEDULES`).
pub(crate) fn seeds(first: u64, count: u64) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    (number("DMLS_SEED").unwrap_or(first), number("DMLS_SCHEDULES").unwrap_or(count))
}
