//! The database: steps whole or not at all, over crashes; strangers' and damaged databases refused.

use std::path::Path;

use dmls_core::codec::Bytes;
use dmls_core::group::{Changes, GroupId, Key, MessageId, Store, StoreError, Table, Value};

use super::{Column, FORMAT_VERSION, log_key};
use super::{Database, Extra, OpenError};

fn group() -> GroupId {
    GroupId(Bytes::from(vec![1, 2, 3]))
}

fn welcome(name: &[u8], body: &[u8]) -> (Key, Value) {
    (Key::named(Table::Welcomes, &group(), name), Value::Welcome(Bytes::from(body)))
}

fn put(pairs: &[(Key, Value)]) -> Changes {
    let mut changes = Changes::default();
    for (key, value) in pairs {
        changes.put(key.clone(), value.clone());
    }
    changes
}

fn fresh(path: &Path) -> Database {
    Database::create(path, &Changes::default(), &Extra::default()).unwrap();
    Database::open(path).unwrap()
}

fn body(value: Option<Value>) -> Option<Vec<u8>> {
    match value {
        Some(Value::Welcome(bytes) | Value::Log(bytes)) => Some(bytes.into_vec()),
        None => None,
        Some(_) => panic!("another table's record"),
    }
}

#[test]
fn a_step_and_the_nodes_records_are_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let database = fresh(&path);
    let (key, value) = welcome(b"a", b"first");
    let mut extra = Extra::default();
    extra.put(Column::Names, b"g", &"friends").unwrap();
    database.step(&extra).apply(&put(&[(key.clone(), value)])).unwrap();
    // A crash: the process ends without closing anything, so nothing but what was synced may be needed.
    copy(&path, &dir.path().join("crashed"));
    let after = Database::open(&dir.path().join("crashed")).unwrap();
    let none = Extra::default();
    assert_eq!(body(after.step(&none).get(&key).unwrap()).unwrap(), b"first");
    assert_eq!(after.get::<String>(Column::Names, b"g").unwrap().unwrap(), "friends");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The newest write-ahead log of a database.
fn wal(path: &Path) -> std::path::PathBuf {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|ext| ext == "log")).max().unwrap()
}

#[test]
fn a_torn_write_is_all_there_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let database = fresh(&path);
    let none = Extra::default();
    let one = [welcome(b"a", b"1"), welcome(b"b", b"1")];
    let two = [welcome(b"a", b"2"), welcome(b"b", b"2")];
    database.step(&none).apply(&put(&one)).unwrap();
    let before = std::fs::metadata(wal(&path)).unwrap().len();
    database.step(&none).apply(&put(&two)).unwrap();
    let whole = std::fs::read(wal(&path)).unwrap();
    drop(database);
    let after = u64::try_from(whole.len()).unwrap();
    assert!(after > before);
    let (mut old, mut new) = (0, 0);
    for (number, cut) in (before..=after).step_by(7).chain([after]).enumerate() {
        let torn = dir.path().join(format!("torn{number}"));
        Database::create(&torn, &Changes::default(), &Extra::default()).unwrap();
        std::fs::remove_dir_all(&torn).unwrap();
        copy(&path, &torn);
        std::fs::write(torn.join(wal(&path).file_name().unwrap()), &whole[..usize::try_from(cut).unwrap()])
            .unwrap();
        let database = Database::open(&torn).unwrap();
        let step = database.step(&none);
        let found =
            [body(step.get(&one[0].0).unwrap()).unwrap(), body(step.get(&one[1].0).unwrap()).unwrap()];
        assert_eq!(found[0], found[1], "half a step after a cut at {cut}");
        if found[0] == b"1" { old += 1 } else { new += 1 }
    }
    assert!(old > 0 && new > 0, "{old} {new}");
}

#[test]
fn damage_before_the_end_of_the_log_is_not_taken_for_a_torn_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let database = fresh(&path);
    let none = Extra::default();
    let before = usize::try_from(std::fs::metadata(wal(&path)).unwrap().len()).unwrap();
    for number in 0..50u8 {
        database.step(&none).apply(&put(&[welcome(&[number], &[number; 2000])])).unwrap();
    }
    let log = wal(&path);
    drop(database);
    assert!(Database::open(&path).is_ok());
    // Opening has moved the log's records on, so damage a log that still has them.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let database = fresh(&path);
    for number in 0..50u8 {
        database.step(&none).apply(&put(&[welcome(&[number], &[number; 2000])])).unwrap();
    }
    let damaged = dir.path().join("damaged");
    copy(&path, &damaged);
    let log = damaged.join(log.file_name().unwrap());
    let mut bytes = std::fs::read(&log).unwrap();
    let at = before + (bytes.len() - before) / 2;
    bytes[at] ^= 0xff;
    std::fs::write(&log, bytes).unwrap();
    assert!(matches!(Database::open(&damaged), Err(OpenError::Damaged { .. } | OpenError::Io { .. })));
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    drop(fresh(&path));
    set_version(&path, &(FORMAT_VERSION + 1).to_be_bytes());
    match Database::open(&path) {
        Err(OpenError::Newer { found, .. }) => assert_eq!(found, FORMAT_VERSION + 1),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    }
    set_version(&path, b"?");
    assert!(matches!(Database::open(&path), Err(OpenError::Damaged { .. })));
    set_version(&path, &FORMAT_VERSION.to_be_bytes());
    assert!(Database::open(&path).is_ok());
}

