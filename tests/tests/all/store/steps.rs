//! Each step is stored whole or not at all, and what is stored is the state.

use std::collections::BTreeSet;

use dmls_core::group::{Event, Group, Key, MemoryStore, Store, Table, Value};
use dmls_core::schedule::EpochId;
use dmls_core::tree::RatchetTree;
use dmls_tests::{World, stored_bytes, stored_records};

use super::group_id;

/// A run in which members do as they like: talk, refresh, cut, heal, leave, wait.
fn live(world: &mut World, rounds: usize) {
    world.form();
    go_on(world, rounds);
}

/// The same in a group that is there.
fn go_on(world: &mut World, rounds: usize) {
    for _ in 0..rounds {
        let by = world.below(world.peers.len());
        let member = world.peers[by].group().place() == &dmls_core::group::Place::Member;
        match world.below(8) {
            0 | 1 if member => world.send(by, "text"),
            2 | 3 if member && can_commit(world, by) => world.refresh(by),
            4 => {
                let sides: Vec<usize> = (0..world.peers.len()).map(|_| world.below(2)).collect();
                world.cut(&sides);
            }
            5 => world.heal(),
            6 if by == 3 && member => {
                world.act(by, |group, now, rng| match group.leave(now, rng) {
                    Ok(step) => step,
                    Err(_) => group.handle(dmls_core::group::Input::Tick, now, rng),
                });
            }
            _ => {
                let wait = world.below(200_000) as u64;
                world.run(wait);
            }
        }
        world.run(500);
    }
    world.heal();
    world.run(900_000);
}

fn can_commit(world: &World, by: usize) -> bool {
    let mut rng = world.rng.clone();
    world.peers[by].group().refresh(world.now, &mut rng).is_ok()
}

/// Everything that can be told apart of two runs.
fn outcome(world: &World) -> Vec<(Vec<u8>, Vec<Event>)> {
    world.peers.iter().map(|peer| (stored_bytes(&peer.store), peer.events.clone())).collect()
}

#[test]
fn a_failing_store_changes_nothing_at_any_step() {
    for seed in [101, 102, 103] {
        let mut calm = World::new(seed, 4);
        live(&mut calm, 25);
        let mut failing = World::new(seed, 4);
        failing.ordeal.failing_store = true;
        live(&mut failing, 25);
        assert!(failing.ordeal.failures > 100, "seed {seed}: {}", failing.ordeal.failures);
        assert!(outcome(&calm) == outcome(&failing), "seed {seed}: the runs differ");
    }
}

#[test]
fn a_restart_after_any_step_makes_no_difference() {
    for seed in [104, 105, 106] {
        let mut calm = World::new(seed, 4);
        live(&mut calm, 25);
        let mut killed = World::new(seed, 4);
        killed.ordeal.restart = true;
        live(&mut killed, 25);
        assert!(killed.ordeal.restarts > 200, "seed {seed}: {}", killed.ordeal.restarts);
        let (calm, killed) = (outcome(&calm), outcome(&killed));
        for (place, (calm, killed)) in calm.iter().zip(&killed).enumerate() {
            assert_eq!(calm.1, killed.1, "seed {seed}, client {place}: events");
            assert!(calm.0 == killed.0, "seed {seed}, client {place}: records");
        }
    }
}

/// The records that the epochs of a store need, and no others.
pub(crate) fn needed(store: &MemoryStore) -> BTreeSet<Key> {
    let id = group_id();
    let mut needed = BTreeSet::new();
    let histories = store.scan(&Key::of_group(Table::History, &id)).expect("memory");
    for (key, _) in histories {
        let at = EpochId::from(key.bytes[Key::of_group(Table::History, &id).bytes.len()..].to_vec());
        let insider = dmls_tests::Insider::read(store, &id, &at).expect("an epoch of the history");
        for table in [Table::History, Table::Epochs, Table::Inits] {
            needed.insert(Key::epoch(table, &id, &at));
        }
        let tree: &RatchetTree = insider.epoch.tree();
        let hashes = tree.subtree_hashes().expect("hashes");
        needed.extend(hashes.iter().map(|hash| Key::named(Table::Subtrees, &id, hash.as_slice())));
        let keys = insider.epoch.private_keys();
        needed.extend(keys.iter().map(|(key, _)| Key::named(Table::NodeKeys, &id, key.as_slice())));
        let leaves = insider.epoch.secret_tree().leaves();
        needed.extend(leaves.map(|(leaf, _)| Key::ratchet(&id, &at, leaf)));
    }
    needed
}

pub(crate) fn stored(store: &MemoryStore) -> BTreeSet<Key> {
    let tables =
        [Table::History, Table::Epochs, Table::Inits, Table::Ratchets, Table::Subtrees, Table::NodeKeys];
    store.records().filter(|(key, _)| tables.contains(&key.table)).map(|(key, _)| key.clone()).collect()
}

