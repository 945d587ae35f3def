//! What is kept, for how long, and what is told about it.

mod bounds;
mod clocks;
mod exposure;
mod log;
mod policies;
mod ratchets;
mod records;

use dmls_core::framing::DmlsProfile;
use dmls_core::group::{Disposition, Event, Group, GroupId, Input};
use dmls_core::schedule::EpochId;
use dmls_tests::{Insider, World};

/// The group of every world.
fn group_id() -> GroupId {
    GroupId(b"the group".to_vec().into())
}

/// A group of `n` with a profile, settled.
fn formed(seed: u64, n: usize, profile: DmlsProfile) -> World {
    let mut world = World::new(seed, n);
    world.create(profile);
    let others: Vec<usize> = (1..n).collect();
    world.invite(0, &others);
    world.run(60_000);
    world
}

/// What a client has stored of an epoch.
fn stored(world: &World, place: usize, epoch: &EpochId) -> Option<Insider> {
    Insider::read(&world.peers[place].store, &group_id(), epoch)
}

/// A message that one client has sent, and that another never hears by itself.
fn withheld(world: &mut World, by: usize, from: usize, text: &str) -> Vec<u8> {
    let index = world.sent();
    world.send(by, text);
    world.peers[from].seen.insert(index, Disposition::Applied);
    world.bytes(index).to_vec()
}

fn texts(world: &World, place: usize) -> Vec<String> {
    let messages = world.peers[place].messages().into_iter();
    messages.map(|(_, text)| String::from_utf8(text).expect("text")).collect()
}

fn deleted(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Deleted { .. })).count()
}

/// A client by itself, its steps not stored: what would become of it.
fn goes_on(group: &Group, input: Input<'_>, now: u64) -> (Group, Option<Disposition>) {
    use rand_core::SeedableRng;
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(now);
    let step = group.handle(input, now, &mut rng);
    (step.group, step.disposition)
}
