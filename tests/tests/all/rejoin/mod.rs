//! Whoever has fallen out of a group comes back: requests, notices, and Welcomes that replace a state.

mod again;
mod back;
mod closed;
mod forged;
mod hostile;
mod replace;

use dmls_core::framing::DmlsProfile;
use dmls_core::group::{Disposition, GroupId, Input, Standing, Table};
use dmls_core::history::Operation;
use dmls_tests::World;

/// The group of every world.
fn group_id() -> GroupId {
    GroupId(b"the group".to_vec().into())
}

/// A group of `n` clients, of which the first is the only admin, or all are.
fn formed(seed: u64, n: usize, admin: bool) -> World {
    let mut world = World::new(seed, n);
    let admins = if admin { vec![world.peers[0].client.credential().clone()] } else { Vec::new() };
    world.create(DmlsProfile { admins, ..DmlsProfile::default() });
    let others: Vec<usize> = (1..n).collect();
    world.invite(0, &others);
    world.run(60_000);
    world
}

/// A request that a client makes for a group and keeps no key of: nothing that is made of it can be entered by it.
fn lost_request(world: &mut World, of: usize, group: &GroupId) -> Vec<u8> {
    let client = world.peers[of].client.clone();
    client.rejoin_key_package(group, &world.options, world.now, &mut world.rng).expect("a request").bytes
}

/// The request of a client that keeps its keys, as it can be handed to any member.
fn request(world: &mut World, of: usize) -> Vec<u8> {
    let client = world.peers[of].client.clone();
    let made = client.rejoin_key_package(&group_id(), &world.options, world.now, &mut world.rng);
    let made = made.expect("a request");
    dmls_core::group::Store::apply(&mut world.peers[of].store, &made.changes).expect("memory");
    made.bytes
}

/// Hands a key package to a client.
fn offer(world: &mut World, to: usize, bytes: &[u8]) -> Disposition {
    let mut rng = world.rng.clone();
    let step = world.peers[to].group().handle(Input::KeyPackage(bytes), world.now, &mut rng);
    world.rng = rng;
    world.take_step(to, step).expect("a key package has a disposition")
}

fn standing(world: &World, place: usize) -> Standing {
    world.peers[place].group().view().expect("a head").standing
}

/// The clients are members of one epoch, with the same secrets and the same roster of `n`.
fn assert_together(world: &World, places: &[usize], n: usize) {
    let print = |place: usize| {
        let group = world.peers[place].group();
        let view = group.view().expect("a head");
        let roster: Vec<_> = view.members.iter().map(|member| (member.leaf, member.fingerprint)).collect();
        let secret = group.exporter("test", b"", 32).expect("a secret").as_slice().to_vec();
        (view.head, view.epoch_authenticator.as_slice().to_vec(), roster, secret)
    };
    for place in places {
        assert_eq!(standing(world, *place), Standing::Member, "client {place}");
        assert_eq!(print(*place), print(places[0]), "client {place}");
        assert_eq!(print(*place).2.len(), n);
    }
}

/// Both say something, and each reads the other.
fn assert_talking(world: &mut World, one: usize, other: usize) {
    let texts = [format!("{one} to {other} at {}", world.now), format!("{other} to {one} at {}", world.now)];
    world.send(one, &texts[0]);
    world.send(other, &texts[1]);
    world.spread();
    for (place, text) in [(one, &texts[1]), (other, &texts[0])] {
        let read = world.peers[place].messages().iter().filter(|(_, read)| read == text.as_bytes()).count();
        assert_eq!(read, 1, "client {place} reads once: {text}");
    }
}

/// How many epochs of a client's head were made by a rejoin.
fn rejoins(world: &World, place: usize) -> usize {
    let history = world.peers[place].group().history();
    let rejoin = |operation: &Operation| matches!(operation, Operation::Rejoin { .. });
    history.epochs.iter().filter(|epoch| epoch.on_head && epoch.operations.iter().any(rejoin)).count()
}

fn key_packages(world: &World, place: usize) -> usize {
    world.peers[place].store.records().filter(|(key, _)| key.table == Table::KeyPackages).count()
}