#[test]
fn deleted_epochs_leave_nothing_behind() {
    let mut deleted = 0;
    for seed in 107..116 {
        let mut world = World::new(seed, 4);
        live(&mut world, 30);
        world.run(2_000_000);
        for (place, peer) in world.peers.iter().enumerate() {
            let (needed, stored) = (needed(&peer.store), stored(&peer.store));
            let orphaned: Vec<_> = stored.difference(&needed).map(|key| key.table).collect();
            let missing: Vec<_> = needed.difference(&stored).map(|key| key.table).collect();
            assert_eq!((orphaned, missing), (vec![], vec![]), "seed {seed}, client {place}");
            deleted += peer.events.iter().filter(|event| matches!(event, Event::Deleted { .. })).count();
            let loaded = Group::load(&peer.store, &group_id(), &world.options).expect("a good store");
            assert_eq!(loaded.expect("a group").view(), peer.group().view());
        }
    }
    assert!(deleted > 100, "only {deleted} epochs were deleted");
}

#[test]
fn hard_bounds_hold_and_what_is_left_loads() {
    use dmls_core::framing::DmlsProfile;
    let profiles = [
        DmlsProfile { max_behind: 2, max_retained: 4, ..DmlsProfile::default() },
        DmlsProfile { max_age_seconds: 60, ..DmlsProfile::default() },
        DmlsProfile { max_bytes: 60_000, ..DmlsProfile::default() },
    ];
    for (place, profile) in profiles.into_iter().enumerate() {
        let mut world = World::new(115 + place as u64, 4);
        world.ordeal.restart = true;
        world.create(profile.clone());
        world.invite(0, &[1, 2, 3]);
        world.run(20_000);
        let mut most = 0;
        for _ in 0..6 {
            go_on(&mut world, 5);
            for peer in &world.peers {
                assert_eq!(needed(&peer.store), stored(&peer.store), "profile {place}");
                most = most.max(peer.group().view().expect("a view").retained);
            }
        }
        let deleted = |event: &Event| matches!(event, Event::Deleted { .. });
        let deleted: usize = world.peers.iter().map(|p| p.events.iter().filter(|e| deleted(e)).count()).sum();
        println!("profile {place}: {deleted} deleted, {most} retained at most");
        assert!(deleted > 10, "profile {place}: only {deleted} epochs were deleted");
        let heads: BTreeSet<_> = (0..3).map(|place| world.peers[place].group().head().clone()).collect();
        assert_eq!(heads.len(), 1, "profile {place}");
    }
}

#[test]
fn a_deleted_epochs_secrets_are_in_no_record() {
    let mut world = World::new(113, 3);
    world.form();
    world.refresh(0);
    world.run(20_000);
    let at = world.peers[1].group().head().clone();
    let insider = dmls_tests::Insider::read(&world.peers[1].store, &group_id(), &at).expect("the head");
    let exporter = insider.epoch.secrets().exporter_secret.clone();
    let leaf_keys: Vec<_> = insider.epoch.private_keys().iter().map(|(_, key)| key.0.clone()).collect();
    assert!(dmls_tests::contains(&stored_bytes(&world.peers[1].store), exporter.as_slice()), "control");
    for by in [1, 2, 0] {
        world.refresh(by);
        world.run(20_000);
    }
    world.run(2_000_000);
    let gone = |event: &Event| matches!(event, Event::Deleted { epoch } if *epoch == at);
    assert!(world.peers[1].events.iter().any(gone), "the epoch is deleted");
    let bytes = stored_bytes(&world.peers[1].store);
    assert!(!dmls_tests::contains(&bytes, exporter.as_slice()));
    for key in leaf_keys {
        assert!(!dmls_tests::contains(&bytes, key.as_slice()));
    }
}

#[test]
fn what_a_step_does_not_change_is_not_written() {
    let mut world = World::new(114, 8);
    world.form();
    world.send(0, "text");
    let before = stored_records(&world.peers[5].store);
    world.spread();
    let after = stored_records(&world.peers[5].store);
    let changed: Vec<Table> = after
        .iter()
        .filter(|(key, value)| before.get(key) != Some(value))
        .map(|(key, _)| key.table)
        .collect();
    // The message in the log, the sender's ratchet, the tree of message keys, who has spoken, and the clock.
    assert!(changed.len() <= 5, "{changed:?}");
    for table in [Table::Subtrees, Table::NodeKeys, Table::Inits] {
        assert!(!changed.contains(&table), "{changed:?}");
    }
    let value = world.peers[5].store.get(&Key::group(&group_id())).expect("memory");
    assert!(matches!(value, Some(Value::Group(_))));
}
