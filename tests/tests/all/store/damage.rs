//! Damaged, missing and swapped records: an error that says which, never a panic, and nothing is changed.

use dmls_core::group::{
    Changes, Client, Group, Key, LoadError, MemoryStore, Store, StoreError, Table, Value,
};
use dmls_tests::World;

use super::group_id;

fn world() -> World {
    let mut world = World::new(121, 4);
    world.form();
    world.cut(&[0, 0, 1, 1]);
    world.refresh(1);
    world.refresh(2);
    world.send(0, "text");
    world.run(20_000);
    world.heal();
    world.run(20_000);
    world
}

fn load(world: &World, store: &MemoryStore) -> Result<Option<Group>, LoadError> {
    Group::load(store, &group_id(), &world.options)
}

fn keys(store: &MemoryStore, table: Table) -> Vec<Key> {
    store.records().map(|(key, _)| key.clone()).filter(|key| key.table == table).collect()
}

fn without(store: &MemoryStore, key: &Key) -> MemoryStore {
    let mut changes = Changes::default();
    changes.delete(key.clone());
    changed(store, &changes)
}

fn with(store: &MemoryStore, key: &Key, value: Value) -> MemoryStore {
    let mut changes = Changes::default();
    changes.put(key.clone(), value);
    changed(store, &changes)
}

fn changed(store: &MemoryStore, changes: &Changes) -> MemoryStore {
    let mut store = store.clone();
    store.apply(changes).expect("memory");
    store
}

#[test]
fn a_missing_record_is_named() {
    let world = world();
    let store = &world.peers[0].store;
    assert!(load(&world, store).expect("control").is_some());
    let mut errors = 0;
    for table in [Table::Epochs, Table::Inits, Table::Subtrees, Table::NodeKeys, Table::History] {
        for key in keys(store, table) {
            match load(&world, &without(store, &key)) {
                Err(LoadError::Missing(_) | LoadError::Epoch { .. } | LoadError::History(_)) => errors += 1,
                Ok(_) => panic!("a missing record of {} was not noticed", table.name()),
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    assert!(errors > 20);
    let gone = without(store, &Key::group(&group_id()));
    assert!(load(&world, &gone).expect("no group").is_none());
}

#[test]
fn a_record_of_another_table_is_named() {
    let world = world();
    let store = &world.peers[0].store;
    let tables: Vec<Table> = Table::ALL.into_iter().filter(|table| *table != Table::Log).collect();
    let mut errors = 0;
    for table in tables {
        for key in keys(store, table) {
            let strange = with(store, &key, Value::Log(b"strange".to_vec().into()));
            let error = match table {
                Table::Client => Client::load(&strange).err(),
                Table::KeyPackages => continue,
                _ => match load(&world, &strange) {
                    Err(LoadError::Store(error)) => Some(error),
                    Err(other) => panic!("{}: {other:?}", table.name()),
                    Ok(_) => panic!("a strange record of {} was not noticed", table.name()),
                },
            };
            let named = matches!(&error, Some(StoreError::Damaged { table: at, .. }) if *at == table.name());
            assert!(named, "{}: {error:?}", table.name());
            errors += 1;
        }
    }
    assert!(errors > 30);
}

/// Puts each record of a table in the place of another of the same table.
fn swapped(store: &MemoryStore, table: Table) -> Vec<(Key, MemoryStore)> {
    let keys = keys(store, table);
    let next = keys.iter().cycle().skip(1);
    let pairs = keys.iter().zip(next).filter(|(one, other)| one != other);
    pairs
        .map(|(one, other)| {
            let value = store.get(other).expect("memory").expect("a record");
            (one.clone(), with(store, one, value))
        })
        .collect()
}

#[test]
fn swapped_records_are_noticed() {
    let world = world();
    let store = &world.peers[0].store;
    for table in [Table::Epochs, Table::Subtrees, Table::History, Table::NodeKeys] {
        for (_, strange) in swapped(store, table) {
            assert!(load(&world, &strange).is_err(), "swapped records of {} were not noticed", table.name());
        }
    }
}

#[test]
fn flipped_bits_never_panic() {
    let world = world();
    let store = &world.peers[0].store;
    let config = bincode::config::standard();
    let (mut refused, mut taken, mut undecodable) = (0, 0, 0);
    for (number, (key, value)) in store.records().enumerate() {
        let bytes = bincode::serde::encode_to_vec(value, config).expect("bytes");
        for turn in 0..12 {
            let mut bytes = bytes.clone();
            let place = (number * 7 + turn * 31) % bytes.len();
            bytes[place] ^= 1 << (turn % 8);
            let Ok((value, _)) = bincode::serde::decode_from_slice::<Value, _>(&bytes, config) else {
                undecodable += 1;
                continue;
            };
            let mut rng = world.rng.clone();
            match load(&world, &with(store, key, value)) {
                Err(_) => refused += 1,
                Ok(None) => panic!("the group is there"),
                Ok(Some(group)) => {
                    taken += 1;
                    // Whatever it is now, it can be asked, and told the time.
                    let _ = (group.view(), group.history(), group.next_deadline());
                    let _ = group.handle(dmls_core::group::Input::Tick, world.now + 1, &mut rng);
                    let _ = group.send(b"text", world.now + 1, &mut rng);
                }
            }
        }
    }
    println!("refused {refused}, undecodable {undecodable}, taken {taken}");
    assert!(refused > 50 && undecodable > 10);
}

#[test]
fn an_unpunctured_parent_beside_a_used_child_is_refused() {
    let mut world = World::new(122, 3);
    world.form();
    let head = world.peers[0].group().head().clone();
    let key = Key::epoch(Table::Inits, &group_id(), &head);
    let before = world.peers[0].store.get(&key).expect("memory").expect("the head's PRF");
    world.refresh(1);
    world.run(20_000);
    let store = &world.peers[0].store;
    assert!(load(&world, store).expect("control").is_some());
    let restored = with(store, &key, before);
    assert_eq!(load(&world, &restored).err(), Some(LoadError::Unpunctured(head)));
}