fn set_version(path: &Path, version: &[u8]) {
    raw(path, Column::Meta, b"format", version);
}

fn raw(path: &Path, column: Column, key: &[u8], value: &[u8]) {
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, path).unwrap();
    let db = rocksdb::DB::open_cf(&options, path, names).unwrap();
    db.put_cf(db.cf_handle(column.name()).unwrap(), key, value).unwrap();
}

#[test]
fn a_database_with_an_unknown_table_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    drop(fresh(&path));
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, &path).unwrap();
    let mut db = rocksdb::DB::open_cf(&options, &path, names).unwrap();
    db.create_cf("surprise", &options).unwrap();
    drop(db);
    match Database::open(&path) {
        Err(OpenError::Damaged { reason, .. }) => assert!(reason.contains("surprise"), "{reason}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[test]
fn a_damaged_record_is_an_error_that_names_its_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let database = fresh(&path);
    let none = Extra::default();
    let (key, value) = welcome(b"a", b"body");
    database.step(&none).apply(&put(&[(key.clone(), value)])).unwrap();
    drop(database);
    for bytes in [&b""[..], &[0], &[1], &[1, 200, 1, 2, 3], &[2, 1, 1]] {
        raw(&path, Column::Core(Table::Welcomes), &key.bytes, bytes);
        let database = Database::open(&path).unwrap();
        let step = database.step(&none);
        for error in [step.get(&key).err(), step.scan(&Key::of_group(Table::Welcomes, &group())).err()] {
            assert!(
                matches!(error, Some(StoreError::Damaged { table: "welcomes", .. })),
                "{bytes:?} {error:?}"
            );
        }
    }
}

#[test]
fn a_record_of_another_table_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let database = fresh(&path);
    let key = Key::named(Table::Welcomes, &group(), b"a");
    let other = super::records::encode(Column::Core(Table::Log), &Value::Log(Bytes::from(vec![1]))).unwrap();
    drop(database);
    raw(&path, Column::Core(Table::Welcomes), &key.bytes, &other);
    let database = Database::open(&path).unwrap();
    let none = Extra::default();
    let error = database.step(&none).get(&key).err();
    assert!(matches!(error, Some(StoreError::Damaged { table: "welcomes", .. })), "{error:?}");
}

#[test]
fn scans_keep_to_their_prefix_and_the_log_is_indexed() {
    let dir = tempfile::tempdir().unwrap();
    let database = fresh(&dir.path().join("db"));
    let (ours, other) = (group(), GroupId(Bytes::from(vec![1, 2, 3, 0])));
    let ids = [MessageId([7; 32]), MessageId([8; 32])];
    let none = Extra::default();
    let log = |group: &GroupId, order, id: &MessageId| {
        (Key::log(group, order, id), Value::Log(Bytes::from(vec![9])))
    };
    let all = [log(&ours, 5, &ids[0]), log(&ours, 300, &ids[1]), log(&other, 6, &ids[0])];
    database.step(&none).apply(&put(&all)).unwrap();
    let step = database.step(&none);
    let places = step.places(&Key::of_group(Table::Log, &ours)).unwrap();
    assert_eq!(places.len(), 2);
    assert_eq!(step.scan(&Key::of_group(Table::Log, &ours)).unwrap().len(), 2);
    assert_eq!(places[0].len(), 40);
    let order =
        |group: &GroupId, id| database.get::<u64>(Column::LogOrders, &log_key::index(group, id)).unwrap();
    assert_eq!(
        [order(&ours, &ids[0]), order(&ours, &ids[1]), order(&other, &ids[1])],
        [Some(5), Some(300), None]
    );

    let mut changes = Changes::default();
    changes.delete(all[0].0.clone());
    database.step(&none).apply(&changes).unwrap();
    assert_eq!([order(&ours, &ids[0]), order(&other, &ids[0])], [None, Some(6)]);
}

#[test]
fn after_a_failed_write_nothing_is_taken_until_it_was_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let database = fresh(&path);
    let none = Extra::default();
    let (key, value) = welcome(b"a", b"body");
    database.fail_next_write();
    let error = database.step(&none).apply(&put(&[(key.clone(), value.clone())])).unwrap_err();
    assert!(matches!(error, StoreError::Io(_)));
    assert_eq!(database.failure(), Some(error.clone()));
    assert_eq!(database.step(&none).apply(&put(&[(key.clone(), value.clone())])), Err(error));
    assert!(database.step(&none).get(&key).unwrap().is_none(), "reading goes on");
    database.reopen().unwrap();
    assert_eq!(database.failure(), None);
    database.step(&none).apply(&put(&[(key.clone(), value)])).unwrap();
    assert_eq!(body(database.step(&none).get(&key).unwrap()).unwrap(), b"body");
}

#[test]
fn an_interrupted_creation_leaves_nothing_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    std::fs::create_dir(path.with_extension("new")).unwrap();
    std::fs::write(path.with_extension("new").join("CURRENT"), "rubbish").unwrap();
    drop(fresh(&path));
    assert!(!path.with_extension("new").exists());
}
