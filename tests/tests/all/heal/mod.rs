//! What was done on a branch that lost is done again on the one that won: nothing is lost (DESIGN 4.6).

mod adversaries;
mod bounds;
mod crashes;
mod debts;
mod endless;
mod joiners;
mod merges;
mod told;

use dmls_core::group::Event;
use dmls_core::history::{Member, Operation};
use dmls_core::tree::LeafIndex;
use dmls_tests::World;
use dmls_tests::oracle::{assert_one_head, fingerprint};

/// A world whose clients `0..members` are in the group, with everybody else outside.
fn world(seed: u64, members: usize, clients: usize) -> World {
    let mut world = World::new(seed, clients);
    world.create(Default::default());
    let others: Vec<usize> = (1..members).collect();
    world.invite(0, &others);
    world.run(60_000);
    world
}

/// Whether one client has another in its head's roster.
fn has(world: &World, place: usize, other: usize) -> bool {
    fingerprint(world, place).members.contains(&world.peers[other].client.fingerprint())
}

/// The merges that a client has seen: who made each, what it carried, how many clients it put off.
fn merges(world: &World, place: usize) -> Vec<(Member, Vec<Operation>, usize)> {
    let merge = |event: &Event| match event {
        Event::Merged { by, carried, deferred, .. } => Some((by.clone(), carried.clone(), deferred.len())),
        _ => None,
    };
    world.peers[place].events.iter().filter_map(merge).collect()
}

fn mismatches(world: &World) -> usize {
    let mismatch = |event: &&Event| matches!(event, Event::MergeMismatch { .. });
    world.peers.iter().map(|peer| peer.events.iter().filter(mismatch).count()).sum()
}

/// The members who owe a refresh, as one client sees it.
fn unhealed(world: &World, place: usize) -> Vec<LeafIndex> {
    world.peers[place].group().view().expect("a head").unhealed
}

fn texts(world: &World, place: usize) -> Vec<String> {
    let messages = world.peers[place].messages().into_iter();
    let mut texts: Vec<String> = messages.map(|(_, text)| String::from_utf8(text).expect("text")).collect();
    texts.sort();
    texts
}

/// All is well: one head, nobody owes anything, nobody has found a merge wrong.
fn assert_healed(world: &World, places: &[usize]) {
    assert_quiet(world, places);
    assert_eq!(mismatches(world), 0, "every merge is right");
}

/// One head, and nobody owes anything.
fn assert_quiet(world: &World, places: &[usize]) {
    assert_one_head(world, places);
    for place in places {
        assert!(unhealed(world, *place).is_empty(), "somebody still owes a refresh, says member {place}");
    }
}
